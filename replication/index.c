#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "replication/store_impl.h"

struct rp_link *rp_link_of(struct rp_links l, uint32_t nr)
{
    assert(nr > 0);
    return (struct rp_link *)(void *)((char *)l.first + l.stride * (nr - 1));
}

void rp_chain_push(struct rp_chain *c, struct rp_links l, uint32_t nr)
{
    *rp_link_of(l, nr) = (struct rp_link){.prev = c->tail};
    if (c->tail != 0) {
        rp_link_of(l, c->tail)->next = nr;
    } else {
        c->head = nr;
    }
    c->tail = nr;
}

void rp_chain_remove(struct rp_chain *c, struct rp_links l, uint32_t nr)
{
    struct rp_link *link = rp_link_of(l, nr);

    if (link->prev != 0) {
        rp_link_of(l, link->prev)->next = link->next;
    } else {
        assert(c->head == nr);
        c->head = link->next;
    }
    if (link->next != 0) {
        rp_link_of(l, link->next)->prev = link->prev;
    } else {
        assert(c->tail == nr);
        c->tail = link->prev;
    }
    *link = (struct rp_link){0};
}

struct rp_links rp_devices_changed_links(const struct rp_store *s)
{
    return (struct rp_links){&s->devices[0].changed, sizeof s->devices[0]};
}

struct rp_links rp_commands_changed_links(const struct rp_store *s)
{
    return (struct rp_links){&s->commands[0].changed, sizeof s->commands[0]};
}

struct rp_links rp_open_links(const struct rp_store *s)
{
    return (struct rp_links){&s->commands[0].open, sizeof s->commands[0]};
}

struct rp_links rp_of_device_links(const struct rp_store *s)
{
    return (struct rp_links){&s->commands[0].of_device, sizeof s->commands[0]};
}

/* Buckets are chains through the slots: removal leaves no tombstone, and names
 * may repeat. The address is mixed (Fibonacci), because makers count upwards. */

static uint32_t *ieee_head(const struct rp_store *s, uint64_t ieee)
{
    return &s->by_ieee[(uint32_t)((ieee * 0x9e3779b97f4a7c15) >> 32) & s->ieee_mask];
}

static uint32_t *name_head(const struct rp_store *s, const char *name)
{
    return &s->by_name[sy_hash(name, strlen(name), 0) & s->name_mask];
}

static uint32_t *id_head(const struct rp_store *s, const char *id)
{
    return &s->by_id[sy_hash(id, strlen(id), 0) & s->id_mask];
}

uint32_t rp_find_device(const struct rp_store *s, uint64_t ieee)
{
    uint32_t nr = *ieee_head(s, ieee);

    while (nr != 0 && rp_device_slot(s, nr)->d.ieee != ieee) {
        nr = rp_device_slot(s, nr)->same_ieee;
    }
    return nr;
}

void rp_index_ieee(struct rp_store *s, uint32_t nr)
{
    struct rp_device_slot *d = rp_device_slot(s, nr);
    uint32_t *head = ieee_head(s, d->d.ieee);

    d->same_ieee = *head;
    *head = nr;
}

uint32_t rp_name_bucket(const struct rp_store *s, const char *name)
{
    return *name_head(s, name);
}

void rp_index_name(struct rp_store *s, uint32_t nr)
{
    struct rp_device_slot *d = rp_device_slot(s, nr);
    uint32_t *head = name_head(s, d->d.name);

    d->same_name = *head;
    *head = nr;
}

void rp_unindex_name(struct rp_store *s, uint32_t nr)
{
    struct rp_device_slot *d = rp_device_slot(s, nr);
    uint32_t *at = name_head(s, d->d.name);

    while (*at != nr) {
        assert(*at != 0);
        at = &rp_device_slot(s, *at)->same_name;
    }
    *at = d->same_name;
    d->same_name = 0;
}

uint32_t rp_find_command(const struct rp_store *s, const char *id)
{
    uint32_t nr = *id_head(s, id);

    while (nr != 0 && strcmp(rp_command_slot(s, nr)->c.id, id) != 0) {
        nr = rp_command_slot(s, nr)->same_id;
    }
    return nr;
}

