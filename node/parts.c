#include "node/parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node/node.h"
#include "node/pulse.h"

enum {
    BRIDGE_STOP_MS = 6000,    /* It saves what it knows when it stops. */
    BRIDGE_SETTLE_MS = 90000, /* To form its network, and to be heard. */
    BRIDGE_AWAY_MS = 60000,
    HEARD_MAX_MS = 5000, /* Not to be heard is better than not to run. */
    /* What the start of a Zigbee2MQTT takes of one processor, about. */
    BRIDGE_WORK_MS = 1000,
    BRIDGES_WITHIN_MS = 3000 /* However many they are, the last one begins then. */
};

/* One of them. */
struct nd_part
{
    struct nd_node *node;
    unsigned which; /* among the site's resources */
    const struct nd_config_resource *broker;
    unsigned area; /* a bridge's, if @broker is NULL */
    struct nd_gate *gate;
    struct nd_pulse *pulse;
    uint64_t running_ms; /* since when; 0: it does not run */
    uint64_t heard_ms;   /* it may start: when it is heard and it is its turn, or then */
    char ails[AD_PROBE_TEXT_SIZE + 32];
};

struct nd_parts
{
    struct nd_part list[CS_RESOURCES_MAX];
    unsigned n;
    uint64_t turn_ms; /* no bridge starts before */
};

