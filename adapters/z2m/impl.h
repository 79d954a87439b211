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
    AD_Z2M_DEVICES_MAX = 32 * 1024 * 1024,
    AD_Z2M_TOLD_MAX = 48
};

/* Sentences about a bridge (notes.c), each told once until it is mended. */
enum ad_z2m_sentence {
    AD_Z2M_QOS = 1,
    AD_Z2M_LAST_SEEN,
    AD_Z2M_AVAILABILITY,
    AD_Z2M_OUTPUT,
    AD_Z2M_BASE,
    AD_Z2M_LOG,
    AD_Z2M_CACHE,
    AD_Z2M_CACHE_START,
    AD_Z2M_RETAIN,
    AD_Z2M_QOS_DEVICE,
    AD_Z2M_TWINS,
    /* From here on: about the list of devices. */
    AD_Z2M_NAME,
    AD_Z2M_ELSEWHERE,
    AD_Z2M_TOO_MANY,
    AD_Z2M_SLASH
};

struct ad_z2m_told
{
    uint16_t number; /* enum ad_z2m_sentence */
    bool again;      /* The new list gives reason for it, too. */
    uint64_t ieee;
    uint64_t hash;
};

/* Two values that take turns: A, B, A. */
struct ad_z2m_turns
{
    uint64_t now, before; /* 0: none */
    unsigned run;         /* How often @now came since it changed. */
};

/* One area's state; of the node on watch only, begins empty at every relief. */
struct ad_z2m
{
    const struct rp_store *store;
    uint16_t area;
    struct rp_source_config config;
    rp_note_cb note_cb;
    void *note_data;
    struct ad_z2m_names names;
    bool list_known; /* From the store or the bridge: a name not in it is unknown. */

    uint64_t begun_at_ms; /* First message of this watch; 0: none yet. */
    unsigned heard;       /* Which of the bridge's own topics came; see ask() */
    bool asked;

    /* The bridge (bridge.c). */
    enum rp_avail bridge; /* As last proposed. */
    bool ready;
    bool info_seen;           /* Since the bridge was last offline. */
    uint64_t online_at_ms;    /* When it was first heard of as online, */
    uint64_t offline_at_ms;   /* or as offline. */
    uint32_t starts;          /* How often it may have started; */
    uint64_t start_at_ms;     /* when it may have done so last, */
    bool starting;            /* and what follows must tell whether it did. */
    bool again;               /* It was taken for online when it said so. */
    uint64_t restarted_at_ms; /* It did: its cache follows. 0: as far as is known. */
    bool absent;              /* Its process is not there, by who runs it. */
    bool awaited;             /* It was started, and has not been heard since: */
    uint64_t awaited_at_ms;   /* what is retained was said by one before. */

    /* Of its configuration (settings.c). */
    bool has_qos;        /* States come at QoS 1 or more. */
    bool has_last_seen;  /* They say when the device was heard. */
    bool no_cache;       /* It does not repeat what it knew when it starts. */
    uint64_t timeout_ms; /* After this a silent device is offline. */
    uint64_t qos0_ieee;  /* The example of AD_Z2M_QOS_DEVICE; 0: none. */
    struct ad_z2m_turns coordinator, process;
    struct ad_z2m_told told[AD_Z2M_TOLD_MAX];
    unsigned told_n;

    uint64_t doubt_at_ms; /* Availability may have been lost before; 0: no (avail.c). */
    uint64_t heard_at_ms; /* Anything of the area. */
};

/* source.c */
/* What is retained of the bridge's own words is wanted once more. */
void ad_z2m_ask_bridge(struct ad_z2m *z);
const char *ad_z2m_base(const struct ad_z2m *z);
const char *ad_z2m_area_name(const struct ad_z2m *z);
/* May what this area says about the device be proposed? Moves it here when it is
 * listed elsewhere but sends its reports here (@live). */
bool ad_z2m_claim(struct ad_z2m *z, const struct ad_z2m_device *d, bool live,
                  struct rp_batch *out);
/* The entry of the name, or a new one without an address; NULL: the table is full,
 * and what is said of strangers is not kept. */
struct ad_z2m_device *ad_z2m_entry(struct ad_z2m *z, const char *name, size_t len);

/* notes.c */
/* Takes away the beginning of a character whose end was cut off. */
void ad_z2m_whole(char *text);
/* The message becomes a letter, unless it was retained: then the broker has it. */
void ad_z2m_note_payload(struct ad_z2m *z, const struct rp_message *m, const char *fmt,
                         ...) SY_PRINTF(3, 4);
/* Only a warning. */
void ad_z2m_warn(struct ad_z2m *z, const char *topic, const char *fmt, ...)
    SY_PRINTF(3, 4);
