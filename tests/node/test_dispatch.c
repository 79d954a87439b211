/* Commands on their way out, walked through step by step and at random.
 *
 *     test_dispatch [histories [first seed]] */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/node/fake_node.h"

enum {
    A = 0xa,
    B = 0xb, /* in north */
    S = 0x5, /* in south */
    MINUTE = 60000
};

static unsigned histories = 2000;
static uint64_t first_seed = 1;

static int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake_begin();
    fake_lead();
    fake_device(A, 1);
    fake_device(B, 1);
    fake_device(S, 2);
    fake_bridges_ready();
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

static bool nothing_proposed(void)
{
    return fake.batch.n == 0 && sy_list_empty(&fake.log);
}

/* Accepted, and its first attempt published. */
static void send_once(const char *id, uint64_t ieee)
{
    fake_command(id, ieee, "ON", MINUTE);
    fake_settle();
    assert_int_equal(fake_known(id)->status, RP_SENT);
    assert_int_equal(fake_known(id)->attempts, 1);
}

static void a_command_leaves_after_its_sent_is_applied(void **state)
{
    (void)state;
    fake_command("c1", A, "ON", MINUTE);
    fake_turn();
    assert_true(fake_commit()); /* accepted; `sent` is proposed */
    assert_int_equal(fake_known("c1")->status, RP_ACCEPTED);
    fake_pass(1000, false);
    nd_dispatch_run(fake.n);
    assert_int_equal(fake.batch.n, 0); /* once is enough */
    assert_int_equal(fake.published_n, 0);
    assert_true(fake_commit());
    assert_int_equal(fake.published_n, 1);
    assert_string_equal(fake.published[0].topic, "z/north/d10/set");
    assert_string_equal(fake.published[0].payload, "{\"state\":\"ON\"}");
    assert_true(fake_commit()); /* The broker gave it back: it has left. */
    assert_true(nothing_proposed());
}

/* A command is told of for other reasons, too: that is not a new attempt. */
static void each_attempt_is_published_once(void **state)
{
    (void)state;
    send_once("c1", A);
    assert_int_equal(fake.published_n, 1);
    rp_batch_trouble(&fake.batch, fake_known("c1")->seq, 1, "NWK_NO_ROUTE");
    fake_settle();
    assert_string_equal(fake_known("c1")->reason, "NWK_NO_ROUTE");
    assert_int_equal(fake.published_n, 1);
    fake_command("c1", A, "ON", MINUTE); /* Asked for once more. */
    fake_settle();
    nd_dispatch_run(fake.n);
    fake_settle();
    assert_int_equal(fake.published_n, 1);
    fake_pass(2500, true);
    assert_int_equal(fake.published_n, 2);
}

static void a_retry_waits_its_backoff(void **state)
{
    uint64_t expected[] = {2000, 4000, 8000, 16000, 20000, 20000};
    unsigned jittered = 0;

    (void)state;
    for (unsigned k = 0; k < 20; k++) {
        char id[8];

        snprintf(id, sizeof id, "c%u", k);
        fake_pass(20, true); /* the pace of the area */
        fake_forget();
        fake_command(id, A, "ON", 100000);
        fake_settle();
        for (unsigned i = 0; i < sizeof expected / sizeof expected[0]; i++) {
            uint64_t sent_ms = fake.now_ms;
            uint64_t waits = fake_known(id)->retry_ms - fake.wall_ms;

            assert_int_equal(fake.published_n, i + 1);
            assert_in_range(waits, expected[i] * 9 / 10, expected[i] * 11 / 10);
            jittered += waits != expected[i];
            fake_pass(waits - 1, true);
            nd_dispatch_run(fake.n); /* something else woke it */
            fake_settle();
            assert_int_equal(fake.published_n, i + 1); /* not before retry_ms */
            fake_pass(3, true);
            assert_int_equal(fake.published_n, i + 2);
            assert_in_range(fake.published[i + 1].at_ms - sent_ms, waits, waits + 2);
        }
    }
    assert_true(jittered > 100);
}

