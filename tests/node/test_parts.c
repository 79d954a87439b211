/* What brokers and bridges are to the keeper, and what must be so before they start. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "node/parts.h"

static const char *no_env(const char *name)
{
    (void)name;
    return NULL;
}

static struct nd_config *site(void)
{
    struct nd_config *c = sy_calloc(1, sizeof *c);
    struct sy_errbuf eb = {{0}};

    if (nd_config_load(
            c, "parts",
            "cluster: test\nnode: a\ndata_dir: /v\n"
            "nodes: [{id: 7, name: a, peer: \"127.0.0.1:1\"}]\n"
            "brokers: [{name: main, addresses: [\"192.0.2.10:1883\"], plaintext: true}]\n"
            "areas:\n"
            "- {name: one, base_topic: a, coordinator: \"tcp://192.0.2.1:6638\", "
            "bridge: {data_dir: /z/a, command: [/usr/bin/node, /opt/z/index.js]}}\n"
            "- {name: two, base_topic: b, coordinator: \"tcp://192.0.2.2:80\", "
            "bridge: {data_dir: /z/b, serial: \"tcp://[2001:db8::1]:6638\", "
            "systemd: {unit: z@b.service}}}\n"
            "- {name: three, base_topic: c, bridge: {data_dir: /z/c, docker: "
            "{container: z2m-c}}}\n"
            "- {name: four, base_topic: d, bridge: {data_dir: /z/d, exec: {script: "
            "/s}}}\n"
            "- {name: five, base_topic: e, bridge: {data_dir: /z/e}}\n"
            "- {name: six, base_topic: f}\n"
            "resources:\n"
            "- {name: broker, mosquitto: {listen: [\"127.0.0.1:1883\"], data_dir: /b}, "
            "stop_timeout: 3s}\n",
            no_env, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    return c;
}

static void unload(struct nd_config *c)
{
    nd_config_free(c);
    sy_free(c);
}

static void a_bridge_is_run_as_its_area_says(void **state)
{
    static const struct
    {
        enum ad_resource_kind kind;
        const char *first;
    } expected[] = {{AD_RES_COMMAND, "/usr/bin/node"},
                    {AD_RES_SYSTEMD, "z@b.service"},
                    {AD_RES_DOCKER, "z2m-c"},
                    {AD_RES_EXEC, "/s"}};
    struct nd_config *c = site();
    struct ad_resource r;

    (void)state;
    for (unsigned i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(nd_bridge_is_ours(&c->areas[i]));
        nd_bridge_part(&c->areas[i], &r);
        assert_int_equal(r.kind, expected[i].kind);
        assert_string_equal(r.args[0], expected[i].first);
        assert_int_equal(r.args_n, i == 0 ? 2 : 1);
        assert_false(r.spec.local); /* An area never moves the site. */
    }
    assert_false(nd_bridge_is_ours(&c->areas[4])); /* Looked at, run by others. */
    assert_false(nd_bridge_is_ours(&c->areas[5]));
    nd_bridge_part(&c->areas[0], &r);
    assert_string_equal(r.name, "bridge-one");
    assert_string_equal(r.args[1], "/opt/z/index.js");
    assert_string_equal(r.env[0], "ZIGBEE2MQTT_DATA=/z/a");
    assert_string_equal(r.env[1], "Z2M_ONBOARD_NO_SERVER=1");
    unload(c);
}

static void its_seat_is_at_the_serial_port(void **state)
{
    struct nd_config *c = site();
    struct nd_gate_config g;
    struct nd_bridge b;

    (void)state;
    nd_bridge_gate(c, 0, &b, &g);
    assert_string_equal(g.seat.host, "192.0.2.1");
    assert_int_equal(g.seat.port, 6638);
    assert_string_equal(g.bridge->dir, "/z/a");
    nd_bridge_gate(c, 1, &b, &g);
    assert_string_equal(g.seat.host, "2001:db8::1");
    assert_int_equal(g.seat.port, 6638);
    nd_bridge_gate(c, 2, &b, &g);
    assert_string_equal(g.seat.host, ""); /* Not known: not looked at. */
    unload(c);
}

static void a_broker_gets_the_file_that_is_written_for_it(void **state)
{
    struct nd_config *c = site();
    struct nd_gate_config g;
    struct ad_resource r = {.args_n = 0};

    (void)state;
    nd_mosquitto_part(c, &c->resources[0], &r);
    nd_mosquitto_gate(c, &c->resources[0], &g);
    assert_int_equal(r.kind, AD_RES_COMMAND);
    assert_string_equal(r.args[0], "/usr/sbin/mosquitto");
    assert_string_equal(r.args[1], "-c");
    assert_string_equal(r.args[2], g.conf);
    assert_string_equal(g.conf, "/v/broker.conf");
    assert_ptr_equal(g.broker, &c->resources[0].mosquitto);
    unload(c);
}

static void a_bridge_that_is_offline_for_long_ails(void **state)
{
    (void)state;
    assert_null(nd_bridge_ails(80000, 80000)); /* It may still be starting. */
    assert_null(nd_bridge_ails(600000, 59000));
    assert_non_null(nd_bridge_ails(600000, 60000));
}

static void bridges_start_one_after_the_other(void **state)
{
    (void)state;
    assert_int_equal(nd_bridge_turn_ms(6, 2), 500);
    assert_int_equal(nd_bridge_turn_ms(6, 4), 250);
    assert_int_equal(nd_bridge_turn_ms(6, 1), 500); /* Within 3 s in any case. */
    assert_int_equal(nd_bridge_turn_ms(60, 2), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bridge_is_run_as_its_area_says),
        cmocka_unit_test(its_seat_is_at_the_serial_port),
        cmocka_unit_test(a_bridge_that_is_offline_for_long_ails),
        cmocka_unit_test(bridges_start_one_after_the_other),
        cmocka_unit_test(a_broker_gets_the_file_that_is_written_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
