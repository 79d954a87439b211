#include "node/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "node/config_schema.h"

/* Strings of the configuration: offsets until the buffer stops growing. */
struct strings
{
    struct sy_buf buf;
    size_t username[ND_BROKERS_MAX], password[ND_BROKERS_MAX], conninfo, control;
    struct ad_tls_files tls;
    char mqtt_keys[ND_BROKERS_MAX][AD_MQTT_PATH_SIZE];
};

static const size_t NO_STRING = SIZE_MAX;

static size_t keep(struct sy_buf *b, const char *text)
{
    size_t at = b->len;

    sy_buf_put(b, text, strlen(text) + 1);
    return at;
}

static size_t keep_secret(struct nd_problems *ps, struct sy_buf *b, const char *path,
                          const struct nd_config_secret *s,
                          const char *(*getenv_fn)(const char *name))
{
    char why[ND_WHY_SIZE];
    size_t at = b->len;

    if (s->from == ND_SECRET_NONE) {
        return NO_STRING;
    }
    if (!nd_secret_read(s, getenv_fn, b, why)) {
        nd_problem(ps, path, "%s", why);
        return NO_STRING;
    }
    return at;
}

/* libpq, 34.1.1.1: values in single quotes, ' and \ escaped by \. */
static void conninfo_part(struct sy_buf *b, const char *key, const char *value)
{
    sy_buf_fmt(b, "%s%s='", b->len > 0 ? " " : "", key);
    for (; *value != '\0'; value++) {
        if (*value == '\'' || *value == '\\') {
            sy_buf_u8(b, '\\');
        }
        sy_buf_u8(b, (uint8_t)*value);
    }
    sy_buf_u8(b, '\'');
}

static void wipe(struct sy_buf *b)
{
    if (b->p != NULL) {
        explicit_bzero(b->p, b->cap);
    }
    sy_buf_free(b);
}

static size_t keep_conninfo(struct nd_problems *ps, struct sy_buf *to,
                            const struct nd_config_pg_source *pg,
                            const char *(*getenv_fn)(const char *name))
{
    struct sy_buf b = {0}, secret = {0};
    char port[8];
    size_t at, password;

    if (pg->conninfo.from != ND_SECRET_NONE) {
        at = keep_secret(ps, to, "postgres.conninfo", &pg->conninfo, getenv_fn);
        if (at != NO_STRING) {
            nd_wire_check_conninfo((const char *)to->p + at, getenv_fn, ps);
        }
        return at;
    }
    snprintf(port, sizeof port, "%u", pg->port);
    conninfo_part(&b, "host", pg->host);
    conninfo_part(&b, "port", port);
    conninfo_part(&b, "dbname", pg->dbname);
    conninfo_part(&b, "user", pg->user);
    password = keep_secret(ps, &secret, "postgres.password", &pg->password, getenv_fn);
    if (password != NO_STRING) {
        conninfo_part(&b, "password", (const char *)secret.p + password);
    }
    conninfo_part(&b, "sslmode", pg->sslmode);
    if (pg->sslrootcert[0] != '\0') {
        conninfo_part(&b, "sslrootcert", pg->sslrootcert);
    }
    sy_buf_u8(&b, 0);
    at = keep(to, (const char *)b.p);
    wipe(&b);
    wipe(&secret);
    return at;
}

static bool is_witness(const struct nd_config_node *n)
{
    return strcmp(n->role, "witness") == 0;
}

static bool self_is_witness(const struct nd_raw *raw)
{
    for (unsigned i = 0; i < raw->c.nodes_n; i++) {
        if (strcmp(raw->c.nodes[i].name, raw->self) == 0) {
            return is_witness(&raw->c.nodes[i]);
        }
    }
    return false;
}

static uint64_t self_id(const struct nd_raw *raw)
{
    for (unsigned i = 0; i < raw->c.nodes_n; i++) {
        if (strcmp(raw->c.nodes[i].name, raw->self) == 0) {
            return raw->c.nodes[i].id;
        }
    }
    return 0;
}

static const char *string_at(const struct sy_buf *b, size_t at)
{
    return at != NO_STRING ? (const char *)b->p + at : NULL;
}

