/* Requests of operators, the well-meant and the hostile: each gets one answer. Node 1
 * (ada) leads unless a test says otherwise. */

#include <stdio.h>
#include <string.h>

#include "tests/node/asking.h"

/* --- asking --- */

static void ask_await(uint8_t client, const char *id, uint64_t timeout_ms)
{
    fake_args_begin(2);
    sy_mp_kstr(&fake_args, "id", id);
    sy_mp_kuint(&fake_args, "timeout_ms", timeout_ms);
    fake_ask(client, "await", &fake_args);
}

/* --- answers --- */

/* The @nth answer ever holds a command; its field @key is returned. */
static const char *told(unsigned nth, const char *key)
{
    static char text[RP_TEXT_SIZE];
    struct sy_cur c;

    assert_int_equal(fake.replies_n, nth);
    c = fake_result();
    assert_true(nd_map_find(&c, "command"));
    nd_map_str(c, key, text, sizeof text);
    return text;
}

/* --- hostile requests --- */

static const char *const ops[] = {"ping",     "status",  "devices",  "send",
                                  "await",    "command", "commands", "cancel",
                                  "handover", "hash",    "why",      "metrics"};
static const char *const keys[] = {"device", "area",  "property", "value", "id",
                                   "source", "name",  "to",       "node",  "timeout_ms",
                                   "limit",  "after", "index",    "open"};

enum { OPS_NR = sizeof ops / sizeof ops[0], KEYS_NR = sizeof keys / sizeof keys[0] };

static void ask_exactly(const uint8_t *p, size_t n)
{
    uint8_t *copy = test_malloc(n + 1);

    memcpy(copy + 1, p, n); /* Reading past its end is seen. */
    fake_ask_bytes(1, copy + 1, n);
    test_free(copy);
}

/* All that waits is answered: once for each of @asked. */
static void all_answered(unsigned asked)
{
    fake_settle();
    fake_pass(61000, true);
    assert_int_equal(fake.replies_n, asked);
    fake_sound(2, "standby");
    fake_sound(3, "standby");
    fake_forget();
}

static void truncated_requests_are_refused(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    for (unsigned i = 0; i < OPS_NR; i++) {
        put_request(&b, ops[i]);
        for (size_t n = 0; n < b.len; n++) {
            ask_exactly(b.p, n);
            fake_refused(1, "invalid", "not MessagePack of the form {v, id, op, args}");
            fake_forget();
        }
        sy_buf_u8(&b, 0);
        ask_exactly(b.p, b.len);
        fake_refused(1, "invalid", "not MessagePack");
        fake_forget();
    }
    assert_int_equal(rp_store_commands(fake.store), 0);
    sy_buf_free(&b);
}

static void requests_with_wrong_bytes_are_answered(void **state)
{
    struct sy_buf b = {0};
    uint64_t seed = 3;
    unsigned asked = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        put_request(&b, ops[fake_random(&seed) % OPS_NR]);
        for (uint64_t k = fake_random(&seed) % 3; k < 3; k++) {
            b.p[fake_random(&seed) % b.len] = (uint8_t)fake_random(&seed);
        }
        ask_exactly(b.p, b.len);
        if (++asked == 200) {
            all_answered(asked);
            asked = 0;
        }
    }
    sy_buf_free(&b);
}

static void unknown_versions_and_operations_are_named(void **state)
{
    struct sy_buf b = {0};
    char big[4000];

    (void)state;
    fake_ask(1, "explode", NULL);
    fake_refused(1, "invalid", "no operation is called 'explode'");
    fake_ask(1, "", NULL);
    fake_refused(2, "invalid", "no operation is called ''");
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    fake_ask(1, big, NULL);
    fake_refused(3, "invalid", "not MessagePack of the form");
    for (unsigned v = 0; v < 3; v += 2) {
        b.len = 0;
        sy_mp_map(&b, 2);
        sy_mp_kuint(&b, "v", v);
        sy_mp_kstr(&b, "op", "ping");
        fake_ask_bytes(1, b.p, b.len);
        fake_refused(4 + v / 2, "invalid", "this node speaks 1");
    }
    b.len = 0;
    sy_mp_int(&b, -5);
    fake_ask(1, "ping", &b);
    fake_refused(6, "invalid", "'args' must be a map");
    sy_buf_free(&b);
}

