/* Commands on their way out, on the node on watch.
 *
 *   accepted --(may go)--> propose `sent` --(committed)--> publish --> the device
 *      reports, which confirms; or retry_ms passes and it goes again; or the
 *      deadline passes.
 *
 * `sent` is committed before the publish, so that whoever relieves this node
 * knows what may have left. That it left is told (rp_batch_left) when the broker gives it
 * back to our reader: only what the bridge says behind it confirms. What may go: its
 * bridge takes commands, its device is not known to be offline, the area's pace and its
 * circuit breaker allow it, the writer is connected. */

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "node/node.h"

/* So shortly before its deadline no attempt begins: broker, bridge and radio take
 * time, too, and a meter must not be switched when nobody expects it any more. */
enum { ON_THE_WAY_MS = 250 };

/* The most commands to one area that leave closer together than its pace. */
enum { TOGETHER = 5 };

/* Zigbee2MQTT goes on for 17 s to reach a device that does not answer (measured): one
 * that comes back meanwhile is switched then. So in this time before the deadline an
 * attempt is repeated only if the device was heard since the last one; such a device is
 * reached at once or not at all. */
enum { RADIO_MS = 18000 };

/* How long to wait for what was published to be read back: as long as its answer can be
 * under way. It is missing when the reader is behind, or when the message was lost. A
 * broker that has given nothing back for so long, though it was connected, does not let
 * us read it; then nothing is waited for any more. */
enum { ECHO_MS = 18000 };

static struct nd_try *find(struct nd_node *n, uint64_t seq)
{
    size_t lo = 0;
    size_t hi = n->tries_n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (n->tries[mid].seq < seq) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < n->tries_n && n->tries[lo].seq == seq ? &n->tries[lo] : NULL;
}

/* Make tries[] name exactly the open commands. Both are in order of seq, and only
 * new commands come at the end: one merge. */
static void sync_tries(struct nd_node *n)
{
    size_t open = rp_store_open_commands(n->store);
    size_t from = 0;
    size_t to = 0;
    struct nd_try *old = n->tries;
    struct nd_try *tries;

    if (open > n->tries_cap) {
        n->tries_cap = open * 2;
        tries = sy_calloc(n->tries_cap, sizeof *tries);
    } else {
        tries = old; /* to <= from always, so it can be done in place */
    }
    for (const struct rp_command *c = rp_store_next_open(n->store, NULL); c != NULL;
         c = rp_store_next_open(n->store, c)) {
        while (from < n->tries_n && old[from].seq < c->seq) {
            from++;
        }
        if (from < n->tries_n && old[from].seq == c->seq) {
            tries[to++] = old[from++];
        } else {
            /* In place: what is overwritten has been read. */
            assert(tries != old || to < from || from >= n->tries_n);
            tries[to++] = (struct nd_try){.seq = c->seq};
        }
    }
    if (tries != old) {
        sy_free(old);
        n->tries = tries;
    }
    n->tries_n = to;
}

static uint64_t backoff(struct nd_node *n, uint32_t attempts)
{
    uint64_t ms = n->config.commands.retry_min_ms;

    for (uint32_t i = 0; i < attempts && ms < n->config.commands.retry_max_ms; i++) {
        ms *= 2;
    }
    if (ms > n->config.commands.retry_max_ms) {
        ms = n->config.commands.retry_max_ms;
    }
    /* A fifth of jitter, so that what failed together does not come back together. */
    return ms - ms / 10 + nd_node_random(n) % (ms / 5 + 1);
}

struct run
{
    uint64_t wall_ms;
    uint64_t mono_ms;
    uint64_t next_ms; /* mono; when to look again */
};

static void look_again(struct run *run, uint64_t in_ms)
{
    if (run->mono_ms + in_ms < run->next_ms) {
        run->next_ms = run->mono_ms + in_ms;
    }
}

static void look_at(struct run *run, uint64_t wall_ms)
{
    look_again(run, wall_ms > run->wall_ms ? wall_ms - run->wall_ms : 0);
}

/* The area of a command's device, if it is in use here. */
static struct nd_area *area_of(struct nd_node *n, const struct rp_command *c)
{
    const struct rp_device *d = rp_store_device(n->store, c->ieee);

    return d != NULL ? nd_duty_area(n, d->area) : NULL;
}

/* The time of the last attempt is over and the device has said nothing. Of what an
 * earlier watch sent nothing is known here. */
