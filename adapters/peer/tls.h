/* Mutual TLS 1.3 in memory: bytes of the wire in, what they say out. No sockets.
 *
 * A node is who its certificate says: a URI among its names, vagt://CLUSTER/node/ID,
 * signed by a CA of `ca`. Who shows none, one of another cluster or CA, or one whose
 * time is over, gets an alert and nothing else. There are no tickets, no resumption and
 * no early data: each connection proves anew who it is. */

#ifndef AD_PEER_TLS_H
#define AD_PEER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { AD_TLS_PATH_SIZE = 512 };

/* PEM. */
struct ad_tls_files
{
    char ca[AD_TLS_PATH_SIZE];   /* one or more */
    char cert[AD_TLS_PATH_SIZE]; /* ours, and what is between it and the CA */
    char key[AD_TLS_PATH_SIZE];
};

struct ad_tls;

/* A certificate whose time is over is taken: it may be renewed while running. */
SY_MUST_USE int ad_tls_open(struct ad_tls **ret, const struct ad_tls_files *files,
                            const char *cluster, uint64_t self, struct sy_errbuf *eb);
/* Reads the files anew if they changed since, or could not be used. 1: they are in use
 * now, for new connections; 0: nothing is new; negative: what was there stays in use. */
SY_MUST_USE int ad_tls_renew(struct ad_tls *t, struct sy_errbuf *eb);
/* Unix time at which the first of our certificate and those above it ends. */
int64_t ad_tls_until(const struct ad_tls *t);
/* Not before its connections. NULL is fine. */
void ad_tls_free(struct ad_tls *t);

struct ad_tls_link;

/* @dials: node that must answer; 0: we were dialled, by whom we see. @t stays. */
struct ad_tls_link *ad_tls_link_new(struct ad_tls *t, uint64_t dials);
/* @n bytes came (0: begin). What they say is appended to @plain, what must be answered
 * to @wire, also when it fails: -ECONNREFUSED if the other side refused us, SY_EINVALID
 * if we do; @eb has why. */
SY_MUST_USE int ad_tls_take(struct ad_tls_link *l, const void *p, size_t n,
                            struct sy_buf *plain, struct sy_buf *wire,
                            struct sy_errbuf *eb);
/* Only when the peer is known. */
void ad_tls_give(struct ad_tls_link *l, const void *p, size_t n, struct sy_buf *wire);
/* The node at the other end; 0: it has not proved anything yet. */
uint64_t ad_tls_peer(const struct ad_tls_link *l);
void ad_tls_link_free(struct ad_tls_link *l); /* NULL is fine. */

/* The id in "vagt://CLUSTER/node/ID"; 0: it is none of @cluster. */
uint64_t ad_tls_id_of(const char *uri, size_t n, const char *cluster);

#endif /* AD_PEER_TLS_H */
