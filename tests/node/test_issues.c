/* What is wrong, as sentences: each one under exactly its condition. Node 1 (ada)
 * follows; node 2 (bea) is on watch and tells of the site what the test wants. */

#include <string.h>

#include "tests/node/fake_node.h"

struct told
{
    const char *watch;
    bool diverged, disk_low, disabled, not_ready, pg_absent, pg_unconfigured;
    const char *bridge, *process;
    unsigned devices, online;
    const char *reader, *writer, *error;
    const char *pg_link, *pg_error;
    const char *commands_error, *letters_error, *maintenance;
    unsigned refused;
    unsigned waiting, dropped, letters_dropped, broker_dropped, paused_ms;
    bool holding, drops, reader_paused, status_refused;
    const char *note;
};

static const struct told well = {
    .watch = "active",
    .bridge = "online",
    .devices = 10,
    .online = 10,
    .reader = "up",
    .writer = "up",
    .error = "",
    .pg_link = "up",
    .pg_error = "",
    .commands_error = "",
    .letters_error = "",
    .maintenance = "",
};

static void put_node(struct sy_buf *b, const struct told *t)
{
    sy_mp_map(b, 6);
    sy_mp_kstr(b, "raft", "leader");
    sy_mp_kstr(b, "watch", t->watch);
    sy_mp_kuint(b, "term", 3);
    sy_mp_kuint(b, "applied", 77);
    sy_mp_kbool(b, "diverged", t->diverged);
    sy_mp_kbool(b, "disk_low", t->disk_low);
}

static void put_area(struct sy_buf *b, const struct told *t)
{
    sy_mp_map(b, 9);
    sy_mp_kstr(b, "process", t->process != NULL ? t->process : "");
    sy_mp_kuint(b, "paused_ms", t->paused_ms);
    sy_mp_kstr(b, "name", "north");
    sy_mp_kstr(b, "base_topic", "z/north");
    sy_mp_kstr(b, "bridge", t->bridge);
    sy_mp_kbool(b, "ready", !t->not_ready);
    sy_mp_kuint(b, "devices", t->devices);
    sy_mp_kuint(b, "online", t->online);
    sy_mp_kbool(b, "enabled", !t->disabled);
}

static void put_site(struct sy_buf *b, const struct told *t)
{
    sy_mp_map(b, t->pg_absent ? 4 : 5);
    sy_mp_str(b, "areas");
    sy_mp_array(b, 1);
    put_area(b, t);
    sy_mp_str(b, "brokers");
    sy_mp_array(b, 1);
    sy_mp_map(b, 7);
    sy_mp_kbool(b, "paused", t->reader_paused);
    sy_mp_kbool(b, "status_refused", t->status_refused);
    sy_mp_kuint(b, "dropped", t->broker_dropped);
    sy_mp_kstr(b, "name", "main");
    sy_mp_kstr(b, "reader", t->reader);
    sy_mp_kstr(b, "writer", t->writer);
    sy_mp_kstr(b, "error", t->error);
    if (!t->pg_absent) {
        sy_mp_str(b, "postgres");
        sy_mp_map(b, 7);
        sy_mp_kstr(b, "commands_error", t->commands_error);
        sy_mp_kstr(b, "letters_error", t->letters_error);
        sy_mp_kstr(b, "maintenance", t->maintenance);
        sy_mp_kuint(b, "failed", t->refused);
        sy_mp_kbool(b, "configured", !t->pg_unconfigured);
        sy_mp_kstr(b, "link", t->pg_link);
        sy_mp_kstr(b, "error", t->pg_error);
    }
    sy_mp_str(b, "notes");
    sy_mp_array(b, t->note != NULL ? 1 : 0);
    if (t->note != NULL) {
        sy_mp_str(b, t->note);
    }
    sy_mp_str(b, "outbox");
    sy_mp_map(b, 6);
    sy_mp_kuint(b, "capacity", 1000);
    sy_mp_kstr(b, "when_full", t->drops ? "drop_oldest" : "hold");
    sy_mp_kbool(b, "holding", t->holding);
    sy_mp_kuint(b, "letters_dropped", t->letters_dropped);
    sy_mp_kuint(b, "readings", t->waiting);
    sy_mp_kuint(b, "dropped", t->dropped);
}

static void tell(const struct told *t)
{
    struct sy_buf node = {0};
    struct sy_buf site = {0};

    put_node(&node, t);
    put_site(&site, t);
    fake_gossip(2, &node, &site);
    sy_buf_free(&node);
    sy_buf_free(&site);
}

