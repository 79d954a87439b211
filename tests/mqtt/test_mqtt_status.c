/* The last will and the retained status, as others at the broker see them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/mqtt/fake.h"

enum { DELAY_S = 2 };

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

/* --- who sees it --- */

static bool subscribed(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->subscriptions > 0;
}

static const char *wanted;

static bool sees(struct rig_node *n)
{
    return strcmp(n->last, wanted) == 0;
}

static void open_watcher(struct rig_node *w, const char *id)
{
    rig_node_init(w, broker.port);
    snprintf(w->config.reader_id, sizeof w->config.reader_id, "%s-in", id);
    snprintf(w->config.writer_id, sizeof w->config.writer_id, "%s-out", id);
    rig_node_open(w);
    assert_true(rig_until(w, subscribed, 3000));
}

/* What somebody finds who comes now. */
static void assert_retained(const char *payload)
{
    static unsigned nr;
    struct rig_node w;
    char id[24];

    snprintf(id, sizeof id, "passer-by-%u", nr++);
    open_watcher(&w, id);
    wanted = payload;
    assert_true(rig_until(&w, sees, 3000));
    assert_int_equal(w.retained, 1);
    rig_node_done(&w);
}

/* --- who tells --- */

static bool writer_up(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->writer == AD_MQTT_UP;
}

static bool writer_down(struct rig_node *n)
{
    return !writer_up(n);
}

static void with_status(struct rig_node *n)
{
    snprintf(n->config.status_topic, sizeof n->config.status_topic, "t/status");
    snprintf(n->config.will, sizeof n->config.will, "offline");
    n->config.will_delay_s = DELAY_S;
}

static void tell(struct rig_node *n, const char *text)
{
    ad_mqtt_tell(n->m, text, strlen(text));
}

/* --- tests --- */

/* With all it had saved; the next one is there before anybody looks. */
static void lose_the_broker(struct rig_node *n)
{
    rig_broker_kill(&broker);
    assert_true(rig_until(n, writer_down, 3000));
    rig_broker_forget(&broker);
    rig_broker_start(&broker, broker.port);
}

static void the_status_is_retained_and_told_after_each_reconnect(void **state)
{
    struct rig_node n;

    (void)state;
    rig_node_init(&n, broker.port);
    with_status(&n);
    rig_node_open(&n);
    tell(&n, "zero"); /* There is no connection yet. */
    tell(&n, "one");
    wanted = "one";
    assert_true(rig_until(&n, sees, 3000));
    assert_retained("one");
    lose_the_broker(&n);
    n.last[0] = '\0';
    assert_true(rig_until(&n, sees, 5000));
    assert_retained("one");
    lose_the_broker(&n);
    tell(&n, "two");
    wanted = "two";
    assert_true(rig_until(&n, sees, 5000));
    assert_retained("two");
    /* It is no command, and its fate is not counted as one's. */
    assert_int_equal(ad_mqtt_status(n.m)->published, 0);
    assert_int_equal(ad_mqtt_status(n.m)->publish_failed, 0);
    assert_false(ad_mqtt_status(n.m)->status_refused);
    rig_node_done(&n);
}

/* Throws out one that lives, and comes a second after one that fell. */
static void a_relief_shows_nobody_an_offline(void **state)
{
    struct rig_node w;
    struct rig_node a;
    struct rig_node b;
    struct rig_node c;

    (void)state;
    open_watcher(&w, "watcher");
    rig_node_init_on(&a, &w, broker.port);
    with_status(&a);
    rig_node_open(&a);
    tell(&a, "online a");
    wanted = "online a";
    assert_true(rig_until(&w, sees, 3000));

    rig_node_init_on(&b, &w, broker.port);
    with_status(&b);
    rig_node_open(&b);
    tell(&b, "online b");
    wanted = "online b";
    assert_true(rig_until(&w, sees, 3000));
    rig_node_close(&a);

    rig_node_close(&b); /* Shuts the socket, says nothing: to the broker a kill -9. */
    rig_run(&w, 1000);
    rig_node_init_on(&c, &w, broker.port);
    with_status(&c);
    rig_node_open(&c);
    tell(&c, "online c");
    rig_run(&w, (DELAY_S + 3) * 1000);
    assert_string_equal(w.last, "online c");
    assert_int_equal(w.messages, 3);
    rig_node_close(&c);
    rig_node_done(&w);
}

static bool never(struct rig_node *n)
{
    (void)n;
    return false;
}

static pid_t spawn_teller(void)
{
    static struct rig_node n;
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        rig_node_init(&n, broker.port);
        with_status(&n);
        rig_node_open(&n);
        tell(&n, "online");
        (void)rig_until(&n, never, 60000); /* Until it is killed. */
        _exit(1);
    }
    return pid;
}

