#include "tests/mqtt/rig.h"

#include <assert.h>
#include <fcntl.h>
#include <mosquitto.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

uint16_t rig_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    assert(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void write_config(struct rig_broker *b, char *path, size_t size)
{
    FILE *f;

    snprintf(path, size, "%s/mosquitto.conf", b->dir);
    f = fopen(path, "w");
    assert(f != NULL);
    fprintf(
        f,
        "listener %u 127.0.0.1\nallow_anonymous true\nuser root\n"
        "persistence true\npersistence_location %s/\n"
        "autosave_interval 1\n"
        "max_queued_messages 0\nlog_dest stderr\nlog_type information\nlog_type error\n"
        "connection_messages false\n%s",
        b->port, b->dir, b->extra != NULL ? b->extra : "");
    if (b->acl != NULL) {
        fprintf(f, "acl_file %s/acl\n", b->dir);
    }
    fclose(f);
}

static void write_acl(const struct rig_broker *b)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/acl", b->dir);
    f = fopen(path, "w");
    assert(f != NULL && fputs(b->acl, f) >= 0);
    fclose(f);
}

/* It says "running" when it listens. */
static void await_running(int fd)
{
    char text[4096];
    size_t len = 0;
    ssize_t n;

    while ((n = read(fd, text + len, sizeof text - 1 - len)) > 0) {
        len += (size_t)n;
        text[len] = '\0';
        if (strstr(text, " running") != NULL) {
            return;
        }
    }
    fprintf(stderr, "mosquitto did not start: %.*s\n", (int)len, text);
    abort();
}