static void begin(unsigned nodes)
{
    struct rp_batch b = {0};

    fake_open(nodes);
    fake_begin();
    fake.leader = 2;
    fake.term = 3;
    rp_batch_watch(&b, 3, 2);
    fake_foreign(&b);
    for (unsigned i = 3; i <= nodes; i++) {
        fake_sound(i, "standby");
    }
    tell(&well);
}

static int open_three(void **state)
{
    (void)state;
    begin(3);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

static struct nd_issues found;

static void find(void)
{
    bool warned = false;

    nd_issues_find(fake.n, &found);
    assert_true(found.n <= 32);
    for (unsigned i = 0; i < found.n; i++) {
        assert_false(warned && found.list[i].error); /* most severe first */
        warned = !found.list[i].error;
        assert_true(found.list[i].text[0] != '\0');
    }
}

/* Exactly this one. */
static void only(bool error, const char *text)
{
    find();
    assert_int_equal(found.n, 1);
    if (strncmp(found.list[0].text, text, strlen(text)) != 0) {
        fail_msg("found: %s", found.list[0].text);
    }
    assert_int_equal(found.list[0].error, error);
    assert_string_equal(found.health, "degraded");
    assert_string_equal(found.banner, "bea is on watch; 1 thing needs attention");
}

static void none(void)
{
    find();
    if (found.n != 0) {
        fail_msg("found: %s", found.list[0].text);
    }
    assert_string_equal(found.health, "healthy");
    assert_string_equal(found.banner,
                        "all well: bea is on watch, 3 of 3 nodes are there");
}

#define TELL(...)              \
    do {                       \
        struct told t_ = well; \
        struct told *t = &t_;  \
        __VA_ARGS__;           \
        tell(t);               \
    } while (0)

static void of_the_outbox(void **state)
{
    (void)state;
    TELL(t->waiting = 800);
    only(true, "the outbox is 80 % full: when it is full nothing more is read");
    TELL(t->waiting = 990, t->drops = true);
    only(true, "the outbox is 99 % full: when it is full the oldest readings are");
    TELL(t->waiting = 950, t->holding = t->reader_paused = true, t->reader = "down");
    only(true, "the outbox is full (950 readings): nothing is read from the brokers");
    TELL(t->letters_dropped = 3);
    only(false, "3 messages that could not be stored were dropped before Postgres");
}

static void of_the_tables(void **state)
{
    (void)state;
    TELL(t->commands_error = "no such table");
    only(true, "no command of the table meter_commands is taken: no such table");
    TELL(t->letters_error = "permission denied");
    only(true, "dead letters cannot be written and wait: permission denied");
    TELL(t->maintenance = "a lock");
    only(false, "the upkeep of the tables is not complete: a lock");
    TELL(t->refused = 2);
    only(false, "Postgres has refused 2 rows since this watch began");
}

static void of_what_the_broker_does(void **state)
{
    (void)state;
    TELL(t->broker_dropped = 412);
    only(false, "the broker main has dropped 412 messages, most likely while nobody");
    TELL(t->status_refused = true);
    only(false, "the broker main does not take our status or last will: allow our");
    TELL(t->paused_ms = 29500);
    only(true, "nothing that was sent to north had an answer: sending is paused for");
}

static void of_nodes(void **state)
{
    (void)state;
    none();
    TELL(t->diverged = true);
    only(true, "the state of bea differs from the cluster's: it will not take");
    TELL(t->disk_low = true);
    only(true, "the disk of bea is nearly full");
    tell(&well);
    fake.linked[3] = false;
    find();
    assert_int_equal(found.n, 2);
    assert_string_equal(found.list[0].text,
                        "cleo is not reachable from here: see whether the machine runs "
                        "and `systemctl status vagtd` there");
    assert_string_equal(found.list[1].text,
                        "no further node may fail: 2 of 3 are there and 2 are needed");
    assert_string_equal(found.banner, "bea is on watch; 2 things need attention");
    fake.linked[3] = true;
    none();
}

static void of_the_watch(void **state)
{
    (void)state;
    TELL(t->watch = "ramping");
    find();
    assert_string_equal(found.health, "no_watch");
    assert_memory_equal(found.list[0].text, "no node is on watch", 19);
    assert_memory_equal(found.banner, "NO NODE IS ON WATCH", 19);
    /* What the site is like nobody knows then. */
    TELL(t->watch = "ramping", t->bridge = "offline");
    find();
    assert_int_equal(found.n, 1);
    tell(&well);
    fake_pass(2900, false); /* half a second late and more, but heard */
    find();
    assert_string_equal(found.health, "healthy");
    fake_pass(200, false);
    find();
    assert_string_equal(found.health, "no_watch");
    tell(&well);
    fake.linked[2] = fake.linked[3] = false;
    find();
    assert_string_equal(found.health, "no_watch");
    assert_int_equal(found.n, 4);
    assert_memory_equal(found.list[1].text, "only 1 of 3 nodes can be reached and 2", 38);
    assert_true(found.list[1].error && !found.list[2].error);
}

static void of_areas(void **state)
{
    (void)state;
    TELL(t->bridge = "offline");
    only(true, "the bridge of north is offline");
    TELL(t->bridge = "offline", t->process = "stopped");
    only(true, "the bridge of north does not run (stopped)");
    TELL(t->bridge = "offline", t->disabled = true);
    none();
    TELL(t->bridge = "unknown");
    only(false, "nothing was ever heard from the bridge of north");
    TELL(t->not_ready = true);
    only(false, "the bridge of north is starting and does not take commands yet");
    TELL(t->online = 4);
    only(true, "6 of 10 meters of north are offline at once");
    TELL(t->online = 5);
    none();
    TELL(t->devices = 0, t->online = 0);
    none();
    TELL(t->online = 0, t->disabled = true);
    none();
}

static void of_the_broker(void **state)
{
    (void)state;
    TELL(t->reader = "connecting");
    only(true, "the broker main is not connected (connecting)");
    TELL(t->writer = "down", t->error = "refused");
    only(true, "the broker main is not connected (refused)");
}

static void of_postgres(void **state)
{
    char error[256];

    (void)state;
    TELL(t->pg_link = "down", t->pg_error = "no route", t->waiting = 12);
    only(true, "Postgres is not connected (no route): 12 readings wait, nothing is lost");
    TELL(t->pg_link = "connecting");
    only(true, "Postgres is not connected (connecting): 0 readings wait");
    TELL(t->pg_link = "down", t->pg_unconfigured = true);
    none();
    TELL(t->pg_link = "down", t->pg_absent = true);
    none();
    TELL(t->dropped = 5);
    only(true, "5 readings were dropped since the outbox was full");
    TELL(t->dropped = 5, t->pg_link = "down");
    find();
    assert_int_equal(found.n, 2);
    assert_null(strstr(found.list[1].text, "nothing is lost"));
    /* As long as an error may be (struct ad_pg_status). */
    memset(error, 'e', sizeof error - 1);
    error[sizeof error - 1] = '\0';
    TELL(t->pg_link = "down", t->pg_error = error);
    only(true, "Postgres is not connected (eee");
}

static void of_settings(void **state)
{
    (void)state;
    TELL(t->note = "a bridge does not tell last_seen");
    only(false, "a bridge does not tell last_seen");
    tell(&well);
    snprintf(fake.n->config.warnings[0], ND_WARNING_SIZE, "nothing is encrypted");
    fake.n->config.warnings_n = 1;
    only(false, "nothing is encrypted");
}

static void errors_come_before_warnings_in_their_order(void **state)
{
    (void)state;
    TELL(t->diverged = true, t->not_ready = true, t->writer = "down", t->note = "a note",
         t->dropped = 1);
    fake.linked[3] = false;
    find();
    assert_int_equal(found.n, 7);
    assert_non_null(strstr(found.list[0].text, "the state of bea"));
    assert_non_null(strstr(found.list[1].text, "the broker main"));
    assert_non_null(strstr(found.list[2].text, "1 readings were dropped"));
    assert_non_null(strstr(found.list[3].text, "cleo is not"));
    assert_non_null(strstr(found.list[4].text, "no further node"));
    assert_non_null(strstr(found.list[5].text, "north is starting"));
    assert_string_equal(found.list[6].text, "a note");
}

/* Told by this node itself, of itself. */
static void one_node_alone_is_well(void **state)
{
    (void)state;
    fake_open(1);
    fake_begin();
    fake_lead();
    fake_bridges_ready();
    find();
    assert_string_equal(found.banner,
                        "all well: ada is on watch, 1 of 1 nodes are there");
    fake_writer(false);
    find();
    assert_string_equal(found.banner, "ada is on watch; 1 thing needs attention");
}

static void put_map_key(struct sy_buf *b, const char *key)
{
    sy_mp_map(b, 1);
    sy_mp_str(b, key);
}

/* More warnings than there is room for do not hide an error. */
static void many_warnings_leave_room_for_an_error(void **state)
{
    struct sy_buf node = {0};
    struct sy_buf site = {0};

    (void)state;
    put_node(&node, &well);
    sy_mp_map(&site, 2);
    sy_mp_str(&site, "areas");
    sy_mp_array(&site, 64);
    for (unsigned i = 0; i < 64; i++) {
        struct told t = well;

        t.not_ready = true;
        put_area(&site, &t);
    }
    sy_mp_str(&site, "brokers");
    sy_mp_array(&site, 1);
    put_map_key(&site, "name");
    sy_mp_str(&site, "main");
    fake_gossip(2, &node, &site);
    find();
    assert_int_equal(found.n, 32);
    assert_true(found.list[0].error && !found.list[1].error);
    assert_non_null(strstr(found.list[0].text, "the broker main"));
    sy_buf_free(&node);
    sy_buf_free(&site);
}

/* --- why --- */

/* What `why` says of @node, joined. */
static const char *why(uint64_t node)
{
    static char all[4096];
    struct sy_buf args = {0};
    struct sy_cur c;
    uint32_t count;

    put_map_key(&args, "node");
    sy_mp_uint(&args, node);
    fake_ask(1, "why", node != 0 ? &args : NULL);
    sy_buf_free(&args);
    c = fake_result();
    assert_true(nd_map_find(&c, "sentences"));
    count = sy_mp_get_array(&c);
    all[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        size_t len = strlen(all);

        sy_mp_get_str(&c, all + len, sizeof all - len - 1);
        assert_true(all[len] != '\0');
        len = strlen(all);
        assert_int_equal(all[len - 1], '.');
        snprintf(all + len, sizeof all - len, "|");
    }
    assert_false(c.bad);
    fake_forget();
    return all;
}

static void says(const char *text, const char *what)
{
    if (strstr(text, what) == NULL) {
        fail_msg("'%s' is not in: %s", what, text);
    }
}

static void why_of_a_follower(void **state)
{
    (void)state;
    says(why(0),
         "ada stands by: it follows bea, which leads term 3.|It holds the log up "
         "to 1 and has applied 1; whether it could relieve is not known yet.|");
    fake.committed = 9;
    says(why(1), "it is catching up.|");
    fake.leader = 0;
    says(why(0),
         "ada knows of no leader in term 3; it campaigns when its election "
         "timeout (1000 to 2000 ms) has passed.|");
    fake.role = CS_CANDIDATE;
    says(why(0), "ada campaigns in term 3 and has no majority yet.|");
    says(why(0), "The last watch was taken by bea in term 3, 0 s ago.|");
    fake.wall_ms -= 5000; /* A clock that was set back. */
    says(why(0), "in term 3, 0 s ago.|");
    fake.role = CS_FOLLOWER;
}

static void why_of_the_watch(void **state)
{
    (void)state;
    fake.term = 4;
    fake.leading = 5;
    fake.role = CS_LEADER;
    fake.term = 5;
    fake_turn();
    says(why(0),
         "ada leads term 5 and waits for the first entry of that term to be "
         "committed.|");
    fake.lease_until_ms = fake.now_ms + 700;
    fake_settle();
    fake.lease_until_ms = fake.now_ms + 700;
    fake_pass(250, true);
    says(why(0),
         "ada is on watch: it leads term 5 since 250 ms, and its ports run.|A "
         "majority was heard; that holds for 450 ms more.|");
    fake_pass(450, true);
    says(why(0), "It does not act just now: no majority was heard within 1000 ms.|");
    fake.n->brokers[0].waiting = true; /* A burst that is not committed yet. */
    fake.leading = fake.term = 6;
    fake_turn();
    says(why(0),
         "ada leads term 6 but its ports of an earlier term are still stopping; if "
         "they do not within 2000 ms the process ends.|");
    fake.leading = 0;
    fake.role = CS_FOLLOWER;
    fake.leader = 2;
    says(why(0), "Its ports of an earlier watch are still stopping.|");
    fake.n->brokers[0].waiting = false;
    fake_turn();
    says(why(0), "ada stands by");
    assert_null(strstr(why(0), "still stopping"));
}

static void diverge(void)
{
    struct rp_batch b = {0};

    rp_batch_checkpoint(&b, rp_store_index(fake.store), rp_store_hash(fake.store) + 1);
    fake_foreign(&b);
    assert_true(rp_store_diverged(fake.store));
}

static void why_of_a_state_that_differs(void **state)
{
    (void)state;
    diverge();
    says(why(0),
         "It will not take the watch: its state differs from the cluster's. Stop");
    find();
    assert_int_equal(found.n, 1);
    assert_non_null(strstr(found.list[0].text, "the state of ada differs"));
    fake.leading = fake.term = 9;
    fake.role = CS_LEADER;
    fake_settle();
    says(why(0),
         "ada leads term 9 but does not take the watch: its state differs from "
         "the cluster's. Re-seed it.|");
}

static void why_of_another(void **state)
{
    (void)state;
    fake_pass(120, false);
    says(why(2),
         "bea said 120 ms ago: it is leader in term 3, its watch is active, it has "
         "applied 77.|");
    fake.linked[2] = false;
    says(why(2), "bea cannot be reached from ada, so it cannot say why.");
}

static void why_of_the_quorum(void **state)
{
    (void)state;
    says(why(0), "Relief is possible: 3 of 3 nodes are connected and 2 are enough.|");
    fake.linked[3] = false;
    says(why(0),
         "If one more node dies nobody can be on watch: 2 of 3 nodes are needed, "
         "and cleo (last heard of 0 s ago) cannot be reached. Start it.|");
    fake.linked[2] = false;
    says(why(0),
         "No relief is possible: 2 of 3 nodes are needed and only 1 can be "
         "reached from here (missing: bea (last heard of 0 s ago), cleo (");
    fake_close();
    begin(2);
    says(why(0),
         "If a node dies nobody can be on watch: the cluster has 2 and needs 2. "
         "Three nodes would survive that.|");
    fake_close();
    begin(5);
    fake.linked[4] = false;
    says(why(0),
         "Relief is possible: 4 of 5 nodes are connected and 3 are enough; "
         "missing: dora (last heard of 0 s ago).|");
}

/* --- hostile gossip --- */

/* Everything that reads gossip; replies are checked by the fake. */
static void read_all(void)
{
    find();
    fake_ask(1, "status", NULL);
    (void)fake_result();
    fake_ask(1, "hash", NULL);
    (void)fake_result();
    (void)why(0);
    (void)why(2);
    (void)nd_node_heir(fake.n);
    (void)nd_node_sound(fake.n, 2, true);
    fake_forget();
}

static void hear(const void *p, size_t n)
{
    /* A copy of exactly this size: reading past its end is seen. */
    uint8_t *copy = test_malloc(n + 1);

    memcpy(copy + 1, p, n);
    fake.cb.frame(fake.n, 2, ND_FRAME_GOSSIP, copy + 1, n);
    test_free(copy);
}

static void all_of(struct sy_buf *b)
{
    struct told t = well;

    t.note = "a note";
    sy_mp_map(b, 2);
    sy_mp_str(b, "node");
    put_node(b, &t);
    sy_mp_str(b, "site");
    put_site(b, &t);
}

static void truncated_gossip_is_ignored(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    all_of(&b);
    for (size_t i = 0; i < b.len; i++) {
        hear(b.p, i);
        assert_string_equal((nd_issues_find(fake.n, &found), found.health), "healthy");
    }
    read_all();
    sy_buf_free(&b);
}

static void gossip_with_wrong_bytes_does_no_harm(void **state)
{
    static const uint8_t tags[] = {0x00, 0x80, 0x81, 0x90, 0x91, 0xa0, 0xbf,
                                   0xc0, 0xc1, 0xc2, 0xc4, 0xc7, 0xcb, 0xcf,
                                   0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xff};
    struct sy_buf b = {0};
    uint64_t seed = 7;

    (void)state;
    all_of(&b);
    for (size_t i = 0; i < b.len; i++) {
        uint8_t was = b.p[i];

        for (size_t k = 0; k < sizeof tags; k++) {
            b.p[i] = tags[k];
            hear(b.p, b.len);
            find();
            fake_ask(1, "status", NULL);
            fake_forget();
        }
        b.p[i] = was;
    }
    for (unsigned i = 0; i < 5000; i++) {
        size_t at = fake_random(&seed) % b.len;
        size_t to = fake_random(&seed) % b.len;
        uint8_t was[2] = {b.p[at], b.p[to]};

        b.p[at] = (uint8_t)fake_random(&seed);
        b.p[to] = tags[fake_random(&seed) % sizeof tags];
        hear(b.p, b.len);
        read_all();
        b.p[to] = was[1];
        b.p[at] = was[0];
    }
    hear(b.p, b.len);
    find();
    assert_string_equal(found.health, "degraded"); /* the note: it was heard */
    sy_buf_free(&b);
}

/* Each part of another type, where a map is wanted. */
static void parts_of_wrong_types_are_ignored(void **state)
{
    static const char *const parts[] = {"\x05",
                                        "\xff",
                                        "\xa3xyz",
                                        "\x93\x01\x02\x03",
                                        "\xc0",
                                        "\xc3",
                                        "\x80",
                                        "\x91\x81\x01\x02",
                                        "\x81\xa5"
                                        "areas\x05",
                                        "\x81\xa5"
                                        "areas\x91\x05",
                                        "\x81\xa7"
                                        "brokers\x91\x05",
                                        "\x81\xa5"
                                        "notes\x92\x05\xc0",
                                        "\x81\xa8"
                                        "postgres\x91\x05"};

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct sy_buf part = {0};
        struct sy_buf node = {0};

        sy_buf_str(&part, parts[i]);
        put_node(&node, &well);
        fake_gossip(2, &node, &part);
        none(); /* a site that tells nothing */
        read_all();
        fake_gossip(2, &part, &part);
        find();
        assert_string_equal(found.health, "no_watch");
        read_all();
        fake_gossip(2, NULL, NULL);
        read_all();
        sy_buf_free(&part);
        sy_buf_free(&node);
    }
}

