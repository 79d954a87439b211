/* What the sources tell besides inputs (replication/source.h): messages that cannot be
 * used become dead letters; what a bridge says of a command goes to the command;
 * sentences about bridges are kept for status until they are mended. */

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "node/node.h"

enum { LETTERS_AT_ONCE = 20, LETTER_EVERY_MS = 3000 };

/* --- dead letters --- */

/* A bucket of LETTERS_AT_ONCE, one more each LETTER_EVERY_MS: @due_ms is when the next
 * would come if none were saved. */
static bool afford(uint64_t *due_ms)
{
    uint64_t now = nd_now_ms();

    if (*due_ms < now) {
        *due_ms = now;
    }
    if (*due_ms - now > (LETTERS_AT_ONCE - 1) * LETTER_EVERY_MS) {
        return false;
    }
    *due_ms += LETTER_EVERY_MS;
    return true;
}

static bool is_letter(const struct rp_letter *l, const struct rp_source_note *note)
{
    bool cut = note->len > sizeof l->payload;
    size_t len = cut ? sizeof l->payload : note->len;

    return l->cut == cut && l->payload_len == len &&
           strncmp(l->topic, note->topic, sizeof l->topic - 1) == 0 &&
           (len == 0 || memcmp(l->payload, note->payload, len) == 0);
}

/* A message comes again when it was not acknowledged in time; the letter may have been
 * committed all the same, by this watch or the one before. */
static bool is_written(const struct nd_node *n, const struct nd_area *a,
                       const struct rp_source_note *note, uint64_t hash)
{
    uint64_t first = rp_store_letters_first(n->store);

    for (unsigned i = 0; i < ND_LETTERS_RECENT; i++) {
        if (a->letters_recent[i] == hash) {
            return true;
        }
    }
    for (uint64_t seq = rp_store_letters_last(n->store); seq > 0 && seq >= first; seq--) {
        const struct rp_letter *l = rp_store_letter(n->store, seq);

        if (l != NULL && is_letter(l, note)) {
            return true;
        }
    }
    return false;
}

/* Where inputs go: into the batch of the message, so that it is not acknowledged before
 * they are committed. */
static struct rp_batch *out(struct nd_node *n, const struct nd_area *a)
{
    return a->out != NULL ? a->out : nd_replica_batch(n->replica);
}

static void write_letter(struct nd_node *n, struct nd_area *a,
                         const struct rp_source_note *note)
{
    bool stranger = note->kind == RP_NOTE_UNKNOWN_DEVICE;
    uint64_t hash;

    if (note->topic == NULL) {
        return;
    }
    hash =
        sy_hash(note->payload, note->len, sy_hash(note->topic, strlen(note->topic), 0));
    if (note->redelivered && is_written(n, a, note, hash)) {
        return;
    }
    /* Who nobody knows must not keep those from it that are known. */
    if (!afford(&a->letters_due_ms[stranger])) {
        n->letters_skipped++;
        return;
    }
    a->letters_recent[a->letters_at++ % ND_LETTERS_RECENT] = hash;
    rp_batch_letter(out(n, a), a->nr, note->topic, note->text, note->payload, note->len);
}

/* --- what a bridge says of a command --- */

static bool is_about(const struct rp_command *c, const struct rp_source_note *note)
{
    return c->ieee == note->ieee && c->status == RP_SENT &&
           (note->property == NULL || strcmp(c->property, note->property) == 0) &&
           (note->value == NULL || strcasecmp(c->value, note->value) == 0);
}

/* An error that does not say "never" may be late, up to the 17 s that a radio tries: it
 * may be of an attempt, or even of a command, that is over. So it ends nothing, and is
 * kept as what is known of the device. */