static void an_offline_device_is_not_asked_until_it_is_back(void **state)
{
    (void)state;
    fake_avail(A, RP_OFFLINE);
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    fake_pass(30000, true);
    assert_int_equal(fake.published_n, 0);
    assert_int_equal(fake_known("c1")->status, RP_ACCEPTED);
    fake_avail(A, RP_ONLINE);
    assert_int_equal(fake.published_n, 1); /* no time has passed */
    fake_avail(A, RP_OFFLINE);
    fake_pass(20000, true);
    assert_int_equal(fake.published_n, 1);
    fake_avail(A, RP_ONLINE); /* long due */
    assert_int_equal(fake.published_n, 2);
}

static void a_bridge_that_is_not_ready_is_not_asked(void **state)
{
    (void)state;
    rp_batch_bridge(&fake.batch, 1, RP_OFFLINE, false);
    fake_settle();
    fake_command("c1", A, "ON", MINUTE);
    fake_command("c2", S, "ON", MINUTE);
    fake_settle();
    assert_int_equal(fake.published_n, 1); /* the south works */
    rp_batch_bridge(&fake.batch, 1, RP_ONLINE, false);
    fake_settle();
    fake_pass(1000, true);
    assert_int_equal(fake_known("c1")->status, RP_ACCEPTED);
    rp_batch_bridge(&fake.batch, 1, RP_ONLINE, true);
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    assert_int_equal(fake.published_n, 2);
}

static void without_a_writer_nothing_is_proposed(void **state)
{
    unsigned sealed;

    (void)state;
    fake_writer(false);
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    sealed = fake.sealed;
    fake_pass(5000, true);
    assert_int_equal(fake.sealed, sealed);
    assert_int_equal(fake_known("c1")->status, RP_ACCEPTED);
    fake_writer(true);
    fake_settle();
    assert_int_equal(fake.published_n, 1);
    fake_writer(false);
    fake_pass(8000, true); /* retry_ms passes meanwhile */
    assert_int_equal(fake_known("c1")->attempts, 1);
    fake_writer(true);
    fake_settle();
    assert_int_equal(fake_known("c1")->attempts, 2);
    assert_int_equal(fake.published_n, 2);
}

/* Between `sent` and its publish the writer went away: as soon as it is back. */
static void a_writer_lost_on_the_way_costs_no_retry_time(void **state)
{
    (void)state;
    fake_command("c1", A, "ON", MINUTE);
    fake_turn();
    assert_true(fake_commit());
    fake_writer(false);
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    assert_int_equal(fake.published_n, 0);
    fake_pass(100, true);
    assert_true(nothing_proposed());
    fake_writer(true);
    fake_settle();
    assert_int_equal(fake_known("c1")->attempts, 2);
    assert_int_equal(fake.published_n, 1);
}

static void a_full_queue_waits_for_the_retry(void **state)
{
    (void)state;
    fake.publish_rv = SY_ELIMIT;
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    assert_int_equal(fake.published_n, 0);
    fake_pass(1700, true);
    assert_int_equal(fake_known("c1")->attempts, 1);
    fake_pass(600, true);
    assert_int_equal(fake_known("c1")->attempts, 2);
    assert_int_equal(fake.published_n, 1);
}

static void each_area_has_a_pace_of_its_own(void **state)
{
    uint64_t last[2] = {0, 0};
    unsigned count[2] = {0, 0};
    uint64_t began;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        fake_device(0x100 + i, (uint16_t)(1 + i % 2));
    }
    fake_settle();
    began = fake.now_ms;
    for (unsigned i = 0; i < 20; i++) {
        char id[8];

        snprintf(id, sizeof id, "c%u", i);
        fake_command(id, 0x100 + i, "ON", MINUTE);
    }
    fake_settle();
    assert_int_equal(fake.published_n, 2); /* one for each area, at once */
    fake_pass(1500, true);
    assert_int_equal(fake.published_n, 20);
    for (unsigned i = 0; i < 20; i++) {
        unsigned area = strncmp(fake.published[i].topic, "z/south", 7) == 0;

        if (count[area]++ > 0) {
            assert_in_range(fake.published[i].at_ms - last[area], 20, 22);
        }
        last[area] = fake.published[i].at_ms;
        assert_true(last[area] - began <= 9 * 22);
    }
    assert_int_equal(count[0], 10);
}

