#include "rig.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct server server;

/* --- the server --- */

static void shell(const char *fmt, ...) SY_PRINTF(1, 2);
static void shell(const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    int rv;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    rv = system(line);
    if (rv != 0) {
        fail_msg("%s: status %d", line, rv);
    }
}

int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

int server_start(void **state)
{
    (void)state;
    snprintf(server.dir, sizeof server.dir, "/tmp/vagt-pg-XXXXXX");
    assert_non_null(mkdtemp(server.dir));
    server.port = free_port();
    shell("%s start %s %d", VAGT_PG_SH, server.dir, server.port);
    return 0;
}

int server_stop(void **state)
{
    (void)state;
    shell("%s stop %s && rm -rf %s", VAGT_PG_SH, server.dir, server.dir);
    return 0;
}

void server_set_hba(const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/data/pg_hba.conf", server.dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

void server_make_certificate(void)
{
    shell(
        "cd %s/data && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost"
        " -keyout server.key -out server.crt 2>/dev/null && chmod 600 server.key &&"
        " chown --reference=. server.key server.crt",
        server.dir);
}

void server_make_ca(const char *name)
{
    shell(
        "cd %s && for ca in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -subj"
        " /CN=$ca -keyout $ca.key -out $ca.crt 2>/dev/null; done && chmod a+rx . &&"
        " echo subjectAltName=DNS:%s >ext && openssl req -newkey rsa:2048 -nodes -subj"
        " /CN=%s -keyout data/server.key -out server.csr 2>/dev/null && openssl x509 -req"
        " -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext"
        " -out data/server.crt 2>/dev/null && cd data && chmod 600 server.key &&"
        " chown --reference=. server.key server.crt",
        server.dir, name, name);
}

void server_run(const char *verb)
{
    shell("%s %s %s %d", VAGT_PG_SH, verb, server.dir, server.port);
}

/* --- sql --- */

static PGconn *look_into(const char *database)
{
    char info[256];
    PGconn *c;

    snprintf(info, sizeof info,
             "host=127.0.0.1 port=%d user=postgres dbname=%s "
             "options='-c client_min_messages=warning'",
             server.port, database);
    c = PQconnectdb(info);
    if (PQstatus(c) != CONNECTION_OK) {
        fail_msg("%s", PQerrorMessage(c));
    }
    return c;
}

const char *sql(struct rig *r, const char *fmt, ...)
{
    static char out[1024];
    char text[4096];
    va_list ap;
    PGresult *res;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->look == NULL || PQstatus(r->look) != CONNECTION_OK) {
        PQfinish(r->look);
        r->look = look_into(r->database);
    }
    res = PQexec(r->look, text);
    if (PQresultStatus(res) != PGRES_TUPLES_OK &&
        PQresultStatus(res) != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", text, PQerrorMessage(r->look));
    }
    snprintf(out, sizeof out, "%s",
             PQntuples(res) == 0           ? "(no row)"
             : PQgetisnull(res, 0, 0) == 1 ? "(null)"
                                           : PQgetvalue(res, 0, 0));
    PQclear(res);
    return out;
}

unsigned schema_version(void)
{
    unsigned n = 0;

    while (ad_pg_migrations[n].version != 0) {
        n++;
    }
    return n;
}

uint64_t sql_number(struct rig *r, const char *text)
{
    return strtoull(sql(r, "%s", text), NULL, 10);
}

void check_exactly_once(struct rig *r, const char *n)
{
    assert_string_equal(sql(r, "SELECT count(*) FROM meter_readings"), n);
    assert_string_equal(sql(r, "SELECT count(DISTINCT vagt_seq) FROM meter_readings"), n);
    /* The unique key would hide what the fence let through. */
    assert_int_equal(log_count(r, "pg.readings_known"), 0);
    assert_int_equal(log_count(r, "pg.readings_missing"), 0);
}

/* --- the store --- */

