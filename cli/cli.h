/* vagtctl: what its commands share.
 *
 * A command asks a node over the control socket (docs/protocol.md), reads the
 * answer through values that may lack anything or be of another type than promised,
 * and writes text or JSON through one output that lets nothing raw from the network
 * onto a terminal. */

#ifndef CT_CLI_H
#define CT_CLI_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mp.h"

enum ct_exit {
    CT_DONE = 0,
    CT_FAILED = 1,
    CT_USAGE = 2,
    CT_NO_LEADER = 3, /* not leader, no quorum, no watch */
    CT_UNREACHABLE = 4
};

/* Of `status`. */
enum { CT_HEALTHY = 0, CT_DEGRADED = 1, CT_NO_WATCH = 2 };

enum { CT_TIMEOUT_DEFAULT_MS = 5000 };

enum { CT_ENDPOINTS_MAX = 16, CT_ENDPOINT_SIZE = 160, CT_CODE_SIZE = 32 };

/* Set by SIGINT and SIGTERM where a command wants to end cleanly. */
extern volatile sig_atomic_t ct_interrupted;
void ct_catch_signals(void);

/* --- options (main.c) --- */

struct ct_endpoints
{
    char at[CT_ENDPOINTS_MAX][CT_ENDPOINT_SIZE];
    unsigned n;
};

struct ct_options
{
    struct ct_endpoints sockets;
    struct ct_endpoints events;
    unsigned timeout_ms;
    bool json;
    bool stale;
    bool open;
    bool no_wait;
    unsigned watch_ms;           /* 0: once */
    unsigned limit;              /* 0: the node's default */
    unsigned count;              /* 0: no end */
    unsigned command_timeout_ms; /* 0: the node's default */
    const char *area;            /* NULL: not given; so the others. */
    const char *name;
    const char *id;
    const char *conninfo_file;
    const char *to; /* of backup */
    const char *encrypt_to;
    const char *key;
    const char *identity, *known; /* files: our key, those of the nodes */
    const char *data_dir;         /* of restore */
    unsigned node;                /* 0: not given */
    unsigned days;                /* of pki; 0: not given */
    const char *yes;              /* the cluster's name, where it is asked for */
    const char *role;
    const char *who;             /* of audit */
    const char *until, *length;  /* of maintenance */
    const char *budget, *canary; /* of drill */
    bool dry_run, sure;
    bool force;
    char **args;
    int args_n;
};

/* --- values in an answer (value.c) --- */

/* Bytes of an answer, borrowed; p is NULL if there was no string. */
struct ct_str
{
    const char *p;
    size_t n;
};

/* One value. Those that are missing have type SY_MP_BAD, and so has all in them. */
struct ct_val
{
    struct sy_mp m;
    struct sy_cur start; /* Where it begins. */
    struct sy_cur in;    /* What follows its head. */
};

struct ct_iter
{
    struct sy_cur at;
    uint32_t left;
};

/* False unless @p holds exactly one whole value. */
bool ct_val_of(struct ct_val *ret, const uint8_t *p, size_t n);
struct ct_val ct_get(struct ct_val map, const char *key);
/* Elements of an array; none if @v is something else. */
struct ct_iter ct_iterate(struct ct_val v);
bool ct_next(struct ct_iter *it, struct ct_val *ret);
/* Pairs of a map. */
struct ct_iter ct_iterate_map(struct ct_val v);
bool ct_next_pair(struct ct_iter *it, struct ct_val *key, struct ct_val *value);

bool ct_has(struct ct_val map, const char *key);
bool ct_is_uint(struct ct_val v);
uint64_t ct_uint(struct ct_val map, const char *key); /* 0 if there is none */
bool ct_bool(struct ct_val map, const char *key);     /* false if there is none */
struct ct_str ct_str_of(struct ct_val v);
struct ct_str ct_str(struct ct_val map, const char *key);
bool ct_str_is(struct ct_str s, const char *text);
struct ct_str ct_lit(const char *text);

/* --- text (text.c) --- */

enum ct_colour { CT_PLAIN, CT_BOLD, CT_DIM, CT_RED, CT_GREEN, CT_YELLOW };

struct ct_out
{
    struct sy_buf b;
    unsigned width;  /* Columns of the terminal; 0: nothing is cut or wrapped. */
    unsigned height; /* Lines of it; 0: no terminal. */
    bool colours;
    bool tty;
};

void ct_out_init(struct ct_out *o);
/* Writes to stdout and empties; false (once told on stderr) if that failed. */
bool ct_out_flush(struct ct_out *o);
void ct_out_free(struct ct_out *o);

