/* What must never be seen of a site, and what must be so in the end. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/world_impl.h"

enum {
    NUMBER_UNIT = 1000,
    CLOCKS_MS = 2000,
    ROW_TIMEOUT_MS = 60000, /* commands.timeout: of a row that names no end */
    /* The answer to a look may be under way for so long: the age in it is of before. */
    ROW_SLACK_MS = 20000
};

/* --- readings --- */

static struct wreading **place(struct wcheck *c, uint64_t ieee, uint64_t number)
{
    uint64_t h =
        (ieee ^ number * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);

    for (h >>= 32;; h++) {
        struct wreading **r = &c->readings[h & (c->readings_cap - 1)];

        if (*r == NULL || ((*r)->meter->ieee == ieee && (*r)->number == number)) {
            return r;
        }
    }
}

static void make_room(struct wcheck *c)
{
    struct wreading **old = c->readings;
    unsigned cap = c->readings_cap;

    if (c->readings_n * 2 < cap) {
        return;
    }
    c->readings_cap = cap > 0 ? cap * 2 : 256;
    c->readings = sy_calloc(c->readings_cap, sizeof(struct wreading *));
    for (unsigned i = 0; i < cap; i++) {
        if (old[i] != NULL) {
            *place(c, old[i]->meter->ieee, old[i]->number) = old[i];
        }
    }
    sy_free(old);
}

struct wreading *wc_reading(struct world *w, struct wmeter *m, uint64_t number, bool make)
{
    struct wcheck *c = &w->check;
    struct wreading **r;

    make_room(c);
    r = place(c, m->ieee, number);
    if (*r == NULL && make) {
        *r = sy_calloc(1, sizeof **r);
        (*r)->meter = m;
        (*r)->number = number;
        c->readings_n++;
    }
    return *r;
}

static struct wreading *known(struct world *w, uint64_t ieee, uint64_t number,
                              const char *where)
{
    struct wmeter *m = wz_meter(w, ieee);
    struct wreading *r = m != NULL ? wc_reading(w, m, number, false) : NULL;

    if (r == NULL) {
        W_FAIL(w, "%s: reading %llu of meter %llx, which nobody has sent", where,
               (ull)number, (ull)ieee);
    }
    return r;
}

void wc_acked(struct world *w, struct wreading *r)
{
    if (r->due && !r->applied) {
        W_FAIL(w, "reading %llu of %s is acknowledged, and no node has it",
               (ull)r->number, r->meter->name);
    }
    r->acked = true;
}

void wc_row_written(struct world *w, const struct wp_reading *row, bool fresh)
{
    struct wreading *r = known(w, row->ieee, row->number, "postgres");

    r->rows += fresh;
    if (r->rows > 1) {
        W_FAIL(w, "postgres: reading %llu of %s has two rows", (ull)r->number,
               r->meter->name);
    }
}

static bool clocks_are_off(const struct world *w)
{
    for (unsigned i = 1; i <= SIM_NODES_MAX; i++) {
        int64_t off = w->s->nodes[i].clock_off_ms;

        if (off > CLOCKS_MS || off < -CLOCKS_MS) {
            return true;
        }
    }
    return false;
}

static void look_at_outbox(struct world *w, const struct rp_store *s)
{
    struct wcheck *c = &w->check;
    uint64_t last = rp_store_readings_last(s);
    uint64_t seq = c->seq_seen + 1;

    if (rp_store_readings_first(s) > seq) {
        seq = rp_store_readings_first(s);
    }
    for (; seq <= last; seq++) {
        const struct rp_reading *o = rp_store_reading(s, seq);
        struct wreading *r =
            known(w, o->ieee, (uint64_t)o->values.energy_mwh / NUMBER_UNIT, "outbox");

        if (r->applied) {
            c->twice++;
            /* A broker that went back to what it had saved sends without DUP, and whose
             * clock jumps may not know a cached state by its time: the row is one. */
            if (w->broker.life == 0 && !clocks_are_off(w)) {
                W_FAIL(w, "reading %llu of %s is taken twice", (ull)r->number,
                       r->meter->name);
            }
        }
        r->applied = true;
    }
    if (last > c->seq_seen) {
        c->seq_seen = last;
    }
}

static void look_for_devices(struct world *w, const struct rp_store *s)
{
    unsigned left = 0;

    for (unsigned i = 0; i < world_devices(w) && !w->check.all_listed; i++) {
        struct wmeter *m = wz_nth(w, i);
        const struct rp_device *d = m->listed ? NULL : rp_store_device(s, m->ieee);

        m->listed = m->listed || (d != NULL && d->listed);
        left += !m->listed;
    }
    w->check.all_listed = left == 0;
}