static void what_a_slow_disk_held_up_leaves_at_the_pace(void **state)
{
    enum { COMMANDS = 30, TOGETHER = 5 };
    unsigned at_once;

    (void)state;
    for (unsigned i = 0; i < COMMANDS; i++) {
        fake_device(0x100 + i, 1);
    }
    fake_settle();
    for (unsigned i = 0; i < COMMANDS; i++) {
        char id[8];

        snprintf(id, sizeof id, "c%u", i);
        fake_command(id, 0x100 + i, "ON", MINUTE);
    }
    fake_turn();
    assert_true(fake_commit()); /* All accepted; they are decided on, one by one. */
    fake_pass(1000, false);
    assert_int_equal(fake.published_n, 0);
    fake_settle();
    assert_int_equal(fake.published_n, TOGETHER);
    fake_pass(600, true); /* Before any is repeated. */
    assert_int_equal(fake.published_n, COMMANDS);
    for (unsigned i = 0; i < COMMANDS; i++) {
        char topic[32];

        snprintf(topic, sizeof topic, "z/north/d%u/set", 0x100 + i);
        assert_string_equal(fake.published[i].topic, topic);
        at_once = 0; /* in 100 ms from this one on */
        for (unsigned k = i; k < COMMANDS; k++) {
            at_once += fake.published[k].at_ms < fake.published[i].at_ms + 100;
        }
        assert_in_range(at_once, 1, TOGETHER - 1 + 5);
    }
}

static void a_deadline_brings_one_tick(void **state)
{
    unsigned sealed;

    (void)state;
    fake_avail(A, RP_OFFLINE);
    fake_command("c1", A, "ON", 5000);
    fake_settle();
    sealed = fake.sealed;
    fake_pass(4999, true);
    assert_int_equal(fake_known("c1")->status, RP_ACCEPTED);
    assert_int_equal(fake.sealed, sealed);
    fake_pass(3, false);
    assert_int_equal(fake.sealed, sealed + 1);
    fake_pass(3000, false); /* not committed: still one */
    assert_int_equal(fake.sealed, sealed + 1);
    fake_settle();
    assert_int_equal(fake_known("c1")->status, RP_EXPIRED);
    assert_int_equal(fake.published_n, 0);
}

static void a_sent_that_is_late_is_not_published(void **state)
{
    (void)state;
    fake_command("c1", A, "ON", 2000);
    fake_turn();
    assert_true(fake_commit()); /* `sent` is sealed before the deadline */
    fake.now_ms += 3000;        /* the process slept: no timer fired */
    fake.wall_ms += 3000;
    fake_settle();
    assert_int_equal(fake.published_n, 0);
    assert_int_equal(fake_known("c1")->status, RP_EXPIRED);
}

/* It could arrive when its time is over. */
static void shortly_before_the_deadline_nothing_leaves(void **state)
{
    (void)state;
    fake_writer(false);
    fake_command("c1", A, "ON", 5000);
    fake_settle();
    fake_pass(4800, true);
    fake_writer(true);
    fake_settle();
    fake_pass(100, true);
    assert_int_equal(fake.published_n, 0);
    assert_int_equal(fake_known("c1")->status, RP_ACCEPTED);
    fake_pass(200, true);
    assert_int_equal(fake_known("c1")->status, RP_EXPIRED);
    assert_int_equal(fake_known("c1")->attempts, 0);
}

/* The radio would go on trying, and switch a meter that comes back when the command
 * has long expired. */
static void a_silent_device_is_not_asked_again_shortly_before(void **state)
{
    struct rp_report r = {.ieee = A, .state = RP_OFF, .payload_hash = 1};

    (void)state;
    fake_command("c1", A, "ON", 30000);
    fake_settle();
    fake_pass(12000, true);
    assert_int_equal(fake_known("c1")->attempts, 3); /* at 0, 2 and 6 s */
    fake_pass(8000, true);
    assert_int_equal(fake_known("c1")->attempts, 3); /* not at 14 s */
    r.last_seen_ms = fake.wall_ms;                   /* It lives, and is still off. */
    rp_batch_report(&fake.batch, &r);
    fake_settle();
    fake_pass(1500, true);
    assert_int_equal(fake_known("c1")->attempts, 4);
}

