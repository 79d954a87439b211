/* Attempts that left and were not answered yet.
 *
 * Zigbee2MQTT answers a /set in two messages, the first of which repeats the state
 * before it. If a command is published while one that wants the opposite is under way,
 * that first message says just what the new one wants, and would confirm what the device
 * has not been told. So the new one is published at once, but what the bridge says counts
 * for it (rp_batch_left) only when the one before was answered, or is over: the bridge
 * goes on for 17 s to reach a silent device (facts: dispatch.c, RADIO_MS).
 *
 * It is in the order of the broker as far as that is known: what our reader was given
 * back, ours and that of others, comes before what was not read back yet.
 *
 * Some are never answered: their bridge died with them, or the broker did, or the answer
 * was lost with a link. Then each answer that follows passes for that of the attempt
 * before, and a meter that is switched to and fro would confirm nothing any more. But
 * the bridge may as well have them and be trying still. So from such a moment on, or when
 * a device has not been without an attempt for too long, its answers are matched twice:
 * with what was under way then, and apart from it. Both must agree that an attempt was
 * answered, until what was under way is over for sure; then the second is right.
 *
 * The table is small, and when it is full the oldest is forgotten: that costs a
 * confirmation that may come a moment too early. */

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "node/node.h"

enum { ANSWER_MS = 18000, TOO_LONG_MS = 2 * ANSWER_MS };

static void forget(struct nd_node *n, unsigned i)
{
    n->air_n--;
    memmove(&n->air[i], &n->air[i + 1], (n->air_n - i) * sizeof n->air[0]);
}

/* Until when it counts; what was answered apart does only as long as what was under way
 * before it may be answered, too. */
static uint64_t counts_until(const struct nd_air *a)
{
    return a->apart && a->before_ms < a->until_ms ? a->before_ms : a->until_ms;
}

/* What is not read back yet is remembered longer than it counts: it may still be. */
static void expire(struct nd_node *n)
{
    uint64_t now = nd_now_ms();
    unsigned i = 0;

    while (i < n->air_n) {
        const struct nd_air *a = &n->air[i];

        if ((a->echoed ? counts_until(a) : a->until_ms) <= now ||
            (a->echoed && a->answered && a->apart)) {
            forget(n, i);
        } else {
            i++;
        }
    }
}

/* From now on it may have been lost. */
static void leave_behind(struct nd_air *a, uint64_t now_ms)
{
    a->left_behind = a->apart = true;
    a->before_ms = now_ms + ANSWER_MS;
    a->since_ms = now_ms;
}

void nd_air_doubt(struct nd_node *n, uint16_t area)
{
    for (unsigned i = 0; i < n->air_n; i++) {
        const struct rp_device *d = rp_store_device(n->store, n->air[i].ieee);

        if (d == NULL || d->area == area) {
            leave_behind(&n->air[i], nd_now_ms());
        }
    }
}

/* No device can be busy for so long. */
static void look_for_loss(struct nd_node *n, uint64_t ieee)
{
    uint64_t now = nd_now_ms();

    for (unsigned i = 0; i < n->air_n; i++) {
        if (n->air[i].ieee == ieee && n->air[i].since_ms + TOO_LONG_MS <= now) {
            leave_behind(&n->air[i], now);
        }
    }
}

/* At place @i; the ones behind it move on. */
static void enter(struct nd_node *n, unsigned i, const struct nd_air *a)
{
    struct nd_air *new = &n->air[i];

    memmove(new + 1, new, (n->air_n - i) * sizeof *new);
    *new = *a;
    new->since_ms = nd_now_ms();
    n->air_n++;
    for (unsigned j = 0; j < n->air_n; j++) {
        const struct nd_air *other = &n->air[j];

        if (j != i && other->ieee == a->ieee) {
            new->since_ms =
                other->since_ms < new->since_ms ? other->since_ms : new->since_ms;
            new->before_ms =
                other->before_ms > new->before_ms ? other->before_ms : new->before_ms;
        }
    }
}

static void make_room(struct nd_node *n)
{
    expire(n);
    if (n->air_n == ND_AIR_MAX) {
        forget(n, 0);
    }
}

void nd_air_left(struct nd_node *n, const struct rp_command *c)
{
    struct nd_air a = {
        .ieee = c->ieee, .seq = c->seq, .until_ms = nd_now_ms() + ANSWER_MS};

    memcpy(a.value, c->value, sizeof a.value);
    make_room(n);
    enter(n, n->air_n, &a);
}

static bool is_open(struct nd_node *n, uint64_t seq)
{
    const struct rp_command *c = rp_store_command_seq(n->store, seq);

    return c != NULL && c->status == RP_SENT;
}

/* Nobody waits for the echo of a command that is over, and it may never come: of what a
 * watch sent to a broker that died with it, for one. If each echo that follows passed for
 * the one before, commands that are over before the next would never be confirmed again.
 * So from the oldest that it can be, at @i, on to one that is open still; not past
 * another value: whether that was read back makes a difference. */
