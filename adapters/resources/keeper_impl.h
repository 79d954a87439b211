/* Private to adapters/resources/keeper*.c. */

#ifndef AD_RESOURCES_KEEPER_IMPL_H
#define AD_RESOURCES_KEEPER_IMPL_H

#include <signal.h>

#include "adapters/resources/keeper.h"
#include "adapters/resources/watchdog.h"

struct held
{
    pid_t action;              /* a script under way; 0: none */
    enum ad_keeper_what doing; /* 0: nothing is to be answered */
    uint64_t until_ms;         /* when the action, or the grace of a stop, is over */
    pid_t child;               /* of AD_RES_COMMAND; 0: none */
    bool killed;               /* it did not heed SIGTERM */
    bool touched;              /* it was started, or may have been */
    bool running;
    uint64_t renew_ms; /* of an address */
    unsigned announce; /* so often still */
};

struct keeper
{
    struct ad_keeper_config c;
    const struct sy_log *log;
    int fd; /* to vagtd; -1: it has ended */
    int signals;
    sigset_t mask; /* as it was, for the children */
    struct ad_watchdog watchdog;
    struct held list[CS_RESOURCES_MAX];
    uint64_t heard_ms, end_ms;   /* from vagtd; when all must be stopped */
    struct cs_resources machine; /* from the end of vagtd on */
};

uint64_t ad__now_ms(void);
/* keeper.c */
void ad__answer(struct keeper *k, unsigned i, enum ad_keeper_what what, bool ok,
                const char *why);
/* keeper_run.c. Each either answers, or something is under way afterwards. */
void ad__start(struct keeper *k, unsigned i);
void ad__stop(struct keeper *k, unsigned i);
void ad__look(struct keeper *k, unsigned i);
/* A child has ended. */
void ad__reaped(struct keeper *k, pid_t pid, int status);
/* What time brings; returns when it must be called again, at the latest. */
uint64_t ad__tend(struct keeper *k, uint64_t now_ms);
/* Whatever is left, by SIGKILL, and waits until it is gone: two seconds at most. */
void ad__kill_all(struct keeper *k);

#endif /* AD_RESOURCES_KEEPER_IMPL_H */
