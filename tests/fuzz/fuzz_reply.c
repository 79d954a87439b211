/* Bytes are what a node answers vagtctl: a letter that says which command asked, and
 * answers, each led by its length (two bytes, little endian); the last one serves for
 * all that is asked after it. Nothing raw may reach the terminal. */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

volatile sig_atomic_t ct_interrupted;

enum { ASKED_MAX = 200 };

static struct sy_cur answers;
static struct sy_cur last;
static unsigned asked;

/* --- instead of main.c and the sockets --- */

void ct_catch_signals(void)
{
}

void ct_client_init(struct ct_client *c, const struct ct_endpoints *sockets)
{
    *c = (struct ct_client){.sockets = sockets};
}

void ct_client_free(struct ct_client *c)
{
    (void)c;
}

bool ct_reachable(const char *endpoint, unsigned timeout_ms, struct sy_errbuf *eb)
{
    (void)endpoint, (void)timeout_ms, (void)eb;
    return true;
}

void ct_ask_one(struct ct_client *c, unsigned socket, const char *op,
                const struct sy_buf *args, unsigned timeout_ms, struct ct_reply *r)
{
    int rv;

    (void)op, (void)args, (void)timeout_ms;
    ct_interrupted = ++asked >= ASKED_MAX; /* Some ask until it is as they want it. */
    ct_reply_free(r);
    if (answers.n >= 2) {
        size_t len = answers.p[0] | (size_t)answers.p[1] << 8;

        len = len < answers.n - 2 ? len : answers.n - 2;
        last = (struct sy_cur){.p = answers.p + 2, .n = len};
        answers.p += 2 + len;
        answers.n -= 2 + len;
    }
    /* Of the exact size, for the sanitizer. */
    r->raw =
        (struct sy_buf){.p = sy_memdup(last.n > 0 ? last.p : (const uint8_t *)"", last.n),
                        .len = last.n,
                        .cap = last.n};
    rv = ct_reply_take(r, 1, c->sockets->at[socket]);
    if (rv <= 0) {
        memcpy(r->code, "damaged", sizeof "damaged");
        r->text.len = 0;
        sy_buf_put(&r->text, "damaged", sizeof "damaged");
    }
}

void ct_ask(struct ct_client *c, const char *op, const struct sy_buf *args,
            unsigned timeout_ms, struct ct_reply *r)
{
    ct_ask_one(c, 0, op, args, timeout_ms, r);
}

/* --- what must hold --- */

/* What went to the terminal since the last time. */
static void check_clean(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *p = sy_alloc((size_t)size);
    ssize_t got = pread(fd, p, (size_t)size, 0);
    int rv = ftruncate(fd, 0);

    assert(got == size && rv == 0);
    (void)lseek(fd, 0, SEEK_SET);
    for (size_t i = 0; i < (size_t)size;) {
        uint32_t cp;
        size_t len = sy_utf8_next(p + i, (size_t)size - i, &cp);

        assert(cp == '\n' || !(sy_utf8_unsafe(cp) || (cp == 0xfffd && len == 1)));
        i += len;
    }
    sy_free(p);
}

static int run(uint8_t which, struct ct_options *opt)
{
    static struct
    {
        int (*run)(const struct ct_options *);
        int args_n;
        char *args[2];
    } commands[] = {{ct_cmd_status, 0, {NULL}},         {ct_cmd_devices, 0, {NULL}},
                    {ct_cmd_commands, 0, {NULL}},       {ct_cmd_bridges, 0, {NULL}},
                    {ct_cmd_members, 0, {NULL}},        {ct_cmd_why, 0, {NULL}},
                    {ct_cmd_ready, 0, {NULL}},          {ct_cmd_ping, 0, {NULL}},
                    {ct_cmd_metrics, 0, {NULL}},        {ct_cmd_hash, 0, {NULL}},
                    {ct_cmd_drills, 0, {NULL}},         {ct_cmd_maintenance, 0, {NULL}},
                    {ct_cmd_command, 1, {"c1"}},        {ct_cmd_cancel, 1, {"c1"}},
                    {ct_cmd_area, 2, {"off", "north"}}, {ct_cmd_drills, 1, {"1"}}};

    which %= sizeof commands / sizeof *commands;
    opt->args = commands[which].args;
    opt->args_n = commands[which].args_n;
    return commands[which].run(opt);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static int out = -1;
    struct ct_options opt = {.sockets = {.at = {"tcp://a", "tcp://b"}, .n = 2},
                             .timeout_ms = 1000};
    int rv;

    if (out < 0) {
        out = memfd_create("terminal", MFD_CLOEXEC);
        assert(out >= 0);
        rv = dup2(out, STDOUT_FILENO);
        assert(rv == STDOUT_FILENO);
    }
    if (n < 2) {
        return 0;
    }
    opt.json = (p[0] & 0x80) != 0;
    opt.stale = (p[0] & 0x40) != 0;
    answers = (struct sy_cur){.p = p + 1, .n = n - 1};
    last = (struct sy_cur){.p = NULL};
    asked = 0;
    ct_interrupted = 0;
    rv = run(p[0] & 0x3f, &opt);
    assert(rv >= 0 && rv <= CT_UNREACHABLE);
    check_clean(out);
    return 0;
}
