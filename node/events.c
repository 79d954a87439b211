/* What happened, told twice: to the log of the node on watch, and to whoever
 * subscribes to the events of any node. Names are API (docs/events.md). */

#include <stdio.h>
#include <string.h>

#include "base/mp.h"
#include "node/node.h"

static void put_kieee(struct sy_buf *b, const char *key, uint64_t ieee)
{
    char text[24];

    snprintf(text, sizeof text, "0x%016llx", (unsigned long long)ieee);
    sy_mp_kstr(b, key, text);
}

static const char *area_name(struct nd_node *n, uint16_t nr)
{
    const struct rp_area *a = rp_store_area(n->store, nr);

    return a != NULL ? a->name : "";
}

void nd_put_device(struct nd_node *n, struct sy_buf *b, const struct rp_device *d)
{
    const struct rp_values *v = &d->values;
    uint32_t values =
        (v->has & RP_HAS_POWER ? 1U : 0) + (v->has & RP_HAS_VOLTAGE ? 1U : 0) +
        (v->has & RP_HAS_CURRENT ? 1U : 0) + (v->has & RP_HAS_ENERGY ? 1U : 0) +
        (v->has & RP_HAS_LINKQUALITY ? 1U : 0);

    sy_mp_map(b, 9 + values);
    put_kieee(b, "ieee", d->ieee);
    sy_mp_kstr(b, "name", d->name);
    sy_mp_kstr(b, "area", area_name(n, d->area));
    sy_mp_kstr(b, "model", d->model);
    sy_mp_kstr(b, "state", rp_switch_name(d->state));
    /* Who was removed is not there, whatever was said of it last. */
    sy_mp_kstr(b, "availability", rp_avail_name(d->listed ? d->avail : RP_OFFLINE));
    sy_mp_kbool(b, "listed", d->listed);
    sy_mp_kuint(b, "last_seen_ms", d->last_seen_ms);
    sy_mp_kuint(b, "updated_ms", d->updated_ms);
    if (v->has & RP_HAS_POWER) {
        sy_mp_kint(b, "power_mw", v->power_mw);
    }
    if (v->has & RP_HAS_VOLTAGE) {
        sy_mp_kint(b, "voltage_mv", v->voltage_mv);
    }
    if (v->has & RP_HAS_CURRENT) {
        sy_mp_kint(b, "current_ma", v->current_ma);
    }
    if (v->has & RP_HAS_ENERGY) {
        sy_mp_kint(b, "energy_mwh", v->energy_mwh);
    }
    if (v->has & RP_HAS_LINKQUALITY) {
        sy_mp_kuint(b, "linkquality", v->linkquality);
    }
}

void nd_put_command(struct nd_node *n, struct sy_buf *b, const struct rp_command *c)
{
    const struct rp_device *d = rp_store_device(n->store, c->ieee);

    sy_mp_map(b, 15);
    sy_mp_kstr(b, "id", c->id);
    sy_mp_kuint(b, "seq", c->seq);
    put_kieee(b, "device", c->ieee);
    sy_mp_kstr(b, "name", d != NULL ? d->name : "");
    sy_mp_kstr(b, "area", d != NULL ? area_name(n, d->area) : "");
    sy_mp_kstr(b, "property", c->property);
    sy_mp_kstr(b, "value", c->value);
    sy_mp_kstr(b, "source", c->source);
    sy_mp_kstr(b, "status", rp_command_status_name(c->status));
    sy_mp_kuint(b, "attempts", c->attempts);
    sy_mp_kuint(b, "accepted_ms", c->accepted_ms);
    sy_mp_kuint(b, "sent_ms", c->sent_ms);
    sy_mp_kuint(b, "ended_ms", c->ended_ms);
    sy_mp_kuint(b, "deadline_ms", c->deadline_ms);
    sy_mp_kstr(b, "reason", c->reason);
}

/* The three fields that every event has; @more pairs follow. */
static void begin(struct nd_node *n, struct sy_buf *b, const char *name, uint32_t more)
{
    sy_mp_map(b, 3 + more);
    sy_mp_kstr(b, "name", name);
    sy_mp_kuint(b, "at_ms", nd_wall_ms());
    sy_mp_kuint(b, "node", n->config.id);
}

