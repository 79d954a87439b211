#include "node/gate.h"

#include <string.h>

#include "base/mem.h"

struct nd_gate
{
    uv_loop_t *loop;
    const struct sy_log *log;
    nd_gate_cb cb; /* NULL: nobody waits any more */
    void *data;
    bool has_bridge, has_broker;
    struct ad_seat_config seat_config;
    struct ad_broker_config broker;
    char conf[ND_PATH_SIZE];
    struct nd_bridges bridges; /* one */

    uv_work_t work;
    bool working;
    struct ad_seat *seat;
    struct sy_errbuf eb; /* of the work; "": well */
};

static void end(struct nd_gate *g, bool open, const char *why)
{
    nd_gate_cb cb = g->cb;
    void *data = g->data;
    char text[512];

    snprintf(text, sizeof text, "%s", why);
    sy_free(g);
    cb(data, open, true, text);
}

/* --- the seat --- */

static void seat_said(void *data, enum ad_seat_state state, bool last, const char *text)
{
    struct nd_gate *g = data;
    char why[AD_SEAT_TEXT_SIZE + 64];

    snprintf(why, sizeof why, state == AD_SEAT_FREE ? "%s%s" : "the coordinator at %s%s",
             text, state == AD_SEAT_BUSY && !last ? "; it is waited for" : "");
    if (last) {
        g->seat = NULL;
        end(g, state == AD_SEAT_FREE, why);
    } else {
        g->cb(g->data, false, false, why); /* May cancel us. */
    }
}

/* --- the files, in a thread --- */

static void work_run(uv_work_t *work)
{
    struct nd_gate *g = work->data;

    if (g->has_broker && ad_broker_prepare(&g->broker, g->conf, &g->eb) != 0) {
        return;
    }
    if (g->has_bridge) {
        nd_bridges_look(&g->bridges, true);
        snprintf(g->eb.text, sizeof g->eb.text, "%s", g->bridges.list[0].error);
    }
}

static void tell(void *data, const char *text)
{
    struct nd_gate *g = data;
    const struct nd_bridge *b = &g->bridges.list[0];

    SY_LOG(g->log, SY_WARN, b->written ? "bridge.changed" : "bridge.differs",
           KSTR("area", b->area), KSTR("text", text));
}

static void work_done(uv_work_t *work, int status)
{
    struct nd_gate *g = work->data;

    g->working = false;
    if (g->cb == NULL) {
        sy_free(g);
        return;
    }
    if (status != 0 || g->eb.text[0] != '\0') {
        end(g, false, status != 0 ? uv_strerror(status) : g->eb.text);
        return;
    }
    if (g->has_bridge) {
        (void)nd_bridge_tell(&g->bridges, 0, tell, g);
    }
    if (g->seat_config.host[0] == '\0') {
        end(g, true, "");
        return;
    }
    g->seat = ad_seat_start(g->loop, &g->seat_config, seat_said, g);
}

struct nd_gate *nd_gate_start(uv_loop_t *loop, const struct nd_gate_config *c,
                              const struct sy_log *log, nd_gate_cb cb, void *data)
{
    struct nd_gate *g = sy_calloc(1, sizeof *g);

    g->loop = loop;
    g->log = log;
    g->cb = cb;
    g->data = data;
    g->seat_config = c->seat;
    if (c->bridge != NULL) {
        g->has_bridge = true;
        g->bridges.list[0] = *c->bridge;
        g->bridges.n = 1;
    }
    if (c->broker != NULL) {
        g->has_broker = true;
        g->broker = *c->broker;
        snprintf(g->conf, sizeof g->conf, "%s", c->conf);
    }
    g->work.data = g;
    g->working = true;
    (void)uv_queue_work(loop, &g->work, work_run,
                        work_done); /* Fails without work_run. */
    return g;
}

void nd_gate_cancel(struct nd_gate *g)
{
    g->cb = NULL;
    if (g->working) {
        return; /* It goes when the work is done. */
    }
    if (g->seat != NULL) {
        ad_seat_cancel(g->seat);
    }
    sy_free(g);
}