static void set(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

bool nd_bridge_is_ours(const struct nd_config_area *a)
{
    const struct nd_config_run *r = &a->bridge.run;

    return a->has_bridge &&
           (r->has_systemd || r->has_docker || r->has_exec || r->command_n > 0);
}

void nd_bridge_part(const struct nd_config_area *a, struct ad_resource *ret)
{
    /* An area never moves the site: its fault is no reason to hand over. */
    *ret = (struct ad_resource){.stop_ms = BRIDGE_STOP_MS, .spec = {.local = false}};
    snprintf(ret->name, sizeof ret->name, "bridge-%.80s", a->name);
    nd_site_run(ret, &a->bridge.run);
    snprintf(ret->env[0], sizeof ret->env[0], "ZIGBEE2MQTT_DATA=%.230s",
             a->bridge.data_dir);
    /* Or a mistake in its settings opens a page for everybody, at port 8080. */
    set(ret->env[1], sizeof ret->env[1], "Z2M_ONBOARD_NO_SERVER=1");
    memset(ret->spec.after, CS_NO_RESOURCE, sizeof ret->spec.after);
}

static void conf_path(const struct nd_config *c, const struct nd_config_resource *r,
                      char to[ND_PATH_SIZE])
{
    snprintf(to, ND_PATH_SIZE, "%.180s/%.63s.conf", c->data_dir, r->name);
}

void nd_mosquitto_part(const struct nd_config *c, const struct nd_config_resource *r,
                       struct ad_resource *ret)
{
    ret->kind = AD_RES_COMMAND;
    ret->args_n = 3;
    set(ret->args[0], sizeof ret->args[0], r->mosquitto.executable);
    set(ret->args[1], sizeof ret->args[1], "-c");
    conf_path(c, r, ret->args[2]);
}

void nd_bridge_gate(const struct nd_config *c, unsigned area, struct nd_bridge *room,
                    struct nd_gate_config *ret)
{
    *ret = (struct nd_gate_config){.bridge = room};
    nd_bridge_of(c, area, room);
    ad_seat_config_default(&ret->seat);
    if (room->wanted.port[0] != '\0') {
        nd_coordinator_address(room->wanted.port, ret->seat.host, &ret->seat.port);
    }
}

void nd_mosquitto_gate(const struct nd_config *c, const struct nd_config_resource *r,
                       struct nd_gate_config *ret)
{
    *ret = (struct nd_gate_config){.broker = &r->mosquitto};
    conf_path(c, r, ret->conf);
}

const char *nd_bridge_ails(uint64_t running_ms, uint64_t offline_ms)
{
    if (running_ms < BRIDGE_SETTLE_MS || offline_ms < BRIDGE_AWAY_MS) {
        return NULL;
    }
    return "its process runs, but it has been offline for a minute: it hangs, or cannot "
           "reach the broker; see its log";
}

/* --- before a start --- */

/* The broker of ours at which these clients are; NULL: it is not ours. */
static const struct nd_config_resource *ours(const struct nd_node *n, unsigned broker)
{
    for (unsigned i = 0; i < n->config.resources_n; i++) {
        const struct nd_config_resource *r = &n->config.resources[i];

        if (r->has_mosquitto &&
            nd_mosquitto_is_at(&r->mosquitto, &n->config.brokers[broker])) {
            return r;
        }
    }
    return NULL;
}

/* Does the watch hear what a bridge says? Each host's broker has a session of its own: to
 * one that has had no watch yet, or none since an area came, a bridge that is there first
 * speaks in vain. The broker takes its readings, and gives them to nobody. */
static bool is_heard(const struct nd_part *p)
{
    unsigned broker = p->node->config.areas[p->area].broker;
    const struct ad_mqtt *mqtt = p->node->brokers[broker].mqtt;
    const struct ad_mqtt_status *s = mqtt != NULL ? ad_mqtt_status(mqtt) : NULL;

    return ours(p->node, broker) == NULL ||
           (s != NULL && s->reader == AD_MQTT_UP && s->subscriptions > 0);
}

unsigned nd_bridge_turn_ms(unsigned bridges, unsigned processors)
{
    unsigned work = BRIDGE_WORK_MS / processors, most = BRIDGES_WITHIN_MS / bridges;

    return work < most ? work : most;
}

static void go_on_if_heard(struct nd_part *p)
{
    uint64_t now = nd_now_ms();

    if (p->heard_ms == 0 ||
        ((!is_heard(p) || now < p->node->parts->turn_ms) && now < p->heard_ms)) {
        return;
    }
    p->heard_ms = 0;
    p->node->parts->turn_ms =
        now + nd_bridge_turn_ms(p->node->parts->n, uv_available_parallelism());
    nd_site_go_on(p->node, p->which, true, "");
}

static void gate_said(void *data, bool open, bool last, const char *why)
{
    struct nd_part *p = data;
    struct nd_node *n = p->node;

    if (last) {
        p->gate = NULL;
        if (open && p->broker == NULL) {
            p->heard_ms = nd_now_ms() + HEARD_MAX_MS;
            set(n->site.parts[p->which].why, AD_RESOURCE_WHY_SIZE,
                is_heard(p) ? "" : "it starts when the watch is connected to its broker");
            go_on_if_heard(p);
        } else {
            nd_site_go_on(n, p->which, open, why);
        }
        return;
    }
    set(n->site.parts[p->which].why, AD_RESOURCE_WHY_SIZE, why); /* For the status. */
}

static struct nd_part *part_of(struct nd_node *n, unsigned which)
{
    for (unsigned i = 0; i < n->parts->n; i++) {
        if (n->parts->list[i].which == which) {
            return &n->parts->list[i];
        }
    }
    return NULL;
}

static void leave_gate(struct nd_part *p)
{
    p->heard_ms = 0;
    if (p->gate != NULL) {
        nd_gate_cancel(p->gate);
        p->gate = NULL;
    }
}

static void before(struct nd_node *n, unsigned which)
{
    struct nd_part *p = part_of(n, which);
    struct nd_gate_config c;
    struct nd_bridge bridge;

    leave_gate(p);
    if (p->broker != NULL) {
        nd_mosquitto_gate(&n->config, p->broker, &c);
    } else {
        nd_bridge_gate(&n->config, p->area, &bridge, &c);
    }
    p->gate = nd_gate_start(n->loop, &c, &n->log, gate_said, p);
}

/* --- while it runs --- */

static void pulse_lost(void *data, const char *why)
{
    struct nd_part *p = data;

    snprintf(p->ails, sizeof p->ails, "its process runs, but: %s", why);
}

static void feel_pulse(struct nd_part *p)
{
    struct nd_node *n = p->node;
    struct nd_pulse_config c;
    char id[AD_MQTT_ID_SIZE];

    nd_pulse_config_default(&c);
    c.broker = &p->broker->mosquitto;
    snprintf(id, sizeof id, "vagt-%s-pulse%u", n->config.cluster, (unsigned)n->config.id);
    c.client_id = id;
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (nd_mosquitto_is_at(c.broker, &n->config.brokers[i])) {
            c.username = n->config.brokers[i].username;
            c.password = n->config.brokers[i].password;
        }
    }
    p->pulse = nd_pulse_start(n->loop, &c, pulse_lost, p);
}

static const char *look(struct nd_node *n, unsigned which)
{
    struct nd_part *p = part_of(n, which);
    const struct rp_area *area;
    uint64_t now = nd_replica_clock_ms(n->replica);

    if (p->broker != NULL) {
        return p->ails[0] != '\0' ? p->ails : NULL;
    }
    if (nd_listened_ms(n, n->config.areas[p->area].broker) < BRIDGE_AWAY_MS) {
        return NULL; /* Not to be heard is no fault of it: a full outbox reads nothing. */
    }
    area = rp_store_area_named(n->store, n->config.areas[p->area].name);
    return area == NULL || area->bridge != RP_OFFLINE || now < area->bridge_at_ms ||
                   p->running_ms == 0
               ? NULL
               : nd_bridge_ails(nd_now_ms() - p->running_ms, now - area->bridge_at_ms);
}

static void end_pulse(struct nd_part *p)
{
    if (p->pulse != NULL) {
        nd_pulse_stop(p->pulse);
        p->pulse = NULL;
    }
    p->ails[0] = '\0';
}

