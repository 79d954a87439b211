#include "tests/node/fake_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct fake fake;
struct sy_buf fake_args;

/* --- libuv's timers, on the time that the test says it is --- */

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    (void)loop;
    for (unsigned i = 0; i < FAKE_TIMERS_MAX; i++) {
        if (fake.timers[i] == NULL) {
            fake.timers[i] = timer;
            timer->timer_cb = NULL;
            return 0;
        }
    }
    return UV_ENOMEM;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    timer->timer_cb = cb;
    timer->timeout = fake.now_ms + timeout;
    timer->repeat = repeat;
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    timer->timer_cb = NULL;
    return 0;
}

/* A child that is waited for: the test says when it has ended. */
int uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd)
{
    (void)loop, (void)fd;
    fake.poll = poll;
    return 0;
}

int uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb)
{
    (void)events;
    assert_ptr_equal(poll, fake.poll);
    fake.poll_cb = cb;
    return 0;
}

void uv_update_time(uv_loop_t *loop)
{
    (void)loop;
}

void uv_close(uv_handle_t *h, uv_close_cb cb)
{
    if (fake.poll != NULL && (void *)fake.poll == (void *)h) {
        fake.poll = NULL;
        cb(h);
        return;
    }
    for (unsigned i = 0; i < FAKE_TIMERS_MAX; i++) {
        if ((void *)fake.timers[i] == (void *)h) {
            fake.timers[i] = NULL;
            cb(h);
            return;
        }
    }
    fail_msg("a handle that was not open is closed");
}

static uv_timer_t *next_timer(void)
{
    uv_timer_t *next = NULL;

    for (unsigned i = 0; i < FAKE_TIMERS_MAX; i++) {
        uv_timer_t *t = fake.timers[i];

        if (t != NULL && t->timer_cb != NULL &&
            (next == NULL || t->timeout < next->timeout)) {
            next = t;
        }
    }
    return next;
}

static void fire(uv_timer_t *t)
{
    uv_timer_cb cb = t->timer_cb;

    if (t->repeat != 0) {
        t->timeout += t->repeat;
    } else {
        t->timer_cb = NULL;
    }
    cb(t);
}

void fake_pass(uint64_t ms, bool settle)
{
    uint64_t until = fake.now_ms + ms;
    uv_timer_t *t;

    while ((t = next_timer()) != NULL && t->timeout <= until) {
        if (t->timeout > fake.now_ms) {
            fake.wall_ms += t->timeout - fake.now_ms;
            fake.now_ms = t->timeout;
        }
        fire(t);
        fake_turn();
        if (settle) {
            fake_settle();
        }
    }
    fake.wall_ms += until - fake.now_ms;
    fake.now_ms = until;
}

/* --- life --- */

static void configure(struct nd_config *c, unsigned nodes)
{
    static const char *const names[] = {"ada", "bea", "cleo", "dora", "eva"};

    snprintf(c->cluster, sizeof c->cluster, "test");
    snprintf(c->data_dir, sizeof c->data_dir, "/");
    c->id = 1;
    c->nodes_n = nodes;
    for (unsigned i = 0; i < nodes; i++) {
        c->nodes[i].id = i + 1;
        snprintf(c->nodes[i].name, sizeof c->nodes[i].name, "%s", names[i]);
        snprintf(c->nodes[i].role, sizeof c->nodes[i].role, "voter");
        snprintf(c->nodes[i].peer_host, sizeof c->nodes[i].peer_host, "127.0.0.1");
    }
    c->brokers_n = 1;
    snprintf(c->brokers[0].name, sizeof c->brokers[0].name, "main");
    c->areas_n = 2;
    for (unsigned i = 0; i < 2; i++) {
        struct nd_config_area *a = &c->areas[i];

        snprintf(a->name, sizeof a->name, "%s", i == 0 ? "north" : "south");
        snprintf(a->base_topic, sizeof a->base_topic, "z/%s", a->name);
        snprintf(a->source, sizeof a->source, "zigbee2mqtt");
        a->enabled = true;
    }
    c->has_postgres = true;
    c->raft.election_ms = 1000;
    c->limits = (struct rp_limits){8, 2048, 1000, 2048, 16};
    c->commands.retry_min_ms = 2000;
    c->commands.retry_max_ms = 20000;
    c->commands.area_pace_ms = 20;
    c->commands.open_max = 1000;
    c->drain_timeout_ms = 2000;
    c->checkpoint_ms = 10000;
    c->batch_max = 256 * 1024;
}

