/* The adapter against a real broker. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/mqtt/rig.h"

static struct rig_broker broker;

static int start_broker(void **state)
{
    (void)state;
    memset(&broker, 0, sizeof broker);
    rig_broker_start(&broker, 0);
    return 0;
}

static int stop_broker(void **state)
{
    (void)state;
    rig_broker_remove(&broker);
    return 0;
}

static double ms_since(uint64_t start_ns)
{
    return (double)(uv_hrtime() - start_ns) / 1e6;
}

/* --- what to wait for --- */

static unsigned wanted;

static bool has_messages(struct rig_node *n)
{
    return n->messages >= wanted;
}

static bool messages_come(struct rig_node *n, unsigned count)
{
    wanted = count;
    return rig_until(n, has_messages, 3000);
}

static bool has_published(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->published >= wanted;
}

static bool subscribed(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->subscriptions > 0;
}

static void open_and_subscribe(struct rig_node *n)
{
    rig_node_init(n, broker.port);
    rig_node_open(n);
    assert_true(rig_until(n, rig_up, 3000));
    if (n->subscribes > 0) {
        assert_true(rig_until(n, subscribed, 3000));
    }
}

static void reopen(struct rig_node *n)
{
    rig_node_done(n);
    open_and_subscribe(n);
}

/* --- tests --- */

static void the_first_connection_subscribes_and_the_second_need_not(void **state)
{
    struct rig_node n;

    (void)state;
    open_and_subscribe(&n);
    assert_int_equal(n.subscribes, 1);
    assert_false(ad_mqtt_status(n.m)->session_present);
    rig_publish(broker.port, "t/a", 0, 3, 1, false, 0);
    assert_true(messages_come(&n, 3));
    assert_int_equal(n.dups, 0);
    assert_string_equal(n.last_topic, "t/a");
    reopen(&n);
    assert_int_equal(n.subscribes, 0);
    assert_true(ad_mqtt_status(n.m)->session_present);
    rig_publish(broker.port, "t/a", 3, 1, 1, false, 0);
    assert_true(messages_come(&n, 1));
    rig_node_done(&n);
}

static void what_is_held_comes_again_and_what_is_released_does_not(void **state)
{
    struct rig_node n;

    (void)state;
    open_and_subscribe(&n);
    n.release = false;
    rig_publish(broker.port, "t/a", 0, 5, 1, false, 0);
    assert_true(rig_until(&n, rig_holding, 3000));
    reopen(&n);
    n.release = false; /* By hand: all five must be in bursts first. */
    while (n.messages < 5) {
        assert_true(rig_until(&n, rig_holding, 3000));
        ad_mqtt_release(n.m);
    }
    assert_int_equal(n.messages, 5);
    assert_true(n.dups > 0); /* What had been sent to us; the rest waited. */
    assert_int_equal(n.ids[0], 0);
    assert_int_equal(n.ids[4], 4);
    rig_run(&n, 50); /* The acknowledgements leave. */
    assert_true(ad_mqtt_status(n.m)->acked_bursts > 0);
    reopen(&n);
    rig_publish(broker.port, "t/a", 99, 1, 1, false, 0);
    assert_true(messages_come(&n, 1));
    assert_int_equal(n.ids[0], 99);
    assert_int_equal(n.dups, 0);
    rig_node_done(&n);
}

static void nothing_is_read_while_a_burst_is_held(void **state)
{
    struct rig_node n;
    unsigned before;

    (void)state;
    open_and_subscribe(&n);
    n.release = false;
    rig_publish(broker.port, "t/a", 0, 1, 1, false, 0);
    assert_true(rig_until(&n, rig_holding, 3000));
    before = n.messages;
    rig_publish(broker.port, "t/a", 1, 50, 1, false, 0);
    n.turns = 0;
    rig_run(&n, 200);
    assert_int_equal(n.messages, before);
    assert_true(n.turns < 20); /* And nobody spins on the bytes that wait. */
    n.release = true;
    ad_mqtt_release(n.m);
    assert_true(messages_come(&n, 51));
    rig_node_done(&n);
}