/* Names and secrets; a witness needs none and must not ask for what it has not got. */
static void collect(const struct nd_raw *raw, struct nd_problems *ps,
                    const char *(*getenv_fn)(const char *name), struct strings *s)
{
    char path[ND_SHOWN_SIZE];
    bool needed = !self_is_witness(raw);

    s->conninfo = s->control = NO_STRING;
    for (unsigned i = 0; i < raw->c.brokers_n; i++) {
        s->username[i] = s->password[i] = NO_STRING;
    }
    if (getenv_fn == NULL) {
        return;
    }
    for (unsigned i = 0; i < raw->c.brokers_n; i++) {
        const struct nd_raw_broker *b = &raw->brokers[i];

        snprintf(path, sizeof path, "brokers[%u].password", i);
        s->username[i] = b->username[0] != '\0' ? keep(&s->buf, b->username) : NO_STRING;
        s->password[i] =
            needed ? keep_secret(ps, &s->buf, path, &b->password, getenv_fn) : NO_STRING;
        if (needed) {
            (void)nd_wire_collect(raw, i, getenv_fn, s->mqtt_keys[i], ps);
        }
    }
    nd_tls_collect(raw, self_id(raw), getenv_fn, &s->tls, ps);
    s->control =
        keep_secret(ps, &s->buf, "control.secret_key", &raw->c.control_key, getenv_fn);
    if (s->control != NO_STRING &&
        strlen(string_at(&s->buf, s->control)) != sizeof raw->c.control.secret_key - 1) {
        nd_problem(ps, "control.secret_key",
                   "is no secret key of CURVE: 40 characters, as in the curve.key that "
                   "`vagtctl pki node` makes");
    }
    if (raw->c.has_postgres && needed) {
        s->conninfo = keep_conninfo(ps, &s->buf, &raw->c.postgres_from, getenv_fn);
    }
}

static void finish_brokers(struct nd_config *c, const struct nd_raw *raw,
                           const struct strings *s)
{
    for (unsigned i = 0; i < c->brokers_n; i++) {
        struct ad_mqtt_config *m = &c->brokers[i];

        *m = raw->brokers[i].m;
        m->username = string_at(&c->strings, s->username[i]);
        m->password = string_at(&c->strings, s->password[i]);
        /* One client id per cluster and broker: that is the fence. */
        snprintf(m->reader_id, sizeof m->reader_id, "vagt-%s-in", c->cluster);
        snprintf(m->writer_id, sizeof m->writer_id, "vagt-%s-out", c->cluster);
        snprintf(m->tls.key, sizeof m->tls.key, "%s", s->mqtt_keys[i]);
        c->broker_passwords[i] = raw->brokers[i].password;
        c->broker_keys[i] = raw->brokers[i].tls_key;
        c->broker_plaintext[i] = raw->brokers[i].plaintext;
    }
}

static void finish_areas(struct nd_config *c, const struct nd_raw *raw)
{
    for (unsigned i = 0; i < c->areas_n; i++) {
        c->areas[i] = raw->areas[i].a;
        for (unsigned b = 0; b < c->brokers_n; b++) {
            if (strcmp(raw->areas[i].broker, raw->brokers[b].m.name) == 0) {
                c->areas[i].broker = b;
            }
        }
    }
}

static void finish(struct nd_config *c, const struct nd_raw *raw, struct strings *s)
{
    *c = raw->c;
    sy_buf_give(&s->buf, &c->strings);
    for (unsigned i = 0; i < c->nodes_n; i++) {
        c->nodes[i].witness = is_witness(&c->nodes[i]);
    }
    c->id = self_id(raw);
    c->tls.files = s->tls;
    for (unsigned i = 0; nd_log_levels[i] != NULL; i++) {
        if (strcmp(nd_log_levels[i], raw->log_level) == 0) {
            c->log_level = (enum sy_level)(SY_ERR + (int)i);
        }
    }
    if (s->control != NO_STRING) {
        snprintf(c->control.secret_key, sizeof c->control.secret_key, "%s",
                 string_at(&c->strings, s->control));
    }
    finish_brokers(c, raw, s);
    finish_areas(c, raw);
    c->raft.id = c->id;
    c->postgres.conninfo = string_at(&c->strings, s->conninfo);
    snprintf(c->postgres.cluster, sizeof c->postgres.cluster, "%s", c->cluster);
    snprintf(c->postgres.node, sizeof c->postgres.node, "%s", raw->self);
    nd_rules_warn(raw, c);
}

