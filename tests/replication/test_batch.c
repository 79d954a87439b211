/* The codec of entries: what goes in comes out; what is damaged changes nothing. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mp.h"
#include "world.h"

static const struct rp_file file = {.path = "database.db", .size = 7, .mode = 0600};
static const struct rp_report report = {.ieee = UINT64_MAX,
                                        .last_seen_ms = T0,
                                        .payload_hash = 0x1234567890abcdef,
                                        .redelivered = true,
                                        .state = RP_ON,
                                        .values = {.has = RP_HAS_ENERGY | RP_HAS_POWER,
                                                   .energy_mwh = INT64_MIN,
                                                   .power_mw = INT32_MIN,
                                                   .voltage_mv = 99}};

/* Of all numbers below RP_IN_NR but 0 and 24, which is not taken. */
enum { KINDS = RP_IN_NR - 1 };

/* One input of each kind, in order of the kinds. */
/* The same fields, under the kind that the old logs are full of. */
static void report_of_version_1(struct rp_batch *b, const struct rp_report *r)
{
    size_t at = b->buf.len;

    rp_batch_report(b, r);
    assert_int_equal(b->buf.p[at + 1], RP_IN_HEARD);
    b->buf.p[at + 1] = RP_IN_REPORT;
}

static void put_new(struct rp_batch *b)
{
    static const uint8_t payload[RP_LETTER_PAYLOAD_MAX + 1] = {0, 0xff};
    char text[RP_TEXT_SIZE + 2];

    memset(text, 'x', sizeof text);
    memcpy(text + RP_TEXT_SIZE - 2, "\xc3\xa4", 3);
    rp_batch_told(b, 27, RP_ONLINE, 28);
    rp_batch_lapse(b, 29, 30, 31);
    rp_batch_area_off(b, 32, RP_OFF_CONFIG, true);
    rp_batch_trouble(b, 33, 34, text);
    rp_batch_letter(b, 35, "z2m/a", "broken", payload, sizeof payload);
    rp_batch_letters_shipped(b, 36);
    rp_batch_going(b, 37, 38, 39);
    rp_batch_left(b, 40, 41);
    rp_batch_report(b, &report);
    rp_batch_fact(b, "tie.epoch", "42");
    rp_batch_files(b, "bridge-a", 4, 2, 44, &file, 1);
    rp_batch_drill(b, 43, RP_DRILL_FAILED, "kill", "abc", 3);
    rp_batch_audit(b, 44, "anna", "nas", "send", text, "done");
}

static void put_all(struct rp_batch *b)
{
    rp_batch_area(b, "north", "z2m/north");
    rp_batch_bridge(b, 3, RP_ONLINE, true);
    rp_batch_device(b, 3, 17, "Stellplatz \xc3\xa4", "");
    rp_batch_gone(b, 18);
    rp_batch_avail(b, 19, RP_OFFLINE);
    report_of_version_1(b, &report);
    rp_batch_command(b, "id-1", 20, "state", "ON", "cli", T0 + 5);
    rp_batch_sent(b, 21, UINT32_MAX, T0 + 6);
    rp_batch_end(b, 22, RP_CANCELLED, "because");
    rp_batch_tick(b);
    rp_batch_watch(b, 23, 2);
    rp_batch_shipped(b, 24, 25);
    rp_batch_checkpoint(b, 26, UINT64_MAX);
    put_new(b);
}

static struct rp_input next(struct rp_entry *e, enum rp_input_kind kind)
{
    struct rp_input in;

    memset(&in, 0xa5, sizeof in);
    assert_int_equal(rp_entry_next(e, &in), 1);
    assert_int_equal(in.kind, kind);
    return in;
}

