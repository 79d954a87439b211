/* TLS of a look at a broker: bytes in, bytes out, no socket of its own. 1.2 or newer;
 * who answers must show a certificate of our CA that names the address. */

#ifndef AD_PROBE_TLS_H
#define AD_PROBE_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct ad_probe_files
{
    const char *ca;
    const char *cert, *key; /* of ours; NULL or "": none */
};

/* What @f names, read once. Errors: a sentence that names the file and the mend. */
struct ad_probe_ctx;
SY_MUST_USE int ad_probe_ctx_open(struct ad_probe_ctx **ret,
                                  const struct ad_probe_files *f, struct sy_errbuf *eb);
void ad_probe_ctx_free(struct ad_probe_ctx *c); /* NULL is fine */

struct ad_probe_tls;
/* @host: the numeric address that the certificate must name. */
struct ad_probe_tls *ad_probe_tls_new(struct ad_probe_ctx *c, const char *host);
void ad_probe_tls_free(struct ad_probe_tls *t);
/* What came from the socket (or nothing, to begin): what is to be sent is added to
 * @wire, what was said to us to @plain, of which there may be @max bytes. 0, or an
 * error with a sentence in @eb. */
SY_MUST_USE int ad_probe_tls_turn(struct ad_probe_tls *t, const void *p, size_t n,
                                  struct sy_buf *wire, struct sy_buf *plain, size_t max,
                                  struct sy_errbuf *eb);
bool ad_probe_tls_is_up(const struct ad_probe_tls *t);
/* Only when it is up. */
void ad_probe_tls_say(struct ad_probe_tls *t, const void *p, size_t n,
                      struct sy_buf *wire);

#endif /* AD_PROBE_TLS_H */
