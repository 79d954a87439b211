/* Who may do what, by its key. Node 1 (ada) leads. */

#include <stdio.h>
#include <string.h>

#include "tests/node/asking.h"

static const char *const ann = "0123456789012345678901234567890123456789";
static const char *const bob = "abcdefghijabcdefghijabcdefghijabcdefghi#";

static void be(enum nd_role role, const char *name)
{
    fake.caller = (struct nd_caller){.role = role};
    fake.with_key = true;
    snprintf(fake.caller.name, sizeof fake.caller.name, "%s", name);
}

static void ask_keys(const char *action, const char *name, const char *role,
                     const char *key)
{
    fake_args_begin(4);
    sy_mp_kstr(&fake_args, "action", action);
    sy_mp_kstr(&fake_args, "name", name);
    sy_mp_kstr(&fake_args, "role", role);
    sy_mp_kstr(&fake_args, "key", key);
    fake_ask(1, "keys_change", &fake_args);
    fake_settle();
}

static struct nd_caller caller_of(const char *key)
{
    struct ad_zmq_who who = {.sealed = true, .address = "192.0.2.7"};
    struct nd_caller c;

    snprintf(who.key, sizeof who.key, "%s", key);
    nd_keys_caller(fake.n, &who, &c);
    return c;
}

static void each_role_may_what_the_one_before_may(void **state)
{
    unsigned n = 0;

    (void)state;
    be(ND_ROLE_VIEWER, "tenant");
    fake_ask(1, "status", NULL);
    assert_int_equal(fake.replies_n, ++n);
    ask_send(1, "c1", "d10", "ON");
    fake_refused(++n, "forbidden", "needs the role operator, and tenant is viewer");
    fake_ask_text(1, "maintenance", "to", "on");
    fake_refused(++n, "forbidden", "operator");
    fake_ask(1, "maintenance", NULL); /* to look is no change */
    assert_int_equal(fake.replies_n, ++n);
    be(ND_ROLE_OPERATOR, "cook");
    ask_send(1, "c2", "d10", "ON");
    fake_settle();
    assert_non_null(rp_store_command(fake.store, "c2"));
    assert_null(rp_store_command(fake.store, "c1"));
    n = fake.replies_n;
    ask_keys("add", "cook", "admin", ann);
    fake_refused(++n, "forbidden", "needs the role admin");
    assert_null(rp_store_fact(fake.store, "key.cook"));
}

static void a_key_is_added_and_revoked(void **state)
{
    struct nd_caller c;

    (void)state;
    be(ND_ROLE_ADMIN, "root");
    assert_false(nd_keys_admit(fake.n, ann, "192.0.2.7"));
    ask_keys("add", "ann", "operator", ann);
    assert_true(nd_keys_admit(fake.n, ann, "192.0.2.7"));
    assert_false(nd_keys_admit(fake.n, bob, "192.0.2.7"));
    c = caller_of(ann);
    assert_int_equal(c.role, ND_ROLE_OPERATOR);
    assert_string_equal(c.name, "ann");
    assert_string_equal(c.from, "192.0.2.7 at ada");
    ask_keys("add", "ann", "viewer", ann); /* another role */
    assert_int_equal(caller_of(ann).role, ND_ROLE_VIEWER);
    ask_keys("add", "ann", "viewer", bob); /* another key: the old one is gone */
    assert_int_equal(caller_of(ann).role, ND_ROLE_NONE);
    assert_int_equal(caller_of(bob).role, ND_ROLE_VIEWER);
    ask_keys("revoke", "ann", "", "");
    assert_false(nd_keys_admit(fake.n, bob, "192.0.2.7"));
    fake.caller = caller_of(bob);
    snprintf(fake.caller.name, sizeof fake.caller.name, "?");
    fake_forget();
    fake_ask(1, "status", NULL);
    fake_refused(1, "forbidden", "this key was revoked");
}

