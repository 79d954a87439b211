/* Is somebody listening at an endpoint? ZeroMQ connects in the background and for
 * ever, which tells an operator nothing; connect(2) says at once what is wrong. */

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"

static int connect_in_time(int fd, const struct sockaddr *addr, socklen_t len,
                           unsigned timeout_ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    int err = 0;
    socklen_t err_len = sizeof err;

    if (connect(fd, addr, len) == 0 || errno == EAGAIN) {
        return 0; /* EAGAIN, of Unix sockets: it listens, but is busy. */
    }
    if (errno != EINPROGRESS) {
        return errno;
    }
    if (poll(&pfd, 1, (int)timeout_ms) != 1) {
        return ETIMEDOUT;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len) != 0) {
        return errno;
    }
    return err;
}

static int try_connect(const struct sockaddr *addr, socklen_t len, unsigned timeout_ms)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err;

    if (fd < 0) {
        return errno;
    }
    err = connect_in_time(fd, addr, len, timeout_ms);
    close(fd);
    return err;
}

static const char *mend_of(int err)
{
    switch (err) {
    case ENOENT:
        return "; is vagtd running on this machine, and is this its run directory?";
    case ECONNREFUSED:
        return "; vagtd does not run there";
    case EACCES:
    case EPERM:
        return "; run vagtctl as root or as the user of vagtd";
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return "; is that machine up?";
    default:
        return "";
    }
}

static bool ipc_reachable(const char *endpoint, struct sy_errbuf *eb)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = endpoint + strlen("ipc://");
    int err = ENAMETOOLONG;

    if (strlen(path) < sizeof addr.sun_path) {
        memcpy(addr.sun_path, path, strlen(path));
        err = try_connect((const struct sockaddr *)&addr, sizeof addr, 0);
    }
    if (err != 0) {
        (void)sy_fail(eb, -err, "%s: %s%s", endpoint, strerror(err), mend_of(err));
    }
    return err == 0;
}

/* "host:port" or "[v6]:port" into its parts. */
static bool split(const char *endpoint, char *host, size_t host_size, const char **port)
{
    const char *from = endpoint + strlen("tcp://");
    const char *colon = strrchr(from, ':');
    size_t len;

    if (colon == NULL) {
        return false;
    }
    len = (size_t)(colon - from);
    if (len > 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len == 0 || len >= host_size) {
        return false;
    }
    memcpy(host, from, len);
    host[len] = '\0';
    *port = colon + 1;
    return true;
}

static bool tcp_reachable(const char *endpoint, unsigned timeout_ms, struct sy_errbuf *eb)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char host[CT_ENDPOINT_SIZE];
    const char *port;
    int err = EINVAL;
    int rv;

    if (!split(endpoint, host, sizeof host, &port)) {
        (void)sy_fail(eb, SY_EINVALID, "%s: needs tcp://HOST:PORT", endpoint);
        return false;
    }
    rv = getaddrinfo(host, port, &hints, &list);
    if (rv != 0) {
        (void)sy_fail(eb, SY_EINVALID, "%s: %s", endpoint, gai_strerror(rv));
        return false;
    }
    for (struct addrinfo *a = list; a != NULL && err != 0; a = a->ai_next) {
        err = try_connect(a->ai_addr, a->ai_addrlen, timeout_ms);
    }
    freeaddrinfo(list);
    if (err != 0) {
        (void)sy_fail(eb, -err, "%s: %s%s", endpoint, strerror(err), mend_of(err));
    }
    return err == 0;
}

bool ct_reachable(const char *endpoint, unsigned timeout_ms, struct sy_errbuf *eb)
{
    if (strncmp(endpoint, "ipc://", strlen("ipc://")) == 0) {
        return ipc_reachable(endpoint, eb);
    }
    return tcp_reachable(endpoint, timeout_ms, eb);
}
