/* mosquitto.conf as we make it: its text, what is found wrong before, and that a real
 * mosquitto starts with it, asks for passwords, keeps what is retained. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/broker/broker.h"
#include "adapters/probe/probe.h"

static char dir[] = "/tmp/vagt-broker-XXXXXX";

static struct ad_broker_config config_of(const char *host, int port)
{
    struct ad_broker_config c;

    ad_broker_config_default(&c);
    c.listen_n = 1;
    (void)snprintf(c.listen[0].host, sizeof c.listen[0].host, "%s", host);
    c.listen[0].port = (uint16_t)port;
    (void)snprintf(c.data_dir, sizeof c.data_dir, "%s/data", dir);
    (void)snprintf(c.user, sizeof c.user, "root"); /* Of no concern for others. */
    return c;
}

static void in_dir(char to[AD_BROKER_PATH_SIZE], const char *name)
{
    (void)snprintf(to, AD_BROKER_PATH_SIZE, "%s/%s", dir, name);
}

static void write_text(const char *name, const char *text)
{
    char path[AD_BROKER_PATH_SIZE];
    FILE *f;

    in_dir(path, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void the_text(void **state)
{
    struct ad_broker_config c = config_of("192.0.2.10", 8883);
    struct sy_buf b = {0};

    (void)state;
    (void)snprintf(c.data_dir, sizeof c.data_dir, "/var/lib/vagt/broker");
    (void)snprintf(c.user, sizeof c.user, "mosquitto");
    (void)snprintf(c.password_file, sizeof c.password_file, "/etc/vagt/passwords");
    (void)snprintf(c.certfile, sizeof c.certfile, "/etc/vagt/broker.crt");
    (void)snprintf(c.keyfile, sizeof c.keyfile, "/etc/vagt/broker.key");
    c.listen_n = 2;
    (void)snprintf(c.listen[1].host, sizeof c.listen[1].host, "::1");
    c.listen[1].port = 1883;
    ad_broker_conf(&c, &b);
    sy_buf_u8(&b, 0);
    assert_string_equal(
        (const char *)b.p,
        "# Made by vagtd from its own configuration, before each start: changes\n"
        "# made here are lost. See vagt.yaml(5), mosquitto.\n\n"
        "per_listener_settings false\nuser mosquitto\nallow_anonymous false\n"
        "password_file /etc/vagt/passwords\n\n"
        "persistence true\npersistence_location /var/lib/vagt/broker/\n"
        "autosave_interval 5\nautosave_on_changes false\n\n"
        "max_queued_messages 300000\nmax_queued_bytes 0\nmax_inflight_messages 1000\n"
        "max_packet_size 67108864\nmemory_limit 1073741824\n"
        "persistent_client_expiration 14d\nset_tcp_nodelay true\n\n"
        "log_dest stderr\nlog_timestamp false\nlog_type error\nlog_type warning\n"
        "log_type notice\n\n"
        "listener 8883 192.0.2.10\ncertfile /etc/vagt/broker.crt\n"
        "keyfile /etc/vagt/broker.key\ntls_version tlsv1.2\nmax_connections 1000\n\n"
        "listener 1883 ::1\nmax_connections 1000\n");
    sy_buf_free(&b);
}

static void what_cannot_be_is_named(void **state)
{
    struct ad_broker_config c = config_of("127.0.0.1", 1883);
    const char *key = "";

    (void)state;
    assert_null(ad_broker_config_wrong(&c, &key));
    c = config_of("192.0.2.10", 1883);
    assert_non_null(ad_broker_config_wrong(&c, &key));
    assert_string_equal(key, "password_file");
    (void)snprintf(c.password_file, sizeof c.password_file, "/p");
    assert_null(ad_broker_config_wrong(&c, &key));
    (void)snprintf(c.certfile, sizeof c.certfile, "/c");
    assert_non_null(ad_broker_config_wrong(&c, &key));
    assert_string_equal(key, "keyfile");
    c.certfile[0] = '\0';
    (void)snprintf(c.cafile, sizeof c.cafile, "/c");
    assert_non_null(ad_broker_config_wrong(&c, &key));
    assert_string_equal(key, "cafile");
}

static void versions(void **state)
{
    bool error;

    (void)state;
    assert_non_null(ad_broker_version_means("1.6.9", &error));
    assert_true(error);
    assert_non_null(strstr(ad_broker_version_means("2.0.11", &error), "2.0.13"));
    assert_false(error);
    assert_non_null(ad_broker_version_means("2.0.9", &error));
    assert_null(ad_broker_version_means("2.0.13", &error));
    assert_null(ad_broker_version_means("2.0.21", &error));
    assert_null(ad_broker_version_means("2.1.0", &error));
    assert_non_null(ad_broker_version_means("next", &error));
}

/* --- checks of the host --- */

struct told
{
    unsigned errors, n;
    char all[4096];
};

static void on_told(void *data, bool error, const char *text)
{
    struct told *t = data;
    size_t n = strlen(t->all);

    t->errors += error;
    t->n++;
    (void)snprintf(t->all + n, sizeof t->all - n, "%s\n", text);
}

static void says(const struct ad_broker_config *c, unsigned errors, const char *part)
{
    struct told t = {.n = 0};

    ad_broker_check(c, on_told, &t);
    if (t.errors != errors || strstr(t.all, part) == NULL) {
        fail_msg("not '%s' with %u errors, but %u: %s", part, errors, t.errors, t.all);
    }
}

static void what_the_host_lacks_is_told(void **state)
{
    struct ad_broker_config c = config_of("127.0.0.1", 1883);

    (void)state;
    says(&c, 0, "");
    (void)snprintf(c.executable, sizeof c.executable, "/no/mosquitto");
    says(&c, 1, "/no/mosquitto cannot be run: No such file");
    (void)snprintf(c.executable, sizeof c.executable, "/bin/true");
    says(&c, 1, "does not say that it is mosquitto");
    (void)snprintf(c.executable, sizeof c.executable, "/bin/cat"); /* Has no -h. */
    says(&c, 1, "does not say that it is mosquitto");
    c = config_of("127.0.0.1", 1883);
    in_dir(c.acl_file, "acl");
    says(&c, 1, "acl cannot be read");
    write_text("acl", "");
    says(&c, 1, "acl is empty");
    write_text("acl", "topic #\n");
    says(&c, 0, "");
    in_dir(c.password_file, "plain");
    write_text("plain", "# ours\nvagt:$7$101$abc\nz2m:secret\n");
    says(&c, 1, "plain line 3 is not NAME:$");
    assert_true(ad_broker_has_user(&c, "vagt"));
    assert_false(ad_broker_has_user(&c, "vag"));
    assert_false(ad_broker_has_user(&c, "nobody"));
    c = config_of("127.0.0.1", 1883);
    in_dir(c.data_dir, "acl");
    says(&c, 1, "is no folder");
    c = config_of("192.0.2.10", 1883);
    says(&c, 0, "go over the network as they are");
}

/* --- a real one --- */

static struct
{
    bool told, good;
    char text[AD_PROBE_TEXT_SIZE];
} probed;

static void on_probed(void *data, bool good, const char *text)
{
    (void)data;
    probed.told = true;
    probed.good = good;
    (void)snprintf(probed.text, sizeof probed.text, "%s", text);
}

static bool probe(uv_loop_t *loop, int port, const char *user, const char *password)
{
    struct ad_probe_config c = {.addresses_n = 1,
                                .client_id = "test",
                                .username = user,
                                .password = password,
                                .timeout_ms = 2000,
                                .ping_ms = 60000};
    struct ad_probe *p;

    (void)snprintf(c.addresses[0].host, sizeof c.addresses[0].host, "127.0.0.1");
    c.addresses[0].port = (uint16_t)port;
    probed.told = false;
    p = ad_probe_start(loop, &c, on_probed, NULL);
    while (!probed.told) {
        (void)uv_run(loop, UV_RUN_ONCE);
    }
    if (probed.good) {
        ad_probe_cancel(p);
    }
    (void)uv_run(loop, UV_RUN_DEFAULT);
    return probed.good;
}

static int free_port(void)
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

static pid_t start(const char *conf)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)execl("/usr/sbin/mosquitto", "mosquitto", "-c", conf, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static void a_real_one_starts_with_it_and_asks_for_passwords(void **state)
{
    int port = free_port(), status;
    struct ad_broker_config c = config_of("127.0.0.1", port);
    char conf[AD_BROKER_PATH_SIZE], command[600];
    struct sy_errbuf eb = {.text = ""};
    uv_loop_t loop;
    pid_t pid;

    (void)state;
    in_dir(conf, "mosquitto.conf");
    in_dir(c.password_file, "passwords");
    (void)snprintf(command, sizeof command, "mosquitto_passwd -c -b %s vagt secret",
                   c.password_file);
    assert_int_equal(system(command), 0);
    says(&c, 0, "");
    if (ad_broker_prepare(&c, conf, &eb) != 0) {
        fail_msg("%s", eb.text);
    }
    assert_int_equal(uv_loop_init(&loop), 0);
    pid = start(conf);
    while (!probe(&loop, port, "vagt", "secret")) {
        if (strstr(probed.text, "cannot be reached") == NULL ||
            waitpid(pid, &status, WNOHANG) != 0) {
            fail_msg("%s", probed.text);
        }
        (void)usleep(10000);
    }
    assert_false(probe(&loop, port, "vagt", "wrong"));
    assert_false(probe(&loop, port, NULL, NULL));
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)snprintf(command, sizeof command, "%s/data/mosquitto.db", dir);
    assert_int_equal(access(command, F_OK), 0); /* It saved where it should. */
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text),
        cmocka_unit_test(what_cannot_be_is_named),
        cmocka_unit_test(versions),
        cmocka_unit_test(what_the_host_lacks_is_told),
        cmocka_unit_test(a_real_one_starts_with_it_and_asks_for_passwords),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
