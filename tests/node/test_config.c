/* The configuration: bad ones give exactly their sentence (config_cases.txt), good
 * ones load, and what is printed loads again. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "node/config_schema.h"
#include "tests/node/source.h"

static const char *credentials; /* $CREDENTIALS_DIRECTORY of the test */

static const char *fake_env(const char *name)
{
    static const char *const env[][2] = {
        {"PW", "geheim"},           {"CRLF", "geheim\r\n"},
        {"ODD", "a 'b' \\c"},       {"EMPTY", ""},
        {"LINES", "a\nb"},          {"VAGT_MQTT_PASSWORD", "mqtt"},
        {"VAGT_PG_PASSWORD", "pg"}, {"FAR", "host=localhost,db.example user=u"}};

    if (strcmp(name, "CREDENTIALS_DIRECTORY") == 0) {
        return credentials;
    }
    for (unsigned i = 0; i < sizeof env / sizeof env[0]; i++) {
        if (strcmp(name, env[i][0]) == 0) {
            return env[i][1];
        }
    }
    return NULL;
}

static const char base[] =
    "cluster: test\n"
    "node: a\n"
    "nodes: [{id: 7, name: a, peer: \"127.0.0.1:1\"},\n"
    "  {id: 2, name: b, peer: \"[::1]:2\"},\n"
    "  {id: 3, name: c, peer: \"127.0.0.1:3\"}]\n"
    "brokers:\n"
    "- {name: main, addresses: [\"127.0.0.1:1883\"]}\n"
    "areas: [{name: one, base_topic: z/1}]\n";

/* All problems of @text, one a line; empty if it loads, then into @c. */
static void problems_of(const char *text, size_t len, struct nd_config *c,
                        struct sy_buf *out)
{
    struct nd_problems ps = {.file = "t.yaml"};
    int rv = nd_config_parse(c, &ps, text, len, fake_env);

    assert_int_equal(rv, ps.n == 0 ? 0 : SY_EINVALID);
    for (unsigned i = 0; i < ps.n && i < ND_PROBLEMS_MAX; i++) {
        sy_buf_fmt(out, "%s\n", ps.list[i].text);
    }
    sy_buf_u8(out, 0);
    nd_problems_free(&ps);
}

static void expect_problem(const char *text, const char *expected)
{
    struct nd_config *c = sy_calloc(1, sizeof *c);
    struct sy_buf out = {0};

    problems_of(text, strlen(text), c, &out);
    assert_string_equal((char *)out.p, expected);
    nd_config_free(c);
    sy_free(c);
    sy_buf_free(&out);
}

/* Base and @more, loaded. */
static struct nd_config *load(const char *more)
{
    struct nd_config *c = sy_calloc(1, sizeof *c);
    struct sy_errbuf eb = {{0}};
    struct sy_buf text = {0};

