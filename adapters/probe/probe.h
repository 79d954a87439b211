/* Could we, if we had to? A look at an address: a TCP connection, and at a broker a
 * CONNECT of MQTT 5 with a client id of its own, which nobody else has. It takes
 * nothing over and subscribes to nothing.
 *
 * To connect is enough elsewhere; at a broker the connection stays, and is asked with
 * PINGREQ: a look every few seconds would fill the broker's log. The callback comes
 * after each answer, never from inside a call. What is not good is the last that it
 * says, and so is what is good elsewhere than at a broker: then the probe is gone. */

#ifndef AD_PROBE_PROBE_H
#define AD_PROBE_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "adapters/probe/tls.h"

enum { AD_PROBE_ADDRESSES_MAX = 4, AD_PROBE_TEXT_SIZE = 200 };

struct ad_probe_config
{
    struct
    {
        char host[64]; /* numeric */
        uint16_t port;
    } addresses[AD_PROBE_ADDRESSES_MAX]; /* tried in turn: one is enough */
    unsigned addresses_n;
    const char *client_id;            /* of MQTT; NULL: to connect is enough */
    const char *username, *password;  /* NULL: none. Copied. */
    unsigned timeout_ms;              /* of each address, and of each ping */
    unsigned ping_ms;                 /* pause between two */
    const struct ad_probe_files *tls; /* read at the start; NULL: without TLS */
    bool any_answer; /* of a broker: one that refuses us is good, and that is the end */
};

/* @text: the address and how long it took, or what is wrong. */
typedef void (*ad_probe_cb)(void *data, bool good, const char *text);

struct ad_probe;

struct ad_probe *ad_probe_start(uv_loop_t *loop, const struct ad_probe_config *config,
                                ad_probe_cb cb, void *data);
/* In the callback: does it go on? */
bool ad_probe_is_held(const struct ad_probe *p);
/* Before it is gone: no callback comes any more. */
void ad_probe_cancel(struct ad_probe *p);

#endif /* AD_PROBE_PROBE_H */
