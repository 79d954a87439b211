/* Encrypted links: who proves to be a node is let in, nobody else, and it is said why. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "adapters/peer/hello.h"
#include "adapters/seal/pki.h"
#include "tests/peer/tls_rig.h"

struct site
{
    struct rig r;
    struct tls_rig t;
};

static void begin(struct site *s)
{
    rig_init(&s->r);
    tls_rig_init(&s->t, &s->r);
}

static void end(struct site *s)
{
    rig_fini(&s->r);
    tls_rig_fini(&s->t);
}

static const struct ad_peer_stats *stats(struct site *s, unsigned id)
{
    return ad_peers_stats(s->r.nodes[id].peers);
}

static void says(struct site *s, unsigned id, const char *why)
{
    if (strstr(s->r.nodes[id].lines, why) == NULL) {
        fail_msg("not said: %s\nbut: %s", why, s->r.nodes[id].lines);
    }
}

static void nodes_are_linked_and_frames_arrive_in_order(void **state)
{
    enum { N = 2000 };
    struct site s;

    (void)state;
    begin(&s);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        rig_open(&s.r, i);
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        RIG_UNTIL(&s.r, stats(&s, i)->links == RIG_NODES - 1);
    }
    for (unsigned i = 0; i < N; i++) {
        for (unsigned from = 1; from <= RIG_NODES; from++) {
            for (unsigned to = 1; to <= RIG_NODES; to++) {
                if (from != to) {
                    assert_true(rig_send(&s.r, from, to, i % 500 == 9 ? 300000 : i % 97));
                }
            }
        }
        if (i % 50 == 0) {
            rig_turn(&s.r);
        }
    }
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        for (unsigned k = 1; k <= RIG_NODES; k++) {
            RIG_UNTIL(&s.r, i == k || s.r.nodes[i].got[k] == N);
        }
        assert_int_equal(stats(&s, i)->dropped, 0);
        assert_int_equal(stats(&s, i)->refused, 0);
    }
    end(&s);
}

/* Relief hangs on it: a process that dies says nothing any more, its kernel does. */
static void a_process_that_dies_is_noticed_at_once(void **state)
{
    struct raw_hello h = raw_hello_right();
    struct sy_buf b = {0};
    struct raw_tls c;
    struct site s;

    (void)state;
    begin(&s);
    rig_open(&s.r, 1);
    raw_put_hello(&b, &h);
    raw_tls_dial(&c, &s.r, 1, s.t.dir, "n2", false);
    while (!c.up) {
        raw_tls_turn(&c);
    }
    raw_tls_write(&c, b.p, b.len, NULL);
    RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2));
    raw_tls_close(&c);
    RIG_UNTIL(&s.r, !ad_peers_linked(s.r.nodes[1].peers, 2));
    assert_string_equal(s.r.nodes[1].story, "+2 -2! ");
    sy_buf_free(&b);
    end(&s);
}

/* Somebody with the certificate of @name, of the CA in @dir, says to be @from. */
static void refused(struct site *s, const char *dir, const char *name, uint64_t from,
                    bool old, const char *why)
{
    struct raw_hello h = raw_hello_right();
    uint64_t before = stats(s, 1)->refused, links = stats(s, 1)->links;
    struct sy_buf b = {0};
    struct raw_tls c;
    bool said = false;

    s->r.nodes[1].lines_len = 0;
    memset(s->r.nodes[1].lines, 0, sizeof s->r.nodes[1].lines);
    h.from = from;
    raw_put_hello(&b, &h);
    raw_put_frame(&b, 1, "\0\0\0\0\0\0\0\0", 8); /* It may not be heard either. */
    raw_tls_dial(&c, &s->r, 1, dir, name, old);
    while (!c.ended) {
        raw_tls_turn(&c);
        if (c.up && !said) {
            raw_tls_write(&c, b.p, b.len, NULL);
            said = true;
        }
    }
    says(s, 1, why);
    says(s, 1, "ev=peer.refused");
    says(s, 1, "from=127.");
    assert_int_equal(stats(s, 1)->refused, before + 1);
    assert_int_equal(stats(s, 1)->links, links);
    assert_int_equal(s->r.nodes[1].got_bytes, 0);
    raw_tls_close(&c);
    sy_buf_free(&b);
}

