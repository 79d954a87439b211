/* configuration.yaml of a Zigbee2MQTT: what in it must be so that the area can move to
 * another host and loses nothing, and the mend, by hand or by us.
 *
 * What an instance that runs says of itself is adapters/z2m/settings.c; this is for
 * before it runs, and for what bridge/info does not show. An edit changes only the
 * lines it must, keeps comments and order, and is looked at again before it is
 * written: where anything else would change, nothing is. (Zigbee2MQTT itself rewrites
 * the file at times, without its comments.) */

#ifndef AD_BRIDGE_SETTINGS_H
#define AD_BRIDGE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    AD_BRIDGE_SERVERS_MAX = 4,
    AD_BRIDGE_VALUE_SIZE = 160,
    AD_BRIDGE_FILE_MAX = 1 << 20,
    AD_BRIDGE_FINDINGS_MAX = 12
};

/* What is ours to say. */
struct ad_bridge_wanted
{
    char base_topic[AD_BRIDGE_VALUE_SIZE];
    /* Addresses of the broker, "192.0.2.10:1883": any will do, the first is written. */
    char servers[AD_BRIDGE_SERVERS_MAX][AD_BRIDGE_VALUE_SIZE];
    unsigned servers_n;                   /* 0: not looked at */
    bool tls;                             /* mqtts:// */
    char client_id[AD_BRIDGE_VALUE_SIZE]; /* for one that has none */
    char port[AD_BRIDGE_VALUE_SIZE];      /* of the coordinator; "": not looked at */
};

struct ad_bridge_finding
{
    const char *path; /* "mqtt.server" */
    unsigned line;    /* 0: it is not there */
    char is[AD_BRIDGE_VALUE_SIZE];
    char want[AD_BRIDGE_VALUE_SIZE];
    const char *why; /* what it costs as it is */
};

struct ad_bridge_findings
{
    struct ad_bridge_finding list[AD_BRIDGE_FINDINGS_MAX];
    unsigned n;
    char client_id[AD_BRIDGE_VALUE_SIZE]; /* as the file has it; "": none */
};

/* SY_EINVALID: not YAML, or not Zigbee2MQTT's; @eb says where. */
SY_MUST_USE int ad_bridge_settings_check(const char *text, size_t len,
                                         const struct ad_bridge_wanted *wanted,
                                         struct ad_bridge_findings *ret,
                                         struct sy_errbuf *eb);
/* @out gets the text with all of it mended. Fails, and leaves it, where that cannot be
 * done line by line. */
SY_MUST_USE int ad_bridge_settings_mend(const char *text, size_t len,
                                        const struct ad_bridge_wanted *wanted,
                                        struct sy_buf *out, struct sy_errbuf *eb);
/* "mqtt.server is mqtt://a:1, not mqtt://b:1: ..."; the text for people. */
void ad_bridge_finding_text(const struct ad_bridge_finding *f, char *to, size_t size);

/* The same for the file in @dir. Nothing is written if nothing differs; else a new one
 * takes the place of the old, with its owner and mode. @ret is what differed before. */
SY_MUST_USE int ad_bridge_settings_look(const char *dir,
                                        const struct ad_bridge_wanted *wanted,
                                        struct ad_bridge_findings *ret,
                                        struct sy_errbuf *eb);
SY_MUST_USE int ad_bridge_settings_write(const char *dir,
                                         const struct ad_bridge_wanted *wanted,
                                         struct ad_bridge_findings *ret,
                                         struct sy_errbuf *eb);

#endif /* AD_BRIDGE_SETTINGS_H */
