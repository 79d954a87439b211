#include "node/canary.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

/* --- names and payloads --- */

void nd_canary_base(const struct nd_config *c, char to[RP_TOPIC_SIZE])
{
    snprintf(to, RP_TOPIC_SIZE, "vagt/%s/canary", c->cluster);
}

void nd_canary_name(const char *area, char to[RP_NAME_SIZE])
{
    snprintf(to, RP_NAME_SIZE, ND_CANARY_PREFIX "%.*s",
             (int)(RP_NAME_SIZE - sizeof ND_CANARY_PREFIX), area);
}

uint64_t nd_canary_ieee(const char *name)
{
    return RP_CANARY_IEEE | (sy_hash(name, strlen(name), 0) & UINT32_MAX);
}

void nd_canary_write(const struct nd_canary_reading *r, char to[ND_CANARY_PAYLOAD_SIZE])
{
    snprintf(to, ND_CANARY_PAYLOAD_SIZE, "%" PRIu64 " %" PRIu64 " %s", r->number,
             r->at_ms, r->state == RP_OFF ? "OFF" : "ON");
}

static enum rp_switch switch_of(const char *s)
{
    return strcmp(s, "ON") == 0    ? RP_ON
           : strcmp(s, "OFF") == 0 ? RP_OFF
                                   : RP_SWITCH_UNKNOWN;
}

bool nd_canary_read(const void *payload, size_t len, struct nd_canary_reading *ret)
{
    char text[ND_CANARY_PAYLOAD_SIZE], state[4];
    int end = 0;

    if (len >= sizeof text) {
        return false;
    }
    memcpy(text, payload, len);
    text[len] = '\0';
    if (sscanf(text, "%20" SCNu64 " %20" SCNu64 " %3s%n", &ret->number, &ret->at_ms,
               state, &end) != 3 ||
        (size_t)end != len || ret->number > INT64_MAX) {
        return false;
    }
    ret->state = switch_of(state);
    return ret->state != RP_SWITCH_UNKNOWN;
}

/* --- the source --- */

struct canary
{
    const struct rp_store *store;
    uint16_t area;
    rp_note_cb cb;
    void *data;
};

static void *begin(const struct rp_store *store, uint16_t area,
                   const struct rp_source_config *config, rp_note_cb cb, void *data)
{
    struct canary *c = sy_calloc(1, sizeof *c);

    (void)config;
    *c = (struct canary){store, area, cb, data};
    return c;
}

static void end(void *source)
{
    sy_free(source);
}

static void topics(const struct rp_area *area,
                   void (*each)(void *data, const char *filter, int qos, bool fresh),
                   void *data)
{
    char filter[RP_TOPIC_SIZE + 8];

    snprintf(filter, sizeof filter, "%s/+", area->base_topic);
    each(data, filter, 1, false);
    snprintf(filter, sizeof filter, "%s/+/set", area->base_topic);
    each(data, filter, 1, false);
}

static void asked(const struct canary *c, const struct rp_message *m, const char *name)
{
    char value[4] = "";

    if (m->len >= sizeof value) {
        return;
    }
    memcpy(value, m->payload, m->len);
    if (switch_of(value) != RP_SWITCH_UNKNOWN) {
        c->cb(c->data, &(struct rp_source_note){.kind = RP_NOTE_ASKED,
                                                .area = c->area,
                                                .ieee = nd_canary_ieee(name),
                                                .value = value,
                                                .redelivered = m->dup});
    }
}

static void heard(const struct canary *c, const struct rp_message *m, const char *name,
                  struct rp_batch *out)
{
    uint64_t ieee = nd_canary_ieee(name);
    const struct rp_device *d = rp_store_device(c->store, ieee);
    struct nd_canary_reading r;

    if (!nd_canary_read(m->payload, m->len, &r)) {
        return; /* Nobody but us writes there; what else comes is nobody's reading. */
    }
    if (rp_store_area(c->store, c->area)->ready_at_ms == 0) {
        rp_batch_bridge(out, c->area, RP_ONLINE, true);
    }
    if (d == NULL || !d->listed || d->area != c->area) {
        rp_batch_device(out, c->area, ieee, name, "canary");
    }
    rp_batch_report(
        out, &(struct rp_report){
                 .ieee = ieee,
                 .last_seen_ms = r.at_ms,
                 .payload_hash = sy_hash(m->payload, m->len, 0),
                 .redelivered = m->dup,
                 .state = r.state,
                 .values = {.has = RP_HAS_ENERGY, .energy_mwh = (int64_t)r.number}});
}