static void put_checksum(struct nd_config *c, const char *text, size_t len)
{
    uint8_t hash[SY_SHA256_SIZE];
    struct sy_sha256 s;

    sy_sha256_begin(&s);
    sy_sha256_add(&s, text, len);
    sy_sha256_end(&s, hash);
    for (unsigned i = 0; i < sizeof c->checksum / 2; i++) {
        snprintf(c->checksum + 2 * i, 3, "%02x", hash[i]);
    }
}

int nd_config_parse(struct nd_config *c, struct nd_problems *ps, const char *text,
                    size_t len, const char *(*getenv_fn)(const char *name))
{
    struct nd_raw *raw = sy_alloc(sizeof *raw);
    struct strings s = {.buf = {0}};

    nd_raw_default(raw);
    nd_yaml_read(raw, ps, text, len);
    nd_wire_default(raw, ps);
    if (ps->n == 0) {
        nd_rules_check(raw, ps);
    }
    if (ps->n == 0) {
        collect(raw, ps, getenv_fn, &s);
    }
    if (ps->n == 0) {
        finish(c, raw, &s);
        put_checksum(c, text, len);
    }
    nd_problems_sort(ps);
    wipe(&s.buf);
    sy_free(raw);
    return ps->n == 0 ? 0 : SY_EINVALID;
}

/* As nd_config_load(), but @ps is the caller's to show and to free. */
static int load(struct nd_config *c, struct nd_problems *ps, const char *text,
                const char *(*getenv_fn)(const char *name))
{
    struct sy_buf b = {0};
    char why[ND_WHY_SIZE];
    int rv;

    if (text != NULL) {
        return nd_config_parse(c, ps, text, strlen(text), getenv_fn);
    }
    rv = nd_file_read(ps->file, ND_FILE_SIZE_MAX, false, &b, why);
    if (rv == 0) {
        rv = nd_config_parse(c, ps, (const char *)b.p, b.len, getenv_fn);
    } else {
        nd_problem_at(ps, 0, 0, "", "%s", why);
    }
    sy_buf_free(&b);
    return rv;
}

int nd_config_load(struct nd_config *c, const char *path, const char *text,
                   const char *(*getenv_fn)(const char *name), struct sy_errbuf *eb)
{
    struct nd_problems ps = {.file = path != NULL ? path : "configuration"};
    int rv = load(c, &ps, text, getenv_fn);

    if (rv < 0 && ps.n == 1) {
        rv = sy_fail(eb, rv, "%s", ps.list[0].text);
    } else if (rv < 0) {
        rv = sy_fail(eb, rv, "%.470s (and %s%u more: vagtd -n)", ps.list[0].text,
                     nd_problems_full(&ps) ? "at least " : "", ps.n - 1);
    }
    nd_problems_free(&ps);
    return rv;
}

static const char *environment(const char *name)
{
    return getenv(name);
}

int nd_config_check(const char *path, FILE *out)
{
    struct nd_problems ps = {.file = path};
    struct nd_config *c = sy_calloc(1, sizeof *c);
    int rv = load(c, &ps, NULL, environment);
    char late[400];

    for (unsigned i = 0; i < ps.n && i < ND_PROBLEMS_MAX; i++) {
        fprintf(out, "%s\n", ps.list[i].text);
    }
    if (nd_problems_full(&ps)) {
        fprintf(out, "%s: there are more: mend these first\n", path);
    }
    for (unsigned i = 0; i < c->warnings_n; i++) {
        fprintf(out, "%s: warning: %s\n", path, c->warnings[i]);
    }
    if (rv == 0 && nd_config_stops_late(c, late, sizeof late)) {
        fprintf(out, "%s: warning: %s\n", path, late);
    }
    if (rv == 0) {
        nd_host_check(c, out);
    }
    nd_problems_free(&ps);
    nd_config_free(c);
    sy_free(c);
    return rv;
}

const struct nd_config_node *nd_config_node(const struct nd_config *c, uint64_t id)
{
    for (unsigned i = 0; i < c->nodes_n; i++) {
        if (c->nodes[i].id == id) {
            return &c->nodes[i];
        }
    }
    return NULL;
}

const struct nd_config_node *nd_config_self(const struct nd_config *c)
{
    return nd_config_node(c, c->id);
}

void nd_config_free(struct nd_config *c)
{
    wipe(&c->strings);
    explicit_bzero(c, sizeof *c); /* the key of the control plane */
}
