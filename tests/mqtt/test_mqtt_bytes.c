/* What leaves on the wire, and what odd brokers do to us. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/mqtt/fake.h"

struct world
{
    struct rig_node node;
    struct rig_fake fake;
};

static struct world w;

static int setup(void **state)
{
    (void)state;
    rig_node_init(&w.node, 1);
    rig_fake_open(&w.fake, &w.node.loop);
    w.node.config.addresses[0].port = w.fake.port;
    w.fake.session = true;
    return 0;
}

static bool reader_up(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->reader == AD_MQTT_UP;
}

static bool node_closed(struct rig_node *n)
{
    return n->closed;
}

static bool reader_ended(struct rig_node *n)
{
    (void)n;
    return w.fake.reader_ended;
}

static int teardown(void **state)
{
    (void)state;
    if (w.node.m != NULL) {
        rig_node_close(&w.node);
    }
    (void)rig_until(&w.node, node_closed, 1000);
    rig_fake_close(&w.fake);
    rig_node_done(&w.node);
    return 0;
}

static bool sys_asked(struct rig_node *n)
{
    (void)n;
    return w.fake.sys_asked > 0;
}

/* What it asks for by itself is answered before the test says something. */
static void open_node(void)
{
    rig_node_open(&w.node);
    assert_true(rig_until(&w.node, rig_up, 2000));
    assert_true(rig_until(&w.node, sys_asked, 2000));
}

/* The four bytes of a property's value, or -1. */
static int64_t property(uint8_t id, unsigned bytes)
{
    const uint8_t *p = w.fake.connect + 12; /* Behind keepalive. */
    const uint8_t *end = p + 1 + *p;
    int64_t v = 0;

    for (p++; p < end;) {
        unsigned n = *p == 0x21 ? 2 : 4; /* Receive maximum is the short one. */

        if (*p == id && n == bytes) {
            for (unsigned i = 0; i < n; i++) {
                v = v << 8 | p[1 + i];
            }
            return v;
        }
        p += 1 + n;
    }
    return -1;
}

static void connect_carries_what_keeps_the_session(void **state)
{
    (void)state;
    w.node.config.session_expiry_s = 12345;
    w.node.config.receive_max = 777;
    w.node.config.keepalive_s = 7;
    open_node();
    assert_memory_equal(w.fake.connect + 2, "\0\4MQTT\5", 7);
    assert_int_equal(w.fake.connect[9] & 2, 0); /* Clean start. */
    assert_int_equal(w.fake.connect[10] << 8 | w.fake.connect[11], 7);
    assert_int_equal(property(0x11, 4), 12345);
    assert_int_equal(property(0x21, 2), 777);
    assert_int_equal(property(0x27, 4), 16 * 1024 * 1024);
}

static bool acknowledged_and_the_third_there(struct rig_node *n)
{
    return n->messages >= 3 && w.fake.reader_bytes >= 8;
}

static void acknowledgements_leave_when_released_and_only_then(void **state)
{
    static const uint8_t acks[] = {0x40, 2, 0, 1, 0x40, 2, 0, 2};

    (void)state;
    open_node();
    w.node.release = false;
    rig_fake_publish(&w.fake, 1, false, "t/a", "1");
    rig_fake_publish(&w.fake, 2, true, "t/a", "2");
    assert_true(rig_until(&w.node, rig_holding, 1000));
    assert_int_equal(w.node.messages, 2);
    assert_int_equal(w.node.dups, 1);
    /* One that comes during the commit must not be acknowledged by its flush. */
    rig_fake_publish(&w.fake, 3, false, "t/a", "3");
    rig_run(&w.node, 100);
    assert_int_equal(w.fake.reader_bytes, 0);
    ad_mqtt_release(w.node.m);
    assert_true(rig_until(&w.node, acknowledged_and_the_third_there, 2000));
    rig_run(&w.node, 20); /* Nothing more comes. */
    assert_int_equal(w.node.messages, 3);
    assert_int_equal(w.fake.reader_bytes, sizeof acks);
    assert_memory_equal(w.fake.reader_got, acks, sizeof acks);
}

static void closing_says_nothing_of_what_is_held(void **state)
{
    (void)state;
    open_node();
    w.node.release = false;
    rig_fake_publish(&w.fake, 1, false, "t/a", "1");
    assert_true(rig_until(&w.node, rig_holding, 1000));
    rig_node_close(&w.node);
    assert_true(rig_until(&w.node, reader_ended, 1000));
    assert_int_equal(w.fake.reader_bytes, 0); /* No PUBACK, no DISCONNECT. */
}

