#include "adapters/systemd/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void ad_systemd_tell(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path != NULL ? strlen(path) : 0;
    int fd;

    if (len < 2 || len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(to.sun_path, path, len);
    if (path[0] == '@') {
        to.sun_path[0] = '\0'; /* The abstract namespace: unix(7). */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    (void)!sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                  (struct sockaddr *)&to,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

unsigned ad_systemd_watchdog_ms(void)
{
    const char *us = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    unsigned long long v = us != NULL ? strtoull(us, NULL, 10) : 0;

    if (v == 0 || (pid != NULL && strtoll(pid, NULL, 10) != getpid())) {
        return 0; /* Nobody waits for it, or not for us. */
    }
    return v / 2000 > 0 ? (unsigned)(v / 2000) : 1;
}
