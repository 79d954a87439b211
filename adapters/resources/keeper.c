#include "adapters/resources/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapters/resources/keeper_impl.h"
#include "base/mem.h"

enum { EXIT_FENCED = 1, END_MS = 10000, KEEPER_FD = 3, NAP_MS = 200 };

const char *ad_resource_kind_name(enum ad_resource_kind kind)
{
    static const char *const names[AD_RES_KINDS_NR] = {"vip", "systemd", "docker", "exec",
                                                       "command"};

    return names[kind];
}

/* --- to vagtd, or, when it has ended, to the machine that ends the rest --- */

static enum cs_resource_effect effect_of(enum ad_keeper_what what)
{
    return what == AD_KEEPER_START  ? CS_RES_START
           : what == AD_KEEPER_STOP ? CS_RES_STOP
                                    : CS_RES_MONITOR;
}

void ad__answer(struct keeper *k, unsigned i, enum ad_keeper_what what, bool ok,
                const char *why)
{
    struct ad_keeper_message m = {.what = (uint8_t)what, .which = (uint8_t)i, .ok = ok};

    if (what == AD_KEEPER_START) {
        k->list[i].running = ok;
    } else if (what == AD_KEEPER_STOP && ok) {
        k->list[i].touched = false;
    }
    if (k->fd >= 0) {
        snprintf(m.why, sizeof m.why, "%s", ok ? "" : why);
        (void)!send(k->fd, &m, sizeof m, MSG_NOSIGNAL); /* If it ended: we see that. */
    } else if (what != AD_KEEPER_ENDED) {
        cs_resources_done(&k->machine, ad__now_ms(), i, effect_of(what), ok);
        if (!ok) {
            SY_LOG(k->log, SY_ERR, "keeper.failed", KSTR("resource", k->c.list[i].name),
                   KSTR("why", why));
        }
    }
}

static void list_running(struct keeper *k)
{
    struct ad_keeper_message m = {.what = AD_KEEPER_RUNS, .ok = 1};

    for (unsigned i = 0; i < k->c.n; i++) {
        m.which = (uint8_t)i;
        if (k->list[i].running) {
            (void)!send(k->fd, &m, sizeof m, MSG_NOSIGNAL);
        }
    }
    m.what = AD_KEEPER_LIST;
    (void)!send(k->fd, &m, sizeof m, MSG_NOSIGNAL);
}

/* It has half of what is left at the end, so it bites before somebody else may start. */
static int arm(struct keeper *k, struct sy_errbuf *eb)
{
    return k->c.fence != AD_FENCE_WATCHDOG
               ? 0
               : ad__watchdog_open(&k->watchdog, k->c.watchdog, k->c.end_ms / 2, eb);
}

/* What could not be fenced is not started. */
static void start(struct keeper *k, unsigned i)
{
    struct sy_errbuf eb;

    if (arm(k, &eb) != 0) {
        ad__answer(k, i, AD_KEEPER_START, false, eb.text);
    } else {
        ad__start(k, i);
    }
}

static void on_message(struct keeper *k, const struct ad_keeper_message *m)
{
    k->heard_ms = ad__now_ms();
    if (m->what == AD_KEEPER_LIST) {
        list_running(k);
    } else if (m->which >= k->c.n) {
        return; /* Nobody asks that. */
    } else if (m->what == AD_KEEPER_START) {
        start(k, m->which);
    } else if (m->what == AD_KEEPER_STOP) {
        ad__stop(k, m->which);
    } else if (m->what == AD_KEEPER_LOOK) {
        ad__look(k, m->which);
    }
}

/* --- vagtd has ended --- */

static void begin_end(struct keeper *k, const char *why)
{
    close(k->fd);
    k->fd = -1;
    k->end_ms = ad__now_ms() + k->c.end_ms - (k->watchdog.fd >= 0 ? k->watchdog.ms : 0);
    cs_resources_init(&k->machine);
    for (unsigned i = 0; i < k->c.n; i++) {
        (void)cs_resources_add(&k->machine, &k->c.list[i].spec);
        k->machine.list[i].started = true; /* What does not stop is fenced. */
        if (!k->list[i].touched) {
            k->machine.list[i].state = CS_RES_STOPPED;
        }
    }
    if (cs_resources_held(&k->machine)) {
        SY_LOG(k->log, SY_WARN, "keeper.stopping", KSTR("why", why));
    }
}

static int fence(struct keeper *k, unsigned which)
{
    static const char *const names[] = {"exit", "reboot", "watchdog"};

    /* From here on the watchdog hears nothing more. */
    SY_LOG(k->log, SY_ERR, "keeper.fences", KSTR("resource", k->c.list[which].name),
           KSTR("by", names[k->c.fence]));
    ad__kill_all(k);
    if (k->c.fence == AD_FENCE_REBOOT) {
        sync();
        (void)reboot(RB_AUTOBOOT);
        SY_LOG(k->log, SY_ERR, "keeper.failed", KSTR("resource", "this machine"),
               KSTR("why", "it may not reboot it: CAP_SYS_BOOT"));
    }
    return EXIT_FENCED;
}

