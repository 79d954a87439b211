/* events: what a node publishes, a line each, until Ctrl-C. When the node goes, the
 * next endpoint takes over; events of the gap are lost, which is said. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "cli/cli.h"

enum {
    PROBE_MS = 1000,
    RETRY_MS = 500,
    LOOK_MS = 200, /* A Ctrl-C between looking and waiting interrupts no wait. */
    EVENT_MAX = 1024 * 1024,
    TCP_PORT_STEP = 100,
    NAME_WIDTH = 19
};

struct stream
{
    const struct ct_options *opt;
    struct ct_endpoints endpoints;
    struct ct_out out;
    void *zmq;
    void *sock;
    void *monitor;
    unsigned monitors;
    unsigned at;
    unsigned seen;
};

/* --- which endpoints --- */

static bool derive_tcp(const char *control, char *to, size_t size)
{
    const char *colon = strrchr(control, ':');
    long port = strtol(colon + 1, NULL, 10) + TCP_PORT_STEP;

    return port > TCP_PORT_STEP && port <= UINT16_MAX &&
           snprintf(to, size, "%.*s:%ld", (int)(colon - control), control, port) <
               (int)size;
}

static bool derive(const char *control, char *to, size_t size)
{
    static const char from[] = "control.sock";
    size_t n = strlen(control);

    if (strncmp(control, "tcp://", 6) == 0) {
        return derive_tcp(control, to, size);
    }
    if (n < sizeof from || strcmp(control + n - strlen(from), from) != 0) {
        return false;
    }
    return snprintf(to, size, "%.*sevents.sock", (int)(n - strlen(from)), control) <
           (int)size;
}

static bool copy_list(struct ct_endpoints *e, const char *text)
{
    while (*text != '\0') {
        const char *comma = strchrnul(text, ',');
        size_t n = (size_t)(comma - text);

        if (n == 0 || n >= CT_ENDPOINT_SIZE || e->n == CT_ENDPOINTS_MAX) {
            ct_complain("VAGT_EVENTS: empty, too long or too many endpoints");
            return false;
        }
        memcpy(e->at[e->n], text, n);
        e->at[e->n++][n] = '\0';
        text = *comma != '\0' ? comma + 1 : comma;
    }
    return true;
}

static bool find_endpoints(struct stream *s)
{
    const char *env = getenv("VAGT_EVENTS");

    if (s->opt->events.n > 0) {
        s->endpoints = s->opt->events;
        return true;
    }
    if (env != NULL && env[0] != '\0') {
        return copy_list(&s->endpoints, env);
    }
    for (unsigned i = 0; i < s->opt->sockets.n; i++) {
        if (!derive(s->opt->sockets.at[i], s->endpoints.at[i], CT_ENDPOINT_SIZE)) {
            ct_complain("%s: which endpoint has its events? Give --events ENDPOINT",
                        s->opt->sockets.at[i]);
            return false;
        }
        s->endpoints.n++;
    }
    return true;
}

/* --- one line --- */

static void put_time(struct ct_out *o, uint64_t at_ms)
{
    time_t at = (time_t)(at_ms / 1000);
    struct tm tm;
    char text[16];

    if (localtime_r(&at, &tm) == NULL ||
        strftime(text, sizeof text, "%H:%M:%S", &tm) == 0) {
        snprintf(text, sizeof text, "--:--:--");
    }
    ct_colour(o, CT_DIM);
    ct_fmt(o, "%s.%03u", text, (unsigned)(at_ms % 1000));
    ct_colour(o, CT_PLAIN);
}

static void put_value(struct ct_out *o, struct ct_val v)
{
    struct sy_cur c = v.start;

    if (v.m.type == SY_MP_STR) {
        ct_say(o, ct_str_of(v));
    } else if (sy_json_from_mp(&o->b, &c) != 0) {
        ct_put(o, "?");
    }
}

static void put_named(struct ct_out *o, struct ct_val map, const char *key,
                      const char *label)
{
    if (ct_has(map, key) && !(ct_str(map, key).p != NULL && ct_str(map, key).n == 0)) {
        ct_put(o, label);
        put_value(o, ct_get(map, key));
    }
}

static struct ct_str thing_name(struct ct_val map, const char *key)
{
    struct ct_str name = ct_str(map, "name");

    return name.n > 0 ? name : ct_str(map, key);
}

