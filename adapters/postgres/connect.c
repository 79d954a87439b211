#include "adapters/postgres/connect.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

struct ad_pg_conn_poll
{
    uv_poll_t handle;
    struct ad_pg_conn *owner;
};

struct ad_pg_conn_lookup
{
    uv_getaddrinfo_t req;
    struct ad_pg_conn *owner; /* NULL: nobody waits any more */
    unsigned host;            /* whose name it was */
};

/* --- the conninfo --- */

/* Entry @i of the comma separated @list; an empty list has one empty entry. False
 * if there is no such entry. */
static bool entry(const char *list, unsigned i, const char **ret, size_t *ret_len)
{
    for (; i > 0; i--) {
        list = strchr(list, ',');
        if (list == NULL) {
            return false;
        }
        list++;
    }
    *ret = list;
    *ret_len = strcspn(list, ",");
    return true;
}

static char *dup_run(const char *p, size_t n)
{
    char *s = sy_calloc(1, n + 1);

    memcpy(s, p, n);
    return s;
}

static const char *option(const PQconninfoOption *o, const char *key)
{
    for (; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, key) == 0) {
            return o->val != NULL ? o->val : "";
        }
    }
    return "";
}

static const char *or_env(const char *value, const char *env)
{
    const char *v = value[0] == '\0' ? getenv(env) : value;

    return v != NULL ? v : "";
}

static int take_hosts(struct ad_pg_conn *c, const PQconninfoOption *o,
                      struct sy_errbuf *eb)
{
    const char *addr = option(o, "hostaddr");
    const char *name = option(o, "host");
    const char *port = or_env(option(o, "port"), "PGPORT");
    const char *lead = addr[0] != '\0' ? addr : name[0] != '\0' ? name : NULL;
    const char *p;
    size_t n;

    if (lead == NULL) {
        lead = name = or_env(name, "PGHOST");
    }
    for (unsigned i = 0; entry(lead, i, &p, &n); i++) {
        struct ad_pg_host *h = &c->hosts[i];

        if (i == AD_PG_HOSTS_MAX) {
            return sy_fail(eb, SY_ELIMIT, "postgres: more than %d hosts",
                           AD_PG_HOSTS_MAX);
        }
        c->hosts_nr = i + 1;
        if (addr[0] != '\0') {
            h->addr = dup_run(p, n);
        }
        /* One port, or none, serves all hosts; the same is not true of names. */
        h->name = entry(name, i, &p, &n) ? dup_run(p, n) : sy_strdup("");
        h->port =
            entry(port, strchr(port, ',') != NULL ? i : 0, &p, &n) ? dup_run(p, n) : NULL;
        if (h->port == NULL ||
            (addr[0] != '\0' && name[0] != '\0' && !entry(name, i, &p, &n))) {
            return sy_fail(eb, SY_EINVALID,
                           "postgres: host, hostaddr and port must "
                           "have equally many entries");
        }
    }
    return 0;
}

