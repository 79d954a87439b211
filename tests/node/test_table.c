/* What comes by Postgres: rows of meter_commands, dead letters that are tried again. */

#include <stdio.h>
#include <string.h>

#include "tests/node/fake_node.h"

/* --- a site of two areas: d10, d11 in north, d20 in south --- */

static int site_open(void **state)
{
    (void)state;
    fake_open(3);
    fake.n->config.commands.timeout_ms = 60000;
    fake_begin();
    fake_lead();
    fake_device(10, 1);
    fake_device(11, 1);
    fake_device(20, 2);
    fake_settle();
    /* A new watch: its sources know these devices. */
    fake_lose(0, 2, fake.term + 1);
    fake_pass(3000, true);
    fake_lead();
    return 0;
}

static int site_close(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

static struct ad_pg_ask row(const char *id, const char *meter, const char *value)
{
    return (struct ad_pg_ask){.id = id,
                              .meter = meter,
                              .command = "set_state",
                              .value = value,
                              .status = "pending",
                              .dated = true};
}

static void show(const struct ad_pg_ask *asks, unsigned n)
{
    fake.pg_cb.commands(fake.pg_data, asks, n);
    fake_turn();
}

static void show_one(struct ad_pg_ask ask)
{
    show(&ask, 1);
}

/* The newest answer. */
static void expect_answer(const char *id, const char *status, const char *text)
{
    const struct fake_answer *a = &fake.answers[(fake.answers_n - 1) % FAKE_ANSWERS_MAX];

    assert_true(fake.answers_n > 0);
    if (strcmp(a->id, id) != 0 || strcmp(a->status, status) != 0 ||
        strstr(a->text, text) == NULL) {
        fail_msg("%s: %s: %s", a->id, a->status, a->text);
    }
}

static void expect_refusal(struct ad_pg_ask ask, const char *text)
{
    unsigned before = fake.answers_n;

    show_one(ask);
    assert_int_equal(fake.answers_n, before + 1);
    expect_answer(ask.id, "failed", text);
    assert_int_equal(fake.batch.n, 0); /* Nothing of it goes into the log. */
    assert_false(fake_commit());
}

/* --- good rows --- */

static void a_row_becomes_a_command_with_its_deadline(void **state)
{
    struct ad_pg_ask ask = row("7", "d10", "ON");
    const struct rp_command *c;

    (void)state;
    ask.age_ms = 12000;
    show_one(ask);
    fake_settle();
    c = fake_known("pg:7");
    assert_int_equal(c->ieee, 10);
    assert_string_equal(c->property, "state");
    assert_string_equal(c->value, "ON");
    assert_string_equal(c->source, RP_SOURCE_POSTGRES);
    assert_int_equal(c->deadline_ms, fake.wall_ms + 48000);
    assert_int_equal(fake.answers_n, 0);
    assert_int_equal(fake.n->table.taken, 1);
}

static void expires_at_is_the_deadline_but_never_beyond_a_day(void **state)
{
    struct ad_pg_ask ask = row("a", "0x000000000000000b", "OFF");

    (void)state;
    ask.age_ms = 3600000; /* Old, and it says how old it may become. */
    ask.expires = true;
    ask.expires_in_ms = 5000;
    show_one(ask);
    fake_settle();
    assert_int_equal(fake_known("pg:a")->deadline_ms, fake.wall_ms + 5000);
    assert_int_equal(fake_known("pg:a")->ieee, 11);

    ask = row("b", "d20", "OFF");
    ask.expires = true;
    ask.expires_in_ms = INT64_MAX;
    ask.dated = false;
    show_one(ask);
    fake_settle();
    assert_int_equal(fake_known("pg:b")->deadline_ms, fake.wall_ms + 86400000);
}

static void rows_of_a_meter_come_in_their_order(void **state)
{
    struct ad_pg_ask asks[] = {row("1", "d10", "ON"), row("2", "d10", "OFF"),
                               row("3", "d11", "ON")};

    (void)state;
    asks[0].age_ms = 9000;
    asks[1].age_ms = 4000;
    show(asks, 3);
    fake_settle();
    assert_int_equal(fake_known("pg:1")->status, RP_SUPERSEDED);
    assert_string_equal(fake_known("pg:1")->reason, "superseded by pg:2");
    assert_int_equal(fake_known("pg:2")->status, RP_ACCEPTED);
    assert_int_equal(fake_known("pg:3")->status, RP_ACCEPTED);
    assert_int_equal(fake.answers_n, 0);
}

/* --- rows that are answered at once --- */

static void old_rows_expire_and_never_reach_the_log(void **state)
{
    struct ad_pg_ask ask = row("1", "d10", "ON");

    (void)state;
    fake_command("cli", 10, "OFF", 60000);
    fake_settle();
    ask.age_ms = 60000;
    show_one(ask);
    expect_answer("1", "expired", "older than 60 s when the row was read");
    ask.expires = true;
    ask.age_ms = 10;
    ask.expires_in_ms = 0;
    show_one(ask);
    expect_answer("1", "expired", "expires_at had passed");
    ask.expires_in_ms = -5000;
    ask.meter = "of no device";
    show_one(ask);
    expect_answer("1", "expired", "expires_at had passed");
    assert_false(fake_commit());
    assert_int_equal(fake.n->table.expired, 3);
    /* What it would have superseded goes on. */
    assert_int_equal(fake_known("cli")->status, RP_ACCEPTED);
}

static void what_makes_no_sense_fails_with_a_sentence(void **state)
{
    struct ad_pg_ask ask;

    (void)state;
    expect_refusal(row("1", "d99", "ON"), "no device is called 'd99'");
    expect_refusal(row("2", "", "ON"), "no device is called ''");
    expect_refusal(row("3", "d10", "on"), "state 'on' is neither ON nor OFF");
    expect_refusal(row("4", "d10", "TOGGLE"), "TOGGLE is not safe");
    expect_refusal(row("5", "d10", ""), "neither ON nor OFF");
    ask = row("6", "d10", "ON");
    ask.command = "reboot";
    expect_refusal(ask, "command 'reboot' is not known: only set_state is");
    ask = row("7", "d10", "ON");
    ask.dated = false;
    expect_refusal(ask, "created_at is not set");
    rp_batch_gone(&fake.batch, 11);
    fake_settle();
    expect_refusal(row("8", "d11", "ON"), "not there any more");
    rp_batch_device(&fake.batch, 2, 21, "d10", "plug");
    fake_settle();
    expect_refusal(row("9", "d10", "ON"), "2 devices are called 'd10'");
    rp_batch_area_off(&fake.batch, 2, RP_OFF_OPERATOR, true);
    fake_settle();
    expect_refusal(row("10", "d20", "ON"), "the area south is switched off");
    assert_int_equal(fake.n->table.refused, 10);
}

static void a_row_without_its_record_fails(void **state)
{
    struct ad_pg_ask ask = row("1", "d10", "ON");

    (void)state;
    ask.status = "sent";
    expect_refusal(ask, "outcome unknown");
    ask.status = "accepted";
    expect_refusal(ask, "outcome unknown");
}

static void a_later_wish_by_another_way_wins(void **state)
{
    struct ad_pg_ask ask = row("1", "d10", "ON");

    (void)state;
    fake_command("before", 10, "OFF", 60000);
    fake_settle();
    fake_pass(5000, true);
    fake_command("later", 11, "OFF", 60000);
    fake_settle();
    /* Created before "later", after "before"; but "later" is of another meter. */
    ask.age_ms = 3000;
    show_one(ask);
    fake_settle();
    assert_int_equal(fake_known("pg:1")->status, RP_ACCEPTED);
    assert_int_equal(fake_known("before")->status, RP_SUPERSEDED);

    ask = row("2", "d11", "ON");
    ask.age_ms = 3000;
    show_one(ask);
    expect_answer("2", "superseded", "superseded by later");
    assert_false(fake_commit());
    assert_int_equal(fake_known("later")->status, RP_ACCEPTED);
    assert_int_equal(fake.n->table.superseded, 1);

    /* Among rows it is their order that counts: this one came late. */
    fake_pass(1000, true);
    ask = row("3", "d10", "OFF");
    ask.age_ms = 2000;
    show_one(ask);
    fake_settle();
    assert_int_equal(fake_known("pg:3")->status, RP_ACCEPTED);
}

/* --- when it is much, and when the watch is over --- */

static void what_has_no_room_waits_in_the_table(void **state)
{
    struct ad_pg_ask asks[20];
    char ids[20][8], names[20][8];

    (void)state;
    fake.n->config.commands.open_max = 12;
    for (unsigned i = 0; i < 20; i++) {
        snprintf(ids[i], sizeof ids[i], "%u", i);
        snprintf(names[i], sizeof names[i], "d%u", 100 + i);
        fake_device(100 + i, 1);
        asks[i] = row(ids[i], names[i], "ON");
    }
    fake_settle();
    show(asks, 20);
    fake_settle();
    assert_int_equal(rp_store_open_commands(fake.store), 12);
    show(asks + 12, 8);
    fake_settle();
    assert_int_equal(rp_store_open_commands(fake.store), 12);
    assert_int_equal(fake.answers_n, 0);
    /* What is wrong or old is said all the same. */
    asks[19].age_ms = 70000;
    asks[18].meter = "nobody";
    show(asks + 18, 2);
    assert_int_equal(fake.answers_n, 2);
    /* Somebody makes room. */
    rp_batch_end(&fake.batch, fake_known("pg:0")->seq, RP_CANCELLED, "");
    fake_settle();
    show(asks + 12, 6);
    fake_settle();
    assert_int_equal(fake_known("pg:12")->status, RP_ACCEPTED);
    assert_int_equal(rp_store_open_commands(fake.store), 12);
}

static void nothing_is_proposed_twice_while_it_is_on_its_way(void **state)
{
    struct ad_pg_ask asks[] = {row("1", "d10", "ON"), row("2", "d11", "ON")};

    (void)state;
    show(asks, 1);
    show(asks, 2); /* The poll comes again before the commit. */
    assert_int_equal(fake.n->table.taken, 1);
    assert_int_equal(fake.looks, 0);
    fake_settle();
    assert_int_equal(fake.looks, 1); /* Look again: there was more. */
    show(asks + 1, 1);
    fake_settle();
    assert_int_equal(fake_known("pg:2")->status, RP_ACCEPTED);
    assert_int_equal(fake.looks, 1);
    fake.full = true;
    show_one(row("3", "d20", "ON"));
    fake.full = false;
    assert_int_equal(fake.n->table.taken, 2);
}

static void a_row_that_was_lost_on_the_way_is_taken_by_the_next_watch(void **state)
{
    struct ad_pg_ask ask = row("1", "d10", "ON");

    (void)state;
    show_one(ask);
    fake_lose(0, 2, fake.term + 1);
    fake_pass(3000, true);
    assert_null(rp_store_command(fake.store, "pg:1"));
    fake_lead();
    assert_false(fake.n->table.waiting);
    show_one(ask);
    fake_settle();
    assert_int_equal(fake_known("pg:1")->status, RP_ACCEPTED);
}

static void one_that_may_not_act_takes_nothing(void **state)
{
    (void)state;
    fake.lease_until_ms = 0; /* It slept: another one may have the watch. */
    show_one(row("1", "d10", "ON"));
    show_one(row("2", "d99", "ON"));
    assert_int_equal(fake.answers_n, 0);
    assert_int_equal(fake.n->table.taken, 0);
}

static void what_is_shipped_is_told_to_the_log(void **state)
{
    (void)state;
    rp_batch_letter(&fake.batch, 1, "t", "r", "x", 1);
    fake_settle();
    fake.pg_cb.shipped(fake.pg_data, 0, 2, 1);
    fake_settle();
    assert_int_equal(rp_store_letters_shipped(fake.store), 1);
    assert_int_equal(rp_store_revision_shipped(fake.store), 2);
}

static void ids_of_rows_are_nobody_elses(void **state)
{
    (void)state;
    fake_args_begin(4);
    sy_mp_kstr(&fake_args, "device", "d10");
    sy_mp_kstr(&fake_args, "property", "state");
    sy_mp_kstr(&fake_args, "value", "ON");
    sy_mp_kstr(&fake_args, "id", "pg:1");
    fake_ask(1, "send", &fake_args);
    fake_refused(1, "invalid", "belong to the rows of meter_commands");
    fake_args_begin(4);
    sy_mp_kstr(&fake_args, "device", "d10");
    sy_mp_kstr(&fake_args, "property", "state");
    sy_mp_kstr(&fake_args, "value", "ON");
    sy_mp_kstr(&fake_args, "source", "postgres");
    fake_ask(1, "send", &fake_args);
    fake_refused(2, "invalid", "belong to the rows of meter_commands");
}

/* --- letters --- */

static void try_letter(uint64_t id, const char *area, const char *topic,
                       const char *payload, uint64_t at_ms)
{
    const struct ad_pg_retry l = {.id = id,
                                  .area = area,
                                  .topic = topic,
                                  .payload = payload,
                                  .len = strlen(payload),
                                  .at_ms = at_ms};

    fake.pg_cb.retry(fake.pg_data, &l);
    fake_turn();
}

static void a_letter_goes_through_its_source_once_more(void **state)
{
    uint64_t at = fake.wall_ms - 3600000;
    const struct rp_reading *r;

    (void)state;
    try_letter(5, "north", "z/north/d10", "{\"power\":42,\"state\":\"ON\"}", at);
    assert_int_equal(fake.answers_n, 0); /* Not before it is committed. */
    fake_settle();
    expect_answer("5", "replayed", "");
    assert_int_equal(rp_store_readings_last(fake.store), 1);
    r = rp_store_reading(fake.store, 1);
    assert_int_equal(r->ieee, 10);
    assert_int_equal(r->values.power_mw, 42000);
    /* Of the time it came, so that a second time is the same row in Postgres. */
    assert_int_equal(r->time_ms, at);
    assert_int_equal(fake.n->table.replayed, 1);

    /* What is said of it later counts, and so does a time of its own. */
    try_letter(6, "", "z/south/d20", "{\"power\":1,\"last_seen\":1763999999000}", at);
    fake_settle();
    expect_answer("6", "replayed", "");
    assert_int_equal(rp_store_reading(fake.store, 2)->time_ms, 1763999999000);
}

static void a_letter_that_is_still_bad_is_done_too(void **state)
{
    (void)state;
    try_letter(5, "north", "z/north/d10", "{\"power\":", fake.wall_ms);
    fake_settle();
    expect_answer("5", "replayed", "");
    assert_int_equal(rp_store_readings_last(fake.store), 0);
}

static void a_letter_without_an_area_is_not_tried(void **state)
{
    (void)state;
    try_letter(5, "north", "elsewhere/d10", "{}", fake.wall_ms);
    expect_answer("5", "new", "no area of the configuration has this topic");
    try_letter(6, "north", "z/northern", "{}", fake.wall_ms);
    expect_answer("6", "new", "no area of the configuration has this topic");
    rp_batch_area_off(&fake.batch, 2, RP_OFF_OPERATOR, true);
    fake_settle();
    try_letter(7, "south", "z/south/d20", "{}", fake.wall_ms);
    expect_answer("7", "new", "its area is switched off");
    fake.n->holding = true; /* A reading more would drop the oldest. */
    try_letter(8, "north", "z/north/d10", "{\"power\":1}", fake.wall_ms);
    expect_answer("8", "new", "the outbox is full");
    fake.n->holding = false;
    assert_false(fake_commit());
}

static void a_letter_lost_on_the_way_is_not_marked(void **state)
{
    (void)state;
    try_letter(5, "north", "z/north/d10", "{\"power\":42}", fake.wall_ms);
    fake_lose(0, 2, fake.term + 1);
    fake_pass(3000, true);
    assert_int_equal(fake.answers_n, 0);
    assert_int_equal(rp_store_readings_last(fake.store), 0);
}

#define SITE(F) cmocka_unit_test_setup_teardown(F, site_open, site_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SITE(a_row_becomes_a_command_with_its_deadline),
        SITE(expires_at_is_the_deadline_but_never_beyond_a_day),
        SITE(rows_of_a_meter_come_in_their_order),
        SITE(old_rows_expire_and_never_reach_the_log),
        SITE(what_makes_no_sense_fails_with_a_sentence),
        SITE(a_row_without_its_record_fails),
        SITE(a_later_wish_by_another_way_wins),
        SITE(what_has_no_room_waits_in_the_table),
        SITE(nothing_is_proposed_twice_while_it_is_on_its_way),
        SITE(a_row_that_was_lost_on_the_way_is_taken_by_the_next_watch),
        SITE(one_that_may_not_act_takes_nothing),
        SITE(what_is_shipped_is_told_to_the_log),
        SITE(ids_of_rows_are_nobody_elses),
        SITE(a_letter_goes_through_its_source_once_more),
        SITE(a_letter_that_is_still_bad_is_done_too),
        SITE(a_letter_without_an_area_is_not_tried),
        SITE(a_letter_lost_on_the_way_is_not_marked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