/* Values that are of no type that any argument has, and texts that are none. */
static void put_wrong(struct sy_buf *b, unsigned i)
{
    static const char *const raw[] = {"\xff", /* -1 */
                                      "\xd3\x80\x01\x01\x01\x01\x01\x01\x01",
                                      "\xca\x3f\x80\x01\x01", /* a float */
                                      "\xa2\xc3\x28",         /* not UTF-8 */
                                      "\xa1\xff",
                                      "\xc4\x01x",
                                      "\x91\x05",
                                      "\x81\x05\x05",
                                      "\xd4\x01\x01"};
    enum { RAW_NR = sizeof raw / sizeof raw[0] };
    char big[300];

    if (i < RAW_NR) {
        sy_buf_str(b, raw[i]);
    } else if (i == RAW_NR) {
        sy_mp_strn(b, "a\0b", 3);
    } else {
        memset(big, 'y', sizeof big);
        sy_mp_strn(b, big, sizeof big);
    }
}

static void wrong_types_are_refused(void **state)
{
    char text[64];

    (void)state;
    for (unsigned op = 0; op < OPS_NR; op++) {
        for (unsigned key = 0; key < KEYS_NR; key++) {
            for (unsigned i = 0; i < 11; i++) {
                fake_args_begin(1);
                sy_mp_str(&fake_args, keys[key]);
                put_wrong(&fake_args, i);
                fake_ask(1, ops[op], &fake_args);
                snprintf(text, sizeof text, "'%s' must be ", keys[key]);
                fake_refused(1, "invalid", text);
                fake_forget();
            }
        }
    }
}

static void every_number_is_answered(void **state)
{
    static const uint64_t numbers[] = {0,         1,          99,
                                       INT32_MAX, UINT32_MAX, UINT64_C(1) << 32,
                                       INT64_MAX, UINT64_MAX, UINT64_C(1) << 63,
                                       86400000,  86400001};
    unsigned asked = 0;

    (void)state;
    for (unsigned op = 0; op < OPS_NR; op++) {
        for (unsigned key = 0; key < KEYS_NR; key++) {
            for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
                fake_args_begin(4);
                sy_mp_kstr(&fake_args, "device", "d10");
                sy_mp_kstr(&fake_args, "property", "state");
                sy_mp_kstr(&fake_args, "value", "ON");
                sy_mp_kuint(&fake_args, keys[key], numbers[i]);
                fake_ask(1, ops[op], &fake_args);
                asked++;
            }
        }
        all_answered(asked);
        asked = 0;
    }
}

static void a_page_beyond_the_end_is_empty(void **state)
{
    static const uint64_t after[] = {2, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct sy_cur c;

        fake_ask_uint(1, "devices", "after", after[i]);
        c = fake_result();
        assert_int_equal(nd_map_uint(c, "next", 1), 0);
        assert_true(nd_map_find(&c, "devices"));
        assert_int_equal(sy_mp_get_array(&c), 0);
    }
    fake_args_begin(2);
    sy_mp_kuint(&fake_args, "limit", 1);
    sy_mp_kuint(&fake_args, "after", 0);
    fake_ask(1, "devices", &fake_args);
    assert_int_equal(nd_map_uint(fake_result(), "next", 0), 1);
}

/* --- send and cancel --- */

static void send_twice_with_an_id_is_one_command(void **state)
{
    uint32_t n;

    (void)state;
    ask_send(1, "c1", "d10", "ON");
    ask_send(2, "c1", "d10", "ON"); /* before the first is applied */
    assert_int_equal(fake.replies_n, 0);
    fake_settle();
    assert_string_equal(told(2, "id"), "c1");
    assert_int_equal(fake.replies[0].client + fake.replies[1].client, 3);
    n = rp_store_commands(fake.store);
    assert_int_equal(n, 1);
    assert_int_equal(fake.published_n, 1);
    ask_send(3, "c1", "d10", "OFF"); /* and after: as it is now, at once */
    assert_string_equal(told(3, "status"), "sent");
    assert_string_equal(told(3, "value"), "ON");
    assert_int_equal(fake.batch.n, 0);
    ask_send(4, NULL, "d10", "OFF"); /* without: each time another */
    fake_settle();
    assert_int_equal(strlen(told(4, "id")), 32);
    assert_string_equal(told(4, "source"), "control");
    assert_int_equal(rp_store_commands(fake.store), 2);
    assert_int_equal(fake_known("c1")->status, RP_SUPERSEDED);
}

