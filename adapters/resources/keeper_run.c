/* The actions: scripts and programs as children in process groups of their own,
 * addresses by the kernel. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "adapters/resources/keeper_impl.h"

enum {
    SETTLE_MS = 300,
    OUTPUT_MAX = 4 * 1024 * 1024,
    ANNOUNCEMENTS = 4,
    ANNOUNCE_MS = 500,
    KILL_ALL_MS = 2000,
    MARK_SIZE = 400,
    ENVIRON_SIZE = 64 * 1024
};

uint64_t ad__now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- children --- */

static void put_mark(char to[MARK_SIZE], const struct keeper *k,
                     const struct ad_resource *r)
{
    snprintf(to, MARK_SIZE, "VAGT_RESOURCE=%s/%s", k->c.dir, r->name);
}

/* What a resource says goes to a file of its own, of which one older is kept. */
static void open_output(const struct keeper *k, const struct ad_resource *r)
{
    char path[512], old[520];
    struct stat st;
    int fd;

    snprintf(path, sizeof path, "%s/%s.out", k->c.dir, r->name);
    if (stat(path, &st) == 0 && st.st_size > OUTPUT_MAX) {
        snprintf(old, sizeof old, "%s.1", path);
        (void)rename(path, old);
    }
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
    }
}

static void become(const struct keeper *k, const struct ad_resource *r, char *const *argv)
{
    char mark[MARK_SIZE];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigprocmask(SIG_SETMASK, &k->mask, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
    }
    open_output(k, r);
    (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    put_mark(mark, k, r);
    (void)putenv(mark);
    for (unsigned i = 0; i < sizeof r->env / sizeof r->env[0] && r->env[i][0] != '\0';
         i++) {
        (void)putenv((char *)(uintptr_t)r->env[i]);
    }
    if (chdir(r->dir[0] != '\0' ? r->dir : "/") != 0) {
        fprintf(stderr, "%s: %s\n", r->dir, strerror(errno));
        _exit(126);
    }
    (void)execvp(argv[0], argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* What was started for it, wherever it has gone since: told by its environment. */
static void kill_marked(const struct keeper *k, const struct ad_resource *r)
{
    char mark[MARK_SIZE], path[64], text[ENVIRON_SIZE];
    DIR *proc = opendir("/proc");
    struct dirent *e;

    put_mark(mark, k, r);
    while (proc != NULL && (e = readdir(proc)) != NULL) {
        long pid = strtol(e->d_name, NULL, 10);
        size_t n = 0;
        FILE *f;

        if (pid <= 1 || pid == getpid()) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%ld/environ", pid);
        f = fopen(path, "re");
        if (f != NULL) {
            n = fread(text, 1, sizeof text, f);
            fclose(f);
        }
        if (n > 0 && memmem(text, n, mark, strlen(mark) + 1) != NULL) {
            (void)kill((pid_t)pid, SIGKILL);
        }
    }
    if (proc != NULL) {
        closedir(proc);
    }
}

static pid_t spawn(const struct keeper *k, const struct ad_resource *r, char *const *argv)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        if (getppid() != parent) {
            _exit(1);
        }
        become(k, r, argv);
    }
    if (pid > 0) {
        (void)setpgid(pid, pid);
    }
    return pid < 0 ? -errno : pid;
}

static void end_action(struct held *h)
{
    if (h->action > 0) {
        (void)kill(-h->action, SIGKILL);
    }
    h->action = 0; /* Its end is nobody's business any more. */
    h->doing = 0;
}

/* --- scripts --- */

static void run_script(struct keeper *k, unsigned i, enum ad_keeper_what what,
                       unsigned timeout_ms)
{
    static const char *const verbs[] = {NULL, "start", "stop", "monitor"};
    const struct ad_resource *r = &k->c.list[i];
    struct held *h = &k->list[i];
    char first[AD_RESOURCE_ARG_SIZE], seconds[16];
    char *argv[6] = {(char *)(uintptr_t)r->args[0], (char *)(uintptr_t)verbs[what]};
    char why[AD_RESOURCE_WHY_SIZE];
    pid_t pid;

    snprintf(first, sizeof first, "%s", r->args[0]);
    snprintf(seconds, sizeof seconds, "%u", r->stop_ms / 1500 + 1);
    if (r->kind == AD_RES_SYSTEMD) {
        argv[0] = "systemctl";
        argv[1] = what == AD_KEEPER_LOOK ? "is-active" : argv[1];
        argv[2] = first;
    } else if (r->kind == AD_RES_DOCKER) {
        unsigned n = 2;

        argv[0] = "docker";
        argv[1] = what == AD_KEEPER_LOOK ? "top" : argv[1];
        if (what == AD_KEEPER_STOP) {
            argv[n++] = "-t";
            argv[n++] = seconds;
        }
        argv[n] = first;
    }
    pid = spawn(k, r, argv);
    if (pid < 0) {
        snprintf(why, sizeof why, "%s cannot be run: %s", argv[0], strerror((int)-pid));
        ad__answer(k, i, what, false, why);
        return;
    }
    h->action = pid;
    h->doing = what;
    h->until_ms = ad__now_ms() + timeout_ms;
}

/* --- programs --- */

static void run_command(struct keeper *k, unsigned i)
{
    const struct ad_resource *r = &k->c.list[i];
    struct held *h = &k->list[i];
    char *argv[AD_RESOURCE_ARGS_MAX + 1] = {NULL};
    char why[AD_RESOURCE_WHY_SIZE];
    pid_t pid;

    for (unsigned a = 0; a < r->args_n; a++) {
        argv[a] = (char *)(uintptr_t)r->args[a];
    }
    pid = spawn(k, r, argv);
    if (pid < 0) {
        snprintf(why, sizeof why, "it cannot be run: %s", strerror((int)-pid));
        ad__answer(k, i, AD_KEEPER_START, false, why);
        return;
    }
    h->child = pid;
    h->killed = false;
    h->doing = AD_KEEPER_START;
    h->until_ms = ad__now_ms() + SETTLE_MS;
}

static void stop_command(struct keeper *k, unsigned i)
{
    struct held *h = &k->list[i];

    if (h->child == 0) {
        kill_marked(k, &k->c.list[i]); /* Of a keeper that was killed. */
        ad__answer(k, i, AD_KEEPER_STOP, true, "");
        return;
    }
    (void)kill(-h->child, SIGTERM);
    (void)kill(-h->child, SIGCONT);
    h->killed = false;
    h->doing = AD_KEEPER_STOP;
    h->until_ms = ad__now_ms() + k->c.list[i].stop_ms * 2 / 3;
}

/* --- addresses --- */

/* It is gone before another node may take it, also if all of ours has died. */
static unsigned vip_seconds(const struct keeper *k)
{
    unsigned s = 2 * k->c.end_ms / 1000;

    return s > 3 ? s - 1 : 2;
}

static void hold_address(struct keeper *k, unsigned i, enum ad_keeper_what what)
{
    struct held *h = &k->list[i];
    struct sy_errbuf eb = {.text = ""};
    int rv = ad_vip_hold(&k->c.list[i].vip, vip_seconds(k), &eb);

    if (rv == 0) {
        h->renew_ms = ad__now_ms() + vip_seconds(k) * 1000 / 3;
        if (what == AD_KEEPER_START) {
            rv = ad_vip_announce(&k->c.list[i].vip, &eb);
            h->announce = ANNOUNCEMENTS; /* Some neighbour may have missed it. */
            h->renew_ms = ad__now_ms() + ANNOUNCE_MS;
        }
    }
    ad__answer(k, i, what, rv == 0, eb.text);
}

static void drop_address(struct keeper *k, unsigned i)
{
    struct sy_errbuf eb = {.text = ""};
    int rv = ad_vip_drop(&k->c.list[i].vip, &eb);

    k->list[i].renew_ms = 0;
    ad__answer(k, i, AD_KEEPER_STOP, rv == 0, eb.text);
}

static void renew(struct keeper *k, unsigned i, uint64_t now)
{
    struct held *h = &k->list[i];
    struct sy_errbuf eb;

    h->renew_ms = now + vip_seconds(k) * 1000 / 3;
    if (ad_vip_hold(&k->c.list[i].vip, vip_seconds(k), &eb) != 0) {
        h->renew_ms = 0;
        h->running = false;
        ad__answer(k, i, AD_KEEPER_ENDED, false, eb.text);
    } else if (h->announce > 0) {
        h->announce--;
        (void)!ad_vip_announce(&k->c.list[i].vip, &eb);
        h->renew_ms = now + ANNOUNCE_MS;
    }
}

/* --- what is asked for --- */

void ad__start(struct keeper *k, unsigned i)
{
    const struct ad_resource *r = &k->c.list[i];

    end_action(&k->list[i]);
    k->list[i].touched = true;
    if (r->kind == AD_RES_VIP) {
        hold_address(k, i, AD_KEEPER_START);
    } else if (r->kind != AD_RES_COMMAND) {
        run_script(k, i, AD_KEEPER_START, r->start_ms);
    } else if (k->list[i].child != 0) {
        ad__answer(k, i, AD_KEEPER_START, false, "it runs already");
    } else {
        run_command(k, i);
    }
}

void ad__stop(struct keeper *k, unsigned i)
{
    const struct ad_resource *r = &k->c.list[i];

    end_action(&k->list[i]);
    k->list[i].running = false;
    if (r->kind == AD_RES_VIP) {
        drop_address(k, i);
    } else if (r->kind == AD_RES_COMMAND) {
        stop_command(k, i);
    } else {
        run_script(k, i, AD_KEEPER_STOP, r->stop_ms);
    }
}

void ad__look(struct keeper *k, unsigned i)
{
    const struct ad_resource *r = &k->c.list[i];

    end_action(&k->list[i]);
    if (r->kind == AD_RES_VIP) {
        hold_address(k, i, AD_KEEPER_LOOK);
    } else if (r->kind == AD_RES_COMMAND) {
        ad__answer(k, i, AD_KEEPER_LOOK, k->list[i].child != 0, "it does not run");
    } else {
        run_script(k, i, AD_KEEPER_LOOK, r->look_ms);
    }
}

/* --- what comes of it --- */

static void how_it_ended(const struct keeper *k, unsigned i, int status, char *to,
                         size_t size)
{
    if (WIFSIGNALED(status)) {
        snprintf(to, size, "it was ended by signal %d", WTERMSIG(status));
    } else {
        snprintf(to, size, "exit code %d%s; what it said is in %s/%s.out",
                 WEXITSTATUS(status),
                 WEXITSTATUS(status) == 127 ? " (there is no such program)" : "",
                 k->c.dir, k->c.list[i].name);
    }
}

static void command_ended(struct keeper *k, unsigned i, int status)
{
    struct held *h = &k->list[i];
    enum ad_keeper_what doing = h->doing;
    char why[AD_RESOURCE_WHY_SIZE];

    (void)kill(-h->child, SIGKILL); /* What it left behind. */
    h->child = 0;
    h->doing = 0;
    h->running = false;
    how_it_ended(k, i, status, why, sizeof why);
    if (doing == AD_KEEPER_STOP) {
        ad__answer(k, i, AD_KEEPER_STOP, true, "");
    } else {
        ad__answer(k, i, doing == AD_KEEPER_START ? AD_KEEPER_START : AD_KEEPER_ENDED,
                   false, why);
    }
}

void ad__reaped(struct keeper *k, pid_t pid, int status)
{
    char why[AD_RESOURCE_WHY_SIZE];

    for (unsigned i = 0; i < k->c.n; i++) {
        struct held *h = &k->list[i];

        if (h->child == pid) {
            command_ended(k, i, status);
        } else if (h->action == pid) {
            enum ad_keeper_what doing = h->doing;

            h->action = 0;
            h->doing = 0;
            how_it_ended(k, i, status, why, sizeof why);
            ad__answer(k, i, doing, status == 0, why);
        }
    }
}

static void overdue(struct keeper *k, unsigned i, uint64_t now)
{
    struct held *h = &k->list[i];
    enum ad_keeper_what doing = h->doing;
    char why[AD_RESOURCE_WHY_SIZE];

    if (h->action > 0) {
        end_action(h);
        snprintf(why, sizeof why, "it took longer than %u ms",
                 doing == AD_KEEPER_START  ? k->c.list[i].start_ms
                 : doing == AD_KEEPER_STOP ? k->c.list[i].stop_ms
                                           : k->c.list[i].look_ms);
        ad__answer(k, i, doing, false, why);
    } else if (doing == AD_KEEPER_START) {
        h->doing = 0;
        h->running = true;
        ad__answer(k, i, AD_KEEPER_START, true, "");
    } else if (!h->killed) {
        h->killed = true;
        h->until_ms = now + k->c.list[i].stop_ms / 3;
        (void)kill(-h->child, SIGKILL);
    } else {
        h->doing = 0;
        ad__answer(k, i, AD_KEEPER_STOP, false, "it lives on after SIGKILL");
    }
}

uint64_t ad__tend(struct keeper *k, uint64_t now)
{
    uint64_t next = now + 60000;

    for (unsigned i = 0; i < k->c.n; i++) {
        struct held *h = &k->list[i];

        if (h->doing != 0 && now >= h->until_ms) {
            overdue(k, i, now);
        }
        if (h->renew_ms != 0 && now >= h->renew_ms) {
            renew(k, i, now);
        }
        next = h->doing != 0 && h->until_ms < next ? h->until_ms : next;
        next = h->renew_ms != 0 && h->renew_ms < next ? h->renew_ms : next;
    }
    return next > now ? next : now + 1;
}

/* Children by the kernel's list. What they leave behind becomes ours, so that in the end
 * nobody is missed, whatever sessions they have made for themselves. */
static bool kill_children(void)
{
    char path[64], list[4096];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, list, sizeof list - 1);
        close(fd);
    }
    if (n <= 0) {
        return false;
    }
    list[n] = '\0';
    for (char *p = list, *end; *p != '\0'; p = end) {
        long pid = strtol(p, &end, 10);

        if (end == p) {
            break;
        }
        if (pid > 0) {
            (void)kill((pid_t)pid, SIGKILL);
        }
        end += *end == ' ';
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    return true;
}

void ad__kill_all(struct keeper *k)
{
    uint64_t until = ad__now_ms() + KILL_ALL_MS;
    struct sy_errbuf eb;

    for (unsigned i = 0; i < k->c.n; i++) {
        if (k->list[i].action > 0) {
            (void)kill(-k->list[i].action, SIGKILL);
        }
        if (k->list[i].child > 0) {
            (void)kill(-k->list[i].child, SIGKILL);
        }
        if (k->list[i].touched && k->c.list[i].kind == AD_RES_VIP) {
            (void)!ad_vip_drop(&k->c.list[i].vip, &eb);
        } else if (k->list[i].touched) {
            kill_marked(k, &k->c.list[i]);
        }
    }
    while (kill_children() && ad__now_ms() < until) {
        (void)poll(NULL, 0, 5); /* Until they are gone, not only told to go. */
    }
}