/* Ours, as it is. */
void ct_put(struct ct_out *o, const char *text);
void ct_fmt(struct ct_out *o, const char *fmt, ...) SY_PRINTF(2, 3);
/* Of others: controls, bytes that are no UTF-8 etc. come out as \xNN or \uNNNN. */
void ct_say(struct ct_out *o, struct ct_str s);
void ct_colour(struct ct_out *o, enum ct_colour colour);
/* A sentence of others behind @lead, broken at blanks, the rest indented as far. */
void ct_sentence(struct ct_out *o, const char *lead, enum ct_colour colour,
                 struct ct_str s);

void ct_escape(struct sy_buf *b, struct ct_str s);
/* In code points. */
size_t ct_width(const char *p, size_t n);
void ct_age(struct sy_buf *b, uint64_t ms);     /* "3 s", "4 min", "5 h", "6 d" */
void ct_count(struct sy_buf *b, uint64_t n);    /* "1,284,551" */
void ct_size(struct sy_buf *b, uint64_t bytes); /* "1.4 GiB" */
void ct_milli(struct sy_buf *b, struct ct_val map, const char *key, const char *unit);

/* To stderr, with "vagtctl: " before it and a newline behind. */
void ct_complain(const char *fmt, ...) SY_PRINTF(1, 2);

uint64_t ct_now_ms(void); /* monotonic */
uint64_t ct_wall_ms(void);

/* --- tables (table.c) --- */

enum { CT_COLUMNS_MAX = 12 };

struct ct_column
{
    const char *title;
    bool right; /* aligned */
    bool cut;   /* may be cut with … when the terminal is too narrow */
};

struct ct_table
{
    const struct ct_column *columns;
    unsigned columns_n;
    size_t cells_n;
    struct sy_buf text; /* Cells, safe to print, one after the other … */
    struct sy_buf ends; /* … with where each ends, and its colour. */
};

void ct_table_init(struct ct_table *t, const struct ct_column *columns, unsigned n);
/* The next cell: append to t->text, then end it. */
void ct_cell_end(struct ct_table *t, enum ct_colour colour);
void ct_cell(struct ct_table *t, const char *text);
void ct_cell_str(struct ct_table *t, struct ct_str s, enum ct_colour colour);
/* A number, or "-" if it is missing. */
void ct_cell_uint(struct ct_table *t, struct ct_val map, const char *key);
void ct_table_print(struct ct_table *t, struct ct_out *o);
void ct_table_free(struct ct_table *t);

/* --- keys (seal.c) --- */

void ct_seal_init(const struct ct_options *opt);
/* Is there a key for the node at this endpoint? */
bool ct_sealed(const char *endpoint);
/* Before a connect: sets the keys if the endpoint has any. False: @eb. */
bool ct_seal(void *sock, const char *endpoint, struct sy_errbuf *eb);

/* --- asking (client.c) --- */

enum ct_answer {
    CT_OK,
    CT_ERROR, /* The node says no: code and text. */
    CT_NONE   /* Nobody there, or no answer in time, or nonsense. */
};

struct ct_reply
{
    enum ct_answer answer;
    struct sy_buf raw;
    struct ct_val result;
    uint64_t node;
    unsigned took_ms;
    bool sent; /* The request left: whatever came back, it may have had its effect. */
    char code[CT_CODE_SIZE]; /* If CT_NONE: "unreachable", "damaged", "interrupted" */
    struct sy_buf text;      /* The error, safe to print, terminated. */
};

struct ct_client
{
    void *zmq;
    const struct ct_endpoints *sockets;
    uint64_t next_id;
    uint64_t monitors;
    unsigned at; /* The socket that answered last. */
};

void ct_client_init(struct ct_client *c, const struct ct_endpoints *sockets);
void ct_client_free(struct ct_client *c);
/* One socket, once. @args is a MessagePack map, or empty. The reply of the last call
 * is dropped. */
void ct_ask_one(struct ct_client *c, unsigned socket, const char *op,
                const struct sy_buf *args, unsigned timeout_ms, struct ct_reply *r);
/* All sockets in turn, until one answers; a node that cannot lead is no answer as long
 * as there are others. */
void ct_ask(struct ct_client *c, const char *op, const struct sy_buf *args,
            unsigned timeout_ms, struct ct_reply *r);
void ct_reply_free(struct ct_reply *r);
/* What the bytes in r->raw say. 0: they answer something else than our request @id;
 * SY_ECORRUPT: they are no answer. */
