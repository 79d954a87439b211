/* HTTP/1.0 GET on loopback, one answer per connection. Enough for curl and for tests. */
#include "sitesim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS_MAX = 64, REQUEST_MAX = 4096, CLIENT_TIMEOUT_MS = 10000 };

struct client
{
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    struct sim_control *control;
    struct client *next;
    int open_handles;
    char in[REQUEST_MAX];
    size_t in_len;
    bool answered;
    struct sim_buf head, body;
};

struct sim_control
{
    uv_tcp_t listener;
    struct sim_site *site;
    struct client *clients;
    int client_count;
    int refs; /* the listener and each client */
};

static void control_unref(struct sim_control *control)
{
    if (--control->refs == 0) {
        free(control);
    }
}

static void client_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;

    if (--c->open_handles > 0) {
        return;
    }
    c->control->client_count--;
    control_unref(c->control);
    sim_buf_free(&c->head);
    sim_buf_free(&c->body);
    free(c);
}

static void client_close(struct client *c)
{
    struct client **at = &c->control->clients;

    if (uv_is_closing((uv_handle_t *)&c->tcp)) {
        return;
    }
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    uv_close((uv_handle_t *)&c->tcp, client_closed);
    uv_close((uv_handle_t *)&c->timer, client_closed);
}

static void written_cb(uv_write_t *write, int status)
{
    (void)status;
    client_close(write->data);
}

static void answer(struct client *c)
{
    char *path = c->in + 4;
    char *end = strpbrk(path, " \r\n");
    char *query = NULL;
    int status = 400;
    uv_buf_t bufs[2];

    c->answered = true;
    if (strncmp(c->in, "GET ", 4) != 0 || end == NULL) {
        sim_buf_printf(&c->body, "{\"error\":\"only GET\"}\n");
    } else {
        *end = '\0';
        query = strchr(path, '?');
        if (query != NULL) {
            *query++ = '\0';
        }
        status =
            sim_control_run(c->control->site, path, query != NULL ? query : "", &c->body);
    }
    sim_buf_printf(&c->head,
                   "HTTP/1.0 %d %s\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                   status, status == 200 ? "OK" : "Error", c->body.len);
    bufs[0] = uv_buf_init(c->head.data, (unsigned)c->head.len);
    bufs[1] = uv_buf_init(c->body.data, (unsigned)c->body.len);
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, 2, written_cb) != 0) {
        client_close(c);
    }
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct client *c = handle->data;

    (void)suggested;
    *buf = uv_buf_init(c->in + c->in_len, (unsigned)(sizeof c->in - 1 - c->in_len));
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;

    (void)buf;
    if (n < 0) {
        client_close(c); /* gone, or the request is longer than we take (UV_ENOBUFS) */
        return;
    }
    c->in_len += (size_t)n;
    c->in[c->in_len] = '\0';
    if (!c->answered &&
        (strstr(c->in, "\r\n\r\n") != NULL || strstr(c->in, "\n\n") != NULL)) {
        (void)uv_read_stop(stream);
        answer(c);
    }
}

static void timeout_cb(uv_timer_t *timer)
{
    client_close(timer->data);
}

static void connection_cb(uv_stream_t *server, int status)
{
    struct sim_control *control = server->data;
    struct client *c;

    if (status < 0) {
        return;
    }
    c = sim_alloc(1, sizeof *c);
    c->control = control;
    c->next = control->clients;
    control->clients = c;
    control->client_count++;
    control->refs++;
    c->open_handles = 2;
    (void)uv_tcp_init(&control->site->loop, &c->tcp);
    (void)uv_timer_init(&control->site->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    if (uv_accept(server, (uv_stream_t *)&c->tcp) != 0 ||
        control->client_count > CLIENTS_MAX) {
        client_close(c);
        return;
    }
    (void)uv_timer_start(&c->timer, timeout_cb, CLIENT_TIMEOUT_MS, 0);
    (void)uv_read_start((uv_stream_t *)&c->tcp, alloc_cb, read_cb);
}

static void listener_closed(uv_handle_t *handle)
{
    control_unref(handle->data);
}

void sim_control_close(struct sim_site *s)
{
    struct sim_control *control = s->control;

    if (control == NULL) {
        return;
    }
    s->control = NULL;
    while (control->clients != NULL) {
        client_close(control->clients);
    }
    uv_close((uv_handle_t *)&control->listener, listener_closed);
}

/* The port is told on stdout, since 0 means any free one. */
int sim_control_open(struct sim_site *s)
{
    struct sim_control *control = sim_alloc(1, sizeof *control);
    struct sockaddr_in addr;
    int len = sizeof addr;
    int rv;

    control->site = s;
    control->refs = 1;
    s->control = control;
    (void)uv_tcp_init(&s->loop, &control->listener);
    control->listener.data = control;
    rv = uv_ip4_addr(s->opt.control.host, s->opt.control.port, &addr);
    if (rv == 0) {
        rv = uv_tcp_bind(&control->listener, (const struct sockaddr *)&addr, 0);
    }
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&control->listener, CLIENTS_MAX, connection_cb);
    }
    if (rv == 0) {
        rv = uv_tcp_getsockname(&control->listener, (struct sockaddr *)&addr, &len);
    }
    if (rv != 0) {
        fprintf(stderr, "sitesim: control port %s:%d: %s\n", s->opt.control.host,
                s->opt.control.port, uv_strerror(rv));
        return rv;
    }
    printf("control http://%s:%d\n", s->opt.control.host, ntohs(addr.sin_port));
    return 0;
}
