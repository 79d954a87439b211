/* The site's resources: an address that moves, a broker, the bridges. Who has the watch
 * has them, nobody else.
 *
 * A pure state machine over an ordered list. It performs no I/O, reads no clock and
 * allocates nothing: the caller says what is wanted and what became of an action, and
 * gets the next effect to carry out until there is none.
 *
 *             start           ok
 *   STOPPED ---------> STARTING ----> RUNNING <---> (a look now and then)
 *      ^                  | failed        | a look failed, or it ended
 *      | ok               v               v
 *   STOPPING <----------- (stop it, whatever it is) ---> STUCK: it would not stop
 *
 * Order: one starts when all that it comes after run; it stops when all that come after
 * it are stopped. What has failed does not take along what comes after it: a bridge
 * outlives a restart of the broker.
 * Recovery is graduated: again at once, then with growing pauses, then, if the fault is
 * one that another machine may not have and somebody could relieve, the watch is handed
 * over, and else it is tried for ever, with the longest pause.
 * Safety: after the start of a process nothing is known, so everything counts as running
 * until it has been stopped, or a keeper that outlived the process says what runs; and
 * `released` is said only when all of it is stopped. What cannot be stopped would act for
 * a watch that is over: the node fences itself. */

#ifndef CS_RESOURCE_H
#define CS_RESOURCE_H

#include <stdbool.h>
#include <stdint.h>

enum { CS_RESOURCES_MAX = 96, CS_AFTER_MAX = 4, CS_NO_RESOURCE = 0xFF };

enum cs_resource_state {
    CS_RES_UNKNOWN, /* since the process began: it may run */
    CS_RES_STOPPED,
    CS_RES_STARTING,
    CS_RES_RUNNING,
    CS_RES_STOPPING,
    CS_RES_STUCK,
    CS_RES_STATES_NR
};

enum cs_resource_effect {
    CS_RES_NOTHING,
    CS_RES_START, /* each of these: of @which, then cs_resources_done() */
    CS_RES_STOP,  /* ends a start or a look that is under way, too */
    CS_RES_MONITOR,
    CS_RES_HANDOVER, /* the watch, because of @which; said again every minute */
    CS_RES_FENCE     /* @which does not stop: end the process, whatever it costs */
};

struct cs_resource_spec
{
    uint8_t after[CS_AFTER_MAX]; /* indices below its own; CS_NO_RESOURCE: none */
    bool local;                  /* its fault may be this machine's: hand over for it */
    uint32_t monitor_ms;         /* between two looks */
    uint32_t retry_min_ms, retry_max_ms;
    uint8_t tries; /* failures in a row before the watch is handed over */
};

struct cs_resource
{
    struct cs_resource_spec spec;
    enum cs_resource_state state;
    bool looking;      /* a look is under way */
    bool started;      /* by us, and not stopped since: fenced if it does not stop */
    bool off;          /* by an operator, or not ready to be started */
    uint32_t failures; /* in a row; forgotten after running for a while */
    uint64_t since_ms; /* of the state */
    uint64_t due_ms;   /* of the next start or look */
    uint64_t again_ms; /* of the next stop of what was not ours and did not */
    uint64_t hand_ms;  /* when a handover was asked for last */
};

struct cs_resources
{
    struct cs_resource list[CS_RESOURCES_MAX];
    unsigned n;
    uint64_t now_ms;
};

/* What holds now. */
struct cs_resource_levels
{
    uint64_t now_ms; /* monotonic */
    bool wanted;     /* this node has the watch, and who had them let go */
    bool relief;     /* somebody could relieve it right now */
};

void cs_resources_init(struct cs_resources *r);
/* Returns its index, or -1: there is no room, or it comes after what is not there yet. */
int cs_resources_add(struct cs_resources *r, const struct cs_resource_spec *spec);
/* The next effect; call it until CS_RES_NOTHING. Never fails. */
enum cs_resource_effect cs_resources_step(struct cs_resources *r,
                                          const struct cs_resource_levels *l,
                                          unsigned *ret_which);
/* What became of the action. An answer to what is not under way any more is ignored. */
void cs_resources_done(struct cs_resources *r, uint64_t now_ms, unsigned which,
                       enum cs_resource_effect what, bool ok);
/* It ended by itself. */
void cs_resources_ended(struct cs_resources *r, uint64_t now_ms, unsigned which);
/* It was started by the process that this one goes on from, and runs: it is not stopped,
 * unless the look that is due now says that it is not well. */
void cs_resources_adopt(struct cs_resources *r, uint64_t now_ms, unsigned which);
/* Stop it, if it runs, and start it again. */
void cs_resources_again(struct cs_resources *r, uint64_t now_ms, unsigned which);
/* Leave it stopped while the rest runs (an area that is off), or no more. */
void cs_resources_off(struct cs_resources *r, unsigned which, bool off);
/* May any run that was started by us? */
bool cs_resources_started(const struct cs_resources *r);
/* All are stopped: another node may have them. */
bool cs_resources_released(const struct cs_resources *r);
/* Has any been started, or may any run? */
bool cs_resources_held(const struct cs_resources *r);
/* Its state as a person wants to see it: stuck is also what was not started by us and
 * does not stop, which is tried for ever. */
enum cs_resource_state cs_resource_shown(const struct cs_resource *x);
const char *cs_resource_state_name(enum cs_resource_state s);

#endif /* CS_RESOURCE_H */
