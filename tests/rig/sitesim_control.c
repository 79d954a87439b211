/* What can be asked of the site through the control port, and what can be done to it. */
#include "sitesim.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LIST_MAX = 4096 };

struct query
{
    struct sim_site *site;
    const char *text; /* "a=1&b=2" */
    struct sim_buf *body;
};

/* ---- the commands; each returns an HTTP status ---- */

static int bad(struct query *q, const char *what)
{
    sim_buf_printf(q->body, "{\"error\":\"%s\"}\n", what);
    return 400;
}

static int done(struct query *q, int count)
{
    sim_buf_printf(q->body, "{\"ok\":%d}\n", count);
    return 200;
}

/* false = absent or too long. Values are plain; %2C is not decoded. */
static bool argument(const struct query *q, const char *key, char *out, size_t cap)
{
    size_t key_len = strlen(key);
    const char *at = q->text;

    while (*at != '\0') {
        size_t len = strcspn(at, "&");

        if (len > key_len && at[key_len] == '=' && strncmp(at, key, key_len) == 0 &&
            len - key_len - 1 < cap) {
            memcpy(out, at + key_len + 1, len - key_len - 1);
            out[len - key_len - 1] = '\0';
            return true;
        }
        at += len + (at[len] == '&' ? 1 : 0);
    }
    return false;
}

static bool int_argument(const struct query *q, const char *key, int low, int high,
                         int *ret)
{
    char text[32];

    return argument(q, key, text, sizeof text) && sim_parse_int(text, low, high, ret);
}

static struct sim_meter *find_anywhere(struct sim_site *s, const char *name, size_t len)
{
    struct sim_meter *m = NULL;

    for (int k = 0; k < s->opt.areas && m == NULL; k++) {
        m = sim_meter_find(&s->areas[k], name, len);
    }
    return m;
}

static int do_stats(struct query *q)
{
    sim_report_stats(q->site, q->body);
    return 200;
}

static int do_log(struct query *q)
{
    int clear = 0;

    sim_report_log(q->site, q->body);
    if (int_argument(q, "clear", 0, 1, &clear) && clear == 1) {
        q->site->log_count = 0;
        q->site->log_dropped = 0;
    }
    return 200;
}

static int do_meters(struct query *q)
{
    sim_report_meters(q->site, q->body);
    return 200;
}

static int reach(struct query *q, bool offline)
{
    struct sim_site *s = q->site;
    char list[LIST_MAX];
    int area, now = 0;
    int count = 0;

    (void)int_argument(q, "now", 0, 1, &now);
    if (int_argument(q, "area", 1, s->opt.areas, &area)) {
        for (int i = 0; i < s->opt.devices; i++) {
            sim_site_offline(&s->areas[area - 1].meters[i], offline, now == 1);
        }
        return done(q, s->opt.devices);
    }
    if (!argument(q, "dev", list, sizeof list)) {
        return bad(q, "dev=NAME[,NAME] or area=K is needed");
    }
    /* First look, then act: a wrong name changes nothing. */
    for (int act = 0; act < 2; act++) {
        for (const char *at = list; *at != '\0';) {
            size_t len = strcspn(at, ",");
            struct sim_meter *m = find_anywhere(s, at, len);

            if (m == NULL) {
                return bad(q, "no such meter");
            }
            if (act == 1) {
                sim_site_offline(m, offline, now == 1);
                count++;
            }
            at += len + (at[len] == ',' ? 1 : 0);
        }
    }
    return done(q, count);
}

static int do_offline(struct query *q)
{
    return reach(q, true);
}

static int do_online(struct query *q)
{
    return reach(q, false);
}

