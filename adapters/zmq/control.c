#include "adapters/zmq/control.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "adapters/zmq/guard.h"
#include "base/mem.h"

enum {
    /* Messages taken per socket and loop turn, so one busy client cannot starve
     * raft's timers. */
    DRAIN_MAX = 64,
    SEND_QUEUE_DEFAULT = 1000,
    /* Times FRAME_MAX: what one client can make us hold. Many small ones rather than few
     * large: when it is full libzmq 4.3.4 stops reading, and if the client goes away
     * then it may abort the process (_io_error, once in an hour of ./chaos). */
    RECEIVE_QUEUE_MAX = 2048,
    /* Up to here we count what is too big; beyond, libzmq cuts the connection and
     * tells nobody why. */
    FRAME_MAX = 2 * AD_ZMQ_REQUEST_MAX,
    SUBSCRIPTION_MAX = 1024,
    IPC_PATH_MAX = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
    HANDLES = 3,
    IPC_FILES_MAX = 2 * AD_ZMQ_ENDPOINTS_MAX
};

_Static_assert(IPC_PATH_MAX == 107, "docs and messages say 107");

struct ad_zmq
{
    const struct sy_log *log;
    ad_zmq_request_cb request_cb;
    void (*closed_cb)(void *data);
    void *data;
    void *ctx;
    void *requests;
    void *events;
    struct ad_zmq_guard *guard;
    uv_poll_t requests_poll; /* ZMQ_FD: says "look again", once per change. */
    uv_poll_t events_poll;
    uv_idle_t idle; /* Runs only while there is something we did not take yet. */
    unsigned open_handles;
    unsigned subscriptions; /* Different prefixes asked for. */
    bool draining;
    bool closing;
    bool plaintext; /* TCP off loopback, too. */
    unsigned files_n;
    char files[IPC_FILES_MAX][IPC_PATH_MAX + 1]; /* Ours, to be unlinked. */
    struct ad_zmq_stats stats;
};

static int fail_zmq(struct sy_errbuf *eb, const char *what)
{
    int err = zmq_errno();

    return sy_fail(eb, -err, "%s: %s", what, zmq_strerror(err));
}

/* --- endpoints --- */

/* A file left by a daemon that died refuses connections. One that accepts, or has
 * its queue of connections full, belongs to a daemon that lives. */
static bool somebody_listens(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rv;

    if (fd < 0) {
        return false;
    }
    assert(strlen(path) <= IPC_PATH_MAX);
    memcpy(addr.sun_path, path, strlen(path));
    rv = connect(fd, (const struct sockaddr *)&addr, sizeof addr);
    rv = rv == 0 || errno == EAGAIN || errno == EINPROGRESS;
    close(fd);
    return rv;
}

static int check_directory(const char *endpoint, const char *path, struct sy_errbuf *eb)
{
    char dir[AD_ZMQ_ENDPOINT_SIZE];
    size_t len = (size_t)(strrchr(path, '/') - path);
    struct stat st;

    if (len == 0) {
        len = 1;
    }
    memcpy(dir, path, len);
    dir[len] = '\0';
    if (stat(dir, &st) != 0) {
        int err = errno;

        return sy_fail(eb, -err, "%s: the folder %s: %s; create it (mode 0700) first",
                       endpoint, dir, strerror(err));
    }
    if (!S_ISDIR(st.st_mode)) {
        return sy_fail(eb, -ENOTDIR, "%s: %s is not a folder", endpoint, dir);
    }
    return 0;
}

/* libzmq unlinks whatever lies at the path before it binds: a daemon's live socket
 * and /etc/passwd alike. So look first. */
