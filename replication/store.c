#include "replication/store.h"

#include <assert.h>
#include <string.h>

#include "replication/store_impl.h"

enum { ALIGN = 64 };

void rp_limits_default(struct rp_limits *l)
{
    *l = (struct rp_limits){.areas_max = 32,
                            .devices_max = 4096,
                            .readings_max = 24 * 60 * 300,
                            .commands_max = 8192,
                            .letters_max = 1000};
}

static uint32_t buckets(uint32_t n)
{
    uint32_t size = 1;

    while (size < n) {
        size *= 2;
    }
    return size;
}

/* The next piece of the run of memory; with @mem NULL only counts. */
static void *carve(uint8_t *mem, size_t *used, size_t n, size_t size)
{
    size_t at = *used;

    *used += (n * size + ALIGN - 1) / ALIGN * ALIGN;
    return mem != NULL ? mem + at : NULL;
}

static size_t lay_out(struct rp_store *s, const struct rp_limits *l, uint8_t *mem)
{
    uint32_t sort_max =
        l->devices_max > l->commands_max ? l->devices_max : l->commands_max;
    size_t used = 0;

    assert(l->areas_max > 0 && l->areas_max <= UINT16_MAX);
    assert(l->devices_max > 0 && l->devices_max <= INT32_MAX);
    assert(l->readings_max > 0);
    assert(l->letters_max > 0);
    assert(l->commands_max > 0 && l->commands_max <= INT32_MAX);
    (void)carve(mem, &used, 1, sizeof *s);
    s->limits = *l;
    s->ieee_mask = buckets(l->devices_max) - 1;
    s->name_mask = s->ieee_mask;
    s->id_mask = buckets(l->commands_max) - 1;
    s->by_ieee = carve(mem, &used, s->ieee_mask + (size_t)1, sizeof *s->by_ieee);
    s->by_name = carve(mem, &used, s->name_mask + (size_t)1, sizeof *s->by_name);
    s->by_id = carve(mem, &used, s->id_mask + (size_t)1, sizeof *s->by_id);
    s->order = carve(mem, &used, l->commands_max, sizeof *s->order);
    s->hashes = carve(mem, &used, RP_HASHES_NR, sizeof *s->hashes);
    s->hints = carve(mem, &used, 1, sizeof *s->hints);
    s->areas = carve(mem, &used, l->areas_max, sizeof *s->areas);
    s->devices = carve(mem, &used, l->devices_max, sizeof *s->devices);
    s->commands = carve(mem, &used, l->commands_max, sizeof *s->commands);
    s->sort[0] = carve(mem, &used, sort_max, sizeof *s->sort[0]);
    s->sort[1] = carve(mem, &used, sort_max, sizeof *s->sort[1]);
    s->run = carve(mem, &used, RP_RUN_SIZE, 1);
    s->drills = carve(mem, &used, RP_DRILLS_MAX, sizeof *s->drills);
    s->audit.ring = carve(mem, &used, RP_AUDIT_MAX, sizeof *s->audit.ring);
    s->versions =
        carve(mem, &used, (size_t)RP_FILES_SETS_MAX * RP_FILES_KEPT, sizeof *s->versions);
    s->letters = carve(mem, &used, l->letters_max, sizeof *s->letters);
    s->readings = carve(mem, &used, l->readings_max, sizeof *s->readings);
    return used;
}

size_t rp_store_size(const struct rp_limits *l)
{
    struct rp_store s;

    return lay_out(&s, l, NULL);
}

/* Slots are filled whole when they are taken, so only what is looked at without
 * being taken needs to be zero. */
static void begin_empty(struct rp_store *s)
{
    s->m.readings_first = s->m.letters_first = 1;
    s->next_deadline_ms = UINT64_MAX;
    s->ring_base = s->letters_base = 1;
    s->hash = rp_digest_meta(s);
}

struct rp_store *rp_store_init(const struct rp_limits *l, void *mem)
{
    struct rp_store *s = mem;

    assert((uintptr_t)mem % ALIGN == 0);
    (void)lay_out(s, l, mem);
    begin_empty(s);
    return s;
}