static void put_command(struct ct_out *o, struct ct_val c)
{
    ct_say(o, thing_name(c, "device"));
    ct_put(o, ": ");
    ct_say(o, ct_str(c, "property"));
    ct_put(o, "=");
    ct_say(o, ct_str(c, "value"));
    if (ct_uint(c, "attempts") > 0) {
        put_named(o, c, "attempts", ", attempt ");
    }
    if (ct_uint(c, "ended_ms") > ct_uint(c, "accepted_ms")) {
        ct_fmt(o, ", took %" PRIu64 " ms",
               ct_uint(c, "ended_ms") - ct_uint(c, "accepted_ms"));
    }
    put_named(o, c, "reason", ", ");
    put_named(o, c, "id", ", id ");
}

static void put_device(struct ct_out *o, struct ct_val d)
{
    ct_say(o, thing_name(d, "ieee"));
    put_named(o, d, "area", " in ");
    put_named(o, d, "state", ": ");
    put_named(o, d, "availability", ", ");
    if (ct_has(d, "power_mw")) {
        ct_put(o, ", ");
        ct_milli(&o->b, d, "power_mw", "W");
    }
}

static bool in_head(const struct ct_val *key)
{
    return sy_mp_is(&key->m, "name") || sy_mp_is(&key->m, "at_ms") ||
           sy_mp_is(&key->m, "node");
}

static void put_fields(struct ct_out *o, struct ct_val event)
{
    struct ct_iter it = ct_iterate_map(event);
    struct ct_val key;
    struct ct_val value;
    const char *gap = "";

    while (ct_next_pair(&it, &key, &value)) {
        if (in_head(&key)) {
            continue;
        }
        ct_put(o, gap);
        gap = "  ";
        if (sy_mp_is(&key.m, "command") && value.m.type == SY_MP_MAP) {
            put_command(o, value);
        } else if (sy_mp_is(&key.m, "device") && value.m.type == SY_MP_MAP) {
            put_device(o, value);
        } else {
            put_value(o, key);
            ct_put(o, "=");
            put_value(o, value);
        }
    }
}

static void put_event(struct ct_out *o, struct ct_str name, struct ct_val event)
{
    size_t before;

    put_time(o, ct_uint(event, "at_ms"));
    ct_put(o, "  ");
    if (ct_is_uint(ct_get(event, "node"))) {
        ct_fmt(o, "%" PRIu64, ct_uint(event, "node"));
    } else {
        ct_say(o, ct_str(event, "node"));
    }
    ct_put(o, "  ");
    ct_colour(o, CT_BOLD);
    before = o->b.len;
    ct_say(o, name);
    ct_fmt(o, "%*s",
           o->b.len - before < NAME_WIDTH ? NAME_WIDTH - (int)(o->b.len - before) : 0,
           "");
    ct_colour(o, CT_PLAIN);
    ct_put(o, "  ");
    put_fields(o, event);
    ct_put(o, "\n");
}

static void show(struct stream *s, zmq_msg_t *name, zmq_msg_t *body)
{
    struct ct_str n = {zmq_msg_data(name), zmq_msg_size(name)};
    struct ct_val v;

    s->seen++;
    if (!ct_val_of(&v, zmq_msg_data(body), zmq_msg_size(body)) || v.m.type != SY_MP_MAP) {
        ct_complain("an event came that is no event of vagt; left out");
    } else if (s->opt->json) {
        (void)ct_print_json(&s->out, v); /* Says itself what is wrong. */
    } else {
        put_event(&s->out, n, v);
    }
}

/* --- the socket --- */

static void take_one(struct stream *s)
{
    zmq_msg_t name;
    zmq_msg_t body;

    zmq_msg_init(&name);
    zmq_msg_init(&body);
    if (zmq_msg_recv(&name, s->sock, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&name) &&
        zmq_msg_recv(&body, s->sock, ZMQ_DONTWAIT) >= 0) {
        bool more = zmq_msg_more(&body);

        if (!more) {
            show(s, &name, &body);
        }
        while (more) { /* More frames than an event has. */
            more = zmq_msg_recv(&body, s->sock, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&body);
        }
    }
    zmq_msg_close(&name);
    zmq_msg_close(&body);
}

static void disconnect(struct stream *s)
{
    if (s->sock != NULL) {
        zmq_socket_monitor(s->sock, NULL, 0);
        zmq_close(s->sock);
        zmq_close(s->monitor);
        s->sock = s->monitor = NULL;
    }
}

