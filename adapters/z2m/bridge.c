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
 *     wrong: had the bridge started anew, it had said "online" before. */

#include <jansson.h>
#include <string.h>

#include "adapters/z2m/impl.h"

enum { READY_AFTER_MS = 5000, WORD_MAX = 16 };

static void propose(struct ad_z2m *z, enum rp_avail state, bool ready,
                    struct rp_batch *out)
{
    z->bridge = state;
    z->ready = ready;
    z->starting = z->starting && !ready && state == RP_ONLINE;
    rp_batch_bridge(out, z->area, state, ready);
}

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

void ad_z2m_bridge_state(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out)
{
    enum rp_avail state = ad_z2m_parse_avail(m->payload, m->len);

    if (state == RP_AVAIL_UNKNOWN) {
        if (m->len > 0) { /* Empty: somebody cleared the retained message. */
            ad_z2m_note_payload(z, m->topic, "neither online nor offline");
        }
        return;
    }
    if (state == RP_OFFLINE) {
        z->info_seen = false;
        z->starting = false;
        if (z->bridge != RP_OFFLINE) {
            propose(z, RP_OFFLINE, false, out);
        }
        return;
    }
    if (z->bridge == RP_ONLINE) {
        return; /* Reconnected to the broker before its will was sent: as it was. */
    }
    z->online_at_ms = now_ms;
    z->starting = !m->retained;
    propose(z, RP_ONLINE, m->retained && z->info_seen, out);
}

void ad_z2m_bridge_info(struct ad_z2m *z, const struct rp_message *m,
                        struct rp_batch *out)
{
    if (m->len == 0) {
        return;
    }
    if (m->len > AD_Z2M_INFO_MAX) {
        ad_z2m_note_payload(z, m->topic, "%zu bytes are more than bridge/info can have",
                            m->len);
        return;
    }
    z->info_seen = true;
    if (!m->retained || (z->bridge == RP_ONLINE && !z->starting && !z->ready)) {
        propose(z, RP_ONLINE, true, out);
    }
    ad_z2m_settings(z, m->payload, m->len);
}

void ad_z2m_bridge_alive(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out)
{
    if (m->retained || m->dup) {
        return; /* Not live: a redelivery may be older than the last "offline". */
    }
    if (z->bridge == RP_OFFLINE) {
        propose(z, RP_ONLINE, true, out);
    } else if (z->bridge == RP_AVAIL_UNKNOWN) {
        z->online_at_ms = now_ms;
        propose(z, RP_ONLINE, false, out);
    } else if (!z->ready) {
        if (now_ms < z->online_at_ms) {
            z->online_at_ms = now_ms; /* The clock was set back. */
        }
        if (now_ms - z->online_at_ms >= READY_AFTER_MS) {
            propose(z, RP_ONLINE, true, out);
        }
    }
}

/* The device that is named in quotes: "Publish 'set' 'state' to 'pump' failed: ...",
 * "Failed to ping 'pump' (attempt 1/2, ...)". */
static const struct ad_z2m_device *named_in(const struct ad_z2m *z, const char *text)
{
    static const char to[] = " to '";
    const char *start = strstr(text, to);
    const char *end = start != NULL ? strstr(start, "' failed") : NULL;
    const struct ad_z2m_device *d = NULL;

    if (end != NULL) { /* The name may have quotes in it. */
        start += sizeof to - 1;
        d = end > start ? ad_z2m_names_find(&z->names, start, (size_t)(end - start))
                        : NULL;
    }
    for (start = strchr(text, '\''); d == NULL && start != NULL; start = end) {
        end = strchr(start + 1, '\'');
        if (end != NULL && end > start + 1) {
            d = ad_z2m_names_find(&z->names, start + 1, (size_t)(end - start) - 1);
        }
    }
    return d;
}

void ad_z2m_bridge_logging(struct ad_z2m *z, const struct rp_message *m)
{
    json_t *json =
        m->len <= AD_Z2M_STATE_MAX ? json_loadb(m->payload, m->len, 0, NULL) : NULL;
    const char *level = json_string_value(json_object_get(json, "level"));
    const char *text = json_string_value(json_object_get(json, "message"));

    /* The log of the bridge is not worth a complaint when it is malformed, and at
     * level info it has a line for every publish. */
    if (level != NULL && text != NULL && strcmp(level, "error") == 0) {
        const struct ad_z2m_device *d = named_in(z, text);

        z->note_cb(z->note_data,
                   &(struct rp_source_note){.kind = RP_NOTE_BRIDGE_ERROR,
                                            .area = z->area,
                                            .ieee = d != NULL ? d->ieee : 0,
                                            .name = d != NULL ? d->name : "",
                                            .text = text});
    }
    json_decref(json);
}
