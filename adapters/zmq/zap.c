#include "adapters/zmq/zap.h"

#include <stdint.h>
#include <string.h>
#include <zmq.h>

enum {
    FRAMES_MAX = 7, /* version, id, domain, address, identity, mechanism, key */
    FRAME_SIZE = 256,
    CURVE_KEY_BYTES = 32
};

struct question
{
    unsigned n; /* frames; FRAMES_MAX + 1: more than that */
    size_t len[FRAMES_MAX];
    uint8_t frame[FRAMES_MAX][FRAME_SIZE];
};

int ad_zap_open(void **ret_sock, void *ctx, struct sy_errbuf *eb)
{
    void *sock = zmq_socket(ctx, ZMQ_REP);
    int zero = 0;

    if (sock == NULL || zmq_setsockopt(sock, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_bind(sock, "inproc://zeromq.zap.01") != 0) {
        int err = zmq_errno();

        if (sock != NULL) {
            zmq_close(sock);
        }
        return sy_fail(eb, -err, "control: keys cannot be checked: %s",
                       zmq_strerror(err));
    }
    *ret_sock = sock;
    return 0;
}

/* Frames of one message arrive together, so this cannot wait. */
static bool receive(void *sock, struct question *q)
{
    bool more = true;

    q->n = 0;
    while (more) {
        zmq_msg_t msg;
        int len;

        zmq_msg_init(&msg);
        len = zmq_msg_recv(&msg, sock, ZMQ_DONTWAIT);
        more = len >= 0 && zmq_msg_more(&msg);
        if (len < 0 || q->n >= FRAMES_MAX || len > FRAME_SIZE) {
            q->n = len < 0 ? q->n : FRAMES_MAX + 1;
        } else {
            memcpy(q->frame[q->n], zmq_msg_data(&msg), (size_t)len);
            q->len[q->n++] = (size_t)len;
        }
        zmq_msg_close(&msg);
    }
    return q->n > 0;
}

static bool is(const struct question *q, unsigned i, const char *text)
{
    return q->len[i] == strlen(text) && memcmp(q->frame[i], text, q->len[i]) == 0;
}

static bool sound(const struct question *q)
{
    return q->n == FRAMES_MAX && is(q, 0, "1.0") && is(q, 2, AD_ZAP_DOMAIN) &&
           is(q, 5, "CURVE") && q->len[6] == CURVE_KEY_BYTES;
}

void ad_zap_address(char to[AD_ZAP_ADDRESS_SIZE], const char *from, size_t n)
{
    static const char mapped[] = "::ffff:";
    size_t skip = sizeof mapped - 1;

    if (n > skip && memcmp(from, mapped, skip) == 0 && memchr(from, '.', n) != NULL) {
        from += skip;
        n -= skip;
    }
    n = n < AD_ZAP_ADDRESS_SIZE ? n : AD_ZAP_ADDRESS_SIZE - 1;
    memcpy(to, from, n);
    to[n] = '\0';
}

void ad_zap_take(void *sock, ad_zap_admit_cb admit, void *data)
{
    struct question q;
    char address[AD_ZAP_ADDRESS_SIZE] = "";
    char key[AD_ZAP_KEY_SIZE] = "";
    bool good = false;

    if (!receive(sock, &q)) {
        return;
    }
    if (sound(&q)) {
        ad_zap_address(address, (const char *)q.frame[3], q.len[3]);
        good = zmq_z85_encode(key, q.frame[6], CURVE_KEY_BYTES) != NULL &&
               admit(data, key, address);
    }
    /* It must be answered in any case, or the socket takes no other question. */
    (void)zmq_send(sock, "1.0", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(sock, q.frame[1], q.n >= 2 && q.n <= FRAMES_MAX ? q.len[1] : 0,
                   ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(sock, good ? "200" : "400", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(sock, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(sock, key, good ? strlen(key) : 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(sock, "", 0, ZMQ_DONTWAIT);
}
