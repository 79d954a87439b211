#include "world.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void world_open(struct world *w, const struct rp_limits *l)
{
    static const struct rp_limits small = {.areas_max = 3,
                                           .devices_max = 4,
                                           .readings_max = 8,
                                           .commands_max = 4,
                                           .letters_max = 4};
    size_t size;

    l = l != NULL ? l : &small;
    *w = (struct world){.now_ms = T0};
    size = (rp_store_size(l) + 63) / 64 * 64;
    w->mem = aligned_alloc(64, size);
    assert_non_null(w->mem);
    memset(w->mem, 0, size);
    w->s = rp_store_init(l, w->mem);
}

void world_with_devices(struct world *w, const struct rp_limits *l)
{
    world_open(w, l);
    rp_batch_area(&w->b, "north", "z2m-north");
    rp_batch_device(&w->b, 1, A, "a", "plug");
    rp_batch_device(&w->b, 1, B, "b", "plug");
    world_apply(w);
    w->trace.len = 0;
}

void world_close(struct world *w)
{
    rp_batch_free(&w->b);
    sy_buf_free(&w->entry);
    sy_buf_free(&w->trace);
    free(w->mem);
}

static void note(void *data, const struct rp_event *ev)
{
    static const char *const names[RP_EV_NR] = {
        [RP_EV_AREA] = "area",         [RP_EV_BRIDGE] = "bridge",
        [RP_EV_DEVICE] = "device",     [RP_EV_GONE] = "gone",
        [RP_EV_AVAIL] = "avail",       [RP_EV_STATE] = "state",
        [RP_EV_REPORT] = "report",     [RP_EV_COMMAND] = "command",
        [RP_EV_WATCH] = "watch",       [RP_EV_REFUSED] = "refused",
        [RP_EV_DIVERGED] = "diverged", [RP_EV_LETTER] = "letter",
        [RP_EV_FACT] = "fact",         [RP_EV_DRILL] = "drill",
        [RP_EV_AUDIT] = "audit",
        [RP_EV_FILES] = "files",
    };
    struct world *w = data;

    sy_buf_fmt(&w->trace, "%s", names[ev->kind]);
    if (ev->device != NULL) {
        sy_buf_fmt(&w->trace, " %s", ev->device->name);
    }
    if (ev->kind == RP_EV_AREA || ev->kind == RP_EV_BRIDGE) {
        sy_buf_fmt(&w->trace, " %s %s", ev->area->name, rp_avail_name(ev->area->bridge));
    } else if (ev->kind == RP_EV_AVAIL) {
        sy_buf_fmt(&w->trace, " %s", rp_avail_name(ev->device->avail));
    } else if (ev->kind == RP_EV_STATE) {
        sy_buf_fmt(&w->trace, " %s", rp_switch_name(ev->device->state));
    } else if (ev->kind == RP_EV_COMMAND) {
        sy_buf_fmt(&w->trace, " %s %s", ev->command->id,
                   rp_command_status_name(ev->command->status));
    } else if (ev->kind == RP_EV_WATCH) {
        sy_buf_fmt(&w->trace, " %u %u", (unsigned)ev->term, ev->node);
    } else if (ev->kind == RP_EV_REFUSED) {
        sy_buf_fmt(&w->trace, " %s", ev->text);
    }
    sy_buf_u8(&w->trace, '\n');
}

void world_apply(struct world *w)
{
    rp_batch_seal(&w->b, w->now_ms, 1, &w->entry);
    w->index++;
    assert_int_equal(rp_store_apply(w->s, w->index, w->entry.p, w->entry.len, note, w),
                     0);
    assert_int_equal(rp_store_index(w->s), w->index);
    check_invariants(w->s);
}

const char *world_trace(struct world *w)
{
    sy_buf_u8(&w->trace, 0);
    w->trace.len = 0;
    return (const char *)w->trace.p;
}

void world_report(struct world *w, uint64_t ieee, enum rp_switch state,
                  uint64_t last_seen_ms, uint64_t hash)
{
    world_report_full(
        w, &(struct rp_report){.ieee = ieee,
                               .state = state,
                               .last_seen_ms = last_seen_ms,
                               .payload_hash = hash,
                               .values = {.has = RP_HAS_POWER, .power_mw = 1000}});
}

