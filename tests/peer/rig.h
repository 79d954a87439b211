/* What the tests of the connections share: nodes on one loop that note what they
 * are told, and raw sockets that behave as badly as they like. */

#ifndef TESTS_PEER_RIG_H
#define TESTS_PEER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapters/peer/hello.h"
#include "adapters/peer/peer.h"
#include "base/buf.h"

enum { RIG_NODES = 3 };

struct rig_node
{
    struct rig *rig;
    struct ad_peers *peers; /* NULL: not open */
    struct sy_log log;
    char lines[16384]; /* of the log */
    size_t lines_len;
    char story[1024]; /* "+2" up, "-2!" down and broken, "-2" down */
    struct ad_peer_config config;
    /* Frames: checked to be numbered in order, per sender. */
    uint64_t got[AD_PEER_ID_MAX + 1];
    uint64_t sent[AD_PEER_ID_MAX + 1];
    size_t got_bytes;
    struct ad_peer_goodbye goodbye; /* the last one */
    bool out_of_order;
    bool closed;
};

struct rig
{
    uv_loop_t loop;
    uv_timer_t pulse; /* So that a turn of the loop ends. */
    uint16_t ports[RIG_NODES + 1];
    struct rig_node nodes[RIG_NODES + 1]; /* by id */
};

void rig_init(struct rig *r);
/* Closes what is open; the loop must have nothing left. */
void rig_fini(struct rig *r);
/* Config of node @id, to be changed before rig_open(). */
struct ad_peer_config *rig_config(struct rig *r, unsigned id);
void rig_open(struct rig *r, unsigned id);
void rig_close(struct rig *r, unsigned id);
void rig_turn(struct rig *r);
/* Turns of the loop until it holds; fails the test after five seconds. */
#define RIG_UNTIL(R, CONDITION)                                 \
    do {                                                        \
        uint64_t until_ = uv_hrtime() + 5000000000ULL;          \
        while (!(CONDITION)) {                                  \
            if (uv_hrtime() > until_) {                         \
                fail_msg("waited in vain for: %s", #CONDITION); \
            }                                                   \
            rig_turn(R);                                        \
        }                                                       \
    } while (0)
/* The next numbered frame, @n bytes; false: refused. */
bool rig_send(struct rig *r, unsigned from, unsigned to, size_t n);

const char *rig_host(void);
/* A connection to node @id that is ours to abuse; non-blocking. */
int raw_dial(struct rig *r, unsigned id);
void raw_write(int fd, const void *p, size_t n);
/* Did the other side close it? Throws away what can be read. */
bool raw_ended(int fd);

struct raw_hello
{
    const char *magic;
    uint32_t protocol;
    uint64_t epoch;
    uint64_t from;
    uint64_t to;
    const char *cluster;
};
/* That of node 2 to node 1, which is right. */
struct raw_hello raw_hello_right(void);
void raw_put_hello(struct sy_buf *b, const struct raw_hello *h);
void raw_put_frame(struct sy_buf *b, uint8_t kind, const void *p, size_t n);
/* Dials node 1 as node 2 and is let in. */
int raw_link(struct rig *r);

#endif /* TESTS_PEER_RIG_H */
