/* The other end of ZeroMQ's authentication (ZAP 1.0, rfc.zeromq.org/spec/27): libzmq
 * asks, over an inproc socket, whether a client with such a CURVE key may come in. Only
 * libzmq speaks here; of a client there is nothing in it but the key. */

#ifndef AD_ZMQ_ZAP_H
#define AD_ZMQ_ZAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum {
    AD_ZAP_KEY_SIZE = 41,     /* Z85 (spec/32) and its zero byte */
    AD_ZAP_ADDRESS_SIZE = 48, /* "192.0.2.7" */
};

#define AD_ZAP_DOMAIN "vagt"

/* May the holder of @key come in? */
typedef bool (*ad_zap_admit_cb)(void *data, const char key[AD_ZAP_KEY_SIZE],
                                const char *address);

/* Before any socket with a key is bound. */
SY_MUST_USE int ad_zap_open(void **ret_sock, void *ctx, struct sy_errbuf *eb);
/* "192.0.2.7" of what libzmq calls "::ffff:192.0.2.7" (RFC 4291, 2.5.5.2). */
void ad_zap_address(char to[AD_ZAP_ADDRESS_SIZE], const char *from, size_t n);
/* Takes one question and answers it. What is admitted has its key as the "User-Id" of
 * each message (zmq_msg_gets(3)). */
void ad_zap_take(void *sock, ad_zap_admit_cb admit, void *data);

#endif /* AD_ZMQ_ZAP_H */
