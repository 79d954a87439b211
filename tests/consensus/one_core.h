/* One core (node 1 of some), whose world is a list of what it wanted, in order. */

#ifndef TESTS_CONSENSUS_ONE_CORE_H
#define TESTS_CONSENSUS_ONE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "consensus/core.h"
#include "consensus/core_impl.h"

enum wish_kind {
    W_SEND,
    W_SEND_SNAPSHOT,
    W_STORE,
    W_STORED,
    W_APPLY,
    W_SNAPSHOT,
    W_RESTORE
};

struct wish
{
    enum wish_kind kind;
    uint64_t to;
    struct raft_message m; /* W_SEND: decoded; no entries in it. */
    unsigned entries;
    uint64_t stamp;
    uint64_t index; /* W_APPLY, W_SNAPSHOT, W_RESTORE, W_SEND_SNAPSHOT */
    /* W_STORE */
    bool install, has_vote;
    uint64_t term, voted_for, first, n, drop_until;
};

struct one_core
{
    struct cs_core *core;
    struct cs_core_config config;
    uint64_t now;
    bool storing;
    struct wish wishes[4096];
    unsigned n;
};

/* A fresh log with @nodes voters. */
void one_core_open(struct one_core *o, unsigned nodes);
void one_core_close(struct one_core *o);
void one_core_stored(struct one_core *o);
/* Let time pass until the core asks for it. */
void one_core_expire(struct one_core *o);

/* Messages from @from; the term is always said. */
void one_core_vote_wanted(struct one_core *o, uint64_t from, uint64_t term, bool pre,
                          uint64_t last_index, uint64_t last_term);
void one_core_vote_given(struct one_core *o, uint64_t from, uint64_t term, bool pre);
/* @n commands of term @entry_term and 16 bytes. */
void one_core_append(struct one_core *o, uint64_t from, uint64_t term, uint64_t stamp,
                     uint64_t prev, uint64_t prev_term, uint64_t commit, unsigned n,
                     uint64_t entry_term);
void one_core_result(struct one_core *o, uint64_t from, uint64_t term, uint64_t stamp,
                     uint64_t has, uint64_t rejected);
void one_core_install(struct one_core *o, uint64_t from, uint64_t term, uint64_t index,
                      uint64_t index_term);
/* Win the election for term 2 with the vote of node 2; everything stored. */
void one_core_lead(struct one_core *o);

/* The first wish from @at on that is of @kind (and, for W_SEND, of @type); its
 * place, or o->n. */
unsigned one_core_find(const struct one_core *o, unsigned at, enum wish_kind kind,
                       int type);
unsigned one_core_count(const struct one_core *o, unsigned at, enum wish_kind kind,
                        int type);

#endif /* TESTS_CONSENSUS_ONE_CORE_H */
