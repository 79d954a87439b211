/* The broker is who it says, or nothing is said to it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/mqtt/rig.h"

static char certs[64];
static char extra[1024];
static struct rig_broker broker;
static struct rig_node node;

static int make_certs(void **state)
{
    char command[512];

    (void)state;
    snprintf(certs, sizeof certs, "/tmp/vagt-mqtt-tls-XXXXXX");
    assert_non_null(mkdtemp(certs));
    snprintf(command, sizeof command, "%s %s", VAGT_CERTS, certs);
    return system(command);
}

static int remove_certs(void **state)
{
    DIR *d = opendir(certs);
    struct dirent *e;
    char path[512];

    (void)state;
    while ((e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", certs, e->d_name);
        (void)unlink(path);
    }
    closedir(d);
    return rmdir(certs);
}

/* With the certificate @name; clients need one, too, if @ask. */
static void start(const char *name, bool ask)
{
    memset(&broker, 0, sizeof broker);
    snprintf(extra, sizeof extra, "certfile %s/%s.crt\nkeyfile %s/%s.key\n", certs, name,
             certs, name);
    if (ask) {
        snprintf(extra + strlen(extra), sizeof extra - strlen(extra),
                 "cafile %s/ca.crt\nrequire_certificate true\n", certs);
    }
    broker.extra = name[0] != '\0' ? extra : NULL;
    rig_broker_start(&broker, 0);
    rig_node_init(&node, broker.port);
    node.config.tls.on = true;
    snprintf(node.config.tls.ca, sizeof node.config.tls.ca, "%s/ca.crt", certs);
}

static void done(void)
{
    rig_node_done(&node);
    rig_broker_remove(&broker);
}

static bool says_why(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->error[0] != '\0';
}

/* It is not trusted, and why is said: @part is of the sentence. */
static void refused(const char *part)
{
    rig_node_open(&node);
    assert_true(rig_until(&node, says_why, 5000));
    if (strstr(ad_mqtt_status(node.m)->error, part) == NULL) {
        fail_msg("%s", ad_mqtt_status(node.m)->error);
    }
    /* It may be about to try again. */
    assert_int_not_equal(ad_mqtt_status(node.m)->reader, AD_MQTT_UP);
    assert_int_equal(node.subscribes, 0);
    done();
}

static unsigned wanted;

static bool has_messages(struct rig_node *n)
{
    return n->messages >= wanted;
}

static bool is_subscribed(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->subscriptions > 0;
}

/* Publishes @count to ourselves, a screen at a time, and all come, once, in order. */
static void talk(unsigned count)
{
    unsigned sent = 0;

    assert_true(rig_until(&node, rig_up, 5000));
    assert_true(rig_until(&node, is_subscribed, 5000));
    wanted = count;
    while (sent < count) {
        char text[16];
        int len = snprintf(text, sizeof text, "%u", sent);

        if (ad_mqtt_publish(node.m, "t/x", text, (size_t)len, false) == 0) {
            sent++;
        } else {
            rig_run(&node, 5); /* The queue is full: let it drain. */
        }
    }
    assert_true(rig_until(&node, has_messages, 20000));
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(node.ids[i], i);
    }
}

static void messages_go_both_ways(void **state)
{
    (void)state;
    start("server", false);
    node.config.burst_max = 16;
    rig_node_open(&node);
    talk(5000);
    assert_true(node.bursts >= 5000 / 32);
    done();
}

static void what_is_held_is_not_acknowledged(void **state)
{
    (void)state;
    start("server", false);
    node.release = false;
    rig_node_open(&node);
    assert_true(rig_until(&node, rig_up, 5000));
    assert_true(rig_until(&node, is_subscribed, 5000));
    assert_int_equal(ad_mqtt_publish(node.m, "t/x", "7", 1, false), 0);
    assert_true(rig_until(&node, rig_holding, 5000));
    rig_broker_kill(&broker);
    assert_true(rig_until(&node, rig_down, 5000));
    rig_broker_start(&broker, broker.port);
    ad_mqtt_release(node.m);
    node.release = true;
    assert_true(rig_until(&node, rig_up, 10000));
    done();
}

static void a_broker_that_asks_sees_our_certificate(void **state)
{
    (void)state;
    start("server", true);
    snprintf(node.config.tls.cert, sizeof node.config.tls.cert, "%s/client.crt", certs);
    snprintf(node.config.tls.key, sizeof node.config.tls.key, "%s/client.key", certs);
    rig_node_open(&node);
    talk(10);
    done();
}

static void without_one_it_does_not_take_us(void **state)
{
    (void)state;
    start("server", true);
    refused("");
}

static void of_another_ca_it_is_not_trusted(void **state)
{
    (void)state;
    start("server", false);
    snprintf(node.config.tls.ca, sizeof node.config.tls.ca, "%s/foreign.crt", certs);
    refused("brokers[].tls.ca must have signed it");
}

static void with_another_address_it_is_not_trusted(void **state)
{
    (void)state;
    start("other", false);
    refused("it must name this address");
}

static void out_of_date_it_is_not_trusted(void **state)
{
    (void)state;
    start("old", false);
    refused("certificate is not good");
}

static void a_broker_without_tls_is_not_spoken_to(void **state)
{
    (void)state;
    start("", false);
    refused("er: "); /* reader or writer, whoever was first */
}

static void without_tls_nothing_is_said_to_one_that_has_it(void **state)
{
    (void)state;
    start("server", false);
    node.config.tls.on = false;
    refused("er: "); /* reader or writer, whoever was first */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_both_ways),
        cmocka_unit_test(what_is_held_is_not_acknowledged),
        cmocka_unit_test(a_broker_that_asks_sees_our_certificate),
        cmocka_unit_test(without_one_it_does_not_take_us),
        cmocka_unit_test(of_another_ca_it_is_not_trusted),
        cmocka_unit_test(with_another_address_it_is_not_trusted),
        cmocka_unit_test(out_of_date_it_is_not_trusted),
        cmocka_unit_test(a_broker_without_tls_is_not_spoken_to),
        cmocka_unit_test(without_tls_nothing_is_said_to_one_that_has_it),
    };

    return cmocka_run_group_tests_name("mqtt_tls", tests, make_certs, remove_certs);
}
