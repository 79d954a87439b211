/* The site's resources: what moves with the watch. Joins the machine that decides
 * (consensus/resource.h), the keeper that acts (adapters/resources) and the watch.
 *
 *   fact resource.holder   "NODE TERM": who may have some of them running; written before
 *                          the first is started, emptied before a planned handover
 *
 * A new watch starts them when that fact is empty or its own, or when the node it names
 * has said by gossip that it holds none in this term or a later one, or when that node
 * has been gone for watch.takeover_wait. */

#ifndef ND_SITE_H
#define ND_SITE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "adapters/resources/keeper.h"
#include "base/buf.h"
#include "base/mp.h"
#include "node/drain.h"

struct nd_node;

/* Something to be done before @which is started; says nd_site_go_on() when it is, at
 * once or later. What takes longer than start_timeout has failed. */
typedef void (*nd_site_before_cb)(struct nd_node *n, unsigned which);
/* Is it well, besides what the keeper sees? NULL: yes; else a sentence. Asked with every
 * look; must not wait for anything. */
typedef const char *(*nd_site_look_cb)(struct nd_node *n, unsigned which);

enum { ND_SITE_HOOKS = 4 };

struct nd_site_part
{
    nd_site_before_cb before[ND_SITE_HOOKS]; /* one after the other */
    nd_site_look_cb look;
    unsigned before_n, before_at;
    uint64_t before_until_ms; /* 0: nothing is awaited */
    bool stop_due;            /* by the keeper, as soon as it is drained */
    struct nd_drain drain;
    uint64_t since_ms; /* wall clock; of its state */
    enum cs_resource_state told;
    uint32_t failed; /* how often, since this process began */
    char why[AD_RESOURCE_WHY_SIZE];
};

/* Two nodes, and the other one dies: the watch goes on alone by beginning anew in its own
 * place (tie.c). What runs goes on meanwhile, in the hands of the same keeper. */
struct nd_site_stay
{
    bool going; /* this process ends: leave everything as it is */
    bool on;    /* it has begun: what runs is not to be touched yet */
    bool known; /* the keeper has said what runs */
    bool old;   /* the keeper is that of the process before */
    uint64_t until_ms;
    bool runs[CS_RESOURCES_MAX];
};

struct nd_site
{
    struct cs_resources m;
    struct ad_resource *list; /* of CS_RESOURCES_MAX, if there are any */
    struct nd_site_part *parts;
    int fd; /* of the keeper */
    uv_poll_t poll;
    bool polling, stepping;
    uint64_t alive_ms;   /* when the keeper was told last that we live */
    uint64_t asked_term; /* in which the fact was proposed */
    uint64_t gone_ms;    /* since when the holder is not linked; 0: it is */
    uint64_t well_ms;    /* since when all of them run, after a fault here */
    bool nobody;         /* a fault here, and those who could relieve have had it, too */
    char waits[160];     /* for what the start of all waits; "": it does not */
    struct nd_site_stay stay;
    struct
    {
        bool on, clearing;
        bool fault; /* for a fault here; @to was fit when it began */
        uint64_t to;
        unsigned timeout_ms;
        uint64_t until_ms;
    } yield; /* a planned handover: first the resources, then leadership */
};

/* --- for those who have resources of their own (bridges, brokers) --- */

/* Between nd_site_init() and nd_site_open(): one more, after those that are there. Fills
 * in what is 0 of time-outs and pauses. Its index; -1: no room. */
int nd_site_add(struct nd_node *n, const struct ad_resource *r);
/* By name; -1: there is none. */
int nd_site_find(const struct nd_node *n, const char *name);
void nd_site_before_start(struct nd_node *n, unsigned which, nd_site_before_cb cb);
/* The same, before those that were said so far. */
void nd_site_before_all(struct nd_node *n, unsigned which, nd_site_before_cb cb);
void nd_site_also_look(struct nd_node *n, unsigned which, nd_site_look_cb cb);
/* How @run is to be run: kind and arguments of @r. */
struct nd_config_run;
void nd_site_run(struct ad_resource *r, const struct nd_config_run *run);
/* From what nd_site_before_start() asked for. @why: a sentence, if not @ok. What is not
 * waited for any more is ignored. */
void nd_site_go_on(struct nd_node *n, unsigned which, bool ok, const char *why);
/* Leave it stopped while the rest runs, or no more. */
void nd_site_off(struct nd_node *n, unsigned which, bool off);
/* Stop it and start it again (a drill); false: it does not run here. */
bool nd_site_restart(struct nd_node *n, unsigned which, const char *why);
/* Here: "stopped", "starting", "running", ...; NULL: there is no such resource. */
const char *nd_site_state(const struct nd_node *n, const char *name);

/* --- for the node --- */

void nd_site_init(struct nd_node *n); /* takes the list of the configuration */
/* Starts the keeper: before there is any thread. */
SY_MUST_USE int nd_site_open(struct nd_node *n, struct sy_errbuf *eb);
void nd_site_tend(struct nd_node *n); /* every 100 ms, and when anything changed */
/* None of what was started here may still run. */
bool nd_site_down(const struct nd_node *n);
/* How long a planned stop of all of them may take. */
unsigned nd_site_stop_ms(const struct nd_node *n);
/* Instead of nd_replica_transfer(): at once where there are none. */
SY_MUST_USE int nd_site_transfer(struct nd_node *n, uint64_t to, unsigned timeout_ms);
void nd_site_close(struct nd_node *n);

/* site_stay.c. This process is to be followed by another in its place, which nobody else
 * can be in the meantime: what runs is left to it. */
void nd_site_stay(struct nd_node *n);
/* Just before exec: the keeper's socket goes along. */
void nd_site_pass_on(struct nd_node *n);
/* A keeper was passed on to us, and lives, and holds what we would: its socket; else -1.
 */
int nd_site_take_over(struct nd_node *n);
/* From the keeper, while what runs is not known. True: nobody else needs to hear it. */
bool nd_site_stay_heard(struct nd_node *n, const struct ad_keeper_message *m);
/* False: leave everything as it is for now. @wanted as for the machine. */
bool nd_site_stay_tend(struct nd_node *n, bool wanted);

/* site_fault.c. Was the watch handed over lately because they did not run on that node?
 */
bool nd_site_faulty(const struct nd_node *n, uint64_t id);
/* It is about to be, by this node; for so many minutes it does not come back for it. */
unsigned nd_site_note_fault(struct nd_node *n);
unsigned nd_site_fault_pause_min(unsigned count);
void nd_site_forget_fault(struct nd_node *n, bool wanted);

/* site_tell.c: pairs of a node's map, pairs of the site's map, sentences. */
enum { ND_SITE_NODE_PAIRS = 2, ND_SITE_PAIRS = 3 };
void nd_site_put_node(struct nd_node *n, struct sy_buf *b);
void nd_site_put(struct nd_node *n, struct sy_buf *b);
void nd_site_issues(struct sy_cur site,
                    void (*tell)(void *data, bool error, const char *text), void *data);
/* Of the list: how many are in this state; and how often any has failed. */
unsigned nd_site_count(const struct nd_node *n, enum cs_resource_state state);
uint64_t nd_site_failures(const struct nd_node *n);

#endif /* ND_SITE_H */
