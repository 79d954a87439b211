/* What the files of this folder share. */

#ifndef AD_Z2M_IMPL_H
#define AD_Z2M_IMPL_H

#include "adapters/z2m/names.h"
#include "adapters/z2m/scan.h"
#include "adapters/z2m/z2m.h"

enum {
    AD_Z2M_FILTER_SIZE = RP_TOPIC_SIZE + RP_NAME_SIZE + 16,
    /* Payloads are cut off here before anybody looks into them. */
    AD_Z2M_STATE_MAX = 64 * 1024,
    AD_Z2M_INFO_MAX = 1024 * 1024,
    AD_Z2M_DEVICES_MAX = 32 * 1024 * 1024
};

/* One area's state; of the node on watch only, begins empty at every relief. */
struct ad_z2m
{
    const struct rp_store *store;
    uint16_t area;
    rp_note_cb note_cb;
    void *note_data;
    struct ad_z2m_names names;
    bool list_known; /* From the store or the bridge: a name not in it is unknown. */

    enum rp_avail bridge; /* As last proposed. */
    bool ready;
    bool starting;         /* Said "online" just now, and no bridge/info yet. */
    bool info_seen;        /* Since the bridge was last offline. */
    uint64_t online_at_ms; /* When it was first heard of as online. */
    uint32_t told;         /* Settings that were noted: each once. */
};

/* source.c */
const char *ad_z2m_base(const struct ad_z2m *z);
const char *ad_z2m_area_name(const struct ad_z2m *z);
void ad_z2m_note_payload(struct ad_z2m *z, const char *topic, const char *fmt, ...)
    SY_PRINTF(3, 4);
void ad_z2m_note_setting(struct ad_z2m *z, const char *filter, const char *fmt, ...)
    SY_PRINTF(3, 4);
/* May what this area says about the device be proposed? Moves it here when it is
 * listed elsewhere but sends its reports here (@live). */
bool ad_z2m_claim(struct ad_z2m *z, const struct ad_z2m_device *d, bool live,
                  struct rp_batch *out);

/* bridge.c: bridge/state, info, logging; and what anything live says of the bridge. */
void ad_z2m_bridge_state(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out);
void ad_z2m_bridge_info(struct ad_z2m *z, const struct rp_message *m,
                        struct rp_batch *out);
void ad_z2m_bridge_logging(struct ad_z2m *z, const struct rp_message *m);
void ad_z2m_bridge_alive(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out);
/* Plain or {"state": ...}; RP_AVAIL_UNKNOWN: neither. */
enum rp_avail ad_z2m_parse_avail(const void *payload, size_t len);

/* devices.c: bridge/devices */
void ad_z2m_devices(struct ad_z2m *z, const struct rp_message *m, struct rp_batch *out);

/* settings.c: what of the bridge's configuration costs us something */
void ad_z2m_settings(struct ad_z2m *z, const void *payload, size_t len);

/* state.c. SY_EINVALID: nothing of it can be used. @why gets what is wrong, also
 * when only one value is; else it is empty. Fills all but ieee and the flags. */
SY_MUST_USE int ad_z2m_parse_state(const void *payload, size_t len, struct rp_report *r,
                                   struct sy_errbuf *why);
/* Milliseconds of ISO 8601 (with Z or offset) or of digits; 0: neither, or not
 * between the years 2000 and 2100. */
uint64_t ad_z2m_parse_time(const char *s);

#endif /* AD_Z2M_IMPL_H */