static void publish(struct nd_node *n, const char *name, struct sy_buf *b)
{
    ad_zmq_publish(n->zmq, name, b->p, b->len);
    sy_buf_free(b);
}

static bool heard(const struct nd_node *n)
{
    return n->zmq != NULL && ad_zmq_heard(n->zmq);
}

/* A node that is alone applies its log while it is still being opened: of that nothing
 * is told, and there is no replica to ask yet. */
static bool leading(const struct nd_node *n)
{
    return n->replica != NULL && nd_replica_leading(n->replica) != 0;
}

static void tell_command(struct nd_node *n, const struct rp_command *c)
{
    struct sy_buf b = {0};
    char name[48];

    if (leading(n)) {
        SY_LOG(&n->log, SY_INFO, "command", KSTR("id", c->id),
               KSTR("status", rp_command_status_name(c->status)), KSTR("value", c->value),
               KU64("attempts", c->attempts), KSTR("why", c->reason));
    }
    if (heard(n)) {
        snprintf(name, sizeof name, "command.%s", rp_command_status_name(c->status));
        begin(n, &b, name, 1);
        sy_mp_str(&b, "command");
        nd_put_command(n, &b, c);
        publish(n, name, &b);
    }
}

static void tell_device(struct nd_node *n, const char *name, const struct rp_device *d)
{
    struct sy_buf b = {0};

    if (heard(n)) {
        begin(n, &b, name, 1);
        sy_mp_str(&b, "device");
        nd_put_device(n, &b, d);
        publish(n, name, &b);
    }
}

static void tell_place(struct nd_node *n, const char *name, const struct rp_area *a)
{
    struct sy_buf b = {0};

    if (leading(n)) {
        SY_LOG(&n->log, SY_NOTE, name, KSTR("area", a->name));
    }
    if (heard(n)) {
        begin(n, &b, name, 1);
        sy_mp_kstr(&b, "area", a->name);
        publish(n, name, &b);
    }
}

static void tell_bridge(struct nd_node *n, const struct rp_area *a)
{
    const char *name = a->bridge == RP_OFFLINE ? "bridge.offline"
                       : a->ready_at_ms != 0   ? "bridge.ready"
                                               : "bridge.online";

    tell_place(n, name, a);
}

static void tell_watch(struct nd_node *n, const struct rp_event *ev)
{
    struct sy_buf b = {0};

    SY_LOG(&n->log, SY_NOTE, "watch.taken", KU64("by", ev->node), KU64("term", ev->term));
    if (heard(n)) {
        begin(n, &b, "watch.taken", 2);
        sy_mp_kuint(&b, "term", ev->term);
        sy_mp_kuint(&b, "watch_node", ev->node);
        publish(n, "watch.taken", &b);
    }
}

static void tell_files(struct nd_node *n, const struct rp_files_set *set)
{
    const struct rp_files_version *v;

    if (n->store == NULL) {
        return; /* Its log is being opened: nothing new. */
    }
    v = rp_store_files_version(n->store, set->name, 0);
    if (set->last == 0) {
        SY_LOG(&n->log, SY_NOTE, "files.forgotten", KSTR("set", set->name));
        return;
    }
    SY_LOG(&n->log, SY_INFO, "files.version", KSTR("set", set->name), KU64("nr", v->nr),
           KU64("from", v->from), KU64("by", v->node), KU64("files", v->n),
           KU64("bytes", v->bytes));
}

static void tell_text(struct nd_node *n, enum sy_level level, const char *name,
                      const char *text)
{
    struct sy_buf b = {0};

    SY_LOG(&n->log, level, name, KSTR("text", text));
    if (heard(n)) {
        begin(n, &b, name, 1);
        sy_mp_kstr(&b, "text", text != NULL ? text : "");
        publish(n, name, &b);
    }
}

static void tell_area(struct nd_node *n, const struct rp_area *a)
{
    const char *name = a->off != 0 ? "area.off" : "area.on";

    tell_place(n, name, a);
}

