/* What a node passes on to the one that leads, and what comes back. */

#include <string.h>

#include "tests/node/asking.h"

static void follow(void)
{
    fake_lose(0, 2, fake.term + 1);
    fake_pass(100, true);
    fake_forget();
}

/* What the last frame asked, under which number. */
static uint64_t forwarded(unsigned nth)
{
    const struct fake_frame *f = &fake.frames[fake.frames_n - 1];
    struct sy_cur c = {.p = f->bytes.p, .n = f->bytes.len};

    assert_int_equal(fake.frames_n, nth);
    assert_int_equal(f->kind, ND_FRAME_REQUEST);
    assert_int_equal(f->to, 2);
    return sy_cur_u64(&c);
}

static void answer(uint64_t from, uint64_t ref, const char *text)
{
    struct sy_buf b = {0};

    sy_buf_u64(&b, ref);
    sy_mp_str(&b, text);
    fake.cb.frame(fake.n, from, ND_FRAME_REPLY, b.p, b.len);
    sy_buf_free(&b);
}

/* An answer that no client could read. */
static void half(uint64_t from, uint64_t ref)
{
    struct sy_buf b = {0};

    sy_buf_u64(&b, ref);
    sy_buf_put(&b, "\xa5no", 3);
    fake.cb.frame(fake.n, from, ND_FRAME_REPLY, b.p, b.len);
    sy_buf_free(&b);
}

static void a_request_goes_to_the_leader_once(void **state)
{
    uint64_t ref;

    (void)state;
    follow();
    ask_send(9, "c1", "d10", "ON");
    ref = forwarded(1);
    answer(3, ref, "of another"); /* not whom it was sent to */
    answer(2, ref + 1, "of nothing");
    answer(2, 0, "of a free slot");
    for (size_t n = 0; n < 8; n++) {
        fake.cb.frame(fake.n, 2, ND_FRAME_REPLY, (const uint8_t *)"\0\0\0\0\0\0\0", n);
        fake.cb.frame(fake.n, 2, ND_FRAME_REQUEST, (const uint8_t *)"\0\0\0\0\0\0\0", n);
    }
    half(2, ref);
    assert_int_equal(fake.replies_n, 0);
    answer(2, ref, "yes");
    assert_int_equal(fake.replies_n, 1);
    assert_int_equal(fake.replies[0].client, 9);
    assert_memory_equal(fake.replies[0].bytes.p, "\xa3yes", 4);
    answer(2, ref, "again");
    answer(2, 0, "of a slot that was his");
    fake_pass(6000, true);
    assert_int_equal(fake.replies_n, 1);
    assert_int_equal(fake.frames_n, 1);
}

/* What was answered here is known here: this node is behind its leader. */
static void an_answer_waits_for_what_it_says(void **state)
{
    struct sy_buf entry = {0};
    struct sy_buf b = {0};

    (void)state;
    follow();
    for (unsigned i = 1; i <= 2; i++) {
        ask_send(9, "c1", "d10", "ON");
        b.len = 0;
        sy_buf_u64(&b, forwarded(i));
        sy_mp_map(&b, 1);
        sy_mp_kuint(&b, "index", rp_store_index(fake.n->store) + 1);
        fake.cb.frame(fake.n, 2, ND_FRAME_REPLY, b.p, b.len);
        fake.cb.frame(fake.n, 2, ND_FRAME_REPLY, b.p, b.len);
        fake_pass(500, true);
        assert_int_equal(fake.replies_n, i - 1);
        if (i == 1) {
            rp_batch_tick(&fake.batch);
            rp_batch_seal(&fake.batch, fake.wall_ms, 2, &entry);
            assert_int_equal(rp_store_apply(fake.store, rp_store_index(fake.store) + 1,
                                            entry.p, entry.len, NULL, NULL),
                             0);
            fake_pass(100, true);
        } else {
            fake_pass(600, true); /* It may be cut off by now: not for ever. */
        }
        assert_int_equal(fake.replies_n, i);
    }
    ask_send(9, "c1", "d10", "ON");
    b.len = 0;
    sy_buf_u64(&b, forwarded(3));
    sy_mp_map(&b, 1);
    sy_mp_kuint(&b, "index", rp_store_index(fake.n->store) + 1);
    fake.cb.frame(fake.n, 2, ND_FRAME_REPLY, b.p, b.len); /* The node closes. */
    sy_buf_free(&entry);
    sy_buf_free(&b);
}