static void who_has_not_the_right_certificate_is_refused(void **state)
{
    time_t now = time(NULL);
    struct site s;

    (void)state;
    begin(&s);
    rig_open(&s.r, 1);
    refused(&s, NULL, NULL, 2, false, "it shows no certificate");
    tls_rig_node(s.t.foreign, "campsite", 2, "n2", now, 365);
    refused(&s, s.t.foreign, "n2", 2, false, "its certificate is of another CA");
    tls_rig_node(s.t.dir, "campsite", 2, "old", now - 400 * DAY, 365);
    refused(&s, s.t.dir, "old", 2, false, "its certificate has expired");
    tls_rig_node(s.t.dir, "campsite", 2, "new", now + 2 * DAY, 365);
    refused(&s, s.t.dir, "new", 2, false, "its certificate is not valid yet");
    tls_rig_node(s.t.dir, "harbour", 2, "far", now, 365);
    refused(&s, s.t.dir, "far", 2, false, "names no node of this cluster");
    refused(&s, s.t.dir, "n1", 2, false, "its certificate is that of another node");
    refused(&s, s.t.dir, "n3", 2, false, "another node id than its certificate");
    tls_rig_node(s.t.dir, "campsite", 9, "n9", now, 365);
    refused(&s, s.t.dir, "n9", 9, false, "not in our list of nodes");
    refused(&s, s.t.dir, "n2", 2, true, "it speaks an old TLS");
    assert_string_equal(s.r.nodes[1].story, "");
    rig_open(&s.r, 2); /* And the right one gets in. */
    RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2));
    end(&s);
}

/* Bytes as they are, to node 1. */
static void refused_raw(struct site *s, const void *p, size_t n, const char *why)
{
    uint64_t before = stats(s, 1)->refused;
    int fd = raw_dial(&s->r, 1);

    raw_write(fd, p, n);
    RIG_UNTIL(&s->r, raw_ended(fd));
    says(s, 1, why);
    assert_int_equal(stats(s, 1)->refused, before + 1);
    close(fd);
}

static void what_is_not_tls_is_refused(void **state)
{
    struct raw_hello h = raw_hello_right();
    struct sy_buf b = {0};
    struct site s;

    (void)state;
    begin(&s);
    rig_open(&s.r, 1);
    raw_put_hello(&b, &h);
    refused_raw(&s, b.p, b.len, "it does not speak TLS");
    refused_raw(&s, "GET / HTTP/1.1\r\n\r\n", 18, "it does not speak TLS");
    refused_raw(&s, "\x16\x03\x01\xff\xff\x01", 6, "it does not speak TLS");
    refused_raw(&s,
                "\x17\x03\x03\0\x04"
                "abcd",
                9, "peer.refused");
    rig_config(&s.r, 2)->tls = NULL; /* One of two has it: */
    rig_open(&s.r, 2);
    RIG_UNTIL(&s.r, stats(&s, 1)->refused > 4);
    assert_false(ad_peers_linked(s.r.nodes[1].peers, 2));
    rig_open(&s.r, 3); /* ... and the other way round. */
    RIG_UNTIL(&s.r, strstr(s.r.nodes[2].lines, "it speaks TLS, and this node") != NULL);
    sy_buf_free(&b);
    end(&s);
}

