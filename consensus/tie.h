/* The tie-breaker: may one of two nodes go on alone?
 *
 * Two voters decide nothing when one of them is gone. What is committed is on both, so
 * either has it all; what is missing is a third that sees to it that not both go on.
 * That third is a row in Postgres, changed by compare-and-swap on its epoch only:
 *
 *             claim (either)                  re-claim (X)
 *   OPEN  ---------------------> SOLE = X --------------------> SOLE = X
 *   {1,2}                           |
 *     ^          hand back          |       (each arrow: another, higher epoch)
 *     +-----------------------------+
 *       both hold the epoch of the new open row as a replicated fact
 *
 * This is a pure state machine fed with levels: it performs no I/O, reads no clock and
 * allocates nothing. The caller passes what holds now and gets the one effect to carry
 * out; answers of Postgres come in by cs_tie_answer().
 *
 * Safety. From the moment a claim is sent until its outcome is known, this node says
 * nothing to its peer and hears nothing from it (cs_tie_muted): so what it takes along is
 * all that was ever acknowledged. A claim that is won is acted upon only if the peer is
 * still silent; then the log is re-formed (node/reform.h) by a process that
 * begins anew. Nothing follows from merely reading a row, but that an own attempt,
 * recognised by its token, was successful: an old statement that is carried out late
 * finds another epoch, or leaves a row that names a node that does not know; either is
 * mended by a further swap. A node alone in its configuration acts only after a swap of
 * this life of it. docs/adr/0020 has the rest, test_tie_explore walks it. */

#ifndef CS_TIE_H
#define CS_TIE_H

#include <stdbool.h>
#include <stdint.h>

/* Sets of nodes are masks: bit n is node n. */
#define CS_TIE_NODE(id) ((uint32_t)1 << (id))

struct cs_tie_row
{
    uint64_t epoch; /* 0: there is no row */
    uint64_t term;  /* of whoever changed it last, the highest so far */
    uint64_t token; /* of the attempt that made it so */
    uint32_t members;
    uint32_t sole; /* the node that may go on alone; 0: open */
};

/* What holds now. Repeat it as often as you like. */
struct cs_tie_levels
{
    uint32_t voters;     /* of the newest configuration in the log; 0: none */
    uint32_t in_force;   /* of the newest applied one */
    uint32_t widen;      /* the voters that somebody wants, three or more; 0: nobody */
    uint64_t epoch;      /* the fact tie.epoch, as applied here; 0: never told */
    uint64_t held;       /* the highest in the log, applied or not; at least epoch */
    uint64_t peer_epoch; /* the same of the other voter, as it says; 0: not known */
    uint64_t out_epoch;  /* A peer leads alone, without us, and holds this; 0: none */
    uint64_t term;
    bool leading; /* and all that its log held when it began is applied */
    bool silent;  /* the peer said nothing for so long that it cannot act any more */
    bool fit;     /* this node could do the work */
    bool calm;    /* no maintenance, no handover of ours, not stopping */
    bool patient; /* it has waited as long as it should let the other go first */
    bool look;    /* it is time to look at the row again */
    bool reach;   /* there is a connection to Postgres */
    bool forced;  /* an operator has decided that this node goes on alone */
};

enum cs_tie_effect {
    CS_TIE_NOTHING,
    CS_TIE_READ,    /* the row; then cs_tie_answer() */
    CS_TIE_SWAP,    /* t->want in, if the epoch is t->expect; then cs_tie_answer() */
    CS_TIE_PROPOSE, /* tie.epoch = t->propose, unless that is under way */
    CS_TIE_REFORM,  /* alone, under t->want, from the next start on: no way back */
    CS_TIE_ARCHIVE  /* the others went on without us: begin empty. No way back */
};

enum cs_tie_purpose { CS_TIE_CLAIM, CS_TIE_RECLAIM, CS_TIE_OPEN, CS_TIE_CLOSE };

/* To prove that a rule is needed: leave it out. For tests only. */
enum cs_tie_without {
    CS_TIE_WITHOUT_SILENCE = 1 << 0, /* claims while the peer may act */
    CS_TIE_WITHOUT_MUTE = 1 << 1,    /* listens while a claim is under way */
    CS_TIE_WITHOUT_PROOF = 1 << 2,   /* an unknown outcome counts as won */
    CS_TIE_WITHOUT_NAME = 1 << 3,    /* claims a row that names another */
    CS_TIE_WITHOUT_EPOCH = 1 << 4,   /* claims a row that is newer than it is */
    CS_TIE_WITHOUT_FACT = 1 << 5,    /* hands back before both know */
    CS_TIE_WITHOUT_GATE = 1 << 6,    /* acts alone without a swap of this life */
    CS_TIE_WITHOUT_ABOVE = 1 << 8,   /* does not go above what its log holds */
    CS_TIE_WITHOUT_CLOSE = 1 << 7    /* takes in a third with the row open */
};

/* Owned and embedded by the caller; read by all, written by tie.c. */
struct cs_tie
{
    uint32_t self;
    unsigned without;
    uint64_t next_token;   /* counts; its high bits make it unique */
    struct cs_tie_row row; /* as last known */
    bool seen;
    bool asked;  /* a request is out */
    bool unsure; /* a swap's outcome is not known */
    bool swapping;
    bool won;   /* a claim: re-form */
    bool muted; /* a claim is under way */
    bool lost;  /* the last claim was not won */
    enum cs_tie_purpose purpose;
    struct cs_tie_row want;
    uint64_t expect;
    uint64_t propose;
    uint64_t confirmed; /* epoch under which this life of this node may be alone */
};

/* @token: unique in its high 40 bits for each life of each node. @confirmed: a claim
 * won by the process that this one goes on from (exec), or 0. */
void cs_tie_init(struct cs_tie *t, uint32_t self, uint64_t token, uint64_t confirmed);
/* Feed the levels, get the one effect to carry out. Never fails. */
enum cs_tie_effect cs_tie_step(struct cs_tie *t, const struct cs_tie_levels *l);
/* The row as it is after the request, epoch 0 if there is none; NULL: no answer, and what
 * became of it is not known. */
void cs_tie_answer(struct cs_tie *t, const struct cs_tie_row *row);

/* Neither send to the peer nor hear it: what concerns Raft. */
bool cs_tie_muted(const struct cs_tie *t);
/* May this node lead, if Raft lets it? */
bool cs_tie_may_lead(const struct cs_tie *t, const struct cs_tie_levels *l);
/* May these become the voters? Three: only when the row can be claimed by nobody. */
bool cs_tie_may_widen(const struct cs_tie *t, uint32_t voters);
unsigned cs_tie_count(uint32_t set);

/* Since when it has been silent: long enough for it not to act any more? Its lease
 * counts from when it sent what we answered, so not later than when we last
 * received something. @broken: the kernel says that its process is gone; otherwise it
 * may be a hiccup, which an election timeout more tells. */
bool cs_tie_silent(uint64_t now_ms, uint64_t heard_ms, unsigned election_ms, bool broken);

#endif /* CS_TIE_H */
