/* configuration.yaml: what is found in it, and that an edit changes that and nothing
 * else, not a comment. */

#include <errno.h>
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

#include "adapters/bridge/mend.h"
#include "adapters/bridge/settings.h"

static const struct ad_bridge_wanted wanted = {
    .base_topic = "zigbee2mqtt/a1",
    .servers = {"192.0.2.10:1883", "[2001:db8::1]:1883"},
    .servers_n = 2,
    .client_id = "campsite-z2m-area1",
    .port = "tcp://192.0.2.21:6638",
};

/* As Zigbee2MQTT itself writes it. */
static const char good[] =
    "version: 5\n"
    "mqtt:\n"
    "  base_topic: zigbee2mqtt/a1\n"
    "  server: mqtt://192.0.2.10:1883\n"
    "  client_id: anything\n"
    "  password: '!secret.yaml password'\n"
    "serial:\n"
    "  port: tcp://192.0.2.21:6638\n"
    "availability:\n"
    "  enabled: true\n"
    "  active:\n"
    "    timeout: 10\n"
    "    pause_on_backoff_gt: 15\n"
    "advanced:\n"
    "  last_seen: ISO_8601\n"
    "  log_level: warning\n"
    "  network_key: [1, 3, 5]\n"
    "device_options:\n"
    "  qos: 1\n"
    "  retain: true\n"
    "devices:\n"
    "  '0xa4c1380000000001':\n"
    "    friendly_name: 'æble'\n";

static struct ad_bridge_findings look(const char *text)
{
    struct ad_bridge_findings f;
    struct sy_errbuf eb = {.text = ""};

