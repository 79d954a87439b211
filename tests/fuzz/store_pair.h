/* Two small stores for the fuzzers of replication/, and what must hold of one. */

#ifndef TESTS_FUZZ_STORE_PAIR_H
#define TESTS_FUZZ_STORE_PAIR_H

#include "replication/store.h"
#include "replication/store_impl.h"

/* Made on first use, empty at each. */
struct rp_store *fuzz_store(unsigned i);

/* Abort unless the hash is right and a snapshot brings the same state back. */
void fuzz_check(struct rp_store *s, struct rp_store *other);

/* Apply; abort if an error changed anything. */
int fuzz_apply(struct rp_store *s, const uint8_t *p, size_t n);

#endif