/* --- commands --- */

static struct wcommand *command_of(struct world *w, const char *id)
{
    struct wcheck *c = &w->check;
    struct wcommand *to;

    for (unsigned i = c->commands_n; i-- > 0;) {
        if (strcmp(c->commands[i].id, id) == 0) {
            return &c->commands[i];
        }
    }
    if (c->commands_n == c->commands_cap) {
        c->commands_cap = c->commands_cap * 2 + 64;
        c->commands = sy_realloc(c->commands, c->commands_cap * sizeof *c->commands);
    }
    to = &c->commands[c->commands_n++];
    *to = (struct wcommand){.seq = 0};
    snprintf(to->id, sizeof to->id, "%s", id);
    return to;
}

static void first_seen(struct world *w, struct wcommand *k, const struct rp_command *c)
{
    k->seen = true;
    k->seq = c->seq;
    k->ieee = c->ieee;
    k->accepted_at = w_now(w);
    snprintf(k->value, sizeof k->value, "%s", c->value);
    if (strncmp(c->id, AD_PG_ID_PREFIX, sizeof AD_PG_ID_PREFIX - 1) == 0) {
        for (unsigned i = 0; i < w->pg.rows_n; i++) {
            const struct wp_row *r = &w->pg.rows[i];

            if (strcmp(r->id, c->id + sizeof AD_PG_ID_PREFIX - 1) == 0) {
                k->deadline_ms =
                    ROW_SLACK_MS +
                    (r->expires_ms != 0 ? r->expires_ms : r->created_ms + ROW_TIMEOUT_MS);
            }
        }
    } else if (!k->asked) {
        W_FAIL(w, "command %s, which nobody has given", c->id);
    }
}

/* "Confirmed" says that the meter was seen so since it was asked. */
static void check_confirmed(struct world *w, const struct wcommand *k)
{
    const struct wmeter *m = wz_meter(w, k->ieee);
    bool on = strcmp(k->value, "ON") == 0;

    w->check.confirmed++;
    if (m->on != on && m->was[!on] <= k->accepted_at) {
        W_FAIL(
            w,
            "command %s is confirmed, but %s was last %s before it was accepted at %llu "
            "ms",
            k->id, m->name, k->value, (ull)k->accepted_at);
    }
}

static void observe(struct world *w, unsigned node, const struct rp_command *c)
{
    struct wcommand *k = command_of(w, c->id);

    if (!k->seen) {
        first_seen(w, k, c);
    }
    if (k->seq != c->seq) {
        W_FAIL(w, "command %s was taken twice: number %llu, on node %u %llu", k->id,
               (ull)k->seq, node, (ull)c->seq);
    }
    if (!rp_ended(c->status)) {
        return;
    }
    if (k->end == 0) {
        k->end = c->status;
        W_TRACE(w, 2, "command %s: %s %s", k->id, rp_command_status_name(c->status),
                c->reason);
        if (c->status == RP_CONFIRMED) {
            check_confirmed(w, k);
        }
    } else if (k->end != c->status) {
        W_FAIL(w, "command %s ends twice: %s, on node %u %s", k->id,
               rp_command_status_name(k->end), node, rp_command_status_name(c->status));
    }
}

void world_applied(struct world *w, unsigned node, const struct rp_store *store,
                   uint64_t index)
{
    struct wcheck *c = &w->check;
    const struct rp_command *k;

    (void)index;
    if (c->store[node] != store || c->store_life[node] != site_life(node)) {
        c->store[node] = store;
        c->store_life[node] = site_life(node);
        c->revision_seen[node] = 0;
    }
    look_at_outbox(w, store);
    look_for_devices(w, store);
    while ((k = rp_store_command_changed(store, c->revision_seen[node])) != NULL) {
        c->revision_seen[node] = k->revision;
        observe(w, node, k);
    }
}

void world_caller_sent(struct world *w, const char *id, uint64_t ieee, const char *value,
                       uint64_t deadline_ms)
{
    struct wcommand *k = command_of(w, id);

    k->asked = true;
    k->ieee = ieee;
    snprintf(k->value, sizeof k->value, "%s", value);
    /* Asked once more with the same id it is the same command: the first counts, if
     * that was heard. */
    if (deadline_ms > k->deadline_ms) {
        k->deadline_ms = deadline_ms;
    }
}