static bool taken_over(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->takeovers > 0;
}

/* The second of two acknowledgements is written to a socket that the first one
 * showed to be closed: EPIPE, and the signal that the library has us ignore. */
static void a_flush_to_a_broker_that_hung_up_costs_the_connection_only(void **state)
{
    (void)state;
    open_node();
    w.node.release = false;
    rig_fake_publish(&w.fake, 1, false, "t/a", "1");
    rig_fake_publish(&w.fake, 2, false, "t/a", "2");
    assert_true(rig_until(&w.node, rig_holding, 1000));
    assert_int_equal(w.node.messages, 2);
    rig_fake_hang_up(&w.fake);
    ad_mqtt_release(w.node.m);
    assert_true(rig_until(&w.node, rig_down, 1000));
    assert_int_equal(ad_mqtt_status(w.node.m)->takeovers, 0); /* Not asked yet. */
    assert_true(rig_until(&w.node, taken_over, 2000));        /* It lives. */
    assert_int_equal(ad_mqtt_status(w.node.m)->takeovers, 1);
}

static void a_burst_ends_at_its_limit(void **state)
{
    (void)state;
    w.node.config.burst_max = 2;
    open_node();
    w.node.release = false;
    for (uint16_t i = 1; i <= 5; i++) {
        rig_fake_publish(&w.fake, i, false, "t/a", "1");
    }
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(rig_until(&w.node, rig_holding, 1000));
        assert_int_equal(w.node.messages, i < 3 ? 2 * i : 5);
        ad_mqtt_release(w.node.m);
    }
    assert_int_equal(w.node.bursts, 3);
}

static void a_packet_in_pieces_is_one_message(void **state)
{
    static const uint8_t packet[] = {0x32, 9, 0, 3, 't', '/', 'a', 0, 9, 0, '7'};

    (void)state;
    open_node();
    for (size_t i = 0; i < sizeof packet; i++) {
        assert_int_equal(w.node.messages, 0);
        rig_fake_send(&w.fake, packet + i, 1);
        rig_run(&w.node, 5);
    }
    assert_int_equal(w.node.messages, 1);
    assert_int_equal(w.node.ids[0], 7);
}

static void a_broker_that_names_the_takeover_is_believed(void **state)
{
    static const uint8_t taken[] = {0xe0, 2, 0x8e, 0};

    (void)state;
    open_node();
    w.node.release = false;
    rig_fake_publish(&w.fake, 1, false, "t/a", "1");
    assert_true(rig_until(&w.node, rig_holding, 1000));
    /* The reason stands behind a message that was not read: nobody gets that. */
    rig_fake_publish(&w.fake, 2, false, "t/a", "2");
    rig_fake_send(&w.fake, taken, sizeof taken);
    rig_fake_hang_up(&w.fake);
    assert_true(rig_until(&w.node, rig_down, 1000));
    assert_int_equal(ad_mqtt_status(w.node.m)->takeovers, 1);
    assert_int_equal(w.node.messages, 1);
    ad_mqtt_release(w.node.m);
    rig_run(&w.node, 700);
    assert_false(reader_up(&w.node)); /* At least a second. */
    assert_true(rig_until(&w.node, reader_up, 2000));
    assert_int_equal(ad_mqtt_status(w.node.m)->acked_bursts, 0);
}

static void another_goodbye_is_no_takeover(void **state)
{
    static const uint8_t shutting_down[] = {0xe0, 2, 0x8b, 0};

    (void)state;
    open_node();
    rig_fake_send(&w.fake, shutting_down, sizeof shutting_down);
    rig_fake_hang_up(&w.fake);
    assert_true(rig_until(&w.node, rig_down, 1000));
    assert_int_equal(ad_mqtt_status(w.node.m)->takeovers, 0);
    /* 200 ms and jitter, and not the second after a takeover. */
    assert_true(rig_until(&w.node, reader_up, 900));
}

/* A child that a node starts must not hold its connections open. */
static void sockets_do_not_pass_to_children(void **state)
{
    unsigned ours = 0;

    (void)state;
    open_node();
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in a = {0};
        socklen_t len = sizeof a;

        if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 &&
            ntohs(a.sin_port) == w.fake.port) {
            assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
            ours++;
        }
    }
    assert_int_equal(ours, 2);
}

