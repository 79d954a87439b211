#include "adapters/zmq/control.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
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
    TELL_MS = 1000, /* of those who were turned away: at most so often */
    IPC_FILES_MAX = 2 * AD_ZMQ_ENDPOINTS_MAX
};

_Static_assert(IPC_PATH_MAX == 107, "docs and messages say 107");

/* What of it is there; each in its place in the arrays below. */
enum {
    REQUESTS,
    EVENTS,
    SEALED_REQUESTS, /* the same, with CURVE: that is a property of a socket */
    SEALED_EVENTS,
    GUARDED,
    ZAP = GUARDED,
    SOCKETS
};

_Static_assert((int)GUARDED <= (int)AD_ZMQ_GUARDED_MAX, "the guard watches all of them");

struct ad_zmq
{
    const struct sy_log *log;
    struct ad_zmq_owner owner;
    void (*closed_cb)(void *data);
    void *ctx;
    void *sock[SOCKETS]; /* Without a key only the first two. */
    unsigned sockets;
    struct ad_zmq_guard *guard;
    uv_poll_t poll[SOCKETS]; /* ZMQ_FD: says "look again", once per change. */
    uv_idle_t idle;          /* Runs only while there is something we did not take yet. */
    uv_async_t news;         /* of the guard */
    uv_timer_t telling;
    unsigned open_handles;
    bool draining;
    bool closing;
    bool plaintext; /* TCP off loopback, too. */
    unsigned files_n;
    char files[IPC_FILES_MAX][IPC_PATH_MAX + 1]; /* Ours, to be unlinked. */
    struct ad_zmq_stats stats, told;
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

/* @plain: REQUESTS or EVENTS. */
static int bind_one(struct ad_zmq *z, unsigned plain, const char *endpoint,
                    struct sy_errbuf *eb)
{
    bool sealed = z->sockets == SOCKETS;
    int rv;