void rp_store_reset(struct rp_store *s)
{
    struct rp_limits limits = s->limits;

    memset(s->by_ieee, 0, (s->ieee_mask + (size_t)1) * sizeof *s->by_ieee);
    memset(s->by_name, 0, (s->name_mask + (size_t)1) * sizeof *s->by_name);
    memset(s->by_id, 0, (s->id_mask + (size_t)1) * sizeof *s->by_id);
    memset(s->hashes, 0, RP_HASHES_NR * sizeof *s->hashes);
    *s->hints = (struct rp_hints){0};
    *s = (struct rp_store){0};
    (void)lay_out(s, &limits, (uint8_t *)s);
    begin_empty(s);
}

uint64_t rp_store_index(const struct rp_store *s)
{
    return s->m.index;
}

uint64_t rp_store_hash(const struct rp_store *s)
{
    return s->hash;
}

uint64_t rp_store_hash_at(const struct rp_store *s, uint64_t index)
{
    const struct rp_hash_at *h = &s->hashes[index % RP_HASHES_NR];

    return h->index == index ? h->hash : 0;
}

bool rp_store_diverged(const struct rp_store *s)
{
    return s->diverged;
}

uint64_t rp_store_now(const struct rp_store *s)
{
    return s->m.now_ms;
}

uint64_t rp_store_watch_term(const struct rp_store *s)
{
    return s->m.watch_term;
}

uint16_t rp_store_watch_node(const struct rp_store *s)
{
    return s->m.watch_node;
}

uint64_t rp_store_watch_since(const struct rp_store *s)
{
    return s->m.watch_since_ms;
}

const struct rp_stats *rp_store_stats(const struct rp_store *s)
{
    return &s->stats;
}

const struct rp_limits *rp_store_limits(const struct rp_store *s)
{
    return &s->limits;
}

uint32_t rp_store_areas(const struct rp_store *s)
{
    return s->areas_n;
}

const struct rp_area *rp_store_area(const struct rp_store *s, uint16_t nr)
{
    return nr > 0 && nr <= s->areas_n ? &s->areas[nr - 1].a : NULL;
}

const struct rp_area *rp_store_area_named(const struct rp_store *s, const char *name)
{
    for (uint32_t i = 0; i < s->areas_n; i++) {
        if (strcmp(s->areas[i].a.name, name) == 0) {
            return &s->areas[i].a;
        }
    }
    return NULL;
}

const struct rp_area *rp_store_area_of_topic(const struct rp_store *s, const char *base)
{
    for (uint32_t i = 0; i < s->areas_n; i++) {
        if (strcmp(s->areas[i].a.base_topic, base) == 0) {
            return &s->areas[i].a;
        }
    }
    return NULL;
}

uint32_t rp_store_devices(const struct rp_store *s)
{
    return s->devices_n;
}

const struct rp_device *rp_store_device(const struct rp_store *s, uint64_t ieee)
{
    uint32_t nr = rp_find_device(s, ieee);

    return nr != 0 ? &rp_device_slot(s, nr)->d : NULL;
}

/* Which of two devices of one name is meant: the listed one, else the lower
 * address. Not the order of the bucket, which a restore changes. */
static bool better(const struct rp_device *a, const struct rp_device *b)
{
    if (b == NULL || a->listed != b->listed) {
        return b == NULL || a->listed;
    }
    return a->ieee < b->ieee;
}

const struct rp_device *rp_store_device_named(const struct rp_store *s, uint16_t area,
                                              const char *name, uint32_t *ret_n)
{
    const struct rp_device *best = NULL;
    uint32_t listed = 0;
    uint32_t n = 0;
    uint32_t nr;

    for (nr = rp_name_bucket(s, name); nr != 0; nr = rp_device_slot(s, nr)->same_name) {
        const struct rp_device *d = &rp_device_slot(s, nr)->d;

        if ((area == 0 || d->area == area) && strcmp(d->name, name) == 0) {
            n++;
            listed += d->listed;
            best = better(d, best) ? d : best;
        }
    }
    if (ret_n != NULL) {
        /* Gone devices do not make the name of a listed one ambiguous. */
        *ret_n = listed > 0 ? listed : n;
    }
    return best;
}

const struct rp_device *rp_store_device_at(const struct rp_store *s, uint32_t i)
{
    return i < s->devices_n ? &s->devices[i].d : NULL;
}

uint32_t rp_store_online(const struct rp_store *s)
{
    return s->online_n;
}

static const struct rp_command *command_or_null(const struct rp_store *s, uint32_t nr)
{
    return nr != 0 ? &rp_command_slot(s, nr)->c : NULL;
}