static void note_silence(struct nd_node *n, const struct rp_command *c, struct nd_try *t,
                         const struct run *run)
{
    struct nd_area *a = area_of(n, c);

    if (a == NULL || c->status != RP_SENT || t->proposed == 0 ||
        t->silent == c->attempts) {
        return;
    }
    t->silent = c->attempts;
    if (rp_breaker_failed(&a->breaker, &n->config.commands.breaker, c->ieee,
                          run->mono_ms)) {
        SY_LOG(&n->log, SY_ERR, "breaker.open", KSTR("area", a->config->name),
               KU64("failures", a->breaker.failures),
               KU64("pause_ms", a->breaker.pause_ms));
    }
}

/* May this command leave now? */
static bool may_go(struct nd_node *n, const struct rp_command *c, struct run *run)
{
    const struct rp_device *d = rp_store_device(n->store, c->ieee);
    const struct rp_area *area = d != NULL ? rp_store_area(n->store, d->area) : NULL;
    struct nd_area *a = area != NULL ? nd_duty_area(n, area->nr) : NULL;
    const struct nd_broker *b;

    if (a == NULL || area->ready_at_ms == 0 || d->avail == RP_OFFLINE) {
        return false; /* A change of any of these wakes us. */
    }
    b = &n->brokers[a->config->broker];
    if (b->mqtt == NULL || ad_mqtt_status(b->mqtt)->writer != AD_MQTT_UP) {
        return false;
    }
    if (!rp_breaker_allows(&a->breaker, run->mono_ms)) {
        look_again(run, a->breaker.until_ms - run->mono_ms);
        return false;
    }
    if (run->mono_ms < a->next_slot_ms) {
        look_again(run, a->next_slot_ms - run->mono_ms);
        return false;
    }
    a->next_slot_ms = run->mono_ms + n->config.commands.area_pace_ms;
    rp_breaker_sent(&a->breaker, run->mono_ms);
    return true;
}

static bool too_late(struct nd_node *n, const struct rp_command *c,
                     const struct nd_try *t, struct run *run)
{
    uint64_t left = c->deadline_ms > run->wall_ms ? c->deadline_ms - run->wall_ms : 0;
    const struct rp_device *d = rp_store_device(n->store, c->ieee);

    if (left <= ON_THE_WAY_MS) {
        return true;
    }
    /* What an earlier watch sent may never have left: that is no repetition. */
    if (c->attempts == 0 || t->resend || left > RADIO_MS || d == NULL ||
        d->updated_ms > t->sent_ms) {
        return false;
    }
    look_again(run, 1000);
    return true;
}

static void consider(struct nd_node *n, const struct rp_command *c, struct nd_try *t,
                     struct run *run)
{
    bool due = c->status == RP_ACCEPTED || t->resend || run->wall_ms >= c->retry_ms;

    if (run->wall_ms >= c->deadline_ms) {
        if (t->proposed != UINT32_MAX) {
            note_silence(n, c, t, run);
            t->proposed = UINT32_MAX; /* Once: any entry lets it expire. */
            rp_batch_tick(nd_replica_batch(n->replica));
        }
        look_again(run, 1000);
        return;
    }
    look_at(run, c->deadline_ms);
    if (t->proposed > c->attempts) {
        return; /* `sent` is on its way through the log. */
    }
    if (!due) {
        look_at(run, c->retry_ms);
        return;
    }
    note_silence(n, c, t, run);
    if (!too_late(n, c, t, run) && may_go(n, c, run)) {
        t->proposed = c->attempts + 1;
        t->resend = false;
        t->sent_ms = run->wall_ms;
        rp_batch_going(nd_replica_batch(n->replica), c->seq, t->proposed,
                       run->wall_ms + backoff(n, c->attempts));
    }
}

/* Decided at the pace, committed together: what a slow disk held up must not reach the
 * coordinator all at once. So many may leave together, the others follow at the pace. */
static bool may_leave(struct nd_node *n, const struct rp_command *c, struct run *run)
{
    const uint64_t pace_ms = n->config.commands.area_pace_ms;
    struct nd_area *a = area_of(n, c);

    if (a == NULL) {
        return true; /* To nobody: publish() says what comes of it. */
    }
    if (a->out_ms > run->mono_ms + (TOGETHER - 1) * pace_ms) {
        look_again(run, a->out_ms - run->mono_ms - (TOGETHER - 1) * pace_ms);
        return false;
    }
    a->out_ms = (a->out_ms > run->mono_ms ? a->out_ms : run->mono_ms) + pace_ms;
    return true;
}

