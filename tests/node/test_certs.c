/* Certificates of the nodes: when they end, and who will not have this one. */

#include <stdio.h>
#include <string.h>

#include "adapters/peer/hello.h"
#include "tests/node/fake_node.h"

static int open_three(void **state)
{
    (void)state;
    fake_open(3);
    fake_begin();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

/* Bea tells until when hers is good; what is said of that here, "": nothing. */
static bool said(uint64_t until_s, const char *text, bool *ret_error)
{
    struct nd_issues found;
    struct sy_buf node = {0};

    sy_mp_map(&node, 1);
    sy_mp_kuint(&node, "cert_until_s", until_s);
    fake_gossip(2, &node, NULL);
    sy_buf_free(&node);
    nd_issues_find(fake.n, &found);
    for (unsigned i = 0; i < found.n; i++) {
        if (strstr(found.list[i].text, text) != NULL) {
            *ret_error = found.list[i].error;
            return true;
        }
    }
    return false;
}

static void their_end_is_told_in_time(void **state)
{
    uint64_t now = nd_wall_ms() / 1000, day = 86400;
    bool error = false;

    (void)state;
    assert_false(said(0, "certificate", &error)); /* It has none. */
    assert_false(said(now + 31 * day, "certificate", &error));
    assert_true(said(now + 29 * day + 100,
                     "the certificate of bea, or of its CA, ends in 29 days: `vagtctl",
                     &error));
    assert_false(error);
    assert_true(said(now - 1, "the certificate of bea has expired", &error));
    assert_true(error);
    snprintf(fake.n->tls.why, sizeof fake.n->tls.why, "node.crt: half of it");
    assert_true(said(0, "the old one still is: node.crt: half of it", &error));
    assert_false(error);
}

/* With encrypted links it is not even let in: it is told why, and hangs up. */
static void one_that_was_removed_hears_it_from_who_refuses_it(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    ad_peer_goodbye_put(&b, AD_PEER_REFUSED, "another cluster");
    nd_tls_goodbye(fake.n, 2, b.p, b.len);
    assert_int_equal(fake.n->members.gone_by, 0);
    b.len = 0;
    ad_peer_goodbye_put(&b, AD_PEER_REMOVED, "it was removed");
    nd_tls_goodbye(fake.n, 2, b.p, b.len);
    assert_int_equal(fake.n->members.gone_by, 2);
    nd_tls_goodbye(fake.n, 3, b.p, 0); /* nothing said */
    assert_int_equal(fake.n->members.gone_by, 2);
    sy_buf_free(&b);
}

/* A certificate outlives the membership: it says "you were removed" to us then. */
static void one_that_was_removed_is_not_believed(void **state)
{
    struct nd_members *m = &fake.n->members;
    struct sy_buf b = {0};

    (void)state;
    ad_peer_goodbye_put(&b, AD_PEER_REMOVED, "you were removed");
    m->removed[m->removed_n++].id = 4;
    nd_tls_goodbye(fake.n, 4, b.p, b.len);
    assert_int_equal(m->gone_by, 0);
    fake_lead();
    nd_tls_goodbye(fake.n, 2, b.p, b.len); /* Or not known to be, yet. */
    assert_int_equal(m->gone_by, 0);
    sy_buf_free(&b);
}

int main(void)
{
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, open_three, close_all)
    const struct CMUnitTest tests[] = {
        T(their_end_is_told_in_time),
        T(one_that_was_removed_hears_it_from_who_refuses_it),
        T(one_that_was_removed_is_not_believed),
    };

    return cmocka_run_group_tests_name("certs", tests, NULL, NULL);
}