static void a_takeover_throws_the_old_one_out_for_good(void **state)
{
    struct rig_node a;
    struct rig_node b;
    uint64_t start;

    (void)state;
    open_and_subscribe(&a);
    a.release = false;
    rig_publish(broker.port, "t/a", 0, 5, 1, false, 0);
    assert_true(rig_until(&a, rig_holding, 3000));
    rig_node_init_on(&b, &a, broker.port);
    start = uv_hrtime();
    rig_node_open(&b);
    assert_true(rig_until(&a, rig_down, 3000));
    print_message("taken over after %.1f ms\n", ms_since(start));
    assert_true(uv_hrtime() - start < 1500000000);
    /* Its commit comes late: no acknowledgement of it may reach the broker. */
    ad_mqtt_release(a.m);
    rig_run(&a, 600);
    assert_int_equal(ad_mqtt_status(a.m)->takeovers, 1);
    assert_int_equal(ad_mqtt_status(a.m)->acked_bursts, 0);
    assert_int_equal(ad_mqtt_status(a.m)->reader, AD_MQTT_DOWN);
    assert_int_equal(ad_mqtt_status(a.m)->writer, AD_MQTT_DOWN);
    assert_non_null(strstr(ad_mqtt_status(a.m)->error, "taken over"));
    assert_int_equal(ad_mqtt_status(b.m)->reader, AD_MQTT_UP);
    assert_int_equal(ad_mqtt_status(b.m)->takeovers, 0);
    assert_int_equal(b.messages, 5);
    assert_true(b.dups > 0);
    rig_node_done(&b);
    rig_node_done(&a);
}

static bool both_down(struct rig_node *n)
{
    const struct ad_mqtt_status *s = ad_mqtt_status(n->m);

    return s->reader != AD_MQTT_UP && s->writer != AD_MQTT_UP;
}

static void a_broker_that_dies_and_returns_is_found_again(void **state)
{
    struct rig_node n;

    (void)state;
    open_and_subscribe(&n);
    rig_broker_kill(&broker);
    /* Nobody knows yet. It is not kept for the next connection: a command that
     * leaves then may be too late. */
    assert_int_equal(ad_mqtt_publish(n.m, "t/late", "1", 1, false), 0);
    assert_true(rig_until(&n, both_down, 3000));
    assert_int_equal(ad_mqtt_status(n.m)->publish_failed, 1);
    assert_int_equal(ad_mqtt_status(n.m)->publish_queued, 0);
    assert_int_equal(ad_mqtt_publish(n.m, "x", "1", 1, false), SY_ENOTFOUND);
    assert_int_equal(ad_mqtt_status(n.m)->takeovers, 0);
    rig_broker_start(&broker, broker.port);
    assert_true(rig_until(&n, rig_up, 5000));
    assert_int_equal(ad_mqtt_status(n.m)->reconnects, 1);
    assert_int_equal(ad_mqtt_status(n.m)->takeovers, 0);
    assert_string_equal(ad_mqtt_status(n.m)->error, "");
    n.messages = 0;
    if (n.subscribes > 1) {
        assert_true(rig_until(&n, subscribed, 3000));
    }
    rig_publish(broker.port, "t/a", 7, 1, 1, false, 0);
    assert_true(messages_come(&n, 1));
    assert_string_equal(n.last_topic, "t/a"); /* Not t/late. */
    rig_node_done(&n);
}

static void a_broker_that_dies_while_a_burst_is_held_waits_for_the_commit(void **state)
{
    struct rig_node n;

    (void)state;
    open_and_subscribe(&n);
    n.release = false;
    rig_publish(broker.port, "t/a", 0, 1, 1, false, 0);
    assert_true(rig_until(&n, rig_holding, 3000));
    rig_broker_kill(&broker);
    assert_true(rig_until(&n, rig_down, 3000));
    rig_broker_start(&broker, broker.port);
    rig_run(&n, 600); /* Longer than the first backoff. */
    assert_int_equal(ad_mqtt_status(n.m)->reader, AD_MQTT_DOWN);
    ad_mqtt_release(n.m);
    n.release = true;
    assert_int_equal(ad_mqtt_status(n.m)->acked_bursts, 0);
    assert_true(rig_until(&n, rig_up, 3000));
    rig_node_done(&n);
}

static void commands_do_not_wait_behind_held_acknowledgements(void **state)
{
    struct rig_node n;
    uint64_t start;

    (void)state;
    open_and_subscribe(&n);
    n.release = false;
    rig_publish(broker.port, "t/a", 0, 10, 1, false, 0);
    assert_true(rig_until(&n, rig_holding, 3000));
    start = uv_hrtime();
    for (wanted = 1; wanted <= 20; wanted++) {
        assert_int_equal(ad_mqtt_publish(n.m, "cmd/set", "{}", 2, false), 0);
        assert_true(rig_until(&n, has_published, 1000));
    }
    print_message("20 commands, each confirmed before the next: %.1f ms\n",
                  ms_since(start));
    /* Each behind a delayed ACK: 800 ms. */
    assert_true(uv_hrtime() - start < 700000000);
    assert_int_equal(ad_mqtt_status(n.m)->publish_queued, 0);
    assert_true(ad_mqtt_status(n.m)->holding);
    rig_node_done(&n);
}

