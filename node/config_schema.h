/* The configuration as a table: one row per option, from which the parser, the
 * printer, docs/configuration.md, vagt.yaml(5) and deploy/vagt.schema.json come
 * (the idea is Knot DNS's). Private to node/config*.c and its tests.
 *
 * Defaults stand nowhere in the table: they are what the modules' own
 * *_config_default() say, and the documents print those.
 *
 * Loading has three steps: shape (config_yaml.c: YAML into struct nd_raw, row by
 * row), meaning (config_rules.c: what rows say about each other), and finish
 * (config.c: secrets fetched, references resolved, struct nd_config filled). A
 * step begins only if the one before found nothing wrong, so that one mistake
 * is not told twice. */

#ifndef ND_CONFIG_SCHEMA_H
#define ND_CONFIG_SCHEMA_H

#include "node/config.h"

enum nd_type {
    ND_MAP,       /* a section; its keys are stored beside it */
    ND_MAPS,      /* a list of sections */
    ND_TEXT,      /* char[size] */
    ND_TEXTS,     /* a list of them */
    ND_CHOICE,    /* char[size], one of names */
    ND_ADDRESS,   /* char host[64] and a port: "127.0.0.1:1883", "[::1]:1883" */
    ND_ADDRESSES, /* a list of them */
    ND_UINT,
    ND_DURATION,
    ND_SIZE,
    ND_BOOL,
    ND_SECRET,
    ND_TYPES_NR
};

enum nd_unit { ND_UNIT_NONE, ND_UNIT_MS, ND_UNIT_S, ND_UNIT_BYTES };

enum {
    ND_FILE_SIZE_MAX = 1 << 20,
    ND_SECRET_SIZE_MAX = 64 * 1024,
    ND_DEPTH_MAX = 16,
    ND_ANCHORS_MAX = 64,
    ND_PROBLEMS_MAX = 10,
    ND_PROBLEM_SIZE = 480,
    ND_SHOWN_SIZE = 128, /* a path as shown: "brokers[0].addresses[1]" */
    ND_WHY_SIZE = 256,
    ND_HOST_SIZE = 64,
    ND_REF_SIZE = 32, /* name of a broker */
    ND_USER_SIZE = 128
};

struct nd_row
{
    const char *path; /* "brokers[].keepalive" */
    enum nd_type type;
    bool required;
    enum nd_unit unit;
    uint64_t min, max; /* of the value in its unit, of the entries of a list, of the
                          length of a text */
    size_t off;        /* in the element, or in struct nd_raw */
    size_t size;       /* of the member; of one entry of a list */
    size_t n_off;      /* lists: unsigned, how many; ND_MAP: bool, is it there */
    size_t port_off;   /* addresses: of the port behind the host */
    void (*init)(void *element);
    const char *const *names;           /* ND_CHOICE; ends with NULL */
    const char *(*check)(const char *); /* NULL, or what is wrong with the text */
    const char *prose;
};

struct nd_raw_broker
{
    struct ad_mqtt_config m;
    char username[ND_USER_SIZE];
    struct nd_config_secret password, tls_key;
    bool plaintext;
};

struct nd_raw_area
{
    struct nd_config_area a;
    char broker[ND_REF_SIZE];
};

/* What the rows write to. */
struct nd_raw
{
    struct nd_config c;
    char self[RP_NAME_SIZE];
    char log_level[16];
    struct nd_raw_broker brokers[ND_BROKERS_MAX];
    struct nd_raw_area areas[ND_AREAS_MAX];
    bool present; /* of sections that need not tell */
};

extern const struct nd_row nd_rows[];
extern const unsigned nd_rows_n;
extern const char *const nd_log_levels[]; /* from SY_ERR on */

/* The row of @key (not terminated) in section @section ("" at the top). */
const struct nd_row *nd_row_find(const char *section, const char *key, size_t len);
/* Is @row directly in @section? */
bool nd_row_in(const struct nd_row *row, const char *section);
/* "keepalive" of "brokers[].keepalive". */
const char *nd_row_key(const struct nd_row *row);
/* "raft" of "raft.election", "brokers[]" of "brokers[].keepalive"; 0: the top. */
size_t nd_row_section_len(const struct nd_row *row);
/* The row of the section that @row is in; NULL at the top. */
const struct nd_row *nd_row_owner(const struct nd_row *row);
void nd_raw_default(struct nd_raw *raw);

/* --- config_value.c --- */

/* Text into the member at @field. False: @why says what is wrong and the mend. */
bool nd_value_set(const struct nd_row *row, void *field, const char *text, bool quoted,
                  char why[ND_WHY_SIZE]);