static void a_relieving_watch_sends_again_at_once(void **state)
{
    (void)state;
    send_once("c1", A);
    fake_lose(0, 2, 5);
    fake_pass(200, true);
    assert_false(fake.n->ports_running);
    assert_int_equal(fake.published_n, 1);
    fake.term = 5;
    fake_lead();
    assert_int_equal(fake_known("c1")->attempts, 2);
    assert_int_equal(fake.published_n, 2);
}

/* `sent` was in the log of who led before; whether it left nobody knows. */
static void what_another_watch_sent_is_sent_again(void **state)
{
    (void)state;
    fake_avail(A, RP_OFFLINE);
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    fake_avail(A, RP_ONLINE);
    fake_pass(20, true); /* the pace of the area */
    send_once("c2", B);
    fake_forget();
    fake_lose(0, 2, 7);
    {
        struct rp_batch b = {0};

        rp_batch_sent(&b, fake_known("c1")->seq, 2, fake.wall_ms + 20000);
        fake_foreign(&b);
    }
    assert_int_equal(fake.published_n, 0); /* it is not ours to send */
    fake_lead();
    fake_pass(25, true);
    assert_int_equal(fake.published_n, 2);
    assert_int_equal(fake_known("c1")->attempts, 3);
}

static void with_the_lease_passed_nothing_leaves(void **state)
{
    (void)state;
    fake_command("c1", A, "ON", MINUTE);
    fake_turn();
    assert_true(fake_commit());
    fake.lease_until_ms = fake.now_ms;
    assert_true(fake_commit());
    assert_int_equal(fake_known("c1")->status, RP_SENT);
    assert_int_equal(fake.published_n, 0);
    fake_pass(500, false);
    assert_int_equal(fake.published_n, 0);
    fake.lease_until_ms = UINT64_MAX;
    fake_settle();
    assert_int_equal(fake.published_n, 1);
    assert_int_equal(fake_known("c1")->attempts, 2);
}

static void ended_between_sent_and_publish_is_not_published(void **state)
{
    (void)state;
    fake_writer(false);
    fake_command("c1", A, "ON", MINUTE);
    fake_command("c2", S, "ON", MINUTE);
    fake_settle();
    fake_writer(true); /* both `sent` are in the batch */
    assert_int_equal(fake.batch.n, 2);
    /* The same entry goes on to end them. */
    rp_batch_end(&fake.batch, fake_known("c1")->seq, RP_CANCELLED, "by a test");
    fake_command("c3", S, "OFF", MINUTE);
    fake_turn();
    assert_true(fake_commit());
    assert_int_equal(fake_known("c1")->status, RP_CANCELLED);
    assert_int_equal(fake_known("c1")->attempts, 1);
    assert_int_equal(fake_known("c2")->status, RP_SUPERSEDED);
    assert_int_equal(fake_known("c2")->attempts, 1);
    assert_int_equal(fake.published_n, 0);
    fake_pass(100, true);
    assert_int_equal(fake.published_n, 1);
    assert_string_equal(fake.published[0].payload, "{\"state\":\"OFF\"}");
}

static double run_ms(void)
{
    struct timespec a, b;

    clock_gettime(CLOCK_MONOTONIC, &a);
    for (unsigned i = 0; i < 100; i++) {
        nd_dispatch_run(fake.n);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6) /
           100;
}

static void a_thousand_open_commands_cost_little(void **state)
{
    double ms;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        char id[8];

        fake_device(0x1000 + i, (uint16_t)(1 + i % 2));
        snprintf(id, sizeof id, "c%u", i);
        fake_command(id, 0x1000 + i, "ON", 10 * MINUTE);
    }
    fake_settle();
    fake_writer(false);
    ms = run_ms();
    fake_writer(true);
    print_message("1,000 open commands: %.3f ms a run\n", ms);
    assert_true(ms < 10); /* Sanitizers included. */
    fake_pass(30000, true);
    assert_true(fake.published_n >= 1000);
    assert_int_equal(rp_store_open_commands(fake.store), 1000);
}

/* --- at random --- */

enum { DEVICES = 6, SEQS_MAX = 512 };

static struct
{
    uint64_t seed;
    unsigned ids;
    uint32_t attempt[SEQS_MAX]; /* published last, by seq */
    uint64_t began_ms;          /* the present watch, wall */
} walk;

