/* A libpq connection on the loop: name lookup, connecting, the socket.
 *
 *   start()            socket found         libpq is content
 *   IDLE ----> LOOKUP ------------> OPENING ------------> UP
 *    ^           | timeout, error      |                   | lost
 *    +-----------+---------------------+-------------------+
 *
 * All hosts of the conninfo and all their addresses are tried in turn, each with
 * its own timeout, before down() is called. Host names are looked up in
 * libuv's thread pool, since libpq itself would block in the resolver; one lookup
 * at a time, so that a dead resolver costs one thread and no more.
 *
 * libpq may close its socket and open another with the same number while it
 * connects (TLS refused, next address). epoll would forget it silently, so every
 * step of connecting has a poll handle of its own. */

#ifndef AD_POSTGRES_CONNECT_H
#define AD_POSTGRES_CONNECT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

enum {
    AD_PG_HOSTS_MAX = 8,
    AD_PG_ADDRS_MAX = 8,
    AD_PG_OPTIONS_MAX = 48,
    AD_PG_ADDR_SIZE = 64
};

enum ad_pg_conn_state {
    AD_PG_CONN_IDLE,
    AD_PG_CONN_NEXT, /* the timer brings the next address */
    AD_PG_CONN_LOOKUP,
    AD_PG_CONN_OPENING,
    AD_PG_CONN_UP
};

struct ad_pg_host
{
    char *name; /* a name, an address or the folder of a Unix socket; may be "" */
    char *addr; /* hostaddr, NULL if not given */
    char *port; /* may be "" */
};

struct ad_pg_conn_cb
{
    void (*up)(void *data);
    void (*input)(void *data); /* Results may be there. May drop the connection. */
    void (*down)(void *data, const char *why);
    void (*closed)(void *data);
};

struct ad_pg_conn_poll;
struct ad_pg_conn_lookup;

struct ad_pg_conn
{
    uv_loop_t *loop;
    PGconn *pg; /* NULL when there is none */
    enum ad_pg_conn_state state;
    bool closing;
    unsigned open_handles;
    uv_timer_t timer; /* the limit of the present step */
    struct ad_pg_conn_poll *poll;
    struct ad_pg_conn_lookup *lookup; /* may outlive the connection */
    unsigned timeout_ms;

    /* The conninfo, taken apart. */
    char *keys[AD_PG_OPTIONS_MAX];
    char *values[AD_PG_OPTIONS_MAX];
    unsigned options;
    const char *secrets[2]; /* into values; NULL: none */
    struct ad_pg_host hosts[AD_PG_HOSTS_MAX];
    unsigned hosts_nr;
    char *app_name;

    /* Where we are in the list: hosts tried since start(). */
    unsigned host, tried;
    char addrs[AD_PG_ADDRS_MAX][AD_PG_ADDR_SIZE]; /* "": no hostaddr needed */
    unsigned addrs_nr, addr;
    char error[512]; /* of the addresses that failed since start() */

    struct ad_pg_conn_cb cb;
    void *data;
};

/* Nothing of @conninfo is kept but copies, and nothing of it is ever printed.
 * No callback comes before the loop turns. */
SY_MUST_USE int ad_pg_conn_init(struct ad_pg_conn *c, uv_loop_t *loop,
                                const char *conninfo, const char *app_name,
                                unsigned timeout_ms, const struct ad_pg_conn_cb *cb,
                                void *data, struct sy_errbuf *eb);
void ad_pg_conn_start(struct ad_pg_conn *c);
/* Send what libpq has queued. False: the connection is lost, drop it. */
bool ad_pg_conn_flush(struct ad_pg_conn *c);
/* What libpq says is wrong, on one line, without passwords. */
void ad_pg_conn_why(const struct ad_pg_conn *c, const char *text, char *out, size_t size);
/* The socket is closed when this returns. @reset: discard what the kernel has not
 * sent yet. No callback. */
void ad_pg_conn_drop(struct ad_pg_conn *c, bool reset);
/* Drop for good; closed() comes when the handles are gone. */
void ad_pg_conn_close(struct ad_pg_conn *c);

#endif /* AD_POSTGRES_CONNECT_H */