static int clear_ipc_path(const char *endpoint, const char *path, struct sy_errbuf *eb)
{
    struct stat st;

    if (path[0] != '/') {
        return sy_fail(eb, SY_EINVALID, "%s: needs an absolute path: ipc:///run/…",
                       endpoint);
    }
    if (strlen(path) > IPC_PATH_MAX) {
        return sy_fail(eb, -ENAMETOOLONG,
                       "%s: the path has %zu bytes, a Unix socket allows %d: choose a "
                       "shorter one",
                       endpoint, strlen(path), (int)IPC_PATH_MAX);
    }
    if (path[strlen(path) - 1] == '/') {
        return sy_fail(eb, SY_EINVALID, "%s: is a folder; add a file name", endpoint);
    }
    int rv = check_directory(endpoint, path, eb);

    if (rv != 0 || lstat(path, &st) != 0) {
        return rv; /* Nothing there, or bind says better what is wrong. */
    }
    if (!S_ISSOCK(st.st_mode)) {
        return sy_fail(eb, -EEXIST,
                       "%s: there is something that is not a socket; move it away or "
                       "choose another path",
                       endpoint);
    }
    if (somebody_listens(path)) {
        return sy_fail(eb, -EADDRINUSE,
                       "%s: another process answers there; stop it or choose another "
                       "path",
                       endpoint);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        int err = errno;

        return sy_fail(eb, -err, "%s: removing the stale socket: %s", endpoint,
                       strerror(err));
    }
    return 0;
}

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int check_tcp(const char *endpoint, const char *host, bool plaintext,
                     struct sy_errbuf *eb)
{
    const char *colon = strrchr(host, ':');
    char *end = NULL;
    long port;

    if (!plaintext && !starts_with(host, "127.") && !starts_with(host, "[::1]:")) {
        return sy_fail(eb, SY_EINVALID,
                       "%s: TCP without keys is for the loopback only: use "
                       "tcp://127.0.0.1:PORT or tcp://[::1]:PORT",
                       endpoint);
    }
    /* libzmq would take the port modulo 65536. */
    port = colon != NULL ? strtol(colon + 1, &end, 10) : 0;
    if (port < 1 || port > UINT16_MAX || *end != '\0') {
        return sy_fail(eb, SY_EINVALID, "%s: needs a port from 1 to 65535", endpoint);
    }
    return 0;
}

static int bind_ipc(struct ad_zmq *z, void *sock, const char *endpoint,
                    struct sy_errbuf *eb)
{
    const char *path = endpoint + strlen("ipc://");
    int rv = clear_ipc_path(endpoint, path, eb);
    mode_t mask;

    if (rv != 0) {
        return rv;
    }
    /* bind(2) runs in this thread. A mask, not a chmod afterwards: there must be no
     * moment at which others may connect. */
    mask = umask(0177);
    rv = zmq_bind(sock, endpoint) == 0 ? 0 : fail_zmq(eb, endpoint);
    umask(mask);
    if (rv == 0) {
        assert(z->files_n < IPC_FILES_MAX);
        memcpy(z->files[z->files_n++], path, strlen(path) + 1);
    }
    return rv;
}

static int bind_one(struct ad_zmq *z, void *sock, const char *endpoint,
                    struct sy_errbuf *eb)
{
    int rv;

    if (starts_with(endpoint, "ipc://")) {
        return bind_ipc(z, sock, endpoint, eb);
    }
    if (!starts_with(endpoint, "tcp://")) {
        return sy_fail(eb, SY_EINVALID, "'%s': must begin with ipc:// or tcp://",
                       endpoint);
    }
    rv = check_tcp(endpoint, endpoint + strlen("tcp://"), z->plaintext, eb);
    if (rv == 0 && zmq_bind(sock, endpoint) != 0) {
        rv = fail_zmq(eb, endpoint);
    }
    return rv;
}

/* --- receiving --- */

static bool readable(void *sock)
{
    int events = 0;
    size_t len = sizeof events;

    /* Reading ZMQ_EVENTS is also what re-arms the descriptor. */
    if (zmq_getsockopt(sock, ZMQ_EVENTS, &events, &len) != 0) {
        return false;
    }
    return (events & ZMQ_POLLIN) != 0;
}

static void drop_frames(void *sock)
{
    bool more = true;

    /* Frames of one message arrive together, so this cannot wait. */
    while (more) {
        zmq_msg_t msg;

        zmq_msg_init(&msg);
        more = zmq_msg_recv(&msg, sock, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&msg);
        zmq_msg_close(&msg);
    }
}

