#include "replication/batch.h"

#include <assert.h>
#include <string.h>

#include "base/mp.h"
#include "replication/decode.h"
#include "replication/files.h"

const uint8_t rp_input_fields[RP_IN_NR] = {
    [RP_IN_AREA] = 3,
    [RP_IN_BRIDGE] = 4,
    [RP_IN_DEVICE] = 5,
    [RP_IN_GONE] = 2,
    [RP_IN_AVAIL] = 3,
    [RP_IN_REPORT] = 5 + RP_VALUES_FIELDS,
    [RP_IN_COMMAND] = 7,
    [RP_IN_SENT] = 4,
    [RP_IN_END] = 4,
    [RP_IN_TICK] = 1,
    [RP_IN_WATCH] = 3,
    [RP_IN_SHIPPED] = 3,
    [RP_IN_CHECKPOINT] = 3,
    [RP_IN_TOLD] = 4,
    [RP_IN_LAPSE] = 4,
    [RP_IN_AREA_OFF] = 4,
    [RP_IN_TROUBLE] = 4,
    [RP_IN_LETTER] = 6,
    [RP_IN_LETTERS_SHIPPED] = 2,
    [RP_IN_HEARD] = 5 + RP_VALUES_FIELDS,
    [RP_IN_GOING] = 4,
    [RP_IN_LEFT] = 3,
    [RP_IN_FACT] = 3,
    [RP_IN_FILES] = 6,
    [RP_IN_DRILL] = 5,
    [RP_IN_AUDIT] = 7,
};

static void begin(struct rp_batch *b, enum rp_input_kind kind)
{
    sy_mp_array(&b->buf, rp_input_fields[kind]);
    sy_mp_uint(&b->buf, kind);
    b->n++;
}

/* The leader has checked what came from outside: too long here is our mistake. */
static void put_str(struct rp_batch *b, const char *s, size_t size)
{
    assert(strlen(s) < size);
    sy_mp_str(&b->buf, s);
}

static void put_name(struct rp_batch *b, const char *s, size_t size)
{
    assert(s[0] != '\0');
    put_str(b, s, size);
}

/* What is for people to read, and came from outside. Not in the middle of a
 * character: Postgres refuses half a one. */
static void put_cut(struct rp_batch *b, const char *s, size_t size)
{
    size_t n = strlen(s);

    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    sy_mp_strn(&b->buf, s, n);
}

static void put_key(struct rp_batch *b, uint64_t key)
{
    assert(key != 0);
    sy_mp_uint(&b->buf, key);
}

void rp_batch_area(struct rp_batch *b, const char *name, const char *base_topic)
{
    begin(b, RP_IN_AREA);
    put_name(b, name, RP_NAME_SIZE);
    put_name(b, base_topic, RP_TOPIC_SIZE);
}

void rp_batch_bridge(struct rp_batch *b, uint16_t area, enum rp_avail state, bool ready)
{
    assert(state <= RP_ONLINE);
    begin(b, RP_IN_BRIDGE);
    sy_mp_uint(&b->buf, area);
    sy_mp_uint(&b->buf, state);
    sy_mp_bool(&b->buf, ready);
}

void rp_batch_device(struct rp_batch *b, uint16_t area, uint64_t ieee, const char *name,
                     const char *model)
{
    begin(b, RP_IN_DEVICE);
    sy_mp_uint(&b->buf, area);
    put_key(b, ieee);
    put_name(b, name, RP_NAME_SIZE);
    put_str(b, model, RP_MODEL_SIZE);
}

void rp_batch_gone(struct rp_batch *b, uint64_t ieee)
{
    begin(b, RP_IN_GONE);
    put_key(b, ieee);
}

void rp_batch_avail(struct rp_batch *b, uint64_t ieee, enum rp_avail avail)
{
    assert(avail <= RP_ONLINE);
    begin(b, RP_IN_AVAIL);
    put_key(b, ieee);
    sy_mp_uint(&b->buf, avail);
}

void rp_batch_told(struct rp_batch *b, uint64_t ieee, enum rp_avail avail,
                   uint64_t hold_ms)
{
    assert(avail == RP_OFFLINE || avail == RP_ONLINE);
    begin(b, RP_IN_TOLD);
    put_key(b, ieee);
    sy_mp_uint(&b->buf, avail == RP_ONLINE);
    sy_mp_uint(&b->buf, hold_ms);
}