static uint64_t roll(uint64_t n)
{
    return fake_random(&walk.seed) % n;
}

static const struct rp_command *open_of(const char *name)
{
    const struct rp_command *c = NULL;

    while ((c = rp_store_next_open(fake.store, c)) != NULL) {
        const struct rp_device *d = rp_store_device(fake.store, c->ieee);

        if (strcmp(d->name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

static void check_publish(const char *topic, const char *payload)
{
    char name[RP_NAME_SIZE];
    char want[96];
    const struct rp_command *c;

    assert_int_equal(sscanf(topic, "z/%*[a-z]/%[^/]/set", name), 1);
    c = open_of(name);
    assert_non_null(c); /* ended: must not leave */
    assert_int_equal(c->status, RP_SENT);
    assert_true(c->seq < SEQS_MAX);
    assert_true(c->attempts > walk.attempt[c->seq]); /* once per attempt */
    walk.attempt[c->seq] = c->attempts;
    assert_true(fake.wall_ms < c->deadline_ms);
    assert_true(fake.now_ms < fake.lease_until_ms);
    assert_true(fake.leading != 0);
    snprintf(want, sizeof want, "{\"state\":\"%s\"}", c->value);
    assert_string_equal(payload, want);
}

static void random_command(bool again)
{
    char id[16];

    if (!again || walk.ids == 0) {
        walk.ids++;
    }
    snprintf(id, sizeof id, "w%u", again ? 1 + (unsigned)roll(walk.ids) : walk.ids);
    if (rp_store_command(fake.store, id) == NULL) { /* as nd_op_send() does */
        fake_command(id, 1 + roll(DEVICES), roll(2) ? "ON" : "OFF", 1000 + roll(30000));
    }
}

static void random_input(void)
{
    uint64_t ieee = 1 + roll(DEVICES);
    struct rp_report r = {.ieee = ieee,
                          .last_seen_ms = roll(2) ? fake.wall_ms : 0,
                          .payload_hash = fake_random(&walk.seed),
                          .state = roll(2) ? RP_ON : RP_OFF};

    switch (roll(8)) {
    case 0:
    case 1:
        rp_batch_avail(&fake.batch, ieee, roll(3) ? RP_ONLINE : RP_OFFLINE);
        break;
    case 2:
        rp_batch_bridge(&fake.batch, (uint16_t)(1 + roll(2)), RP_ONLINE, roll(4) != 0);
        break;
    case 3:
    case 4:
        rp_batch_report(&fake.batch, &r);
        break;
    case 5:
        rp_batch_end(&fake.batch, 1 + roll(walk.ids + 1), RP_CANCELLED, "by a test");
        break;
    case 6:
        if (roll(4) == 0) {
            rp_batch_gone(&fake.batch, ieee);
        }
        break;
    default:
        fake_device(ieee, (uint16_t)(1 + ieee % 2));
    }
}

static void lead_again(bool settle)
{
    fake.leading = ++fake.term;
    fake.role = CS_LEADER;
    fake.leader = 1;
    fake.lease_until_ms = UINT64_MAX;
    walk.began_ms = fake.wall_ms;
    if (settle) {
        fake_settle();
    } else {
        fake_turn();
    }
}

/* Another node led meanwhile, and sent what it found open. */
static void other_watch(void)
{
    const struct rp_command *c = rp_store_next_open(fake.store, NULL);
    struct rp_batch b = {0};

    fake_lose((unsigned)roll(4), 2, fake.term + 1);
    if (c != NULL && (c = rp_store_next_open(fake.store, NULL)) != NULL) {
        rp_batch_sent(&b, c->seq, c->attempts + 1, fake.wall_ms + 5000);
        walk.attempt[c->seq] = c->attempts + 1; /* that attempt is the other's */
        fake_foreign(&b);
    }
}

static void step(void)
{
    bool leads = fake.leading != 0;

    switch (roll(16)) {
    case 0:
    case 1:
    case 2:
        if (leads) {
            random_command(roll(5) == 0);
        }
        break;
    case 3:
    case 4:
        if (leads) {
            random_input();
        }
        break;
    case 5:
        fake.publish_rv = roll(2) ? SY_ENOTFOUND : SY_ELIMIT;
        break;
    case 6:
        if (fake.n->brokers[0].mqtt != NULL) {
            fake_writer(roll(3) != 0);
        }
        break;
    case 7:
        fake.lease_until_ms = leads && roll(3) != 0 ? UINT64_MAX : fake.now_ms;
        break;
    case 8:
        if (leads && roll(3) == 0) {
            other_watch();
        } else if (!leads) {
            lead_again(roll(2));
        }
        break;
    case 9:
    case 10:
        fake_pass(roll(3000), roll(2));
        break;
    case 11:
        fake_settle();
        break;
    default:
        (void)fake_commit();
    }
    if (leads && fake.leading != 0 && roll(4) == 0) {
        fake.cb.changed(fake.n); /* What it proposes ... */
        random_input();          /* ... and this are one entry. */
    }
    fake_turn();
}

static void check_ended(void)
{
    for (uint32_t i = 0; i < rp_store_commands(fake.store); i++) {
        const struct rp_command *c = rp_store_command_recent(fake.store, i);
        uint64_t latest = c->deadline_ms > walk.began_ms ? c->deadline_ms : walk.began_ms;

        assert_true(rp_ended(c->status));
        if (c->ended_ms > walk.began_ms) {
            assert_true(c->ended_ms <= latest + 2);
        }
    }
}

static void one_history(uint64_t seed)
{
    memset(&walk, 0, sizeof walk);
    walk.seed = seed;
    fake_open(3);
    fake_begin();
    fake.on_publish = check_publish;
    lead_again(true);
    for (unsigned i = 1; i <= DEVICES; i++) {
        fake_device(i, (uint16_t)(1 + i % 2));
    }
    fake_bridges_ready();
    for (unsigned i = 0; i < 120; i++) {
        step();
    }
    /* From here on nothing is held back: all must end in time. */
    if (fake.leading == 0) {
        lead_again(true);
    }
    fake_settle();
    walk.began_ms = fake.wall_ms;
    fake_pass(32000, true);
    assert_int_equal(rp_store_open_commands(fake.store), 0);
    check_ended();
    fake_close();
}

static void random_histories(void **state)
{
    uint64_t published = 0;

    (void)state;
    for (unsigned i = 0; i < histories; i++) {
        if (histories == 1 || i % 500 == 0) {
            print_message("seeds from %llu\n", (unsigned long long)(first_seed + i));
        }
        one_history(first_seed + i);
        for (unsigned k = 0; k < SEQS_MAX; k++) {
            published += walk.attempt[k] != 0;
        }
    }
    print_message("%u histories, %llu commands published\n", histories,
                  (unsigned long long)published);
    assert_true(published > histories); /* It would prove nothing otherwise. */
}

#define IN_SITE(F) cmocka_unit_test_setup_teardown(F, open_site, close_site)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        IN_SITE(a_command_leaves_after_its_sent_is_applied),
        IN_SITE(each_attempt_is_published_once),
        IN_SITE(a_retry_waits_its_backoff),
        IN_SITE(an_offline_device_is_not_asked_until_it_is_back),
        IN_SITE(a_bridge_that_is_not_ready_is_not_asked),
        IN_SITE(without_a_writer_nothing_is_proposed),
        IN_SITE(a_writer_lost_on_the_way_costs_no_retry_time),
        IN_SITE(a_full_queue_waits_for_the_retry),
        IN_SITE(each_area_has_a_pace_of_its_own),
        IN_SITE(what_a_slow_disk_held_up_leaves_at_the_pace),
        IN_SITE(a_deadline_brings_one_tick),
        IN_SITE(a_sent_that_is_late_is_not_published),
        IN_SITE(shortly_before_the_deadline_nothing_leaves),
        IN_SITE(a_silent_device_is_not_asked_again_shortly_before),
        IN_SITE(a_relieving_watch_sends_again_at_once),
        IN_SITE(what_another_watch_sent_is_sent_again),
        IN_SITE(with_the_lease_passed_nothing_leaves),
        IN_SITE(ended_between_sent_and_publish_is_not_published),
        IN_SITE(a_thousand_open_commands_cost_little),
        cmocka_unit_test(random_histories),
    };

    histories = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : histories;
    first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : first_seed;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
