/* How long a message takes from its publish to its row in Postgres, and to the event
 * that a node which is not on watch tells. All by one clock, in one process. */

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>
#include <zmq.h>

#include "base/mem.h"
#include "bench/lossless/lossless.h"

enum { ROW_POLL_US = 5000, WANTED_MAX = 4000, EVENT_MAX = 1 << 16 };

struct latency
{
    struct ll_load load;
    const struct ll_options *opt;
    void *zmq;
    void *sub[LL_NODES_MAX];
    unsigned leader; /* 1.. */
    uint64_t *sent_us;
    uint64_t *row_us;
    uint64_t *event_us; /* The first follower's, of each. */
    uint32_t skip;      /* The first round warms up: its states may be no change. */
    uint32_t rows_n;    /* After it, like: */
    uint32_t events_n;
    uint32_t row_first; /* All before it are in Postgres. */
    PGconn *pg;
    bool asking;
    uint64_t ask_us;
};

/* --- rows --- */

static void must(PGconn *pg, PGresult *r, ExecStatusType want)
{
    if (PQresultStatus(r) != want) {
        ll_die("Postgres: %s", PQerrorMessage(pg));
    }
    PQclear(r);
}

static void open_postgres(struct latency *x)
{
    x->pg = PQconnectdb(x->opt->postgres);
    if (PQstatus(x->pg) != CONNECTION_OK) {
        ll_die("Postgres: %s", PQerrorMessage(x->pg));
    }
    /* A few rows by the index, whatever the planner thinks of a young table. */
    must(x->pg,
         PQexec(x->pg,
                "SET enable_seqscan = off; SET enable_hashjoin = off; "
                "SET enable_mergejoin = off; SET jit = off"),
         PGRES_COMMAND_OK);
    must(x->pg,
         PQprepare(x->pg, "rows",
                   "SELECT round(r.energy_kwh * 1000)::bigint "
                   "FROM unnest($1::text[], $2::bigint[]) AS w (m, t) "
                   "JOIN meter_readings r ON r.meter_id = w.m AND "
                   "r.time = timestamptz 'epoch' + w.t * interval '1 millisecond'",
                   2, NULL),
         PGRES_COMMAND_OK);
}

static void ask_rows(struct latency *x)
{
    struct sy_buf meters = {0};
    struct sy_buf times = {0};
    const char *values[2];
    char meter[32];
    unsigned n = 0;

    sy_buf_str(&meters, "{");
    sy_buf_str(&times, "{");
    for (uint32_t i = x->row_first; i < x->load.published && n < WANTED_MAX; i++) {
        if (x->row_us[i] == 0) {
            uint32_t k = x->opt->first + i;

            ll_load_meter(&x->load, k, meter, sizeof meter);
            sy_buf_fmt(&meters, "%s%s", n > 0 ? "," : "", meter);
            sy_buf_fmt(&times, "%s%llu", n > 0 ? "," : "",
                       (unsigned long long)ll_load_measured_ms(&x->load, k));
            n++;
        }
    }
    sy_buf_put(&meters, "}", 2);
    sy_buf_put(&times, "}", 2);
    values[0] = (const char *)meters.p;
    values[1] = (const char *)times.p;
    if (n > 0 && !PQsendQueryPrepared(x->pg, "rows", 2, values, NULL, NULL, 0)) {
        ll_die("Postgres: %s", PQerrorMessage(x->pg));
    }
    x->asking = n > 0;
    sy_buf_free(&meters);
    sy_buf_free(&times);
}

static void take_rows(struct latency *x)
{
    uint64_t now = ll_now_us();
    PGresult *r;

    while ((r = PQgetResult(x->pg)) != NULL) {
        if (PQresultStatus(r) != PGRES_TUPLES_OK) {
            ll_die("Postgres: %s", PQerrorMessage(x->pg));
        }
        for (int i = 0; i < PQntuples(r); i++) {
            uint64_t k = strtoull(PQgetvalue(r, i, 0), NULL, 10) - x->opt->first;

            if (k < x->opt->messages && x->row_us[k] == 0) {
                x->row_us[k] = now;
                x->rows_n += k >= x->skip;
            }
        }
        PQclear(r);
    }
    x->asking = false;
    while (x->row_first < x->opt->messages && x->row_us[x->row_first] != 0) {
        x->row_first++;
    }
}

