/* The ledger of commands: every one ends, and says why (promise P4). */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "replication/store_impl.h"

/* The command is as it should be: number the change, hash it, tell it. */
static void changed(struct rp_store *s, struct rp_command_slot *c)
{
    struct rp_links links = rp_commands_changed_links(s);
    uint32_t nr = rp_command_nr(s, c);

    if (c->c.revision != 0) {
        if (s->hints->command == nr) {
            s->hints->command = c->changed.prev;
        }
        rp_chain_remove(&s->commands_changed, links, nr);
    }
    c->c.revision = ++s->m.revision;
    rp_chain_push(&s->commands_changed, links, nr);
    rp_command_rehash(s, c);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_COMMAND, .command = &c->c});
}

void rp_ledger_link_open(struct rp_store *s, uint32_t nr, uint32_t device_nr)
{
    struct rp_command_slot *c = rp_command_slot(s, nr);

    c->device = device_nr;
    rp_chain_push(&s->open, rp_open_links(s), nr);
    rp_chain_push(&rp_device_slot(s, device_nr)->open, rp_of_device_links(s), nr);
    s->open_n++;
    if (c->c.deadline_ms < s->next_deadline_ms) {
        s->next_deadline_ms = c->c.deadline_ms;
    }
}

/* Cut to its room, not in the middle of a character, and equal reasons are equal
 * bytes: what was there before does not show behind the end. */
