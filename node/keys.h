/* Who has a key for the control plane, and what it allows (ADR 27). Replicated:
 *
 *   fact key.NAME   "ROLE KEY": the public key as Z85
 *
 * Over a Unix socket the kernel has said who may connect (mode 0600): an admin. TCP
 * without keys is for the loopback, or a network the operator trusts: an admin, too. */

#ifndef ND_KEYS_H
#define ND_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "adapters/zmq/control.h"
#include "node/caller.h"
#include "replication/bucket.h"

struct nd_node;
struct nd_request;
struct nd_asker;

/* Facts are 64 in all, and who belongs to the cluster must always find room. */
enum { ND_KEYS_MAX = 20 };

/* What is counted apart: who looks often must still be able to switch. */
enum nd_key_use { ND_USE_LOOK, ND_USE_CHANGE, ND_KEY_USES };

struct nd_keys
{
    struct
    {
        char key[AD_ZAP_KEY_SIZE]; /* "": free */
        uint64_t used_ms;
        struct rp_bucket bucket[ND_KEY_USES];
    } rates[ND_KEYS_MAX];
    struct rp_bucket telling;   /* of refusals in the log */
    uint64_t seen[ND_KEYS_MAX]; /* hashes of the facts, to notice that one is gone */
    unsigned seen_n;
    uint64_t cut_again_ms; /* 0: not */
    uint64_t refused, limited;
};

/* "viewer", ...; NULL: ND_ROLE_NONE. */
const char *nd_role_name(enum nd_role role);
enum nd_role nd_role_of(const char *name); /* ND_ROLE_NONE: there is none such */
/* What the key of that name allows now; ND_ROLE_NONE: there is none such. */
enum nd_role nd_keys_role(const struct nd_node *n, const char *name);

/* ad_zap_admit_cb; @data is the node. */
bool nd_keys_admit(void *data, const char key[AD_ZAP_KEY_SIZE], const char *address);
/* Who asks, as of now: a key that was revoked since has no role. */
void nd_keys_caller(const struct nd_node *n, const struct ad_zmq_who *who,
                    struct nd_caller *ret);
/* May it do this? Answers and tells if not. @need: the least role. */
bool nd_keys_may(struct nd_request *q, enum nd_role need);
/* Every 100 ms: who is connected by a key that is no longer good is cut off. */
void nd_keys_tend(struct nd_node *n);

void nd_op_keys(struct nd_request *q);
void nd_op_keys_change(struct nd_request *q);

#endif /* ND_KEYS_H */
