/* What a bridge says of itself, and what its messages say of it.
 *
 * "online" is not "ready": commands that come in the first 150 ms of a start are
 * dropped without a word. The bridge/info of that start comes after this gap, so
 * a live one means ready. There are three ways to be ready without it:
 *
 *   - A new session gets only what is retained: info and "online" together.
 *   - After a short break between bridge and broker the will has said "offline",
 *     and the bridge says "online" again, but has no new info. It is taken for
 *     ready when it gives signs of life READY_AFTER_MS later.
 *   - A retained "offline" may be wrong for ever (the will of a twin that was
 *     relieved comes late). A live report of a device, or bridge/health, proves it
 *     wrong: had the bridge started anew, it had said "online" before.
 *
 * "online" is no start either: after each reconnect to the broker it comes, and nothing
 * else. A start goes on with bridge/info, the availability of all devices, and the
 * cached state of each. It need not begin with "offline": that comes at QoS 0, or never
 * (a broker that died has sent no will). */

#include "adapters/z2m/impl.h"

enum {
    READY_AFTER_MS = 5000,
    STARTED_WITHIN_MS = 10000, /* "online" to bridge/info: 200 ms at most, as seen. */
    PROOF_AFTER_MS = 3000, /* QoS 0 overtakes: states from before an "offline" follow. */
    CACHE_MS = 5000,       /* From bridge/info to the last cached state. */
    SILENT_CACHE_MS = 30000, /* The same, for a state that tells by itself. */
    AWAIT_MS = 30000,        /* From a start to its first word, at most. */
    BACKLOG_MS = 10000       /* What a broker of ours had kept is read by then. */
};

static void propose(struct ad_z2m *z, enum rp_avail state, bool ready,
                    struct rp_batch *out)
{
    z->bridge = state;
    z->ready = ready;
    rp_batch_bridge(out, z->area, state, ready);
}

/* Is @now_ms less than @ms after @since_ms? A clock that was set back begins anew. */
static bool within(uint64_t *since_ms, uint64_t ms, uint64_t now_ms)
{
    if (now_ms < *since_ms) {
        *since_ms = now_ms;
    }
    return now_ms - *since_ms < ms;
}

static bool is_starting(struct ad_z2m *z, uint64_t now_ms)
{
    z->starting = z->starting && within(&z->start_at_ms, STARTED_WITHIN_MS, now_ms);
    return z->starting;
}

/* Was this said by a process that is no more? A broker that was down has kept it. */
static bool is_old(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms)
{
    z->awaited = z->awaited && m->retained && within(&z->awaited_at_ms, AWAIT_MS, now_ms);
    return z->absent || z->awaited;
}

static void away(struct ad_z2m *z, uint64_t now_ms, struct rp_batch *out)
{
    z->info_seen = false;
    z->starting = false;
    z->restarted_at_ms = 0;
    z->offline_at_ms = now_ms;
    if (z->bridge != RP_OFFLINE) {
        propose(z, RP_OFFLINE, false, out);
    }
}

void ad_z2m_bridge_process(struct ad_z2m *z, bool runs, uint64_t now_ms,
                           struct rp_batch *out)
{
    if (!runs && !z->absent) {
        away(z, now_ms, out);
    } else if (runs && z->absent) {
        z->awaited = true;
        z->awaited_at_ms = now_ms;
        z->offline_at_ms = now_ms;
    } else if (runs && z->awaited && !within(&z->awaited_at_ms, AWAIT_MS, now_ms)) {
        z->awaited = false; /* Its own words were missed. */
        ad_z2m_ask_bridge(z);
    }
    z->absent = !runs;
}

/* It runs anew, and has not only come back to the broker. */
static void started(struct ad_z2m *z, uint64_t now_ms, struct rp_batch *out)
{
    z->starting = false;
    z->restarted_at_ms = now_ms;
    z->doubt_at_ms = 0; /* It speaks of everybody now. */
    if (z->again) {
        rp_batch_bridge(out, z->area, RP_OFFLINE, false); /* As nobody has said. */
    }
    propose(z, RP_ONLINE, true, out);
}