void world_caller_answer(struct world *w, const char *id, const char *status)
{
    struct wcommand *k = command_of(w, id);
    enum rp_command_status told = 0;

    for (enum rp_command_status s = RP_ACCEPTED; status != NULL && s < RP_STATUS_NR;
         s++) {
        told = strcmp(status, rp_command_status_name(s)) == 0 ? s : told;
    }
    if (told == 0) {
        return;
    }
    if (!k->seen) {
        W_FAIL(w, "command %s is told to be %s, and no node has it", id, status);
    }
    k->promised = true;
    if (rp_ended(told) && told != k->end) {
        W_FAIL(w, "command %s is told to be %s, but is %s", id, status,
               k->end != 0 ? rp_command_status_name(k->end) : "open");
    }
}

/* --- commands on their way --- */

static bool is_for(const struct rp_command *c, const struct wmeter *m,
                   const char *payload)
{
    char value[RP_VALUE_SIZE + 4];

    snprintf(value, sizeof value, "\"%s\"", c->value);
    return m != NULL && c->ieee == m->ieee && strstr(payload, value) != NULL;
}

static const struct wmeter *meter_named(struct world *w, const char *topic)
{
    for (unsigned i = 0; i < world_devices(w); i++) {
        const struct wmeter *m = wz_nth(w, i);
        const char *at = strstr(topic, m->name);

        if (at != NULL && at[strlen(m->name)] == '/') {
            return m;
        }
    }
    return NULL;
}

void wc_set_leaves(struct world *w, unsigned node, const char *topic, const char *payload)
{
    const struct rp_store *s = w->check.store[node];
    const struct wmeter *m = meter_named(w, topic);
    const struct rp_command *c = NULL;
    struct wcommand *k;

    w->check.sets_published++;
    W_TRACE(w, 2, "node %u: publishes %s %s", node, topic, payload);
    while ((c = rp_store_next_open(s, c)) != NULL &&
           (c->status != RP_SENT || !is_for(c, m, payload))) {
    }
    if (c == NULL) {
        W_FAIL(w, "node %u publishes %s %s, and no open command of its own asks for it",
               node, topic, payload);
    }
    if (rp_store_now(s) >= c->deadline_ms) {
        W_FAIL(w, "node %u publishes command %s after its deadline", node, c->id);
    }
    k = command_of(w, c->id);
    k->left = true;
    /* A node whose clock was set back goes on from the state's time
     * (replication/clock.h), a little slower, and without the time in which it was down:
     * it cannot know better. */
    if (w->s->nodes[node].clock_off_ms < -(int64_t)w->config.clock_slack_ms) {
        return;
    }
    if (k->deadline_ms != 0 && w_now(w) > k->deadline_ms + w->config.clock_slack_ms) {
        W_FAIL(w, "node %u publishes command %s %llu ms after its deadline", node, c->id,
               (ull)(w_now(w) - k->deadline_ms));
    }
}

void wc_set_takes_effect(struct world *w, const struct wmsg *m)
{
    struct wbroker *b = &w->broker;

    if (m->term < b->set_term || (m->term == b->set_term && m->node != b->set_node)) {
        W_FAIL(w, "broker: a command of node %u, term %llu, after one of term %llu",
               m->node, (ull)m->term, (ull)b->set_term);
    }
    b->set_term = m->term;
    b->set_node = m->node;
}

void wc_executed(struct world *w, struct wmeter *m, const struct wset *set)
{
    w->check.sets_executed++;
    if (w_now(w) > set->until + 1000) {
        W_FAIL(w, "meter %s: switched %llu ms after its command came", m->name,
               (ull)(w_now(w) - set->came_at));
    }
}

/* --- the end --- */

static bool waits(struct world *w, const char *fmt, ...) SY_PRINTF(2, 3);
static bool waits(struct world *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(w->check.waits_for, sizeof w->check.waits_for, fmt, ap);
    va_end(ap);
    return false;
}

static bool store_drained(struct world *w, unsigned node)
{
    const struct rp_store *s = w->check.store[node];

    if (s == NULL) {
        return true;
    }
    if (rp_store_open_commands(s) > 0) {
        return waits(w, "node %u: command %s", node, rp_store_next_open(s, NULL)->id);
    }
    if (rp_store_readings_shipped(s) != w->check.seq_seen) {
        return waits(w, "node %u: readings after %llu", node,
                     (ull)rp_store_readings_shipped(s));
    }
    for (unsigned i = 0; i < world_devices(w); i++) {
        const struct wmeter *m = wz_nth(w, i);
        const struct rp_device *d = rp_store_device(s, m->ieee);

        if (d == NULL || d->state != (m->on ? RP_ON : RP_OFF)) {
            return waits(w, "node %u: the state of %s", node, m->name);
        }
    }
    return true;
}