    sy_buf_fmt(&text, "%s%s", base, more);
    sy_buf_u8(&text, 0);
    if (nd_config_load(c, "t.yaml", (char *)text.p, fake_env, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    sy_buf_free(&text);
    return c;
}

static void unload(struct nd_config *c)
{
    nd_config_free(c);
    sy_free(c);
}

/* --- config_cases.txt --- */

struct bad
{
    char name[128];
    struct sy_buf from, to, whole, expected;
};

static void clear(struct bad *b)
{
    sy_buf_free(&b->from);
    sy_buf_free(&b->to);
    sy_buf_free(&b->whole);
    sy_buf_free(&b->expected);
}

/* A line without its marker, \xNN made a byte. */
static void put_line(struct sy_buf *to, const char *line)
{
    const char *p = line[1] == ' ' ? line + 2 : line + 1;

    for (; *p != '\0' && *p != '\n'; p++) {
        unsigned byte;

        if (p[0] == '\\' && p[1] == 'x' && sscanf(p + 2, "%2x", &byte) == 1) {
            sy_buf_u8(to, (uint8_t)byte);
            p += 3;
        } else {
            sy_buf_u8(to, (uint8_t)*p);
        }
    }
    sy_buf_u8(to, '\n');
}

static void make_text(const struct bad *b, const char *from, struct sy_buf *out)
{
    size_t n = b->from.len > 0 ? b->from.len - 1 : 0; /* without the last newline */
    const char *at;
    char *what;

    if (b->whole.len > 0) {
        sy_buf_put(out, b->whole.p, b->whole.len);
        return;
    }
    what = strndup((const char *)b->from.p, n);
    at = strstr(from, what);
    if (at == NULL) {
        fail_msg("%s: '%s' is not in the base", b->name, what);
    }
    sy_buf_put(out, from, (size_t)(at - from));
    sy_buf_put(out, b->to.p, b->to.len > 0 ? b->to.len - 1 : 0);
    sy_buf_str(out, at + n);
    free(what);
}

static void check_bad(struct bad *b, const char *from)
{
    struct nd_config *c = sy_calloc(1, sizeof *c);
    struct sy_buf text = {0}, out = {0};

    make_text(b, from, &text);
    sy_buf_u8(&b->expected, 0);
    problems_of((char *)text.p, text.len, c, &out);
    if (strcmp((char *)out.p, (char *)b->expected.p) != 0) {
        fail_msg("%s\nexpected:\n%sgot:\n%s", b->name, b->expected.p, out.p);
    }
    nd_config_free(c);
    sy_free(c);
    sy_buf_free(&text);
    sy_buf_free(&out);
}

static void take_line(struct bad *b, const char *line)
{
    struct sy_buf *to = line[0] == '-'   ? &b->from
                        : line[0] == '+' ? &b->to
                        : line[0] == '=' ? &b->whole
                        : line[0] == '!' ? &b->expected
                                         : NULL;

    assert_true(to != NULL || line[0] == '#' || line[0] == '\0');
    if (to != NULL) {
        put_line(to, line);
    }
}

static void a_bad_file_gives_exactly_its_sentences(void **state)
{
    struct sy_buf cases = slurp("tests/node/config_cases.txt"), from = {0};
    struct bad b = {.name = ""};
    char *rest = (char *)cases.p, *line;
    unsigned n = 0;

    (void)state;
    while ((line = strsep(&rest, "\n")) != NULL || b.name[0] != '\0') {
        if (line != NULL && strncmp(line, "=== ", 4) != 0) {
            take_line(&b, line);
            continue;
        }
        if (strcmp(b.name, "base") == 0) {
            sy_buf_give(&b.whole, &from);
            sy_buf_u8(&from, 0);
        } else if (b.name[0] != '\0') {
            check_bad(&b, (const char *)from.p);
            n++;
        }
        clear(&b);
        snprintf(b.name, sizeof b.name, "%s", line != NULL ? line + 4 : "");
    }
    assert_true(n >= 136);
    expect_problem((const char *)from.p, "");
    sy_buf_free(&from);
    sy_buf_free(&cases);
}

/* --- the text as a whole --- */

static void the_error_buffer_has_the_first_problem(void **state)
{
    struct nd_config c;
    struct sy_errbuf eb;

    (void)state;
    memset(&c, 0xa5, sizeof c);
    assert_int_equal(nd_config_load(&c, "f.yaml", "x: 1\n", fake_env, &eb), SY_EINVALID);
    assert_string_equal(
        eb.text,
        "f.yaml:1:1: x: unknown key; known here: cluster, node, data_dir, log, nodes, "
        "peers, tls, control, brokers, areas, resources, files, postgres, tiebreaker, "
        "raft, wal, replication, limits, commands, backup, drill, watch (and 5 more: "
        "vagtd -n)");
    assert_int_equal(*(unsigned char *)&c, 0xa5); /* not touched */
    assert_memory_equal((char *)&c, (char *)&c + 1, sizeof c - 1);
}

/* `vagtd --bootstrap` by hand: what systemd gives the unit is not there. */
static void on_its_own_disk_nobody_needs_secrets(void **state)
{
    static const char text[] =
        "cluster: test\n"
        "node: a\n"
        "nodes: [{id: 1, name: a, peer: \"192.0.2.1:1\"},\n"
        "  {id: 2, name: b, peer: \"192.0.2.2:1\"}, {id: 3, name: c, peer: "
        "\"192.0.2.3:1\"}]\n"
        "tls: {ca: /nowhere/ca, cert: /nowhere/crt, key: {credential: node-key}}\n"
        "control: {secret_key: {credential: curve}}\n"
        "postgres: {conninfo: {env: NOT_SET}}\n"
        "brokers: [{name: main, addresses: [\"127.0.0.1:1883\"], username: u,\n"
        "  password: {credential: pw}}]\n"
        "areas: [{name: one, base_topic: z/1}]\n";
    struct nd_config *c = sy_calloc(1, sizeof *c);
    struct sy_errbuf eb = {{0}};

    (void)state;
    assert_int_equal(nd_config_load(c, "t", text, fake_env, &eb), SY_EINVALID);
    assert_int_equal(nd_config_load(c, "t", text, NULL, &eb), 0);
    assert_int_equal(c->id, 1);
    assert_null(c->postgres.conninfo);
    assert_null(c->brokers[0].password);
    assert_string_equal(c->control.secret_key, "");
    unload(c);
}

static void no_more_than_ten_problems_are_told(void **state)
{
    struct nd_config c;
    struct sy_buf text = {0};
    struct sy_errbuf eb;

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        sy_buf_fmt(&text, "x%u: 1\n", i);
    }
    sy_buf_u8(&text, 0);
    assert_int_equal(nd_config_load(&c, NULL, (char *)text.p, fake_env, &eb),
                     SY_EINVALID);
    assert_non_null(strstr(eb.text, "(and at least 10 more: vagtd -n)"));
    sy_buf_free(&text);
}

static void a_file_that_cannot_be_is_refused_quickly(void **state)
{
    enum { BIG = (1 << 20) + 1 };
    struct nd_config c;
    struct sy_buf out = {0};
    char *big = sy_alloc(BIG);

    (void)state;
    memset(big, 'x', BIG);
    problems_of(big, BIG, &c, &out);
    assert_string_equal((char *)out.p,
                        "t.yaml: is larger than 1 MiB: not a configuration of ours\n");
    out.len = 0;
    problems_of("cluster: \0", 10, &c, &out);
    assert_string_equal((char *)out.p,
                        "t.yaml:1:10: control character 0x00: this is not a text file\n");
    out.len = 0;
    memset(big, '[', BIG); /* libyaml has a limit of its own. */
    problems_of(big, 100000, &c, &out);
    assert_non_null(strstr((char *)out.p, "t.yaml:1:"));
    sy_free(big);
    sy_buf_free(&out);
}

static void anchors_and_aliases_are_fine(void **state)
{
    struct nd_config *c = load("wal: {segment: &s 4MiB}\nraft: {backlog: *s}\n");
    struct nd_config none;
    struct sy_buf bomb = {0};

    (void)state;
    assert_int_equal(c->wal.segment_size, 4 << 20);
    assert_int_equal(c->raft.backlog_max, 4 << 20);
    unload(c);
    /* A circle, and a bomb: nothing is expanded. */
    expect_problem("&a [*a]\n", "t.yaml:1:1: is a list, must be a section with keys\n");
    sy_buf_str(&bomb, "a: &a [x, x]\n");
    for (char k = 'b'; k <= 'z'; k++) {
        sy_buf_fmt(&bomb, "%c: &%c [*%c, *%c, *%c]\n", k, k, k - 1, k - 1, k - 1);
    }
    sy_buf_u8(&bomb, 0);
    assert_int_equal(
        nd_config_load(&none, "t", (char *)bomb.p, fake_env, &(struct sy_errbuf){{0}}),
        SY_EINVALID);
    bomb.len = 0;
    for (unsigned i = 0; i < 65; i++) {
        sy_buf_fmt(&bomb, "- &a%u x\n", i);
    }
    sy_buf_u8(&bomb, 0);
    expect_problem((char *)bomb.p, "t.yaml:65:3: has more than 64 anchors\n");
    sy_buf_free(&bomb);
}

/* Six instances of one site are called like this. */
static void topics_side_by_side_are_fine(void **state)
{
    static const char text[] =
        "cluster: t\nnode: a\nnodes: [{id: 1, name: a, peer: \"127.0.0.1:1\"}]\n"
        "brokers: [{name: m, addresses: [\"127.0.0.1:1883\"]},\n"
        "  {name: n, addresses: [\"127.0.0.1:1884\"]}]\n"
        "areas: [{name: 1, broker: m, base_topic: zigbee2mqtt},\n"
        "  {name: 2, broker: m, base_topic: zigbee2mqtt_area2},\n"
        "  {name: 3, broker: n, base_topic: zigbee2mqtt/3}]\n";

    (void)state;
    expect_problem(text, "");
}

static void a_file_from_windows_is_fine(void **state)
{
    struct nd_config *c;
    struct sy_buf text = {0};
    struct sy_errbuf eb = {{0}};

    (void)state;
    c = sy_calloc(1, sizeof *c);
    sy_buf_str(&text, "\xef\xbb\xbf");
    for (const char *p = base; *p != '\0'; p++) {
        sy_buf_fmt(&text, *p == '\n' ? "\r\n" : "%c", *p);
    }
    sy_buf_u8(&text, 0);
    assert_int_equal(nd_config_load(c, "t", (char *)text.p, fake_env, &eb), 0);
    unload(c);
    sy_buf_free(&text);
}

/* --- values --- */

static void what_is_left_out_has_its_default(void **state)
{
    struct nd_config *c = load("");
    struct nd_raw *raw = sy_alloc(sizeof *raw);
    struct ad_mqtt_config m;

    (void)state;
    nd_raw_default(raw);
    ad_mqtt_config_default(&m);
    assert_int_equal(c->id, 7);
    assert_int_equal(c->raft.id, 7);
    assert_string_equal(nd_config_self(c)->name, "a");
    assert_string_equal(nd_config_node(c, 2)->peer_host, "::1");
    assert_null(nd_config_node(c, 1));
    assert_string_equal(c->data_dir, "/var/lib/vagt");
    assert_int_equal(c->log_level, SY_INFO);
    assert_string_equal(c->brokers[0].reader_id, "vagt-test-in");
    assert_string_equal(c->brokers[0].writer_id, "vagt-test-out");
    assert_null(c->brokers[0].username);
    assert_null(c->brokers[0].password);
    assert_int_equal(c->brokers[0].keepalive_s, m.keepalive_s);
    assert_int_equal(c->brokers[0].publish_queue_max, m.publish_queue_max);
    assert_true(c->areas[0].enabled);
    assert_string_equal(c->areas[0].source, "zigbee2mqtt");
    assert_false(c->has_postgres);
    assert_null(c->postgres.conninfo);
    assert_string_equal(c->postgres.cluster, "test");
    assert_string_equal(c->postgres.node, "a");
    raw->c.raft.id = c->id;
    assert_memory_equal(&c->raft, &raw->c.raft, sizeof c->raft);
    assert_memory_equal(&c->limits, &raw->c.limits, sizeof c->limits);
    assert_memory_equal(&c->wal, &raw->c.wal, sizeof c->wal);
    assert_memory_equal(&c->commands, &raw->c.commands, sizeof c->commands);
    sy_free(raw);
    unload(c);
}

static void values_arrive_in_their_units(void **state)
{
    struct nd_config *c = load(
        "raft: {election: 1m, heartbeat: 10s, snapshot_size: 2GiB}\n"
        "wal: {space_min: 1GiB}\n"
        "watch: {drain_timeout: 1500ms}\n"
        "log: {level: warning}\n"
        "control: {listen: [], send_queue: 5}\n");

    (void)state;
    assert_int_equal(c->raft.election_ms, 60000);
    assert_int_equal(c->raft.heartbeat_ms, 10000);
    assert_int_equal(c->raft.snapshot_bytes, (size_t)2 << 30);
    assert_int_equal(c->wal.space_min, 1 << 30);
    assert_int_equal(c->drain_timeout_ms, 1500);
    assert_int_equal(c->log_level, SY_WARN);
    assert_int_equal(c->control.requests_n, 0);
    assert_int_equal(c->control.events_n, 1);
    assert_int_equal(c->control.send_queue_max, 5);
    unload(c);
}

/* --- secrets --- */

static void conninfo_is_quoted(void **state)
{
    struct nd_config *c = load(
        "postgres: {host: \"a'b\", dbname: 'd\\', user: \"\\u00f8\", "
        "password: {env: ODD}, sslmode: require}\n");

    (void)state;
    assert_string_equal(c->postgres.conninfo,
                        "host='a\\'b' port='5432' dbname='d\\\\' user='\xc3\xb8' "
                        "password='a \\'b\\' \\\\c' sslmode='require'");
    unload(c);
    c = load("postgres: {conninfo: {env: CRLF}}\n");
    assert_string_equal(c->postgres.conninfo, "geheim");
    unload(c);
}

static bool read_secret(int from, const char *name, char out[256])
{
    struct nd_config_secret s = {.from = from};
    struct sy_buf b = {0};
    bool ok;

    snprintf(s.name, sizeof s.name, "%s", name);
    ok = nd_secret_read(&s, fake_env, &b, out);
    if (ok) {
        snprintf(out, 256, "%s", (char *)b.p);
    }
    sy_buf_free(&b);
    return ok;
}

static void a_secret_in_a_file_must_be_kept(void **state)
{
    char dir[] = "/tmp/vagt-config-XXXXXX", path[64], out[256], expected[256];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/pw", dir);
    write_file(path, "geheim\n", 0600);
    assert_true(read_secret(ND_SECRET_FILE, path, out));
    assert_string_equal(out, "geheim");
    credentials = dir;
    assert_true(read_secret(ND_SECRET_CREDENTIAL, "pw", out));
    assert_string_equal(out, "geheim");
    credentials = NULL;
    assert_int_equal(chmod(path, 0640), 0);
    assert_true(read_secret(ND_SECRET_FILE, path, out));
    assert_int_equal(chmod(path, 0604), 0);
    assert_false(read_secret(ND_SECRET_FILE, path, out));
    snprintf(expected, sizeof expected,
             "everybody on this machine may read or change %s: chmod 600 it", path);
    assert_string_equal(out, expected);
    write_file(path, "one\ntwo\n", 0600);
    assert_false(read_secret(ND_SECRET_FILE, path, out));
    write_file(path, "\n", 0600);
    assert_false(read_secret(ND_SECRET_FILE, path, out));
    assert_int_equal(truncate(path, ND_SECRET_SIZE_MAX + 1), 0);
    assert_false(read_secret(ND_SECRET_FILE, path, out));
    snprintf(expected, sizeof expected, "%s is larger than 64 KiB", path);
    assert_string_equal(out, expected);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* Must not wait for a writer. */
    assert_false(read_secret(ND_SECRET_FILE, path, out));
    unlink(path);
    assert_false(read_secret(ND_SECRET_FILE, dir, out));
    rmdir(dir);
}

/* --- warnings --- */

static bool warned(const struct nd_config *c, const char *start)
{
    for (unsigned i = 0; i < c->warnings_n; i++) {
        if (strncmp(c->warnings[i], start, strlen(start)) == 0) {
            return true;
        }
    }
    return false;
}

static void doubtful_things_are_warned_of(void **state)
{
    static const char two[] =
        "cluster: t\nnode: a\npeers: {plaintext: true}\n"
        "nodes: [{id: 1, name: a, peer: \"10.0.0.1:1\"},\n"
        "  {id: 2, name: b, peer: \"10.0.0.2:1\"}]\n"
        "brokers: [{name: m, addresses: [\"10.0.0.3:1883\"],\n"
        "  plaintext: true, session_expiry: 59m}]\n"
        "areas: [{name: one, base_topic: z, enabled: false}]\n"
        "postgres: {host: h, dbname: d, user: u, sslmode: prefer}\n"
        "tiebreaker: {mode: off}\n";
    struct nd_config *c = load("");
    struct sy_errbuf eb;

    (void)state;
    assert_int_equal(c->warnings_n, 1);
    assert_true(warned(c, "postgres: no section"));
    nd_config_free(c);
    assert_int_equal(nd_config_load(c, "t", two, fake_env, &eb), 0);
    assert_true(c->warnings_n == 6 && warned(c, "nodes: two of them and no tie-breaker"));
    assert_true(warned(c, "peers.plaintext: "));
    assert_true(warned(c, "areas: all of them"));
    assert_true(warned(c, "postgres.sslmode: with prefer"));
    assert_true(warned(c, "brokers[0].session_expiry: ") && warned(c, "brokers[0].pl"));
    for (unsigned i = 0; i < c->warnings_n; i++) {
        assert_true(strlen(c->warnings[i]) < ND_WARNING_SIZE - 1); /* not cut */
    }
    unload(c);
}

/* --- printing --- */

/* What is printed is the same already; here is what else a configuration holds.
 * Not memcmp() of all: the structures of the modules have padding. */
static void assert_same(const struct nd_config *a, const struct nd_config *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->raft.id, b->raft.id);
    assert_int_equal(a->strings.len, b->strings.len);
    assert_memory_equal(a->strings.p, b->strings.p, a->strings.len);
    assert_memory_equal(a->nodes, b->nodes, sizeof a->nodes);
    assert_memory_equal(a->areas, b->areas, sizeof a->areas);
    assert_memory_equal(&a->control, &b->control, sizeof a->control);
    assert_memory_equal(&a->postgres_from, &b->postgres_from, sizeof a->postgres_from);
    assert_memory_equal(a->broker_passwords, b->broker_passwords,
                        sizeof a->broker_passwords);
    assert_int_equal(a->warnings_n, b->warnings_n);
    assert_memory_equal(a->warnings, b->warnings, sizeof a->warnings);
    assert_string_equal(a->postgres.cluster, b->postgres.cluster);
    assert_string_equal(a->postgres.node, b->postgres.node);
    for (unsigned i = 0; i < a->brokers_n; i++) {
        assert_string_equal(a->brokers[i].reader_id, b->brokers[i].reader_id);
        assert_string_equal(a->brokers[i].writer_id, b->brokers[i].writer_id);
    }
}