void world_report_full(struct world *w, const struct rp_report *r)
{
    rp_batch_report(&w->b, r);
    world_apply(w);
}

void world_command(struct world *w, const char *id, uint64_t ieee, const char *value,
                   uint64_t deadline_ms)
{
    rp_batch_command(&w->b, id, ieee, "state", value, "cli", deadline_ms);
    world_apply(w);
}

void world_sent(struct world *w, uint64_t seq, uint32_t attempt)
{
    rp_batch_sent(&w->b, seq, attempt, w->now_ms + 1000);
    world_apply(w);
}

void world_tick(struct world *w, uint64_t now_ms)
{
    w->now_ms = now_ms;
    rp_batch_tick(&w->b);
    world_apply(w);
}

static void check_commands(const struct rp_store *s)
{
    const struct rp_command *c = NULL;
    uint64_t newer = UINT64_MAX;
    uint32_t open = 0;
    uint64_t seq = 0;

    for (uint32_t i = 0; i < rp_store_commands(s); i++) {
        c = rp_store_command_recent(s, i);
        assert_true(c->seq < newer);
        newer = c->seq;
        assert_in_range(c->status, RP_ACCEPTED, RP_CANCELLED);
        assert_ptr_equal(rp_store_command(s, c->id), c);
        assert_ptr_equal(rp_store_command_seq(s, c->seq), c);
        assert_int_equal(c->ended_ms != 0, rp_ended(c->status));
        assert_int_equal(c->attempts != 0, c->sent_ms != 0);
        if (!rp_ended(c->status)) {
            open++;
            assert_true(c->deadline_ms > rp_store_now(s));
            assert_true(rp_store_device(s, c->ieee)->listed);
        }
    }
    assert_int_equal(open, rp_store_open_commands(s));
    for (c = rp_store_next_open(s, NULL); c != NULL; c = rp_store_next_open(s, c)) {
        assert_true(c->seq > seq);
        assert_false(rp_ended(c->status));
        seq = c->seq;
        open--;
    }
    assert_int_equal(open, 0);
}

static void check_changes(const struct rp_store *s)
{
    uint32_t n = 0;
    uint64_t at = 0;

    for (const struct rp_device *d; (d = rp_store_device_changed(s, at)) != NULL; n++) {
        assert_true(d->revision > at && d->revision <= rp_store_revision(s));
        at = d->revision;
    }
    assert_int_equal(n, rp_store_devices(s));
    n = 0;
    at = 0;
    for (const struct rp_command *c; (c = rp_store_command_changed(s, at)) != NULL; n++) {
        assert_true(c->revision > at && c->revision <= rp_store_revision(s));
        at = c->revision;
    }
    assert_int_equal(n, rp_store_commands(s));
}

void check_invariants(const struct rp_store *s)
{
    uint32_t in_areas = 0;
    uint32_t listed = 0;
    uint32_t online = 0;
    uint64_t first = rp_store_readings_first(s);
    uint64_t last = rp_store_readings_last(s);

    for (uint32_t i = 0; i < rp_store_devices(s); i++) {
        const struct rp_device *d = rp_store_device_at(s, i);

        assert_ptr_equal(rp_store_device(s, d->ieee), d);
        assert_non_null(rp_store_device_named(s, d->area, d->name, NULL));
        listed += d->listed;
        online += d->listed && d->avail == RP_ONLINE;
    }
    for (uint16_t nr = 1; nr <= rp_store_areas(s); nr++) {
        assert_int_equal(rp_store_area(s, nr)->nr, nr);
        in_areas += rp_store_area(s, nr)->devices;
    }
    assert_int_equal(in_areas, listed);
    assert_int_equal(online, rp_store_online(s));
    assert_true(first <= last + 1);
    assert_true(last + 1 - first <= rp_store_limits(s)->readings_max);
    assert_true(first > rp_store_readings_shipped(s));
    for (uint64_t q = first; q <= last; q++) {
        assert_int_equal(rp_store_reading(s, q)->seq, q);
    }
    assert_null(rp_store_reading(s, first - 1));
    assert_null(rp_store_reading(s, last + 1));
    assert_true(rp_store_letters_last(s) + 1 - rp_store_letters_first(s) <=
                rp_store_limits(s)->letters_max);
    assert_true(rp_store_letters_first(s) > rp_store_letters_shipped(s));
    for (uint64_t q = rp_store_letters_first(s); q <= rp_store_letters_last(s); q++) {
        assert_int_equal(rp_store_letter(s, q)->seq, q);
    }
    assert_null(rp_store_letter(s, rp_store_letters_last(s) + 1));
    assert_int_equal(rp_store_readings_room(s),
                     rp_store_limits(s)->readings_max - (last + 1 - first));
    assert_true(rp_store_revision_shipped(s) <= rp_store_revision(s));
    check_commands(s);
    check_changes(s);
    /* The incremental hash is the one from scratch, and known at this index. */
    assert_true(rp_store_hash(s) == rp_digest_all(s));
    if (rp_store_index(s) > 0) {
        assert_true(rp_store_hash_at(s, rp_store_index(s)) == rp_store_hash(s));
    }
}