static void a_full_queue_and_a_bad_topic_are_refused(void **state)
{
    struct rig_node n;
    char big[4096] = {0};
    int rv = 0;

    (void)state;
    rig_node_init(&n, broker.port);
    n.config.publish_queue_max = 10000;
    rig_node_open(&n);
    assert_int_equal(ad_mqtt_publish(n.m, "x", "1", 1, false), SY_ENOTFOUND);
    assert_true(rig_until(&n, rig_up, 3000));
    assert_int_equal(ad_mqtt_publish(n.m, "a/+", "1", 1, false), SY_EINVALID);
    for (wanted = 0; rv == 0; wanted += rv == 0) {
        rv = ad_mqtt_publish(n.m, "x", big, sizeof big, false);
    }
    assert_int_equal(rv, SY_ELIMIT);
    assert_int_equal(wanted, 2);
    assert_true(rig_until(&n, has_published, 3000));
    assert_int_equal(ad_mqtt_publish(n.m, "x", big, sizeof big, false), 0);
    rig_node_done(&n);
}

static void to_subscribe_again_brings_no_retained_messages_again(void **state)
{
    struct rig_node n;

    (void)state;
    rig_publish(broker.port, "t/kept", 1, 1, 1, true, 0);
    rig_publish(broker.port, "u/kept", 2, 1, 1, true, 0);
    open_and_subscribe(&n);
    assert_true(messages_come(&n, 1));
    assert_int_equal(n.retained, 1);
    ad_mqtt_subscribe(n.m, "t/+", 1, false);
    ad_mqtt_subscribe(n.m, "u/+", 1, false);
    assert_true(messages_come(&n, 2));
    rig_run(&n, 100);
    assert_int_equal(n.messages, 2);
    assert_string_equal(n.last_topic, "u/kept");
    /* Asked for while there is no connection: the callback comes in spite of the
     * session, so that the owner names all. */
    rig_broker_kill(&broker);
    assert_true(rig_until(&n, rig_down, 3000));
    ad_mqtt_subscribe(n.m, "v/+", 1, false);
    rig_broker_start(&broker, broker.port);
    assert_true(rig_until(&n, rig_up, 5000));
    assert_int_equal(n.subscribes, 2);
    rig_node_done(&n);
}

static bool both_subscribed(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->subscriptions == 2;
}

/* A source learns from a message that there is more to listen to. */
static void one_may_subscribe_from_within_a_message(void **state)
{
    struct rig_node n;

    (void)state;
    open_and_subscribe(&n);
    rig_publish(broker.port, "late/kept", 1, 1, 1, true, 0);
    n.resubscribe = true;
    rig_publish(broker.port, "t/a", 2, 1, 1, false, 0);
    assert_true(rig_until(&n, both_subscribed, 3000));
    assert_true(messages_come(&n, 2));
    assert_string_equal(n.last_topic, "late/kept");
    rig_node_done(&n);
}