/* True: it is over, with @ret_code. */
static bool step_end(struct keeper *k, int *ret_code)
{
    struct cs_resource_levels l = {.now_ms = ad__now_ms()};
    enum cs_resource_effect effect;
    unsigned which;

    while ((effect = cs_resources_step(&k->machine, &l, &which)) != CS_RES_NOTHING) {
        if (effect == CS_RES_FENCE) {
            *ret_code = fence(k, which);
            return true;
        }
        ad__stop(k, which);
    }
    *ret_code = 0;
    if (cs_resources_released(&k->machine)) {
        return true;
    }
    if (l.now_ms >= k->end_ms) {
        for (which = 0; k->machine.list[which].state == CS_RES_STOPPED;) {
            which++;
        }
        *ret_code = fence(k, which);
        return true;
    }
    return false;
}

/* It hangs, or is stopped by a signal, while somebody else takes over. */
static bool silent(const struct keeper *k, uint64_t now)
{
    bool holds = false;

    for (unsigned i = 0; i < k->c.n; i++) {
        holds = holds || k->list[i].touched;
    }
    return holds && now >= k->heard_ms + k->c.end_ms;
}

/* --- its loop --- */

static void reap(struct keeper *k)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(k->signals, &info, sizeof info) == (ssize_t)sizeof info) {
    }
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        ad__reaped(k, pid, status);
    }
}

/* False: the other end is closed. */
static bool receive(struct keeper *k)
{
    struct ad_keeper_message m;
    ssize_t n;

    while ((n = recv(k->fd, &m, sizeof m, MSG_DONTWAIT)) == (ssize_t)sizeof m) {
        on_message(k, &m);
    }
    return n != 0 && !(n < 0 && errno != EAGAIN && errno != EINTR);
}

/* One of another life may still be stopping what that one had. */
static int lock(const struct ad_keeper_config *c, bool wait, struct sy_errbuf *eb)
{
    char path[512];
    int fd;

    snprintf(path, sizeof path, "%s/keeper.lock", c->dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return sy_fail(eb, -errno, "%s cannot be opened: %s", path, strerror(errno));
    }
    while (wait && flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            return sy_fail(eb, -errno, "%s cannot be locked: %s", path, strerror(errno));
        }
    }
    return fd; /* Kept open. */
}

int ad_keeper_run(const struct ad_keeper_config *c, const struct sy_log *log, int fd)
{
    struct keeper *k = sy_calloc(1, sizeof *k);
    struct sy_errbuf eb;
    sigset_t set;
    int code = 0;

    *k = (struct keeper){.c = *c, .log = log, .fd = fd, .watchdog = {.fd = -1}};
    k->c.end_ms = c->end_ms != 0 ? c->end_ms : END_MS;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, &k->mask);
    k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* What a script leaves behind is ours. */
    if (lock(c, true, &eb) < 0) {
        SY_LOG(log, SY_ERR, "keeper.failed", KSTR("resource", "all of them"),
               KSTR("why", eb.text));
        sy_free(k);
        return 1;
    }
    (void)!arm(k, &eb); /* Tried again, and said, when something is to be started. */
    for (;;) {
        struct pollfd p[2] = {{.fd = k->signals, .events = POLLIN},
                              {.fd = k->fd, .events = POLLIN}};
        uint64_t now = ad__now_ms();
        uint64_t next = ad__tend(k, now);

        if (k->fd < 0 && step_end(k, &code)) {
            break;
        }
        ad__watchdog_tend(&k->watchdog, now);
        next = next < now + NAP_MS ? next : now + NAP_MS;
        (void)poll(p, k->fd < 0 ? 1 : 2, (int)(next - now));
        reap(k);
        if (k->fd >= 0 && p[1].revents != 0 && !receive(k)) {
            begin_end(k, "vagtd has ended");
        } else if (k->fd >= 0 && silent(k, ad__now_ms())) {
            begin_end(k, "vagtd says nothing any more");
        }
    }
    if (code == 0) {
        ad__watchdog_disarm(&k->watchdog);
    }
    close(k->signals);
    sy_free(k);
    return code;
}

static void forget(const char *const *names)
{
    for (; names != NULL && *names != NULL; names++) {
        char *value = getenv(*names);

        if (value != NULL) {
            explicit_bzero(value, strlen(value)); /* /proc shows it from this place. */
            (void)unsetenv(*names);
        }
    }
}

int ad_keeper_start(const struct ad_keeper_config *c, const struct sy_log *log,
                    int *ret_fd, struct sy_errbuf *eb)
{
    int pair[2], fd;
    pid_t pid;

    if (mkdir(c->dir, 0700) != 0 && errno != EEXIST) {
        return sy_fail(eb, -errno, "%s cannot be made: %s", c->dir, strerror(errno));
    }
    fd = lock(c, false, eb); /* Whether it could: the keeper itself has nobody to tell. */
    if (fd < 0) {
        return fd;
    }
    close(fd);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return sy_fail(eb, -errno, "socketpair: %s", strerror(errno));
    }
    pid = fork();
    if (pid < 0) {
        return sy_fail(eb, -errno, "the keeper cannot be started: %s", strerror(errno));
    }
    if (pid == 0) {
        /* Whoever ends vagtd by a signal to all of them wants what we do anyway. */
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        (void)prctl(PR_SET_NAME, "vagt-keeper");
        forget(c->forget);
        (void)dup2(pair[1], KEEPER_FD);
        (void)close_range(KEEPER_FD + 1, ~0U, 0);
        (void)fcntl(KEEPER_FD, F_SETFD, FD_CLOEXEC);
        _exit(ad_keeper_run(c, log, KEEPER_FD));
    }
    close(pair[1]);
    *ret_fd = pair[0];
    return 0;
}