static void who_is_killed_without_a_successor_is_offline_after_the_delay(void **state)
{
    struct rig_node w;
    pid_t pid;
    uint64_t start;
    double ms;

    (void)state;
    pid = spawn_teller(); /* Before this process has a loop. */
    open_watcher(&w, "watcher");
    wanted = "online";
    assert_true(rig_until(&w, sees, 5000));
    kill(pid, SIGKILL);
    start = uv_hrtime();
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    wanted = "offline";
    assert_true(rig_until(&w, sees, (DELAY_S + 4) * 1000));
    ms = ms_since(start);
    print_message("offline %.1f s after the kill, with a delay of %d s\n", ms / 1e3,
                  DELAY_S);
    assert_true(ms >= (DELAY_S - 1) * 1e3); /* The broker counts whole seconds. */
    assert_retained("offline");
    assert_int_equal(w.messages, 2);
    rig_node_done(&w);
}

static bool has_published(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->published >= 2;
}

static void a_status_takes_no_room_of_commands(void **state)
{
    char big[4096] = {0};
    char text[900];
    struct rig_node w;
    struct rig_node n;

    (void)state;
    open_watcher(&w, "watcher");
    rig_node_init_on(&n, &w, broker.port);
    with_status(&n);
    n.config.publish_queue_max = 10000;
    rig_node_open(&n);
    while (!rig_up(&n)) {
        rig_run(&w, 1);
    }
    memset(text, ' ', sizeof text);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(text, sizeof text, "%u", i);
        ad_mqtt_tell(n.m, text, sizeof text);
    }
    assert_int_equal(ad_mqtt_status(n.m)->publish_queued, 0);
    assert_int_equal(ad_mqtt_publish(n.m, "x", big, sizeof big, false), 0);
    assert_int_equal(ad_mqtt_publish(n.m, "x", big, sizeof big, false), 0);
    assert_int_equal(ad_mqtt_publish(n.m, "x", big, sizeof big, false), SY_ELIMIT);
    tell(&n, "last"); /* And a full queue does not keep it back. */
    wanted = "last";
    assert_true(rig_until(&w, sees, 3000));
    assert_true(w.messages <= 3); /* Those between the first and the last are old. */
    while (!has_published(&n)) {
        rig_run(&w, 1);
    }
    assert_int_equal(ad_mqtt_status(n.m)->publish_queued, 0);
    rig_node_close(&n);
    rig_node_done(&w);
}

static bool status_refused(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->status_refused;
}

#define ACL "topic readwrite t/#\ntopic readwrite x\ntopic deny t/status\n"

