/* The control socket: one command a connection, one line, one line in answer. */

#define FUSE_USE_VERSION 35
#include "chaos-tests/frailfs/frailfs.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE = 600, POLL_MS = 100, PATIENCE_S = 5 };

struct ff_server
{
    struct ff *fs;
    struct fuse_session *session;
    pthread_t thread;
    int socket;
    _Atomic bool stop;
    struct sockaddr_un at;
};

static bool number(const char *s, uint64_t *ret)
{
    char *end;

    if (s == NULL || *s < '0' || *s > '9') {
        return false;
    }
    errno = 0;
    *ret = strtoull(s, &end, 0);
    return errno == 0 && *end == 0;
}

static void no(FILE *answer, const char *why)
{
    fprintf(answer, "error %s\n", why);
}

/* --- commands: each holds the lock; arguments are words or NULL --- */

static void do_status(struct ff *fs, char **arg, FILE *answer)
{
    uint64_t sectors = 0;

    (void)arg;
    for (size_t i = 0; i < fs->now.n; i++) {
        sectors += fs->now.p[i].inode->sectors_n;
    }
    fprintf(answer, "ok power=%s eio=%d lying=%d sync_ms=%u write_ms=%u space=",
            fs->off ? "off" : "on", fs->eio, fs->lying, fs->sync_ms, fs->write_ms);
    if (fs->limited) {
        fprintf(answer, "%" PRId64, fs->space);
    } else {
        fprintf(answer, "any");
    }
    fprintf(answer,
            " files=%zu unsynced_sectors=%" PRIu64 " unsynced_names=%zu writes=%" PRIu64
            " write_bytes=%" PRIu64 " syncs=%" PRIu64 " dir_syncs=%" PRIu64
            " failed=%" PRIu64 " cuts=%" PRIu64 " sectors_undone=%" PRIu64
            " names_undone=%u\n",
            fs->now.n, sectors, fs->moves_n, fs->count.writes, fs->count.write_bytes,
            fs->count.syncs, fs->count.dir_syncs, fs->count.failed, fs->count.cuts,
            fs->toll.sectors_undone, fs->toll.moves_undone);
}

static enum ff_fate fate_of(const char *word)
{
    if (word == NULL || strcmp(word, "mixed") == 0) {
        return FF_MIXED;
    }
    return strcmp(word, "lost") == 0 ? FF_LOST : FF_KEPT;
}

static void do_arm(struct ff *fs, char **arg, FILE *answer)
{
    uint64_t seed;

    if (arg[0] == NULL || !number(arg[1], &seed)) {
        no(answer, "usage: arm file|folder SEED [mixed|lost|kept]");
        return;
    }
    fs->trap = strcmp(arg[0], "file") == 0 ? FF_FILE : FF_FOLDER;
    fs->trap_seed = seed;
    fs->trap_fate = fate_of(arg[2]);
    fprintf(answer, "ok\n");
}

static void do_cut(struct ff *fs, char **arg, FILE *answer)
{
    struct ff_toll toll;
    uint64_t seed;
    int rv;

    if (!number(arg[0], &seed)) {
        no(answer, "usage: cut SEED [mixed|lost|kept]");
        return;
    }
    if (fs->off) {
        no(answer, "the power is off");
        return;
    }
    rv = ff_cut(fs, seed, fate_of(arg[1]), &toll);
    if (rv < 0) {
        fprintf(answer, "error the folder below: %s\n", strerror(-rv));
        return;
    }
    fprintf(answer,
            "ok files=%u sectors=%" PRIu64 " sectors_undone=%" PRIu64
            " names=%u names_undone=%u\n",
            toll.files, toll.sectors, toll.sectors_undone, toll.moves, toll.moves_undone);
}

static void do_on(struct ff *fs, char **arg, FILE *answer)
{
    (void)arg;
    fs->off = false;
    fprintf(answer, "ok\n");
}

static void do_slow(struct ff *fs, char **arg, FILE *answer)
{
    uint64_t sync_ms, write_ms = 0;

    if (!number(arg[0], &sync_ms) || (arg[1] != NULL && !number(arg[1], &write_ms)) ||
        sync_ms > 3600000 || write_ms > 3600000) {
        no(answer, "usage: slow SYNC_MS [WRITE_MS], each up to an hour");
        return;
    }
    fs->sync_ms = (unsigned)sync_ms;
    fs->write_ms = (unsigned)write_ms;
    fprintf(answer, "ok\n");
}

static void do_full(struct ff *fs, char **arg, FILE *answer)
{
    uint64_t bytes;

    if (!number(arg[0], &bytes) || bytes > INT64_MAX) {
        no(answer, "usage: full BYTES that files may still grow by");
        return;
    }
    fs->limited = true;
    fs->space = (int64_t)bytes;
    fprintf(answer, "ok\n");
}

static void do_eio(struct ff *fs, char **arg, FILE *answer)
{
    (void)arg;
    fs->eio = true;
    fprintf(answer, "ok\n");
}

static void do_lying(struct ff *fs, char **arg, FILE *answer)
{
    (void)arg;
    fs->lying = true;
    fprintf(answer, "ok\n");
}

static void do_heal(struct ff *fs, char **arg, FILE *answer)
{
    (void)arg;
    fs->eio = fs->lying = fs->limited = false;
    fs->sync_ms = fs->write_ms = 0;
    fs->trap = FF_NEVER;
    fprintf(answer, "ok\n");
}