/* Its clients may be waiting for an address that was on another host until now. */
static void call_clients(struct nd_part *p)
{
    struct nd_node *n = p->node;

    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (n->brokers[i].mqtt != NULL && ours(n, i) == p->broker) {
            ad_mqtt_hurry(n->brokers[i].mqtt);
        }
    }
}

/* The area's source believes what is said of the bridge, and a broker of ours brings what
 * it had when it ended. At a broker that is not ours the bridge of the host before may
 * yet be at work, and that broker says when it is not. */
static void tell_source(struct nd_part *p)
{
    struct nd_node *n = p->node;
    const struct ad_mqtt *mqtt = n->brokers[n->config.areas[p->area].broker].mqtt;
    const struct cs_resource *r = &n->site.m.list[p->which];
    bool runs = r->state == CS_RES_STARTING ? n->site.parts[p->which].before_until_ms == 0
                                            : r->state != CS_RES_STOPPED;

    if (mqtt == NULL || ad_mqtt_status(mqtt)->paused) {
        return; /* Nobody could hear that it runs again. */
    }
    for (unsigned i = 0; i < n->areas_n; i++) {
        const struct nd_area *a = &n->areas[i];

        if (a->config == &n->config.areas[p->area] && a->state != NULL &&
            ours(n, a->config->broker) != NULL && a->source->process != NULL) {
            a->source->process(a->state, runs, nd_wall_ms(),
                               nd_replica_batch(n->replica));
        }
    }
}

static void tend(struct nd_part *p)
{
    struct nd_node *n = p->node;
    bool runs = n->site.m.list[p->which].state == CS_RES_RUNNING;
    const struct rp_area *area;

    if (n->site.parts[p->which].before_until_ms == 0) {
        leave_gate(p); /* It is not wanted any more: leave the coordinator alone. */
    }
    go_on_if_heard(p);
    if (runs && p->running_ms == 0 && p->broker != NULL) {
        call_clients(p);
    }
    p->running_ms = !runs ? 0 : p->running_ms != 0 ? p->running_ms : nd_now_ms();
    if (p->broker == NULL) {
        tell_source(p);
        area = rp_store_area_named(n->store, n->config.areas[p->area].name);
        nd_site_off(n, p->which, area != NULL && area->off != 0);
    } else if (runs && p->pulse == NULL) {
        feel_pulse(p);
    } else if (!runs) {
        end_pulse(p);
    }
}

void nd_parts_tend(struct nd_node *n)
{
    for (unsigned i = 0; n->parts != NULL && i < n->parts->n; i++) {
        tend(&n->parts->list[i]);
    }
}

/* --- the list --- */

static struct nd_part *add(struct nd_node *n, int which)
{
    struct nd_part *p;

    if (which < 0) {
        return NULL; /* A witness, or no room. */
    }
    if (n->parts == NULL) {
        n->parts = sy_calloc(1, sizeof *n->parts);
    }
    p = &n->parts->list[n->parts->n++];
    p->node = n;
    p->which = (unsigned)which;
    nd_site_before_start(n, p->which, before);
    nd_site_also_look(n, p->which, look);
    return p;
}

/* A bridge needs the broker and the addresses; @ret has room for four, brokers first. */
static void comes_after(struct nd_node *n, uint8_t ret[CS_AFTER_MAX])
{
    unsigned count = 0;

    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < n->config.resources_n && count < CS_AFTER_MAX; i++) {
            const struct nd_config_resource *r = &n->config.resources[i];

            if (pass == 0 ? r->has_mosquitto : r->has_vip) {
                ret[count++] = (uint8_t)nd_site_find(n, r->name);
            }
        }
    }
}

void nd_parts_init(struct nd_node *n)
{
    struct ad_resource r;
    struct nd_part *p;

    for (unsigned i = 0; i < n->config.resources_n; i++) {
        if (n->config.resources[i].has_mosquitto) {
            p = add(n, nd_site_find(n, n->config.resources[i].name));
            if (p != NULL) {
                p->broker = &n->config.resources[i];
            }
        }
    }
    for (unsigned i = 0; i < n->config.areas_n; i++) {
        if (!nd_bridge_is_ours(&n->config.areas[i]) || !n->config.areas[i].enabled) {
            continue;
        }
        nd_bridge_part(&n->config.areas[i], &r);
        comes_after(n, r.spec.after);
        p = add(n, nd_site_add(n, &r));
        if (p != NULL) {
            p->area = i;
        }
    }
}

void nd_parts_close(struct nd_node *n)
{
    for (unsigned i = 0; n->parts != NULL && i < n->parts->n; i++) {
        leave_gate(&n->parts->list[i]);
        end_pulse(&n->parts->list[i]);
    }
    sy_free(n->parts);
    n->parts = NULL;
}