static void tend_rows(struct latency *x)
{
    uint64_t now = ll_now_us();

    if (x->asking) {
        if (!PQconsumeInput(x->pg)) {
            ll_die("Postgres: %s", PQerrorMessage(x->pg));
        }
        if (!PQisBusy(x->pg)) {
            take_rows(x);
        }
    } else if (now >= x->ask_us) {
        x->ask_us = now + ROW_POLL_US;
        ask_rows(x);
    }
}

/* --- events --- */

static void open_events(struct latency *x)
{
    struct ll_nodes nodes;

    x->zmq = zmq_ctx_new();
    for (unsigned k = 0; k < x->opt->events_n; k++) {
        x->sub[k] = zmq_socket(x->zmq, ZMQ_SUB);
        zmq_setsockopt(x->sub[k], ZMQ_LINGER, &(int){0}, sizeof(int));
        zmq_setsockopt(x->sub[k], ZMQ_SUBSCRIBE, "device.state", 12);
        zmq_connect(x->sub[k], x->opt->events[k]);
    }
    ll_nodes_open(&nodes, x->opt);
    x->leader = ll_nodes_active(&nodes, 10000);
    ll_nodes_close(&nodes);
    if (x->leader == 0) {
        ll_die("no node is on watch");
    }
    zmq_poll(NULL, 0, 300); /* Until the subscriptions are there. */
}

static void take_event(struct latency *x, const uint8_t *p, size_t n, uint64_t now)
{
    struct sy_cur c = {.p = p, .n = n};
    uint64_t seen = ll_uint(ll_inside(c, "device"), "last_seen_ms");
    uint64_t i;

    if (ll_uint(c, "node") == x->leader || seen < x->load.base_ms) {
        return;
    }
    i = (seen - x->load.base_ms) * 1000 / x->opt->step_us;
    if (i < x->opt->messages && x->event_us[i] == 0 && x->sent_us[i] != 0) {
        x->event_us[i] = now;
        x->events_n += i >= x->skip;
    }
}

static void tend_events(struct latency *x)
{
    static uint8_t body[EVENT_MAX];
    uint64_t now = ll_now_us();
    int n;

    for (unsigned k = 0; k < x->opt->events_n; k++) {
        while (zmq_recv(x->sub[k], body, sizeof body, ZMQ_DONTWAIT) >= 0) {
            n = zmq_recv(x->sub[k], body, sizeof body, ZMQ_DONTWAIT);
            if (n > 0 && (size_t)n <= sizeof body) {
                take_event(x, body, (size_t)n, now);
            }
        }
    }
}

/* --- all --- */

static void turn(struct latency *x, long ms)
{
    zmq_pollitem_t items[LL_NODES_MAX + 2];
    int n = 0;

    for (unsigned k = 0; k < x->opt->events_n; k++) {
        items[n++] = (zmq_pollitem_t){.socket = x->sub[k], .events = ZMQ_POLLIN};
    }
    if (ll_load_fd(&x->load) >= 0) {
        items[n++] = (zmq_pollitem_t){
            .fd = ll_load_fd(&x->load),
            .events =
                (short)(ZMQ_POLLIN | (ll_load_want_write(&x->load) ? ZMQ_POLLOUT : 0))};
    }
    items[n++] = (zmq_pollitem_t){.fd = PQsocket(x->pg), .events = ZMQ_POLLIN};
    zmq_poll(items, n, ms);
    tend_events(x);
    ll_load_work(&x->load);
    tend_rows(x);
}

