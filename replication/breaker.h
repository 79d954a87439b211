/* A circuit breaker for one bridge (the pattern is Nygard's, "Release It!"): a bridge
 * that answers nothing is not sent everything again and again.
 *
 *            failures in a row, of two devices at least
 *   closed ---------------------------------------------> open
 *     ^  ^                                                 |
 *     |  '------------- any answer -------------.          | the pause is over
 *     |                                         |          v
 *     '--------------- any answer --------- half open (one is let through)
 *                                               |
 *                                no answer: open, for twice as long
 *
 * One dead meter is no dead bridge: failures of a single device never open it, and
 * whatever any device of the area says closes it. Pure; lives on the node on watch
 * and begins closed with it. */

#ifndef RP_BREAKER_H
#define RP_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct rp_breaker_config
{
    unsigned failures;     /* 0: it never opens */
    unsigned pause_ms;     /* the first */
    unsigned pause_max_ms; /* it doubles up to here */
};

enum rp_breaker_state { RP_BREAKER_CLOSED, RP_BREAKER_OPEN, RP_BREAKER_HALF_OPEN };

/* Zero is closed. */
struct rp_breaker
{
    enum rp_breaker_state state;
    unsigned failures; /* In a row. */
    bool several;      /* They are of more than one device. */
    uint64_t ieee;     /* The first of them. */
    unsigned pause_ms; /* The present one. */
    uint64_t until_ms; /* Open: not before. Half open: the trial counts until then. */
    uint64_t opened;   /* How often, for metrics. */
};

/* May an attempt leave now? Asks do not count; rp_breaker_sent() does. */
bool rp_breaker_allows(const struct rp_breaker *b, uint64_t now_ms);
/* One leaves. After the pause this is the trial. */
void rp_breaker_sent(struct rp_breaker *b, uint64_t now_ms);
/* An attempt at device @ieee had no answer in its time. True: it has opened now. */
bool rp_breaker_failed(struct rp_breaker *b, const struct rp_breaker_config *c,
                       uint64_t ieee, uint64_t now_ms);
/* A device of the area said something. True: it was not closed until now. */
bool rp_breaker_answered(struct rp_breaker *b);

#endif /* RP_BREAKER_H */