static void do_sync(struct ff *fs, char **arg, FILE *answer)
{
    (void)arg;
    ff_settle(fs);
    fprintf(answer, "ok\n");
}

/* Damage at rest: at once, and on the disk. */
static void do_flip(struct ff *fs, char **arg, FILE *answer)
{
    struct ff_inode *f = arg[0] != NULL ? ff_get(fs, arg[0]) : NULL;
    uint64_t at, mask = 0;
    uint8_t byte;

    if (f == NULL || !number(arg[1], &at) || !number(arg[2], &mask) || mask == 0 ||
        mask > 255) {
        no(answer, "usage: flip NAME OFFSET MASK; is there such a file?");
        return;
    }
    if (pread(f->fd, &byte, 1, (off_t)at) != 1) {
        no(answer, "the file is not that long");
        return;
    }
    byte ^= (uint8_t)mask;
    if (pwrite(f->fd, &byte, 1, (off_t)at) != 1) {
        no(answer, "the folder below cannot be written");
        return;
    }
    ff_file_settled(f);
    fprintf(answer, "ok was=%u is=%u\n", byte ^ (unsigned)mask, byte);
}

static void do_truncate(struct ff *fs, char **arg, FILE *answer)
{
    struct ff_inode *f = arg[0] != NULL ? ff_get(fs, arg[0]) : NULL;
    uint64_t size;

    if (f == NULL || !number(arg[1], &size)) {
        no(answer, "usage: truncate NAME SIZE; is there such a file?");
        return;
    }
    fs->space += (int64_t)ff_size(f) - (int64_t)size;
    if (ftruncate(f->fd, (off_t)size) != 0) {
        no(answer, "the folder below cannot be written");
        return;
    }
    ff_file_settled(f);
    fprintf(answer, "ok\n");
}

static const struct
{
    const char *name;
    bool fault; /* Who waits for a slow disk looks again. */
    void (*run)(struct ff *fs, char **arg, FILE *answer);
} commands[] = {
    {"status", false, do_status}, {"cut", false, do_cut},
    {"on", false, do_on},         {"arm", false, do_arm},
    {"slow", true, do_slow},      {"full", false, do_full},
    {"eio", true, do_eio},        {"lying", true, do_lying},
    {"heal", true, do_heal},      {"sync", false, do_sync},
    {"flip", false, do_flip},     {"truncate", false, do_truncate},
};

enum { COMMANDS = sizeof commands / sizeof commands[0], ARGS = 4 };

void ff_command(struct ff *fs, char *line, FILE *answer, bool *ret_quit)
{
    char *arg[ARGS + 1] = {NULL}, *save = NULL, *word;
    unsigned n = 0;

    for (word = strtok_r(line, " \n", &save); word != NULL && n < ARGS;
         word = strtok_r(NULL, " \n", &save)) {
        arg[n++] = word;
    }
    *ret_quit = arg[0] != NULL && strcmp(arg[0], "quit") == 0;
    if (*ret_quit) {
        fprintf(answer, "ok\n");
        return;
    }
    for (unsigned i = 0; arg[0] != NULL && i < COMMANDS; i++) {
        if (strcmp(arg[0], commands[i].name) == 0) {
            pthread_mutex_lock(&fs->lock);
            fs->faults += commands[i].fault;
            commands[i].run(fs, arg + 1, answer);
            pthread_cond_broadcast(&fs->changed);
            pthread_mutex_unlock(&fs->lock);
            return;
        }
    }
    no(answer, "no such command");
}

/* --- the socket --- */

static void serve(struct ff_server *s, int client)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    char line[LINE] = {0};
    size_t n = 0;
    bool quit = false;
    FILE *answer;

    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (n < sizeof line - 1 && strchr(line, '\n') == NULL) {
        ssize_t k = read(client, line + n, sizeof line - 1 - n);

        if (k <= 0) {
            break;
        }
        n += (size_t)k;
    }
    answer = fdopen(client, "w");
    if (answer == NULL) {
        close(client);
        return;
    }
    ff_command(s->fs, line, answer, &quit);
    fclose(answer);
    if (quit) {
        kill(getpid(), SIGTERM); /* The loop of FUSE hears of nothing else. */
    }
}

static void *listen_on(void *arg)
{
    struct ff_server *s = arg;
    struct pollfd p = {.fd = s->socket, .events = POLLIN};

    while (!s->stop) {
        int client = poll(&p, 1, POLL_MS) > 0 ? accept(s->socket, NULL, NULL) : -1;

        if (client >= 0) {
            serve(s, client);
        }
    }
    return NULL;
}

struct ff_server *ff_server_new(struct ff *fs, const char *path, struct fuse_session *f)
{
    struct ff_server *s = ff_realloc(NULL, sizeof *s);

    *s = (struct ff_server){.fs = fs, .session = f, .at = {.sun_family = AF_UNIX}};
    snprintf(s->at.sun_path, sizeof s->at.sun_path, "%s", path);
    s->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    if (s->socket < 0 || strlen(path) >= sizeof s->at.sun_path ||
        bind(s->socket, (const struct sockaddr *)&s->at, sizeof s->at) != 0 ||
        listen(s->socket, 16) != 0 ||
        pthread_create(&s->thread, NULL, listen_on, s) != 0) {
        close(s->socket);
        free(s);
        return NULL;
    }
    return s;
}

void ff_server_stop(struct ff_server *s)
{
    s->stop = true;
    pthread_join(s->thread, NULL);
    close(s->socket);
    unlink(s->at.sun_path);
    free(s);
}