static void whats_new_comes_out(struct rp_entry *e)
{
    struct rp_input in = next(e, RP_IN_TOLD);

    assert_true(in.told.ieee == 27 && in.told.avail == RP_ONLINE);
    assert_true(in.told.hold_ms == 28);
    in = next(e, RP_IN_LAPSE);
    assert_true(in.lapse.ieee == 29 && in.lapse.hold_ms == 30 && in.lapse.ttl_ms == 31);
    in = next(e, RP_IN_AREA_OFF);
    assert_true(in.area_off.area == 32 && in.area_off.why == RP_OFF_CONFIG);
    assert_true(in.area_off.off);
    in = next(e, RP_IN_TROUBLE);
    assert_true(in.trouble.seq == 33 && in.trouble.attempt == 34);
    /* Cut before the character that does not fit whole. */
    assert_int_equal(strlen(in.trouble.text), RP_TEXT_SIZE - 2);
    in = next(e, RP_IN_LETTER);
    assert_true(in.letter.area == 35 && in.letter.cut);
    assert_int_equal(in.letter.payload_len, RP_LETTER_PAYLOAD_MAX);
    assert_string_equal(in.letter.topic, "z2m/a");
    assert_string_equal(in.letter.reason, "broken");
    assert_true(next(e, RP_IN_LETTERS_SHIPPED).letters_shipped == 36);
    in = next(e, RP_IN_GOING);
    assert_true(in.sent.seq == 37 && in.sent.attempt == 38 && in.sent.retry_ms == 39);
    in = next(e, RP_IN_LEFT);
    assert_true(in.sent.seq == 40 && in.sent.attempt == 41);
    in = next(e, RP_IN_HEARD);
    assert_true(in.report.ieee == report.ieee && in.report.state == RP_ON);
    in = next(e, RP_IN_FACT);
    assert_string_equal(in.fact.key, "tie.epoch");
    assert_string_equal(in.fact.value, "42");
    in = next(e, RP_IN_FILES);
    assert_string_equal(in.files.set, "bridge-a");
    assert_true(in.files.follows == 4 && in.files.from == 2 && in.files.node == 44);
    assert_true(rp_files_list_ok(in.files.list, in.files.list_len));
    in = next(e, RP_IN_DRILL);
    assert_true(in.drill.nr == 43 && in.drill.state == RP_DRILL_FAILED);
    assert_string_equal(in.drill.kind, "kill");
    assert_int_equal(in.drill.report_len, 3);
    assert_memory_equal(in.drill.report, "abc", 3);
    in = next(e, RP_IN_AUDIT);
    assert_int_equal(in.audit.covers, 44);
    assert_string_equal(in.audit.who, "anna");
    assert_string_equal(in.audit.from, "nas");
    assert_string_equal(in.audit.what, "send");
    assert_string_equal(in.audit.result, "done");
}

static void what_goes_in_comes_out(void **state)
{
    struct rp_batch b = {0};
    struct sy_buf entry = {0};
    struct rp_entry e;
    struct rp_input in;

    (void)state;
    put_all(&b);
    assert_int_equal(b.n, KINDS);
    sy_buf_str(&entry, "left over from before");
    rp_batch_seal(&b, T0, 7, &entry);
    assert_int_equal(b.n, 0);
    assert_int_equal(rp_entry_check(entry.p, entry.len), 0);
    assert_int_equal(rp_entry_open(&e, entry.p, entry.len), 0);
    assert_true(e.at_ms == T0 && e.node == 7 && e.left == KINDS);
    in = next(&e, RP_IN_AREA);
    assert_string_equal(in.area.name, "north");
    assert_string_equal(in.area.base_topic, "z2m/north");
    in = next(&e, RP_IN_BRIDGE);
    assert_true(in.bridge.area == 3 && in.bridge.state == RP_ONLINE && in.bridge.ready);
    in = next(&e, RP_IN_DEVICE);
    assert_true(in.device.area == 3 && in.device.ieee == 17);
    assert_string_equal(in.device.name, "Stellplatz \xc3\xa4");
    assert_string_equal(in.device.model, "");
    assert_true(next(&e, RP_IN_GONE).gone == 18);
    in = next(&e, RP_IN_AVAIL);
    assert_true(in.avail.ieee == 19 && in.avail.avail == RP_OFFLINE);
    in = next(&e, RP_IN_REPORT);
    assert_true(in.report.ieee == report.ieee && in.report.last_seen_ms == T0);
    assert_true(in.report.payload_hash == report.payload_hash);
    assert_true(in.report.redelivered && !in.report.cached && in.report.state == RP_ON);
    assert_int_equal(in.report.values.has, report.values.has);
    assert_true(in.report.values.energy_mwh == INT64_MIN);
    assert_true(in.report.values.power_mw == INT32_MIN);
    assert_true(in.report.values.voltage_mv == 0); /* Not among those it has. */
    in = next(&e, RP_IN_COMMAND);
    assert_string_equal(in.command.id, "id-1");
    assert_string_equal(in.command.property, "state");
    assert_string_equal(in.command.value, "ON");
    assert_string_equal(in.command.source, "cli");
    assert_true(in.command.ieee == 20 && in.command.deadline_ms == T0 + 5);
    in = next(&e, RP_IN_SENT);
    assert_true(in.sent.seq == 21 && in.sent.attempt == UINT32_MAX);
    assert_true(in.sent.retry_ms == T0 + 6);
    in = next(&e, RP_IN_END);
    assert_true(in.end.seq == 22 && in.end.status == RP_CANCELLED);
    assert_string_equal(in.end.reason, "because");
    (void)next(&e, RP_IN_TICK);
    in = next(&e, RP_IN_WATCH);
    assert_true(in.watch.term == 23 && in.watch.node == 2);
    in = next(&e, RP_IN_SHIPPED);
    assert_true(in.shipped.reading_seq == 24 && in.shipped.revision == 25);
    in = next(&e, RP_IN_CHECKPOINT);
    assert_true(in.checkpoint.index == 26 && in.checkpoint.hash == UINT64_MAX);
    whats_new_comes_out(&e);
    assert_int_equal(rp_entry_next(&e, &in), 0);
    rp_batch_free(&b);
    sy_buf_free(&entry);
}