void rig_broker_start(struct rig_broker *b, uint16_t port)
{
    char path[128];
    int out[2];

    b->port = port != 0 ? port : rig_free_port();
    if (b->dir[0] == '\0') {
        snprintf(b->dir, sizeof b->dir, "/tmp/vagt-mqtt-XXXXXX");
        assert(mkdtemp(b->dir) != NULL);
    }
    write_config(b, path, sizeof path);
    if (b->acl != NULL) {
        write_acl(b);
    }
    assert(pipe2(out, O_CLOEXEC) == 0);
    b->pid = fork();
    assert(b->pid >= 0);
    if (b->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDERR_FILENO);
        execl(VAGT_MOSQUITTO, "mosquitto", "-c", path, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    await_running(out[0]);
    close(out[0]); /* It ignores SIGPIPE; what it says later is not wanted. */
}

void rig_broker_kill(struct rig_broker *b)
{
    kill(b->pid, SIGKILL);
    assert(waitpid(b->pid, NULL, 0) == b->pid);
    b->pid = 0;
}

static void unlink_in(const struct rig_broker *b, const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    (void)unlink(path);
}

void rig_broker_forget(const struct rig_broker *b)
{
    assert(b->pid == 0);
    unlink_in(b, "mosquitto.db");
    unlink_in(b, "mosquitto.db.new");
}

void rig_broker_remove(struct rig_broker *b)
{
    if (b->pid != 0) {
        rig_broker_kill(b);
    }
    rig_broker_forget(b);
    unlink_in(b, "mosquitto.conf");
    unlink_in(b, "acl");
    assert(rmdir(b->dir) == 0);
    b->dir[0] = '\0';
}

static void count_published(struct mosquitto *m, void *data, int mid)
{
    (void)m;
    (void)mid;
    ++*(unsigned *)data;
}

void rig_publish(uint16_t port, const char *topic, unsigned from, unsigned n, int qos,
                 bool retain, unsigned pause_us)
{
    unsigned done = 0;
    struct mosquitto *m;
    char id[32];

    mosquitto_lib_init();
    snprintf(id, sizeof id, "rig-pub-%d", (int)getpid());
    m = mosquitto_new(id, true, &done);
    assert(m != NULL);
    mosquitto_publish_callback_set(m, count_published);
    mosquitto_max_inflight_messages_set(m, 1000);
    assert(mosquitto_connect(m, "127.0.0.1", port, 60) == 0);
    for (unsigned i = from; i < from + n; i++) {
        char text[16];
        int len = snprintf(text, sizeof text, "%u", i);

        assert(mosquitto_publish(m, NULL, topic, len, text, qos, retain) == 0);
        if (pause_us > 0) {
            usleep(pause_us); /* The rate is what is asked for here. */
        }
        assert(mosquitto_loop(m, 0, 1) == 0);
    }
    while (done < n) {
        assert(mosquitto_loop(m, 100, 1) == 0);
    }
    mosquitto_disconnect(m);
    mosquitto_destroy(m);
    mosquitto_lib_cleanup();
}

/* --- a node --- */

static void log_line(void *data, enum sy_level level, const char *line, size_t len)
{
    (void)data;
    (void)level;
    if (getenv("VAGT_TEST_LOG") != NULL) {
        fwrite(line, 1, len, stderr);
        fputc('\n', stderr);
    }
}

static void close_now(struct rig_node *n)
{
    n->close_in = NOWHERE;
    rig_node_close(n);
}

static void pause_if(struct rig_node *n, enum rig_where here)
{
    if (n->pause_in == here) {
        n->pause_in = NOWHERE;
        ad_mqtt_pause(n->m);
    }
}

static void on_message(void *data, const struct rp_message *m)
{
    struct rig_node *n = data;
    char text[16] = "";

    assert(n->m != NULL);
    memcpy(text, m->payload, m->len < sizeof text ? m->len : sizeof text - 1);
    if (n->messages < RIG_KEEP) {
        n->ids[n->messages] = (unsigned)strtoul(text, NULL, 10);
    }
    n->messages++;
    n->dups += m->dup;
    n->retained += m->retained;
    snprintf(n->last_topic, sizeof n->last_topic, "%s", m->topic);
    snprintf(n->last, sizeof n->last, "%.*s", (int)m->len, (const char *)m->payload);
    pause_if(n, IN_MESSAGE);
    if (n->resubscribe) {
        n->resubscribe = false;
        ad_mqtt_subscribe(n->m, "late/+", 1, false);
    }
    if (n->close_in == IN_MESSAGE) {
        close_now(n);
    }
}

static void on_burst(void *data, size_t count)
{
    struct rig_node *n = data;

    assert(n->m != NULL && count > 0 && ad_mqtt_status(n->m)->holding);
    n->bursts++;
    pause_if(n, IN_BURST);
    if (n->close_in == IN_BURST) {
        close_now(n);
    } else if (n->on_burst != NULL) {
        n->on_burst(n);
    } else if (n->release) {
        ad_mqtt_release(n->m);
    }
}

static void on_changed(void *data)
{
    struct rig_node *n = data;

    assert(n->m != NULL);
    n->changes++;
    if (ad_mqtt_status(n->m)->reader == AD_MQTT_UP) {
        pause_if(n, IN_CHANGED);
    }
    if (n->close_in == IN_CHANGED) {
        close_now(n);
    }
}

static void on_subscribe(void *data)
{
    struct rig_node *n = data;

    assert(n->m != NULL);
    n->subscribes++;
    pause_if(n, IN_SUBSCRIBE);
    if (n->close_in == IN_SUBSCRIBE) {
        close_now(n);
        return;
    }
    ad_mqtt_subscribe(n->m, "t/+", 1, false);
}

static void on_closed(void *data)
{
    struct rig_node *n = data;

    n->closed = true;
}

static void init(struct rig_node *n, uint16_t port)
{
    memset(n, 0, sizeof *n);
    n->log = (struct sy_log){.level = SY_DEBUG, .write = log_line};
    ad_mqtt_config_default(&n->config);
    snprintf(n->config.addresses[0].host, sizeof n->config.addresses[0].host,
             "127.0.0.1");
    n->config.addresses[0].port = port;
    n->config.addresses_n = 1;
    snprintf(n->config.name, sizeof n->config.name, "main");
    snprintf(n->config.reader_id, sizeof n->config.reader_id, "vagt-test-in");
    snprintf(n->config.writer_id, sizeof n->config.writer_id, "vagt-test-out");
    n->config.seed = 1;
    n->release = true;
    n->closed = true;
}

void rig_node_init(struct rig_node *n, uint16_t port)
{
    init(n, port);
    assert(uv_loop_init(&n->loop) == 0);
    assert(uv_timer_init(&n->loop, &n->limit) == 0);
}

static uv_loop_t *loop_of(struct rig_node *n)
{
    return n->data != NULL ? n->data : &n->loop;
}

void rig_node_init_on(struct rig_node *b, struct rig_node *a, uint16_t port)
{
    init(b, port);
    b->data = &a->loop;
}

void rig_node_open(struct rig_node *n)
{
    static const struct ad_mqtt_callbacks cb = {.message = on_message,
                                                .burst = on_burst,
                                                .changed = on_changed,
                                                .subscribe = on_subscribe};
    struct sy_errbuf eb;
    int rv = ad_mqtt_open(&n->m, loop_of(n), &n->log, &n->config, &cb, n, &eb);

    if (rv != 0) {
        fprintf(stderr, "%s\n", eb.text);
    }
    assert(rv == 0);
    n->closed = false;
}

void rig_node_close(struct rig_node *n)
{
    struct ad_mqtt *m = n->m;

    n->m = NULL;
    ad_mqtt_close(m, on_closed);
}

static bool is_closed(struct rig_node *n)
{
    return n->closed;
}

void rig_node_done(struct rig_node *n)
{
    if (n->m != NULL) {
        rig_node_close(n);
    }
    if (n->data != NULL) {
        return; /* The owner of the loop looks after it. */
    }
    assert(rig_until(n, is_closed, 1000));
    uv_close((uv_handle_t *)&n->limit, NULL);
    uv_run(&n->loop, UV_RUN_DEFAULT);
    assert(uv_loop_close(&n->loop) == 0);
}

static void limit_cb(uv_timer_t *timer)
{
    struct rig_node *n = timer->data;

    n->late = true;
}

bool rig_until(struct rig_node *n, bool (*yes)(struct rig_node *n), unsigned ms)
{
    bool reached = yes(n);

    n->late = false;
    n->limit.data = n;
    uv_update_time(&n->loop);
    uv_timer_start(&n->limit, limit_cb, ms, 0);
    while (!reached && !n->late) {
        uv_run(&n->loop, UV_RUN_ONCE);
        n->turns++;
        reached = yes(n);
    }
    uv_timer_stop(&n->limit);
    return reached;
}

static bool never(struct rig_node *n)
{
    (void)n;
    return false;
}

void rig_run(struct rig_node *n, unsigned ms)
{
    (void)rig_until(n, never, ms);
}

bool rig_up(struct rig_node *n)
{
    const struct ad_mqtt_status *s = ad_mqtt_status(n->m);

    return s->reader == AD_MQTT_UP && s->writer == AD_MQTT_UP;
}

bool rig_down(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->reader == AD_MQTT_DOWN;
}

bool rig_holding(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->holding;
}