static void a_broker_that_takes_no_status_still_gets_commands(void **state)
{
    static const struct
    {
        const char *extra, *acl;
    } cases[] = {
        /* With no limit to what is queued, which the rig has, it closes. */
        {"max_queued_messages 1000\n", ACL},
        {NULL, ACL},
        {"retain_available false\n", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig_node n;

        memset(&broker, 0, sizeof broker);
        broker.extra = cases[i].extra;
        broker.acl = cases[i].acl;
        rig_broker_start(&broker, 0);
        rig_node_init(&n, broker.port);
        with_status(&n);
        rig_node_open(&n);
        tell(&n, "online");
        assert_true(rig_until(&n, status_refused, 3000));
        rig_run(&n, 100);
        assert_true(rig_until(&n, rig_up, 3000));
        tell(&n, "online");
        rig_run(&n, 100);
        assert_true(rig_up(&n));
        assert_int_equal(ad_mqtt_publish(n.m, "x", "1", 1, false), 0);
        assert_int_equal(ad_mqtt_publish(n.m, "x", "1", 1, false), 0);
        assert_true(rig_until(&n, has_published, 3000));
        assert_int_equal(ad_mqtt_status(n.m)->publish_failed, 0);
        assert_string_equal(ad_mqtt_status(n.m)->error, "");
        rig_node_done(&n);
        rig_broker_remove(&broker);
    }
}

/* --- in bytes --- */

static struct rig_node fake_node;
static struct rig_fake fake;

static int start_fake(void **state)
{
    (void)state;
    rig_node_init(&fake_node, 1);
    rig_fake_open(&fake, &fake_node.loop);
    fake_node.config.addresses[0].port = fake.port;
    fake.session = true;
    return 0;
}

static bool node_closed(struct rig_node *n)
{
    return n->closed;
}

static int stop_fake(void **state)
{
    (void)state;
    if (fake_node.m != NULL) {
        rig_node_close(&fake_node);
    }
    (void)rig_until(&fake_node, node_closed, 1000);
    rig_fake_close(&fake);
    rig_node_done(&fake_node);
    return 0;
}

static bool fake_has(const char *bytes, size_t n)
{
    return memmem(fake.writer_connect, fake.writer_connect_n, bytes, n) != NULL;
}

static void the_connect_of_the_writer_carries_the_will(void **state)
{
    (void)state;
    with_status(&fake_node);
    fake_node.config.will_delay_s = 10;
    rig_node_open(&fake_node);
    assert_true(rig_until(&fake_node, rig_up, 2000));
    /* Will, QoS 1, retained; clean start off. */
    assert_int_equal(fake.writer_connect[9], 0x04 | 0x08 | 0x20);
    assert_true(fake_has("\x11\0\0\0\x46", 5)); /* Its session ends after the will. */
    assert_true(fake_has("\5\x18\0\0\0\x0a\0\x08t/status\0\7offline", 25));
    assert_int_equal(fake.connect[9], 0); /* The reader has none. */
}

static void without_a_topic_there_is_no_will_and_nothing_is_told(void **state)
{
    (void)state;
    rig_node_open(&fake_node);
    tell(&fake_node, "x");
    assert_true(rig_until(&fake_node, rig_up, 2000));
    assert_int_equal(fake.writer_connect[9], 0);
    tell(&fake_node, "x");
    rig_run(&fake_node, 50);
    assert_int_equal(fake.connects, 2);
    assert_false(ad_mqtt_status(fake_node.m)->status_refused);
}

static void a_broker_that_refuses_the_will_is_used_without(void **state)
{
    (void)state;
    with_status(&fake_node);
    fake.will_connack = 0x87;
    rig_node_open(&fake_node);
    assert_true(rig_until(&fake_node, rig_up, 2000));
    assert_int_equal(fake.writers, 2);
    assert_int_equal(fake.writer_connect[9], 0);
    assert_true(ad_mqtt_status(fake_node.m)->status_refused);
    assert_string_equal(ad_mqtt_status(fake_node.m)->error, "");
}

/* It asked for nothing, and hears it all the same. */
static void answers_that_nobody_asked_for_mean_nothing(void **state)
{
    static const uint8_t puback[] = {0x40, 3, 0, 7, 0x87};
    static const uint8_t suback[] = {0x90, 4, 0, 7, 0, 0x87};

    (void)state;
    with_status(&fake_node);
    rig_node_open(&fake_node);
    assert_true(rig_until(&fake_node, rig_up, 2000));
    rig_fake_send_writer(&fake, puback, sizeof puback);
    rig_fake_send_writer(&fake, suback, sizeof suback);
    rig_run(&fake_node, 100);
    assert_false(ad_mqtt_status(fake_node.m)->status_refused);
    assert_string_equal(ad_mqtt_status(fake_node.m)->error, "");
}

static void a_bad_topic_is_refused_with_a_sentence(void **state)
{
    static const struct ad_mqtt_callbacks none = {0};
    struct sy_errbuf eb;
    struct ad_mqtt *m;
    struct rig_node n;

    (void)state;
    rig_node_init(&n, 1883);
    snprintf(n.config.status_topic, sizeof n.config.status_topic, "vagt/+/status");
    assert_int_equal(ad_mqtt_open(&m, &n.loop, &n.log, &n.config, &none, NULL, &eb),
                     SY_EINVALID);
    assert_non_null(strstr(eb.text, "'vagt/+/status'"));
    snprintf(n.config.status_topic, sizeof n.config.status_topic, "vagt/x/status");
    n.config.will_delay_s = 4000;
    assert_int_equal(ad_mqtt_open(&m, &n.loop, &n.log, &n.config, &none, NULL, &eb),
                     SY_EINVALID);
    assert_non_null(strstr(eb.text, "3600 s"));
    rig_node_done(&n);
}

#define WITH_BROKER(test) cmocka_unit_test_setup_teardown(test, start_broker, stop_broker)
#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, start_fake, stop_fake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BROKER(the_status_is_retained_and_told_after_each_reconnect),
        WITH_BROKER(a_relief_shows_nobody_an_offline),
        WITH_BROKER(who_is_killed_without_a_successor_is_offline_after_the_delay),
        WITH_BROKER(a_status_takes_no_room_of_commands),
        cmocka_unit_test(a_broker_that_takes_no_status_still_gets_commands),
        WITH_FAKE(the_connect_of_the_writer_carries_the_will),
        WITH_FAKE(without_a_topic_there_is_no_will_and_nothing_is_told),
        WITH_FAKE(a_broker_that_refuses_the_will_is_used_without),
        WITH_FAKE(answers_that_nobody_asked_for_mean_nothing),
        cmocka_unit_test(a_bad_topic_is_refused_with_a_sentence),
    };

    return cmocka_run_group_tests_name("mqtt_status", tests, NULL, NULL);
}