void ad_z2m_bridge_state(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out)
{
    enum rp_avail state = ad_z2m_parse_avail(m->payload, m->len);

    if (state == RP_AVAIL_UNKNOWN) {
        if (m->len > 0) { /* Empty: somebody cleared the retained message. */
            ad_z2m_note_payload(z, m, "neither online nor offline");
        }
        return;
    }
    if (is_old(z, m, now_ms)) {
        return;
    }
    if (state == RP_OFFLINE) {
        away(z, now_ms, out);
        return;
    }
    z->doubt_at_ms = now_ms; /* It, or we, had no broker. */
    if (!m->retained) {
        z->starts++;
        z->start_at_ms = now_ms;
        z->starting = true;
        z->restarted_at_ms = 0;
        z->again = z->bridge == RP_ONLINE;
    }
    if (z->bridge != RP_ONLINE) {
        z->online_at_ms = now_ms;
        propose(z, RP_ONLINE, m->retained && z->info_seen, out);
    }
}

void ad_z2m_bridge_info(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                        struct rp_batch *out)
{
    bool starting = is_starting(z, now_ms);

    if (m->len == 0) {
        return;
    }
    if (m->len > AD_Z2M_INFO_MAX) {
        ad_z2m_note_payload(z, m, "%zu bytes are more than bridge/info can have", m->len);
        return;
    }
    ad_z2m_settings(z, m->payload, m->len);
    if (is_old(z, m, now_ms)) {
        return;
    }
    z->info_seen = true;
    if (!m->retained && starting) {
        started(z, now_ms, out);
    } else if (!m->retained ? z->bridge != RP_ONLINE || !z->ready
                            : z->bridge == RP_ONLINE && !starting && !z->ready) {
        propose(z, RP_ONLINE, true, out);
    }
}

void ad_z2m_bridge_counts(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                          struct rp_batch *out)
{
    /* Without info: at QoS 0 it is lost when nobody is connected. */
    if (!m->retained && !z->absent && is_starting(z, now_ms)) {
        started(z, now_ms, out);
    }
}

void ad_z2m_bridge_alive(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out)
{
    if (z->awaited && within(&z->awaited_at_ms, BACKLOG_MS, now_ms)) {
        return; /* Of the process before, perhaps. */
    }
    if (m->retained || m->dup || z->absent) {
        return; /* Not live: a redelivery may be older than the last "offline". */
    }
    if (z->bridge == RP_OFFLINE) {
        if (!within(&z->offline_at_ms, PROOF_AFTER_MS, now_ms)) {
            propose(z, RP_ONLINE, true, out);
        }
    } else if (z->bridge == RP_AVAIL_UNKNOWN) {
        z->online_at_ms = now_ms;
        propose(z, RP_ONLINE, false, out);
    } else if (!z->ready && !within(&z->online_at_ms, READY_AFTER_MS, now_ms)) {
        propose(z, RP_ONLINE, true, out);
    }
}

/* A device has a linkquality from its first frame after a start on, so a report without
 * one is the cache's. But it may have sent a frame before the bridge was at the broker:
 * then its cached state, with values of before and perhaps a last_seen of now, is what
 * comes first. */
bool ad_z2m_cached(struct ad_z2m *z, struct ad_z2m_device *d, const struct rp_message *m,
                   const struct rp_report *r, uint64_t now_ms)
{
    const struct rp_device *there = rp_store_device(z->store, d->ieee);
    bool first = d->start != z->starts;

    if (m->retained) {
        return true;
    }
    if (z->start_at_ms == 0) {
        z->start_at_ms = now_ms; /* Before this watch, for all one knows. */
    }
    d->start = z->starts;
    if (first && z->restarted_at_ms != 0 && !z->no_cache &&
        within(&z->restarted_at_ms, CACHE_MS, now_ms)) {
        return true;
    }
    return (r->values.has & RP_HAS_LINKQUALITY) == 0 && there != NULL &&
           (there->values.has & RP_HAS_LINKQUALITY) != 0 &&
           within(&z->start_at_ms, SILENT_CACHE_MS, now_ms);
}
