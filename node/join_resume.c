/* A node whose log was emptied, before it is opened (join.c). */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/node.h"
#include "node/reform.h"

int nd_join_mark(const char *dir, struct sy_errbuf *eb)
{
    char path[ND_JOIN_PATH_SIZE];
    int fd;

    nd_join_path(path, dir);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || fsync(fd) != 0 || close(fd) != 0 || nd_tie_sync_folder(dir) != 0) {
        return sy_fail(eb, -errno, "cannot write %.300s: %s", path, strerror(errno));
    }
    return 0;
}

int nd_join_resume(const struct nd_config *c, const struct sy_log *log, bool *ret_joining,
                   struct sy_errbuf *eb)
{
    struct nd_log_look look = {.id = 0};
    char path[ND_JOIN_PATH_SIZE];
    int rv;

    nd_join_path(path, c->data_dir);
    *ret_joining = access(path, F_OK) == 0;
    if (!*ret_joining || nd_log_look(c->data_dir, &look, eb) != 0 ||
        look.members_n != 1 || look.members[0] != c->id) {
        return 0; /* What is wrong with the log is said when it is opened. */
    }
    SY_LOG(log, SY_NOTE, "join.again", KU64("last", look.last));
    /* No epoch has the number 0. A crash on the way leaves no log, or half of one: what
     * is written first sees to it that the next start goes on. */
    rv = nd_tie_write_next(c->data_dir, "empty", 0, 0);
    if (rv != 0) {
        return sy_fail(eb, rv, "cannot write %.300s/tie-next: %s", c->data_dir,
                       sy_err_text(rv));
    }
    return nd_tie_resume(c, log, eb);
}