static void bridge_error(struct nd_node *n, struct nd_area *a,
                         const struct rp_source_note *note)
{
    SY_LOG(&n->log, SY_WARN, "bridge.error", KSTR("area", a->config->name),
           KSTR("device", note->name), KSTR("text", note->text));
    if (note->ieee == 0) {
        return;
    }
    nd_air_failed(n, note->ieee, note->value);
    for (const struct rp_command *c = rp_store_next_open(n->store, NULL); c != NULL;
         c = rp_store_next_open(n->store, c)) {
        if (!is_about(c, note)) {
            continue;
        }
        if (note->final) {
            rp_batch_end(out(n, a), c->seq, RP_FAILED, note->reason);
        } else if (strcmp(c->reason, note->reason) != 0) {
            rp_batch_trouble(out(n, a), c->seq, c->attempts, note->reason);
        }
    }
}

/* --- sentences --- */

static unsigned find(const struct nd_node *n, uint16_t area, uint16_t number,
                     uint64_t ieee)
{
    unsigned i = 0;

    while (i < n->notes_n && (n->notes[i].area != area || n->notes[i].number != number ||
                              n->notes[i].ieee != ieee)) {
        i++;
    }
    return i;
}

static void keep(struct nd_node *n, const struct rp_source_note *note)
{
    unsigned i = find(n, note->area, note->number, note->ieee);

    if (i == ND_NOTES_MAX) {
        n->notes_skipped++;
        return;
    }
    n->notes_n += i == n->notes_n;
    n->notes[i].area = note->area;
    n->notes[i].number = note->number;
    n->notes[i].ieee = note->ieee;
    snprintf(n->notes[i].text, sizeof n->notes[i].text, "%s", note->text);
}

static void forget(struct nd_node *n, unsigned i)
{
    n->notes_n--;
    memmove(&n->notes[i], &n->notes[i + 1], (n->notes_n - i) * sizeof n->notes[0]);
}

void nd_notes_area_off(struct nd_node *n, uint16_t area)
{
    for (unsigned i = n->notes_n; i-- > 0;) {
        if (n->notes[i].area == area) {
            forget(n, i);
        }
    }
}

static void setting(struct nd_node *n, const struct nd_area *a,
                    const struct rp_source_note *note)
{
    unsigned i;

    if (note->kind == RP_NOTE_SETTING) {
        keep(n, note);
        SY_LOG(&n->log, SY_WARN, "bridge.setting", KSTR("area", a->config->name),
               KSTR("text", note->text));
        return;
    }
    i = find(n, note->area, note->number, note->ieee);
    if (i < n->notes_n) {
        SY_LOG(&n->log, SY_NOTE, "bridge.mended", KSTR("area", a->config->name),
               KSTR("text", n->notes[i].text));
        forget(n, i);
    }
}

void nd_notes_take(struct nd_area *a, const struct rp_source_note *note)
{
    struct nd_node *n = a->node;
    struct ad_mqtt *mqtt = n->brokers[a->config->broker].mqtt;

    switch (note->kind) {
    case RP_NOTE_BAD_PAYLOAD:
        n->bad_payloads++;
        SY_LOG(&n->log, SY_WARN, "payload.bad", KSTR("area", a->config->name),
               KSTR("topic", note->name), KSTR("why", note->text));
        write_letter(n, a, note);
        break;
    case RP_NOTE_UNKNOWN_DEVICE:
        n->unknown_devices++;
        SY_LOG(&n->log, SY_WARN, "device.unknown", KSTR("area", a->config->name),
               KSTR("name", note->name));
        write_letter(n, a, note);
        break;
    case RP_NOTE_BRIDGE_ERROR:
        bridge_error(n, a, note);
        break;
    case RP_NOTE_SETTING:
    case RP_NOTE_MENDED:
        setting(n, a, note);
        break;
    case RP_NOTE_ASKED:
        nd_dispatch_asked(a, note);
        break;
    case RP_NOTE_FILTER:
        if (mqtt != NULL) {
            ad_mqtt_subscribe(mqtt, note->filter, 1, note->fresh);
        }
        break;
    default:
        break;
    }
}