/* What a listener in the middle could do: repeat, change and cut. */
static void what_was_repeated_or_changed_ends_the_link(void **state)
{
    struct raw_hello h = raw_hello_right();
    struct sy_buf hello = {0}, frame = {0};
    struct raw_tls c;
    struct site s;
    struct sy_buf whole = {0};

    (void)state;
    begin(&s);
    rig_open(&s.r, 1);
    for (unsigned round = 0; round < 2; round++) {
        s.r.nodes[1].lines_len = 0;
        memset(s.r.nodes[1].lines, 0, sizeof s.r.nodes[1].lines);
        hello.len = frame.len = 0;
        raw_put_hello(&hello, &h);
        raw_tls_dial(&c, &s.r, 1, s.t.dir, "n2", false);
        while (!c.up) {
            raw_tls_turn(&c);
        }
        raw_tls_write(&c, hello.p, hello.len, NULL);
        RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2));
        hello.len = 0;
        raw_put_frame(&hello, 1, "\0\0\0\0\0\0\0\0", 8);
        raw_tls_write(&c, hello.p, hello.len, &frame);
        if (round == 0) {
            raw_write(c.fd, frame.p, frame.len);
            RIG_UNTIL(&s.r, s.r.nodes[1].got[2] == 1);
            raw_write(c.fd, frame.p, frame.len); /* again */
        } else {
            frame.p[7] ^= 1;
            raw_write(c.fd, frame.p, frame.len);
        }
        RIG_UNTIL(&s.r, !ad_peers_linked(s.r.nodes[1].peers, 2));
        says(&s, 1, "changed, or repeated, on the way");
        assert_int_equal(s.r.nodes[1].got[2], 1 - round);
        sy_buf_put(&whole, c.sent.p, round == 0 ? c.sent.len : 0);
        raw_tls_close(&c);
    }
    /* All that a node ever said, once more: the answers are others now. */
    assert_true(whole.len > 500);
    refused_raw(&s, whole.p, whole.len, "peer.refused");
    assert_string_equal(s.r.nodes[1].story, "+2 -2 +2 -2 ");
    sy_buf_free(&hello);
    sy_buf_free(&frame);
    sy_buf_free(&whole);
    end(&s);
}

static void a_claim_of_a_gigabyte_costs_nothing(void **state)
{
    struct raw_hello h = raw_hello_right();
    struct sy_buf b = {0};
    struct raw_tls c;
    struct site s;

    (void)state;
    begin(&s);
    rig_open(&s.r, 1);
    raw_put_hello(&b, &h);
    sy_buf_u32(&b, 1U << 30);
    sy_buf_u8(&b, 1);
    raw_tls_dial(&c, &s.r, 1, s.t.dir, "n2", false);
    while (!c.up) {
        raw_tls_turn(&c);
    }
    raw_tls_write(&c, b.p, b.len, NULL);
    while (!c.ended) {
        raw_tls_turn(&c);
    }
    says(&s, 1, "frame too long");
    raw_tls_close(&c);
    sy_buf_free(&b);
    end(&s);
}

/* Half-open ones do not keep a node out, and half of a greeting has its time, too. */
static void a_crowd_does_not_keep_a_node_out(void **state)
{
    enum { CROWD = 200 };
    int fds[CROWD];
    struct raw_tls half;
    struct site s;

    (void)state;
    begin(&s);
    rig_config(&s.r, 1)->hello_ms = 300;
    rig_open(&s.r, 1);
    raw_tls_dial(&half, &s.r, 1, s.t.dir, "n2", false); /* and never goes on */
    for (unsigned i = 0; i < CROWD; i++) {
        fds[i] = raw_dial(&s.r, 1);
        if (i % 20 == 0) {
            rig_turn(&s.r);
        }
    }
    rig_open(&s.r, 2);
    RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2));
    RIG_UNTIL(&s.r, raw_ended(half.fd));
    says(&s, 1, "did not say who it is in time");
    assert_true(ad_peers_linked(s.r.nodes[1].peers, 2));
    for (unsigned i = 0; i < CROWD; i++) {
        close(fds[i]);
    }
    raw_tls_close(&half);
    end(&s);
}

/* Node 2 dials node 1's address, where node 3 answers. */
static void who_answers_must_prove_to_be_who_was_dialled(void **state)
{
    struct site s;

    (void)state;
    begin(&s);
    rig_config(&s.r, 2)->nodes[0].port = s.r.ports[3];
    rig_config(&s.r, 3)->nodes[1].port = s.r.ports[1]; /* ... and 3 finds nobody */
    rig_open(&s.r, 2);
    rig_open(&s.r, 3);
    RIG_UNTIL(&s.r, strstr(s.r.nodes[2].lines, "that of another node") != NULL);
    RIG_UNTIL(&s.r, strstr(s.r.nodes[3].lines, "peer.refused_us") != NULL);
    assert_string_equal(s.r.nodes[2].story, "");
    assert_string_equal(s.r.nodes[3].story, "");
    end(&s);
}