static void what_makes_no_sense_is_refused(void **state)
{
    unsigned n;

    (void)state;
    be(ND_ROLE_ADMIN, "root");
    ask_keys("add", "ann", "viewer", ann);
    n = fake.replies_n;
    ask_keys("add", "bob", "viewer", ann);
    fake_refused(++n, "exists", "is ann's already");
    ask_keys("add", "Bob", "viewer", bob);
    fake_refused(++n, "invalid", "is no name for a key");
    ask_keys("add", "bob", "king", bob);
    fake_refused(++n, "invalid", "'king' is no role");
    ask_keys("add", "bob", "viewer", "short");
    fake_refused(++n, "invalid", "no public key");
    ask_keys("add", "bob", "viewer", "~123456789012345678901234567890123456789");
    fake_refused(++n, "invalid", "no public key");
    ask_keys("revoke", "bob", "", "");
    fake_refused(++n, "not_found", "no key is called 'bob'");
    ask_keys("sell", "ann", "", "");
    fake_refused(++n, "invalid", "not 'sell'");
}

static uv_work_t *queued;
static uv_after_work_cb queued_done;

int uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb work_cb,
                  uv_after_work_cb after_work_cb)
{
    (void)loop, (void)work_cb;
    assert_null(queued);
    queued = req;
    queued_done = after_work_cb;
    return 0;
}

/* The threads that look are those that write the log. */
static void one_look_at_the_bridges_at_a_time(void **state)
{
    (void)state;
    be(ND_ROLE_VIEWER, "tenant");
    fake_ask(1, "bridges", NULL);
    fake_ask(2, "bridges", NULL);
    fake_refused(1, "busy", "looking already");
    for (unsigned i = 0; i < 2; i++) {
        uv_work_t *req = queued;

        queued = NULL;
        queued_done(req, 0);
        assert_int_equal(fake.replies_n, 2 + i);
        if (i == 0) {
            fake_ask(2, "bridges", NULL);
        }
    }
}

static void a_key_has_its_share_of_what_waits(void **state)
{
    unsigned n;

    (void)state;
    be(ND_ROLE_VIEWER, "tenant");
    fake_forget();
    for (unsigned i = 0; i <= ND_AWAITS_KEY_MAX; i++) {
        assert_int_equal(fake.replies_n, 0);
        fake_ask_text((uint8_t)i, "await", "id", "c1");
    }
    fake_refused(1, "busy", "32 requests of tenant wait");
    be(ND_ROLE_VIEWER, "cook");
    fake_ask_text(99, "await", "id", "c1");
    n = fake.replies_n;
    fake.with_key = false;
    for (unsigned i = 0; i < 2 * ND_AWAITS_KEY_MAX; i++) {
        fake_ask_text((uint8_t)i, "await", "id", "c1");
    }
    assert_int_equal(fake.replies_n, n);
    assert_int_equal(n, 1);
}

static void there_is_a_limit_of_keys(void **state)
{
    char name[16], key[64];

    (void)state;
    be(ND_ROLE_ADMIN, "root");
    fake.with_key = false;
    for (unsigned i = 0; i <= ND_KEYS_MAX; i++) {
        snprintf(name, sizeof name, "k%u", i);
        snprintf(key, sizeof key, "%040u", i);
        fake_forget();
        ask_keys("add", name, "viewer", key);
    }
    fake_refused(1, "limit", "revoke one first");
    ask_keys("add", "k0", "operator", "0000000000000000000000000000000000000000");
    assert_int_equal(caller_of("0000000000000000000000000000000000000000").role,
                     ND_ROLE_OPERATOR); /* it is there already: no new one */
}

static void who_asks_too_often_waits_and_others_do_not(void **state)
{
    unsigned looks = 0;

    (void)state;
    be(ND_ROLE_VIEWER, "dashboard");
    do {
        fake_forget();
        fake_ask(1, "ping", NULL);
        assert_true(++looks < 1000);
    } while (nd_map_find(
        &(struct sy_cur){.p = fake.replies[0].bytes.p, .n = fake.replies[0].bytes.len},
        "result"));
    assert_in_range(looks, 200, 202);
    fake_refused(1, "too_many", "at most 50 a second");
    be(ND_ROLE_VIEWER, "tenant");
    fake_forget();
    fake_ask(1, "ping", NULL);
    (void)fake_result();
    be(ND_ROLE_VIEWER, "dashboard");
    fake_pass(1000, true);
    fake_forget();
    fake_ask(1, "ping", NULL);
    (void)fake_result();
    fake.with_key = false; /* who sits at the machine */
    for (unsigned i = 0; i < 1000; i++) {
        fake_forget();
        fake_ask(1, "ping", NULL);
        (void)fake_result();
    }
}

/* --- by way of another node --- */

