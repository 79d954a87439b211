#include "adapters/resources/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(int fd, char word)
{
    (void)!write(fd, &word, 1);
}

/* How long it waits, in seconds, after it was asked for as little as will do. */
static int set_timeout(int fd, unsigned max_ms, const char *path, int *ret_seconds,
                       struct sy_errbuf *eb)
{
    struct stat st;

    *ret_seconds = (int)(max_ms / 1000);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        return 0;
    }
    if (ioctl(fd, WDIOC_SETTIMEOUT, ret_seconds) != 0 &&
        ioctl(fd, WDIOC_GETTIMEOUT, ret_seconds) != 0) {
        return sy_fail(eb, -errno, "%.200s is no watchdog: %s", path, strerror(errno));
    }
    if (*ret_seconds < 1 || (unsigned)*ret_seconds * 1000 > max_ms) {
        return sy_fail(
            eb, SY_EINVALID,
            "%.200s bites after %d s at the earliest: watch.takeover_wait must "
            "be at least %d s, on all nodes",
            path, *ret_seconds, 4 * *ret_seconds);
    }
    return 0;
}

int ad__watchdog_open(struct ad_watchdog *w, const char *path, unsigned max_ms,
                      struct sy_errbuf *eb)
{
    int seconds, rv;

    if (w->fd >= 0) {
        return 0;
    }
    w->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (w->fd < 0) {
        rv = -errno;
        return sy_fail(eb, rv, "the watchdog %.200s cannot be opened: %s%s", path,
                       strerror(-rv),
                       rv == -EBUSY ? " (systemd has it? RuntimeWatchdogSec=0)" : "");
    }
    rv = set_timeout(w->fd, max_ms, path, &seconds, eb);
    if (rv != 0) {
        ad__watchdog_disarm(w);
        return rv;
    }
    w->ms = (unsigned)seconds * 1000;
    w->due_ms = 0;
    return 0;
}

void ad__watchdog_tend(struct ad_watchdog *w, uint64_t now_ms)
{
    if (w->fd >= 0 && now_ms >= w->due_ms) {
        w->due_ms = now_ms + w->ms / 4;
        say(w->fd, 'w');
    }
}

void ad__watchdog_disarm(struct ad_watchdog *w)
{
    if (w->fd >= 0) {
        say(w->fd, 'V'); /* The word for it; a kernel with nowayout does not listen. */
        close(w->fd);
        w->fd = -1;
    }
}