static void publish(struct nd_node *n, const struct rp_command *c, struct nd_try *t)
{
    const struct rp_device *d = rp_store_device(n->store, c->ieee);
    struct nd_area *a = d != NULL ? nd_duty_area(n, d->area) : NULL;
    struct nd_broker *b = a != NULL ? &n->brokers[a->config->broker] : NULL;
    struct ad_mqtt *mqtt = b != NULL ? b->mqtt : NULL;
    struct sy_buf topic = {0};
    struct sy_buf payload = {0};
    int rv;

    t->publish = false;
    t->published = c->attempts;
    if (mqtt == NULL || !nd_node_may_act(n)) {
        t->resend = true; /* By us when we may, or by who relieves us. */
        return;
    }
    a->source->command(a->state, d, c, &topic, &payload);
    rv = ad_mqtt_publish(mqtt, (const char *)topic.p, payload.p, payload.len, false);
    if (rv == 0) {
        t->owes = c->attempts;
        t->echoed = false;
        t->left_ms = nd_now_ms();
        if (b->mute_since_ms == 0) {
            b->mute_since_ms = t->left_ms;
        }
        nd_air_left(n, c);
        SY_LOG(&n->log, SY_DEBUG, "command.published", KSTR("id", c->id),
               KSTR("topic", (const char *)topic.p), KU64("attempt", c->attempts));
    } else if (rv == SY_ENOTFOUND) {
        t->resend = true; /* As soon as the writer is back. */
    } /* Its queue is full: after retry_ms, not in a circle through the log. */
    sy_buf_free(&topic);
    sy_buf_free(&payload);
}

static bool owing(const struct nd_try *t, const struct rp_command *c)
{
    return t->owes != 0 && t->owes == c->attempts && c->status == RP_SENT;
}

/* It gives nothing back: a report that waited at the broker may confirm too early. */
static void give_up_echo(struct nd_node *n, struct nd_broker *b, uint64_t now_ms)
{
    if (b->echo != ND_ECHO_UNKNOWN || b->mute_since_ms == 0 ||
        now_ms - b->mute_since_ms < ECHO_MS) {
        return;
    }
    b->echo = ND_ECHO_NO;
    SY_LOG(&n->log, SY_WARN, "broker.no_echo",
           KSTR("broker", n->config.brokers[b->nr].name),
           KSTR("why",
                "it does not give back what is published below <base>/+/set: "
                "allow the user of vagt to read that, or a command may be "
                "confirmed by an older report"));
}

/* It has left, and it is known where that stands among what the reader was given: from
 * here on what the bridge says may be its answer, unless it may as well be the answer to
 * the one before. */
static void tell_left(struct nd_node *n, const struct rp_command *c, struct nd_try *t,
                      struct run *run)
{
    const struct nd_area *a = owing(t, c) ? area_of(n, c) : NULL;
    struct nd_broker *b;
    uint64_t air_ms;
    uint64_t at_ms;

    if (a == NULL) {
        return;
    }
    b = &n->brokers[a->config->broker];
    give_up_echo(n, b, run->mono_ms);
    at_ms = t->left_ms + (t->echoed || b->echo == ND_ECHO_NO ? 0 : ECHO_MS);
    air_ms = nd_air_until(n, c);
    at_ms = air_ms > at_ms ? air_ms : at_ms;
    if (at_ms > run->mono_ms) {
        look_again(run, at_ms - run->mono_ms);
        return;
    }
    t->owes = 0;
    rp_batch_left(nd_replica_batch(n->replica), c->seq, c->attempts);
}

/* Into the batch of the message: what was read before it is before it. A redelivered one
 * may be of an earlier watch, and older than what this one sent; the next attempt is
 * read back, too. */
void nd_dispatch_asked(struct nd_area *a, const struct rp_source_note *note)
{
    struct nd_node *n = a->node;
    const struct rp_command *c;
    struct nd_try *t;
    uint64_t seq;

    if (note->redelivered) {
        return;
    }
    n->brokers[a->config->broker].echo = ND_ECHO_YES;
    seq = nd_air_asked(n, note->ieee, note->value);
    t = seq != 0 ? find(n, seq) : NULL;
    c = t != NULL ? rp_store_command_seq(n->store, seq) : NULL;
    if (c == NULL || !owing(t, c)) {
        return;
    }
    t->echoed = true;
    if (nd_air_until(n, c) <= nd_now_ms()) {
        t->owes = 0;
        rp_batch_left(a->out != NULL ? a->out : nd_replica_batch(n->replica), c->seq,
                      c->attempts);
    }
}

static void timer_cb(uv_timer_t *timer)
{
    struct nd_node *n = timer->data;

    nd_dispatch_run(n);
}

/* After the new ones: a meter that does not answer must not keep the pace of its area
 * from those that would. */