void rp_batch_lapse(struct rp_batch *b, uint64_t ieee, uint64_t hold_ms, uint64_t ttl_ms)
{
    begin(b, RP_IN_LAPSE);
    put_key(b, ieee);
    sy_mp_uint(&b->buf, hold_ms);
    sy_mp_uint(&b->buf, ttl_ms);
}

void rp_batch_area_off(struct rp_batch *b, uint16_t area, uint8_t why, bool off)
{
    assert(why == RP_OFF_OPERATOR || why == RP_OFF_CONFIG);
    begin(b, RP_IN_AREA_OFF);
    sy_mp_uint(&b->buf, area);
    sy_mp_uint(&b->buf, why);
    sy_mp_bool(&b->buf, off);
}

void rp_batch_report(struct rp_batch *b, const struct rp_report *r)
{
    assert(r->state <= RP_ON);
    assert((r->values.has & ~RP_HAS_ALL) == 0);
    begin(b, RP_IN_HEARD);
    put_key(b, r->ieee);
    sy_mp_uint(&b->buf, r->last_seen_ms);
    sy_mp_uint(&b->buf, r->payload_hash);
    sy_mp_uint(&b->buf, (uint64_t)r->state << RP_STATE_SHIFT |
                            (r->cached ? RP_CACHED : 0U) |
                            (r->redelivered ? RP_REDELIVERED : 0U));
    rp_put_values(&b->buf, &r->values);
}

void rp_batch_command(struct rp_batch *b, const char *id, uint64_t ieee,
                      const char *property, const char *value, const char *source,
                      uint64_t deadline_ms)
{
    begin(b, RP_IN_COMMAND);
    put_name(b, id, RP_ID_SIZE);
    put_key(b, ieee);
    put_name(b, property, RP_PROP_SIZE);
    put_name(b, value, RP_VALUE_SIZE);
    put_name(b, source, RP_PROP_SIZE);
    sy_mp_uint(&b->buf, deadline_ms);
}

static void put_attempt(struct rp_batch *b, enum rp_input_kind kind, uint64_t seq,
                        uint32_t attempt)
{
    begin(b, kind);
    put_key(b, seq);
    sy_mp_uint(&b->buf, attempt);
}

void rp_batch_sent(struct rp_batch *b, uint64_t seq, uint32_t attempt, uint64_t retry_ms)
{
    put_attempt(b, RP_IN_SENT, seq, attempt);
    sy_mp_uint(&b->buf, retry_ms);
}

void rp_batch_going(struct rp_batch *b, uint64_t seq, uint32_t attempt, uint64_t retry_ms)
{
    put_attempt(b, RP_IN_GOING, seq, attempt);
    sy_mp_uint(&b->buf, retry_ms);
}

void rp_batch_left(struct rp_batch *b, uint64_t seq, uint32_t attempt)
{
    put_attempt(b, RP_IN_LEFT, seq, attempt);
}

void rp_batch_end(struct rp_batch *b, uint64_t seq, enum rp_command_status status,
                  const char *reason)
{
    assert(status == RP_FAILED || status == RP_CANCELLED);
    begin(b, RP_IN_END);
    put_key(b, seq);
    sy_mp_uint(&b->buf, status);
    put_str(b, reason, RP_TEXT_SIZE);
}

void rp_batch_trouble(struct rp_batch *b, uint64_t seq, uint32_t attempt,
                      const char *text)
{
    put_attempt(b, RP_IN_TROUBLE, seq, attempt);
    put_cut(b, text, RP_TEXT_SIZE);
}

void rp_batch_letter(struct rp_batch *b, uint16_t area, const char *topic,
                     const char *reason, const void *payload, size_t len)
{
    bool cut = len > RP_LETTER_PAYLOAD_MAX;

    begin(b, RP_IN_LETTER);
    sy_mp_uint(&b->buf, area);
    put_cut(b, topic, RP_LETTER_TOPIC_SIZE);
    put_cut(b, reason, RP_TEXT_SIZE);
    sy_mp_bool(&b->buf, cut);
    sy_mp_bin(&b->buf, payload, cut ? (size_t)RP_LETTER_PAYLOAD_MAX : len);
}