static void log_write(void *data, enum sy_level level, const char *line, size_t len)
{
    (void)data;
    if (getenv("FAKE_LOG") != NULL) {
        fprintf(stderr, "<%d>%.*s\n", (int)level, (int)len, line);
    }
}

void fake_open(unsigned nodes)
{
    memset(&fake, 0, sizeof fake);
    fake.now_ms = 1000000;
    fake.wall_ms = 1764000000000;
    fake.n = sy_calloc(1, sizeof *fake.n);
    configure(&fake.n->config, nodes);
    fake.n->log = (struct sy_log){.level = SY_DEBUG, .write = log_write};
    for (unsigned i = 2; i <= nodes; i++) {
        fake.linked[i] = true;
    }
}

void fake_begin(void)
{
    struct sy_errbuf eb;

    assert_int_equal(nd_node_open(fake.n, NULL, &eb), 0);
    fake.n->audit.config_told = true; /* No record of its own in what a test proposes. */
    fake.n->rng = 42;
    fake_turn();
}

/* The way a node ends, too: every wait and every reply buffer must be gone. */
void fake_close(void)
{
    fake.leading = 0;
    fake.on_publish = NULL;
    nd_node_stop(fake.n);
    for (unsigned i = 0; i < 10 && !fake.replica_closed; i++) {
        fake_pass(100, false);
    }
    assert_true(fake.replica_closed && !fake.zmq_open);
    assert_int_equal(fake.n->open_handles, 0);
    fake_forget();
    nd_dispatch_free(fake.n);
    nd_forward_free(fake.n);
    nd_status_free(fake.n);
    sy_free(fake.n);
    sy_buf_free(&fake_args);
}

void fake_lead(void)
{
    fake.leading = ++fake.term;
    fake.role = CS_LEADER;
    fake.leader = 1;
    fake.lease_until_ms = UINT64_MAX;
    fake_settle();
    assert_int_equal(cs_watch_state(&fake.n->watch), CS_ACTIVE);
}

/* --- the site --- */

void fake_device(uint64_t ieee, uint16_t nr)
{
    char name[16];

    snprintf(name, sizeof name, "d%u", (unsigned)ieee);
    rp_batch_device(&fake.batch, nr, ieee, name, "plug");
    rp_batch_avail(&fake.batch, ieee, RP_ONLINE);
}

void fake_bridges_ready(void)
{
    rp_batch_bridge(&fake.batch, 1, RP_ONLINE, true);
    rp_batch_bridge(&fake.batch, 2, RP_ONLINE, true);
    fake_settle();
}

void fake_avail(uint64_t ieee, enum rp_avail avail)
{
    rp_batch_avail(&fake.batch, ieee, avail);
    fake_settle();
}

void fake_command(const char *id, uint64_t ieee, const char *value, uint64_t timeout_ms)
{
    rp_batch_command(&fake.batch, id, ieee, "state", value, "test",
                     fake.wall_ms + timeout_ms);
}

const struct rp_command *fake_known(const char *id)
{
    const struct rp_command *c = rp_store_command(fake.store, id);

    assert_non_null(c);
    return c;
}

/* --- requests --- */

void fake_ask_bytes(uint8_t client, const void *p, size_t n)
{
    struct nd_asker asker = {
        .node = fake.n,
        .client = {.sealed = fake.with_key, .len = 1, .id = {client}},
        .caller = fake.caller};

    if (asker.caller.role == ND_ROLE_NONE && asker.caller.name[0] == '\0') {
        asker.caller = (struct nd_caller){.role = ND_ROLE_ADMIN, .name = "root"};
    }

    nd_control_handle(fake.n, &asker, p, n);
}

