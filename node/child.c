#include "node/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* What cannot be dumped belongs to root in /proc; it can for a moment only, and nobody
 * else is in this child. */
static void die_first(void)
{
    int fd;

    (void)prctl(PR_SET_DUMPABLE, 1);
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1000", 4); /* Otherwise it is as likely as we are. */
        close(fd);
    }
    (void)prctl(PR_SET_DUMPABLE, 0);
}

void nd_child_begin(pid_t parent)
{
    /* Sockets first: as long as a child holds them, the death of its parent is
     * not seen by the peers, and relief would wait for an election timeout. */
    close_range(3, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1); /* It died before that took effect: its next life owns the folder. */
    }
    die_first();
}
