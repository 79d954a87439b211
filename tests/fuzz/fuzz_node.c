/* Bytes are what a whole node hears (all below it is played), as steps: a letter, then
 * what it needs.
 *
 *   F from kind len (two bytes) ...   a frame of another node, which has proved its name
 *   C len (two bytes) ...             a request at the control socket
 *   Q flags age left texts ...        a row of meter_commands: eight bytes each, five
 *                                     texts that end with a zero
 *   D area topic len ...              a dead letter that is tried again
 *   K what which ok why               a message of the keeper of the resources
 *   L M                               another node leads; this one does
 *   P time                            hundredths of seconds pass
 *   W                                 the thread pool does what it was given; it does it
 *                                     before time passes, too
 *
 *   R folder fault                    the disk says something else from now on
 *   G folder node follows from        a version of the set of files, of another leader's
 *
 * The first byte says how many nodes there are, and whether there are resources and a set
 * of files. The node may refuse, and may end itself where that is what it must do; no
 * more. */

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/fuzz/fake_files.h"
#include "tests/node/fake_node.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { STEPS_MAX = 64, RESOURCES = 2, WORK_MAX = STEPS_MAX };

static jmp_buf end;
static int keeper = -1;
static struct
{
    uv_work_t *req;
    uv_after_work_cb done;
} queue[WORK_MAX];
static unsigned queued;

/* --- what must not happen to the fuzzer itself --- */

int kill(pid_t pid, int sig)
{
    (void)pid, (void)sig;
    return 0;
}

pid_t fork(void)
{
    return -1;
}

_Noreturn void _exit(int code)
{
    (void)code;
    longjmp(end, 1);
}

int ad_keeper_start(const struct ad_keeper_config *c, const struct sy_log *log,
                    int *ret_fd, struct sy_errbuf *eb)
{
    int pair[2];

    (void)c, (void)log, (void)eb;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    *ret_fd = pair[0];
    keeper = pair[1];
    return 0;
}

const char *ad_resource_kind_name(enum ad_resource_kind kind)
{
    return kind == AD_RES_EXEC ? "exec" : "?";
}

/* No loop and no threads: what they would do is done in order, and by this one. */
int uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb work_cb,
                  uv_after_work_cb after_work_cb)
{
    (void)loop;
    if (queued == WORK_MAX) {
        return UV_ENOMEM;
    }
    req->work_cb = work_cb;
    queue[queued].req = req;
    queue[queued++].done = after_work_cb;
    return 0;
}

int uv_fs_event_init(uv_loop_t *loop, uv_fs_event_t *event)
{
    (void)loop, (void)event;
    return UV_ENOSYS;
}

static void work(void)
{
    while (queued > 0) {
        uv_work_t *req = queue[0].req;
        uv_after_work_cb done = queue[0].done;

        memmove(&queue[0], &queue[1], --queued * sizeof queue[0]);
        req->work_cb(req);
        done(req, 0);
    }
}

/* --- the input --- */

static uint8_t byte(struct sy_cur *c)
{
    return c->n > 0 ? sy_cur_u8(c) : 0;
}

static uint64_t eight(struct sy_cur *c)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++) {
        v |= (uint64_t)byte(c) << (8 * i);
    }
    return v;
}

/* A copy of the exact size, for the sanitizer; freed by the caller. */
static uint8_t *bytes(struct sy_cur *c, size_t *ret_n)
{
    size_t n = byte(c);
    uint8_t *p;

    n |= (size_t)byte(c) << 8;
    n = n < c->n ? n : c->n;
    p = sy_memdup(n > 0 ? c->p : (const uint8_t *)"", n);
    c->p += n;
    c->n -= n;
    *ret_n = n;
    return p;
}

/* Texts of a row: as long as the statement lets them be. */
static const char *text(struct sy_cur *c, char to[256], size_t max)
{
    size_t n = 0;

    while (c->n > 0) {
        char ch = (char)byte(c);

        if (ch == '\0') {
            break;
        }
        if (n < max) {
            to[n++] = ch;
        }
    }
    to[n] = '\0';
    return to;
}

/* --- the steps --- */

static void frame(struct sy_cur *c)
{
    uint64_t from = 2 + byte(c) % (fake.n->config.nodes_n - 1);
    uint8_t kind = byte(c);
    size_t n;
    uint8_t *p = bytes(c, &n);

    fake.cb.frame(fake.n, from, kind, p, n);
    sy_free(p);
}

static void request(struct sy_cur *c)
{
    size_t n;
    uint8_t *p = bytes(c, &n);

    fake_ask_bytes('f', p, n);
    sy_free(p);
}

static void row(struct sy_cur *c)
{
    uint8_t flags = byte(c);
    char of[5][256];
    struct ad_pg_ask a = {.dated = (flags & 1) != 0, .expires = (flags & 2) != 0};

    a.age_ms = eight(c);
    a.expires_in_ms = (int64_t)eight(c);
    a.id = text(c, of[0], 60); /* A longer one the adapter refuses. */
    a.meter = text(c, of[1], 200);
    a.command = text(c, of[2], 100);
    a.value = text(c, of[3], 100);
    a.status = text(c, of[4], 100);
    if (fake.pg_cb.commands != NULL && rp_store_command(fake.store, a.id) == NULL) {
        fake.pg_cb.commands(fake.pg_data, &a, 1);
    }
}

