/* Could this node write if it had the watch? */

#include "rig.h"

#include <stdio.h>
#include <string.h>

#include "adapters/postgres/check.h"

static struct
{
    bool told, good;
    char text[256];
} end;

static void ended(void *data, bool good, const char *text)
{
    assert_ptr_equal(data, &end);
    assert_false(end.told);
    end.told = true;
    end.good = good;
    snprintf(end.text, sizeof end.text, "%s", text);
}

static void check(struct rig *r)
{
    struct ad_pg_check *c;
    struct sy_errbuf eb;

    memset(&end, 0, sizeof end);
    assert_int_equal(ad_pg_check_start(&c, &r->loop, &r->config, ended, &end, &eb), 0);
    assert_false(end.told);
    UNTIL(r, end.told);
}

static void says(const char *what)
{
    if (strstr(end.text, what) == NULL) {
        fail_msg("'%s' is not in: %s", what, end.text);
    }
}

/* A resolver that answers when the test says so, in place of libuv's. */
static struct
{
    uv_getaddrinfo_t *req;
    uv_getaddrinfo_cb cb;
    unsigned asked;
} resolver;

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb,
                   const char *node, const char *service, const struct addrinfo *hints)
{
    (void)loop, (void)node, (void)service, (void)hints;
    resolver.req = req;
    resolver.cb = cb;
    resolver.asked++;
    return 0;
}

static void as(struct rig *r, const char *role)
{
    snprintf(r->conninfo, sizeof r->conninfo,
             "host=127.0.0.1 port=%d user=%s dbname=%s password=sesame", server.port,
             role, r->database);
    r->config.conninfo = r->conninfo;
}

static void who_may_write_is_told_as_whom_and_writes_nothing(void **state)
{
    struct rig *r = *state;

    r->config.conninfo = r->conninfo;
    check(r);
    assert_true(end.good);
    says("took us as ");
    assert_string_equal(sql(r, "SELECT count(*) FROM vagt_fence"), "0");
    rig_wait_sql(r,
                 "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
                 " 'vagt-ready' AND datname = current_database()",
                 "0");
}

static void a_right_that_is_missing_is_named(void **state)
{
    struct rig *r = *state;

    sql(r,
        "CREATE ROLE weak LOGIN; GRANT SELECT, INSERT, UPDATE ON vagt_fence, vagt_schema,"
        " power_meters, meter_identity TO weak; GRANT INSERT ON meter_readings TO weak");
    as(r, "weak");
    check(r);
    assert_false(end.good);
    says("the role weak lacks UPDATE on meter_readings: GRANT it");
    sql(r, "GRANT UPDATE ON meter_readings TO weak");
    check(r);
    assert_true(end.good);
}

static void a_server_that_can_only_be_read_is_told(void **state)
{
    struct rig *r = *state;

    r->config.conninfo = r->conninfo;
    sql(r, "ALTER DATABASE %s SET default_transaction_read_only = on", r->database);
    check(r);
    assert_false(end.good);
    says("it can only be read");
}

static void who_is_not_let_in_is_told_without_the_password(void **state)
{
    struct rig *r = *state;

    as(r, "nobody");
    check(r);
    assert_false(end.good);
    says("nobody");
    assert_null(strstr(end.text, "sesame"));
}

static void nobody_there_is_told(void **state)
{
    struct rig *r = *state;

    snprintf(r->conninfo, sizeof r->conninfo, "host=127.0.0.1 port=1 user=x dbname=x");
    r->config.conninfo = r->conninfo;
    check(r);
    assert_false(end.good);
    says("refused");
}

/* Each would hold a thread of the pool, which the log needs, too. */
static void a_resolver_that_hangs_is_waited_for(void **state)
{
    struct rig *r = *state;
    struct ad_pg_check *c;
    struct sy_errbuf eb;

    snprintf(r->conninfo, sizeof r->conninfo, "host=db.example user=x dbname=x");
    r->config.conninfo = r->conninfo;
    r->config.connect_timeout_ms = 50;
    memset(&end, 0, sizeof end);
    assert_int_equal(ad_pg_check_start(&c, &r->loop, &r->config, ended, &end, &eb), 0);
    rig_turn(r, 400);
    assert_int_equal(resolver.asked, 1);
    assert_false(end.told);
    resolver.cb(resolver.req, UV_EAI_AGAIN, NULL);
    UNTIL(r, end.told);
    assert_false(end.good);
    says("cannot be looked up: no answer in 50 ms");
}

static void tables_that_are_not_there_are_named(void **state)
{
    struct rig *r = *state;

    r->config.conninfo = r->conninfo;
    check(r);
    assert_false(end.good);
    says("vagt_fence");
    says("vagtctl db migrate");
}

static void a_check_that_is_cancelled_says_nothing(void **state)
{
    struct rig *r = *state;
    struct ad_pg_check *c;
    struct sy_errbuf eb;

    r->config.conninfo = r->conninfo;
    memset(&end, 0, sizeof end);
    for (unsigned ms = 0; ms < 12; ms += 3) {
        assert_int_equal(ad_pg_check_start(&c, &r->loop, &r->config, ended, &end, &eb),
                         0);
        rig_turn(r, ms);
        if (!end.told) {
            ad_pg_check_cancel(c);
        }
        rig_turn(r, 20);
        assert_false(ms == 0 && end.told);
        end.told = false;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(F) cmocka_unit_test_setup_teardown(F, rig_open, rig_close)
        T(who_may_write_is_told_as_whom_and_writes_nothing),
        T(a_right_that_is_missing_is_named),
        T(a_server_that_can_only_be_read_is_told),
        T(who_is_not_let_in_is_told_without_the_password),
        T(nobody_there_is_told),
        T(a_check_that_is_cancelled_says_nothing),
        T(a_resolver_that_hangs_is_waited_for),
        cmocka_unit_test_setup_teardown(tables_that_are_not_there_are_named,
                                        rig_open_bare, rig_close),
    };

    return cmocka_run_group_tests(tests, server_start, server_stop);
}
