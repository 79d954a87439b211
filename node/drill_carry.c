/* One of two nodes that takes the watch with the tie-breaker begins anew in between
 * (node/tie.c), and it is the one that coordinates: what it has measured so far goes with
 * it, through a file that the next start removes. The clock goes on. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/drill_run.h"

struct head
{
    char version[32];
    uint64_t nr, size;
};

static const struct
{
    size_t off, size;
} fields[] = {
#define FIELD(M)                                                                \
    {                                                                           \
        offsetof(struct nd_drill_run, M), sizeof(((struct nd_drill_run *)0)->M) \
    }
    FIELD(report),   FIELD(stage),        FIELD(stage_ms), FIELD(fault_ms),
    FIELD(commands), FIELD(flight),       FIELD(at_ms),    FIELD(base),
    FIELD(term),     FIELD(fault_number), FIELD(was_down),
#undef FIELD
};

enum { FIELDS = sizeof fields / sizeof fields[0] };

static void path_of(const struct nd_node *n, char to[ND_PATH_SIZE + 16])
{
    snprintf(to, ND_PATH_SIZE + 16, "%s/drill-run", n->config.data_dir);
}

static struct head head_of(uint64_t nr)
{
    struct head h = {.nr = nr};

    snprintf(h.version, sizeof h.version, "%s", VAGT_VERSION);
    for (unsigned i = 0; i < FIELDS; i++) {
        h.size += fields[i].size;
    }
    return h;
}

void nd_drill_carry(const struct nd_drill_run *r)
{
    struct head h = head_of(r->nr);
    char path[ND_PATH_SIZE + 16];
    bool good;
    FILE *f;

    path_of(r->node, path);
    f = fopen(path, "we");
    if (f == NULL) {
        return; /* Then the drill has failed, and that is said. */
    }
    good = fwrite(&h, sizeof h, 1, f) == 1;
    for (unsigned i = 0; i < FIELDS; i++) {
        good = good && fwrite((const char *)r + fields[i].off, fields[i].size, 1, f) == 1;
    }
    if (fclose(f) != 0 || !good) {
        (void)unlink(path);
    }
}

/* Opened behind its head; NULL: there is none of drill @nr. */
static FILE *open_carried(const struct nd_node *n, uint64_t nr)
{
    struct head is, should = head_of(nr);
    char path[ND_PATH_SIZE + 16];
    FILE *f;

    path_of(n, path);
    f = fopen(path, "re");
    if (f != NULL &&
        (fread(&is, sizeof is, 1, f) != 1 || memcmp(&is, &should, sizeof is) != 0)) {
        (void)fclose(f);
        f = NULL;
    }
    return f;
}

bool nd_drill_carried(const struct nd_node *n, uint64_t nr)
{
    FILE *f = open_carried(n, nr);

    if (f != NULL) {
        (void)fclose(f);
    }
    return f != NULL;
}

bool nd_drill_resume(struct nd_drill_run *r)
{
    FILE *f = open_carried(r->node, r->nr);
    struct nd_drill_run was = *r;
    char path[ND_PATH_SIZE + 16];
    bool good = f != NULL;

    path_of(r->node, path);
    (void)unlink(path);
    for (unsigned i = 0; good && i < FIELDS; i++) {
        good = fread((char *)r + fields[i].off, fields[i].size, 1, f) == 1;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    /* After a restart of the machine its clock is another. */
    if (!good || r->stage_ms > nd_now_ms() || r->flight.n > ND_CANARY_FLIGHT_MAX) {
        *r = was;
        return false;
    }
    r->flight.again_n = r->flight.n; /* Its connection is gone. */
    r->flight.acks_seen = r->flight.failures_seen = 0;
    return true;
}
