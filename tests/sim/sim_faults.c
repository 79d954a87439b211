#include "tests/sim/sim.h"

#include <string.h>

#include "adapters/wal/record.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "base/mem.h"

typedef unsigned long long ull;

enum { FAULTS_MS = 9000, HEAL_MS = 3000, QUIET_MS = 1500 };

static struct sim_node *anybody(struct sim *s)
{
    return &s->nodes[1 + sim_below(s, s->n)];
}

static void restart_later(struct sim_node *x, uint64_t max_ms)
{
    struct sim *s = x->sim;

    sim_queue_post(&s->queue, (struct sim_event){.t = s->now + sim_below(s, max_ms),
                                                 .type = SIM_START,
                                                 .to = x->id});
}

/* When a process dies its connections break; when a machine dies nobody hears. */
static void crash_one(struct sim *s)
{
    struct sim_node *x = anybody(s);
    bool power = sim_below(s, 3) != 0;

    if (!x->up) {
        return;
    }
    sim_crash(x, power);
    restart_later(x, 400);
    for (unsigned i = 1; i <= s->n; i++) {
        if (s->nodes[i].up && (!power || sim_below(s, 4) == 0)) {
            sim_alarm(&s->nodes[i], x->id);
        }
    }
}

static void crash_all(struct sim *s)
{
    for (unsigned i = 1; i <= s->n; i++) {
        if (s->nodes[i].up) {
            sim_crash(&s->nodes[i], true);
            restart_later(&s->nodes[i], 200);
        }
    }
}

static void cut_some(struct sim *s)
{
    for (unsigned a = 1; a <= s->n; a++) {
        for (unsigned b = 1; b <= s->n; b++) {
            s->cut[a][b] = a != b && sim_below(s, 3) == 0; /* One-way cuts, too. */
        }
    }
    sim_trace(s, 1, "the network is cut: 1>2 %d 2>1 %d 1>3 %d 3>1 %d 2>3 %d 3>2 %d",
              s->cut[1][2], s->cut[2][1], s->cut[1][3], s->cut[3][1], s->cut[2][3],
              s->cut[3][2]);
}

static void false_alarm(struct sim *s)
{
    struct sim_node *x = anybody(s);

    if (x->up) {
        s->stats.alarms++;
        sim_trace(s, 1, "node %u: false alarm", x->id);
        sim_alarm(x, cs_core_leader(x->core));
    }
}

static void transfer(struct sim *s)
{
    struct sim_node *x = sim_leader(s);
    uint64_t to = sim_below(s, s->n + 1);

    if (x != NULL &&
        cs_core_transfer(x->core, s->now, to == x->id ? 0 : to, s->now + 200) == 0) {
        s->stats.transfers++;
        sim_trace(s, 1, "node %u: transfer to %llu", x->id, (ull)to);
        sim_submit(x, 0); /* Arms its timer. */
    }
}

static void change_pace(struct sim *s)
{
    /* Now and then a disk stalls for longer than an election takes. */
    s->disk_max_ms = 1 + (unsigned)sim_below(s, sim_below(s, 3) != 0 ? 40 : 400);
    s->net_max_ms = (unsigned)sim_below(s, 15);
    s->loss_permille = sim_below(s, 3) != 0 ? 0 : (unsigned)sim_below(s, 100);
    sim_trace(s, 1, "disk up to %u ms, network up to %u ms, %u of 1000 frames lost",
              s->disk_max_ms, s->net_max_ms, s->loss_permille);
}

void sim_fault(struct sim *s)
{
    uint64_t k = sim_below(s, 100);

    if (!s->faults) {
        return;
    }
    if (s->members && sim_below(s, 3) != 0) {
        sim_change_members(s);
    }
    if (k < 30) {
        crash_one(s);
    } else if (k < 53) {
        cut_some(s);
    } else if (k < 73) {
        memset(s->cut, 0, sizeof s->cut);
        sim_trace(s, 1, "the network is whole");
    } else if (k < 78) {
        crash_all(s);
    } else if (k < 86) {
        false_alarm(s);
    } else if (k < 94) {
        transfer(s);
    } else {
        change_pace(s);
    }
    sim_queue_post(&s->queue,
                   (struct sim_event){
                       .t = s->now + 20 + sim_below(s, 300), .type = SIM_FAULT, .to = 1});
}

