/* Connections that break and servers that die while everything is under way at once:
 * readings, devices, letters, commands from the table and their results. */

#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum { DEVICES = 20, READINGS = 60 };

/* How often a command was accepted, by its place in @ids. */
struct done
{
    char ids[400][64];
    unsigned n;
};

static void some_of_everything(struct rig *r, unsigned round, struct done *done)
{
    char topic[32];
    const char *id;

    id = insert_command(r, 1 + round % DEVICES, round % 2 == 0 ? "OFF" : "ON", "0 s");
    snprintf(done->ids[done->n++], sizeof done->ids[0], "%s", id);
    snprintf(topic, sizeof topic, "z2m/area1/%u", round);
    fill_letter(r, topic, "no JSON", "{");
    rp_batch_avail(&r->batch, 1001 + round % DEVICES,
                   round / DEVICES % 2 == 0 ? RP_OFFLINE : RP_ONLINE);
    for (unsigned i = 0; i < READINGS; i++) {
        report(r, 1001 + i % DEVICES, RP_SWITCH_UNKNOWN, (int32_t)i);
    }
    apply(r);
}

/* Every second command is sent, and every fourth confirmed, as far as they are known. */
static void carry_out(struct rig *r, const struct done *done)
{
    char whole[RP_ID_SIZE];

    for (unsigned i = 0; i < done->n; i++) {
        const struct rp_command *c;

        snprintf(whole, sizeof whole, "pg:%s", done->ids[i]);
        c = rp_store_command(r->store, whole);
        if (c != NULL && c->status == RP_ACCEPTED && i % 2 == 0) {
            rp_batch_sent(&r->batch, c->seq, 1, r->now_ms + 2000);
            apply(r);
            if (i % 4 == 0) {
                report(r, c->ieee, strcmp(c->value, "ON") == 0 ? RP_ON : RP_OFF, 5);
                apply(r);
            }
        }
    }
}

static bool rows_are_as_the_ledger_says(struct rig *r, const struct done *done)
{
    char whole[RP_ID_SIZE];

    for (unsigned i = 0; i < done->n; i++) {
        const struct rp_command *c;

        snprintf(whole, sizeof whole, "pg:%s", done->ids[i]);
        c = rp_store_command(r->store, whole);
        if (c == NULL || strcmp(command_status(r, done->ids[i]),
                                rp_command_status_name(c->status)) != 0) {
            return false;
        }
    }
    return true;
}

static void check_all(struct rig *r, const struct done *done)
{
    char want[16];

    UNTIL(r, all_shipped(r) && rows_are_as_the_ledger_says(r, done));
    snprintf(want, sizeof want, "%" PRIu64, rp_store_readings_last(r->store));
    check_exactly_once(r, want);
    assert_int_equal(rp_store_commands(r->store), done->n);
    snprintf(want, sizeof want, "%" PRIu64, rp_store_letters_last(r->store));
    assert_string_equal(sql(r, "SELECT count(*) FROM vagt_dead_letters"), want);
    assert_string_equal(sql(r, "SELECT count(DISTINCT seq) FROM vagt_dead_letters"),
                        want);
    assert_int_equal(log_count(r, "pg.letters_missing"), 0);
    /* Each device's last word is in. */
    for (unsigned i = 1; i <= DEVICES; i++) {
        const struct rp_device *d = rp_store_device(r->store, 1000 + i);

        if (d->avail != RP_AVAIL_UNKNOWN) {
            assert_string_equal(sql(r,
                                    "SELECT availability FROM meter_identity WHERE"
                                    " meter_number = 'm1-%u'",
                                    i),
                                rp_avail_name(d->avail));
        }
    }
}

static void a_connection_cut_anywhere_loses_and_doubles_nothing(void **state)
{
    enum { ROUNDS = 150, WHOLE = 3 };
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    struct done *done = test_calloc(1, sizeof *done);
    uint64_t cost = UINT32_MAX;
    static struct proxy x; /* Outlives a test that fails. */

    proxy_open(&x, &r->loop, server.port);
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s", x.port, r->database);
    fill_devices(r, 1, DEVICES);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r));
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t before = x.to_server;

        if (i >= WHOLE) {
            x.mode = PROXY_CUT;
            x.cut_after = (size_t)(sy_hash(&i, sizeof i, 1) % (cost + 200));
        }
        some_of_everything(r, i, done);
        UNTIL(r, all_shipped(r));
        if (i < WHOLE && x.to_server - before < cost) {
            cost = x.to_server - before; /* A slow round has looks at the tables in it. */
        }
        carry_out(r, done);
    }
    check_all(r, done);
    print_message("           %u cuts within %" PRIu64 " bytes\n", x.cuts, cost);
    assert_true(x.cuts > ROUNDS / 2);
    node_close(n);
    proxy_close(&x);
    test_free(done);
}

static void a_server_killed_at_any_moment_loses_and_doubles_nothing(void **state)
{
    enum { KILLS = 10 };
    struct rig *r = *state;
    struct node *n = &r->nodes[0];
    struct done *done = test_calloc(1, sizeof *done);

    r->config.batch_rows_max = 50;
    r->config.batch_age_ms = 1;
    fill_devices(r, 1, DEVICES);
    node_open(r, n, "n1", 5);
    UNTIL(r, all_shipped(r) && node_up(n));
    for (unsigned kill = 0; kill < KILLS; kill++) {
        for (unsigned i = 0; i < 5; i++) {
            some_of_everything(r, done->n, done);
            carry_out(r, done);
        }
        rig_turn(r, kill); /* Another moment of a batch, a look, an answer each time. */
        server_run("stop --crash");
        UNTIL(r, !node_up(n));
        carry_out(r, done);
        server_run("start");
        PQfinish(r->look);
        r->look = NULL;
        UNTIL(r, node_up(n));
    }
    check_all(r, done);
    assert_true(ad_pg_status(n->p)->reconnects >= KILLS);
    test_free(done);
}

static void a_deposed_writer_and_the_new_one_lose_and_double_nothing(void **state)
{
    enum { TERMS = 20 };
    struct rig *r = *state;
    struct done *done = test_calloc(1, sizeof *done);

    fill_devices(r, 1, DEVICES);
    for (unsigned term = 5; term < 5 + TERMS; term++) {
        struct node *new = &r->nodes[term % NODES_MAX];

        if (new->p != NULL) {
            node_close(new); /* Deposed, or it never came to anything. */
        }
        node_open(r, new, term % 2 == 0 ? "n1" : "n2", term);
        for (unsigned i = 0; i < 3; i++) {
            some_of_everything(r, done->n, done);
            rig_turn(r, term * 3 % 17);
            carry_out(r, done);
        }
    }
    check_all(r, done);
    test_free(done);
}

#define RIG(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)

/* One argument: the name of the only test to run, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG(a_connection_cut_anywhere_loses_and_doubles_nothing),
        RIG(a_deposed_writer_and_the_new_one_lose_and_double_nothing),
        RIG(a_server_killed_at_any_moment_loses_and_doubles_nothing),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}