void ad_z2m_note_stranger(struct ad_z2m *z, const struct rp_message *m,
                          struct ad_z2m_device *d, uint64_t now_ms);
void ad_z2m_note_filter(struct ad_z2m *z, const char *filter, bool fresh);
void ad_z2m_note_asked(struct ad_z2m *z, const struct rp_message *m, uint64_t ieee,
                       const char *value);
void ad_z2m_tell(struct ad_z2m *z, enum ad_z2m_sentence number, uint64_t ieee,
                 const char *fmt, ...) SY_PRINTF(4, 5);
bool ad_z2m_is_told(struct ad_z2m *z, enum ad_z2m_sentence number, uint64_t ieee);
void ad_z2m_mended(struct ad_z2m *z, enum ad_z2m_sentence number, uint64_t ieee);
/* Around a new list of devices: what is not told again between them is mended. */
void ad_z2m_tell_begin(struct ad_z2m *z);
void ad_z2m_tell_end(struct ad_z2m *z);

/* asked.c: somebody, maybe ourselves, asks the bridge to set a device */
void ad_z2m_asked(struct ad_z2m *z, const struct rp_message *m, const char *name,
                  size_t len);

/* bridge.c: bridge/state, info; and what anything live says of the bridge. */
void ad_z2m_bridge_state(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out);
void ad_z2m_bridge_info(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                        struct rp_batch *out);
void ad_z2m_bridge_alive(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                         struct rp_batch *out);
/* It says of a device whether it is there: of all of them, when it starts. */
void ad_z2m_bridge_counts(struct ad_z2m *z, const struct rp_message *m, uint64_t now_ms,
                          struct rp_batch *out);
/* As rp_source_ops.process. */
void ad_z2m_bridge_process(struct ad_z2m *z, bool runs, uint64_t now_ms,
                           struct rp_batch *out);
/* Is the report of @d out of the bridge's cache, and not from the device? To be asked
 * once for each. */
bool ad_z2m_cached(struct ad_z2m *z, struct ad_z2m_device *d, const struct rp_message *m,
                   const struct rp_report *r, uint64_t now_ms);

/* avail.c: who is there */
/* Plain or {"state": ...}; RP_AVAIL_UNKNOWN: neither. */
enum rp_avail ad_z2m_parse_avail(const void *payload, size_t len);
void ad_z2m_avail(struct ad_z2m *z, const struct rp_message *m, const char *name,
                  size_t len, uint64_t now_ms, struct rp_batch *out);
/* What was said of a device before it was this area's. */
void ad_z2m_avail_pending(struct ad_z2m *z, struct ad_z2m_device *d,
                          struct rp_batch *out);
/* After each report of a device: it talks. */
void ad_z2m_avail_heard(struct ad_z2m *z, struct ad_z2m_device *d,
                        const struct rp_report *r, uint64_t now_ms, struct rp_batch *out);
/* After each message: who has been silent for too long? */
void ad_z2m_avail_doubt(struct ad_z2m *z, uint64_t now_ms, struct rp_batch *out);

/* errors.c: bridge/logging */
void ad_z2m_logging(struct ad_z2m *z, const struct rp_message *m);

/* devices.c: bridge/devices, bridge/groups */
void ad_z2m_devices(struct ad_z2m *z, const struct rp_message *m, struct rp_batch *out);
void ad_z2m_groups(struct ad_z2m *z, const struct rp_message *m);
uint64_t ad_z2m_parse_ieee(const char *s); /* "0x" and 16 digits; 0: not that */

/* settings.c: what of the bridge's configuration costs us something; and whether it
 * is alone on its base topic */
void ad_z2m_settings(struct ad_z2m *z, const void *payload, size_t len);
void ad_z2m_coordinator(struct ad_z2m *z, uint64_t ieee);
void ad_z2m_health(struct ad_z2m *z, const struct rp_message *m);
/* The QoS that a report of a listed device came with. */
void ad_z2m_qos(struct ad_z2m *z, const struct ad_z2m_device *d,
                const struct rp_message *m);

/* state.c. SY_EINVALID: nothing of it can be used. @why gets what is wrong, also
 * when only one value is; else it is empty. Fills all but ieee and the flags. */
SY_MUST_USE int ad_z2m_parse_state(const void *payload, size_t len, struct rp_report *r,
                                   struct sy_errbuf *why);
/* Milliseconds of ISO 8601 (with Z or offset) or of digits; 0: neither, or not
 * between the years 2000 and 2100. */
uint64_t ad_z2m_parse_time(const char *s);

#endif /* AD_Z2M_IMPL_H */