static double cpu_ms(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static void a_refused_connection_backs_off_and_does_not_spin(void **state)
{
    struct rig_node n;
    double cpu;

    (void)state;
    rig_node_init(&n, rig_free_port());
    rig_node_open(&n);
    cpu = cpu_ms();
    rig_run(&n, 1000);
    cpu = cpu_ms() - cpu;
    print_message("refused for 1 s: %u turns of the loop, %.1f ms CPU\n", n.turns, cpu);
    assert_true(n.turns < 60);
    assert_true(cpu < 200); /* With sanitizers. */
    assert_true(rig_down(&n));
    assert_non_null(strstr(ad_mqtt_status(n.m)->error, "refused"));
    rig_node_done(&n);
}

/* A listener whose queue is full drops what knocks: a black hole without leaving
 * the loopback. */
static int black_hole(int filler[8], uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    for (int i = 0; i < 8; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(filler[i], (struct sockaddr *)&a, sizeof a);
    }
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static void a_black_hole_times_out_and_the_next_address_is_tried(void **state)
{
    struct rig_node n;
    int filler[8];
    uint16_t port;
    int fd = black_hole(filler, &port);
    uint64_t start;

    (void)state;
    rig_node_init(&n, port);
    n.config.addresses[1] = n.config.addresses[0];
    n.config.addresses[1].port = broker.port;
    n.config.addresses_n = 2;
    n.config.connect_timeout_ms = 300;
    start = uv_hrtime();
    rig_node_open(&n);
    assert_true(uv_hrtime() - start < 250000000); /* The call does not block. */
    assert_int_equal(ad_mqtt_status(n.m)->reader, AD_MQTT_CONNECTING);
    assert_true(rig_until(&n, rig_up, 3000));
    print_message("past a black hole after %.0f ms\n", ms_since(start));
    assert_true(uv_hrtime() - start >= 290000000);
    rig_node_done(&n);
    for (int i = 0; i < 8; i++) {
        close(filler[i]);
    }
    close(fd);
}

static bool gone(struct rig_node *n)
{
    return n->closed;
}

static void it_may_be_closed_from_any_callback(void **state)
{
    (void)state;
    for (int where = IN_MESSAGE; where <= IN_SUBSCRIBE; where++) {
        struct rig_node n;

        rig_node_init(&n, broker.port);
        snprintf(n.config.reader_id, sizeof n.config.reader_id, "vagt-close-%d", where);
        rig_publish(broker.port, "t/kept", 1, 1, 1, true, 0);
        n.close_in = where;
        rig_node_open(&n);
        assert_true(rig_until(&n, gone, 3000));
        rig_node_done(&n);
    }
}

static void to_connect_takes_little_time(void **state)
{
    enum { RUNS = 50 };
    double worst = 0;
    double sum = 0;

    (void)state;
    for (int i = 0; i < RUNS; i++) {
        struct rig_node n;
        uint64_t start;
        double ms;

        rig_node_init(&n, broker.port);
        start = uv_hrtime();
        rig_node_open(&n);
        assert_true(rig_until(&n, rig_up, 3000));
        ms = ms_since(start);
        sum += ms;
        worst = ms > worst ? ms : worst;
        rig_node_done(&n);
    }
    print_message("open to both links up: mean %.2f ms, worst %.2f ms of %d\n",
                  sum / RUNS, worst, RUNS);
    assert_true(sum / RUNS < 50);
}

static void a_bad_configuration_is_refused_with_a_sentence(void **state)
{
    static const struct ad_mqtt_callbacks none = {0};
    struct sy_errbuf eb;
    struct ad_mqtt *m;
    struct rig_node n;

    (void)state;
    rig_node_init(&n, 1883);
    snprintf(n.config.addresses[0].host, 64, "broker.local");
    assert_int_equal(ad_mqtt_open(&m, &n.loop, &n.log, &n.config, &none, NULL, &eb),
                     SY_EINVALID);
    assert_non_null(strstr(eb.text, "not a numeric address"));
    snprintf(n.config.addresses[0].host, 64, "::1");
    n.config.keepalive_s = 2;
    assert_int_equal(ad_mqtt_open(&m, &n.loop, &n.log, &n.config, &none, NULL, &eb),
                     SY_EINVALID);
    assert_non_null(strstr(eb.text, "keepalive"));
    n.config.keepalive_s = 10;
    memcpy(n.config.writer_id, n.config.reader_id, sizeof n.config.writer_id);
    assert_int_equal(ad_mqtt_open(&m, &n.loop, &n.log, &n.config, &none, NULL, &eb),
                     SY_EINVALID);
    rig_node_done(&n);
}

#define WITH_BROKER(test) cmocka_unit_test_setup_teardown(test, start_broker, stop_broker)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BROKER(the_first_connection_subscribes_and_the_second_need_not),
        WITH_BROKER(what_is_held_comes_again_and_what_is_released_does_not),
        WITH_BROKER(nothing_is_read_while_a_burst_is_held),
        WITH_BROKER(a_takeover_throws_the_old_one_out_for_good),
        WITH_BROKER(a_broker_that_dies_and_returns_is_found_again),
        WITH_BROKER(a_broker_that_dies_while_a_burst_is_held_waits_for_the_commit),
        WITH_BROKER(commands_do_not_wait_behind_held_acknowledgements),
        WITH_BROKER(a_full_queue_and_a_bad_topic_are_refused),
        WITH_BROKER(to_subscribe_again_brings_no_retained_messages_again),
        WITH_BROKER(one_may_subscribe_from_within_a_message),
        cmocka_unit_test(a_refused_connection_backs_off_and_does_not_spin),
        WITH_BROKER(a_black_hole_times_out_and_the_next_address_is_tried),
        WITH_BROKER(it_may_be_closed_from_any_callback),
        WITH_BROKER(to_connect_takes_little_time),
        cmocka_unit_test(a_bad_configuration_is_refused_with_a_sentence),
    };

    return cmocka_run_group_tests_name("mqtt", tests, NULL, NULL);
}