/* One byte too long must not be taken for an id that was left out. */
static void an_id_of_63_bytes_is_the_longest(void **state)
{
    char id[RP_ID_SIZE + 1];

    (void)state;
    memset(id, 'i', RP_ID_SIZE);
    id[RP_ID_SIZE] = '\0';
    ask_send(1, id, "d10", "ON");
    fake_refused(1, "invalid", "'id' must be UTF-8 text of at most 63 bytes");
    id[RP_ID_SIZE - 1] = '\0';
    ask_send(1, id, "d10", "ON");
    fake_settle();
    assert_string_equal(told(2, "id"), id);
}

static void ask_timeout(uint64_t timeout_ms)
{
    fake_args_begin(4);
    sy_mp_kstr(&fake_args, "device", "d10");
    sy_mp_kstr(&fake_args, "property", "state");
    sy_mp_kstr(&fake_args, "value", "ON");
    sy_mp_kuint(&fake_args, "timeout_ms", timeout_ms);
    fake_ask(1, "send", &fake_args);
}

static void send_says_what_is_wrong(void **state)
{
    (void)state;
    fake_ask(1, "send", NULL);
    fake_refused(1, "not_found", "no device is called ''");
    ask_send(1, NULL, "d99", "ON");
    fake_refused(2, "not_found", "no device is called 'd99'");
    ask_send(1, NULL, "0xzz", "ON");
    fake_refused(3, "not_found", "no device is called '0xzz'");
    ask_send(1, NULL, "d10", "TOGGLE");
    fake_refused(4, "invalid", "TOGGLE is not safe");
    ask_send(1, NULL, "d10", "");
    fake_refused(5, "invalid", "neither ON nor OFF");
    ask_timeout(999);
    fake_refused(6, "invalid", "timeout_ms must be 1000 to 86400000, not 999");
    ask_timeout(86400001);
    fake_refused(7, "invalid", "timeout_ms must be");
    fake_args_begin(2);
    sy_mp_kstr(&fake_args, "device", "d10");
    sy_mp_kstr(&fake_args, "area", "west");
    fake_ask(1, "send", &fake_args);
    fake_refused(8, "not_found", "no area is called 'west'");
    rp_batch_device(&fake.batch, 2, 0xc, "d10", "plug");
    fake_settle();
    ask_send(1, NULL, "d10", "ON");
    fake_refused(9, "invalid", "2 devices are called 'd10'");
    fake.full = true;
    ask_send(1, NULL, "0xc", "ON");
    fake_refused(10, "busy", "too much is waiting");
    fake.full = false;
    fake.n->config.commands.open_max = 0;
    ask_send(1, NULL, "0xc", "ON");
    fake_refused(11, "limit", "0 commands are open already");
    rp_batch_gone(&fake.batch, 0xc);
    fake_settle();
    ask_send(1, NULL, "0xc", "ON");
    fake_refused(12, "not_found", "'d10' is not there any more");
    assert_int_equal(fake.batch.n, 0);
    assert_int_equal(rp_store_commands(fake.store), 0);
}

static void each_way_a_proposal_ends_is_answered_once(void **state)
{
    (void)state;
    ask_send(1, "c1", "d10", "ON");
    fake_settle();
    assert_string_equal(told(1, "status"), "accepted");
    /* Removed by what is in front of it in the log. */
    rp_batch_gone(&fake.batch, B);
    ask_send(2, "c2", "d11", "ON");
    fake_settle();
    fake_refused(2, "limit", "the ledger is full of open commands or the device is gone");
    /* Never proposed. */
    ask_send(3, "c3", "d10", "ON");
    fake.leading = 0;
    fake_turn();
    fake_refused(3, "not_leader", "before the command was accepted: ask again");
    assert_null(rp_store_command(fake.store, "c3"));
    fake_lead();
    /* On the way, and lost. */
    ask_send(4, "c4", "d10", "ON");
    fake_turn();
    fake_lose(0, 2, fake.term + 1);
    fake_refused(4, "unknown_outcome", "ask again with the same id");
    assert_null(rp_store_command(fake.store, "c4"));
    fake_lead();
    /* On the way, and in the next leader's log. */
    ask_send(5, "c5", "d10", "ON");
    fake_turn();
    fake_lose(10, 2, fake.term + 1);
    fake_refused(5, "unknown_outcome", "ask again with the same id");
    fake_lead();
    ask_send(5, "c5", "d10", "ON");
    assert_string_equal(told(6, "id"), "c5");
    /* Closing: nobody is there to be answered. */
    ask_send(7, "c7", "d10", "ON");
    fake_pass(61000, false);
    assert_int_equal(fake.replies_n, 6);
}

