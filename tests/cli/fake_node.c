/* A node that answers from a script, for the tests of vagtctl.
 *
 *   fake_node SCRIPT.json CONTROL_ENDPOINT EVENTS_ENDPOINT REQUESTS.log
 *
 * SCRIPT: {"node": 1, "ops": {"ping": REPLY or [REPLY…], …}, "events": [{"name": …,
 * "body": {…}}…]}. Of a list each request takes the next, the last one stays. A REPLY:
 *   {"result": …}            {"error": {"code": …, "text": …}}
 *   {"raw": "hex"}           these bytes instead of a reply
 *   {"silent": true}         nothing     {"die": true}  ends the process
 *   {"delay_ms": n, …}       later       {"stray": REPLY, …}  before: to another request
 *   {"frames": 2, …}         as often
 * In values the string "@-3500" is the wall clock minus 3500 ms, {"$bin": "hex"} are
 * bytes, {"$huge": n} is a string of n characters, {"$str": "hex"} one of any bytes.
 * Events are published whenever somebody subscribes. Ends when stdin does. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <zmq.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/mp.h"

enum { OPS_MAX = 64 };

static uint64_t wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void put_hex(struct sy_buf *b, const char *hex)
{
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};

        sy_buf_u8(b, (uint8_t)strtoul(pair, NULL, 16));
    }
}

static void pack(struct sy_buf *b, json_t *v);

static void pack_object(struct sy_buf *b, json_t *v)
{
    struct sy_buf raw = {0};
    const char *key;
    json_t *item;

    if (json_object_get(v, "$bin") != NULL) {
        put_hex(&raw, json_string_value(json_object_get(v, "$bin")));
        sy_mp_bin(b, raw.p, raw.len);
    } else if (json_object_get(v, "$str") != NULL) {
        put_hex(&raw, json_string_value(json_object_get(v, "$str")));
        sy_mp_strn(b, (const char *)raw.p, raw.len);
    } else if (json_object_get(v, "$huge") != NULL) {
        size_t n = (size_t)json_integer_value(json_object_get(v, "$huge"));

        memset(sy_buf_reserve(&raw, n), 'x', n);
        sy_mp_strn(b, (const char *)raw.p, n);
    } else {
        sy_mp_map(b, (uint32_t)json_object_size(v));
        json_object_foreach(v, key, item)
        {
            sy_mp_str(b, key);
            pack(b, item);
        }
    }
    sy_buf_free(&raw);
}

static void pack(struct sy_buf *b, json_t *v)
{
    const char *s;

    switch (json_typeof(v)) {
    case JSON_OBJECT:
        pack_object(b, v);
        break;
    case JSON_ARRAY:
        sy_mp_array(b, (uint32_t)json_array_size(v));
        for (size_t i = 0; i < json_array_size(v); i++) {
            pack(b, json_array_get(v, i));
        }
        break;
    case JSON_STRING:
        s = json_string_value(v);
        if (s[0] == '@' && s[1] != '@') {
            sy_mp_uint(b, wall_ms() + (uint64_t)strtoll(s + 1, NULL, 10));
        } else {
            sy_mp_str(b, s);
        }
        break;
    case JSON_INTEGER:
        sy_mp_int(b, json_integer_value(v));
        break;
    case JSON_REAL: {
        double d = json_real_value(v);
        uint64_t raw;

        memcpy(&raw, &d, sizeof raw);
        sy_buf_u8(b, 0xcb);
        for (int shift = 56; shift >= 0; shift -= 8) {
            sy_buf_u8(b, (uint8_t)(raw >> shift));
        }
        break;
    }
    case JSON_TRUE:
    case JSON_FALSE:
        sy_mp_bool(b, json_is_true(v));
        break;
    case JSON_NULL:
        sy_mp_nil(b);
        break;
    }
}

struct node
{
    json_t *script;
    void *requests;
    void *events;
    FILE *log;
    struct
    {
        char name[32];
        size_t seen;
    } ops[OPS_MAX];
};

static size_t times_seen(struct node *n, const char *op)
{
    for (unsigned i = 0; i < OPS_MAX; i++) {
        if (n->ops[i].name[0] == '\0') {
            snprintf(n->ops[i].name, sizeof n->ops[i].name, "%s", op);
        }
        if (strcmp(n->ops[i].name, op) == 0) {
            return n->ops[i].seen++;
        }
    }
    abort();
}

static json_t *reply_for(struct node *n, const char *op)
{
    json_t *r = json_object_get(json_object_get(n->script, "ops"), op);
    size_t seen = times_seen(n, op);

    if (json_is_array(r)) {
        size_t last = json_array_size(r) - 1;

        r = json_array_get(r, seen < last ? seen : last);
    }
    return r;
}

static void pack_reply(struct node *n, struct sy_buf *b, uint64_t id, json_t *reply)
{
    json_t *error = json_object_get(reply, "error");

    if (json_object_get(reply, "raw") != NULL) {
        put_hex(b, json_string_value(json_object_get(reply, "raw")));
        return;
    }
    sy_mp_map(b, 5);
    sy_mp_kuint(b, "v", 1);
    sy_mp_kuint(b, "id", id);
    sy_mp_kuint(b, "node",
                (uint64_t)json_integer_value(json_object_get(n->script, "node")));
    sy_mp_kbool(b, "ok", error == NULL);
    sy_mp_str(b, error != NULL ? "error" : "result");
    pack(b, error != NULL ? error : json_object_get(reply, "result"));
}

static void send_reply(struct node *n, zmq_msg_t *client, uint64_t id, json_t *reply)
{
    struct sy_buf b = {0};
    json_int_t frames = json_integer_value(json_object_get(reply, "frames"));

    pack_reply(n, &b, id, reply);
    zmq_send(n->requests, zmq_msg_data(client), zmq_msg_size(client), ZMQ_SNDMORE);
    while (--frames > 0) {
        zmq_send(n->requests, b.p, b.len, ZMQ_SNDMORE);
    }
    zmq_send(n->requests, b.p, b.len, 0);
    sy_buf_free(&b);
}

static void log_request(struct node *n, const uint8_t *p, size_t len)
{
    struct sy_buf b = {0};
    struct sy_cur c = {p, len, 0};

    if (sy_json_from_mp(&b, &c) != 0) {
        fprintf(stderr, "fake_node: a request that is no MessagePack\n");
        exit(1);
    }
    fprintf(n->log, "%.*s\n", (int)b.len, (const char *)b.p);
    fflush(n->log);
    sy_buf_free(&b);
}

static void read_request(const uint8_t *p, size_t len, uint64_t *id, char *op,
                         size_t size)
{
    struct sy_cur c = {p, len, 0};
    uint32_t pairs = sy_mp_get_map(&c);

    while (pairs-- > 0 && !c.bad) {
        struct sy_mp key = sy_mp_next(&c);

        if (sy_mp_is(&key, "id")) {
            *id = sy_mp_get_uint(&c);
        } else if (sy_mp_is(&key, "op")) {
            sy_mp_get_str(&c, op, size);
        } else {
            sy_mp_skip(&c);
        }
    }
}

static void answer(struct node *n, zmq_msg_t *client, const uint8_t *p, size_t len)
{
    static json_t *unknown;
    char op[32] = "";
    uint64_t id = 0;
    json_t *reply;

    log_request(n, p, len);
    read_request(p, len, &id, op, sizeof op);
    reply = reply_for(n, op);
    if (reply == NULL) {
        unknown = unknown != NULL
                      ? unknown
                      : json_pack("{s:{s:s,s:s}}", "error", "code", "invalid", "text",
                                  "this operation is unknown; is vagtctl newer?");
        reply = unknown;
    }
    usleep((useconds_t)json_integer_value(json_object_get(reply, "delay_ms")) * 1000);
    if (json_is_true(json_object_get(reply, "die"))) {
        exit(0);
    }
    if (json_object_get(reply, "stray") != NULL) {
        send_reply(n, client, id + 1000, json_object_get(reply, "stray"));
    }
    if (!json_is_true(json_object_get(reply, "silent"))) {
        send_reply(n, client, id, reply);
    }
}

static void take_request(struct node *n)
{
    zmq_msg_t client;
    zmq_msg_t body;

    zmq_msg_init(&client);
    zmq_msg_init(&body);
    if (zmq_msg_recv(&client, n->requests, 0) >= 0 &&
        zmq_msg_recv(&body, n->requests, 0) >= 0) {
        assert(!zmq_msg_more(&body));
        answer(n, &client, zmq_msg_data(&body), zmq_msg_size(&body));
    }
    zmq_msg_close(&client);
    zmq_msg_close(&body);
}

static void publish_all(struct node *n)
{
    json_t *events = json_object_get(n->script, "events");
    char subscription[256];

    if (zmq_recv(n->events, subscription, sizeof subscription, 0) < 1 ||
        subscription[0] != 1) {
        return;
    }
    for (size_t i = 0; i < json_array_size(events); i++) {
        json_t *e = json_array_get(events, i);
        struct sy_buf b = {0};
        const char *name = json_string_value(json_object_get(e, "name"));

        pack(&b, json_object_get(e, "body"));
        zmq_send(n->events, name, strlen(name), ZMQ_SNDMORE);
        zmq_send(n->events, b.p, b.len, 0);
        sy_buf_free(&b);
    }
}

static void *bind_or_die(void *ctx, int type, const char *endpoint)
{
    void *s = zmq_socket(ctx, type);
    int zero = 0;

    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    if (zmq_bind(s, endpoint) != 0) {
        fprintf(stderr, "fake_node: %s: %s\n", endpoint, zmq_strerror(zmq_errno()));
        exit(1);
    }
    return s;
}

int main(int argc, char **argv)
{
    struct node n = {0};
    json_error_t err;
    void *ctx = zmq_ctx_new();

    assert(argc == 5);
    n.script = json_load_file(argv[1], 0, &err);
    n.log = fopen(argv[4], "a");
    if (n.script == NULL || n.log == NULL) {
        fprintf(stderr, "fake_node: %s:%d: %s\n", argv[1], err.line, err.text);
        return 1;
    }
    n.requests = bind_or_die(ctx, ZMQ_ROUTER, argv[2]);
    n.events = bind_or_die(ctx, ZMQ_XPUB, argv[3]);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        zmq_pollitem_t items[] = {{.socket = n.requests, .events = ZMQ_POLLIN},
                                  {.socket = n.events, .events = ZMQ_POLLIN},
                                  {.fd = STDIN_FILENO, .events = ZMQ_POLLIN}};

        zmq_poll(items, 3, -1);
        if (items[0].revents != 0) {
            take_request(&n);
        }
        if (items[1].revents != 0) {
            publish_all(&n);
        }
        if (items[2].revents != 0) {
            break; /* The test is over. */
        }
    }
    zmq_close(n.requests);
    zmq_close(n.events);
    zmq_ctx_term(ctx);
    json_decref(n.script);
    fclose(n.log);
    return 0;
}
