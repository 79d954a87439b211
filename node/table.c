#include "node/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "node/node.h"

enum { DEADLINE_MAX_MS = 86400000 }; /* A pitch must not be switched a day late. */

static void answer(struct nd_node *n, const struct ad_pg_ask *ask, const char *status,
                   const char *text)
{
    /* Ten thousand old rows are no reason for as many lines: see say(). */
    SY_LOG(&n->log, SY_DEBUG, "table.answered", KSTR("id", ask->id),
           KSTR("status", status), KSTR("why", text));
    ad_pg_answer(n->pg, ask->id, status, text);
}

static void refuse(struct nd_node *n, const struct ad_pg_ask *ask, const char *text)
{
    n->table.refused++;
    answer(n, ask, "failed", text);
}

/* How long it may still be carried out. @why: if it may not. */
static int64_t time_left(const struct nd_node *n, const struct ad_pg_ask *ask, char *why,
                         size_t size)
{
    int64_t timeout = n->config.commands.timeout_ms;
    /* Whatever a server may say. */
    int64_t age = ask->age_ms < DEADLINE_MAX_MS ? (int64_t)ask->age_ms : DEADLINE_MAX_MS;
    int64_t left = ask->expires ? ask->expires_in_ms : timeout - age;

    if (ask->expires) {
        snprintf(why, size, "expires_at had passed when the row was read: not sent");
    } else {
        snprintf(why, size,
                 "older than %" PRId64
                 " s when the row was read (commands.timeout): not "
                 "sent",
                 timeout / 1000);
    }
    return left < DEADLINE_MAX_MS ? left : DEADLINE_MAX_MS;
}

/* Postgres was away, and somebody has asked for something else in the meantime, by
 * another way: that was the later wish. Rows among themselves come in order. */
static const struct rp_command *overtaken_by(const struct nd_node *n,
                                             const struct rp_device *d,
                                             uint64_t created_ms)
{
    for (uint32_t i = 0; i < rp_store_commands(n->store); i++) {
        const struct rp_command *c = rp_store_command_recent(n->store, i);

        if (c->accepted_ms <= created_ms) {
            break;
        }
        if (c->ieee == d->ieee && strcmp(c->property, "state") == 0 &&
            strcmp(c->source, RP_SOURCE_POSTGRES) != 0) {
            return c;
        }
    }
    return NULL;
}

/* The device it is for; NULL: it was answered. */
static const struct rp_device *check(struct nd_node *n, const struct ad_pg_ask *ask)
{
    const struct nd_wish w = {
        .device = ask->meter, .area = "", .property = "state", .value = ask->value};
    const struct rp_device *d;
    const char *code;
    struct sy_errbuf eb;

    if (strcmp(ask->command, "set_state") != 0) {
        (void)sy_fail(&eb, SY_EINVALID, "command '%s' is not known: only set_state is",
                      ask->command);
        refuse(n, ask, eb.text);
        return NULL;
    }
    d = nd_wish_check(n, &w, &code, &eb);
    if (d == NULL) {
        refuse(n, ask, eb.text);
    }
    return d;
}

static void take(struct nd_node *n, const struct ad_pg_ask *ask,
                 const struct rp_device *d, int64_t left_ms)
{
    char id[RP_ID_SIZE];

    snprintf(id, sizeof id, "%s%s", AD_PG_ID_PREFIX, ask->id);
    rp_batch_command(nd_replica_batch(n->replica), id, d->ieee, "state", ask->value,
                     RP_SOURCE_POSTGRES,
                     nd_replica_clock_ms(n->replica) + (uint64_t)left_ms);
    n->table.taken++;
}

/* True: there is one more on its way through the log. */
static bool consider(struct nd_node *n, const struct ad_pg_ask *ask, uint32_t *room)
{
    const struct rp_device *d;
    const struct rp_command *newer;
    char text[RP_TEXT_SIZE];
    int64_t left;

    if (strcmp(ask->status, "pending") != 0) {
        refuse(n, ask,
               "the cluster has no record of it (was it set up anew?): outcome unknown");
        return false;
    }
    if (!ask->dated && !ask->expires) {
        refuse(n, ask, "created_at is not set, so nobody knows how old it is: not sent");
        return false;
    }
    left = time_left(n, ask, text, sizeof text);
    if (left <= 0) {
        n->table.expired++;
        answer(n, ask, "expired", text);
        return false;
    }
    d = check(n, ask);
    if (d == NULL || *room == 0) {
        return false; /* Without room it waits in the table, and grows old there. */
    }
    newer = overtaken_by(n, d, nd_replica_clock_ms(n->replica) - ask->age_ms);
    if (newer != NULL) {
        n->table.superseded++;
        snprintf(text, sizeof text, "superseded by %s", newer->id);
        answer(n, ask, "superseded", text);
        return false;
    }
    take(n, ask, d, left);
    --*room;
    return true;
}

