/* Does a broker still answer? A real mosquitto, alive, hanging, dead, and one that asks
 * for a password that nobody has told us. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/pulse.h"

static char dir[] = "/tmp/vagt-pulse-XXXXXX";
static uv_loop_t loop;
static struct ad_broker_config broker;
static pid_t pid;
static unsigned deaths;
static char why[AD_PROBE_TEXT_SIZE];

static void died(void *data, const char *text)
{
    (void)data;
    deaths++;
    (void)snprintf(why, sizeof why, "%s", text);
}

static uint16_t free_port(void)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &at), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(close(fd), 0);
    return ntohs(at.sin_port);
}

static void start_broker(const char *passwords)
{
    struct sy_errbuf eb = {.text = ""};
    char conf[300];

    ad_broker_config_default(&broker);
    broker.listen_n = 1;
    (void)snprintf(broker.listen[0].host, sizeof broker.listen[0].host, "127.0.0.1");
    broker.listen[0].port = free_port();
    (void)snprintf(broker.data_dir, sizeof broker.data_dir, "%s/data", dir);
    (void)snprintf(broker.user, sizeof broker.user, "root");
    (void)snprintf(broker.password_file, sizeof broker.password_file, "%s", passwords);
    (void)snprintf(conf, sizeof conf, "%s/mosquitto.conf", dir);
    if (ad_broker_prepare(&broker, conf, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    pid = fork();
    if (pid == 0) {
        (void)execl(broker.executable, "mosquitto", "-c", conf, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
}

/* Until it takes connections. */
static void await_broker(void)
{
    struct sockaddr_in at;
    int fd, rv;

    assert_int_equal(uv_ip4_addr("127.0.0.1", broker.listen[0].port, &at), 0);
    do {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rv = connect(fd, (struct sockaddr *)&at, sizeof at);
        assert_int_equal(close(fd), 0);
        (void)usleep(5000);
    } while (rv != 0);
}

static struct nd_pulse *feel(unsigned begin_ms)
{
    struct nd_pulse_config c;

    nd_pulse_config_default(&c);
    c.broker = &broker;
    c.client_id = "pulse";
    c.timeout_ms = 300;
    c.every_ms = 50;
    c.begin_ms = begin_ms;
    return nd_pulse_start(&loop, &c, died, NULL);
}

static void count(uv_timer_t *timer)
{
    (*(unsigned *)timer->data)++;
}

/* Lets some time pass, in which nobody must have died. */
static void live(unsigned ms)
{
    unsigned rang = 0;
    uv_timer_t timer;

    assert_int_equal(uv_timer_init(&loop, &timer), 0);
    timer.data = &rang;
    assert_int_equal(uv_timer_start(&timer, count, ms, 0), 0);
    while (rang == 0) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    if (deaths > 0) {
        fail_msg("%s", why);
    }
}

static void until_dead(void)
{
    while (deaths == 0) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

static void one_that_hangs_is_dead(void **state)
{
    struct nd_pulse *p;

    (void)state;
    start_broker("");
    p = feel(20000); /* It is waited for while it starts. */
    await_broker();
    live(300);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    until_dead();
    assert_non_null(strstr(why, "does not answer within 300 ms"));
    assert_int_equal(kill(pid, SIGCONT), 0);
    nd_pulse_stop(p);
}

static void one_that_died_is_dead(void **state)
{
    struct nd_pulse *p;

    (void)state;
    start_broker("");
    p = feel(20000);
    await_broker();
    live(300);
    assert_int_equal(kill(pid, SIGKILL), 0);
    until_dead();
    nd_pulse_stop(p);
}

static void one_that_refuses_us_lives(void **state)
{
    char path[100];
    FILE *f;
    struct nd_pulse *p;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/passwords", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs("a:$7$101$c2FsdHNhbHQ=$c2FsdHNhbHQ=\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    start_broker(path);
    p = feel(20000);
    await_broker();
    live(500);
    nd_pulse_stop(p);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
}

static void one_that_never_comes_is_dead(void **state)
{
    struct nd_pulse *p;

    (void)state;
    start_broker("");
    broker.listen[0].port = free_port();
    p = feel(300);
    until_dead();
    assert_int_equal(deaths, 1);
    nd_pulse_stop(p);
}

static int begin(void **state)
{
    (void)state;
    deaths = 0;
    return uv_loop_init(&loop);
}

static int finish(void **state)
{
    int status;

    (void)state;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[100];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void)
{
#define PULSE_TEST(F) cmocka_unit_test_setup_teardown(F, begin, finish)
    const struct CMUnitTest tests[] = {
        PULSE_TEST(one_that_hangs_is_dead),
        PULSE_TEST(one_that_died_is_dead),
        PULSE_TEST(one_that_refuses_us_lives),
        PULSE_TEST(one_that_never_comes_is_dead),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