static bool ours(const char *key)
{
    static const char *const keys[] = {"host",
                                       "hostaddr",
                                       "port",
                                       "application_name",
                                       "client_encoding",
                                       "fallback_application_name",
                                       "connect_timeout"};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void put_option(struct ad_pg_conn *c, const char *key, const char *value)
{
    assert(c->options < AD_PG_OPTIONS_MAX);
    c->keys[c->options] = sy_strdup(key);
    c->values[c->options] = sy_strdup(value);
    if (strcmp(key, "password") == 0) {
        c->secrets[0] = c->values[c->options];
    } else if (strcmp(key, "sslpassword") == 0) {
        c->secrets[1] = c->values[c->options];
    }
    c->options++;
}

static int take_options(struct ad_pg_conn *c, const PQconninfoOption *o,
                        struct sy_errbuf *eb)
{
    if (option(o, "service")[0] != '\0') {
        return sy_fail(eb, SY_EINVALID,
                       "postgres: service= is not supported, name the "
                       "host in the connection string");
    }
    /* Asking for a Kerberos ticket may block, and nobody here has one. */
    if (option(o, "gssencmode")[0] == '\0') {
        put_option(c, "gssencmode", "disable");
    }
    for (const PQconninfoOption *i = o; i->keyword != NULL; i++) {
        if (i->val == NULL || ours(i->keyword)) {
            continue;
        }
        /* Room for host, hostaddr, port and the two names that come in open_one(). */
        if (c->options + 8 >= AD_PG_OPTIONS_MAX) {
            return sy_fail(eb, SY_ELIMIT, "postgres: too many connection options");
        }
        put_option(c, i->keyword, i->val);
    }
    return take_hosts(c, o, eb);
}

static int parse(struct ad_pg_conn *c, const char *conninfo, struct sy_errbuf *eb)
{
    char *error = NULL;
    PQconninfoOption *o = PQconninfoParse(conninfo, &error);
    int rv;

    if (o == NULL) {
        /* libpq's sentence quotes the string, and the password is in it. */
        PQfreemem(error);
        return sy_fail(eb, SY_EINVALID,
                       "postgres: the connection string is not understood; it is either "
                       "\"host=... dbname=... user=...\" or \"postgresql://...\" with "
                       "special characters of the password as %%XX");
    }
    rv = take_options(c, o, eb);
    PQconninfoFree(o);
    return rv;
}

/* --- errors --- */

static void blot(char *text, const char *secret)
{
    size_t n = secret != NULL ? strlen(secret) : 0;

    /* One or two characters are no secret and would blot out the sentence. */
    if (n < 3) {
        return;
    }
    for (char *p = text; (p = strstr(p, secret)) != NULL; p += n) {
        memset(p, '*', n);
    }
}

void ad_pg_conn_why(const struct ad_pg_conn *c, const char *text, char *out, size_t size)
{
    size_t n = 0;

    assert(size > 0);
    for (; *text != '\0' && n + 1 < size; text++) {
        bool blank = *text == '\n' || *text == '\t' || *text == ' ';

        if (!blank) {
            out[n++] = *text;
        } else if (n > 0 && out[n - 1] != ' ') {
            out[n++] = ' ';
        }
    }
    while (n > 0 && out[n - 1] == ' ') {
        n--;
    }
    out[n] = '\0';
    blot(out, c->secrets[0]);
    blot(out, c->secrets[1]);
}

static void add_error(struct ad_pg_conn *c, const char *text)
{
    char line[sizeof c->error];
    size_t n = strlen(c->error);

    ad_pg_conn_why(c, text, line, sizeof line);
    snprintf(c->error + n, sizeof c->error - n, "%s%s%s", n > 0 ? "; " : "", line,
             strstr(line, "certificate verify failed") != NULL
                 ? " (its certificate is not by a CA of postgres.sslrootcert)"
                 : "");
}

/* --- the socket --- */

static void maybe_closed(struct ad_pg_conn *c)
{
    if (c->closing && c->open_handles == 0) {
        c->cb.closed(c->data); /* May free the owner. */
    }
}

static void poll_closed(uv_handle_t *handle)
{
    struct ad_pg_conn_poll *poll = handle->data;
    struct ad_pg_conn *c = poll->owner;

    sy_free(poll);
    assert(c->open_handles > 0);
    c->open_handles--;
    maybe_closed(c);
}

/* At once out of epoll, so that libpq may close the descriptor afterwards. */
static void unwatch(struct ad_pg_conn *c)
{
    if (c->poll != NULL) {
        uv_close((uv_handle_t *)&c->poll->handle, poll_closed);
        c->poll = NULL;
    }
}

static void poll_cb(uv_poll_t *handle, int status, int events);

static int watch(struct ad_pg_conn *c, int events)
{
    int rv;

    if (c->poll == NULL) {
        struct ad_pg_conn_poll *poll = sy_calloc(1, sizeof *poll);

        rv = uv_poll_init(c->loop, &poll->handle, PQsocket(c->pg));
        if (rv != 0) {
            sy_free(poll);
            return rv;
        }
        poll->owner = c;
        poll->handle.data = poll;
        c->poll = poll;
        c->open_handles++;
    }
    return uv_poll_start(&c->poll->handle, events, poll_cb);
}

void ad_pg_conn_drop(struct ad_pg_conn *c, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    unwatch(c);
    uv_timer_stop(&c->timer);
    if (c->pg != NULL) {
        if (reset && PQsocket(c->pg) >= 0) {
            /* Fails on a Unix socket, which has nothing unsent to discard. */
            (void)setsockopt(PQsocket(c->pg), SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        PQfinish(c->pg);
        c->pg = NULL;
    }
    c->state = AD_PG_CONN_IDLE;
}

bool ad_pg_conn_flush(struct ad_pg_conn *c)
{
    int left = PQflush(c->pg);

    if (left < 0) {
        return false;
    }
    return watch(c, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE) == 0;
}

/* --- connecting --- */

static void timer_cb(uv_timer_t *timer);

static void arm(struct ad_pg_conn *c, enum ad_pg_conn_state state, unsigned ms)
{
    c->state = state;
    uv_timer_start(&c->timer, timer_cb, ms, 0);
}

/* This address is no good: the next one, in the next turn, or the end. */
static void next(struct ad_pg_conn *c, const char *why)
{
    add_error(c, why); /* First: @why may be libpq's and go with the connection. */
    ad_pg_conn_drop(c, false);
    if (c->addr + 1 < c->addrs_nr) {
        c->addr++;
        arm(c, AD_PG_CONN_NEXT, 0);
        return;
    }
    c->addrs_nr = c->addr = 0;
    c->host = (c->host + 1) % c->hosts_nr;
    if (++c->tried < c->hosts_nr) {
        arm(c, AD_PG_CONN_NEXT, 0);
        return;
    }
    c->cb.down(c->data, c->error);
}

static void ignore_notice(void *data, const PGresult *res)
{
    (void)data, (void)res;
}

static void is_up(struct ad_pg_conn *c)
{
    uv_timer_stop(&c->timer);
    if (PQsetnonblocking(c->pg, 1) != 0 || PQenterPipelineMode(c->pg) != 1 ||
        watch(c, UV_READABLE) != 0) {
        next(c, PQerrorMessage(c->pg));
        return;
    }
    PQsetNoticeReceiver(c->pg, ignore_notice, NULL);
    c->state = AD_PG_CONN_UP;
    c->error[0] = '\0';
    c->addrs_nr = c->addr = 0; /* The next time the name is looked up again. */
    c->cb.up(c->data);
}

static void step(struct ad_pg_conn *c)
{
    PostgresPollingStatusType want;
    int rv;

    unwatch(c);
    want = PQconnectPoll(c->pg);
    if (want == PGRES_POLLING_OK) {
        is_up(c);
    } else if (want == PGRES_POLLING_FAILED) {
        next(c, PQerrorMessage(c->pg));
    } else {
        rv = watch(c, want == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE);
        if (rv != 0) {
            next(c, uv_strerror(rv));
        }
    }
}

static void lost(struct ad_pg_conn *c)
{
    char why[sizeof c->error];

    ad_pg_conn_why(c, PQerrorMessage(c->pg), why, sizeof why);
    ad_pg_conn_drop(c, false);
    c->cb.down(c->data, why[0] != '\0' ? why : "the server closed the connection");
}

static void poll_cb(uv_poll_t *handle, int status, int events)
{
    struct ad_pg_conn *c = ((struct ad_pg_conn_poll *)handle->data)->owner;

    if (c->state == AD_PG_CONN_OPENING) {
        step(c);
        return;
    }
    assert(c->state == AD_PG_CONN_UP);
    if ((status < 0 || (events & UV_READABLE)) && PQconsumeInput(c->pg) != 1) {
        lost(c);
        return;
    }
    /* After each reading too: libpq may have something to answer. */
    if (!ad_pg_conn_flush(c)) {
        lost(c);
        return;
    }
    c->cb.input(c->data);
}

static void open_one(struct ad_pg_conn *c)
{
    const struct ad_pg_host *h = &c->hosts[c->host];
    const char *keys[AD_PG_OPTIONS_MAX];
    const char *values[AD_PG_OPTIONS_MAX];
    const struct
    {
        const char *key, *value;
    } more[] = {{"host", h->name},
                {"hostaddr", c->addrs[c->addr]},
                {"port", h->port},
                {"client_encoding", "UTF8"},
                {"application_name", c->app_name}};
    unsigned n = 0;

    for (; n < c->options; n++) {
        keys[n] = c->keys[n];
        values[n] = c->values[n];
    }
    for (unsigned i = 0; i < sizeof more / sizeof more[0]; i++, n++) {
        keys[n] = more[i].key;
        values[n] = more[i].value;
    }
    keys[n] = values[n] = NULL;
    arm(c, AD_PG_CONN_OPENING, c->timeout_ms);
    c->pg = PQconnectStartParams(keys, values, 0);
    if (c->pg == NULL || PQstatus(c->pg) == CONNECTION_BAD || PQsocket(c->pg) < 0) {
        next(c, c->pg != NULL ? PQerrorMessage(c->pg) : "out of memory");
        return;
    }
    if (watch(c, UV_WRITABLE) != 0) { /* As libpq wants before the first step. */
        next(c, "the socket cannot be watched");
    }
}

static void look_up(struct ad_pg_conn *c);

static void looked_up(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
    struct ad_pg_conn_lookup *l = req->data;
    struct ad_pg_conn *c = l->owner;
    unsigned host = l->host;
    char text[256];

    if (c != NULL) {
        c->lookup = NULL;
    }
    sy_free(l);
    if (c == NULL || c->state != AD_PG_CONN_LOOKUP) {
        uv_freeaddrinfo(res); /* Too late: the timeout has spoken. */
        return;
    }
    if (host != c->host) {
        uv_freeaddrinfo(res);
        look_up(c); /* That was the one before; now there is room for this one. */
        return;
    }
    c->addrs_nr = c->addr = 0;
    for (struct addrinfo *a = res; a != NULL && c->addrs_nr < AD_PG_ADDRS_MAX;
         a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, c->addrs[c->addrs_nr], AD_PG_ADDR_SIZE,
                        NULL, 0, NI_NUMERICHOST) == 0) {
            c->addrs_nr++;
        }
    }
    uv_freeaddrinfo(res);
    if (status != 0 || c->addrs_nr == 0) {
        snprintf(text, sizeof text, "host \"%s\" cannot be looked up: %s",
                 c->hosts[c->host].name,
                 status != 0 ? uv_strerror(status) : "it has no address");
        next(c, text);
        return;
    }
    open_one(c);
}

static void look_up(struct ad_pg_conn *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int rv;

    arm(c, AD_PG_CONN_LOOKUP, c->timeout_ms);
    if (c->lookup != NULL) {
        return; /* The one before still blocks: the timeout will say so. */
    }
    c->lookup = sy_calloc(1, sizeof *c->lookup);
    c->lookup->req.data = c->lookup;
    c->lookup->owner = c;
    c->lookup->host = c->host;
    rv = uv_getaddrinfo(c->loop, &c->lookup->req, looked_up, c->hosts[c->host].name, NULL,
                        &hints);
    if (rv != 0) {
        sy_free(c->lookup);
        c->lookup = NULL;
        next(c, uv_strerror(rv));
    }
}

/* Needs no lookup: an address, a folder with a socket, or libpq's default. */
static bool literal(const char *name)
{
    struct in6_addr any;
    char addr[AD_PG_ADDR_SIZE];

    if (name[0] == '\0' || name[0] == '/' || name[0] == '@') {
        return true;
    }
    snprintf(addr, sizeof addr, "%.*s", (int)strcspn(name, "%"), name);
    return inet_pton(AF_INET, addr, &any) == 1 || inet_pton(AF_INET6, addr, &any) == 1;
}

static void try_host(struct ad_pg_conn *c)
{
    const struct ad_pg_host *h = &c->hosts[c->host];

    if (c->addrs_nr > 0) {
        open_one(c);
    } else if (h->addr != NULL || literal(h->name)) {
        c->addrs_nr = 1;
        c->addr = 0;
        snprintf(c->addrs[0], AD_PG_ADDR_SIZE, "%s", h->addr != NULL ? h->addr : "");
        open_one(c);
    } else {
        look_up(c);
    }
}

static void timer_cb(uv_timer_t *timer)
{
    struct ad_pg_conn *c = timer->data;
    const struct ad_pg_host *h = &c->hosts[c->host];
    char text[256];

    assert(c->state != AD_PG_CONN_IDLE);
    assert(c->state != AD_PG_CONN_UP);
    if (c->state == AD_PG_CONN_NEXT) {
        try_host(c);
        return;
    }
    if (c->state == AD_PG_CONN_LOOKUP) {
        snprintf(text, sizeof text, "host \"%s\" cannot be looked up: no answer in %u ms",
                 h->name, c->timeout_ms);
    } else {
        snprintf(text, sizeof text, "server \"%s\"%s%s port %s does not answer in %u ms",
                 h->name, c->addrs[c->addr][0] != '\0' ? " " : "", c->addrs[c->addr],
                 h->port[0] != '\0' ? h->port : "5432", c->timeout_ms);
    }
    next(c, text);
}

/* --- life --- */

static void release(struct ad_pg_conn *c)
{
    for (unsigned i = 0; i < c->options; i++) {
        sy_free(c->keys[i]);
        /* Passwords need not lie about in freed memory. */
        explicit_bzero(c->values[i], strlen(c->values[i]));
        sy_free(c->values[i]);
    }
    for (unsigned i = 0; i < c->hosts_nr; i++) {
        sy_free(c->hosts[i].name);
        sy_free(c->hosts[i].addr);
        sy_free(c->hosts[i].port);
    }
    sy_free(c->app_name);
    c->app_name = NULL;
    c->options = c->hosts_nr = 0;
    c->secrets[0] = c->secrets[1] = NULL;
}

int ad_pg_conn_init(struct ad_pg_conn *c, uv_loop_t *loop, const char *conninfo,
                    const char *app_name, unsigned timeout_ms,
                    const struct ad_pg_conn_cb *cb, void *data, struct sy_errbuf *eb)
{
    int rv;

    *c = (struct ad_pg_conn){
        .loop = loop, .timeout_ms = timeout_ms, .cb = *cb, .data = data};
    rv = parse(c, conninfo, eb);
    if (rv != 0) {
        release(c);
        return rv;
    }
    c->app_name = sy_strdup(app_name);
    rv = uv_timer_init(loop, &c->timer);
    assert(rv == 0); /* Only fills in a struct. */
    c->timer.data = c;
    c->open_handles = 1;
    return 0;
}

void ad_pg_conn_start(struct ad_pg_conn *c)
{
    assert(!c->closing);
    assert(c->state == AD_PG_CONN_IDLE);
    c->tried = 0;
    c->addrs_nr = c->addr = 0;
    c->error[0] = '\0';
    arm(c, AD_PG_CONN_NEXT, 0);
}

static void timer_closed(uv_handle_t *handle)
{
    struct ad_pg_conn *c = handle->data;

    assert(c->open_handles > 0);
    c->open_handles--;
    maybe_closed(c);
}

void ad_pg_conn_close(struct ad_pg_conn *c)
{
    assert(!c->closing);
    ad_pg_conn_drop(c, true);
    c->closing = true;
    if (c->lookup != NULL) {
        /* A resolver that hangs must not hold up the owner: the request belongs
         * to the loop and frees itself. */
        c->lookup->owner = NULL;
        (void)uv_cancel((uv_req_t *)&c->lookup->req);
        c->lookup = NULL;
    }
    release(c);
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}