static void set_options(struct stream *s)
{
    int64_t event_max = EVENT_MAX;
    int zero = 0;
    int one = 1;

    zmq_setsockopt(s->sock, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(s->monitor, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(s->sock, ZMQ_IPV6, &one, sizeof one);
    zmq_setsockopt(s->sock, ZMQ_MAXMSGSIZE, &event_max, sizeof event_max);
    for (int i = 0; i < s->opt->args_n; i++) {
        zmq_setsockopt(s->sock, ZMQ_SUBSCRIBE, s->opt->args[i], strlen(s->opt->args[i]));
    }
    if (s->opt->args_n == 0) {
        zmq_setsockopt(s->sock, ZMQ_SUBSCRIBE, "", 0);
    }
}

static bool connect_to(struct stream *s, const char *endpoint, struct sy_errbuf *eb)
{
    char name[48];

    snprintf(name, sizeof name, "inproc://monitor-%u", s->monitors++);
    s->sock = zmq_socket(s->zmq, ZMQ_SUB);
    s->monitor = zmq_socket(s->zmq, ZMQ_PAIR);
    assert(s->sock != NULL);
    assert(s->monitor != NULL);
    set_options(s);
    if (ct_seal(s->sock, endpoint, eb) &&
        zmq_socket_monitor(s->sock, name, ZMQ_EVENT_DISCONNECTED) == 0 &&
        zmq_connect(s->monitor, name) == 0 && zmq_connect(s->sock, endpoint) == 0) {
        return true;
    }
    disconnect(s);
    return false;
}

/* The first endpoint from here on where somebody listens. */
static bool connect_any(struct stream *s, struct sy_errbuf *eb)
{
    for (unsigned i = 0; i < s->endpoints.n && !ct_interrupted; i++) {
        unsigned at = (s->at + i) % s->endpoints.n;
        struct sy_errbuf why = {""};

        if ((ct_sealed(s->endpoints.at[at]) ||
             ct_reachable(s->endpoints.at[at], PROBE_MS, i == 0 ? eb : &why)) &&
            connect_to(s, s->endpoints.at[at], i == 0 ? eb : &why)) {
            s->at = at;
            return true;
        }
    }
    return false;
}

static bool reconnect(struct stream *s)
{
    struct sy_errbuf eb = {""};

    ct_complain("%s: the connection broke; events may be missing",
                s->endpoints.at[s->at]);
    disconnect(s);
    s->at = (s->at + 1) % s->endpoints.n;
    while (!ct_interrupted && !connect_any(s, &eb)) {
        zmq_poll(NULL, 0, RETRY_MS);
    }
    if (!ct_interrupted) {
        ct_complain("listening to %s", s->endpoints.at[s->at]);
    }
    return !ct_interrupted;
}

static bool enough(const struct stream *s)
{
    return ct_interrupted || (s->opt->count > 0 && s->seen >= s->opt->count);
}

static int listen_on(struct stream *s)
{
    while (!enough(s)) {
        zmq_pollitem_t items[] = {{.socket = s->sock, .events = ZMQ_POLLIN},
                                  {.socket = s->monitor, .events = ZMQ_POLLIN}};

        if (zmq_poll(items, 2, LOOK_MS) < 0) {
            continue; /* A signal; the loop looks. */
        }
        if (items[0].revents != 0) {
            take_one(s);
            if (!ct_out_flush(&s->out)) {
                return CT_FAILED;
            }
        } else if (items[1].revents != 0 && !reconnect(s)) {
            break;
        }
    }
    return CT_DONE;
}

int ct_cmd_events(const struct ct_options *opt)
{
    struct stream s = {.opt = opt};
    struct sy_errbuf eb = {""};
    int rv;

    if (!find_endpoints(&s)) {
        return CT_USAGE;
    }
    ct_catch_signals();
    s.zmq = zmq_ctx_new();
    assert(s.zmq != NULL);
    ct_out_init(&s.out);
    if (connect_any(&s, &eb)) {
        rv = listen_on(&s);
    } else {
        ct_complain("%s", eb.text);
        rv = CT_UNREACHABLE;
    }
    disconnect(&s);
    while (zmq_ctx_term(s.zmq) != 0 && zmq_errno() == EINTR) {
    }
    ct_out_free(&s.out);
    return rv;
}