static int do_bridge_stop(struct query *q)
{
    static const char *const names[] = {"kill", "term", "silent"};
    char how[8] = "kill";
    int area;

    (void)argument(q, "how", how, sizeof how);
    for (int i = 0; i < 3; i++) {
        if (strcmp(how, names[i]) == 0 &&
            int_argument(q, "area", 1, q->site->opt.areas, &area)) {
            sim_bridge_stop(&q->site->areas[area - 1], (enum sim_stop)i);
            return done(q, 1);
        }
    }
    return bad(q, "area=K, and how=kill, term or silent");
}

static int do_bridge_start(struct query *q)
{
    int area, forgot = 0;

    (void)int_argument(q, "forgot", 0, 1, &forgot);
    if (!int_argument(q, "area", 1, q->site->opt.areas, &area)) {
        return bad(q, "area=K is needed");
    }
    sim_bridge_start(&q->site->areas[area - 1], forgot == 1);
    return done(q, 1);
}

static int do_interval(struct query *q)
{
    if (!int_argument(q, "ms", 0, 86400000, &q->site->opt.interval_ms)) {
        return bad(q, "ms=0..86400000 is needed");
    }
    q->site->reports_due = 0;
    return done(q, 1);
}

static int do_tune(struct query *q)
{
    struct sim_options *o = &q->site->opt;
    char text[32];
    char *end;
    double p;
    int count = 0;

    count += int_argument(q, "set-delay-ms", 0, 60000, &o->set_delay_ms) ? 1 : 0;
    if (argument(q, "stale-prob", text, sizeof text)) {
        p = strtod(text, &end);
        if (end == text || *end != '\0' || !(p >= 0.0 && p <= 1.0)) {
            return bad(q, "stale-prob=0..1");
        }
        o->stale_prob = p;
        count++;
    }
    return count > 0 ? done(q, count) : bad(q, "set-delay-ms=0..60000, stale-prob=0..1");
}

static int do_press(struct query *q)
{
    char name[SIM_NAME_MAX], state[8];
    struct sim_meter *m = NULL;

    if (argument(q, "dev", name, sizeof name)) {
        m = find_anywhere(q->site, name, strlen(name));
    }
    if (m == NULL) {
        return bad(q, "no such meter");
    }
    if (!argument(q, "state", state, sizeof state) ||
        (strcasecmp(state, "ON") != 0 && strcasecmp(state, "OFF") != 0 &&
         strcasecmp(state, "TOGGLE") != 0)) {
        return bad(q, "state=ON, OFF or TOGGLE is needed");
    }
    sim_site_press(
        m, strcasecmp(state, "TOGGLE") == 0 ? !m->on : strcasecmp(state, "ON") == 0);
    return done(q, 1);
}

static int do_burst(struct query *q)
{
    struct sim_site *s = q->site;
    int n, qos = s->opt.qos, area = 0;

    (void)int_argument(q, "qos", 0, 2, &qos);
    (void)int_argument(q, "area", 1, s->opt.areas, &area);
    if (!int_argument(q, "n", 1, 1000000000, &n)) {
        return bad(q, "n=1..1000000000 is needed");
    }
    if (s->burst.sent < s->burst.wanted) {
        sim_buf_printf(q->body, "{\"error\":\"a burst is running\"}\n");
        return 409;
    }
    sim_site_burst(s, (uint64_t)n, qos, area);
    return done(q, n);
}

static const struct
{
    const char *path;
    int (*run)(struct query *q);
} commands[] = {
    {"/stats", do_stats},
    {"/log", do_log},
    {"/meters", do_meters},
    {"/offline", do_offline},
    {"/online", do_online},
    {"/bridge-stop", do_bridge_stop},
    {"/bridge-start", do_bridge_start},
    {"/interval", do_interval},
    {"/tune", do_tune},
    {"/press", do_press},
    {"/burst", do_burst},
};

int sim_control_run(struct sim_site *s, const char *path, const char *query,
                    struct sim_buf *body)
{
    struct query q = {.site = s, .text = query, .body = body};

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].path, path) == 0) {
            return commands[i].run(&q);
        }
    }
    (void)bad(&q, "no such command");
    return 404;
}