static void put_caller(struct sy_buf *b, uint64_t ref, enum nd_role role, bool by_key)
{
    sy_buf_u64(b, ref);
    sy_buf_u8(b, (uint8_t)role);
    sy_buf_put(b, "tenant", sizeof "tenant");
    sy_buf_put(b, "192.0.2.7 at bob", sizeof "192.0.2.7 at bob");
    sy_buf_u8(b, by_key);
}

static void ask_through(uint64_t peer, uint64_t ref, const char *id)
{
    struct sy_buf b = {0};

    sy_buf_u64(&b, ref);
    sy_mp_map(&b, 4);
    sy_mp_kuint(&b, "v", 1);
    sy_mp_kuint(&b, "id", 1);
    sy_mp_kstr(&b, "op", "send");
    sy_mp_str(&b, "args");
    sy_mp_map(&b, 4);
    sy_mp_kstr(&b, "device", "d10");
    sy_mp_kstr(&b, "property", "state");
    sy_mp_kstr(&b, "value", "ON");
    sy_mp_kstr(&b, "id", id);
    fake.cb.frame(fake.n, peer, ND_FRAME_REQUEST, b.p, b.len);
    fake_settle();
    sy_buf_free(&b);
}

static void say_caller(uint64_t peer, uint64_t ref, enum nd_role role, bool by_key)
{
    struct sy_buf b = {0};

    put_caller(&b, ref, role, by_key);
    fake.cb.frame(fake.n, peer, ND_FRAME_CALLER, b.p, b.len);
    sy_buf_free(&b);
}

static void a_role_goes_with_a_forwarded_request(void **state)
{
    struct sy_buf b = {0};

    (void)state;
    put_caller(&b, 77, ND_ROLE_ADMIN, false);
    for (size_t n = 0; n < b.len; n++) { /* truncated: as if nothing was said */
        fake.cb.frame(fake.n, 3, ND_FRAME_CALLER, b.p, n);
        assert_int_equal(fake.n->heard[3].ref, 0);
        ask_through(3, 77, "of-nobody");
        assert_null(rp_store_command(fake.store, "of-nobody"));
    }
    say_caller(3, 77, ND_ROLE_VIEWER, false);
    ask_through(3, 77, "of-viewer");
    assert_null(rp_store_command(fake.store, "of-viewer"));
    ask_through(3, 78, "of-nobody"); /* nobody was named for this one */
    assert_null(rp_store_command(fake.store, "of-nobody"));
    say_caller(3, 79, ND_ROLE_ADMIN, false);
    ask_through(3, 79, "of-local");
    assert_non_null(rp_store_command(fake.store, "of-local"));
    say_caller(3, 80, ND_ROLE_VIEWER, false); /* two at the same time */
    say_caller(2, 80, ND_ROLE_ADMIN, false);
    ask_through(3, 80, "of-viewer");
    assert_null(rp_store_command(fake.store, "of-viewer"));
    ask_through(2, 80, "of-the-other");
    assert_non_null(rp_store_command(fake.store, "of-the-other"));
    say_caller(3, 81, (enum nd_role)99, false);
    assert_int_equal(fake.n->heard[3].ref, 0);
    sy_buf_free(&b);
}

/* Who passes it on may be behind. */
static void a_revoked_key_gets_nothing_through_a_node_that_still_has_it(void **state)
{
    (void)state;
    be(ND_ROLE_ADMIN, "root");
    ask_keys("add", "tenant", "operator", ann);
    say_caller(3, 77, ND_ROLE_ADMIN, true); /* it had been admin */
    ask_through(3, 77, "of-operator");
    assert_non_null(rp_store_command(fake.store, "of-operator"));
    ask_keys("add", "tenant", "viewer", ann);
    say_caller(3, 78, ND_ROLE_OPERATOR, true);
    ask_through(3, 78, "of-viewer");
    assert_null(rp_store_command(fake.store, "of-viewer"));
    ask_keys("revoke", "tenant", "", "");
    say_caller(3, 79, ND_ROLE_OPERATOR, true);
    ask_through(3, 79, "of-nobody");
    assert_null(rp_store_command(fake.store, "of-nobody"));
}

/* --- records --- */

