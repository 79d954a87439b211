/* Who speaks up first when the leader's process is gone. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/consensus/one_core.h"

static struct one_core one;

/* Does node 1 of three ask for votes at once when node 3, which led, is lost? */
static bool speaks_at_once(uint32_t witnesses)
{
    unsigned at;
    bool spoke;

    cs_core_config_default(&one.config);
    one.config.id = 1;
    one.config.seed = 7;
    one.config.witnesses = witnesses;
    one_core_open(&one, 3);
    one_core_append(&one, 3, 2, 0, 1, 1, 1, 1, 2);
    while (one.storing) {
        one_core_stored(&one);
    }
    at = one.n;
    cs_core_lost(one.core, one.now, 3);
    spoke = one_core_find(&one, at, W_SEND, RAFT_REQUEST_VOTE) < one.n;
    one_core_close(&one);
    return spoke;
}

static void the_lowest_id_speaks_first(void **state)
{
    (void)state;
    assert_true(speaks_at_once(0));
    assert_true(speaks_at_once(1 << 2));
}

static void a_witness_lets_all_others_speak_first(void **state)
{
    (void)state;
    assert_false(speaks_at_once(1 << 1));
    assert_true(speaks_at_once(1 << 1 | 1 << 2)); /* Among witnesses the id counts. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_id_speaks_first),
        cmocka_unit_test(a_witness_lets_all_others_speak_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