static void put_reason(struct rp_command *c, const char *reason)
{
    char text[RP_TEXT_SIZE] = "";
    size_t n = strlen(reason);

    if (n >= sizeof text) {
        n = sizeof text - 1;
        while (n > 0 && ((unsigned char)reason[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    memcpy(text, reason, n);
    memcpy(c->reason, text, sizeof c->reason);
}

static void end(struct rp_store *s, struct rp_command_slot *c,
                enum rp_command_status status, const char *reason)
{
    uint32_t nr = rp_command_nr(s, c);

    assert(!rp_ended(c->c.status));
    assert(rp_ended(status));
    rp_chain_remove(&s->open, rp_open_links(s), nr);
    rp_chain_remove(&rp_device_slot(s, c->device)->open, rp_of_device_links(s), nr);
    c->device = 0;
    s->open_n--;
    c->c.status = status;
    c->c.ended_ms = s->m.now_ms;
    put_reason(&c->c, reason);
    s->m.ended[status]++;
    changed(s, c);
}

static void expire(struct rp_store *s, struct rp_command_slot *c)
{
    static const char unsent[] = "deadline passed before it could be sent";
    static const char silent[] = "deadline passed without a confirmation by the device";
    static const char met[] = "deadline passed; last attempt: ";
    char reason[RP_TEXT_SIZE + sizeof met];

    /* What the bridge said of the last attempt tells more than that time is over. */
    snprintf(reason, sizeof reason, "%s%s", met, c->c.reason);
    end(s, c, RP_EXPIRED,
        c->c.reason[0] != '\0' ? reason
        : c->c.attempts == 0   ? unsent
                               : silent);
}

/* In order of seq; the earliest deadline of all saves the walk nearly always. */
void rp_ledger_expire(struct rp_store *s)
{
    uint64_t next = UINT64_MAX;
    uint32_t nr = s->open.head;

    if (s->m.now_ms < s->next_deadline_ms) {
        return;
    }
    while (nr != 0) {
        struct rp_command_slot *c = rp_command_slot(s, nr);

        nr = c->open.next;
        if (c->c.deadline_ms <= s->m.now_ms) {
            expire(s, c);
        } else if (c->c.deadline_ms < next) {
            next = c->c.deadline_ms;
        }
    }
    s->next_deadline_ms = next;
}

void rp_ledger_gone(struct rp_store *s, struct rp_device_slot *d, const char *why)
{
    while (d->open.head != 0) {
        end(s, rp_command_slot(s, d->open.head), RP_FAILED, why);
    }
}

static enum rp_switch switch_of(const char *value)
{
    if (strcmp(value, "ON") == 0) {
        return RP_ON;
    }
    return strcmp(value, "OFF") == 0 ? RP_OFF : RP_SWITCH_UNKNOWN;
}

/* The bridge may publish its cached state once more right after a /set, so only
 * what the device said after the last attempt counts. */
void rp_ledger_confirm(struct rp_store *s, struct rp_device_slot *d,
                       const struct rp_report *r)
{
    uint32_t nr = d->open.head;

    if (r->state == RP_SWITCH_UNKNOWN) {
        return;
    }
    while (nr != 0) {
        struct rp_command_slot *c = rp_command_slot(s, nr);

        nr = c->of_device.next;
        if (c->c.status == RP_SENT && strcmp(c->c.property, "state") == 0 &&
            switch_of(c->c.value) == r->state && c->c.sent_last_seen_ms != RP_NOT_LEFT &&
            (r->last_seen_ms == 0 || c->c.sent_last_seen_ms == 0 ||
             r->last_seen_ms > c->c.sent_last_seen_ms)) {
            end(s, c, RP_CONFIRMED, "");
        }
    }
}

/* The caller learns from the event which command it was: seq 0, never kept. */
static void refuse(struct rp_store *s, const struct rp_in_command *in, const char *why)
{
    struct rp_command c = {.ieee = in->ieee,
                           .status = RP_FAILED,
                           .accepted_ms = s->m.now_ms,
                           .ended_ms = s->m.now_ms,
                           .deadline_ms = in->deadline_ms};

    memcpy(c.id, in->id, sizeof c.id);
    memcpy(c.property, in->property, sizeof c.property);
    memcpy(c.value, in->value, sizeof c.value);
    memcpy(c.source, in->source, sizeof c.source);
    snprintf(c.reason, sizeof c.reason, "%s", why);
    rp_refuse(s, (struct rp_event){.command = &c}, "command %s: %s", in->id, why);
}

/* Older open commands for the same property of the device: all but @nr. */
static uint32_t older(const struct rp_store *s, const struct rp_device_slot *d,
                      const char *property)
{
    uint32_t nr = d->open.head;

    while (nr != 0 && strcmp(rp_command_slot(s, nr)->c.property, property) != 0) {
        nr = rp_command_slot(s, nr)->of_device.next;
    }
    return nr;
}

static void supersede(struct rp_store *s, struct rp_device_slot *d,
                      const struct rp_in_command *in)
{
    char reason[RP_TEXT_SIZE];
    uint32_t nr;

    snprintf(reason, sizeof reason, "superseded by %s", in->id);
    while ((nr = older(s, d, in->property)) != 0) {
        end(s, rp_command_slot(s, nr), RP_SUPERSEDED, reason);
    }
}

/* May it be forgotten to make room? Somebody looks at the table for how a command
 * of it ended: not before it stands there. */
static bool spare(const struct rp_store *s, const struct rp_command *c)
{
    return rp_ended(c->status) && (strcmp(c->source, RP_SOURCE_POSTGRES) != 0 ||
                                   c->revision <= s->m.revision_shipped);
}

/* Place of the oldest command that may be forgotten; commands_n: there is none. */
static uint32_t oldest_spare(const struct rp_store *s)
{
    uint32_t i = 0;

    while (i < s->commands_n && !spare(s, &rp_command_slot(s, rp_order_at(s, i))->c)) {
        i++;
    }
    return i;
}

/* Is there room for one more, when what it supersedes has ended? */
static bool room_for(const struct rp_store *s, const struct rp_device_slot *d,
                     const char *property)
{
    uint32_t nr = older(s, d, property);

    return s->commands_n < s->limits.commands_max || oldest_spare(s) < s->commands_n ||
           (nr != 0 && strcmp(rp_command_slot(s, nr)->c.source, RP_SOURCE_POSTGRES) != 0);
}

/* The slot of the oldest one that may go, for reuse. There is one: room_for(). */
static uint32_t make_room(struct rp_store *s)
{
    struct rp_command_slot *c;
    uint32_t i = oldest_spare(s);
    uint32_t nr = rp_order_at(s, i);

    c = rp_command_slot(s, nr);
    if (c->c.revision > s->m.revision_shipped) {
        s->m.results_dropped++; /* Postgres will never hear how it ended. */
    }
    if (s->hints->command == nr) {
        s->hints->command = c->changed.prev;
    }
    rp_chain_remove(&s->commands_changed, rp_commands_changed_links(s), nr);
    rp_unindex_id(s, nr);
    rp_order_remove(s, i);
    s->sum -= c->digest;
    return nr;
}

static void accept(struct rp_store *s, const struct rp_in_command *in, uint32_t device_nr)
{
    bool full = s->commands_n == s->limits.commands_max;
    uint32_t nr = full ? make_room(s) : s->commands_n + 1;
    struct rp_command_slot *c = rp_command_slot(s, nr);

    *c = (struct rp_command_slot){.c = {.seq = ++s->m.commands_last,
                                        .ieee = in->ieee,
                                        .status = RP_ACCEPTED,
                                        .accepted_ms = s->m.now_ms,
                                        .deadline_ms = in->deadline_ms}};
    memcpy(c->c.id, in->id, sizeof c->c.id);
    memcpy(c->c.property, in->property, sizeof c->c.property);
    memcpy(c->c.value, in->value, sizeof c->c.value);
    memcpy(c->c.source, in->source, sizeof c->c.source);
    rp_index_id(s, nr);
    rp_order_push(s, nr);
    rp_ledger_link_open(s, nr, device_nr);
    changed(s, c);
    if (c->c.deadline_ms <= s->m.now_ms) {
        expire(s, c);
    }
}

void rp_apply_command(struct rp_store *s, const struct rp_in_command *in)
{
    uint32_t known = rp_find_command(s, in->id);
    uint32_t device_nr = rp_find_device(s, in->ieee);
    struct rp_device_slot *d;

    if (known != 0) {
        /* Submitted again: the caller gets to know what became of it. */
        rp_emit(s, &(struct rp_event){.kind = RP_EV_COMMAND,
                                      .command = &rp_command_slot(s, known)->c});
        return;
    }
    if (device_nr == 0) {
        refuse(s, in, "there is no such device");
        return;
    }
    d = rp_device_slot(s, device_nr);
    if (!d->d.listed) {
        refuse(s, in, "the device was removed from its bridge");
        return;
    }
    if (s->areas[d->d.area - 1].a.off != 0) {
        refuse(s, in, "its area is switched off");
        return;
    }
    if (!room_for(s, d, in->property)) {
        refuse(s, in,
               s->open_n == s->limits.commands_max
                   ? "too many commands are open; raise the limit of commands"
                   : "too many results wait for Postgres; raise the limit of commands");
        return;
    }
    supersede(s, d, in);
    accept(s, in, device_nr);
}

/* An open command, or NULL: it may have ended since the leader proposed this. */
static struct rp_command_slot *open_command(struct rp_store *s, uint64_t seq)
{
    uint32_t nr = rp_find_seq(s, seq);

    if (nr == 0 || rp_ended(rp_command_slot(s, nr)->c.status)) {
        return NULL;
    }
    return rp_command_slot(s, nr);
}

void rp_apply_sent(struct rp_store *s, const struct rp_in_sent *in, bool going)
{
    struct rp_command_slot *c = open_command(s, in->seq);

    /* Another number: two leaders announced the same attempt. */
    if (c == NULL || in->attempt == 0 || in->attempt - 1 != c->c.attempts) {
        return;
    }
    c->c.status = RP_SENT;
    c->c.attempts = in->attempt;
    c->c.retry_ms = in->retry_ms;
    if (c->c.sent_ms == 0) {
        c->c.sent_ms = s->m.now_ms;
    }
    c->c.sent_last_seen_ms =
        going ? RP_NOT_LEFT : rp_device_slot(s, c->device)->d.last_seen_ms;
    changed(s, c);
}

/* Only what the bridge said after the message had left can be its answer. Between the
 * commit of an attempt and its publish there are milliseconds, in which the answer to
 * the command before may come: it would confirm what the device has not been told. */
void rp_apply_left(struct rp_store *s, const struct rp_in_sent *in)
{
    struct rp_command_slot *c = open_command(s, in->seq);

    if (c != NULL && c->c.attempts == in->attempt &&
        c->c.sent_last_seen_ms == RP_NOT_LEFT) {
        c->c.sent_last_seen_ms = rp_device_slot(s, c->device)->d.last_seen_ms;
        rp_command_rehash(s, c);
    }
}

void rp_apply_trouble(struct rp_store *s, const struct rp_in_trouble *in)
{
    struct rp_command_slot *c = open_command(s, in->seq);

    if (c != NULL && c->c.status == RP_SENT && c->c.attempts == in->attempt &&
        strcmp(c->c.reason, in->text) != 0) {
        put_reason(&c->c, in->text);
        changed(s, c);
    }
}

void rp_apply_end(struct rp_store *s, const struct rp_in_end *in)
{
    struct rp_command_slot *c = open_command(s, in->seq);

    if (c != NULL) {
        end(s, c, in->status, in->reason);
    }
}
