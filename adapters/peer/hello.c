#include "adapters/peer/hello.h"

#include <string.h>

static const char magic[8] = "vagtpeer";

int ad_peer_frame_next(const uint8_t *p, size_t n, size_t max, size_t *ret_whole)
{
    struct sy_cur c = {.p = p, .n = n};
    uint32_t len = sy_cur_u32(&c);

    if (n < AD_PEER_HEADER) {
        return 0;
    }
    if (len == 0 || len > max) {
        return -1;
    }
    *ret_whole = 4 + (size_t)len;
    return n >= *ret_whole;
}

void ad_peer_frame_put(struct sy_buf *b, uint8_t kind, size_t n)
{
    sy_buf_u32(b, (uint32_t)(n + 1));
    sy_buf_u8(b, kind);
}

void ad_peer_hello_put(struct sy_buf *b, const struct ad_peer_hello *h)
{
    sy_buf_put(b, magic, sizeof magic);
    sy_buf_u32(b, h->protocol);
    sy_buf_u64(b, h->epoch);
    sy_buf_u64(b, h->from);
    sy_buf_u64(b, h->to);
    sy_buf_str(b, h->cluster);
}

bool ad_peer_hello_parse(const uint8_t *p, size_t n, struct ad_peer_hello *ret)
{
    struct sy_cur c = {.p = p, .n = n};
    const uint8_t *m = sy_cur_take(&c, sizeof magic);

    *ret = (struct ad_peer_hello){.protocol = sy_cur_u32(&c)};
    ret->epoch = sy_cur_u64(&c);
    ret->from = sy_cur_u64(&c);
    ret->to = sy_cur_u64(&c);
    if (c.bad || memcmp(m, magic, sizeof magic) != 0) {
        return false;
    }
    /* A name that is too long, or holds a zero byte, is that of no cluster. */
    if (c.n < sizeof ret->cluster && memchr(c.p, 0, c.n) == NULL) {
        memcpy(ret->cluster, c.p, c.n);
    }
    return true;
}

void ad_peer_goodbye_put(struct sy_buf *b, uint8_t reason, const char *text)
{
    sy_buf_u8(b, reason);
    sy_buf_put(b, text, strnlen(text, AD_PEER_GOODBYE_MAX));
}

bool ad_peer_goodbye_parse(const uint8_t *p, size_t n, struct ad_peer_goodbye *ret)
{
    if (n == 0 || n > 1 + AD_PEER_GOODBYE_MAX) {
        return false;
    }
    *ret = (struct ad_peer_goodbye){.reason = p[0]};
    for (size_t i = 1; i < n; i++) {
        ret->text[i - 1] = (char)(p[i] >= 0x20 && p[i] < 0x7f ? p[i] : '?');
    }
    return true;
}
