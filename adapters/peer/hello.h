/* What the first bytes of a connection between nodes look like. No I/O.
 *
 *   frame    u32 length of what follows, u8 kind, body (little endian)
 *   hello    magic, protocol, epoch, from, to, cluster
 *   goodbye  u8 reason, text: why the other side will not talk to us */

#ifndef AD_PEER_HELLO_H
#define AD_PEER_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    AD_PEER_HEADER = 5,
    AD_PEER_HELLO_MAX = 256, /* a frame of somebody who is not known yet */
    AD_PEER_GOODBYE_MAX = 200
};

struct ad_peer_hello
{
    uint32_t protocol;
    uint64_t epoch;
    uint64_t from;
    uint64_t to; /* 0 from who was dialled and does not know yet */
    char cluster[64];
};

struct ad_peer_goodbye
{
    uint8_t reason; /* enum ad_peer_goodbye_reason */
    char text[AD_PEER_GOODBYE_MAX + 1];
};

/* The frame that @p begins with, and its length as a whole. 1: here it is; 0: more must
 * come; -1: it is longer than @max, or empty. */
int ad_peer_frame_next(const uint8_t *p, size_t n, size_t max, size_t *ret_whole);
void ad_peer_frame_put(struct sy_buf *b, uint8_t kind, size_t n);

void ad_peer_hello_put(struct sy_buf *b, const struct ad_peer_hello *h);
bool ad_peer_hello_parse(const uint8_t *p, size_t n, struct ad_peer_hello *ret);
void ad_peer_goodbye_put(struct sy_buf *b, uint8_t reason, const char *text);
/* What is no text for a log is taken out of it. */
bool ad_peer_goodbye_parse(const uint8_t *p, size_t n, struct ad_peer_goodbye *ret);

#endif /* AD_PEER_HELLO_H */