static void consider_again(struct nd_node *n, struct run *run)
{
    size_t i = 0;

    for (const struct rp_command *c = rp_store_next_open(n->store, NULL); c != NULL;
         c = rp_store_next_open(n->store, c), i++) {
        if (c->status != RP_ACCEPTED) {
            consider(n, c, &n->tries[i], run);
        }
    }
}

void nd_dispatch_run(struct nd_node *n)
{
    struct run run = {.wall_ms = nd_replica_clock_ms(n->replica), .mono_ms = nd_now_ms()};
    size_t i = 0;

    n->dispatch_due = false;
    if (cs_watch_state(&n->watch) != CS_ACTIVE || !n->ports_running) {
        return;
    }
    run.next_ms = run.mono_ms + 60000;
    sync_tries(n);
    for (const struct rp_command *c = rp_store_next_open(n->store, NULL); c != NULL;
         c = rp_store_next_open(n->store, c), i++) {
        assert(n->tries[i].seq == c->seq);
        /* Never late: the process may have slept since the commit. */
        if (n->tries[i].publish && c->status == RP_SENT &&
            run.wall_ms + ON_THE_WAY_MS < c->deadline_ms && may_leave(n, c, &run)) {
            publish(n, c, &n->tries[i]);
        }
        tell_left(n, c, &n->tries[i], &run);
        if (c->status == RP_ACCEPTED) {
            consider(n, c, &n->tries[i], &run);
        }
    }
    consider_again(n, &run);
    if (n->tries_n > 0) {
        uv_update_time(n->loop);
        (void)uv_timer_start(&n->dispatch_timer, timer_cb, run.next_ms - run.mono_ms + 1,
                             0);
    } else {
        uv_timer_stop(&n->dispatch_timer);
    }
}

/* Whatever a device says, its bridge lives. */
static void answered(struct nd_node *n, const struct rp_area *area)
{
    struct nd_area *a = area != NULL ? nd_duty_area(n, area->nr) : NULL;

    if (a != NULL && rp_breaker_answered(&a->breaker)) {
        SY_LOG(&n->log, SY_NOTE, "breaker.closed", KSTR("area", a->config->name));
        n->dispatch_due = true;
    }
}

/* While an entry is applied: note, act later. */
void nd_dispatch_event(struct nd_node *n, const struct rp_event *ev)
{
    struct nd_try *t;

    switch (ev->kind) {
    case RP_EV_COMMAND:
        t = find(n, ev->command->seq);
        /* Each attempt once: the command also changes when its bridge says what it met
         * with, and is told again to who asks for it a second time. */
        if (t != NULL && ev->command->status == RP_SENT &&
            ev->command->attempts == t->proposed &&
            ev->command->attempts != t->published) {
            t->publish = true;
        }
        n->dispatch_due = true;
        break;
    case RP_EV_BRIDGE:
        if (ev->area->bridge != RP_ONLINE) {
            nd_air_doubt(n, ev->area->nr);
        }
        answered(n, ev->area);
        n->dispatch_due = true;
        break;
    case RP_EV_REPORT:
        answered(n, ev->area);
        nd_air_heard(n, ev->device);
        break;
    case RP_EV_AVAIL:
    case RP_EV_DEVICE:
        n->dispatch_due = true;
        break;
    case RP_EV_AREA:
    case RP_EV_GONE:
    case RP_EV_STATE:
    case RP_EV_WATCH:
    case RP_EV_REFUSED:
    case RP_EV_LETTER:
    case RP_EV_FACT:
    case RP_EV_FILES:
    case RP_EV_DRILL:
    case RP_EV_AUDIT:
    case RP_EV_DIVERGED:
    case RP_EV_NR:
    default:
        break;
    }
}

void nd_dispatch_init(struct nd_node *n)
{
    int rv = uv_timer_init(n->loop, &n->dispatch_timer);

    assert(rv == 0);
    n->dispatch_timer.data = n;
    n->open_handles++;
}

void nd_dispatch_begin(struct nd_node *n)
{
    n->tries_n = 0;
    sync_tries(n);
    for (unsigned i = 0; i < n->areas_n; i++) {
        n->areas[i].breaker = (struct rp_breaker){0};
    }
    for (size_t i = 0; i < n->tries_n; i++) {
        /* What an earlier watch sent may have been lost with it. ON and OFF are
         * idempotent at the device: send again at once. */
        n->tries[i].resend = true;
    }
    for (unsigned i = 0; i < ND_BROKERS_MAX; i++) {
        n->brokers[i].echo = ND_ECHO_UNKNOWN;
        n->brokers[i].mute_since_ms = 0;
    }
    nd_air_begin(n);
    n->dispatch_due = true;
}

void nd_dispatch_free(struct nd_node *n)
{
    sy_free(n->tries);
}