static void open_store(struct rig *r)
{
    struct rp_limits l;

    rp_limits_default(&l);
    l.readings_max = 100000;
    l.commands_max = 512;
    l.letters_max = 512;
    r->mem = aligned_alloc(64, (rp_store_size(&l) + 63) / 64 * 64);
    memset(r->mem, 0, rp_store_size(&l));
    r->store = rp_store_init(&l, r->mem);
    r->now_ms = T0;
    r->index = 0;
}

void rig_forget_store(struct rig *r)
{
    free(r->mem);
    open_store(r);
}

static void apply_quietly(struct rig *r)
{
    if (r->batch.n == 0) {
        return;
    }
    rp_batch_seal(&r->batch, r->now_ms, 1, &r->entry);
    assert_int_equal(
        rp_store_apply(r->store, ++r->index, r->entry.p, r->entry.len, NULL, NULL), 0);
}

void apply(struct rig *r)
{
    apply_quietly(r);
    kick_all(r);
}

void fill_devices(struct rig *r, unsigned areas, unsigned per)
{
    char name[32], base[32];

    for (unsigned a = 1; a <= areas; a++) {
        snprintf(name, sizeof name, "area%u", a);
        snprintf(base, sizeof base, "z2m/area%u", a);
        rp_batch_area(&r->batch, name, base);
    }
    for (unsigned a = 1; a <= areas; a++) {
        for (unsigned i = 1; i <= per; i++) {
            snprintf(name, sizeof name, "m%u-%u", a, i);
            rp_batch_device(&r->batch, (uint16_t)a, a * 1000 + i, name, "TS011F");
            if (i % 2000 == 0) {
                apply_quietly(r);
            }
        }
    }
    apply(r);
}

void report(struct rig *r, uint64_t ieee, enum rp_switch state, int32_t power_mw)
{
    struct rp_report rep = {.ieee = ieee,
                            .last_seen_ms = ++r->now_ms,
                            .payload_hash = r->now_ms,
                            .state = state,
                            .values = {.power_mw = power_mw,
                                       .energy_mwh = 123456789,
                                       .has = RP_HAS_POWER | RP_HAS_ENERGY}};

    rp_batch_report(&r->batch, &rep);
}

void fill_readings(struct rig *r, unsigned n, unsigned devices)
{
    for (unsigned i = 0; i < n; i++) {
        report(r, 1001 + i % devices, RP_ON, (int32_t)i);
        if (i % 500 == 499) {
            apply_quietly(r);
        }
    }
    apply(r);
}

bool more_to_ship(struct rig *r, unsigned *filled)
{
    if (rp_store_readings_last(r->store) - rp_store_readings_shipped(r->store) < 300) {
        fill_readings(r, 500, 10);
        *filled += 500;
    }
    return *filled < 50000;
}

void fill_letter(struct rig *r, const char *topic, const char *reason,
                 const char *payload)
{
    rp_batch_letter(&r->batch, 1, topic, reason, payload, strlen(payload));
}

/* --- commands --- */

const char *insert_command(struct rig *r, unsigned i, const char *value, const char *age)
{
    static char ids[16][64];
    static unsigned n;
    char *id = ids[n++ % 16];

    snprintf(id, sizeof ids[0], "%s",
             sql(r,
                 "INSERT INTO meter_commands (meter_id, command, value, created_at)"
                 " VALUES ('m1-%u', 'set_state', '%s', now() - interval '%s')"
                 " RETURNING id",
                 i, value, age));
    return id;
}

const char *command_status(struct rig *r, const char *id)
{
    return sql(r, "SELECT status FROM meter_commands WHERE id::text = '%s'", id);
}

const struct rp_command *command_of(struct rig *r, const char *id)
{
    char whole[RP_ID_SIZE];
    const struct rp_command *c;

    snprintf(whole, sizeof whole, "pg:%s", id);
    c = rp_store_command(r->store, whole);
    assert_non_null(c);
    return c;
}

void command_sent(struct rig *r, const char *id)
{
    const struct rp_command *c = command_of(r, id);

    rp_batch_sent(&r->batch, c->seq, c->attempts + 1, r->now_ms + 2000);
    apply(r);
}