void nd_events_apply(struct nd_node *n, const struct rp_event *ev)
{
    switch (ev->kind) {
    case RP_EV_BRIDGE:
        tell_bridge(n, ev->area);
        break;
    case RP_EV_DEVICE:
        tell_device(n, "device.new", ev->device);
        break;
    case RP_EV_GONE:
        tell_device(n, "device.gone", ev->device);
        break;
    case RP_EV_AVAIL:
        tell_device(n, "device.availability", ev->device);
        break;
    case RP_EV_STATE:
        tell_device(n, "device.state", ev->device);
        break;
    case RP_EV_COMMAND:
        tell_command(n, ev->command);
        break;
    case RP_EV_AREA:
        tell_area(n, ev->area);
        break;
    case RP_EV_WATCH:
        tell_watch(n, ev);
        break;
    case RP_EV_REFUSED:
        tell_text(n, SY_WARN, "input.refused", ev->text);
        break;
    case RP_EV_FACT:
        SY_LOG(&n->log, SY_INFO, "fact", KSTR("key", ev->fact->key),
               KSTR("value", ev->fact->value));
        break;
    case RP_EV_AUDIT:
        SY_LOG(&n->log, SY_INFO, "audit", KU64("nr", ev->audit->nr),
               KSTR("who", ev->audit->who), KSTR("what", ev->audit->what),
               KSTR("about", ev->audit->about), KSTR("result", ev->audit->result));
        break;
    case RP_EV_FILES:
        tell_files(n, ev->files);
        break;
    case RP_EV_DRILL:
        SY_LOG(&n->log, ev->drill->state == RP_DRILL_FAILED ? SY_WARN : SY_NOTE, "drill",
               KU64("nr", ev->drill->nr), KSTR("kind", ev->drill->kind),
               KSTR("state", rp_drill_state_name(ev->drill->state)));
        break;
    case RP_EV_DIVERGED:
        tell_text(n, SY_WARN, "state.differs", ev->text);
        break;
    case RP_EV_LETTER: /* Its payload.bad or device.unknown was told. */
    case RP_EV_REPORT: /* Every reading as an event would drown the rest. */
    case RP_EV_NR:
    default:
        break;
    }
}

void nd_events_diverged(struct nd_node *n)
{
    if (n->diverged) {
        tell_text(n, SY_ERR, "state.diverged",
                  "this node's state differs from the cluster's: it will not take the "
                  "watch; move its data directory aside and re-seed it");
    } else {
        tell_text(n, SY_NOTE, "state.agrees",
                  "most nodes have the same state as this one: it may take the watch");
    }
}

void nd_events_ready(struct nd_node *n, bool ready, const char *text)
{
    tell_text(n, ready ? SY_NOTE : SY_WARN, ready ? "ready.back" : "ready.lost", text);
}

void nd_events_role(struct nd_node *n, const char *from, const char *to, uint64_t term)
{
    struct sy_buf b = {0};

    SY_LOG(&n->log, SY_NOTE, "watch", KSTR("from", from), KSTR("to", to),
           KU64("term", term));
    if (heard(n)) {
        begin(n, &b, "role", 3);
        sy_mp_kstr(&b, "from", from);
        sy_mp_kstr(&b, "to", to);
        sy_mp_kuint(&b, "term", term);
        publish(n, "role", &b);
    }
}

void nd_events_outage(struct nd_node *n, const struct nd_area *a, uint64_t devices,
                      uint64_t offline)
{
    const char *name = a->outage ? "area.outage" : "area.recovered";
    struct sy_buf b = {0};

    SY_LOG(&n->log, a->outage ? SY_ERR : SY_NOTE, name, KSTR("area", a->config->name),
           KU64("devices", devices), KU64("offline", offline));
    if (heard(n)) {
        begin(n, &b, name, 3);
        sy_mp_kstr(&b, "area", a->config->name);
        sy_mp_kuint(&b, "devices", devices);
        sy_mp_kuint(&b, "offline", offline);
        publish(n, name, &b);
    }
}

void nd_events_peer(struct nd_node *n, uint64_t peer, bool up)
{
    const char *name = up ? "peer.up" : "peer.lost";
    struct sy_buf b = {0};

    if (heard(n)) {
        begin(n, &b, name, 1);
        sy_mp_kuint(&b, "peer", peer);
        publish(n, name, &b);
    }
}