static void judge_request(struct ad_zmq *z, const struct ad_zmq_client *client,
                          zmq_msg_t *body)
{
    if (zmq_msg_more(body)) {
        z->stats.refused++;
        SY_LOG(z->log, SY_DEBUG, "control.refused", KSTR("why", "more than one frame"));
        drop_frames(z->requests);
    } else if (client->len == 0) {
        z->stats.refused++;
        SY_LOG(z->log, SY_DEBUG, "control.refused", KSTR("why", "routing id too long"));
    } else if (zmq_msg_size(body) > AD_ZMQ_REQUEST_MAX) {
        z->stats.oversized++;
        SY_LOG(z->log, SY_DEBUG, "control.oversized", KU64("bytes", zmq_msg_size(body)));
    } else {
        z->stats.requests++;
        z->request_cb(z->data, client, zmq_msg_data(body), zmq_msg_size(body));
    }
}

static void take_request(struct ad_zmq *z)
{
    struct ad_zmq_client client = {0};
    zmq_msg_t msg;

    zmq_msg_init(&msg);
    if (zmq_msg_recv(&msg, z->requests, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&msg);
        return;
    }
    if (zmq_msg_size(&msg) <= sizeof client.id) {
        client.len = (uint8_t)zmq_msg_size(&msg);
        memcpy(client.id, zmq_msg_data(&msg), client.len);
    }
    if (zmq_msg_more(&msg) && zmq_msg_recv(&msg, z->requests, ZMQ_DONTWAIT) >= 0) {
        judge_request(z, &client, &msg);
    }
    zmq_msg_close(&msg);
}

/* XPUB hands over the first subscription to a prefix and the loss of its last one,
 * also when the subscriber vanished. What else a subscriber sends is noise: libzmq
 * reads every frame that begins with 0 or 1 as a subscription, so nothing else does. */
static void take_subscription(struct ad_zmq *z)
{
    zmq_msg_t msg;

    zmq_msg_init(&msg);
    if (zmq_msg_recv(&msg, z->events, ZMQ_DONTWAIT) >= 0 && zmq_msg_size(&msg) > 0) {
        const uint8_t *p = zmq_msg_data(&msg);

        if (p[0] == 1) {
            z->subscriptions++;
        } else if (p[0] == 0 && z->subscriptions > 0) {
            z->subscriptions--;
        }
    }
    zmq_msg_close(&msg);
}

/* True if it stopped before the socket was empty. */
static bool drain_one(struct ad_zmq *z, void *sock, void (*take)(struct ad_zmq *z))
{
    for (unsigned n = 0; readable(sock); n++) {
        if (n == DRAIN_MAX) {
            return true;
        }
        take(z);
    }
    return false;
}

static void drain(struct ad_zmq *z);

static void idle_cb(uv_idle_t *idle)
{
    drain(idle->data);
}

/* The descriptors are edge triggered: stopping before ZMQ_EVENTS says "empty" would
 * lose the wakeup for what is left, hence the idle handle. */
static void drain(struct ad_zmq *z)
{
    bool left;

    assert(!z->draining);
    if (z->closing) {
        return;
    }
    z->draining = true;
    left = drain_one(z, z->events, take_subscription);
    left |= drain_one(z, z->requests, take_request);
    /* The requests may have published, which may have eaten a wakeup of the other. */
    left |= readable(z->events);
    z->draining = false;
    if (left) {
        uv_idle_start(&z->idle, idle_cb);
    } else {
        uv_idle_stop(&z->idle);
    }
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    drain(poll->data);
}

/* Sending works off libzmq's own mailbox, too, and may so eat the wakeup of a
 * request that came in meanwhile. */
static void look_again(struct ad_zmq *z, void *sock)
{
    if (!z->draining && readable(sock)) {
        uv_idle_start(&z->idle, idle_cb);
    }
}

/* --- life --- */

static int set_int(void *sock, int option, int value)
{
    return zmq_setsockopt(sock, option, &value, sizeof value);
}