static void cancel_ends_what_is_open(void **state)
{
    (void)state;
    fake_ask_text(1, "cancel", "id", "c1");
    fake_refused(1, "not_found", "no command has the id 'c1'");
    fake_avail(A, RP_OFFLINE);
    ask_send(1, "c1", "d10", "ON");
    fake_settle();
    fake.full = true;
    fake_ask_text(1, "cancel", "id", "c1");
    fake_refused(3, "busy", "too much is waiting");
    fake.full = false;
    fake_ask_text(1, "cancel", "id", "c1");
    assert_int_equal(fake.replies_n, 3);
    fake_settle();
    assert_string_equal(told(4, "status"), "cancelled");
    fake_ask_text(1, "cancel", "id", "c1");
    assert_string_equal(told(5, "status"), "cancelled");
    fake_ask_text(1, "command", "id", "c1");
    assert_string_equal(told(6, "reason"), "cancelled by an operator");
    fake_ask(1, "command", NULL);
    fake_refused(7, "not_found", "no command has the id ''");
}

/* --- await --- */

static void await_answers_when_it_has_ended(void **state)
{
    (void)state;
    fake_avail(A, RP_OFFLINE);
    fake_command("c1", A, "ON", MINUTE);
    fake_settle();
    ask_await(1, "c1", 60000);
    fake_pass(1000, true);
    assert_int_equal(fake.replies_n, 0);
    rp_batch_end(&fake.batch, 1, RP_CANCELLED, "by a test");
    fake_settle();
    assert_string_equal(told(1, "status"), "cancelled");
    ask_await(2, "c1", 60000); /* at once */
    assert_string_equal(told(2, "status"), "cancelled");
    assert_int_equal(fake.replies[1].client, 2);
    fake_pass(61000, true);
    assert_int_equal(fake.replies_n, 2);
}

static void await_ends_at_its_timeout(void **state)
{
    (void)state;
    fake_avail(A, RP_OFFLINE);
    fake_command("c1", A, "ON", 10 * MINUTE);
    fake_settle();
    ask_await(1, "c1", 0);
    assert_string_equal(told(1, "status"), "accepted");
    ask_await(1, "c1", 3000);
    fake_pass(2900, true);
    assert_int_equal(fake.replies_n, 1);
    fake_pass(200, true);
    assert_string_equal(told(2, "status"), "accepted");
    ask_await(1, "nobody", 1000); /* it may yet come */
    fake_pass(900, true);
    assert_int_equal(fake.replies_n, 2);
    fake_pass(200, true);
    fake_refused(3, "not_found", "this node has not heard of a command 'nobody'");
    ask_await(1, "c1", UINT64_MAX); /* a minute at most */
    fake_pass(59000, true);
    assert_int_equal(fake.replies_n, 3);
    fake_pass(1200, true);
    assert_int_equal(fake.replies_n, 4);
    fake_ask(1, "await", NULL);
    fake_refused(5, "invalid", "'id' is missing");
}

static void await_of_too_many_is_busy(void **state)
{
    (void)state;
    fake_avail(A, RP_OFFLINE);
    fake_command("c1", A, "ON", 10 * MINUTE);
    fake_settle();
    for (unsigned i = 0; i < ND_AWAITS_MAX; i++) {
        ask_await((uint8_t)i, "c1", 60000);
    }
    assert_int_equal(fake.replies_n, 0);
    ask_await(1, "c1", 60000);
    fake_refused(1, "busy", "256 requests wait for commands already");
    rp_batch_end(&fake.batch, 1, RP_CANCELLED, "by a test");
    fake_settle();
    assert_int_equal(fake.replies_n, 1 + ND_AWAITS_MAX);
    ask_await(1, "c1", 60000);
    assert_int_equal(fake.replies_n, 2 + ND_AWAITS_MAX);
}

/* --- handover --- */

