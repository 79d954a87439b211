/* The codec: what goes in comes out, and nothing else comes in. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "consensus/wire.h"

enum { KINDS = 7 };

static void put_entry(struct sy_buf *b, uint64_t term, uint8_t type, uint32_t len)
{
    uint8_t data[64];
    struct cs_entry e = {.term = term, .type = type, .len = len, .data = data};

    memset(data, (int)term, sizeof data);
    cs_wire_put_entry(b, &e);
}

static void put_conf_entry(struct sy_buf *b, uint64_t term)
{
    static const uint64_t ids[] = {1, 2, 15};
    struct cs_entry e;

    cs_core_bootstrap(ids, 3, &e);
    e.term = term;
    cs_wire_put_entry(b, &e);
    sy_free(e.data);
}

static void conf(struct sy_buf *to)
{
    static const uint64_t ids[] = {1, 2, 15};
    struct cs_entry e;

    cs_core_bootstrap(ids, 3, &e);
    *to = (struct sy_buf){.p = e.data, .len = e.len, .cap = e.len};
}

static void put_install(struct sy_buf *b)
{
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT};
    struct sy_buf c;

    m.install_snapshot.term = 7;
    m.install_snapshot.last_index = 100;
    m.install_snapshot.last_term = 6;
    m.install_snapshot.conf_index = 30;
    conf(&c);
    cs_wire_put(b, &m, 0);
    cs_wire_put_conf(b, &c);
    sy_buf_free(&c);
}

/* One good frame of each kind; the last two are AppendEntries, empty and full. */
static struct sy_buf good(unsigned kind)
{
    struct sy_buf b = {.p = NULL};
    struct raft_message m = {.type = (enum raft_message_type)(kind < 6 ? kind + 1 : 1)};

    switch ((int)m.type) {
    case RAFT_REQUEST_VOTE:
        m.request_vote = (struct raft_request_vote){.term = 5,
                                                    .candidate_id = 3,
                                                    .last_log_index = 9,
                                                    .last_log_term = 4,
                                                    .disrupt_leader = true};
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        m.request_vote_result = (struct raft_request_vote_result){.term = 5,
                                                                  .vote_granted = true,
                                                                  .pre_vote = true,
                                                                  .features = 258,
                                                                  .capacity = 3};
        break;
    case RAFT_APPEND_ENTRIES:
        m.append_entries = (struct raft_append_entries){
            .term = 5, .prev_log_index = 9, .prev_log_term = 4, .leader_commit = 8};
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        m.append_entries_result = (struct raft_append_entries_result){.term = 5,
                                                                      .rejected = 9,
                                                                      .last_log_index = 8,
                                                                      .features = 1,
                                                                      .capacity = 513};
        break;
    case RAFT_TIMEOUT_NOW:
        m.timeout_now.term = 5;
        m.timeout_now.last_log_index = 9;
        m.timeout_now.last_log_term = 4;
        break;
    case RAFT_INSTALL_SNAPSHOT:
        put_install(&b);
        return b;
    default:
        abort();
    }
    cs_wire_put(&b, &m, 77);
    if (m.type == RAFT_APPEND_ENTRIES) {
        cs_wire_put_count(&b, kind == 6 ? 3 : 0);
    }
    if (kind == 6) {
        put_entry(&b, 4, RAFT_COMMAND, 40);
        put_conf_entry(&b, 5);
        put_entry(&b, 5, RAFT_BARRIER, 0);
    }
    return b;
}

static void encode_again(const struct cs_wire *w, struct sy_buf *b)
{
    cs_wire_put(b, &w->m, w->stamp);
    if (w->m.type == RAFT_APPEND_ENTRIES) {
        const struct raft_append_entries *a = &w->m.append_entries;

        cs_wire_put_count(b, a->n_entries);
        for (unsigned i = 0; i < a->n_entries; i++) {
            cs_wire_put_entry(b,
                              &(struct cs_entry){.term = a->entries[i].term,
                                                 .type = (uint8_t)a->entries[i].type,
                                                 .len = (uint32_t)a->entries[i].buf.len,
                                                 .data = a->entries[i].buf.base});
        }
    } else if (w->m.type == RAFT_INSTALL_SNAPSHOT) {
        struct raft_buffer buf;
        struct sy_buf c;

        assert_int_equal(raft_configuration_encode(&w->m.install_snapshot.conf, &buf), 0);
        c = (struct sy_buf){.p = buf.base, .len = buf.len, .cap = buf.len};
        cs_wire_put_conf(b, &c);
        raft_free(buf.base);
    }
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct sy_buf b = good(k), again = {.p = NULL};
        struct cs_wire w;

        assert_int_equal(cs_wire_decode(b.p, b.len, &w), 0);
        encode_again(&w, &again);
        assert_int_equal(again.len, b.len);
        assert_memory_equal(again.p, b.p, b.len);
        cs_wire_discard(&w);
        sy_buf_free(&again);
        sy_buf_free(&b);
    }
}