static int set_options(struct ad_zmq *z, int send_queue_max)
{
    int64_t request_max = FRAME_MAX;
    int64_t subscription_max = SUBSCRIPTION_MAX;
    int rv = 0;

    /* Mandatory: otherwise replies to clients that are gone vanish uncounted. */
    rv |= set_int(z->requests, ZMQ_ROUTER_MANDATORY, 1);
    rv |= set_int(z->requests, ZMQ_RCVHWM, RECEIVE_QUEUE_MAX);
    rv |= zmq_setsockopt(z->requests, ZMQ_MAXMSGSIZE, &request_max, sizeof request_max);
    rv |= zmq_setsockopt(z->events, ZMQ_MAXMSGSIZE, &subscription_max,
                         sizeof subscription_max);
    for (unsigned i = 0; i < 2; i++) {
        void *sock = i == 0 ? z->requests : z->events;

        rv |= set_int(sock, ZMQ_SNDHWM, send_queue_max);
        rv |= set_int(sock, ZMQ_LINGER, 0);
        rv |= set_int(sock, ZMQ_IPV6, 1);
    }
    return rv;
}

static int open_sockets(struct ad_zmq *z, const struct ad_zmq_config *c,
                        struct sy_errbuf *eb)
{
    int queue = c->send_queue_max > 0 ? c->send_queue_max : SEND_QUEUE_DEFAULT;
    int rv = 0;

    z->requests = zmq_socket(z->ctx, ZMQ_ROUTER);
    z->events = zmq_socket(z->ctx, ZMQ_XPUB);
    if (z->requests == NULL || z->events == NULL) {
        return fail_zmq(eb, "control: zmq socket");
    }
    if (set_options(z, queue) != 0) {
        return fail_zmq(eb, "control: zmq socket option");
    }
    rv = ad_zmq_guard_open(&z->guard, z->ctx, (void *[]){z->requests, z->events}, 2, eb);
    for (unsigned i = 0; rv == 0 && i < c->requests_n; i++) {
        rv = bind_one(z, z->requests, c->requests[i], eb);
    }
    for (unsigned i = 0; rv == 0 && i < c->events_n; i++) {
        rv = bind_one(z, z->events, c->events[i], eb);
    }
    return rv;
}

static int init_poll(struct ad_zmq *z, uv_loop_t *loop, uv_poll_t *poll, void *sock,
                     struct sy_errbuf *eb)
{
    int fd = -1;
    int rv;
    size_t len = sizeof fd;

    if (zmq_getsockopt(sock, ZMQ_FD, &fd, &len) != 0) {
        return fail_zmq(eb, "control: zmq descriptor");
    }
    rv = uv_poll_init(loop, poll, fd);
    if (rv != 0) {
        return sy_fail(eb, rv, "control: poll: %s", uv_strerror(rv));
    }
    poll->data = z;
    z->open_handles++;
    return 0;
}

/* The files go first, while we still listen: a successor that sees none binds its
 * own, which we must not take away. Linger is 0, so the context ends as soon as its
 * thread has noticed. */
static void free_all(struct ad_zmq *z)
{
    for (unsigned i = 0; i < z->files_n; i++) {
        (void)unlink(z->files[i]); /* Gone already is as good. */
    }
    ad_zmq_guard_close(z->guard);
    if (z->requests != NULL) {
        zmq_close(z->requests);
    }
    if (z->events != NULL) {
        zmq_close(z->events);
    }
    while (zmq_ctx_term(z->ctx) != 0 && zmq_errno() == EINTR) {
    }
    sy_free(z);
}

static void handle_closed(uv_handle_t *handle)
{
    struct ad_zmq *z = handle->data;
    void (*closed_cb)(void *) = z->closed_cb;
    void *data = z->data;

    assert(z->closing);
    assert(z->open_handles > 0);
    if (--z->open_handles > 0) {
        return;
    }
    free_all(z); /* The sockets own the descriptors: only after the poll handles. */
    if (closed_cb != NULL) {
        closed_cb(data);
    }
}