static int append(void *data, const void *p, size_t n)
{
    assert_in_range(n, 1, RP_RUN_SIZE);
    sy_buf_put(data, p, n);
    return 0;
}

void take_snapshot(struct rp_store *s, struct sy_buf *to)
{
    uint64_t hash = rp_store_hash(s);

    to->len = 0;
    assert_int_equal(rp_store_snapshot(s, append, to), 0);
    assert_true(rp_store_hash(s) == hash);
}

int restore_from(struct rp_store *s, const uint8_t *p, size_t n, size_t portion,
                 struct sy_errbuf *eb)
{
    struct rp_restore r;
    int rv = 0;
    int end;

    rp_restore_begin(&r, s, eb);
    for (size_t at = 0; at < n && rv == 0; at += portion) {
        rv = rp_restore_feed(&r, p + at, n - at < portion ? n - at : portion);
    }
    end = rp_restore_end(&r);
    if (rv != 0) {
        assert_int_not_equal(end, 0);
        return rv;
    }
    return end;
}

uint64_t next_random(uint64_t *seed)
{
    /* splitmix64 */
    uint64_t z = *seed += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
    return next_random(seed) % n;
}

static void random_report(struct rp_batch *b, uint64_t *seed, uint64_t now_ms)
{
    struct rp_report r = {
        .ieee = 1 + below(seed, 6),
        .payload_hash = below(seed, 5),
        .redelivered = below(seed, 4) == 0,
        .cached = below(seed, 5) == 0,
        .state = (enum rp_switch)below(seed, 3),
        .values = {.has = (uint16_t)below(seed, 32),
                   .energy_mwh = (int64_t)next_random(seed),
                   .power_mw = (int32_t)next_random(seed),
                   .voltage_mv = 230000,
                   .current_ma = -1,
                   .linkquality = 255},
    };

    if (below(seed, 4) > 0) {
        r.last_seen_ms = now_ms + below(seed, 1000) * below(seed, 1000) - 500000;
    }
    rp_batch_report(b, &r);
}

static void random_letter(struct rp_batch *b, uint64_t *seed, const struct rp_store *s)
{
    uint8_t payload[2000];
    size_t n = below(seed, 8) > 0 ? below(seed, 40) : below(seed, sizeof payload);

    memset(payload, (int)below(seed, 256), sizeof payload);
    if (below(seed, 3) > 0) {
        rp_batch_letter(b, (uint16_t)below(seed, 4), "z2m/x", "because", payload, n);
    } else {
        rp_batch_letters_shipped(b, rp_store_letters_first(s) + below(seed, 3));
    }
}

