/* BUG 5 with limits as they should be and an orderly network: a leader that walks
 * back below what a follower had acknowledged (docs/adr/0017). Here libraft's own
 * assertion would end the process; in Debian's build nothing does. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/consensus/one_core.h"

enum { INFLIGHT = 32, TRAILING = 33 };

static void submit(struct one_core *o, unsigned n)
{
    uint64_t index, term;

    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(cs_core_submit(o->core, o->now, "x", 1, &index, &term), 0);
    }
    while (o->storing) {
        one_core_stored(o);
    }
}

/* Node 2 has everything, as always. */
static void majority(struct one_core *o)
{
    one_core_result(o, 2, 2, o->now, cs_core_last(o->core), 0);
}

static uint64_t newest_prev(const struct one_core *o, unsigned at, uint64_t to,
                            unsigned *ret_n)
{
    uint64_t prev = 0;

    for (; at < o->n; at++) {
        const struct wish *w = &o->wishes[at];

        if (w->kind == W_SEND && w->to == to && w->m.type == RAFT_APPEND_ENTRIES) {
            prev = w->m.append_entries.prev_log_index;
            *ret_n = w->entries;
        }
    }
    return prev;
}

/* The leader knows that node 3 has @*ret_match, and has sent it a snapshot beyond
 * that; node 3 has installed it, and died before it could say so. */
static void lead_up_to_it(struct one_core *o, unsigned without, uint64_t *ret_match)
{
    unsigned at, n = 0;

    cs_core_config_default(&o->config);
    o->config.id = 1;
    o->config.inflight_max = INFLIGHT;
    o->config.trailing = TRAILING;
    o->config.snapshot_entries = 60;
    one_core_open(o, 3);
    o->core->without = without;
    one_core_lead(o);
    submit(o, 4);
    majority(o);
    one_core_result(o, 3, 2, o->now, 5, 0);
    submit(o, 60); /* 32 of them are on their way to node 3, and stored there. */
    for (unsigned i = 0; i < 4; i++) {
        majority(o);
        one_core_expire(o); /* Nothing heard of node 3: it is only probed now. */
    }
    assert_true(one_core_find(o, 0, W_SNAPSHOT, 0) < o->n);
    cs_core_snapshot_taken(o->core, o->now, true);
    while (o->storing) {
        one_core_stored(o);
    }
    *ret_match = 5 + INFLIGHT;
    assert_true(cs_core_first(o->core) <= *ret_match);
    assert_true(cs_core_snapshot_index(o->core) > *ret_match);
    at = o->n;
    for (unsigned i = 0; i < 4 && one_core_find(o, at, W_SEND_SNAPSHOT, 0) == o->n; i++) {
        majority(o);
        one_core_expire(o);
    }
    assert_true(one_core_find(o, at, W_SEND_SNAPSHOT, 0) < o->n);
    one_core_result(o, 3, 2, o->now, *ret_match, 0); /* The late acknowledgements. */
    assert_int_equal(cs_core_match(o->core, 3), *ret_match);
    at = o->n;
    for (unsigned i = 0; i < 4 && newest_prev(o, at, 3, &n) != *ret_match; i++) {
        majority(o);
        one_core_expire(o);
    }
    assert_int_equal(newest_prev(o, at, 3, &n), *ret_match);
    assert_true(n > 0);
}

/* @n times: node 3 refuses what it was last asked for; it has nothing below the
 * snapshot. How many until it gets a snapshot again. */
static unsigned rounds(struct one_core *o, uint64_t match)
{
    uint64_t prev = match;

    for (unsigned i = 1; i < 100; i++) {
        unsigned at = o->n, n = 1;

        one_core_result(o, 3, 2, o->now, prev - 1, prev);
        if (one_core_find(o, at, W_SEND_SNAPSHOT, 0) < o->n) {
            return i;
        }
        if (newest_prev(o, at, 3, &n) == 0) {
            return 0;
        }
        assert_int_equal(newest_prev(o, at, 3, &n), prev - 1);
        assert_int_equal(n, 0); /* The counter of what is under way has wrapped. */
        prev--;
    }
    return 0;
}

static void without_the_remedy_it_walks_back(void **state)
{
    static struct one_core o;
    uint64_t match;

    (void)state;
    lead_up_to_it(&o, CS_WITHOUT_BUG5, &match);
    assert_int_equal(o.core->stats.walks, 0);
    assert_int_equal(rounds(&o, match), match - cs_core_first(o.core) + 1);
    assert_int_equal(o.core->stats.walks, match - cs_core_first(o.core));
    assert_int_equal(cs_core_match(o.core, 3), match);
    one_core_close(&o);
}

static void with_it_nothing_moves(void **state)
{
    static struct one_core o;
    uint64_t match;

    (void)state;
    lead_up_to_it(&o, 0, &match);
    assert_int_equal(rounds(&o, match), 0);
    assert_int_equal(o.core->stats.walks, 0);
    assert_int_equal(cs_core_match(o.core, 3), match);
    /* And what a follower with our driver says to the same request. */
    one_core_result(&o, 3, 2, o.now, cs_core_snapshot_index(o.core), 0);
    assert_int_equal(cs_core_match(o.core, 3), cs_core_snapshot_index(o.core));
    one_core_close(&o);
}

/* The follower's half: it has nothing but a snapshot, and is asked below it. */
static void a_follower_skips_what_its_snapshot_covers(void **state)
{
    static struct one_core o;
    unsigned at;

    (void)state;
    cs_core_config_default(&o.config);
    o.config.id = 1;
    one_core_open(&o, 3);
    one_core_install(&o, 2, 2, 60, 2);
    while (o.storing) {
        one_core_stored(&o);
    }
    at = o.n;
    one_core_append(&o, 2, 2, 0, 37, 2, 60, 30, 2);
    while (o.storing) {
        one_core_stored(&o);
    }
    at = one_core_find(&o, at, W_SEND, RAFT_APPEND_ENTRIES_RESULT);
    assert_true(at < o.n);
    assert_int_equal(o.wishes[at].m.append_entries_result.rejected, 0);
    assert_int_equal(o.wishes[at].m.append_entries_result.last_log_index, 67);
    one_core_close(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_remedy_it_walks_back),
        cmocka_unit_test(with_it_nothing_moves),
        cmocka_unit_test(a_follower_skips_what_its_snapshot_covers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