bool world_drained(struct world *w)
{
    if (!wb_drained(w)) {
        return waits(w, "messages at the broker");
    }
    for (unsigned i = 1; i <= SIM_NODES_MAX; i++) {
        if (!store_drained(w, i)) {
            return false;
        }
    }
    for (unsigned i = 0; i < w->pg.rows_n; i++) {
        if (!w->pg.rows[i].ended) {
            return waits(w, "row %s of meter_commands (%s)", w->pg.rows[i].id,
                         w->pg.rows[i].status);
        }
    }
    return true;
}

const char *world_waits_for(const struct world *w)
{
    return w->check.waits_for;
}

static void check_readings(struct world *w)
{
    const struct wcheck *c = &w->check;

    for (unsigned i = 0; i < c->readings_cap; i++) {
        const struct wreading *r = c->readings[i];

        if (r != NULL && r->due && r->acked && r->rows != 1) {
            W_FAIL(w, "reading %llu of %s was acknowledged and has %u rows",
                   (ull)r->number, r->meter->name, r->rows);
        }
    }
}

static void check_command(struct world *w, const struct wcommand *k)
{
    for (unsigned n = 1; n <= SIM_NODES_MAX; n++) {
        const struct rp_store *s = w->check.store[n];
        const struct rp_command *c = s != NULL ? rp_store_command(s, k->id) : NULL;

        if (s == NULL || !k->seen) {
            continue;
        }
        if (c == NULL || c->status != k->end) {
            W_FAIL(w, "command %s: %s, but on node %u %s", k->id,
                   k->end != 0 ? rp_command_status_name(k->end) : "open", n,
                   c == NULL ? "unknown" : rp_command_status_name(c->status));
        }
    }
}

static void check_row(struct world *w, const struct wp_row *r)
{
    char id[RP_ID_SIZE];
    const struct wcommand *k;

    snprintf(id, sizeof id, "%s%s", AD_PG_ID_PREFIX, r->id);
    k = command_of(w, id);
    if (!r->ended ||
        (k->seen && strcmp(r->status, rp_command_status_name(k->end)) != 0)) {
        W_FAIL(w, "row %s of meter_commands is %s, its command %s", r->id, r->status,
               k->seen ? rp_command_status_name(k->end) : "unknown");
    }
}

/* Is it as the last command for it that was confirmed says? Another that came later may
 * have been carried out, too, and so may a hand. */
static void check_register(struct world *w, const struct wmeter *m)
{
    const struct wcommand *last = NULL;

    for (unsigned i = 0; i < w->check.commands_n; i++) {
        const struct wcommand *k = &w->check.commands[i];

        if (k->seen && k->ieee == m->ieee && (k->end == RP_CONFIRMED || k->left) &&
            (last == NULL || k->seq > last->seq)) {
            last = k;
        }
    }
    if (last == NULL || last->end != RP_CONFIRMED || m->by_hand_ms > last->accepted_at ||
        m->on == (strcmp(last->value, "ON") == 0)) {
        return;
    }
    W_FAIL(w, "meter %s is %s in the end, but command %s, the last one, was confirmed",
           m->name, m->on ? "ON" : "OFF", last->id);
}

void world_check_end(struct world *w)
{
    if (!world_drained(w)) {
        W_FAIL(w, "it does not come to an end: %s", w->check.waits_for);
    }
    check_readings(w);
    for (unsigned i = 0; i < world_devices(w); i++) {
        check_register(w, wz_nth(w, i));
    }
    for (unsigned i = 0; i < w->pg.rows_n; i++) {
        check_row(w, &w->pg.rows[i]);
    }
    for (unsigned i = 0; i < w->check.commands_n; i++) {
        check_command(w, &w->check.commands[i]);
    }
}

void world_check(struct world *w)
{
    const struct wpg *pg = &w->pg;

    if (pg->at.shipped > w->check.seq_seen) {
        W_FAIL(w, "postgres is at reading %llu, there are %llu", (ull)pg->at.shipped,
               (ull)w->check.seq_seen);
    }
}

void wc_free(struct world *w)
{
    for (unsigned i = 0; i < w->check.readings_cap; i++) {
        sy_free(w->check.readings[i]);
    }
    sy_free(w->check.readings);
    sy_free(w->check.commands);
}
