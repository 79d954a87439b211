/* Who the nodes are, while running (docs/adr/0021).
 *
 *   fact members.<id>   "voter NAME HOST:PORT CONTROL", or "witness ...", or
 *                       "removed ..." (its address stays known: it is told so)
 *   fact members.goal   "voter <id>", "standby <id>", "absent <id>", "replace <id>",
 *                       "rejoin <id>": the change under way; whoever leads goes on with
 *                       it, one step at a time
 *   file nodes          what the facts said last; read at a start, when the log is not
 *                       applied yet
 *
 * The table of n->config.nodes is the one of the configuration with the facts laid over
 * it, and changes when they do. */

#ifndef ND_MEMBERS_H
#define ND_MEMBERS_H

#include "node/config.h"

struct nd_node;
struct nd_request;

enum { ND_GOAL_SIZE = 16 };

struct nd_members
{
    struct nd_config_node file[ND_NODES_MAX]; /* as configured */
    unsigned file_n;
    char told[CS_ID_MAX + 1][RP_FACT_VALUE_SIZE]; /* values of the facts; "": none */
    uint64_t told_index;                          /* applied when they were read */
    struct nd_config_node removed[ND_NODES_MAX];  /* still told what is */
    unsigned removed_n;
    uint64_t again_ms;
    uint64_t gone_by; /* a leader that does not count us among the members; 0: none */
    char waits[256];  /* what the change under way waits for, as the leader sees it */
};

struct nd_goal
{
    char what[ND_GOAL_SIZE]; /* "": no change is under way */
    uint64_t id;
};

/* members.c */
/* A new log begins in this folder: what an earlier one said does not count. */
void nd_members_forget(const char *dir);
void nd_members_init(struct nd_node *n); /* before the replica is opened */
void nd_members_begin(struct nd_node *n);
void nd_members_tend(struct nd_node *n);
/* Gossip of @from was heard. */
void nd_members_heard(struct nd_node *n, uint64_t from);
/* A node says that this one is no member. */
void nd_members_out(struct nd_node *n, uint64_t told_by);
/* Is it removed, but told what is? */
bool nd_members_removed(const struct nd_node *n, uint64_t id);
void nd_members_write(const struct nd_config_node *c, const char *role,
                      char to[RP_FACT_VALUE_SIZE]);
bool nd_members_parse(const char *text, uint64_t id, struct nd_config_node *ret,
                      bool *ret_removed);
/* Voters of the configuration in force; if none is known, all that are configured. */
unsigned nd_members_voters(const struct nd_node *n, uint64_t ids[CS_MEMBERS_MAX]);

/* members_goal.c */
struct nd_goal nd_goal_of(const struct nd_node *n);
void nd_goal_tend(struct nd_node *n);
/* Would what is left be able to commit, and to take the watch? False: @eb says why. */
bool nd_goal_allowed(struct nd_node *n, const char *what, uint64_t id,
                     struct sy_errbuf *eb);

/* ops_members.c */
void nd_op_members(struct nd_request *q);
void nd_op_members_change(struct nd_request *q);

#endif /* ND_MEMBERS_H */