    if (starts_with(endpoint, "ipc://")) {
        return bind_ipc(z, z->sock[plain], endpoint, eb);
    }
    if (!starts_with(endpoint, "tcp://")) {
        return sy_fail(eb, SY_EINVALID, "'%s': must begin with ipc:// or tcp://",
                       endpoint);
    }
    rv = check_tcp(endpoint, endpoint + strlen("tcp://"), z->plaintext || sealed, eb);
    if (rv == 0 &&
        zmq_bind(z->sock[sealed ? plain + SEALED_REQUESTS : plain], endpoint) != 0) {
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

/* libzmq says "localhost:UID:GID:PID" of a Unix socket (SO_PEERCRED). */
static struct ad_zmq_who who_sent(zmq_msg_t *msg, bool sealed)
{
    struct ad_zmq_who who = {.sealed = sealed};
    const char *key = sealed ? zmq_msg_gets(msg, "User-Id") : NULL;
    const char *address = zmq_msg_gets(msg, "Peer-Address");
    unsigned uid, pid;

    if (key != NULL) {
        snprintf(who.key, sizeof who.key, "%s", key);
    }
    if (address != NULL && sscanf(address, "localhost:%u:%*u:%u", &uid, &pid) == 2) {
        who.local = true;
        who.uid = uid;
        who.pid = pid;
    } else if (address != NULL) {
        ad_zap_address(who.address, address, strlen(address));
    }
    return who;
}

static void judge_request(struct ad_zmq *z, const struct ad_zmq_client *client,
                          zmq_msg_t *body)
{
    if (zmq_msg_more(body)) {
        z->stats.refused++;
        SY_LOG(z->log, SY_DEBUG, "control.refused", KSTR("why", "more than one frame"));
        drop_frames(z->sock[client->sealed ? SEALED_REQUESTS : REQUESTS]);
    } else if (client->len == 0) {
        z->stats.refused++;
        SY_LOG(z->log, SY_DEBUG, "control.refused", KSTR("why", "routing id too long"));
    } else if (zmq_msg_size(body) > AD_ZMQ_REQUEST_MAX) {
        z->stats.oversized++;
        SY_LOG(z->log, SY_DEBUG, "control.oversized", KU64("bytes", zmq_msg_size(body)));
    } else {
        struct ad_zmq_who who = who_sent(body, client->sealed);

        z->stats.requests++;
        z->owner.request(z->owner.data, client, &who, zmq_msg_data(body),
                         zmq_msg_size(body));
    }
}

static void take_request(struct ad_zmq *z, unsigned which)
{
    struct ad_zmq_client client = {.sealed = which == SEALED_REQUESTS};
    zmq_msg_t msg;

    zmq_msg_init(&msg);
    if (zmq_msg_recv(&msg, z->sock[which], ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&msg);
        return;
    }
    if (zmq_msg_size(&msg) <= sizeof client.id) {
        client.len = (uint8_t)zmq_msg_size(&msg);
        memcpy(client.id, zmq_msg_data(&msg), client.len);
    }
    if (zmq_msg_more(&msg) && zmq_msg_recv(&msg, z->sock[which], ZMQ_DONTWAIT) >= 0) {
        client.fd = zmq_msg_get(&msg, ZMQ_SRCFD);
        ad_zmq_guard_taken(z->guard, client.fd);
        judge_request(z, &client, &msg);
    }
    zmq_msg_close(&msg);
}

/* True if it stopped before the socket was empty. Of the sockets for events nothing can
 * be read: to look is what makes libzmq take the subscriptions. */
static bool drain_one(struct ad_zmq *z, unsigned which)
{
    for (unsigned n = 0; readable(z->sock[which]); n++) {
        if (n == DRAIN_MAX) {
            return true;
        }
        if (which == ZAP) {
            ad_zap_take(z->sock[ZAP], z->owner.admit, z->owner.data);
        } else {
            take_request(z, which);
        }
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
    bool left = false;

    assert(!z->draining);
    if (z->closing) {
        return;
    }
    z->draining = true;
    for (unsigned i = 0; i < z->sockets; i++) {
        left |= drain_one(z, i);
    }
    /* What was asked may have published, which may have eaten a wakeup. */
    for (unsigned i = 0; i < z->sockets && !left; i++) {
        left = readable(z->sock[i]);
    }
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
static void look_again(struct ad_zmq *z, unsigned which)
{
    if (!z->draining && readable(z->sock[which])) {
        uv_idle_start(&z->idle, idle_cb);
    }
}

/* --- what the guard saw --- */

static void take_counts(struct ad_zmq *z)
{
    z->stats.connections = 0;
    for (unsigned i = 0; i < GUARDED; i++) {
        z->stats.connections += ad_zmq_guard_held(z->guard, i);
    }
    z->stats.turned_away = ad_zmq_guard_turned_away(z->guard);
    z->stats.overfull = ad_zmq_guard_overfull(z->guard);
    z->stats.strangers = ad_zmq_guard_strangers(z->guard);
}

/* Once a second at most, however many knock. */
static void tell(uv_timer_t *timer)
{
    struct ad_zmq *z = timer->data;

    take_counts(z);
    if (z->stats.strangers > z->told.strangers) {
        SY_LOG(z->log, SY_WARN, "control.strangers",
               KU64("n", z->stats.strangers - z->told.strangers),
               KSTR("why", "no key that is known here, another server's, or no ZeroMQ"));
    }
    if (z->stats.turned_away > z->told.turned_away) {
        SY_LOG(z->log, SY_WARN, "control.crowd",
               KU64("n", z->stats.turned_away - z->told.turned_away),
               KU64("held", z->stats.connections));
    }
    if (z->stats.overfull > z->told.overfull) {
        SY_LOG(z->log, SY_WARN, "control.overfull",
               KU64("n", z->stats.overfull - z->told.overfull),
               KSTR("why",
                    "sent more than may wait: requests that do not end, or "
                    "subscriptions"));
    }
    z->told = z->stats;
}

static void news_cb(uv_async_t *news)
{
    struct ad_zmq *z = news->data;

    if (!z->closing && !uv_is_active((uv_handle_t *)&z->telling)) {
        uv_timer_start(&z->telling, tell, TELL_MS, 0);
    }
}

/* From the guard's thread. */
static void guard_news(void *data)
{
    struct ad_zmq *z = data;

    (void)uv_async_send(&z->news);
}

/* --- life --- */

static int set_int(void *sock, int option, int value)
{
    return zmq_setsockopt(sock, option, &value, sizeof value);
}

static int set_options(void *sock, bool requests, int send_queue_max)
{
    int64_t max = requests ? FRAME_MAX : SUBSCRIPTION_MAX;
    int rv = 0;

    if (requests) {
        /* Mandatory: otherwise replies to clients that are gone vanish uncounted. */
        rv |= set_int(sock, ZMQ_ROUTER_MANDATORY, 1);
        rv |= set_int(sock, ZMQ_RCVHWM, RECEIVE_QUEUE_MAX);
    }
    rv |= zmq_setsockopt(sock, ZMQ_MAXMSGSIZE, &max, sizeof max);
    rv |= set_int(sock, ZMQ_SNDHWM, send_queue_max);
    rv |= set_int(sock, ZMQ_LINGER, 0);
    rv |= set_int(sock, ZMQ_IPV6, 1);
    return rv;
}

static int set_key(void *sock, const char *secret)
{
    int rv = set_int(sock, ZMQ_CURVE_SERVER, 1);

    rv |= zmq_setsockopt(sock, ZMQ_CURVE_SECRETKEY, secret, AD_ZAP_KEY_SIZE);
    rv |= zmq_setsockopt(sock, ZMQ_ZAP_DOMAIN, AD_ZAP_DOMAIN, strlen(AD_ZAP_DOMAIN));
    return rv;
}

static int open_sockets(struct ad_zmq *z, const struct ad_zmq_config *c,
                        struct sy_errbuf *eb)
{
    int queue = c->send_queue_max > 0 ? c->send_queue_max : SEND_QUEUE_DEFAULT;
    bool sealed = c->secret_key[0] != '\0';
    int rv = 0;

    z->sockets = sealed ? SOCKETS : SEALED_REQUESTS;
    /* First: the others' handshakes ask it. */
    if (sealed && (rv = ad_zap_open(&z->sock[ZAP], z->ctx, eb)) != 0) {
        return rv;
    }
    for (unsigned i = 0; i < z->sockets && i < GUARDED; i++) {
        bool requests = i == REQUESTS || i == SEALED_REQUESTS;

        /* Not XPUB: what subscribers say to it is theirs, cancels of what nobody
         * subscribed to among it. */
        z->sock[i] = zmq_socket(z->ctx, requests ? ZMQ_ROUTER : ZMQ_PUB);
        if (z->sock[i] == NULL) {
            return fail_zmq(eb, "control: zmq socket");
        }
        if (set_options(z->sock[i], requests, queue) != 0) {
            return fail_zmq(eb, "control: zmq socket option");
        }
        if (i >= SEALED_REQUESTS && set_key(z->sock[i], c->secret_key) != 0) {
            return sy_fail(eb, SY_EINVALID,
                           "control.secret_key: is no secret key of CURVE: 40 characters "
                           "of Z85, as in the curve.key that `vagtctl pki node` makes");
        }
    }
    rv = ad_zmq_guard_open(&z->guard, z->ctx, z->sock, sealed ? GUARDED : SEALED_REQUESTS,
                           SEALED_REQUESTS, guard_news, z, eb);
    for (unsigned i = 0; rv == 0 && i < c->requests_n; i++) {
        rv = bind_one(z, REQUESTS, c->requests[i], eb);
    }
    for (unsigned i = 0; rv == 0 && i < c->events_n; i++) {
        rv = bind_one(z, EVENTS, c->events[i], eb);
    }
    return rv;
}

static int init_poll(struct ad_zmq *z, uv_loop_t *loop, unsigned which,
                     struct sy_errbuf *eb)
{
    int fd = -1;
    int rv;
    size_t len = sizeof fd;

    if (zmq_getsockopt(z->sock[which], ZMQ_FD, &fd, &len) != 0) {
        return fail_zmq(eb, "control: zmq descriptor");
    }
    rv = uv_poll_init(loop, &z->poll[which], fd);
    if (rv != 0) {
        return sy_fail(eb, rv, "control: poll: %s", uv_strerror(rv));
    }
    z->poll[which].data = z;
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
    for (unsigned i = 0; i < SOCKETS; i++) {
        if (z->sock[i] != NULL) {
            zmq_close(z->sock[i]);
        }
    }
    while (zmq_ctx_term(z->ctx) != 0 && zmq_errno() == EINTR) {
    }
    sy_free(z);
}

static void handle_closed(uv_handle_t *handle)
{
    struct ad_zmq *z = handle->data;
    void (*closed_cb)(void *) = z->closed_cb;
    void *data = z->owner.data;

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

/* What is opened here is closed by close_handles(), also after a failure. */
static int start_handles(struct ad_zmq *z, uv_loop_t *loop, struct sy_errbuf *eb)
{
    int rv = 0;

    for (unsigned i = 0; rv == 0 && i < z->sockets; i++) {
        rv = init_poll(z, loop, i, eb);
    }
    if (rv != 0) {
        return rv;
    }
    rv = uv_idle_init(loop, &z->idle);
    rv |= uv_timer_init(loop, &z->telling);
    assert(rv == 0); /* Cannot fail: they only fill in a struct. */
    z->idle.data = z->telling.data = z;
    z->open_handles += 2;
    for (unsigned i = 0; i < z->sockets; i++) {
        rv = uv_poll_start(&z->poll[i], UV_READABLE, poll_cb);
        assert(rv == 0);
    }
    rv = uv_idle_start(&z->idle, idle_cb); /* What arrived before we looked. */
    assert(rv == 0);
    return 0;
}

/* In the order in which they were made. */
static void close_handles(struct ad_zmq *z)
{
    uv_handle_t *all[] = {(uv_handle_t *)&z->news,    (uv_handle_t *)&z->poll[0],
                          (uv_handle_t *)&z->poll[1], (uv_handle_t *)&z->poll[2],
                          (uv_handle_t *)&z->poll[3], (uv_handle_t *)&z->poll[4]};
    unsigned polls = z->open_handles - 1;
    bool whole = polls == z->sockets + 2;

    z->closing = true;
    for (unsigned i = 0; i <= (whole ? z->sockets : polls); i++) {
        uv_close(all[i], handle_closed);
    }
    if (whole) {
        uv_close((uv_handle_t *)&z->idle, handle_closed);
        uv_close((uv_handle_t *)&z->telling, handle_closed);
    }
}

int ad_zmq_open(struct ad_zmq **ret, uv_loop_t *loop, const struct sy_log *log,
                const struct ad_zmq_config *config, const struct ad_zmq_owner *owner,
                struct sy_errbuf *eb)
{
    struct ad_zmq *z;
    int rv;

    assert(config->requests_n <= AD_ZMQ_ENDPOINTS_MAX);
    assert(config->events_n <= AD_ZMQ_ENDPOINTS_MAX);
    assert(owner->request != NULL);
    assert(owner->admit != NULL || config->secret_key[0] == '\0');
    z = sy_calloc(1, sizeof *z);
    z->log = log;
    z->owner = *owner;
    z->plaintext = config->plaintext;
    z->ctx = zmq_ctx_new();
    if (z->ctx == NULL) {
        rv = fail_zmq(eb, "control: zmq context");
        sy_free(z);
        return rv;
    }
    rv = uv_async_init(loop, &z->news, news_cb);
    if (rv != 0) {
        (void)sy_fail(eb, rv, "control: %s", uv_strerror(rv));
        free_all(z);
        return rv;
    }
    z->news.data = z;
    z->open_handles++;
    rv = open_sockets(z, config, eb);
    if (rv == 0) {
        rv = start_handles(z, loop, eb);
    }
    if (rv != 0) {
        close_handles(z);
        return rv;
    }
    *ret = z;
    return 0;
}

void ad_zmq_ask_again(struct ad_zmq *z)
{
    if (z->sockets == SOCKETS) {
        ad_zmq_guard_cut(z->guard, SEALED_REQUESTS);
        ad_zmq_guard_cut(z->guard, SEALED_EVENTS);
    }
}

void ad_zmq_reply(struct ad_zmq *z, const struct ad_zmq_client *client, const void *p,
                  size_t n)
{
    unsigned which = client->sealed ? SEALED_REQUESTS : REQUESTS;

    assert(client->len > 0);
    assert(which < z->sockets);
    if (z->closing) {
        z->stats.replies_dropped++;
        return;
    }
    /* EHOSTUNREACH: it is gone. EAGAIN: it does not read what it asked for. */
    if (!ad_zmq_guard_room(z->guard, client->fd, n)) {
        z->stats.replies_dropped++;
        SY_LOG(z->log, SY_DEBUG, "control.reply_dropped",
               KSTR("why", "it has not read the ones before"));
        return;
    }
    if (zmq_send(z->sock[which], client->id, client->len, ZMQ_SNDMORE | ZMQ_DONTWAIT) <
            0 ||
        zmq_send(z->sock[which], p, n, ZMQ_DONTWAIT) < 0) {
        z->stats.replies_dropped++;
        SY_LOG(z->log, SY_DEBUG, "control.reply_dropped",
               KSTR("why", zmq_strerror(zmq_errno())));
    } else {
        z->stats.replies++;
    }
    look_again(z, which);
}

bool ad_zmq_heard(const struct ad_zmq *z)
{
    return ad_zmq_guard_held(z->guard, EVENTS) > 0 ||
           ad_zmq_guard_held(z->guard, SEALED_EVENTS) > 0;
}

void ad_zmq_publish(struct ad_zmq *z, const char *name, const void *p, size_t n)
{
    if (z->closing || !ad_zmq_heard(z)) {
        return;
    }
    for (unsigned i = EVENTS; i < z->sockets && i < GUARDED;
         i += SEALED_EVENTS - EVENTS) {
        /* PUB never waits: a subscriber whose queue is full misses the event. */
        if (zmq_send(z->sock[i], name, strlen(name), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
            zmq_send(z->sock[i], p, n, ZMQ_DONTWAIT) >= 0) {
            z->stats.events += i == EVENTS;
        }
        look_again(z, i);
    }
}

const struct ad_zmq_stats *ad_zmq_stats(struct ad_zmq *z)
{
    take_counts(z);
    return &z->stats;
}

void ad_zmq_close(struct ad_zmq *z, void (*closed)(void *data))
{
    assert(!z->closing);
    assert(!z->draining);
    z->closed_cb = closed;
    close_handles(z);
}