static unsigned still_open(struct nd_node *n, unsigned i)
{
    for (unsigned j = i; j < n->air_n; j++) {
        const struct nd_air *a = &n->air[j];

        if (a->ieee != n->air[i].ieee || a->echoed || a->overtaken) {
            continue;
        }
        if (strcmp(a->value, n->air[i].value) != 0) {
            break;
        }
        if (is_open(n, a->seq)) {
            return j;
        }
    }
    return i;
}

/* The oldest of ours that it can be is it: the broker keeps the order. So what left
 * before it was lost on the way to the broker, or is among what is delivered again, which
 * is not looked at; it is not waited for in vain. */
uint64_t nd_air_asked(struct nd_node *n, uint64_t ieee, const char *value)
{
    struct nd_air a = {.ieee = ieee};
    unsigned to = 0;
    unsigned i = 0;

    make_room(n);
    while (i < n->air_n && (n->air[i].ieee != ieee || n->air[i].echoed ||
                            n->air[i].overtaken || strcmp(n->air[i].value, value) != 0)) {
        i++;
    }
    for (unsigned j = 0; j < i && i < n->air_n; j++) {
        n->air[j].overtaken = n->air[j].overtaken || n->air[j].ieee == ieee;
    }
    if (i < n->air_n) {
        i = still_open(n, i);
        a = n->air[i];
        forget(n, i);
    } else {
        snprintf(a.value, sizeof a.value, "%s", value);
    }
    /* What was said before it is read back was of another. */
    a.echoed = true;
    a.answered = false;
    a.until_ms = nd_now_ms() + ANSWER_MS;
    if (a.left_behind) {
        a.before_ms = a.until_ms;
    }
    a.apart = a.left_behind;
    while (to < n->air_n && n->air[to].echoed) {
        to++;
    }
    enter(n, to, &a);
    return a.seq;
}

static void latest(uint64_t *t, uint64_t ms, uint64_t before_ms)
{
    if (ms < before_ms && ms > *t) {
        *t = ms;
    }
}

/* When the watch before was last known to do something, by its own clock: ours may be
 * another time altogether. */
static uint64_t earlier_watch_ms(const struct nd_node *n)
{
    uint64_t began = rp_store_watch_since(n->store);
    uint64_t t = 0;

    for (uint32_t i = 0; i < rp_store_commands(n->store); i++) {
        const struct rp_command *c = rp_store_command_recent(n->store, i);

        latest(&t, c->accepted_ms, began);
        latest(&t, c->sent_ms, began);
        latest(&t, c->ended_ms, began);
    }
    return t;
}

/* What an earlier watch sent, and what became of it, is known as far as it was the end
 * of a command: of those that ended without an answer in its last seconds. */
void nd_air_begin(struct nd_node *n)
{
    uint64_t now = earlier_watch_ms(n);

    n->air_n = 0;
    for (uint32_t i = rp_store_commands(n->store); i-- > 0;) { /* Oldest first. */
        const struct rp_command *c = rp_store_command_recent(n->store, i);

        if (c->attempts > 0 && c->status != RP_CONFIRMED &&
            (!rp_ended(c->status) || c->ended_ms + ANSWER_MS > now)) {
            nd_air_left(n, c);
        }
    }
}

/* Answers come in the order of the attempts: only the oldest can be meant, and those of
 * the same value that follow it. (Else the first message of its answer, which repeats
 * the state before, would pass for the answer of the next.)
 * @apart: without what was left behind. */
static void match(struct nd_node *n, uint64_t ieee, const char *value, bool apart)
{
    const char *oldest = NULL;

    for (unsigned i = 0; i < n->air_n; i++) {
        struct nd_air *a = &n->air[i];
        bool *answered = apart ? &a->apart : &a->answered;

        if (a->ieee != ieee || *answered) {
            continue;
        }
        if (oldest == NULL && (value == NULL || strcasecmp(a->value, value) == 0)) {
            oldest = a->value;
        }
        if (oldest == NULL || strcmp(a->value, oldest) != 0) {
            return;
        }
        *answered = true;
        n->dispatch_due = true;
    }
}

static void answered(struct nd_node *n, uint64_t ieee, const char *value)
{
    look_for_loss(n, ieee);
    match(n, ieee, value, false);
    match(n, ieee, value, true);
    expire(n);
}

void nd_air_heard(struct nd_node *n, const struct rp_device *d)
{
    if (n->air_n > 0 && d->state != RP_SWITCH_UNKNOWN) {
        answered(n, d->ieee, rp_switch_name(d->state));
    }
}

void nd_air_failed(struct nd_node *n, uint64_t ieee, const char *value)
{
    answered(n, ieee, value);
}

uint64_t nd_air_until(struct nd_node *n, const struct rp_command *c)
{
    uint64_t until = 0;

    expire(n);
    for (unsigned i = 0; i < n->air_n; i++) {
        const struct nd_air *a = &n->air[i];

        if (a->ieee == c->ieee && !(a->answered && a->apart) &&
            strcmp(a->value, c->value) != 0 && counts_until(a) > until) {
            until = counts_until(a);
        }
    }
    return until;
}
