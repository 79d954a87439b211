/* Who is there.
 *
 * The bridge says so, and is believed: rp_batch_told(). But it says each change once.
 * What it cannot send, since the broker is away, it never sends, and takes for sent: seen
 * with 2.14.1, a meter that died meanwhile stayed "online" until the bridge started
 * again. So after each reconnect there is doubt:
 *
 *   - Who is told offline but talks, and goes on talking, is online. The bridge's own
 * word comes right behind the first message of a device that is back.
 *   - Who is told online but says nothing for longer than the bridge itself would wait
 *     for a device on the mains, pings included, is offline.
 *
 * Both look at last_seen, since a bridge also publishes states without having heard the
 * device. */

#include <jansson.h>
#include <string.h>

#include "adapters/z2m/impl.h"

enum {
    BACK_AFTER_MS = 10000,
    PINGS_MS = 5 * 60 * 1000, /* One after the other, 22 s for each dead device. */
    GAP_MS = 60 * 1000,       /* Nothing from the whole area: nobody listened, perhaps. */
    WORD_MAX = 16
};

static bool word_is(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(s, word, len) == 0;
}

enum rp_avail ad_z2m_parse_avail(const void *payload, size_t len)
{
    enum rp_avail avail = RP_AVAIL_UNKNOWN;
    const char *s = payload;
    json_t *json = NULL;

    if (len > AD_Z2M_STATE_MAX) {
        return RP_AVAIL_UNKNOWN;
    }
    if (len > 0 && s[0] == '{') {
        json = json_loadb(s, len, 0, NULL);
        s = json_string_value(json_object_get(json, "state"));
        len = s != NULL ? strlen(s) : 0;
    }
    if (s != NULL && word_is(s, len, "online")) {
        avail = RP_ONLINE;
    } else if (s != NULL && word_is(s, len, "offline")) {
        avail = RP_OFFLINE;
    }
    json_decref(json);
    return avail;
}

static void told(struct ad_z2m *z, struct ad_z2m_device *d, enum rp_avail avail,
                 struct rp_batch *out)
{
    d->avail = RP_AVAIL_UNKNOWN; /* Nothing is left to be told. */
    d->back_at_ms = 0;
    rp_batch_told(out, d->ieee, avail, z->config.hold_ms);
}

void ad_z2m_avail(struct ad_z2m *z, const struct rp_message *m, const char *name,
                  size_t len, uint64_t now_ms, struct rp_batch *out)
{
    enum rp_avail avail = ad_z2m_parse_avail(m->payload, m->len);
    struct ad_z2m_device *d;

    if (avail == RP_AVAIL_UNKNOWN) {
        if (m->len > 0) { /* Empty: a retained message was cleared. */
            ad_z2m_note_payload(z, m, "neither online nor offline");
        }
        return;
    }
    d = ad_z2m_entry(z, name, len);
    if (d == NULL) {
        return;
    }
    if (d->ieee != 0) {
        ad_z2m_bridge_counts(z, m, now_ms, out);
    }
    if (d->ieee != 0 && ad_z2m_claim(z, d, false, out)) {
        told(z, d, avail, out);
    } else {
        /* Of a group, of who was removed (it outlives its device at the broker), of a
         * device that is about to be listed here. */
        d->avail = avail;
    }
}

void ad_z2m_avail_pending(struct ad_z2m *z, struct ad_z2m_device *d, struct rp_batch *out)
{
    if (d->avail != RP_AVAIL_UNKNOWN) {
        told(z, d, d->avail, out);
    }
}

void ad_z2m_avail_heard(struct ad_z2m *z, struct ad_z2m_device *d,
                        const struct rp_report *r, uint64_t now_ms, struct rp_batch *out)
{
    const struct rp_device *there = rp_store_device(z->store, d->ieee);

    if (there == NULL || there->told != RP_OFFLINE) {
        d->back_at_ms = 0;
        return;
    }
    if (r->cached || r->redelivered || r->last_seen_ms <= there->last_seen_ms ||
        r->last_seen_ms > now_ms + RP_AHEAD_MAX_MS) {
        return;
    }
    if (d->back_at_ms == 0 || now_ms < d->back_at_ms) {
        d->back_at_ms = now_ms;
    } else if (now_ms - d->back_at_ms >= BACK_AFTER_MS) {
        told(z, d, RP_ONLINE, out);
    }
}

static bool is_silent(const struct ad_z2m *z, const struct ad_z2m_device *d)
{
    const struct rp_device *there = rp_store_device(z->store, d->ieee);

    return d->router && there != NULL && there->listed && there->area == z->area &&
           there->told == RP_ONLINE && there->avail == RP_ONLINE &&
           there->updated_ms < z->doubt_at_ms;
}

void ad_z2m_avail_doubt(struct ad_z2m *z, uint64_t now_ms, struct rp_batch *out)
{
    uint64_t heard_at_ms = z->heard_at_ms;

    z->heard_at_ms = now_ms;
    if (z->doubt_at_ms == 0 || z->timeout_ms == 0 || !z->has_last_seen) {
        return;
    }
    if (now_ms < heard_at_ms || now_ms - heard_at_ms > GAP_MS) {
        z->doubt_at_ms = now_ms; /* Or the clock was set. */
    }
    if (z->bridge != RP_ONLINE || now_ms - z->doubt_at_ms < z->timeout_ms + PINGS_MS) {
        return;
    }
    for (uint32_t i = 0; i < z->names.n; i++) {
        struct ad_z2m_device *d = &z->names.devices[i];

        if (d->ieee != 0 && is_silent(z, d)) {
            told(z, d, RP_OFFLINE, out);
        }
    }
    z->doubt_at_ms = 0;
}
