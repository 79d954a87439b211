/* The cluster's own certificate authority: a folder on a machine that is no node.
 *
 *   ca.crt, ca.key      P-256; the key with a passphrase, if one is given
 *   nodes/NAME/         what node NAME gets: ca.crt, node.crt, node.key; made by others:
 *                       curve.pub, curve.key
 *
 * Whatever is secret is readable by its owner alone. A file is there as a whole or not
 * at all (written beside it, then renamed). */

#ifndef AD_SEAL_PKI_H
#define AD_SEAL_PKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    AD_PKI_NAMES_MAX = 16,
    AD_PKI_PATH_SIZE = 512,
    AD_PKI_CA_DAYS = 3650,
    AD_PKI_NODE_DAYS = 365
};

struct ad_pki_node
{
    const char *cluster;
    uint64_t id;
    const char *name;
    const char *addresses[AD_PKI_NAMES_MAX]; /* numeric, or host names */
    unsigned addresses_n;
};

/* What a certificate says. */
struct ad_pki_cert
{
    char subject[128];
    char names[512]; /* "vagt://c/node/1, 10.0.0.1, nas" */
    char serial[48];
    int64_t from, until; /* Unix time */
    bool is_ca;
};

/* A new CA in @dir, which must not have one. @passphrase: NULL, none. */
SY_MUST_USE int ad_pki_init(const char *dir, const char *cluster, const char *passphrase,
                            int64_t now, struct sy_errbuf *eb);
/* The name of the cluster whose CA is in @dir. */
SY_MUST_USE int ad_pki_cluster(const char *dir, char *ret, size_t size,
                               struct sy_errbuf *eb);
/* Key and certificate of a node, good from an hour before @now for @days. SY_EEXISTS: it
 * has one. */
SY_MUST_USE int ad_pki_node(const char *dir, const struct ad_pki_node *node,
                            const char *passphrase, int64_t now, int days,
                            struct sy_errbuf *eb);
/* The same certificate for as long again: the key on the node stays what it is. */
SY_MUST_USE int ad_pki_renew(const char *dir, const char *name, const char *passphrase,
                             int64_t now, int days, struct sy_errbuf *eb);
SY_MUST_USE int ad_pki_describe(const char *file, struct ad_pki_cert *ret,
                                struct sy_errbuf *eb);
/* Whole, or not at all; only its owner may read it if it is @secret. */
SY_MUST_USE int ad_pki_write(const char *path, const void *p, size_t n, bool secret,
                             struct sy_errbuf *eb);

#endif /* AD_SEAL_PKI_H */
