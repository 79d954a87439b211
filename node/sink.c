#include "node/sink.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void to_stderr(void *data, const char *line, size_t len)
{
    (void)data;
    if (write(STDERR_FILENO, line, len) < 0) {
        return; /* Nowhere to say it. */
    }
}

static uint64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void nd_sink_init(struct nd_sink *s, const char *node)
{
    memset(s, 0, sizeof *s);
    s->node = node;
    s->write = to_stderr;
    s->now_ms = wall_ms;
}

static void put(struct nd_sink *s, enum sy_level level, uint64_t now, const char *line,
                size_t len)
{
    char buf[1200];
    int n =
        snprintf(buf, sizeof buf, "<%d>ts=%" PRIu64 ".%03u node=%s %.*s\n", (int)level,
                 now / 1000, (unsigned)(now % 1000), s->node, (int)len, line);

    if (n > 0) {
        s->write(s->data, buf, (size_t)n < sizeof buf ? (size_t)n : sizeof buf - 1);
    }
}

/* What was kept back in a window that is over. */
static void tell_suppressed(struct nd_sink *s, unsigned i)
{
    struct sy_log log = {.level = SY_WARN, .data = s, .write = nd_sink_write};
    unsigned lines = s->events[i].suppressed;
    char name[ND_SINK_NAME_SIZE];

    memcpy(name, s->events[i].name, sizeof name);
    memset(&s->events[i], 0, sizeof s->events[i]);
    if (lines > 0) {
        SY_LOG(&log, SY_WARN, "log.suppressed", KSTR("event", name),
               KU64("lines", lines));
    }
}

/* The slot of an event name; a free or the oldest one if it has none. */
static unsigned slot(struct nd_sink *s, const char *name, uint64_t now)
{
    unsigned oldest = 0;

    for (unsigned i = 0; i < ND_SINK_EVENTS; i++) {
        if (strcmp(s->events[i].name, name) == 0) {
            return i;
        }
        if (s->events[i].window_ms < s->events[oldest].window_ms) {
            oldest = i;
        }
    }
    tell_suppressed(s, oldest);
    snprintf(s->events[oldest].name, sizeof s->events[oldest].name, "%s", name);
    s->events[oldest].window_ms = now;
    return oldest;
}

static void read_name(const char *line, size_t len, char name[ND_SINK_NAME_SIZE])
{
    size_t skip = len > 3 ? 3 : len; /* "ev=" */
    size_t n = 0;

    while (skip + n < len && line[skip + n] != ' ' && n < ND_SINK_NAME_SIZE - 1) {
        n++;
    }
    memcpy(name, line + skip, n);
    name[n] = '\0';
}

static bool passes(struct nd_sink *s, const char *line, size_t len, uint64_t now)
{
    char name[ND_SINK_NAME_SIZE];
    unsigned i;

    read_name(line, len, name);
    if (strcmp(name, "log.suppressed") == 0) {
        return true;
    }
    i = slot(s, name, now);
    if (now - s->events[i].window_ms >= ND_SINK_WINDOW_MS) {
        tell_suppressed(s, i); /* Frees the slot. */
        i = slot(s, name, now);
    }
    if (s->events[i].lines >= ND_SINK_LINES) {
        s->events[i].suppressed++;
        return false;
    }
    s->events[i].lines++;
    return true;
}

void nd_sink_write(void *data, enum sy_level level, const char *line, size_t len)
{
    struct nd_sink *s = data;
    uint64_t now = s->now_ms();

    if (level != SY_WARN || passes(s, line, len, now)) {
        put(s, level, now, line, len);
    }
}