static void letter(struct sy_cur *c)
{
    char of[2][256];
    struct ad_pg_retry l = {.id = 7,
                            .area = text(c, of[0], 255),
                            .topic = text(c, of[1], 255),
                            .at_ms = fake.wall_ms};
    uint8_t *p = bytes(c, &l.len);

    l.payload = p;
    if (fake.pg_cb.retry != NULL) {
        fake.pg_cb.retry(fake.pg_data, &l);
    }
    sy_free(p);
}

static void from_keeper(struct sy_cur *c)
{
    struct ad_keeper_message m = {.what = byte(c), .which = byte(c), .ok = byte(c) & 1};

    memset(m.why, byte(c), sizeof m.why);
    if (keeper >= 0 && fake.poll != NULL && fake.poll_cb != NULL) {
        assert_int_equal(send(keeper, &m, sizeof m, 0), sizeof m);
        fake.poll_cb(fake.poll, 0, UV_READABLE);
    }
}

static void disk(struct sy_cur *c)
{
    uint8_t folder = byte(c);

    fake_files_disk(folder, byte(c));
}

static void version(struct sy_cur *c)
{
    struct rp_file list[3];
    unsigned n = fake_files_list(byte(c), list);
    uint8_t node = byte(c), follows = byte(c), from = byte(c);
    struct rp_batch b = {0};

    if (n > 0) {
        rp_batch_files(&b, "conf", follows, from, node, list, n);
        fake_apply(&b);
        rp_batch_free(&b);
    }
}

static void lead(void)
{
    fake.leading = ++fake.term;
    fake.role = CS_LEADER;
    fake.leader = 1;
    fake.lease_until_ms = UINT64_MAX;
    fake_settle();
}

static void step(struct sy_cur *c)
{
    switch (byte(c)) {
    case 'F':
        frame(c);
        break;
    case 'C':
        request(c);
        break;
    case 'Q':
        row(c);
        break;
    case 'D':
        letter(c);
        break;
    case 'K':
        from_keeper(c);
        break;
    case 'L':
        fake_lose(1, 2, fake.term + 1);
        break;
    case 'M':
        lead();
        break;
    case 'R':
        disk(c);
        break;
    case 'G':
        version(c);
        break;
    case 'W':
        work();
        break;
    case 'P':
        work();
        fake_pass((uint64_t)byte(c) * 10, true);
        break;
    default:
        return;
    }
    fake_settle();
    fake_forget();
}

/* --- the node --- */

static void open_node(uint8_t how)
{
    struct nd_config *c;

    fake_open(2 + (how & 1));
    c = &fake.n->config;
    snprintf(c->data_dir, sizeof c->data_dir, "/nonexistent/vagt");
    c->limits = (struct rp_limits){4, 32, 50, 32, 8};
    c->commands.timeout_ms = 60000;
    if ((how & 2) != 0) {
        c->takeover_wait_ms = 4000;
        c->resources_n = RESOURCES;
        for (unsigned i = 0; i < RESOURCES; i++) {
            snprintf(c->resources[i].name, sizeof c->resources[i].name, "r%u", i);
            c->resources[i].run.has_exec = true;
            c->resources[i].stop_timeout_ms = 2000;
            c->resources[i].local = true;
        }
    }
    fake_files_reset();
    fake_files_disk(1, 0);
    if ((how & 4) != 0) {
        c->files_n = 1;
        snprintf(c->files[0].name, sizeof c->files[0].name, "conf");
        snprintf(c->files[0].dir, sizeof c->files[0].dir, "/nonexistent/conf");
    }
    fake_begin();
    lead();
    fake_device(10, 1);
    fake_device(20, 2);
    fake_bridges_ready();
    fake_sound(2, "standby");
    fake_forget();
}

/* The keeper does what it is asked for, so that all stops. */
static void serve(void)
{
    struct ad_keeper_message m;

    while (keeper >= 0 && fake.poll != NULL &&
           recv(keeper, &m, sizeof m, MSG_DONTWAIT) == (ssize_t)sizeof m) {
        m.ok = 1;
        if (m.what == AD_KEEPER_START || m.what == AD_KEEPER_STOP) {
            assert_int_equal(send(keeper, &m, sizeof m, 0), sizeof m);
            fake.poll_cb(fake.poll, 0, UV_READABLE);
            fake_settle();
        }
    }
}

/* It may end itself once more on the way, if a resource does not stop. */
static void close_node(void)
{
    if (setjmp(end) == 0) {
        fake_lose(0, 2, fake.term + 1);
        for (unsigned i = 0; i < 20 && keeper >= 0; i++) {
            serve();
            fake_pass(500, true);
        }
    } else {
        fake.n->site.m.n = 0;
    }
    if (setjmp(end) == 0) {
        nd_node_stop(fake.n);
        for (unsigned i = 0; i < 10; i++) {
            fake_pass(100, false);
        }
        work(); /* A loop ends after what it was given. */
        fake_close();
    }
    queued = 0;
    if (keeper >= 0) {
        close(keeper);
        keeper = -1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct sy_cur c;

    if (n == 0) {
        return 0;
    }
    c = (struct sy_cur){.p = p + 1, .n = n - 1};
    open_node(p[0]);
    if (setjmp(end) == 0) {
        /* Who has ended itself hears nothing more. */
        for (unsigned i = 0; i < STEPS_MAX && c.n > 0 && !fake.replica_closed; i++) {
            step(&c);
        }
    }
    close_node();
    return 0;
}
