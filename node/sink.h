/* Where the log of vagtd goes: a line per event, with the priority that journald
 * reads, bounded per event name, so that a bridge or a peer that sends nonsense
 * by the thousand cannot fill a disk or drown what matters. */

#ifndef ND_SINK_H
#define ND_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

enum {
    ND_SINK_EVENTS = 32, /* names of warnings that are counted apart */
    ND_SINK_LINES = 50,  /* of one name in one window */
    ND_SINK_WINDOW_MS = 10000,
    ND_SINK_NAME_SIZE = 40
};

struct nd_sink
{
    const char *node; /* name, in each line */
    /* The rim: tests give their own. */
    void (*write)(void *data, const char *line, size_t len);
    void *data;
    uint64_t (*now_ms)(void); /* Unix time */
    struct
    {
        char name[ND_SINK_NAME_SIZE];
        uint64_t window_ms; /* when it began; 0: free */
        unsigned lines;
        unsigned suppressed;
    } events[ND_SINK_EVENTS];
};

/* To standard error, with the wall clock. */
void nd_sink_init(struct nd_sink *s, const char *node);
/* For sy_log.write. Errors and what is less than a warning always pass. */
void nd_sink_write(void *data, enum sy_level level, const char *line, size_t len);

#endif /* ND_SINK_H */