static void a_handover_names_what_stands_against_it(void **state)
{
    (void)state;
    fake_ask_text(1, "handover", "to", "zoe");
    fake_refused(1, "not_found", "no node is called 'zoe'");
    fake_ask_uint(1, "handover", "to", 9);
    fake_refused(2, "not_found", "no node is called '9'");
    fake_ask_text(1, "handover", "to", "ada");
    fake_refused(3, "invalid", "ada has the watch already");
    fake_ask_uint(1, "handover", "to", 1);
    fake_refused(4, "invalid", "ada has the watch already");
    fake.linked[2] = false;
    fake_ask_text(1, "handover", "to", "bea");
    fake_refused(5, "invalid", "bea is not connected: start it");
    fake.linked[2] = true;
    fake_pass(2100, true);
    fake_ask_text(1, "handover", "to", "bea");
    fake_refused(6, "invalid",
                 "bea could not take the watch: it has not answered lately");
    fake_sound(2, "standby");
    assert_int_equal(fake.transfers, 0);
    fake.transfer_rv = SY_EBUSY;
    fake_ask_text(1, "handover", "to", "2");
    fake_refused(7, "busy", "no handover now: busy, try again");
    fake.transfer_rv = SY_ENOTLEADER;
    fake_ask_uint(1, "handover", "to", 2);
    fake_refused(8, "not_leader", "no handover now");
    assert_int_equal(fake.transfer_to, 2);
}

static void a_handover_is_done_or_times_out(void **state)
{
    struct rp_batch b = {0};
    struct sy_cur c;

    (void)state;
    fake_ask(1, "handover", NULL);
    assert_int_equal(fake.transfer_to, 0); /* whoever is level */
    fake_ask(2, "handover", NULL);
    fake_refused(1, "busy", "a handover is under way");
    fake_pass(4900, true);
    assert_int_equal(fake.replies_n, 1);
    fake_pass(200, true);
    fake_refused(2, "timeout", "the watch did not change hands within 5000 ms");
    fake_sound(3, "standby");
    fake_ask_text(3, "handover", "to", "cleo");
    assert_int_equal(fake.transfer_to, 3);
    fake_pass(300, true);
    fake_lose(0, 3, fake.term + 1);
    assert_int_equal(fake.replies_n, 2);
    rp_batch_watch(&b, fake.term, 3);
    fake_foreign(&b);
    assert_int_equal(fake.replies_n, 3);
    c = fake_result();
    assert_int_equal(nd_map_uint(c, "from", 0), 1);
    assert_int_equal(nd_map_uint(c, "to", 0), 3);
    assert_int_equal(nd_map_uint(c, "took_ms", 0), 300);
    assert_int_equal(fake.replies[2].client, 3);
}

/* The watch of who was before us is not the one that we handed over to. */
static void an_earlier_watch_is_no_handover(void **state)
{
    struct rp_batch b = {0};

    (void)state;
    fake_lose(0, 3, fake.term + 1);
    rp_batch_watch(&b, fake.term, 3);
    fake_foreign(&b);
    fake.leading = ++fake.term;
    fake.role = CS_LEADER;
    fake.leader = 1;
    fake_turn(); /* Our first entry is not committed yet. */
    fake_ask_uint(1, "handover", "timeout_ms", UINT64_MAX);
    fake_pass(1000, false);
    assert_int_equal(fake.replies_n, 0);
    fake_pass(58900, false);
    assert_int_equal(fake.replies_n, 0);
    fake_pass(200, false); /* a minute at most */
    fake_refused(1, "timeout", "within 60000 ms");
}

/* Who was told that it differs would lead and not take the watch. */
static void a_handover_passes_by_who_differs(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    sy_mp_map(&b, 1);
    sy_mp_kbool(&b, "diverged", true);
    fake_gossip(2, &b, NULL);
    fake_ask(1, "handover", NULL);
    assert_int_equal(fake.transfer_to, 3);
    sy_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SITE(truncated_requests_are_refused),
        IN_SITE(requests_with_wrong_bytes_are_answered),
        IN_SITE(unknown_versions_and_operations_are_named),
        IN_SITE(wrong_types_are_refused),
        IN_SITE(every_number_is_answered),
        IN_SITE(a_page_beyond_the_end_is_empty),
        IN_SITE(send_twice_with_an_id_is_one_command),
        IN_SITE(an_id_of_63_bytes_is_the_longest),
        IN_SITE(send_says_what_is_wrong),
        IN_SITE(each_way_a_proposal_ends_is_answered_once),
        IN_SITE(cancel_ends_what_is_open),
        IN_SITE(await_answers_when_it_has_ended),
        IN_SITE(await_ends_at_its_timeout),
        IN_SITE(await_of_too_many_is_busy),
        IN_SITE(a_handover_names_what_stands_against_it),
        IN_SITE(a_handover_is_done_or_times_out),
        IN_SITE(an_earlier_watch_is_no_handover),
        IN_SITE(a_handover_passes_by_who_differs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