static void without_a_leader_nobody_is_asked(void **state)
{
    (void)state;
    follow();
    fake.linked[2] = false;
    ask_send(1, "c1", "d10", "ON");
    fake_refused(1, "no_watch", "no node is on watch as far as node 1 can see");
    fake.leader = 0;
    fake.linked[2] = true;
    ask_send(1, "c1", "d10", "ON");
    fake_refused(2, "no_watch", "ask again in a moment");
    fake.leader = 2;
    fake.send_fails = true;
    for (unsigned i = 0; i < 2 * ND_FORWARDS_MAX; i++) { /* keeps no slot */
        ask_send(1, "c1", "d10", "ON");
        fake_refused(3 + i, "busy", "the connection to the leader is full");
    }
}

static void a_leader_lost_or_silent_is_told(void **state)
{
    (void)state;
    follow();
    ask_send(1, "c1", "d10", "ON");
    fake.linked[2] = false;
    fake_pass(100, true);
    fake_refused(1, "unknown_outcome",
                 "the leader (node 2) was lost while it had the request");
    fake.linked[2] = true;
    ask_send(1, "c1", "d10", "ON");
    fake_pass(4900, true);
    assert_int_equal(fake.replies_n, 1);
    fake_pass(200, true);
    fake_refused(2, "timeout", "the leader (node 2) did not answer within 5");
    answer(2, forwarded(2), "late");
    assert_int_equal(fake.replies_n, 2);
}

static void a_handover_is_waited_for_as_long_as_it_may_take(void **state)
{
    (void)state;
    follow();
    fake_ask_uint(1, "handover", "timeout_ms", 20000);
    fake_pass(20400, true);
    assert_int_equal(fake.replies_n, 0);
    fake_pass(200, true);
    fake_refused(1, "timeout", "did not answer");
    fake_ask_uint(1, "handover", "timeout_ms", UINT64_MAX);
    fake_pass(60300, true);
    assert_int_equal(fake.replies_n, 1);
    fake_pass(400, true);
    fake_refused(2, "timeout", "did not answer");
}

static void too_many_forwards_are_busy(void **state)
{
    (void)state;
    follow();
    for (unsigned i = 0; i < ND_FORWARDS_MAX; i++) {
        ask_send((uint8_t)i, NULL, "d10", "ON");
    }
    assert_int_equal(fake.replies_n, 0);
    ask_send(1, NULL, "d10", "ON");
    fake_refused(1, "busy", "256 requests wait for the leader already");
    answer(2, forwarded(ND_FORWARDS_MAX), "yes");
    ask_send(1, NULL, "d10", "ON");
    assert_int_equal(fake.replies_n, 2);
    fake.linked[2] = false;
    fake_pass(100, true);
    assert_int_equal(fake.replies_n, 2 + ND_FORWARDS_MAX);
}

/* A peer's request: answered to the peer, and never passed on again. */
static void a_forwarded_request_is_answered_to_the_peer(void **state)
{
    struct sy_buf b = {0};
    struct sy_buf request = {0};

    (void)state;
    sy_buf_u64(&b, 77);
    sy_buf_u8(&b, ND_ROLE_OPERATOR);
    sy_buf_put(&b, "cook\0pid 1 on bob\0", sizeof "cook\0pid 1 on bob\0");
    fake.cb.frame(fake.n, 3, ND_FRAME_CALLER, b.p, b.len);
    b.len = 0;
    sy_buf_u64(&b, 77);
    put_request(&request, "send");
    sy_buf_put(&b, request.p, request.len);
    fake.cb.frame(fake.n, 3, ND_FRAME_REQUEST, b.p, b.len);
    fake_settle();
    assert_int_equal(fake.replies_n, 0);
    assert_int_equal(fake.frames_n, 1);
    assert_int_equal(fake.frames[0].to, 3);
    assert_int_equal(fake.frames[0].kind, ND_FRAME_REPLY);
    assert_memory_equal(fake.frames[0].bytes.p, b.p, 8);
    for (size_t n = 8; n < b.len; n++) { /* truncated: refused to the peer */
        fake.cb.frame(fake.n, 3, ND_FRAME_REQUEST, b.p, n);
        assert_int_equal(fake.frames_n, 2 + n - 8);
    }
    follow();
    fake.cb.frame(fake.n, 3, ND_FRAME_REQUEST, b.p, b.len);
    assert_int_equal(fake.frames_n, 1);
    assert_int_equal(fake.frames[0].kind, ND_FRAME_REPLY);
    assert_int_equal(fake.frames[0].to, 3);
    sy_buf_free(&b);
    sy_buf_free(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SITE(a_request_goes_to_the_leader_once),
        IN_SITE(an_answer_waits_for_what_it_says),
        IN_SITE(without_a_leader_nobody_is_asked),
        IN_SITE(a_leader_lost_or_silent_is_told),
        IN_SITE(a_handover_is_waited_for_as_long_as_it_may_take),
        IN_SITE(too_many_forwards_are_busy),
        IN_SITE(a_forwarded_request_is_answered_to_the_peer),
    };

    return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