    if (ad_bridge_settings_check(text, strlen(text), &wanted, &f, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    return f;
}

static const struct ad_bridge_finding *finding(const struct ad_bridge_findings *f,
                                               const char *path)
{
    for (unsigned i = 0; i < f->n; i++) {
        if (strcmp(f->list[i].path, path) == 0) {
            return &f->list[i];
        }
    }
    return NULL;
}

static char *with(const char *from, const char *to)
{
    const char *at = strstr(good, from);
    char *text = malloc(sizeof good + strlen(to));

    assert_non_null(at);
    (void)snprintf(text, sizeof good + strlen(to), "%.*s%s%s", (int)(at - good), good, to,
                   at + strlen(from));
    return text;
}

static void what_is_right_is_not_told(void **state)
{
    struct ad_bridge_findings f = look(good);

    (void)state;
    assert_int_equal(f.n, 0);
    assert_string_equal(f.client_id, "anything");
}

static void each_wrong_setting_is_told_with_its_line(void **state)
{
    static const struct
    {
        const char *from, *to, *path;
        unsigned line;
    } cases[] = {
        {"zigbee2mqtt/a1", "zigbee2mqtt", "mqtt.base_topic", 3},
        {"  base_topic: zigbee2mqtt/a1\n", "", "mqtt.base_topic", 0},
        {"mqtt://192.0.2.10:1883", "mqtt://localhost:1883", "mqtt.server", 4},
        {"mqtt://192.0.2.10:1883", "mqtts://192.0.2.10:1883", "mqtt.server", 4},
        {"mqtt://192.0.2.10:1883", "mqtt://192.0.2.1", "mqtt.server", 4},
        {"  client_id: anything\n", "", "mqtt.client_id", 0},
        {"tcp://192.0.2.21", "tcp://192.0.2.22", "serial.port", 8},
        {"  qos: 1\n", "", "device_options.qos", 0},
        {"  qos: 1\n", "  qos: 0\n", "device_options.qos", 19},
        {"  retain: true\n", "  retain: false\n", "device_options.retain", 20},
        {"ISO_8601", "disable", "advanced.last_seen", 15},
        {"warning", "info", "advanced.log_level", 16},
        {"enabled: true", "enabled: false", "availability.enabled", 10},
        {"gt: 15", "gt: 0", "availability.active.pause_on_backoff_gt", 13},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = with(cases[i].from, cases[i].to);
        struct ad_bridge_findings f = look(text);

        if (f.n != 1 || finding(&f, cases[i].path) == NULL ||
            f.list[0].line != cases[i].line) {
            fail_msg("%s: %u findings, %s in line %u", cases[i].path, f.n,
                     f.n > 0 ? f.list[0].path : "-", f.list[0].line);
        }
        free(text);
    }
}

static void as_good_is_good(void **state)
{
    static const char *const cases[][2] = {
        {"mqtt://192.0.2.10:1883", "mqtt://192.0.2.10"},
        {"mqtt://192.0.2.10:1883", "mqtt://192.0.2.10:1883/"},
        {"mqtt://192.0.2.10:1883", "'mqtt://[2001:db8::1]:1883'"},
        {"mqtt://192.0.2.10:1883", "'!secret.yaml server'"},
        {"qos: 1", "qos: 2"},
        {"ISO_8601", "epoch"},
        {"warning", "error"},
        {"gt: 15", "gt: 3"},
        {"    timeout: 10\n", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = with(cases[i][0], cases[i][1]);
        struct ad_bridge_findings f = look(text);

        if (f.n != 0) {
            fail_msg("%s: %s", cases[i][1], f.list[0].path);
        }
        free(text);
    }
}

static void a_finding_says_the_mend(void **state)
{
    char *text = with("mqtt://192.0.2.10:1883", "mqtt://localhost:1883");
    struct ad_bridge_findings f = look(text);
    char said[400];

    (void)state;
    ad_bridge_finding_text(&f.list[0], said, sizeof said);
    assert_string_equal(
        said,
        "line 4: mqtt.server is 'mqtt://localhost:1883': it would not find the "
        "broker, or find another one, on the host that relieves; set it to "
        "mqtt://192.0.2.10:1883");
    free(text);
}

static void what_is_told_can_be_shown(void **state)
{
    char text[512], said[600];
    struct ad_bridge_findings f;

    (void)state;
    (void)snprintf(text, sizeof text, "mqtt: {server: \"\\e[2J%*sæ\"}\n", 154, "");
    f = look(text);
    assert_non_null(finding(&f, "mqtt.server"));
    ad_bridge_finding_text(finding(&f, "mqtt.server"), said, sizeof said);
    assert_null(strchr(said, '\033'));
    assert_int_equal(strlen(finding(&f, "mqtt.server")->is), AD_BRIDGE_VALUE_SIZE - 2);
}

static void what_is_no_yaml_is_refused_with_its_line(void **state)
{
    static const char *const cases[] = {
        "mqtt:\n  a: [1, 2\nb: c\n", "",         "- a\n- b\n", "a: b\n---\nc: d\n",
        "\xEF\xBB\xBF# a\nc: d\n",   "a: \xff\n"};
    struct ad_bridge_findings f;
    struct sy_errbuf eb;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eb.text[0] = '\0';
        assert_int_equal(
            ad_bridge_settings_check(cases[i], strlen(cases[i]), &wanted, &f, &eb),
            SY_EINVALID);
        assert_string_not_equal(eb.text, "");
    }
}

static void what_is_deep_or_refers_to_itself_is_refused(void **state)
{
    char text[4096];
    struct ad_bridge_findings f;
    struct sy_buf out = {0};

    (void)state;
    memset(text, '[', sizeof text);
    assert_int_equal(ad_bridge_settings_check(text, sizeof text, &wanted, &f, NULL),
                     SY_EINVALID);
    /* An alias inside of what it names would be a circle. */
    (void)snprintf(text, sizeof text, "a: &x\n  b: *x\n");
    assert_int_equal(ad_bridge_mend(text, strlen(text), "c.d", "e", &out, NULL),
                     SY_EINVALID);
}

/* --- edits --- */

static void mended(const char *text, const char *expected)
{
    struct sy_buf out = {0};
    struct sy_errbuf eb = {.text = ""};

    if (ad_bridge_settings_mend(text, strlen(text), &wanted, &out, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    sy_buf_u8(&out, 0);
    assert_string_equal((const char *)out.p, expected);
    sy_buf_free(&out);
}

static void an_edit_changes_its_line_only(void **state)
{
    static const char from[] =
        "# our bridge, æøå\n"
        "mqtt: # of the site\n"
        "    # the broker\n"
        "    server: \"mqtt://localhost\" # not for long\n"
        "    base_topic: zigbee2mqtt/a1\n"
        "serial: {port: tcp://192.0.2.21:6638}\n"
        "\n"
        "availability:\n"
        "device_options: {}\n"
        "advanced: {log_level: 'info', channel: 11}\n"
        "# the end";
    static const char to[] =
        "# our bridge, æøå\n"
        "mqtt: # of the site\n"
        "    # the broker\n"
        "    client_id: campsite-z2m-area1\n"
        "    server: mqtt://192.0.2.10:1883 # not for long\n"
        "    base_topic: zigbee2mqtt/a1\n"
        "serial: {port: tcp://192.0.2.21:6638}\n"
        "\n"
        "availability:\n"
        "  active:\n"
        "    pause_on_backoff_gt: 15\n"
        "    timeout: 10\n"
        "  enabled: true\n"
        "device_options: {retain: true, qos: 1}\n"
        "advanced: {last_seen: ISO_8601, log_level: warning, "
        "channel: 11}\n"
        "# the end";

    (void)state;
    mended(from, to);
    mended(to, to);
}

static void sections_that_are_missing_come_at_the_end(void **state)
{
    (void)state;
    mended(
        "mqtt:\n  base_topic: zigbee2mqtt/a1\n  server: mqtt://192.0.2.10\n"
        "  client_id: x\nserial:\n  port: tcp://192.0.2.21:6638\n"
        "device_options:\n  qos: 1\n  retain: true",
        "mqtt:\n  base_topic: zigbee2mqtt/a1\n  server: mqtt://192.0.2.10\n"
        "  client_id: x\nserial:\n  port: tcp://192.0.2.21:6638\n"
        "device_options:\n  qos: 1\n  retain: true\n"
        "advanced:\n  log_level: warning\n  last_seen: ISO_8601\n"
        "availability:\n  active:\n    pause_on_backoff_gt: 15\n    timeout: 10\n"
        "  enabled: true\n");
}

static void what_would_change_more_is_refused(void **state)
{
    static const char *const cases[] = {
        "mqtt: &m\n  client_id: x\nother: *m\n", /* Two at once. */
        "mqtt: ~\n",                             /* No room for a line. */
        "mqtt: true\n",
        "mqtt:\n  server: [a, b]\n",
        "mqtt:\n  client_id: x\n...\n", /* A section behind the end. */
    };
    struct sy_errbuf eb;
    struct sy_buf out = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(
            ad_bridge_settings_mend(cases[i], strlen(cases[i]), &wanted, &out, &eb),
            SY_EINVALID);
        assert_non_null(strstr(eb.text, "by hand"));
        assert_int_equal(out.len, 0);
    }
}

static void a_value_is_quoted_where_it_must_be(void **state)
{
    static const char *const values[] = {"plain", "a'b", "[::1]:80", "#x", "",
                                         "a: b",  "-",   "x:",       "*a", "æ"};
    struct sy_buf out = {0};

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct sy_errbuf eb = {.text = ""};

        if (ad_bridge_mend("a:\n  b: c\n", 10, "a.b", values[i], &out, &eb) != 0) {
            fail_msg("%s", eb.text);
        }
        sy_buf_free(&out);
    }
}

/* --- the file --- */

static void the_file_keeps_its_mode_and_is_left_when_it_is_right(void **state)
{
    char dir[] = "/tmp/vagt-bridge-XXXXXX", path[64], beside[80];
    struct ad_bridge_findings f;
    struct sy_errbuf eb;
    struct stat st, again;
    char *text = with("qos: 1", "qos: 0");
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/configuration.yaml", dir);
    (void)snprintf(beside, sizeof beside, "%s.vagt", path);
    file = fopen(path, "w");
    assert_true(fputs(text, file) >= 0);
    (void)fclose(file);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(ad_bridge_settings_write(dir, &wanted, &f, &eb), 0);
    assert_int_equal(f.n, 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(ad_bridge_settings_write(dir, &wanted, &f, &eb), 0);
    assert_int_equal(f.n, 0);
    assert_int_equal(stat(path, &again), 0);
    assert_true(st.st_ino == again.st_ino);
    assert_int_equal(access(beside, F_OK), -1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ad_bridge_settings_look(dir, &wanted, &f, &eb), -ENOENT);
    assert_non_null(strstr(eb.text, path));
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_true(ad_bridge_settings_write(dir, &wanted, &f, &eb) < 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_right_is_not_told),
        cmocka_unit_test(each_wrong_setting_is_told_with_its_line),
        cmocka_unit_test(as_good_is_good),
        cmocka_unit_test(a_finding_says_the_mend),
        cmocka_unit_test(what_is_told_can_be_shown),
        cmocka_unit_test(what_is_no_yaml_is_refused_with_its_line),
        cmocka_unit_test(what_is_deep_or_refers_to_itself_is_refused),
        cmocka_unit_test(an_edit_changes_its_line_only),
        cmocka_unit_test(sections_that_are_missing_come_at_the_end),
        cmocka_unit_test(what_would_change_more_is_refused),
        cmocka_unit_test(a_value_is_quoted_where_it_must_be),
        cmocka_unit_test(the_file_keeps_its_mode_and_is_left_when_it_is_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