static void random_admin(struct rp_batch *b, uint64_t *seed, const struct rp_store *s)
{
    static const char *const names[] = {"n1", "n2", "n3", "n4"};
    uint64_t ieee = 1 + below(seed, 6);
    uint16_t area;

    switch (below(seed, 12)) {
    case 8:
        rp_batch_told(b, ieee, below(seed, 2) != 0 ? RP_ONLINE : RP_OFFLINE,
                      below(seed, 3) * 1000);
        break;
    case 9:
        rp_batch_lapse(b, ieee, below(seed, 2) * 1000, below(seed, 3) * 1000);
        break;
    case 10:
        random_letter(b, seed, s);
        break;
    case 11:
        area = (uint16_t)below(seed, 4);
        if (below(seed, 12) == 0) {
            rp_batch_area_off(b, area, (uint8_t)(1 + below(seed, 2)), true);
        } else {
            rp_batch_area_off(b, area, RP_OFF_OPERATOR, false);
            rp_batch_area_off(b, area, RP_OFF_CONFIG, false);
        }
        break;
    case 0:
        rp_batch_area(b, names[below(seed, 4)], names[below(seed, 4)]);
        break;
    case 1:
        rp_batch_bridge(b, (uint16_t)below(seed, 4), (enum rp_avail)below(seed, 3),
                        below(seed, 2) != 0);
        break;
    case 2:
    case 3:
        rp_batch_device(b, (uint16_t)below(seed, 4), ieee, names[below(seed, 4)],
                        below(seed, 2) != 0 ? "plug" : "");
        break;
    case 4:
        rp_batch_gone(b, ieee);
        break;
    case 5:
        rp_batch_avail(b, ieee, (enum rp_avail)below(seed, 3));
        break;
    case 6:
        rp_batch_watch(b, below(seed, 9), (uint16_t)below(seed, 4));
        break;
    default:
        rp_batch_shipped(b, rp_store_readings_first(s) + below(seed, 3),
                         rp_store_revision(s) - below(seed, 9));
        break;
    }
}

static void random_files(struct rp_batch *b, uint64_t any, const struct rp_store *s)
{
    struct rp_file list[3] = {{.path = "a"}, {.path = "b/c"}, {.path = "d"}};
    char name[2] = {(char)('a' + any % 3), 0};
    const struct rp_files_set *set = rp_store_files_set(s, name);

    list[any % 3].size = any % 1000;
    list[any % 3].sum[any % 32] = (uint8_t)any;
    if (any / 3 % 16 == 0) {
        rp_batch_files_forget(b, name);
    } else {
        rp_batch_files(b, name, (set != NULL ? set->last : 0) + (any / 3 % 5 == 0),
                       any % 4, (uint16_t)any, list, 1 + (unsigned)(any % 3));
    }
}

void random_inputs(struct rp_batch *b, uint64_t *seed, const struct rp_store *s)
{
    uint64_t now_ms = rp_store_now(s);
    const struct rp_command *c = rp_store_command_recent(s, (uint32_t)below(seed, 5));
    uint64_t seq = c != NULL ? c->seq : 1;
    uint32_t attempt = c != NULL ? c->attempts + 1 : 1;
    char id[2] = {(char)('a' + below(seed, 20)), 0};

    for (uint64_t n = below(seed, 5); n > 0; n--) {
        switch (below(seed, 10)) {
        case 8:
            rp_batch_trouble(b, seq, attempt - 1, below(seed, 2) > 0 ? "no" : "never");
            break;
        case 0:
            rp_batch_command(b, id, 1 + below(seed, 6),
                             below(seed, 4) > 0 ? "state" : "power_on",
                             below(seed, 2) > 0 ? "ON" : "OFF",
                             below(seed, 2) > 0 ? "test" : RP_SOURCE_POSTGRES,
                             now_ms + below(seed, 60000));
            break;
        case 1:
            rp_batch_sent(b, seq, attempt + (uint32_t)below(seed, 8) / 7, now_ms + 5);
            break;
        case 9:
            rp_batch_going(b, seq, attempt, now_ms + 5);
            if (below(seed, 2) > 0) {
                rp_batch_left(b, seq, attempt - (uint32_t)below(seed, 4) / 3);
            }
            break;
        case 2:
            rp_batch_end(b, seq, below(seed, 2) > 0 ? RP_FAILED : RP_CANCELLED,
                         "because");
            break;
        case 3:
        case 4:
            random_admin(b, seed, s);
            break;
        default:
            random_report(b, seed, now_ms);
            break;
        }
    }
    if (*seed % 8 == 0) { /* Without a number of its own: histories stay as they were. */
        rp_batch_fact(b, id, *seed % 3 == 0 ? "" : id);
    }
    if (*seed % 8 == 1) {
        random_files(b, *seed / 8, s);
    }
}
