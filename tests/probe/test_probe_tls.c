/* A look at a real broker that speaks TLS. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/probe/probe.h"
#include "tests/mqtt/rig.h"

enum { PATH_SIZE = 128 };

static char certs[64], extra[1024];
static struct rig_broker broker;
static uv_loop_t loop;
static struct
{
    unsigned told;
    bool good;
    char text[AD_PROBE_TEXT_SIZE];
} end;

static const char *path(const char *name)
{
    static char paths[4][PATH_SIZE];
    static unsigned next;

    next = (next + 1) % 4;
    snprintf(paths[next], PATH_SIZE, "%s/%s", certs, name);
    return paths[next];
}

static int make_certs(void **state)
{
    char command[512];

    (void)state;
    snprintf(certs, sizeof certs, "/tmp/vagt-probe-tls-XXXXXX");
    assert_non_null(mkdtemp(certs));
    snprintf(command, sizeof command, "%s %s", VAGT_CERTS, certs);
    return system(command);
}

static int remove_certs(void **state)
{
    static const char *const names[] = {"ca",    "foreign", "server",
                                        "other", "client",  "old"};

    (void)state;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[32];

        snprintf(name, sizeof name, "%s.crt", names[i]);
        (void)unlink(path(name));
        snprintf(name, sizeof name, "%s.key", names[i]);
        (void)unlink(path(name));
    }
    return rmdir(certs);
}

static void ended(void *data, bool good, const char *text)
{
    (void)data;
    end.told++;
    end.good = good;
    snprintf(end.text, sizeof end.text, "%s", text);
}

/* Looks at a broker with the certificate @name ("": without TLS), until it has said so
 * @times; @client: it asks for ours. */
static void look(const char *name, const struct ad_probe_files *files, bool client,
                 unsigned times)
{
    struct ad_probe_config c = {.addresses_n = 1,
                                .client_id = "vagt-test-ready1",
                                .timeout_ms = 3000,
                                .ping_ms = 50,
                                .tls = files};
    struct ad_probe *p;

    memset(&end, 0, sizeof end);
    memset(&broker, 0, sizeof broker);
    snprintf(extra, sizeof extra, "certfile %s/%s.crt\nkeyfile %s/%s.key\n%s%s%s", certs,
             name, certs, name, client ? "require_certificate true\ncafile " : "",
             client ? path("ca.crt") : "", client ? "\n" : "");
    broker.extra = name[0] != '\0' ? extra : NULL;
    rig_broker_start(&broker, 0);
    snprintf(c.addresses[0].host, sizeof c.addresses[0].host, "127.0.0.1");
    c.addresses[0].port = broker.port;
    assert_int_equal(uv_loop_init(&loop), 0);
    p = ad_probe_start(&loop, &c, ended, NULL);
    while (end.told < times) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    if (end.good) {
        ad_probe_cancel(p);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    rig_broker_remove(&broker);
}

static void says(const char *what)
{
    if (strstr(end.text, what) == NULL) {
        fail_msg("'%s' is not in: %s", what, end.text);
    }
}

static void a_broker_with_tls_is_asked_as_any(void **state)
{
    struct ad_probe_files f = {.ca = path("ca.crt")};

    (void)state;
    look("server", &f, false, 4);
    assert_true(end.good);
    says("answered in");
}

static void it_is_shown_our_certificate(void **state)
{
    struct ad_probe_files f = {path("ca.crt"), path("client.crt"), path("client.key")};

    (void)state;
    look("server", &f, true, 2);
    assert_true(end.good);
}

static void without_ours_it_takes_nobody(void **state)
{
    struct ad_probe_files f = {.ca = path("ca.crt")};

    (void)state;
    look("server", &f, true, 1);
    assert_false(end.good);
}

static void another_ca_is_not_trusted(void **state)
{
    struct ad_probe_files f = {.ca = path("foreign.crt")};

    (void)state;
    look("server", &f, false, 1);
    assert_false(end.good);
    says("brokers[].tls.ca must have signed it");
}

static void another_address_is_not_trusted(void **state)
{
    struct ad_probe_files f = {.ca = path("ca.crt")};

    (void)state;
    look("other", &f, false, 1);
    assert_false(end.good);
    says("IP address mismatch");
}

static void a_broker_without_tls_is_told_as_such(void **state)
{
    struct ad_probe_files f = {.ca = path("ca.crt")};

    (void)state;
    look("", &f, false, 1);
    assert_false(end.good);
}

static void files_that_will_not_do_are_named(void **state)
{
    struct ad_probe_files f = {path("ca.crt"), path("client.crt"), path("server.key")};
    struct ad_probe_ctx *ctx = NULL;
    struct sy_errbuf eb;

    (void)state;
    assert_true(ad_probe_ctx_open(&ctx, &f, &eb) < 0);
    assert_non_null(strstr(eb.text, "server.key cannot be used"));
    f.key = path("client.key");
    assert_int_equal(chmod(f.key, 0644), 0);
    assert_true(ad_probe_ctx_open(&ctx, &f, &eb) < 0);
    assert_non_null(strstr(eb.text, "chmod 600 it"));
    assert_int_equal(chmod(f.key, 0600), 0);
    f.ca = path("nothing.crt");
    assert_true(ad_probe_ctx_open(&ctx, &f, &eb) < 0);
    assert_non_null(strstr(eb.text, "nothing.crt cannot be used"));
    assert_null(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broker_with_tls_is_asked_as_any),
        cmocka_unit_test(it_is_shown_our_certificate),
        cmocka_unit_test(without_ours_it_takes_nobody),
        cmocka_unit_test(another_ca_is_not_trusted),
        cmocka_unit_test(another_address_is_not_trusted),
        cmocka_unit_test(a_broker_without_tls_is_told_as_such),
        cmocka_unit_test(files_that_will_not_do_are_named),
    };

    return cmocka_run_group_tests_name("probe_tls", tests, make_certs, remove_certs);
}