static int start_handles(struct ad_zmq *z, uv_loop_t *loop, struct sy_errbuf *eb)
{
    int rv = init_poll(z, loop, &z->requests_poll, z->requests, eb);

    if (rv != 0) {
        return rv;
    }
    rv = init_poll(z, loop, &z->events_poll, z->events, eb);
    if (rv != 0) {
        return rv;
    }
    rv = uv_idle_init(loop, &z->idle);
    assert(rv == 0); /* Cannot fail: it only fills in a struct. */
    z->idle.data = z;
    z->open_handles++;
    assert(z->open_handles == HANDLES);

    rv = uv_poll_start(&z->requests_poll, UV_READABLE, poll_cb);
    assert(rv == 0);
    rv = uv_poll_start(&z->events_poll, UV_READABLE, poll_cb);
    assert(rv == 0);
    rv = uv_idle_start(&z->idle, idle_cb); /* What arrived before we looked. */
    assert(rv == 0);
    return 0;
}

/* Of a half-open one: the poll handle that was made is closed by the loop. */
static void abandon(struct ad_zmq *z)
{
    if (z->open_handles == 0) {
        free_all(z);
        return;
    }
    assert(z->open_handles == 1);
    z->closing = true;
    uv_close((uv_handle_t *)&z->requests_poll, handle_closed);
}

int ad_zmq_open(struct ad_zmq **ret, uv_loop_t *loop, const struct sy_log *log,
                const struct ad_zmq_config *config, ad_zmq_request_cb cb, void *data,
                struct sy_errbuf *eb)
{
    struct ad_zmq *z;
    int rv;

    assert(config->requests_n <= AD_ZMQ_ENDPOINTS_MAX);
    assert(config->events_n <= AD_ZMQ_ENDPOINTS_MAX);
    assert(cb != NULL);
    z = sy_calloc(1, sizeof *z);
    z->log = log;
    z->request_cb = cb;
    z->plaintext = config->plaintext;
    z->data = data;
    z->ctx = zmq_ctx_new();
    if (z->ctx == NULL) {
        rv = fail_zmq(eb, "control: zmq context");
        sy_free(z);
        return rv;
    }
    rv = open_sockets(z, config, eb);
    if (rv == 0) {
        rv = start_handles(z, loop, eb);
    }
    if (rv != 0) {
        abandon(z);
        return rv;
    }
    *ret = z;
    return 0;
}

void ad_zmq_reply(struct ad_zmq *z, const struct ad_zmq_client *client, const void *p,
                  size_t n)
{
    assert(client->len > 0);
    if (z->closing) {
        z->stats.replies_dropped++;
        return;
    }
    /* EHOSTUNREACH: it is gone. EAGAIN: it does not read what it asked for. */
    if (zmq_send(z->requests, client->id, client->len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_send(z->requests, p, n, ZMQ_DONTWAIT) < 0) {
        z->stats.replies_dropped++;
        SY_LOG(z->log, SY_DEBUG, "control.reply_dropped",
               KSTR("why", zmq_strerror(zmq_errno())));
    } else {
        z->stats.replies++;
    }
    look_again(z, z->requests);
}

bool ad_zmq_heard(const struct ad_zmq *z)
{
    return z->subscriptions > 0;
}

void ad_zmq_publish(struct ad_zmq *z, const char *name, const void *p, size_t n)
{
    if (z->closing || !ad_zmq_heard(z)) {
        return;
    }
    /* XPUB never waits: a subscriber whose queue is full misses the event. */
    if (zmq_send(z->events, name, strlen(name), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
        zmq_send(z->events, p, n, ZMQ_DONTWAIT) >= 0) {
        z->stats.events++;
    }
    look_again(z, z->events);
}

const struct ad_zmq_stats *ad_zmq_stats(struct ad_zmq *z)
{
    z->stats.connections = ad_zmq_guard_held(z->guard);
    z->stats.turned_away = ad_zmq_guard_turned_away(z->guard);
    return &z->stats;
}

void ad_zmq_close(struct ad_zmq *z, void (*closed)(void *data))
{
    assert(!z->closing);
    assert(!z->draining);
    z->closing = true;
    z->closed_cb = closed;
    uv_close((uv_handle_t *)&z->requests_poll, handle_closed);
    uv_close((uv_handle_t *)&z->events_poll, handle_closed);
    uv_close((uv_handle_t *)&z->idle, handle_closed);
}