static void every_truncation_and_every_extension_is_refused(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct sy_buf b = good(k);
        struct cs_wire w;

        for (size_t n = 0; n < b.len; n++) {
            uint8_t *exact = sy_memdup(b.p, n); /* So that a sanitizer sees the end. */

            assert_int_equal(cs_wire_decode(exact, n, &w), SY_ECORRUPT);
            sy_free(exact);
        }
        sy_buf_u8(&b, 0);
        assert_int_equal(cs_wire_decode(b.p, b.len, &w), SY_ECORRUPT);
        sy_buf_free(&b);
    }
}

/* No oracle but the sanitizers, and that what is accepted encodes to itself. */
static void no_single_byte_can_do_harm(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct sy_buf b = good(k);

        for (size_t i = 0; i < b.len; i++) {
            for (unsigned v = 0; v < 256; v++) {
                uint8_t old = b.p[i];
                struct cs_wire w;

                b.p[i] = (uint8_t)v;
                if (cs_wire_decode(b.p, b.len, &w) == 0) {
                    struct sy_buf again = {.p = NULL};

                    encode_again(&w, &again);
                    assert_int_equal(again.len, b.len);
                    assert_memory_equal(again.p, b.p, b.len);
                    sy_buf_free(&again);
                    cs_wire_discard(&w);
                }
                b.p[i] = old;
            }
        }
        sy_buf_free(&b);
    }
}

static void refused(const struct raft_message *m)
{
    struct sy_buf b = {.p = NULL};
    struct cs_wire w;

    cs_wire_put(&b, m, 0);
    if (m->type == RAFT_APPEND_ENTRIES) {
        cs_wire_put_count(&b, 0);
    }
    assert_int_equal(cs_wire_decode(b.p, b.len, &w), SY_ECORRUPT);
    sy_buf_free(&b);
}

static void terms_and_positions_must_make_sense(void **state)
{
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES};

    (void)state;
    refused(&m); /* term 0 */
    m.append_entries.term = 5;
    m.append_entries.prev_log_index = 3;
    refused(&m); /* an index without a term */
    m.append_entries.prev_log_term = 6;
    refused(&m); /* of a later term than the leader's */
    m.append_entries.prev_log_index = 0;
    m.append_entries.prev_log_term = 5;
    refused(&m); /* a term without an index */
    m.append_entries.prev_log_index = UINT64_MAX - 1;
    refused(&m); /* index + n would wrap */
    m = (struct raft_message){.type = RAFT_REQUEST_VOTE};
    refused(&m);
    m.request_vote.term = UINT64_MAX; /* + 1 would wrap */
    refused(&m);
    m = (struct raft_message){.type = RAFT_REQUEST_VOTE_RESULT};
    refused(&m);
    m = (struct raft_message){.type = RAFT_APPEND_ENTRIES_RESULT};
    refused(&m);
    m = (struct raft_message){.type = RAFT_TIMEOUT_NOW};
    refused(&m);
}

static int decode_append(uint32_t count, uint64_t term_a, uint64_t term_b, uint8_t type)
{
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES};
    struct sy_buf b = {.p = NULL};
    struct cs_wire w;
    int rv;

    m.append_entries.term = 5;
    m.append_entries.prev_log_index = 9;
    m.append_entries.prev_log_term = 4;
    cs_wire_put(&b, &m, 0);
    cs_wire_put_count(&b, count);
    put_entry(&b, term_a, RAFT_COMMAND, 8);
    put_entry(&b, term_b, type, 8);
    rv = cs_wire_decode(b.p, b.len, &w);
    if (rv == 0) {
        cs_wire_discard(&w);
    }
    sy_buf_free(&b);
    return rv;
}