void command_confirmed(struct rig *r, const char *id)
{
    const struct rp_command *c = command_of(r, id);

    report(r, c->ieee, strcmp(c->value, "ON") == 0 ? RP_ON : RP_OFF, 1);
    apply(r);
    assert_int_equal(command_of(r, id)->status, RP_CONFIRMED);
}

/* What the node does with good rows. */
static void accept_ask(struct node *n, const struct ad_pg_ask *ask)
{
    struct rig *r = n->rig;
    const struct rp_device *d = rp_store_device_named(r->store, 0, ask->meter, NULL);
    char id[RP_ID_SIZE];

    if (d == NULL || strcmp(ask->status, "pending") != 0) {
        ad_pg_answer(n->p, ask->id, "failed", d == NULL ? "no such device" : "unknown");
        return;
    }
    if (ask->age_ms > 60000) {
        ad_pg_answer(n->p, ask->id, "expired", "too old");
        return;
    }
    snprintf(id, sizeof id, "pg:%s", ask->id);
    rp_batch_command(&r->batch, id, d->ieee, "state", ask->value, RP_SOURCE_POSTGRES,
                     r->now_ms + 60000);
}

static void replay_letter(struct node *n, const struct ad_pg_retry *letter)
{
    ad_pg_retried(n->p, letter->id, NULL);
}

/* --- the writers --- */

static void shipped_cb(void *data, uint64_t reading_seq, uint64_t revision,
                       uint64_t letter_seq)
{
    struct node *n = data;
    struct rig *r = n->rig;

    assert_true(reading_seq >= n->shipped);
    n->shipped = reading_seq;
    n->revision = revision;
    n->batches++;
    /* As the node does it, but for the log between. */
    rp_batch_shipped(&r->batch, reading_seq, revision);
    rp_batch_letters_shipped(&r->batch, letter_seq);
    apply_quietly(r);
}

static void changed_cb(void *data)
{
    struct node *n = data;

    n->changes++;
}

static void fenced_cb(void *data, uint64_t term)
{
    struct node *n = data;

    n->fenced_by = term;
}

static void commands_cb(void *data, const struct ad_pg_ask *asks, unsigned count)
{
    struct node *n = data;

    for (unsigned i = 0; i < count; i++) {
        n->rig->asks++;
        n->rig->last_ask = asks[i];
        n->rig->on_ask(n, &asks[i]);
    }
    apply_quietly(n->rig);
    ad_pg_kick(n->p);
}

static void letter_cb(void *data, const struct ad_pg_retry *letter)
{
    struct node *n = data;

    n->rig->letters++;
    n->rig->on_letter(n, letter);
}

static void closed_cb(void *data)
{
    struct node *n = data;

    n->p = NULL;
    n->closed = true;
}

void node_open(struct rig *r, struct node *n, const char *name, uint64_t term)
{
    static const struct ad_pg_callbacks cb = {shipped_cb, changed_cb, fenced_cb,
                                              commands_cb, letter_cb};
    struct sy_errbuf eb;

    *n = (struct node){.rig = r};
    snprintf(r->config.node, sizeof r->config.node, "%s", name);
    if (ad_pg_open(&n->p, &r->loop, &r->log, &r->config, r->store, term, &cb, n, &eb) !=
        0) {
        fail_msg("%s", eb.text);
    }
}

void node_close(struct node *n)
{
    ad_pg_close(n->p, closed_cb);
    UNTIL(n->rig, n->closed);
}

bool node_up(const struct node *n)
{
    return ad_pg_status(n->p)->link == AD_PG_UP;
}

const char *node_error(const struct node *n)
{
    return ad_pg_status(n->p)->error;
}

void kick_all(struct rig *r)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (r->nodes[i].p != NULL && !r->nodes[i].closed) {
            ad_pg_kick(r->nodes[i].p);
        }
    }
}

bool all_shipped(const struct rig *r)
{
    return rp_store_letters_shipped(r->store) == rp_store_letters_last(r->store) &&
           rp_store_readings_shipped(r->store) == rp_store_readings_last(r->store) &&
           rp_store_revision_shipped(r->store) == rp_store_revision(r->store);
}