void rp_index_id(struct rp_store *s, uint32_t nr)
{
    struct rp_command_slot *c = rp_command_slot(s, nr);
    uint32_t *head = id_head(s, c->c.id);

    c->same_id = *head;
    *head = nr;
}

void rp_unindex_id(struct rp_store *s, uint32_t nr)
{
    struct rp_command_slot *c = rp_command_slot(s, nr);
    uint32_t *at = id_head(s, c->c.id);

    while (*at != nr) {
        assert(*at != 0);
        at = &rp_command_slot(s, *at)->same_id;
    }
    *at = c->same_id;
    c->same_id = 0;
}

/* --- commands by seq --- */

static uint32_t *order_place(const struct rp_store *s, uint32_t i)
{
    return &s->order[((uint64_t)s->order_head + i) % s->limits.commands_max];
}

uint32_t rp_order_at(const struct rp_store *s, uint32_t i)
{
    assert(i < s->commands_n);
    return *order_place(s, i);
}

void rp_order_push(struct rp_store *s, uint32_t nr)
{
    assert(s->commands_n < s->limits.commands_max);
    *order_place(s, s->commands_n) = nr;
    s->commands_n++;
}

/* What makes room is the oldest ended one: few are before it, and they move up. */
void rp_order_remove(struct rp_store *s, uint32_t i)
{
    assert(i < s->commands_n);
    for (; i > 0; i--) {
        *order_place(s, i) = *order_place(s, i - 1);
    }
    s->order_head = (s->order_head + 1) % s->limits.commands_max;
    s->commands_n--;
}

uint32_t rp_find_seq(const struct rp_store *s, uint64_t seq)
{
    uint32_t lo = 0;
    uint32_t hi = s->commands_n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (rp_command_slot(s, rp_order_at(s, mid))->c.seq < seq) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo < s->commands_n && rp_command_slot(s, rp_order_at(s, lo))->c.seq == seq) {
        return rp_order_at(s, lo);
    }
    return 0;
}

/* Radix sort, byte by byte: qsort() may allocate, and this is linear. Bytes that
 * all keys share cost one pass of counting only. */
void rp_sort_run(struct rp_store *s, uint32_t n)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        uint32_t at[256] = {0};
        uint32_t sum = 0;
        struct rp_sort *from = s->sort[0];
        struct rp_sort *to = s->sort[1];

        for (uint32_t i = 0; i < n; i++) {
            at[from[i].key >> shift & 0xff]++;
        }
        if (n == 0 || at[from[0].key >> shift & 0xff] == n) {
            continue;
        }
        for (unsigned i = 0; i < 256; i++) {
            uint32_t count = at[i];

            at[i] = sum;
            sum += count;
        }
        for (uint32_t i = 0; i < n; i++) {
            to[at[from[i].key >> shift & 0xff]++] = from[i];
        }
        s->sort[0] = to;
        s->sort[1] = from;
    }
}

/* Put slots 1 .. n, sorted by revision, into a chain. */
static int link_sorted(struct rp_store *s, struct rp_chain *c, struct rp_links links,
                       uint32_t n)
{
    uint64_t before = 0;

    rp_sort_run(s, n);
    for (uint32_t i = 0; i < n; i++) {
        if (s->sort[0][i].key == before) {
            return SY_ECORRUPT;
        }
        before = s->sort[0][i].key;
        rp_chain_push(c, links, (uint32_t)s->sort[0][i].nr);
    }
    return 0;
}

int rp_relink_changed(struct rp_store *s)
{
    int rv;

    for (uint32_t i = 0; i < s->devices_n; i++) {
        s->sort[0][i] = (struct rp_sort){s->devices[i].d.revision, i + 1};
    }
    rv = link_sorted(s, &s->devices_changed, rp_devices_changed_links(s), s->devices_n);
    if (rv != 0) {
        return rv;
    }
    for (uint32_t i = 0; i < s->commands_n; i++) {
        s->sort[0][i] = (struct rp_sort){s->commands[i].c.revision, i + 1};
    }
    return link_sorted(s, &s->commands_changed, rp_commands_changed_links(s),
                       s->commands_n);
}