/* The link ends, whoever dials; it is told so, and so when it comes back. */
static void who_was_removed_is_told_so_and_not_let_in(void **state)
{
    struct ad_peer_address a;
    struct site s;

    (void)state;
    for (unsigned gone = 1; gone <= 3; gone += 2) {
        begin(&s);
        rig_open(&s.r, gone);
        rig_open(&s.r, 2);
        RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[2].peers, gone));
        RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[gone].peers, 2));
        a = rig_config(&s.r, 2)->nodes[gone - 1];
        a.removed = true;
        assert_int_equal(ad_peers_set(s.r.nodes[2].peers, &a, NULL), 0);
        assert_false(ad_peers_linked(s.r.nodes[2].peers, gone));
        for (unsigned round = 0; round < 2; round++) {
            RIG_UNTIL(&s.r, s.r.nodes[gone].goodbye.text[0] != '\0');
            assert_int_equal(s.r.nodes[gone].goodbye.reason, AD_PEER_REMOVED);
            assert_string_equal(s.r.nodes[gone].goodbye.text,
                                "it was removed from the cluster");
            memset(&s.r.nodes[gone].goodbye, 0, sizeof s.r.nodes[gone].goodbye);
            if (round == 0) {
                rig_close(&s.r, gone);
                rig_open(&s.r, gone);
            }
        }
        assert_false(ad_peers_linked(s.r.nodes[2].peers, gone));
        a.removed = false; /* It is taken in again. */
        assert_int_equal(ad_peers_set(s.r.nodes[2].peers, &a, NULL), 0);
        RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[2].peers, gone));
        end(&s);
    }
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void certificates_are_renewed_while_running(void **state)
{
    struct ad_tls_files files;
    struct sy_errbuf eb;
    struct site s;
    int64_t until;

    (void)state;
    begin(&s);
    rig_open(&s.r, 1);
    rig_open(&s.r, 2);
    RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2));
    tls_rig_files(s.t.dir, "n2", &files);
    until = ad_tls_until(s.t.tls[2]);
    assert_int_equal(ad_tls_renew(s.t.tls[2], &eb), 0);
    assert_int_equal(ad_pki_renew(s.t.dir, "n2", NULL, s.t.now, 700, &eb), 0);
    assert_int_equal(ad_tls_renew(s.t.tls[2], &eb), 1);
    assert_int_equal(ad_tls_until(s.t.tls[2]), until + 335 * DAY);
    assert_int_equal(ad_tls_renew(s.t.tls[2], &eb), 0);
    assert_true(ad_peers_linked(s.r.nodes[1].peers, 2)); /* What is up stays up. */
    rig_close(&s.r, 1);
    rig_open(&s.r, 1);
    RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2)); /* with the new one */
    /* What cannot be used changes nothing, and is looked at again. */
    put_file(files.cert, "half of a file");
    assert_int_equal(ad_tls_renew(s.t.tls[2], &eb), SY_EINVALID);
    assert_non_null(strstr(eb.text, "there is no certificate in"));
    assert_int_equal(ad_tls_renew(s.t.tls[2], &eb), SY_EINVALID);
    rig_close(&s.r, 1);
    rig_open(&s.r, 1);
    RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2));
    assert_int_equal(ad_tls_until(s.t.tls[2]), until + 335 * DAY);
    end(&s);
}

/* One CA after another: first all believe both, then all show the new one. */
static void a_ca_is_replaced_step_by_step(void **state)
{
    struct sy_buf both = {0};
    struct ad_tls_files f, new;
    struct sy_errbuf eb;
    struct site s;
    char text[4096];
    size_t n;

    (void)state;
    begin(&s);
    tls_rig_files(s.t.dir, "n1", &f);
    tls_rig_node(s.t.foreign, "campsite", 2, "n2", time(NULL), 365);
    tls_rig_files(s.t.foreign, "n2", &new);
    for (unsigned i = 0; i < 2; i++) {
        FILE *in = fopen(i == 0 ? f.ca : new.ca, "re");

        assert_non_null(in);
        n = fread(text, 1, sizeof text, in);
        sy_buf_put(&both, text, n);
        fclose(in);
    }
    sy_buf_u8(&both, 0);
    put_file(f.ca, (const char *)both.p); /* that of all three */
    assert_int_equal(ad_tls_renew(s.t.tls[1], &eb), 1);
    snprintf(new.ca, sizeof new.ca, "%s", f.ca);
    ad_tls_free(s.t.tls[2]);
    assert_int_equal(ad_tls_open(&s.t.tls[2], &new, "campsite", 2, &eb), 0);
    rig_config(&s.r, 2)->tls = s.t.tls[2];
    rig_open(&s.r, 1);
    rig_open(&s.r, 2);
    RIG_UNTIL(&s.r, ad_peers_linked(s.r.nodes[1].peers, 2));
    sy_buf_free(&both);
    end(&s);
}

