/* Two nodes and the row, as test_tie_explore.c walks them: the real machine
 * (consensus/tie.c), and around it a small model of Raft, of the links and of Postgres.
 *
 * Time is what it makes possible: a node finds its peer silent only when nothing of it
 * arrives; then the peer's lease is over and what is on its way renews none. */

#ifndef TESTS_CONSENSUS_TIE_WORLD_H
#define TESTS_CONSENSUS_TIE_WORLD_H

#include "consensus/tie.h"

enum {
    LOG_MAX = 12,
    LATE_MAX = 2,
    PAIR = 6 /* nodes 1 and 2 */
};

enum kind { BARRIER, DATA, CONF, FACT };

struct entry
{
    uint8_t term, kind, arg, arg2; /* CONF: voters, spares */
};

/* What a node is on its disk, then what it is while it runs. */
struct node
{
    struct entry log[LOG_MAX];
    uint8_t n, term, vote;
    uint8_t marker, marker_term, exec; /* exec: epoch won by the life before */

    uint8_t up, leads, commit, match, lease, silent;
    uint8_t ack, ack_term, ack_fresh; /* on its way to this node; 0: none */
    uint8_t heard_epoch, heard_out, heard_empty;
    uint8_t asks; /* 1: on its way, 2: answered */
    struct cs_tie tie;
    struct cs_tie_row answer;
};

struct world
{
    struct node node[2];
    uint8_t link[2]; /* link[i]: what i says arrives */
    uint8_t pg;
    struct cs_tie_row row;
    struct
    {
        struct cs_tie_row want;
        uint64_t expect;
    } late[LATE_MAX];
    uint8_t data, done; /* entries made, committed (a mask) */
    uint8_t crashes, cuts, losses;
};

struct limits
{
    unsigned crashes, cuts, losses, data, epoch, term;
};

enum bug { BUG_TERM = 1 };

enum { STEPS_EACH = 18, STEPS = 2 * STEPS_EACH + LATE_MAX + 1 };

extern struct limits limits; /* How much may break, and how far it may go. */
extern unsigned without;     /* enum cs_tie_without */
extern unsigned bugs;        /* enum bug */
extern bool judging;         /* The limits do not count: nothing breaks any more. */
extern const char *wrong;    /* What does not hold; NULL: all does. */

unsigned id_of(unsigned i);
uint8_t voters_of(const struct node *a, unsigned upto);
uint8_t fact_of(const struct node *a, unsigned upto);
bool alone(const struct world *w, unsigned i);
bool acts(const struct world *w, unsigned i);
bool add(struct node *a, enum kind kind, unsigned arg, unsigned arg2);
void fall(struct world *w, unsigned i);
bool do_late(struct world *w, unsigned k);
bool step_node(struct world *w, unsigned what, unsigned i);
bool step(struct world *w, unsigned what);
const char *step_name(unsigned what);

#endif /* TESTS_CONSENSUS_TIE_WORLD_H */