static void entries_must_make_sense(void **state)
{
    (void)state;
    assert_int_equal(decode_append(2, 4, 5, RAFT_COMMAND), 0);
    assert_int_equal(decode_append(1, 4, 5, RAFT_COMMAND), SY_ECORRUPT);
    assert_int_equal(decode_append(3, 4, 5, RAFT_COMMAND), SY_ECORRUPT);
    assert_int_equal(decode_append(UINT32_MAX, 4, 5, RAFT_COMMAND), SY_ECORRUPT);
    assert_int_equal(decode_append(2, 5, 4, RAFT_COMMAND), SY_ECORRUPT); /* falls */
    assert_int_equal(decode_append(2, 3, 5, RAFT_COMMAND), SY_ECORRUPT); /* below prev */
    assert_int_equal(decode_append(2, 4, 6, RAFT_COMMAND), SY_ECORRUPT); /* future */
    assert_int_equal(decode_append(2, 4, 5, 0), SY_ECORRUPT);
    assert_int_equal(decode_append(2, 4, 5, RAFT_CHANGE + 1), SY_ECORRUPT);
    assert_int_equal(decode_append(2, 4, 5, RAFT_CHANGE), SY_ECORRUPT); /* no conf */
}

static void a_configuration_is_checked_before_libraft_sees_it(void **state)
{
    struct sy_buf c;

    (void)state;
    conf(&c);
    assert_true(cs_wire_conf_valid(c.p, c.len));
    for (size_t n = 0; n < c.len; n++) {
        uint8_t *exact = sy_memdup(c.p, n);

        assert_false(cs_wire_conf_valid(exact, n));
        sy_free(exact);
    }
    c.p[1] = 200; /* So many servers. */
    assert_false(cs_wire_conf_valid(c.p, c.len));
    c.p[1] = 3;
    c.p[9] = 2; /* Twice server 2. */
    assert_false(cs_wire_conf_valid(c.p, c.len));
    c.p[9] = 16;
    assert_false(cs_wire_conf_valid(c.p, c.len));
    c.p[9] = 1;
    c.p[17] = '2'; /* Twice the same address. */
    assert_false(cs_wire_conf_valid(c.p, c.len));
    c.p[17] = '1';
    c.p[19] = 3; /* No such role. */
    assert_false(cs_wire_conf_valid(c.p, c.len));
    c.p[19] = RAFT_VOTER;
    c.p[c.len - 1] ^= 1; /* Padding. */
    assert_false(cs_wire_conf_valid(c.p, c.len));
    c.p[c.len - 1] ^= 1;
    assert_true(cs_wire_conf_valid(c.p, c.len));
    sy_buf_free(&c);
}

static void the_transport_sees_what_it_needs(void **state)
{
    struct cs_snapshot_meta meta;
    uint64_t index = 0, term = 0;
    struct sy_buf c;

    (void)state;
    conf(&c);
    for (unsigned k = 0; k < KINDS; k++) {
        struct sy_buf b = good(k);
        bool snapshot = b.p[1] == RAFT_INSTALL_SNAPSHOT;

        assert_int_equal(cs_frame_is_snapshot(b.p, b.len, &index, &term), snapshot);
        if (snapshot) {
            assert_int_equal(index, 100);
            assert_int_equal(term, 6);
            assert_int_equal(cs_frame_snapshot_meta(b.p, b.len, &meta), 0);
            assert_int_equal(meta.index, 100);
            assert_int_equal(meta.conf_index, 30);
            assert_int_equal(meta.conf.len, c.len);
            assert_memory_equal(meta.conf.p, c.p, c.len);
            sy_buf_free(&meta.conf);
            assert_false(cs_frame_is_snapshot(b.p, b.len - 1, &index, &term));
        } else {
            assert_int_equal(cs_frame_snapshot_meta(b.p, b.len, &meta), SY_ECORRUPT);
        }
        sy_buf_free(&b);
    }
    sy_buf_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(every_truncation_and_every_extension_is_refused),
        cmocka_unit_test(no_single_byte_can_do_harm),
        cmocka_unit_test(terms_and_positions_must_make_sense),
        cmocka_unit_test(entries_must_make_sense),
        cmocka_unit_test(a_configuration_is_checked_before_libraft_sees_it),
        cmocka_unit_test(the_transport_sees_what_it_needs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