void fake_ask(uint8_t client, const char *op, const struct sy_buf *args)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, args != NULL ? 4 : 3);
    sy_mp_kuint(&b, "v", 1);
    sy_mp_kuint(&b, "id", 7);
    sy_mp_kstr(&b, "op", op);
    if (args != NULL) {
        sy_mp_str(&b, "args");
        sy_buf_put(&b, args->p, args->len);
    }
    fake_ask_bytes(client, b.p, b.len);
    sy_buf_free(&b);
}

static struct sy_cur last_reply(void)
{
    const struct sy_buf *b;

    assert_true(fake.replies_n > 0);
    b = &fake.replies[fake.replies_n - 1].bytes;
    return (struct sy_cur){.p = b->p, .n = b->len};
}

const char *fake_error(char code[32])
{
    static char text[600];
    struct sy_cur c = last_reply();

    text[0] = code[0] = '\0';
    if (nd_map_find(&c, "error")) {
        nd_map_str(c, "code", code, 32);
        nd_map_str(c, "text", text, sizeof text);
        assert_true(code[0] != '\0' && text[0] != '\0');
    }
    return text;
}

struct sy_cur fake_result(void)
{
    struct sy_cur c = last_reply();
    char code[32];

    if (!nd_map_find(&c, "result")) {
        fail_msg("an error: %s", fake_error(code));
    }
    return c;
}

void fake_forget(void)
{
    for (unsigned i = 0; i < fake.replies_n; i++) {
        sy_buf_free(&fake.replies[i].bytes);
    }
    sy_buf_free(&fake.told);
    for (unsigned i = 0; i < fake.frames_n; i++) {
        sy_buf_free(&fake.frames[i].bytes);
    }
    fake.replies_n = fake.frames_n = fake.published_n = fake.echoed_n = 0;
}

void fake_args_begin(uint32_t pairs)
{
    fake_args.len = 0;
    sy_mp_map(&fake_args, pairs);
}

void fake_ask_text(uint8_t client, const char *op, const char *key, const char *text)
{
    fake_args_begin(1);
    sy_mp_kstr(&fake_args, key, text);
    fake_ask(client, op, &fake_args);
}

void fake_ask_uint(uint8_t client, const char *op, const char *key, uint64_t v)
{
    fake_args_begin(1);
    sy_mp_kuint(&fake_args, key, v);
    fake_ask(client, op, &fake_args);
}

void fake_refused(unsigned nth, const char *code, const char *text)
{
    char got[32];
    const char *error;

    assert_int_equal(fake.replies_n, nth);
    error = fake_error(got);
    if (strcmp(got, code) != 0 || strstr(error, text) == NULL) {
        fail_msg("'%s' of %s is not in: %s: %s", text, code, got, error);
    }
}

/* --- peers --- */

void fake_gossip(uint64_t from, const struct sy_buf *node, const struct sy_buf *site)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, (node != NULL ? 1U : 0) + (site != NULL ? 1U : 0));
    if (node != NULL) {
        sy_mp_str(&b, "node");
        sy_buf_put(&b, node->p, node->len);
    }
    if (site != NULL) {
        sy_mp_str(&b, "site");
        sy_buf_put(&b, site->p, site->len);
    }
    fake.cb.frame(fake.n, from, ND_FRAME_GOSSIP, b.p, b.len);
    sy_buf_free(&b);
}

void fake_sound(uint64_t from, const char *watch)
{
    struct sy_buf b = {0};

    sy_mp_map(&b, 7);
    sy_mp_str(&b, "files");
    sy_mp_map(&b, 0);
    sy_mp_kuint(&b, "id", from);
    sy_mp_kstr(&b, "raft", "follower");
    sy_mp_kstr(&b, "watch", watch);
    sy_mp_kuint(&b, "term", fake.term);
    sy_mp_kbool(&b, "disk_low", false);
    sy_mp_kbool(&b, "diverged", false);
    fake_gossip(from, &b, NULL);
    sy_buf_free(&b);
}

uint64_t fake_random(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15ULL);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void fake_folder(char to[64])
{
    snprintf(to, 64, "%s/vagt-test.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(to));
}

int fake_folder_remove(const char *path)
{
    char command[96];

    snprintf(command, sizeof command, "rm -r %s", path);
    return system(command);
}