static void message(void *source, const struct rp_message *m, uint64_t now_ms,
                    struct rp_batch *out)
{
    static const char set[] = "/set";
    const struct canary *c = source;
    const char *base = rp_store_area(c->store, c->area)->base_topic;
    size_t len = strlen(base);
    char name[RP_NAME_SIZE];
    char *slash;

    (void)now_ms;
    if (m->retained || strncmp(m->topic, base, len) != 0 || m->topic[len] != '/' ||
        strlen(m->topic + len + 1) >= sizeof name) {
        return;
    }
    snprintf(name, sizeof name, "%s", m->topic + len + 1);
    slash = strchr(name, '/');
    if (strncmp(name, ND_CANARY_PREFIX, sizeof ND_CANARY_PREFIX - 1) != 0) {
        return;
    }
    if (slash == NULL) {
        heard(c, m, name, out);
    } else if (strcmp(slash, set) == 0) {
        *slash = '\0';
        asked(c, m, name);
    }
}

static int check(const char *property, const char *value, struct sy_errbuf *eb)
{
    if (strcmp(property, "state") != 0 || switch_of(value) == RP_SWITCH_UNKNOWN) {
        return sy_fail(eb, SY_EINVALID, "a canary takes state=ON and state=OFF only");
    }
    return 0;
}

static void command(void *source, const struct rp_device *device,
                    const struct rp_command *command, struct sy_buf *topic,
                    struct sy_buf *payload)
{
    const struct canary *c = source;

    topic->len = payload->len = 0;
    sy_buf_fmt(topic, "%s/%s/set", rp_store_area(c->store, c->area)->base_topic,
               device->name);
    sy_buf_u8(topic, '\0');
    sy_buf_str(payload, command->value);
}

const struct rp_source_ops nd_canary_source = {
    .name = "canary",
    .begin = begin,
    .end = end,
    .topics = topics,
    .message = message,
    .check = check,
    .command = command,
};

/* --- what is on its way --- */

bool nd_canary_again(const struct nd_canary_flight *f, unsigned *ret_device,
                     struct nd_canary_reading *ret)
{
    if (f->again_n == 0) {
        return false;
    }
    *ret_device = f->list[0].device;
    *ret = f->list[0].reading;
    return true;
}

static void drop_first(struct nd_canary_flight *f)
{
    f->n--;
    memmove(&f->list[0], &f->list[1], f->n * sizeof f->list[0]);
}

void nd_canary_went_again(struct nd_canary_flight *f)
{
    unsigned device = f->list[0].device;
    struct nd_canary_reading r = f->list[0].reading;

    assert(f->again_n > 0);
    drop_first(f);
    f->again_n--;
    f->list[f->n].device = device;
    f->list[f->n++].reading = r;
}

bool nd_canary_room(const struct nd_canary_flight *f)
{
    return f->n < ND_CANARY_FLIGHT_MAX;
}

void nd_canary_went(struct nd_canary_flight *f, unsigned device,
                    const struct nd_canary_reading *r)
{
    assert(nd_canary_room(f) && r->number > f->newest);
    f->list[f->n].device = device;
    f->list[f->n++].reading = *r;
    f->newest = r->number;
}

void nd_canary_heard(struct nd_canary_flight *f, uint64_t acks, uint64_t failures)
{
    for (; f->acks_seen < acks && f->n > f->again_n; f->acks_seen++) {
        unsigned at = f->again_n; /* The oldest that went and did not come back. */

        f->n--;
        memmove(&f->list[at], &f->list[at + 1], (f->n - at) * sizeof f->list[0]);
        f->confirmed++;
    }
    f->acks_seen = acks;
    if (failures != f->failures_seen) {
        f->failures_seen = failures;
        f->again_n = f->n; /* The link broke: all that was on it. */
    }
}