static void an_empty_batch_is_an_entry(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, NULL);
    world_apply(&w);
    assert_true(rp_store_now(w.s) == T0);
    world_close(&w);
}

static void refused_without_a_trace(struct world *w, const uint8_t *p, size_t n, int err)
{
    uint64_t hash = rp_store_hash(w->s);
    uint64_t inputs = rp_store_stats(w->s)->inputs;

    assert_int_equal(rp_store_apply(w->s, w->index + 1, p, n, NULL, NULL), err);
    assert_true(rp_store_index(w->s) == w->index);
    assert_true(rp_store_hash(w->s) == hash);
    assert_true(rp_digest_all(w->s) == hash);
    assert_true(rp_store_stats(w->s)->inputs == inputs);
}

static void every_truncation_is_refused_and_nothing_changed(void **state)
{
    struct sy_buf entry = {0};
    struct rp_batch b = {0};
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    put_all(&b);
    rp_batch_seal(&b, T0 + 99, 7, &entry);
    for (size_t n = 0; n < entry.len; n++) {
        /* A copy of its own, so that reading past the end is seen. */
        struct sy_buf cut = {0};

        sy_buf_put(&cut, entry.p, n);
        refused_without_a_trace(&w, cut.p, n, SY_ECORRUPT);
        sy_buf_free(&cut);
    }
    sy_buf_u8(&entry, 0);
    refused_without_a_trace(&w, entry.p, entry.len, SY_ECORRUPT);
    rp_batch_free(&b);
    sy_buf_free(&entry);
    world_close(&w);
}

static void header(struct sy_buf *b, uint32_t array, uint64_t version, uint64_t kind,
                   uint64_t n)
{
    b->len = 0;
    sy_mp_array(b, array);
    sy_mp_uint(b, version);
    sy_mp_uint(b, kind);
    sy_mp_uint(b, T0);
    sy_mp_uint(b, 1);
    sy_mp_uint(b, n);
}

static void what_is_newer_is_refused_as_such(void **state)
{
    struct sy_buf b = {0};
    struct world w;

    (void)state;
    world_open(&w, NULL);
    header(&b, 5, 2, 1, 0);
    refused_without_a_trace(&w, b.p, b.len, SY_EVERSION);
    header(&b, 5, 1, 2, 0);
    refused_without_a_trace(&w, b.p, b.len, SY_EVERSION);
    header(&b, 6, 1, 1, 1); /* An unknown input, */
    sy_mp_array(&b, 2);
    sy_mp_uint(&b, RP_IN_NR);
    sy_mp_uint(&b, 1);
    refused_without_a_trace(&w, b.p, b.len, SY_EVERSION);
    header(&b, 7, 1, 1, 2); /* a known one with a field too much, after a good one. */
    sy_mp_array(&b, 1);
    sy_mp_uint(&b, RP_IN_TICK);
    sy_mp_array(&b, 2);
    sy_mp_uint(&b, RP_IN_TICK);
    sy_mp_uint(&b, 1);
    refused_without_a_trace(&w, b.p, b.len, SY_EVERSION);
    header(&b, 6, 1, 1, 0); /* The two counts differ. */
    sy_mp_array(&b, 1);
    sy_mp_uint(&b, RP_IN_TICK);
    refused_without_a_trace(&w, b.p, b.len, SY_ECORRUPT);
    sy_buf_free(&b);
    world_close(&w);
}

