/* How many small reports a second the state machine applies on one core. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "replication/store.h"

enum { DEVICES = 300, PER_ENTRY = 200, ENTRIES = 64, ROUNDS = 400 };

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    /* Of the processor, so that neighbours on the machine do not count. */
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void apply(struct rp_store *s, const struct sy_buf *entry)
{
    if (rp_store_apply(s, rp_store_index(s) + 1, entry->p, entry->len, NULL, NULL) != 0) {
        abort();
    }
}

static void add_devices(struct rp_store *s)
{
    struct rp_batch b = {0};
    struct sy_buf entry = {0};
    char name[32];

    rp_batch_area(&b, "north", "zigbee2mqtt-north");
    for (uint64_t i = 1; i <= DEVICES; i++) {
        snprintf(name, sizeof name, "meter-%03" PRIu64, i);
        rp_batch_device(&b, 1, 0xa4c1380000000000 + i, name, "TS0601_meter");
    }
    rp_batch_seal(&b, 1, 1, &entry);
    apply(s, &entry);
    rp_batch_free(&b);
    sy_buf_free(&entry);
}

static void make_entry(struct sy_buf *entry, uint64_t *seen)
{
    struct rp_batch b = {0};

    for (unsigned i = 0; i < PER_ENTRY; i++) {
        uint64_t t = ++*seen;
        struct rp_report r = {.ieee = 0xa4c1380000000000 + 1 + t * 7 % DEVICES,
                              .last_seen_ms = 1764000000000 + t,
                              .payload_hash = t * 0x9e3779b97f4a7c15,
                              .state = RP_ON,
                              .values = {.energy_mwh = 1234567 + (int64_t)t,
                                         .power_mw = 230000,
                                         .voltage_mv = 231400,
                                         .current_ma = 998,
                                         .linkquality = 120,
                                         .has = 31}};

        rp_batch_report(&b, &r);
    }
    rp_batch_seal(&b, 1764000000000 + *seen, 1, entry);
    rp_batch_free(&b);
}

int main(void)
{
    static struct sy_buf entries[ENTRIES];
    struct rp_limits l;
    struct rp_store *s;
    uint64_t seen = 0;
    uint64_t spent = 0;
    void *mem;

    rp_limits_default(&l);
    mem = mmap(NULL, rp_store_size(&l), PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) {
        return 1;
    }
    s = rp_store_init(&l, mem);
    add_devices(s);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t start;

        for (unsigned i = 0; i < ENTRIES; i++) {
            make_entry(&entries[i], &seen);
        }
        start = cpu_ns();
        for (unsigned i = 0; i < ENTRIES; i++) {
            apply(s, &entries[i]);
        }
        spent += cpu_ns() - start;
    }
    printf("reports=%" PRIu64 " readings=%" PRIu64 " dropped=%" PRIu64
           " per_cpu_s=%.0f entry_bytes=%zu\n",
           seen, rp_store_stats(s)->readings, rp_store_readings_dropped(s),
           (double)seen * 1e9 / (double)spent, entries[0].len);
    return 0;
}