static void note(uint64_t ref)
{
    struct sy_buf b = {0};

    sy_buf_u64(&b, ref);
    sy_mp_map(&b, 4);
    sy_mp_kuint(&b, "v", 1);
    sy_mp_kuint(&b, "id", 1);
    sy_mp_kstr(&b, "op", "audit_note");
    sy_mp_str(&b, "args");
    sy_mp_map(&b, 5);
    sy_mp_kstr(&b, "who", "root");
    sy_mp_kstr(&b, "from", "pid 1 on bob");
    sy_mp_kstr(&b, "what", "handover");
    sy_mp_kstr(&b, "about", "");
    sy_mp_kstr(&b, "result", "done");
    fake.cb.frame(fake.n, 3, ND_FRAME_REQUEST, b.p, b.len);
    fake_settle();
    sy_buf_free(&b);
}

static void nobody_writes_a_record_of_somebody_else(void **state)
{
    uint64_t before = rp_store_audit_last(fake.store);

    (void)state;
    say_caller(3, 77, ND_ROLE_OPERATOR, false);
    note(77); /* passed on for an operator */
    assert_int_equal(rp_store_audit_last(fake.store), before);
    note(ND_NOTE_REF);
    assert_int_equal(rp_store_audit_last(fake.store), before + 1);
}

static void beyond_the_last_record_there_is_none(void **state)
{
    (void)state;
    note(ND_NOTE_REF);
    for (uint64_t after = UINT64_MAX - 1; after != 1; after++) {
        fake_forget();
        fake_args_begin(1);
        sy_mp_kuint(&fake_args, "after",
                    after != 0 ? after : rp_store_audit_last(fake.store));
        fake_ask(1, "audit", &fake_args);
        (void)fake_result();
    }
}

/* What nobody asks for is not in it, and pushes nothing out. */
static void a_record_says_what_was_asked(void **state)
{
    const struct rp_audit *a;
    char much[200];

    (void)state;
    be(ND_ROLE_OPERATOR, "cook");
    memset(much, 'x', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    fake_args_begin(7);
    sy_mp_kstr(&fake_args, "", "");
    sy_mp_kstr(&fake_args, "nonsense", much);
    sy_mp_kstr(&fake_args, "device", "d10");
    sy_mp_kstr(&fake_args, "property", "state");
    sy_mp_kstr(&fake_args, "value", "OFF");
    sy_mp_kstr(&fake_args, "id", "c7");
    sy_mp_kstr(&fake_args, "source", "a role=admin \"b");
    fake_ask(1, "send", &fake_args);
    fake_settle();
    a = rp_store_audit(fake.store, rp_store_audit_last(fake.store));
    assert_non_null(a);
    assert_string_equal(a->about,
                        "device=d10 property=state value=OFF id=c7 "
                        "source=\"a role=admin 'b\"");
}

static void who_asks_is_told_to_the_leader(void **state)
{
    (void)state;
    fake_lose(0, 2, fake.term + 1);
    fake_pass(100, true);
    fake_forget();
    be(ND_ROLE_OPERATOR, "cook");
    ask_send(9, "c1", "d10", "ON");
    assert_int_equal(fake.frames_n, 1);
    assert_int_equal(fake.told.p[8], ND_ROLE_OPERATOR);
    assert_string_equal((const char *)fake.told.p + 9, "cook");
    assert_memory_equal(fake.told.p, fake.frames[0].bytes.p, 8);
    be(ND_ROLE_VIEWER, "tenant");
    ask_send(9, "c2", "d10", "ON"); /* refused here already */
    assert_int_equal(fake.frames_n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SITE(each_role_may_what_the_one_before_may),
        IN_SITE(a_key_is_added_and_revoked),
        IN_SITE(what_makes_no_sense_is_refused),
        IN_SITE(one_look_at_the_bridges_at_a_time),
        IN_SITE(a_key_has_its_share_of_what_waits),
        IN_SITE(there_is_a_limit_of_keys),
        IN_SITE(who_asks_too_often_waits_and_others_do_not),
        IN_SITE(a_role_goes_with_a_forwarded_request),
        IN_SITE(who_asks_is_told_to_the_leader),
        IN_SITE(a_revoked_key_gets_nothing_through_a_node_that_still_has_it),
        IN_SITE(nobody_writes_a_record_of_somebody_else),
        IN_SITE(beyond_the_last_record_there_is_none),
        IN_SITE(a_record_says_what_was_asked),
    };

    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
