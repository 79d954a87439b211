/* A control plane on a loop, and clients of it, for the tests. */

#ifndef ZMQ_WORLD_H
#define ZMQ_WORLD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "adapters/zmq/control.h"
#include "adapters/zmq/guard.h"

enum { MANY = 1000, PATIENCE_MS = 30000 };

struct fixture
{
    uv_loop_t loop;
    uv_timer_t watchdog;
    struct sy_log log;
    struct ad_zmq_config config;
    struct ad_zmq *z;
    void *ctx;
    char dir[64];
    char path[128];
    unsigned requests;
    unsigned until;
    bool hold; /* Do not answer at once. */
    bool closed;
    struct ad_zmq_client last_client;
    struct ad_zmq_who last_who;
    char good_key[AD_ZAP_KEY_SIZE]; /* who may come in */
    char secret[AD_ZAP_KEY_SIZE];   /* its other half */
    char server[AD_ZAP_KEY_SIZE];   /* public key of the sockets */
    uint64_t last_number;
    size_t last_size;
};

void closed_cb(void *data);
int setup(void **state);
int try_open(struct fixture *f, struct sy_errbuf *eb);
void open_it(struct fixture *f);
void close_it(struct fixture *f);
int teardown(void **state);
void *client_of(struct fixture *f, int type, const char *endpoint);
void *dealer(struct fixture *f);
void run_until(struct fixture *f, unsigned requests);
void send_number(void *s, unsigned number);
unsigned recv_number(void *s);
/* Connects and greets without libzmq, as @type "SUB" or "DEALER": what is written to it
 * then is ZMTP 3.0 (rfc.zeromq.org/spec/23). */
int raw_client(const void *addr, socklen_t len, const char *type);
/* Also listens on a port of TCP, which is returned. */
struct sockaddr_in open_tcp(struct fixture *f, const char *host);

#endif /* ZMQ_WORLD_H */
