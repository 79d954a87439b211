/* The promise: what the broker saw acknowledged was committed. A reader whose
 * commit takes 5 ms is killed again and again while messages come. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/list.h"
#include "tests/mqtt/rig.h"

enum { MESSAGES = 5000, KILLS = 30, COMMIT_MS = 5, PUBLISH_PAUSE_US = 400 };

struct committer
{
    struct rig_node node;
    uv_timer_t timer;
    int fd;
    unsigned done; /* Of node.ids: written. */
};

static void commit_cb(uv_timer_t *timer)
{
    struct committer *c = timer->data;

    for (; c->done < c->node.messages && c->done < RIG_KEEP; c->done++) {
        if (write(c->fd, &c->node.ids[c->done], sizeof c->node.ids[0]) !=
            (ssize_t)sizeof c->node.ids[0]) {
            abort();
        }
    }
    if (fdatasync(c->fd) != 0) {
        abort();
    }
    ad_mqtt_release(c->node.m);
}

static void burst(struct rig_node *n)
{
    struct committer *c = SY_CONTAINER(n, struct committer, node);

    uv_timer_start(&c->timer, commit_cb, COMMIT_MS, 0);
}

static bool subscribed(struct rig_node *n)
{
    return ad_mqtt_status(n->m)->subscriptions > 0;
}

static void consume(uint16_t port, const char *path, int ready)
{
    static struct committer c;

    rig_node_init(&c.node, port);
    c.node.on_burst = burst;
    c.fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    uv_timer_init(&c.node.loop, &c.timer);
    c.timer.data = &c;
    rig_node_open(&c.node);
    if (ready >= 0) {
        if (!rig_until(&c.node, subscribed, 5000)) {
            abort();
        }

        if (write(ready, "r", 1) != 1) {
            abort();
        }
    }
    uv_run(&c.node.loop, UV_RUN_DEFAULT); /* Until it is killed. */
}

static pid_t spawn_consumer(uint16_t port, const char *path, int ready)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        consume(port, path, ready);
        _exit(0);
    }
    return pid;
}

static void kill_one(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* Not by itself. */
}

static unsigned read_committed(const char *path, unsigned *ret_distinct,
                               unsigned *ret_missing)
{
    static unsigned char seen[MESSAGES];
    unsigned total = 0;
    unsigned id;
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    memset(seen, 0, sizeof seen);
    *ret_distinct = 0;
    while (fread(&id, sizeof id, 1, f) == 1) {
        assert_true(id < MESSAGES);
        *ret_distinct += !seen[id];
        seen[id] = 1;
        total++;
    }
    fclose(f);
    *ret_missing = MESSAGES - *ret_distinct;
    return total;
}

static void nothing_acknowledged_is_lost_over_many_kills(void **state)
{
    struct rig_broker broker = {0};
    char path[128];
    int ready[2];
    char byte;
    pid_t publisher;
    pid_t consumer;
    unsigned kills = 0;
    unsigned total;
    unsigned distinct = 0;
    unsigned missing = 0;
    uint64_t deadline;

    (void)state;
    srandom(7);
    rig_broker_start(&broker, 0);
    snprintf(path, sizeof path, "%s.committed", broker.dir);
    assert_int_equal(pipe(ready), 0);
    consumer = spawn_consumer(broker.port, path, ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    publisher = fork();
    if (publisher == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        rig_publish(broker.port, "t/a", 0, MESSAGES, 1, false, PUBLISH_PAUSE_US);
        _exit(0);
    }
    while (waitpid(publisher, NULL, WNOHANG) == 0 || kills < KILLS) {
        usleep(30000 +
               (unsigned)random() % 100000); /* The moment of a kill is the test. */
        kill_one(consumer);
        kills++;
        consumer = spawn_consumer(broker.port, path, -1);
    }
    deadline = uv_hrtime() + UINT64_C(8000000000);
    do {
        usleep(50000);
        total = read_committed(path, &distinct, &missing);
    } while (missing > 0 && uv_hrtime() < deadline);
    kill_one(consumer);
    print_message("%u messages, %u kills: lost %u, committed twice %u\n", MESSAGES, kills,
                  missing, total - distinct);
    assert_int_equal(missing, 0);
    assert_true(kills >= KILLS);
    unlink(path);
    rig_broker_remove(&broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost_over_many_kills),
    };

    return cmocka_run_group_tests_name("mqtt_kill", tests, NULL, NULL);
}
