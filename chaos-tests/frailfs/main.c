/* frailfs mount BELOW MOUNTPOINT SOCKET   serve, until SIGTERM or `quit`
 * frailfs ctl SOCKET COMMAND...           say one thing to it */

#define FUSE_USE_VERSION 35
#include "chaos-tests/frailfs/frailfs.h"

#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int usage(void)
{
    fputs(
        "usage: frailfs mount BELOW MOUNTPOINT SOCKET [--no-sync]\n"
        "       frailfs ctl SOCKET COMMAND\n\n"
        "A file system for tests, whose unsynced data and names are lost at a power "
        "cut.\n"
        "Files live in the folder BELOW. It serves until SIGTERM or the command quit.\n"
        "--no-sync: a sync counts as one, but does not wait for the disk below.\n\n"
        "  status                     what it is and did\n"
        "  cut SEED [mixed|lost|kept] power off: every call fails; what was not synced\n"
        "                             is lost in part, altogether, or not at all\n"
        "  on                         power on again\n"
        "  slow SYNC_MS [WRITE_MS]    each sync and each write takes longer\n"
        "  full BYTES                 files may still grow by that\n"
        "  eio                        each sync fails, and loses what it was to write\n"
        "  lying                      each sync does nothing and says that all is well\n"
        "  heal                       an end to slow, full, eio, lying and arm\n"
        "  sync                       what there is counts as synced\n"
        "  flip NAME OFFSET MASK      damage a byte at rest\n"
        "  truncate NAME SIZE         cut off the end of a file at rest\n"
        "  quit                       unmount and end\n",
        stderr);
    return 2;
}

static int ctl(int argc, char **argv)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char line[1024];
    FILE *peer;

    snprintf(at.sun_path, sizeof at.sun_path, "%s", argv[2]);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        (peer = fdopen(fd, "r+")) == NULL) {
        perror(argv[2]);
        return 1;
    }
    for (int i = 3; i < argc; i++) {
        fprintf(peer, "%s%s", argv[i], i + 1 < argc ? " " : "\n");
    }
    fflush(peer);
    if (fgets(line, sizeof line, peer) == NULL) {
        fprintf(stderr, "frailfs: no answer\n");
        return 1;
    }
    fputs(line, stdout);
    fclose(peer);
    return strncmp(line, "ok", 2) == 0 ? 0 : 1;
}

static int serve(struct ff *fs, const char *mountpoint, const char *socket_path)
{
    char *argv[] = {(char *)(uintptr_t)"frailfs", (char *)(uintptr_t)"-o",
                    (char *)(uintptr_t)"allow_other,default_permissions,fsname=frailfs,"
                                       "subtype=frailfs",
                    NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    struct fuse_loop_config loop = {.max_idle_threads = 10};
    struct fuse_session *session = fuse_session_new(&args, &ff_ops, sizeof ff_ops, fs);
    struct ff_server *server = NULL;
    int rv = 1;

    if (session == NULL || fuse_set_signal_handlers(session) != 0) {
        return 1;
    }
    if (fuse_session_mount(session, mountpoint) == 0) {
        server = ff_server_new(fs, socket_path, session);
        if (server == NULL) {
            fprintf(stderr, "frailfs: cannot listen on %s\n", socket_path);
        } else {
            rv = fuse_session_loop_mt(session, &loop) < 0;
            ff_server_stop(server);
        }
        fuse_session_unmount(session);
    }
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return rv;
}

int main(int argc, char **argv)
{
    struct rlimit files = {.rlim_cur = 65536, .rlim_max = 65536};
    struct ff fs;
    int rv;

    if (argc >= 4 && strcmp(argv[1], "ctl") == 0) {
        return ctl(argc, argv);
    }
    if (argc < 5 || strcmp(argv[1], "mount") != 0 ||
        (argc > 5 && strcmp(argv[5], "--no-sync") != 0)) {
        return usage();
    }
    (void)setrlimit(RLIMIT_NOFILE, &files);
    rv = ff_open(&fs, argv[2]);
    if (rv < 0) {
        fprintf(stderr, "frailfs: %s: %s\n", argv[2], strerror(-rv));
        return 1;
    }
    fs.real_sync = argc == 5;
    rv = serve(&fs, argv[3], argv[4]);
    ff_folders_free(&fs);
    ff_close(&fs);
    return rv;
}