const struct rp_command *rp_store_command(const struct rp_store *s, const char *id)
{
    return command_or_null(s, rp_find_command(s, id));
}

const struct rp_command *rp_store_command_seq(const struct rp_store *s, uint64_t seq)
{
    return command_or_null(s, rp_find_seq(s, seq));
}

uint32_t rp_store_commands(const struct rp_store *s)
{
    return s->commands_n;
}

const struct rp_command *rp_store_command_recent(const struct rp_store *s, uint32_t i)
{
    if (i >= s->commands_n) {
        return NULL;
    }
    return command_or_null(s, rp_order_at(s, s->commands_n - 1 - i));
}

uint32_t rp_store_open_commands(const struct rp_store *s)
{
    return s->open_n;
}

const struct rp_command *rp_store_next_open(const struct rp_store *s,
                                            const struct rp_command *after)
{
    if (after == NULL) {
        return command_or_null(s, s->open.head);
    }
    /* The command is the first member of its slot. */
    return command_or_null(s, ((const struct rp_command_slot *)after)->open.next);
}

uint64_t rp_store_ended(const struct rp_store *s, enum rp_command_status status)
{
    assert(status < RP_STATUS_NR);
    return s->m.ended[status];
}

uint64_t rp_store_results_dropped(const struct rp_store *s)
{
    return s->m.results_dropped;
}

uint64_t rp_store_readings_first(const struct rp_store *s)
{
    return s->m.readings_first;
}

uint64_t rp_store_readings_last(const struct rp_store *s)
{
    return s->m.readings_last;
}

const struct rp_reading *rp_store_reading(const struct rp_store *s, uint64_t seq)
{
    if (seq < s->m.readings_first || seq > s->m.readings_last) {
        return NULL;
    }
    return &s->readings[(seq - s->ring_base) % s->limits.readings_max];
}

uint64_t rp_store_readings_shipped(const struct rp_store *s)
{
    return s->m.readings_shipped;
}

uint64_t rp_store_readings_dropped(const struct rp_store *s)
{
    return s->m.readings_dropped;
}

uint32_t rp_store_readings_room(const struct rp_store *s)
{
    uint64_t used = s->m.readings_last + 1 - s->m.readings_first;

    assert(used <= s->limits.readings_max);
    return s->limits.readings_max - (uint32_t)used;
}

uint64_t rp_store_letters_first(const struct rp_store *s)
{
    return s->m.letters_first;
}

uint64_t rp_store_letters_last(const struct rp_store *s)
{
    return s->m.letters_last;
}

const struct rp_letter *rp_store_letter(const struct rp_store *s, uint64_t seq)
{
    if (seq < s->m.letters_first || seq > s->m.letters_last) {
        return NULL;
    }
    return &s->letters[(seq - s->letters_base) % s->limits.letters_max];
}

uint64_t rp_store_letters_shipped(const struct rp_store *s)
{
    return s->m.letters_shipped;
}

uint64_t rp_store_letters_dropped(const struct rp_store *s)
{
    return s->m.letters_dropped;
}

/* Both walks go on from where the last one was, unless asked for the past. */

const struct rp_device *rp_store_device_changed(const struct rp_store *s, uint64_t after)
{
    uint32_t nr = s->hints->device;

    if (nr == 0 || rp_device_slot(s, nr)->d.revision > after) {
        nr = s->devices_changed.head;
    }
    while (nr != 0 && rp_device_slot(s, nr)->d.revision <= after) {
        s->hints->device = nr;
        nr = rp_device_slot(s, nr)->changed.next;
    }
    return nr != 0 ? &rp_device_slot(s, nr)->d : NULL;
}

const struct rp_command *rp_store_command_changed(const struct rp_store *s,
                                                  uint64_t after)
{
    uint32_t nr = s->hints->command;

    if (nr == 0 || rp_command_slot(s, nr)->c.revision > after) {
        nr = s->commands_changed.head;
    }
    while (nr != 0 && rp_command_slot(s, nr)->c.revision <= after) {
        s->hints->command = nr;
        nr = rp_command_slot(s, nr)->changed.next;
    }
    return nr != 0 ? &rp_command_slot(s, nr)->c : NULL;
}

uint64_t rp_store_revision(const struct rp_store *s)
{
    return s->m.revision;
}

uint64_t rp_store_revision_shipped(const struct rp_store *s)
{
    return s->m.revision_shipped;
}