/* --- the rig --- */

static void write_log(void *data, enum sy_level level, const char *line, size_t len)
{
    struct rig *r = data;

    (void)level;
    if (getenv("VERBOSE") != NULL) {
        fprintf(stderr, "%.*s\n", (int)len, line);
    }
    if (r->lines_len + len + 2 < sizeof r->lines) {
        memcpy(r->lines + r->lines_len, line, len);
        r->lines_len += len;
        r->lines[r->lines_len++] = '\n';
        r->lines[r->lines_len] = '\0';
    }
}

unsigned log_count(const struct rig *r, const char *needle)
{
    unsigned n = 0;

    for (const char *p = r->lines; (p = strstr(p, needle)) != NULL; p++) {
        n++;
    }
    return n;
}

void rig_too_late(uv_timer_t *timer)
{
    struct rig *r = timer->data;

    r->late = true;
}

static void set_true(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

void rig_turn(struct rig *r, unsigned ms)
{
    bool over = false;
    void *data = r->watchdog.data;

    r->watchdog.data = &over;
    uv_update_time(&r->loop);
    uv_timer_start(&r->watchdog, set_true, ms, 0);
    while (!over) {
        uv_run(&r->loop, UV_RUN_ONCE);
    }
    r->watchdog.data = data;
}

void rig_wait_sql(struct rig *r, const char *query, const char *value)
{
    for (unsigned i = 0; strcmp(sql(r, "%s", query), value) != 0; i++) {
        if (i == PATIENCE_MS / 5) {
            fail_msg("in vain for %s: %s", value, query);
        }
        rig_turn(r, 5);
    }
}

static void run_in_postgres(const char *verb, const char *name)
{
    PGconn *c = look_into("postgres");
    char text[128];
    PGresult *res;

    snprintf(text, sizeof text, "%s %s", verb, name);
    res = PQexec(c, text);
    if (PQresultStatus(res) != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", text, PQerrorMessage(c));
    }
    PQclear(res);
    PQfinish(c);
}

int rig_open_bare(void **state)
{
    static unsigned number;
    struct rig *r = calloc(1, sizeof *r);

    snprintf(r->database, sizeof r->database, "t%u", ++number);
    run_in_postgres("CREATE DATABASE", r->database);
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s", server.port, r->database);
    r->log = (struct sy_log){.level = SY_DEBUG, .data = r, .write = write_log};
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->watchdog), 0);
    r->watchdog.data = r;
    open_store(r);
    ad_pg_config_default(&r->config);
    r->config.conninfo = r->conninfo;
    r->config.seed = 7;
    r->config.batch_age_ms = 10;
    r->config.backoff_max_ms = 40;
    r->config.poll_ms = 50;
    r->on_ask = accept_ask;
    r->on_letter = replay_letter;
    r->config.retention_days = 0; /* The tests begin long ago. */
    snprintf(r->config.cluster, sizeof r->config.cluster, "site");
    *state = r;
    return 0;
}

int rig_open(void **state)
{
    struct rig *r;
    struct sy_errbuf eb;
    unsigned from, to;

    (void)rig_open_bare(state);
    r = *state;
    if (ad_pg_migrate(r->conninfo, &from, &to, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    return 0;
}

/* After a test that failed there may be more than the watchdog: a proxy listens, and
 * the loop would turn for ever. */
static void close_handle(uv_handle_t *h, void *unused)
{
    (void)unused;
    if (!uv_is_closing(h)) {
        uv_close(h, NULL);
    }
}

int rig_close(void **state)
{
    struct rig *r = *state;

    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (r->nodes[i].p != NULL) {
            node_close(&r->nodes[i]);
        }
    }
    uv_walk(&r->loop, close_handle, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    PQfinish(r->look);
    run_in_postgres("DROP DATABASE", r->database);
    rp_batch_free(&r->batch);
    sy_buf_free(&r->entry);
    free(r->mem);
    free(r);
    return 0;
}