static void measure(struct latency *x)
{
    uint64_t began = ll_now_us();
    uint64_t until = 0;

    uint32_t all = x->opt->messages - x->skip;

    while (x->rows_n < all || x->events_n < all) {
        uint64_t now = ll_now_us();

        if (x->load.published < x->opt->messages &&
            now >= began + (uint64_t)(x->load.published * 1e6 / x->opt->rate)) {
            x->sent_us[x->load.published] = now;
            if (!ll_load_publish(&x->load)) {
                x->sent_us[x->load.published] = 0;
            }
        }
        if (x->load.published == x->opt->messages) {
            until = until != 0 ? until : now + x->opt->patience_s * 1000000ULL;
            if (now > until) {
                break;
            }
        }
        turn(x, 1);
    }
}

static void report(struct latency *x, const char *what, const uint64_t *at)
{
    uint64_t *us = sy_calloc(x->opt->messages, sizeof *us);
    size_t n = 0;
    uint32_t missing = 0;

    for (uint32_t i = x->skip; i < x->opt->messages; i++) {
        if (at[i] == 0) {
            missing++;
        } else {
            us[n++] = at[i] - x->sent_us[i];
        }
    }
    ll_print_times(what, us, n);
    printf("%s: missing %u of %u\n", what, missing, x->opt->messages - x->skip);
    sy_free(us);
}

int ll_latency(const struct ll_options *opt)
{
    struct latency x = {.opt = opt, .skip = opt->areas * opt->devices};

    if (opt->rate <= 0 || opt->step_us == 0 || !opt->flip || opt->events_n == 0 ||
        opt->messages <= opt->areas * opt->devices) {
        ll_die(
            "latency needs --rate, --step-ms, --flip, --events and more messages than "
            "meters");
    }
    open_postgres(&x);
    open_events(&x);
    ll_load_open(&x.load, opt);
    ll_load_announce(&x.load);
    x.sent_us = sy_calloc(opt->messages, sizeof *x.sent_us);
    x.row_us = sy_calloc(opt->messages, sizeof *x.row_us);
    x.event_us = sy_calloc(opt->messages, sizeof *x.event_us);
    measure(&x);
    report(&x, "publish to row", x.row_us);
    report(&x, "publish to event of a follower", x.event_us);
    ll_load_close(&x.load);
    PQfinish(x.pg);
    for (unsigned k = 0; k < opt->events_n; k++) {
        zmq_close(x.sub[k]);
    }
    zmq_ctx_term(x.zmq);
    sy_free(x.sent_us);
    sy_free(x.row_us);
    sy_free(x.event_us);
    return 0;
}

/* --- how fast a backlog leaves --- */

static uint64_t shipped(PGconn *pg)
{
    PGresult *r = PQexec(pg, "SELECT COALESCE(max(shipped), 0) FROM vagt_fence");
    uint64_t n = 0;

    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1) {
        n = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
    }
    PQclear(r);
    return n;
}

int ll_drain(const struct ll_options *opt)
{
    uint64_t patience = ll_now_us() + opt->patience_s * 1000000ULL;
    uint64_t began = 0, last = 0, n = 0, from = 0;
    PGconn *pg = PQconnectdb(opt->postgres);

    while (PQstatus(pg) != CONNECTION_OK && ll_now_us() < patience) {
        PQfinish(pg);
        zmq_poll(NULL, 0, 20);
        pg = PQconnectdb(opt->postgres);
    }
    while (n < opt->until && ll_now_us() < patience) {
        uint64_t now = shipped(pg);

        /* From the commit of the first batch, which does not count, to the last. */
        if (from == 0 && now > 0) {
            from = now;
        } else if (now > from && began == 0) {
            began = last = ll_now_us();
            from = now;
        } else if (now > n) {
            last = ll_now_us();
        }
        n = now;
        zmq_poll(NULL, 0, 10);
    }
    PQfinish(pg);
    printf("drained %llu rows in %.2f s, %.0f per second\n",
           (unsigned long long)(n - from), (double)(last - began) / 1e6,
           last > began ? (double)(n - from) * 1e6 / (double)(last - began) : 0);
    return n >= opt->until ? 0 : 1;
}
