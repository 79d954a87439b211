/* Bridges in the configuration: what is read is printed again, and what
 * configuration.yaml should say comes from what is known anyway. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "node/bridges.h"

static char dir[] = "/tmp/vagt-bridges-XXXXXX";

static const char *no_env(const char *name)
{
    (void)name;
    return NULL;
}

static struct nd_config *load(const char *text)
{
    struct nd_config *c = sy_calloc(1, sizeof *c);
    struct sy_errbuf eb = {{0}};

    if (nd_config_load(c, "bridges", text, no_env, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    return c;
}

static void unload(struct nd_config *c)
{
    nd_config_free(c);
    sy_free(c);
}

/* @role: of this node. */
static struct nd_config *site(const char *role)
{
    char text[2048];

    (void)snprintf(
        text, sizeof text,
        "cluster: test\nnode: a\n"
        "nodes:\n- {id: 7, name: a, peer: \"127.0.0.1:1\"%s}\n"
        "- {id: 8, name: b, peer: \"127.0.0.1:2\"}\n"
        "brokers: [{name: main, addresses: [\"127.0.0.1:1883\", \"[::1]:1884\"]}]\n"
        "areas:\n"
        "- {name: one, base_topic: a, coordinator: \"tcp://192.0.2.1:80\", bridge: "
        "{data_dir: %s/a, serial: \"tcp://[::1]:6638\", write_settings: true}}\n"
        "- {name: two, base_topic: b, coordinator: \"tcp://192.0.2.2:6638\", bridge: "
        "{data_dir: %s/b}}\n"
        "- {name: three, base_topic: c}\n"
        "- {name: four, base_topic: d, enabled: false, bridge: {data_dir: /z}}\n",
        role, dir, dir);
    return load(text);
}

static void what_is_printed_loads_again(void **state)
{
    struct nd_config *c = site(""), *again;
    struct sy_buf b = {0};

    (void)state;
    nd_config_print(c, &b);
    sy_buf_u8(&b, 0);
    again = load((const char *)b.p);
    assert_true(again->areas[0].bridge.write_settings && again->areas[1].has_bridge);
    assert_false(again->areas[2].has_bridge);
    assert_memory_equal(c->areas, again->areas, sizeof c->areas);
    sy_buf_free(&b);
    unload(again);
    unload(c);
}

static void what_is_wanted_is_known_already(void **state)
{
    struct nd_bridges *b = sy_calloc(1, sizeof *b);
    struct nd_config *c = site("");

    (void)state;
    nd_bridges_of(c, b);
    assert_int_equal(b->n, 2); /* Not the one that is switched off. */
    assert_string_equal(b->list[0].wanted.base_topic, "a");
    assert_string_equal(b->list[0].wanted.port, "tcp://[::1]:6638");
    assert_string_equal(b->list[1].wanted.port, "tcp://192.0.2.2:6638");
    assert_int_equal(b->list[0].wanted.servers_n, 2);
    assert_string_equal(b->list[0].wanted.servers[0], "127.0.0.1:1883");
    assert_string_equal(b->list[0].wanted.servers[1], "[::1]:1884");
    assert_string_equal(b->list[1].wanted.client_id, "test-z2m-two");
    unload(c);
    c = site(", role: witness");
    nd_bridges_of(c, b);
    assert_int_equal(b->n, 0);
    unload(c);
    sy_free(b);
}

static void write_text(const char *name, const char *text)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)mkdir(path, 0700);
    (void)snprintf(path, sizeof path, "%s/%s/configuration.yaml", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void gather(void *data, const char *text)
{
    char *all = data;

    (void)snprintf(all + strlen(all), 8192 - strlen(all), "%s\n", text);
}

static void one_client_id_twice_is_told(void **state)
{
    struct nd_bridges *b = sy_calloc(1, sizeof *b);
    struct nd_config *c = site("");
    char all[8192] = "";

    (void)state;
    write_text("a", "mqtt:\n  client_id: z2m\n");
    write_text("b", "mqtt:\n  client_id: z2m\n");
    nd_bridges_of(c, b);
    nd_bridges_look(b, true);
    assert_true(b->list[0].written);
    assert_false(b->list[1].written); /* It may not. */
    assert_int_equal(nd_bridge_tell(b, 1, gather, all), b->list[1].findings.n + 1);
    assert_non_null(strstr(all, "mqtt.client_id is that of area one, too"));
    write_text("b", "mqtt: [\n");
    nd_bridges_of(c, b);
    nd_bridges_look(b, true);
    all[0] = '\0';
    assert_int_equal(nd_bridge_tell(b, 0, gather, all), 0);
    assert_int_equal(nd_bridge_tell(b, 1, gather, all), 1);
    assert_non_null(strstr(all, "/b/configuration.yaml: line 2: not YAML"));
    unload(c);
    sy_free(b);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[100];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_loads_again),
        cmocka_unit_test(what_is_wanted_is_known_already),
        cmocka_unit_test(one_client_id_twice_is_told),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