/* An input of uints only, of which one is out of range. */
static void refuse_uints(struct world *w, uint32_t n, const uint64_t *v)
{
    struct sy_buf b = {0};

    header(&b, 6, 1, 1, 1);
    sy_mp_array(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        sy_mp_uint(&b, v[i]);
    }
    refused_without_a_trace(w, b.p, b.len, SY_ECORRUPT);
    sy_buf_free(&b);
}

static void what_is_out_of_range_is_refused(void **state)
{
    struct world w;

    (void)state;
    world_with_devices(&w, NULL);
    refuse_uints(&w, 2, (uint64_t[]){RP_IN_GONE, 0});
    refuse_uints(&w, 3, (uint64_t[]){RP_IN_AVAIL, A, 3});
    refuse_uints(&w, 4, (uint64_t[]){RP_IN_SENT, 1, 1ULL << 32, 0});
    refuse_uints(&w, 3, (uint64_t[]){RP_IN_WATCH, 1, 65536});
    refuse_uints(&w, 4, (uint64_t[]){RP_IN_BRIDGE, 65536, 1, 1});
    refuse_uints(&w, 4, (uint64_t[]){RP_IN_BRIDGE, 1, 1, 1}); /* Not a boolean. */
    /* report: ieee, last_seen, hash, flags, has, energy, power, voltage, ... */
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 12, 0, 0, 0, 0, 0, 0});
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 32, 0, 0, 0, 0, 0});
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 0, 1, 0, 0, 0, 0});
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 0, 0, 1, 0, 0, 0});
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 0, 0, 0, 1, 0, 0});
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 0, 0, 0, 0, 1, 0});
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 0, 0, 0, 0, 0, 1});
    refuse_uints(&w, 11,
                 (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 31, 1ULL << 63, 0, 0, 0, 0});
    refuse_uints(&w, 11,
                 (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 31, 0, 1ULL << 31, 0, 0, 0});
    refuse_uints(&w, 11, (uint64_t[]){RP_IN_REPORT, A, 1, 1, 0, 31, 0, 0, 0, 0, 65536});
    world_close(&w);
}

static void put_end(struct sy_buf *b, uint64_t status, const char *reason, size_t n)
{
    header(b, 6, 1, 1, 1);
    sy_mp_array(b, 4);
    sy_mp_uint(b, RP_IN_END);
    sy_mp_uint(b, 1);
    sy_mp_uint(b, status);
    sy_mp_strn(b, reason, n);
}

static void an_end_is_failed_or_cancelled_and_its_text_fits(void **state)
{
    struct sy_buf b = {0};
    struct world w;
    char text[RP_TEXT_SIZE];

    (void)state;
    memset(text, 'x', sizeof text);
    world_open(&w, NULL);
    for (uint64_t status = 0; status <= RP_STATUS_NR; status++) {
        if (status != RP_FAILED && status != RP_CANCELLED) {
            put_end(&b, status, "", 0);
            refused_without_a_trace(&w, b.p, b.len, SY_ECORRUPT);
        }
    }
    put_end(&b, RP_FAILED, text, sizeof text);
    refused_without_a_trace(&w, b.p, b.len, SY_ECORRUPT);
    put_end(&b, RP_FAILED, "a\0b", 3);
    refused_without_a_trace(&w, b.p, b.len, SY_ECORRUPT);
    put_end(&b, RP_FAILED, text, sizeof text - 1);
    assert_int_equal(rp_store_apply(w.s, 1, b.p, b.len, NULL, NULL), 0);
    sy_buf_free(&b);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(an_empty_batch_is_an_entry),
        cmocka_unit_test(every_truncation_is_refused_and_nothing_changed),
        cmocka_unit_test(what_is_newer_is_refused_as_such),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(an_end_is_failed_or_cancelled_and_its_text_fits),
    };

    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
