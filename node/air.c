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
 * The table is small, and when it is full the oldest is forgotten: that costs a
 * confirmation that may come a moment too early. */

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "node/node.h"

enum { ANSWER_MS = 18000 };

static void forget(struct nd_node *n, unsigned i)
{
    n->air_n--;
    memmove(&n->air[i], &n->air[i + 1], (n->air_n - i) * sizeof n->air[0]);
}

static void expire(struct nd_node *n)
{
    uint64_t now = nd_now_ms();
    unsigned i = 0;

    while (i < n->air_n) {
        if (n->air[i].until_ms <= now) {
            forget(n, i);
        } else {
            i++;
        }
    }
}

/* At place @i; the ones behind it move on. */
static void enter(struct nd_node *n, unsigned i, const struct nd_air *a)
{
    memmove(&n->air[i + 1], &n->air[i], (n->air_n - i) * sizeof n->air[0]);
    n->air[i] = *a;
    n->air_n++;
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

/* The oldest of ours that it can be is it: the broker keeps the order. */
uint64_t nd_air_asked(struct nd_node *n, uint64_t ieee, const char *value)
{
    struct nd_air a = {.ieee = ieee};
    unsigned to = 0;
    unsigned i = 0;

    make_room(n);
    while (i < n->air_n && (n->air[i].ieee != ieee || n->air[i].echoed ||
                            strcmp(n->air[i].value, value) != 0)) {
        i++;
    }
    if (i < n->air_n) {
        a = n->air[i];
        forget(n, i);
    } else {
        snprintf(a.value, sizeof a.value, "%s", value);
    }
    a.echoed = true;
    a.answered = false; /* What was said before it is read back was of another. */
    a.until_ms = nd_now_ms() + ANSWER_MS;
    while (to < n->air_n && n->air[to].echoed) {
        to++;
    }
    enter(n, to, &a);
    return a.seq;
}

/* What an earlier watch sent, and what became of it, is known as far as it was the end
 * of a command: of those that ended without an answer a moment ago. */
void nd_air_begin(struct nd_node *n)
{
    uint64_t now = nd_replica_clock_ms(n->replica);

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
 * the state before, would pass for the answer of the next.) */
static void answered(struct nd_node *n, uint64_t ieee, const char *value)
{
    char oldest[RP_VALUE_SIZE] = "";
    unsigned i = 0;

    while (i < n->air_n) {
        if (n->air[i].ieee != ieee || n->air[i].answered) {
            i++;
            continue;
        }
        if (oldest[0] == '\0' &&
            (value == NULL || strcasecmp(n->air[i].value, value) == 0)) {
            memcpy(oldest, n->air[i].value, sizeof oldest);
        }
        if (strcmp(n->air[i].value, oldest) != 0) {
            return;
        }
        if (n->air[i].echoed) {
            forget(n, i);
        } else {
            n->air[i++].answered = true;
        }
        n->dispatch_due = true;
    }
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
        if (n->air[i].ieee == c->ieee && !n->air[i].answered &&
            strcmp(n->air[i].value, c->value) != 0 && n->air[i].until_ms > until) {
            until = n->air[i].until_ms;
        }
    }
    return until;
}
