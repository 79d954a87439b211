/* Several addresses, brokers that forget, and what a broker throws away. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mqtt/fake.h"

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

/* --- what to wait for --- */

static unsigned wanted;

static bool has_messages(struct rig_node *n)
{
    return n->messages >= wanted;
}

static bool messages_come(struct rig_node *n, unsigned count)
{
    wanted = count;
    return rig_until(n, has_messages, 5000);
}

static bool subscribed(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->subscriptions > 0;
}

static bool has_dropped(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->broker_dropped >= wanted;
}

static bool writer_up(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->writer == AD_MQTT_UP;
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

static void add_address(struct rig_node *n, uint16_t port)
{
    n->config.addresses[n->config.addresses_n] = n->config.addresses[0];
    n->config.addresses[n->config.addresses_n++].port = port;
}

/* --- reconnecting --- */

static void a_broker_that_lost_its_memory_is_subscribed_anew(void **state)
{
    struct rig_node n;

    (void)state;
    open_and_subscribe(&n);
    rig_publish(broker.port, "t/a", 1, 1, 1, true, 0);
    assert_true(messages_come(&n, 1));
    rig_broker_kill(&broker);
    assert_true(rig_until(&n, rig_down, 3000));
    rig_broker_forget(&broker);
    rig_broker_start(&broker, broker.port);
    /* The bridges come back first, and say what they know. */
    rig_publish(broker.port, "t/a", 2, 1, 1, true, 0);
    rig_publish(broker.port, "t/b", 3, 1, 1, true, 0);
    assert_true(rig_until(&n, rig_up, 5000));
    assert_false(ad_mqtt_status(n.m)->session_present);
    assert_int_equal(n.subscribes, 2);
    assert_true(messages_come(&n, 3));
    assert_int_equal(n.retained, 2);
    rig_publish(broker.port, "t/c", 4, 1, 1, false, 0);
    assert_true(messages_come(&n, 4));
    assert_int_equal(n.ids[3], 4);
    rig_node_done(&n);
}

static void the_next_broker_of_the_list_takes_over_and_keeps_it(void **state)
{
    struct rig_broker other = {0};
    struct rig_node n;
    char first[80];

    (void)state;
    rig_broker_start(&other, 0);
    rig_node_init(&n, broker.port);
    add_address(&n, other.port);
    rig_node_open(&n);
    assert_true(rig_until(&n, rig_up, 3000));
    snprintf(first, sizeof first, "%s", ad_mqtt_status(n.m)->address);
    rig_broker_kill(&broker);
    assert_true(rig_until(&n, rig_down, 3000));
    assert_true(rig_until(&n, rig_up, 3000));
    assert_string_not_equal(ad_mqtt_status(n.m)->address, first);
    assert_int_equal(n.subscribes, 2); /* It has no session of ours. */
    assert_true(rig_until(&n, subscribed, 3000));
    rig_publish(other.port, "t/a", 7, 1, 1, false, 0);
    assert_true(messages_come(&n, 1));
    rig_broker_start(&broker, broker.port);
    rig_run(&n, 500);
    assert_true(rig_up(&n));
    assert_string_not_equal(ad_mqtt_status(n.m)->address, first);
    rig_broker_kill(&other);
    assert_true(rig_until(&n, rig_down, 3000));
    assert_true(rig_until(&n, rig_up, 3000));
    assert_string_equal(ad_mqtt_status(n.m)->address, first);
    rig_node_done(&n);
    rig_broker_remove(&other);
}

/* "retry_ms=" of the reader, in the order they come. */
struct pauses
{
    unsigned ms[16];
    unsigned n;
};

static void note_pause(void *data, enum sy_level level, const char *line, size_t len)
{
    struct pauses *p = data;
    char text[512];
    const char *at;

    (void)level;
    snprintf(text, sizeof text, "%.*s", (int)len, line);
    at = strstr(text, "retry_ms=");
    if (at != NULL && strstr(text, "link=reader") != NULL && p->n < 16) {
        p->ms[p->n++] = (unsigned)strtoul(at + 9, NULL, 10);
    }
}

static void pauses_grow_with_jitter_up_to_the_longest(void **state)
{
    static struct pauses of[2];

    (void)state;
    memset(of, 0, sizeof of);
    for (unsigned i = 0; i < 2; i++) {
        struct rig_node n;

        rig_node_init(&n, rig_free_port());
        n.log = (struct sy_log){.level = SY_NOTE, .write = note_pause, .data = &of[i]};
        n.config.backoff_max_ms = 600;
        n.config.seed = 17 + i;
        rig_node_open(&n);
        rig_run(&n, 3000);
        rig_node_done(&n);
        assert_true(of[i].n >= 5);
        assert_in_range(of[i].ms[0], 200, 250);
        assert_in_range(of[i].ms[1], 400, 500);
        for (unsigned k = 2; k < of[i].n; k++) {
            assert_in_range(of[i].ms[k], 450, 600);
        }
    }
    assert_memory_not_equal(of[0].ms, of[1].ms, 3 * sizeof of[0].ms[0]);
    print_message("pauses: %u %u %u %u %u ms\n", of[0].ms[0], of[0].ms[1], of[0].ms[2],
                  of[0].ms[3], of[0].ms[4]);
}

/* Else a command goes to a broker on which nobody listens for its answer. */
static void the_writer_is_where_the_reader_is(void **state)
{
    struct rig_node n;
    struct rig_fake one;
    struct rig_fake two;

    (void)state;
    rig_node_init(&n, 1);
    rig_fake_open(&one, &n.loop);
    rig_fake_open(&two, &n.loop);
    n.config.addresses[0].port = one.port;
    add_address(&n, two.port);
    one.session = two.session = true;
    one.reader_connack = 0x88; /* Takes the writer only. */
    rig_node_open(&n);
    assert_true(rig_until(&n, rig_up, 3000));
    rig_run(&n, 100);
    assert_true(rig_up(&n));
    assert_non_null(two.reader);
    assert_int_equal(two.writers, 1);
    assert_int_equal(one.writers, 1);
    /* Now the writer cannot stay: it does not go astray. */
    two.writer_connack = 0x88;
    rig_fake_hang_up_writer(&two);
    while (writer_up(&n)) {
        rig_run(&n, 1);
    }
    rig_run(&n, 1500);
    assert_int_equal(ad_mqtt_status(n.m)->reader, AD_MQTT_UP);
    assert_int_not_equal(ad_mqtt_status(n.m)->writer, AD_MQTT_UP);
    assert_int_equal(one.writers, 1);
    two.writer_connack = 0;
    assert_true(rig_until(&n, rig_up, 5000));
    assert_int_equal(one.writers, 1);
    rig_node_close(&n);
    rig_run(&n, 50);
    rig_fake_close(&one);
    rig_fake_close(&two);
    rig_node_done(&n);
}

/* --- retained messages, wanted again --- */

static void subscribe_afresh(struct rig_node *n)
{
    ad_mqtt_subscribe(n->m, "t/+", 1, true);
}

static void fresh_brings_retained_messages_again(void **state)
{
    struct rig_node n;

    (void)state;
    rig_publish(broker.port, "t/kept", 1, 1, 1, true, 0);
    open_and_subscribe(&n);
    assert_true(messages_come(&n, 1));
    subscribe_afresh(&n);
    assert_true(messages_come(&n, 2));
    ad_mqtt_subscribe(n.m, "t/+", 1, false);
    rig_run(&n, 100);
    assert_int_equal(n.messages, 2);
    /* Wanted while there is no connection: all that is named then is fresh. */
    ad_mqtt_pause(n.m);
    subscribe_afresh(&n);
    ad_mqtt_resume(n.m);
    assert_true(rig_until(&n, rig_up, 3000));
    assert_true(ad_mqtt_status(n.m)->session_present);
    assert_true(messages_come(&n, 3));
    assert_int_equal(n.retained, 3);
    /* And once, when the broker has answered. */
    assert_true(rig_until(&n, subscribed, 3000));
    rig_run(&n, 50); /* And our acknowledgement has left. */
    ad_mqtt_pause(n.m);
    ad_mqtt_subscribe(n.m, "t/+", 1, false);
    ad_mqtt_resume(n.m);
    assert_true(rig_until(&n, subscribed, 3000));
    rig_run(&n, 100);
    assert_int_equal(n.messages, 3);
    rig_node_done(&n);
}

/* While a burst is held the question cannot leave: the connection takes it along. */
static void fresh_is_not_forgotten_with_a_connection(void **state)
{
    struct rig_node n;

    (void)state;
    rig_publish(broker.port, "t/kept", 1, 1, 1, true, 0);
    open_and_subscribe(&n);
    assert_true(messages_come(&n, 1));
    rig_run(&n, 50);
    n.release = false;
    rig_publish(broker.port, "t/a", 2, 1, 1, false, 0);
    assert_true(rig_until(&n, rig_holding, 3000));
    subscribe_afresh(&n);
    n.release = true;
    ad_mqtt_pause(n.m);
    ad_mqtt_resume(n.m);
    assert_true(messages_come(&n, 4)); /* t/a again, and t/kept. */
    assert_int_equal(n.retained, 2);
    rig_node_done(&n);
}

/* --- what the broker drops --- */

static const char counts_each_second[] = "sys_interval 1\nmax_queued_messages 100\n";

static void what_the_broker_drops_of_our_session_is_seen(void **state)
{
    struct rig_broker b = {.extra = counts_each_second};
    struct rig_node n;
    struct rig_node late;
    uint64_t before;

    (void)state;
    rig_broker_start(&b, 0);
    rig_node_init(&n, b.port);
    rig_node_open(&n);
    assert_true(rig_until(&n, subscribed, 3000));
    rig_run(&n, 1500); /* Where its count stands is told. */
    assert_int_equal(ad_mqtt_status(n.m)->broker_dropped, 0);
    ad_mqtt_pause(n.m);
    rig_publish(b.port, "t/a", 0, 300, 1, false, 0);
    rig_run(&n, 2500); /* The broker says so, and we are not there. */
    before = uv_now(&n.loop);
    ad_mqtt_resume(n.m);
    assert_true(messages_come(&n, 100));
    wanted = 200;
    assert_true(rig_until(&n, has_dropped, 4000));
    assert_int_equal(ad_mqtt_status(n.m)->broker_dropped, 200);
    assert_int_equal(ad_mqtt_status(n.m)->broker_dropped_before, 0);
    assert_true(ad_mqtt_status(n.m)->broker_dropped_ms >= before);
    assert_int_equal(n.ids[99], 99); /* The newest are the ones that are gone. */
    /* Who looks only now knows that these are of before. */
    rig_node_init_on(&late, &n, b.port);
    snprintf(late.config.reader_id, sizeof late.config.reader_id, "late-in");
    snprintf(late.config.writer_id, sizeof late.config.writer_id, "late-out");
    rig_node_open(&late);
    rig_run(&n, 1500);
    assert_int_equal(ad_mqtt_status(late.m)->broker_dropped, 0);
    assert_int_equal(ad_mqtt_status(late.m)->broker_dropped_before, 200);
    rig_node_close(&late);
    /* Another life of the broker counts from 0; its messages are ours no more. */
    rig_broker_kill(&b);
    assert_true(rig_until(&n, rig_down, 3000));
    rig_broker_forget(&b);
    rig_broker_start(&b, b.port);
    n.subscribes = 0;
    assert_true(rig_until(&n, subscribed, 5000));
    rig_run(&n, 1500);
    ad_mqtt_pause(n.m);
    rig_publish(b.port, "t/a", 0, 130, 1, false, 0);
    ad_mqtt_resume(n.m);
    wanted = 230;
    assert_true(rig_until(&n, has_dropped, 4000));
    assert_int_equal(ad_mqtt_status(n.m)->broker_dropped, 230);
    /* Not one of its own messages was shown to the owner, or made a burst. */
    assert_true(messages_come(&n, 200));
    rig_run(&n, 100);
    assert_int_equal(n.messages, 200);
    assert_int_equal(ad_mqtt_status(n.m)->received, 200);
    rig_node_done(&n);
    rig_broker_remove(&b);
}

static void a_broker_that_keeps_its_counts_secret_costs_nothing(void **state)
{
    struct rig_broker b = {.extra = counts_each_second,
                           .acl = "topic readwrite t/#\ntopic deny $SYS/#\n"};
    struct rig_node n;

    (void)state;
    rig_broker_start(&b, 0);
    rig_node_init(&n, b.port);
    rig_node_open(&n);
    assert_true(rig_until(&n, subscribed, 3000));
    rig_run(&n, 1500);
    rig_publish(b.port, "t/a", 0, 1, 1, false, 0);
    assert_true(messages_come(&n, 1));
    assert_string_equal(ad_mqtt_status(n.m)->error, "");
    assert_int_equal(ad_mqtt_status(n.m)->subscriptions, 1);
    assert_int_equal(ad_mqtt_status(n.m)->reconnects, 0);
    rig_node_done(&n);
    rig_broker_remove(&b);
}

static const struct rig_fake *asked;

static bool sys_asked(struct rig_node *n)
{
    (void)n;
    return asked->sys_asked >= wanted;
}

static void close_with_fake(struct rig_node *n, struct rig_fake *f)
{
    rig_node_close(n);
    rig_run(n, 50);
    rig_fake_close(f);
    rig_node_done(n);
}

static void open_with_fake(struct rig_node *n, struct rig_fake *f)
{
    rig_node_init(n, 1);
    rig_fake_open(f, &n->loop);
    n->config.addresses[0].port = f->port;
    f->session = true;
    asked = f;
}

static void not_to_be_told_is_no_error(void **state)
{
    struct rig_node n;
    struct rig_fake f;

    (void)state;
    open_with_fake(&n, &f);
    f.suback_sys = 0x87;
    rig_node_open(&n);
    wanted = 1;
    assert_true(rig_until(&n, sys_asked, 3000));
    rig_run(&n, 100);
    assert_true(rig_up(&n));
    assert_string_equal(ad_mqtt_status(n.m)->error, "");
    assert_int_equal(ad_mqtt_status(n.m)->subscriptions, 0);
    close_with_fake(&n, &f);
}

static void who_hangs_up_when_asked_is_not_asked_for_ever(void **state)
{
    struct rig_node n;
    struct rig_fake f;

    (void)state;
    open_with_fake(&n, &f);
    f.suback_sys = 255;
    rig_node_open(&n);
    wanted = 2;
    assert_true(rig_until(&n, sys_asked, 5000));
    assert_true(rig_until(&n, rig_down, 1000));
    assert_true(rig_until(&n, rig_up, 5000));
    rig_run(&n, 300);
    assert_true(rig_up(&n));
    assert_int_equal(f.sys_asked, 2);
    close_with_fake(&n, &f);
}

static void a_question_of_ours_that_we_cut_off_is_asked_again(void **state)
{
    struct rig_node n;
    struct rig_fake f;

    (void)state;
    open_with_fake(&n, &f);
    f.suback_sys = 254;
    rig_node_open(&n);
    for (wanted = 1; wanted <= 4; wanted++) {
        assert_true(rig_until(&n, sys_asked, 3000));
        ad_mqtt_pause(n.m);
        ad_mqtt_resume(n.m);
    }
    assert_true(rig_until(&n, sys_asked, 3000));
    close_with_fake(&n, &f);
}

static void say_dropped(struct rig_fake *f, const char *count, bool retained)
{
    static const char topic[] = "$SYS/broker/publish/messages/dropped";
    size_t t = sizeof topic - 1;
    size_t n = strlen(count);
    uint8_t out[128];

    out[0] = retained ? 0x31 : 0x30;
    out[1] = (uint8_t)(2 + t + 1 + n);
    out[2] = 0;
    out[3] = (uint8_t)t;
    memcpy(out + 4, topic, t);
    out[4 + t] = 0;
    memcpy(out + 5 + t, count, n);
    rig_fake_send(f, out, 5 + t + n);
}

static void a_count_without_a_base_line_is_taken_as_it_is(void **state)
{
    static const struct
    {
        const char *count;
        bool retained;
        unsigned dropped, before;
    } said[] = {
        /* mosquitto 2.0.11 forgets the retained one after a minute. */
        {"7", false, 7, 0},   {"9", false, 9, 0},
        {"9", true, 9, 0},    {"3", true, 12, 0},
        {"3x", false, 12, 0}, {"99999999999999999999999", true, 12, 0},
        {"", false, 12, 0},   {"5", false, 14, 0},
    };
    struct rig_node n;
    struct rig_fake f;
    unsigned changes;

    (void)state;
    open_with_fake(&n, &f);
    rig_node_open(&n);
    wanted = 1;
    assert_true(rig_until(&n, sys_asked, 3000));
    rig_run(&n, 20);
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        unsigned had = (unsigned)ad_mqtt_status(n.m)->broker_dropped;

        changes = n.changes;
        say_dropped(&f, said[i].count, said[i].retained);
        rig_run(&n, 20);
        assert_int_equal(ad_mqtt_status(n.m)->broker_dropped, said[i].dropped);
        assert_int_equal(ad_mqtt_status(n.m)->broker_dropped_before, said[i].before);
        assert_int_equal(n.changes > changes, said[i].dropped > had);
    }
    assert_int_equal(n.messages, 0);
    close_with_fake(&n, &f);
}

#define WITH_BROKER(test) cmocka_unit_test_setup_teardown(test, start_broker, stop_broker)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BROKER(a_broker_that_lost_its_memory_is_subscribed_anew),
        WITH_BROKER(the_next_broker_of_the_list_takes_over_and_keeps_it),
        cmocka_unit_test(pauses_grow_with_jitter_up_to_the_longest),
        cmocka_unit_test(the_writer_is_where_the_reader_is),
        WITH_BROKER(fresh_brings_retained_messages_again),
        WITH_BROKER(fresh_is_not_forgotten_with_a_connection),
        cmocka_unit_test(what_the_broker_drops_of_our_session_is_seen),
        cmocka_unit_test(a_broker_that_keeps_its_counts_secret_costs_nothing),
        cmocka_unit_test(not_to_be_told_is_no_error),
        cmocka_unit_test(who_hangs_up_when_asked_is_not_asked_for_ever),
        cmocka_unit_test(a_question_of_ours_that_we_cut_off_is_asked_again),
        cmocka_unit_test(a_count_without_a_base_line_is_taken_as_it_is),
    };

    return cmocka_run_group_tests_name("mqtt_brokers", tests, NULL, NULL);
}
