/* Certificates: read anew while running, told when they end; and what a node says that
 * will not have this one. */

#ifndef ND_TLS_H
#define ND_TLS_H

#include <stdbool.h>

#include "adapters/peer/tls.h"
#include "base/buf.h"
#include "base/err.h"

struct nd_node;
struct nd_replica_config;

struct nd_tls
{
    struct ad_tls *tls; /* NULL: plain */
    uint64_t look_ms;   /* when the files are looked at next */
    bool told;          /* that the certificate ends soon */
    char why[256];      /* why the newest files could not be used; "": they were */
};

SY_MUST_USE int nd_tls_open(struct nd_node *n, struct nd_replica_config *rc,
                            struct sy_errbuf *eb);
void nd_tls_free(struct nd_node *n); /* after all that uses it */
void nd_tls_look(struct nd_node *n); /* at the files, now */
void nd_tls_tend(struct nd_node *n);
/* A pair of a node's map: until when, in Unix seconds; 0: plain. */
void nd_tls_put(struct nd_node *n, struct sy_buf *b);
uint32_t nd_tls_metrics(struct nd_node *n, struct sy_buf *b); /* so many pairs */
void nd_tls_issues(struct nd_node *n,
                   void (*tell)(void *data, bool error, const char *text), void *data);
/* A goodbye came. */
void nd_tls_goodbye(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len);

#endif /* ND_TLS_H */