static void huge_gossip_is_ignored(void **state)
{
    struct sy_buf b = {0};
    char *text = test_calloc(1, ND_GOSSIP_MAX + 1);

    (void)state;
    memset(text, 'x', ND_GOSSIP_MAX);
    sy_mp_map(&b, 1);
    sy_mp_kstr(&b, "node", text);
    hear(b.p, b.len);
    none();
    b.len = 0;
    for (unsigned i = 0; i < 60000; i++) { /* nested deeper than anybody reads */
        sy_buf_u8(&b, 0x91);
    }
    sy_buf_u8(&b, 0);
    hear(b.p, b.len);
    none();
    b.len = 0;
    text[40000] = '\0';
    sy_mp_map(&b, 2); /* allowed, but of no sense */
    sy_mp_kstr(&b, "site", text);
    sy_mp_kstr(&b, "node", "");
    hear(b.p, b.len);
    read_all();
    test_free(text);
    sy_buf_free(&b);
}

/* The largest configuration there can be is told whole. */
static void own_gossip_fits(void **state)
{
    struct nd_config *c;
    char text[RP_NAME_SIZE];

    (void)state;
    fake_open(5);
    c = &fake.n->config;
    c->areas_n = ND_AREAS_MAX;
    c->limits.areas_max = ND_AREAS_MAX;
    memset(text, 'n', sizeof text);
    for (unsigned i = 0; i < ND_AREAS_MAX; i++) {
        c->areas[i] = c->areas[0];
        snprintf(c->areas[i].name, RP_NAME_SIZE, "%02u%.93s", i, text);
        snprintf(c->areas[i].base_topic, RP_TOPIC_SIZE, "%02u%.95s", i, text);
    }
    fake_begin();
    fake_lead();
    fake.n->notes_n = ND_NOTES_MAX;
    for (unsigned i = 0; i < ND_NOTES_MAX; i++) {
        memset(fake.n->notes[i].text, 'x', sizeof fake.n->notes[i].text - 1);
    }
    nd_status_gossip(fake.n);
    assert_true(fake.n->views[1].gossip.len <= ND_GOSSIP_MAX);
    fake_ask(1, "status", NULL);
    (void)fake_result();
}

#define THREE(F) cmocka_unit_test_setup_teardown(F, open_three, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        THREE(of_the_outbox),
        THREE(of_what_the_broker_does),
        THREE(of_the_tables),
        THREE(of_nodes),
        THREE(of_the_watch),
        THREE(of_areas),
        THREE(of_the_broker),
        THREE(of_postgres),
        THREE(of_settings),
        THREE(errors_come_before_warnings_in_their_order),
        THREE(many_warnings_leave_room_for_an_error),
        THREE(why_of_a_follower),
        THREE(why_of_the_watch),
        THREE(why_of_a_state_that_differs),
        THREE(why_of_another),
        THREE(why_of_the_quorum),
        THREE(truncated_gossip_is_ignored),
        THREE(gossip_with_wrong_bytes_does_no_harm),
        THREE(parts_of_wrong_types_are_ignored),
        THREE(huge_gossip_is_ignored),
        cmocka_unit_test_teardown(one_node_alone_is_well, close_all),
        cmocka_unit_test_teardown(own_gossip_fits, close_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