static void check_round(struct nd_config *c)
{
    struct nd_config *again = sy_calloc(1, sizeof *again);
    struct sy_buf first = {0}, second = {0};
    struct sy_errbuf eb = {{0}};

    nd_config_print(c, &first);
    sy_buf_u8(&first, 0);
    if (nd_config_load(again, "printed", (char *)first.p, fake_env, &eb) != 0) {
        fail_msg("%s\n%s", eb.text, first.p);
    }
    nd_config_print(again, &second);
    sy_buf_u8(&second, 0);
    assert_string_equal((char *)first.p, (char *)second.p);
    assert_null(strstr((char *)first.p, "geheim"));
    assert_same(c, again);
    unload(again);
    sy_buf_free(&first);
    sy_buf_free(&second);
}

static void what_is_printed_loads_again(void **state)
{
    static const char *const more[] = {
        "", "control: {listen: [], events: [\"ipc:///a b\", \"tcp://127.0.0.1:4\"]}\n",
        "postgres: {conninfo: {env: PW}}\n",
        "postgres: {host: \"a\\\"b\\\\\", dbname: ~x, user: \"true\", password: {env: "
        "PW}, sslmode: require}\n",
        "raft: {election: 1001ms, snapshot_entries: 0, snapshot_size: 0B}\n"
        "wal: {segment: 1048577B, space_min: 1025KiB}\n"};

    (void)state;
    for (unsigned i = 0; i < sizeof more / sizeof more[0]; i++) {
        struct nd_config *c = load(more[i]);

        check_round(c);
        unload(c);
    }
}

