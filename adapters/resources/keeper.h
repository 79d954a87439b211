/* The keeper: a small process beside vagtd that carries out what is to be done with the
 * site's resources and holds what runs. So the loop of vagtd never waits for a script;
 * and if vagtd ends in any way, the keeper sees it at once and stops everything in
 * order. What does not stop is a danger to the next watch: then it fences.
 *
 * If the keeper itself dies, its children die with it (PR_SET_PDEATHSIG) and the kernel
 * drops the addresses; vagtd sees that and ends.
 *
 * They talk over a pair of sockets, a message of fixed size each. */

#ifndef AD_RESOURCES_KEEPER_H
#define AD_RESOURCES_KEEPER_H

#include <sys/types.h>

#include "adapters/resources/vip.h"
#include "base/log.h"
#include "consensus/resource.h"

enum {
    AD_RESOURCE_NAME_SIZE = 96,
    AD_RESOURCE_ARGS_MAX = 16,
    AD_RESOURCE_ARG_SIZE = 256,
    AD_RESOURCE_WHY_SIZE = 480
};

enum ad_resource_kind {
    AD_RES_VIP,
    AD_RES_SYSTEMD, /* args[0]: the unit */
    AD_RES_DOCKER,  /* args[0]: the container */
    AD_RES_EXEC,    /* args[0]: a script, called with start, stop or monitor */
    AD_RES_COMMAND, /* args: a program that runs as long as it is wanted */
    AD_RES_KINDS_NR
};

struct ad_resource
{
    char name[AD_RESOURCE_NAME_SIZE];
    enum ad_resource_kind kind;
    char args[AD_RESOURCE_ARGS_MAX][AD_RESOURCE_ARG_SIZE];
    unsigned args_n;
    char env[4][AD_RESOURCE_ARG_SIZE]; /* "NAME=value"; "": none */
    char dir[AD_RESOURCE_ARG_SIZE];    /* to run in; "": / */
    struct ad_vip vip;
    unsigned start_ms, stop_ms, look_ms; /* time-outs */
    struct cs_resource_spec spec;
};

enum ad_fence { AD_FENCE_EXIT, AD_FENCE_REBOOT, AD_FENCE_WATCHDOG };

struct ad_keeper_config
{
    const struct ad_resource *list; /* lives as long as the keeper */
    unsigned n;
    const char *dir; /* for its lock and the output of the commands */
    enum ad_fence fence;
    const char *watchdog; /* its path, for AD_FENCE_WATCHDOG */
    /* So long after the end of vagtd, what has not stopped is killed and fenced; vagtd
     * counts as ended when it has not said for so long that it lives. */
    unsigned end_ms;
    /* Variables of the environment that hold secrets of vagtd: neither the keeper nor
     * what it starts has them. NULL at the end. */
    const char *const *forget;
};

enum ad_keeper_what {
    AD_KEEPER_START = 1, /* asked, and answered; so the next two */
    AD_KEEPER_STOP,
    AD_KEEPER_LOOK,
    AD_KEEPER_ENDED, /* told: it ended by itself */
    AD_KEEPER_LIST,  /* asked: one AD_KEEPER_RUNS each, then this */
    AD_KEEPER_RUNS,
    AD_KEEPER_ALIVE /* told by vagtd, four times in end_ms or more often */
};

struct ad_keeper_message
{
    uint8_t what, which, ok;
    char why[AD_RESOURCE_WHY_SIZE]; /* a sentence if not ok */
};

/* Forks it. To be called before there are threads. */
SY_MUST_USE int ad_keeper_start(const struct ad_keeper_config *c,
                                const struct sy_log *log, int *ret_fd,
                                struct sy_errbuf *eb);
/* What the child does, until @fd is closed at the other end and all is stopped. Returns
 * its exit code. */
int ad_keeper_run(const struct ad_keeper_config *c, const struct sy_log *log, int fd);
const char *ad_resource_kind_name(enum ad_resource_kind kind);

#endif /* AD_RESOURCES_KEEPER_H */