static void applied(void *data, int status)
{
    struct nd_node *n = data;
    bool missed = n->table.missed;

    (void)status; /* What did not become a command is shown again. */
    n->table.waiting = n->table.missed = false;
    if (missed && n->pg != NULL) {
        ad_pg_look(n->pg);
    }
}

/* What has been done since @was. */
static void say(struct nd_node *n, const struct nd_table *was)
{
    const struct nd_table *is = &n->table;

    if (is->refused + is->expired + is->superseded >
        was->refused + was->expired + was->superseded) {
        SY_LOG(&n->log, SY_NOTE, "table.read", KU64("taken", is->taken - was->taken),
               KU64("refused", is->refused - was->refused),
               KU64("expired", is->expired - was->expired),
               KU64("superseded", is->superseded - was->superseded));
    } /* Else each is a command, and as such in the log. */
}

void nd_table_ask(void *data, const struct ad_pg_ask *asks, unsigned count)
{
    struct nd_node *n = data;
    const struct nd_table was = n->table;
    uint32_t open = rp_store_open_commands(n->store);
    uint32_t max = n->config.commands.open_max;
    uint32_t room = open < max ? max - open : 0;
    bool taken = false;

    if (n->pg == NULL || !nd_node_may_act(n)) {
        return;
    }
    if (n->table.waiting) {
        n->table.missed = true;
        return;
    }
    for (unsigned i = 0; i < count && !nd_replica_full(n->replica); i++) {
        taken |= consider(n, &asks[i], &room);
    }
    say(n, &was);
    if (taken) {
        n->table.waiting = true;
        nd_replica_wait(n->replica, &n->table.wait, applied, n);
    }
}

/* --- dead letters --- */

struct replay
{
    struct nd_wait wait;
    struct nd_node *node;
    uint64_t id;
};

static void replayed(void *data, int status)
{
    struct replay *r = data;
    struct nd_node *n = r->node;

    if (status == 0 && n->pg != NULL) {
        n->table.replayed++;
        ad_pg_retried(n->pg, r->id, NULL);
    } /* Else the watch is over, and the next one has it tried again. */
    sy_free(r);
}

static bool has_topic(const struct nd_area *a, const char *topic)
{
    return strncmp(topic, a->config->base_topic, a->topic_len) == 0 &&
           topic[a->topic_len] == '/';
}

/* The area that it came from, if that still has this topic; else whose topic it is. */
static struct nd_area *area_of(struct nd_node *n, const struct ad_pg_retry *l)
{
    struct nd_area *best = NULL;

    for (unsigned i = 0; i < n->areas_n; i++) {
        struct nd_area *a = &n->areas[i];

        if (!has_topic(a, l->topic)) {
            continue;
        }
        if (strcmp(a->config->name, l->area) == 0) {
            return a;
        }
        if (best == NULL || a->topic_len > best->topic_len) {
            best = a;
        }
    }
    return best;
}

/* NULL: it can. */
static const char *why_not(const struct nd_node *n, const struct nd_area *a)
{
    if (a == NULL) {
        return "no area of the configuration has this topic";
    }
    if (a->state == NULL) {
        return "its area is switched off";
    }
    return n->holding ? "the outbox is full: ask again when it has room" : NULL;
}

static void put_through(struct nd_node *n, struct nd_area *a, const struct ad_pg_retry *l)
{
    const struct rp_message m = {.topic = l->topic,
                                 .payload = l->payload,
                                 .len = l->len,
                                 .qos = 1,
                                 .at_ms = l->at_ms};
    struct rp_batch *batch = nd_replica_batch(n->replica);

    /* An input that says nothing, so that there is something to wait for. */
    rp_batch_tick(batch);
    a->out = batch; /* As for a message of a broker. */
    a->source->message(a->state, &m, nd_replica_clock_ms(n->replica), batch);
    a->out = NULL;
}

void nd_table_letter(void *data, const struct ad_pg_retry *l)
{
    struct nd_node *n = data;
    struct nd_area *a = area_of(n, l);
    const char *why = why_not(n, a);
    struct replay *r;

    if (n->pg == NULL) {
        return;
    }
    if (why != NULL) {
        ad_pg_retried(n->pg, l->id, why);
        return;
    }
    SY_LOG(&n->log, SY_NOTE, "letter.replayed", KU64("id", l->id),
           KSTR("area", a->config->name), KSTR("topic", l->topic));
    put_through(n, a, l);
    r = sy_calloc(1, sizeof *r);
    r->node = n;
    r->id = l->id;
    nd_replica_wait(n->replica, &r->wait, replayed, r);
}
