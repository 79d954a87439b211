#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "replication/store_impl.h"
#include "world.h"

static void say(struct world *w, const char *key, const char *value)
{
    rp_batch_fact(&w->b, key, value);
    world_apply(w);
}

static void a_fact_is_so_until_another_is(void **state)
{
    const struct rp_fact *f;
    struct world w;
    uint64_t hash;

    (void)state;
    world_open(&w, NULL);
    assert_null(rp_store_fact(w.s, "tie.epoch"));
    say(&w, "tie.epoch", "3");
    say(&w, "backup.verified", "17");
    assert_string_equal(world_trace(&w), "fact\nfact\n");
    f = rp_store_fact(w.s, "tie.epoch");
    assert_string_equal(f->value, "3");
    assert_true(f->at_ms == T0);
    hash = rp_store_hash(w.s);
    say(&w, "tie.epoch", "4");
    assert_string_equal(rp_store_fact(w.s, "tie.epoch")->value, "4");
    assert_true(rp_store_hash(w.s) != hash);
    assert_int_equal(rp_store_facts(w.s), 2);
    assert_string_equal(rp_store_fact_at(w.s, 0)->key, "backup.verified");
    say(&w, "tie.epoch", "");
    say(&w, "tie.epoch", "");
    assert_null(rp_store_fact(w.s, "tie.epoch"));
    assert_int_equal(rp_store_facts(w.s), 1);
    assert_true(rp_store_hash(w.s) == rp_digest_all(w.s));
    world_close(&w);
}

static void there_is_room_for_so_many(void **state)
{
    struct world w;
    char key[RP_FACT_KEY_SIZE];

    (void)state;
    world_open(&w, NULL);
    for (int i = 0; i < RP_FACTS_MAX; i++) {
        snprintf(key, sizeof key, "k%02d", (i * 37) % RP_FACTS_MAX);
        say(&w, key, "x");
    }
    (void)world_trace(&w);
    say(&w, "one too many", "x");
    assert_non_null(strstr(world_trace(&w), "refused"));
    assert_int_equal(rp_store_facts(w.s), RP_FACTS_MAX);
    say(&w, "k00", "");
    say(&w, "one too many", "x");
    assert_non_null(rp_store_fact(w.s, "one too many"));
    for (uint32_t i = 1; i < RP_FACTS_MAX; i++) {
        assert_true(
            strcmp(rp_store_fact_at(w.s, i - 1)->key, rp_store_fact_at(w.s, i)->key) < 0);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fact_is_so_until_another_is),
        cmocka_unit_test(there_is_room_for_so_many),
    };

    return cmocka_run_group_tests_name("facts", tests, NULL, NULL);
}