static void heal(struct sim *s)
{
    s->faults = false;
    memset(s->cut, 0, sizeof s->cut);
    s->loss_permille = 0;
    s->disk_max_ms = 3;
    s->net_max_ms = 2;
    sim_trace(s, 1, "healed");
    for (unsigned i = 1; i <= s->n; i++) {
        if (!s->nodes[i].up) {
            restart_later(&s->nodes[i], 2);
        }
    }
}

void sim_torture(struct sim *s)
{
    uint64_t had;

    s->random_config = true;
    sim_boot(s);
    s->faults = s->clients = true;
    sim_queue_post(&s->queue,
                   (struct sim_event){.t = s->now, .type = SIM_CLIENT, .to = 1});
    sim_queue_post(&s->queue,
                   (struct sim_event){.t = s->now + 200, .type = SIM_FAULT, .to = 1});
    sim_run_until(s, s->now + FAULTS_MS);
    heal(s);
    had = s->acked_max;
    sim_run_until(s, s->now + HEAL_MS);
    if (s->acked_max == had) {
        sim_fail(s, "no progress within %d ms after healing", HEAL_MS);
    }
    if (s->members) {
        sim_join_all(s);
    }
    s->clients = false;
    sim_run_until(s, s->now + QUIET_MS);
    sim_check_logs(s);
    sim_check_equal(s);
}

uint64_t sim_digest(const struct sim *s)
{
    uint64_t h = sy_hash(&s->stats, sizeof s->stats, s->events ^ s->random);

    for (unsigned i = 1; i <= s->n; i++) {
        uint64_t v = s->nodes[i].state != NULL ? s->fsm->hash(s->nodes[i].state) : 0;

        h = sy_hash(&v, sizeof v, h);
    }
    return h;
}

/* --- the mutant without checksums --- */

/* A log that did not look at the checksum of a payload: the header of a torn
 * record is whole, so it is taken. The bytes are copied, changed, put back. */
static void forge_segment(struct memfs *disk, const char *name)
{
    uint64_t size, offset = 0;
    const uint8_t *old = memfs_peek(disk, name, &size);
    struct ad_wal_head head;
    struct ad_wal_record r;
    uint32_t seed, chain = 0;
    bool forged = false;
    uint8_t *p;

    if (old == NULL || !ad_wal_head_get(old, size, &head, &r)) {
        return;
    }
    p = sy_memdup(old, size);
    seed = ad_wal_seed(head.number, head.life);
    while (offset + AD_WAL_RECORD_HEADER <= size) {
        uint8_t raw[8];
        uint32_t at;
        size_t n = ad_wal_record_size(ad_wal_get32(p + offset + 8));

        ad_wal_put64(raw, offset);
        at = sy_crc32c(seed, raw, sizeof raw);
        if (n > size - offset || (offset > 0 && ad_wal_get32(p + offset + 4) != chain) ||
            ad_wal_get32(p + offset + 40) != sy_crc32c(at, p + offset + 4, 36)) {
            break;
        }
        if (ad_wal_get32(p + offset) != sy_crc32c(at, p + offset + 4, n - 4)) {
            forged = true;
            ad_wal_put32(p + offset, sy_crc32c(at, p + offset + 4, n - 4));
        }
        chain = ad_wal_get32(p + offset);
        offset += n;
    }
    if (forged) {
        memfs_put(disk, name, p, size);
    }
    sy_free(p);
}

struct forging
{
    char names[64][AD_WAL_NAME_MAX];
    unsigned n;
};

static void note_segment(void *data, const char *name)
{
    struct forging *f = data;

    if (strncmp(name, "seg-", 4) == 0 && f->n < 64) {
        memcpy(f->names[f->n++], name, strlen(name) + 1);
    }
}

void sim_forge_checksums(struct memfs *disk)
{
    struct forging f = {.n = 0};

    memfs_list(disk, note_segment, &f);
    for (unsigned i = 0; i < f.n; i++) {
        forge_segment(disk, f.names[i]);
    }
}
