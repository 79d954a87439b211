/* What the process before this one, or one that crashed, has decided (tie.c). */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/node.h"
#include "node/reform.h"

/* May be repeated after a crash. */
static int begin_empty(const struct nd_config *c, uint64_t epoch, struct sy_errbuf *eb)
{
    struct nd_log_look look = {.id = 0};
    int rv = 0;

    if (nd_log_look(c->data_dir, &look, eb) != 0 || look.last != 0) {
        rv = nd_log_archive(c->data_dir, epoch, eb);
        if (rv == 0) {
            rv = nd_join_mark(c->data_dir, eb);
        }
        if (rv == 0) {
            rv = nd_log_empty(c->data_dir, c->cluster, c->id, eb);
        }
    }
    return rv;
}

int nd_tie_resume(const struct nd_config *c, const struct sy_log *log,
                  struct sy_errbuf *eb)
{
    char path[ND_TIE_PATH_SIZE], what[16] = "";
    uint64_t epoch = 0, term = 0;
    FILE *f;
    int rv, found;

    nd_tie_path(path, c->data_dir, "");
    f = fopen(path, "re");
    if (f == NULL) {
        return 0;
    }
    found = fscanf(f, "%15s epoch %" SCNu64 " term %" SCNu64, what, &epoch, &term);
    fclose(f);
    if (found != 3) {
        return sy_fail(eb, SY_ECORRUPT, "%.300s is not understood: move it away", path);
    }
    if (strcmp(what, "alone") == 0) {
        rv = nd_reform(c->data_dir, c->id, term, eb);
    } else {
        rv = begin_empty(c, epoch, eb);
    }
    if (rv != 0) {
        return rv;
    }
    if (strcmp(what, "alone") == 0) {
        SY_LOG(log, SY_NOTE, "tie.reformed", KU64("epoch", epoch));
    } else {
        SY_LOG(log, SY_NOTE, "tie.archived", KU64("epoch", epoch));
    }
    if (unlink(path) != 0 || nd_tie_sync_folder(c->data_dir) != 0) {
        return sy_fail(eb, -errno, "cannot remove %.300s: %s", path, strerror(errno));
    }
    return 0;
}