SY_MUST_USE int ct_reply_take(struct ct_reply *r, uint64_t id, const char *endpoint);
bool ct_cannot_lead(const struct ct_reply *r); /* It has no leader, or is none. */
/* The node cannot do it, but the cluster may in a moment, or by way of another. */
bool ct_may_retry(const struct ct_reply *r);
/* Is somebody listening? Fills @eb with cause and mend if not. */
bool ct_reachable(const char *endpoint, unsigned timeout_ms, struct sy_errbuf *eb);
/* Tells of an answer that is no CT_OK, in JSON, too; returns the exit code. */
int ct_fail_reply(const struct ct_options *opt, struct ct_out *o,
                  const struct ct_reply *r);
/* The result as JSON and a newline. */
int ct_print_json(struct ct_out *o, struct ct_val v);

/* ct_ask() and what every simple command does with it: print @view or JSON. */
typedef int (*ct_view)(struct ct_out *o, const struct ct_options *opt,
                       const struct ct_reply *r);
int ct_simple(const struct ct_options *opt, const char *op, const struct sy_buf *args,
              ct_view view);

/* --- commands --- */

int ct_cmd_status(const struct ct_options *opt);
int ct_cmd_devices(const struct ct_options *opt);
int ct_cmd_send(const struct ct_options *opt);
int ct_cmd_commands(const struct ct_options *opt);
int ct_cmd_command(const struct ct_options *opt);
int ct_cmd_cancel(const struct ct_options *opt);
int ct_cmd_events(const struct ct_options *opt);
int ct_cmd_keys(const struct ct_options *opt);
int ct_cmd_bridges(const struct ct_options *opt);
int ct_cmd_files(const struct ct_options *opt);
int ct_cmd_handover(const struct ct_options *opt);
int ct_cmd_area(const struct ct_options *opt);
int ct_cmd_members(const struct ct_options *opt);
int ct_cmd_maintenance(const struct ct_options *opt);
int ct_cmd_restart(const struct ct_options *opt);
int ct_cmd_rolling_restart(const struct ct_options *opt);
int ct_cmd_hash(const struct ct_options *opt);
int ct_cmd_why(const struct ct_options *opt);
int ct_cmd_ready(const struct ct_options *opt);
int ct_cmd_ping(const struct ct_options *opt);
int ct_cmd_metrics(const struct ct_options *opt);
int ct_cmd_db(const struct ct_options *opt);
int ct_cmd_backup(const struct ct_options *opt);
int ct_cmd_restore(const struct ct_options *opt);
int ct_cmd_pki(const struct ct_options *opt);
int ct_cmd_recover(const struct ct_options *opt);
int ct_cmd_deadletter(const struct ct_options *opt);
int ct_cmd_drill(const struct ct_options *opt);
int ct_cmd_audit(const struct ct_options *opt);
int ct_cmd_drills(const struct ct_options *opt);

/* One node's view (status_view.c): who is on watch, the verdict, the rest. */
void ct_status_head(struct ct_out *o, struct ct_val status);
void ct_status_verdict(struct ct_out *o, struct ct_val status);
void ct_status_body(struct ct_out *o, struct ct_val status);
/* Sets of files (cmd_files.c); @with has "now_ms". False: there are none. */
bool ct_show_sets(struct ct_out *o, struct ct_val with, struct ct_val sets);
int ct_status_health(struct ct_val status); /* CT_HEALTHY … */
/* status --watch (cmd_watch.c). Puts the best view there is, or the failure, into @r. */
void ct_status_ask(struct ct_client *c, const struct ct_options *opt, struct ct_reply *r);
int ct_status_watch(const struct ct_options *opt, struct ct_client *c, struct ct_out *o);

/* One command as lines (cmd_commands.c). */
void ct_show_command(struct ct_out *o, struct ct_val command);
/* "label     2026-11-25 10:00:00.123, 3 min ago"; nothing if it never was. */
void ct_line_time(struct ct_out *o, const char *label, uint64_t at_ms);

/* --- Postgres (conninfo.c) --- */

enum { CT_CONNINFO_SIZE = 4096 };

/* From --conninfo-file or VAGT_POSTGRES, never from the command line; tells what is
 * missing. It holds a password: wipe it after use. */
bool ct_find_conninfo(const struct ct_options *opt, const char *command, char *to,
                      size_t size);
/* Tells of a failure with @what before it; returns the exit code. */
int ct_fail_postgres(const char *what, int err, const struct sy_errbuf *eb);

#endif /* CT_CLI_H */