static void not_opened(struct ad_tls_files f, const char *cluster, uint64_t self,
                       const char *why)
{
    struct sy_errbuf eb;
    struct ad_tls *t = NULL;

    assert_true(ad_tls_open(&t, &f, cluster, self, &eb) < 0);
    if (strstr(eb.text, why) == NULL) {
        fail_msg("not said: %s\nbut: %s", why, eb.text);
    }
}

static void files_that_do_not_fit_are_named(void **state)
{
    struct ad_tls_files f, other;
    struct ad_tls *t = NULL;
    struct sy_errbuf eb;
    struct site s;

    (void)state;
    begin(&s);
    tls_rig_files(s.t.dir, "n1", &f);
    not_opened(f, "campsite", 2, "must name vagt://campsite/node/2");
    not_opened(f, "harbour", 1, "must name vagt://harbour/node/1");
    tls_rig_files(s.t.dir, "n2", &other);
    memcpy(other.cert, f.cert, sizeof other.cert);
    not_opened(other, "campsite", 1, "it is not the key of that certificate");
    other = f;
    snprintf(other.ca, sizeof other.ca, "%s/ca.crt", s.t.foreign);
    not_opened(other, "campsite", 1, "is not signed by the CA in");
    other = f;
    snprintf(other.key, sizeof other.key, "%s/nowhere", s.t.dir);
    not_opened(other, "campsite", 1, "/nowhere cannot be read: ");
    chmod(f.key, 0604);
    not_opened(f, "campsite", 1, "chmod 600 it");
    chmod(f.key, 0600);
    put_file(f.ca, "");
    not_opened(f, "campsite", 1, "there is no certificate of a CA in");
    /* One that is too old is taken: a node must be able to wait for a new one. */
    tls_rig_node(s.t.foreign, "campsite", 1, "old", time(NULL) - 400 * DAY, 365);
    tls_rig_files(s.t.foreign, "old", &f);
    assert_int_equal(ad_tls_open(&t, &f, "campsite", 1, &eb), 0);
    assert_true(ad_tls_until(t) < time(NULL));
    ad_tls_free(t);
    end(&s);
}

static void a_name_is_that_of_one_node(void **state)
{
    static const struct
    {
        const char *uri;
        uint64_t id;
    } rows[] = {
        {"vagt://campsite/node/1", 1},    {"vagt://campsite/node/15", 15},
        {"vagt://campsite/node/0", 0},    {"vagt://campsite/node/01", 0},
        {"vagt://campsite/node/", 0},     {"vagt://campsite/node/1x", 0},
        {"vagt://campsite/node/1234", 0}, {"vagt://campsit/node/1", 0},
        {"vagt://campsite2/node/1", 0},   {"vagt://campsite/nodes/1", 0},
        {"http://campsite/node/1", 0},    {"", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(ad_tls_id_of(rows[i].uri, strlen(rows[i].uri), "campsite"),
                         rows[i].id);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_linked_and_frames_arrive_in_order),
        cmocka_unit_test(a_process_that_dies_is_noticed_at_once),
        cmocka_unit_test(who_has_not_the_right_certificate_is_refused),
        cmocka_unit_test(what_is_not_tls_is_refused),
        cmocka_unit_test(what_was_repeated_or_changed_ends_the_link),
        cmocka_unit_test(a_claim_of_a_gigabyte_costs_nothing),
        cmocka_unit_test(a_crowd_does_not_keep_a_node_out),
        cmocka_unit_test(who_answers_must_prove_to_be_who_was_dialled),
        cmocka_unit_test(who_was_removed_is_told_so_and_not_let_in),
        cmocka_unit_test(certificates_are_renewed_while_running),
        cmocka_unit_test(a_ca_is_replaced_step_by_step),
        cmocka_unit_test(files_that_do_not_fit_are_named),
        cmocka_unit_test(a_name_is_that_of_one_node),
    };
    return cmocka_run_group_tests_name("peer_tls", tests, NULL, NULL);
}