static void a_refusal_names_the_reason(void **state)
{
    (void)state;
    w.fake.connack = 0x87;
    w.fake.session = false;
    rig_node_open(&w.node);
    assert_true(rig_until(&w.node, rig_down, 1000));
    assert_non_null(strstr(ad_mqtt_status(w.node.m)->error, "ot authorized"));
    assert_non_null(strstr(ad_mqtt_status(w.node.m)->error, "password"));
}

static void a_broker_that_does_not_answer_times_out(void **state)
{
    (void)state;
    w.fake.connack = 255;
    w.node.config.connect_timeout_ms = 200;
    rig_node_open(&w.node);
    assert_true(rig_until(&w.node, rig_down, 1000));
    assert_non_null(strstr(ad_mqtt_status(w.node.m)->error, "no answer within 200 ms"));
    w.fake.connack = 0;
    assert_true(rig_until(&w.node, rig_up, 1000));
}

static bool says_why(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->error[0] != '\0';
}

static void a_refused_subscription_is_an_error_one_can_see(void **state)
{
    static const uint8_t suback[] = {0x90, 4, 0, 1, 0, 0x87};

    (void)state;
    w.fake.session = false;
    open_node();
    while (w.fake.reader_bytes == 0) {
        rig_run(&w.node, 1);
    }
    assert_int_equal(w.fake.reader_got[0], 0x82);
    rig_fake_send(&w.fake, suback, sizeof suback);
    assert_true(rig_until(&w.node, says_why, 2000));
    assert_non_null(strstr(ad_mqtt_status(w.node.m)->error, "subscription"));
    assert_true(reader_up(&w.node));
}

static void lose_the_connection(void)
{
    static const uint8_t shutting_down[] = {0xe0, 2, 0x8b, 0};

    rig_fake_send(&w.fake, shutting_down, sizeof shutting_down);
    rig_fake_hang_up(&w.fake);
    assert_true(rig_until(&w.node, rig_down, 1000));
    assert_true(rig_until(&w.node, reader_up, 2000));
}

static bool subscribed(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->subscriptions > 0;
}

/* The session that is there may be without what its broker never answered; or it is that
 * of another broker, at an address that moves, and of long ago. */
static void after_each_break_all_is_named_again(void **state)
{
    uint8_t suback[] = {0x90, 4, 0, 0, 0, 1};

    (void)state;
    open_node();
    assert_int_equal(w.node.subscribes, 0);
    lose_the_connection();
    assert_int_equal(w.node.subscribes, 1); /* Though a session is there. */
    ad_mqtt_subscribe(w.node.m, "late/+", 1, false);
    rig_run(&w.node, 20);
    lose_the_connection();
    assert_int_equal(w.node.subscribes, 2);
    while (w.fake.reader_bytes == 0) {
        rig_run(&w.node, 1);
    }
    assert_int_equal(w.fake.reader_got[0], 0x82);
    suback[2] = w.fake.reader_got[2];
    suback[3] = w.fake.reader_got[3];
    rig_fake_send(&w.fake, suback, sizeof suback);
    assert_true(rig_until(&w.node, subscribed, 2000));
    assert_int_equal(ad_mqtt_status(w.node.m)->subscriptions, 1);
    lose_the_connection();
    assert_int_equal(w.node.subscribes, 3);
}

static void nonsense_costs_the_connection_only(void **state)
{
    static const uint8_t nonsense[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    (void)state;
    open_node();
    rig_fake_send(&w.fake, nonsense, sizeof nonsense);
    assert_true(rig_until(&w.node, rig_down, 1000));
    assert_true(rig_until(&w.node, reader_up, 2000));
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(connect_carries_what_keeps_the_session),
        T(acknowledgements_leave_when_released_and_only_then),
        T(closing_says_nothing_of_what_is_held),
        T(a_flush_to_a_broker_that_hung_up_costs_the_connection_only),
        T(a_burst_ends_at_its_limit),
        T(a_packet_in_pieces_is_one_message),
        T(a_broker_that_names_the_takeover_is_believed),
        T(another_goodbye_is_no_takeover),
        T(sockets_do_not_pass_to_children),
        T(a_refusal_names_the_reason),
        T(a_broker_that_does_not_answer_times_out),
        T(a_refused_subscription_is_an_error_one_can_see),
        T(after_each_break_all_is_named_again),
        T(nonsense_costs_the_connection_only),
    };

    signal(SIGPIPE, SIG_DFL); /* Whatever we were started with. */
    return cmocka_run_group_tests_name("mqtt_bytes", tests, NULL, NULL);
}