static void shipped_examples_load(void **state)
{
    static const char *const files[] = {"deploy/examples/three-nodes.yaml",
                                        "deploy/examples/single-node.yaml"};
    static const unsigned warnings[] = {0, 2};
    char path[512];

    (void)state;
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct nd_config *c = sy_calloc(1, sizeof *c);
        struct sy_errbuf eb;

        source_path(path, files[i]);
        if (nd_config_load(c, path, NULL, fake_env, &eb) != 0) {
            fail_msg("%s", eb.text);
        }
        assert_int_equal(c->warnings_n, warnings[i]);
        check_round(c);
        unload(c);
    }
}

/* vagtd -n */
static void a_check_tells_all(void **state)
{
    char path[] = "/tmp/vagt-check-XXXXXX", out[4096] = "", expected[512];
    FILE *f = fmemopen(out, sizeof out, "w");
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    write_file(path, "x: 1\ny: 2\n", 0644);
    assert_int_equal(nd_config_check(path, f), SY_EINVALID);
    fflush(f);
    snprintf(expected, sizeof expected, "%s:2:1: y: unknown key; known here: ", path);
    assert_non_null(strstr(out, expected));
    write_file(path, base, 0644);
    rewind(f);
    assert_int_equal(nd_config_check(path, f), 0);
    fclose(f);
    snprintf(expected, sizeof expected, "%s: warning: postgres: no section: ", path);
    assert_memory_equal(out, expected, strlen(expected));
    unlink(path);
    f = fmemopen(out, sizeof out, "w");
    assert_int_equal(nd_config_check(path, f), -ENOENT);
    fclose(f);
    snprintf(expected, sizeof expected,
             "%s: %s cannot be opened: no such file or directory\n", path, path);
    assert_string_equal(out, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_file_gives_exactly_its_sentences),
        cmocka_unit_test(the_error_buffer_has_the_first_problem),
        cmocka_unit_test(on_its_own_disk_nobody_needs_secrets),
        cmocka_unit_test(no_more_than_ten_problems_are_told),
        cmocka_unit_test(a_file_that_cannot_be_is_refused_quickly),
        cmocka_unit_test(anchors_and_aliases_are_fine),
        cmocka_unit_test(topics_side_by_side_are_fine),
        cmocka_unit_test(a_file_from_windows_is_fine),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(values_arrive_in_their_units),
        cmocka_unit_test(conninfo_is_quoted),
        cmocka_unit_test(a_secret_in_a_file_must_be_kept),
        cmocka_unit_test(doubtful_things_are_warned_of),
        cmocka_unit_test(what_is_printed_loads_again),
        cmocka_unit_test(shipped_examples_load),
        cmocka_unit_test(a_check_tells_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