/* The member as text that nd_value_set() takes; not quoted. */
void nd_value_get(const struct nd_row *row, const void *field, struct sy_buf *out);
/* A number in the unit of @row: "10s", "8MiB", "7". */
void nd_value_number(const struct nd_row *row, uint64_t v, struct sy_buf *out);
bool nd_address_parse(const char *text, char host[ND_HOST_SIZE], uint16_t *ret_port,
                      char why[ND_WHY_SIZE]);
bool nd_address_is_loopback(const char *host);
/* @s for a message: short, and without control characters. */
const char *nd_show(char out[64], const char *s);
/* The nearest of @n words to @s, NULL if none is near. @word gives the nth. */
const char *nd_nearest(const char *s, const char *(*word)(const void *data, unsigned i),
                       const void *data, unsigned n);

/* --- config_problem.c: what is wrong, and where --- */

struct nd_mark
{
    char path[ND_SHOWN_SIZE];
    unsigned line, column;
};

struct nd_problem_line
{
    unsigned line, column;
    char text[ND_PROBLEM_SIZE];
};

struct nd_problems
{
    const char *file;
    struct nd_problem_line list[ND_PROBLEMS_MAX];
    unsigned n; /* May exceed the list by one: there are more. */
    struct nd_mark *marks;
    unsigned marks_n, marks_cap;
};

void nd_problem_at(struct nd_problems *ps, unsigned line, unsigned column,
                   const char *path, const char *fmt, ...) SY_PRINTF(5, 6);
/* Where @path, or what it is part of, stands in the file. */
void nd_problem(struct nd_problems *ps, const char *path, const char *fmt, ...)
    SY_PRINTF(3, 4);
void nd_mark_add(struct nd_problems *ps, const char *path, unsigned line,
                 unsigned column);
const struct nd_mark *nd_mark_find(const struct nd_problems *ps, const char *path);
bool nd_problems_full(const struct nd_problems *ps);
void nd_problems_sort(struct nd_problems *ps);
void nd_problems_free(struct nd_problems *ps);

/* --- the steps --- */

void nd_yaml_read(struct nd_raw *raw, struct nd_problems *ps, const char *text,
                  size_t len);
void nd_rules_check(const struct nd_raw *raw, struct nd_problems *ps);
/* config_rules_site.c */
void nd_rules_check_site(const struct nd_raw *raw, struct nd_problems *ps);
void nd_rules_warn(const struct nd_raw *raw, struct nd_config *c);
/* Does @text, of an option that is no secret, look as if a password stood in it? */
bool nd_holds_secret(const char *text);
/* The secret's value into @out, terminated (the zero byte is counted). False: @why. */
bool nd_secret_read(const struct nd_config_secret *s,
                    const char *(*getenv_fn)(const char *name), struct sy_buf *out,
                    char why[ND_WHY_SIZE]);
int nd_file_read(const char *path, size_t size_max, bool secret, struct sy_buf *out,
                 char why[ND_WHY_SIZE]);
/* config_tls.c. The files of `tls` as paths, and whether they fit together and to node
 * @self. */
void nd_tls_collect(const struct nd_raw *raw, uint64_t self,
                    const char *(*getenv_fn)(const char *name), struct ad_tls_files *ret,
                    struct nd_problems *ps);
/* Its key is not read but named: it is read again when it changes. */
bool nd_key_path(const struct nd_config_secret *s,
                 const char *(*getenv_fn)(const char *name), char *to, size_t size,
                 char why[ND_WHY_SIZE]);
/* config_wire.c: who is spoken to across a network, and how. */
struct nd_shown
{
    char text[ND_SHOWN_SIZE];
};
bool nd_postgres_is_near(const char *host);
/* What is not said and depends on where it is. */
void nd_wire_default(struct nd_raw *raw, const struct nd_problems *ps);
void nd_rules_check_wire(const struct nd_raw *raw, struct nd_problems *ps);
bool nd_wire_collect(const struct nd_raw *raw, unsigned i,
                     const char *(*getenv_fn)(const char *name),
                     char ret_key[AD_MQTT_PATH_SIZE], struct nd_problems *ps);
void nd_wire_check_conninfo(const char *conninfo,
                            const char *(*getenv_fn)(const char *name),
                            struct nd_problems *ps);
/* What of this host is not as the configuration needs it, a warning a line
 * (config_host.c): programs, files, what is in them. */
void nd_host_check(const struct nd_config *c, FILE *out);
/* All of it, from text in memory (may hold zero bytes). */
SY_MUST_USE int nd_config_parse(struct nd_config *c, struct nd_problems *ps,
                                const char *text, size_t len,
                                const char *(*getenv_fn)(const char *name));

/* --- config_docs.c: documents from the table; not linked into vagtd --- */

void nd_docs_markdown(struct sy_buf *out);
void nd_docs_scdoc(struct sy_buf *out);
void nd_docs_json_schema(struct sy_buf *out);

#endif /* ND_CONFIG_SCHEMA_H */