void rp_batch_letters_shipped(struct rp_batch *b, uint64_t seq)
{
    begin(b, RP_IN_LETTERS_SHIPPED);
    sy_mp_uint(&b->buf, seq);
}

void rp_batch_fact(struct rp_batch *b, const char *key, const char *value)
{
    begin(b, RP_IN_FACT);
    put_name(b, key, RP_FACT_KEY_SIZE);
    put_str(b, value, RP_FACT_VALUE_SIZE);
}

void rp_batch_drill(struct rp_batch *b, uint64_t nr, enum rp_drill_state state,
                    const char *kind, const void *report, size_t len)
{
    assert(len <= RP_DRILL_REPORT_MAX);
    begin(b, RP_IN_DRILL);
    sy_mp_uint(&b->buf, nr);
    sy_mp_uint(&b->buf, state);
    put_name(b, kind, RP_DRILL_KIND_SIZE);
    sy_mp_bin(&b->buf, report, len);
}

void rp_batch_audit(struct rp_batch *b, uint32_t covers, const char *who,
                    const char *from, const char *what, const char *about,
                    const char *result)
{
    assert(who[0] != '\0' && what[0] != '\0');
    begin(b, RP_IN_AUDIT);
    sy_mp_uint(&b->buf, covers);
    put_cut(b, who, RP_AUDIT_WHO_SIZE);
    put_cut(b, from, RP_AUDIT_FROM_SIZE);
    put_cut(b, what, RP_AUDIT_WHAT_SIZE);
    put_cut(b, about, RP_AUDIT_ABOUT_SIZE);
    put_cut(b, result, RP_AUDIT_RESULT_SIZE);
}

static void begin_files(struct rp_batch *b, const char *set, uint64_t follows,
                        uint64_t from, uint16_t node)
{
    begin(b, RP_IN_FILES);
    put_name(b, set, RP_FILES_NAME_SIZE);
    sy_mp_uint(&b->buf, follows);
    sy_mp_uint(&b->buf, from);
    sy_mp_uint(&b->buf, node);
}

void rp_batch_files(struct rp_batch *b, const char *set, uint64_t follows, uint64_t from,
                    uint16_t node, const struct rp_file *list, unsigned n)
{
    struct sy_buf files = {0};

    assert(rp_files_ok(list, n, NULL) == 0);
    for (unsigned i = 0; i < n; i++) {
        rp_put_file(&files, &list[i]);
    }
    begin_files(b, set, follows, from, node);
    sy_mp_bin(&b->buf, files.p, files.len);
    sy_buf_free(&files);
}

void rp_batch_files_forget(struct rp_batch *b, const char *set)
{
    begin_files(b, set, 0, 0, 0);
    sy_mp_bin(&b->buf, "", 0);
}

void rp_batch_tick(struct rp_batch *b)
{
    begin(b, RP_IN_TICK);
}

void rp_batch_watch(struct rp_batch *b, uint64_t term, uint16_t node)
{
    begin(b, RP_IN_WATCH);
    sy_mp_uint(&b->buf, term);
    sy_mp_uint(&b->buf, node);
}

void rp_batch_shipped(struct rp_batch *b, uint64_t reading_seq, uint64_t revision)
{
    begin(b, RP_IN_SHIPPED);
    sy_mp_uint(&b->buf, reading_seq);
    sy_mp_uint(&b->buf, revision);
}

void rp_batch_checkpoint(struct rp_batch *b, uint64_t index, uint64_t hash)
{
    begin(b, RP_IN_CHECKPOINT);
    sy_mp_uint(&b->buf, index);
    sy_mp_uint(&b->buf, hash);
}

void rp_batch_seal(struct rp_batch *b, uint64_t at_ms, uint16_t node,
                   struct sy_buf *entry)
{
    entry->len = 0;
    sy_mp_array(entry, RP_HEADER_FIELDS + b->n);
    sy_mp_uint(entry, RP_ENTRY_VERSION);
    sy_mp_uint(entry, RP_KIND_BATCH);
    sy_mp_uint(entry, at_ms);
    sy_mp_uint(entry, node);
    sy_mp_uint(entry, b->n);
    sy_buf_put(entry, b->buf.p, b->buf.len);
    b->buf.len = 0;
    b->n = 0;
}

void rp_batch_free(struct rp_batch *b)
{
    sy_buf_free(&b->buf);
    b->n = 0;
}
