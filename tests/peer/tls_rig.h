/* Certificates for the tests, and a client that shows whatever it likes. */

#ifndef TESTS_PEER_TLS_RIG_H
#define TESTS_PEER_TLS_RIG_H

#include "adapters/peer/tls.h"
#include "tests/peer/rig.h"

enum { DAY = 86400 };

struct tls_rig
{
    char dir[256]; /* of the CA; "foreign" beside it is another one's */
    char foreign[300];
    int64_t now; /* when all that was issued */
    struct ad_tls *tls[RIG_NODES + 1];
};

/* A CA, certificates for all nodes, and every node of @r uses its own. */
void tls_rig_init(struct tls_rig *t, struct rig *r);
/* After rig_fini(). */
void tls_rig_fini(struct tls_rig *t);
/* A certificate of @dir's CA; its folder is called @name. */
void tls_rig_node(const char *dir, const char *cluster, uint64_t id, const char *name,
                  int64_t now, int days);
void tls_rig_files(const char *dir, const char *name, struct ad_tls_files *ret);

/* A client that believes whoever answers. */
struct raw_tls
{
    struct rig *rig;
    void *ctx, *ssl, *in, *out;
    int fd;
    struct sy_buf sent; /* on the wire, all of it */
    struct sy_buf got;  /* that it could read */
    bool up, ended;
    uint64_t until_ns; /* then the test has failed */
};

/* @name: whose certificate it shows, NULL: none. @old: TLS 1.2. */
void raw_tls_dial(struct raw_tls *c, struct rig *r, unsigned id, const char *dir,
                  const char *name, bool old);
/* Goes on with the handshake, and reads; for five seconds at most. */
void raw_tls_turn(struct raw_tls *c);
/* As if it had been read; the bytes on the wire are returned, not sent, if @hold. */
void raw_tls_write(struct raw_tls *c, const void *p, size_t n, struct sy_buf *hold);
void raw_tls_close(struct raw_tls *c);

#endif /* TESTS_PEER_TLS_RIG_H */
