/* The settings of the bridges on this host, looked at or mended for an operator. The
 * files are read beside the loop: a disk that is slow holds up nobody. */

#include <string.h>

#include "base/mem.h"
#include "base/mp.h"
#include "node/bridges.h"
#include "node/node.h"

struct look
{
    uv_work_t work;
    struct nd_asker asker;
    bool write;
    struct nd_bridges bridges;
};

static void look_run(uv_work_t *work)
{
    struct look *l = work->data;

    nd_bridges_look(&l->bridges, l->write);
}

static void count(void *data, const char *text)
{
    (void)text;
    ++*(unsigned *)data;
}

static void put_text(void *data, const char *text)
{
    struct sy_buf *b = data;

    sy_mp_str(b, text);
}

static void put_bridge(const struct look *l, unsigned i, struct sy_buf *b)
{
    const struct nd_bridge *e = &l->bridges.list[i];
    unsigned n = 0;

    (void)nd_bridge_tell(&l->bridges, i, count, &n);
    sy_mp_map(b, 5);
    sy_mp_kstr(b, "area", e->area);
    sy_mp_kstr(b, "dir", e->dir);
    sy_mp_kbool(b, "may_write", e->may_write);
    sy_mp_kbool(b, "written", e->written);
    sy_mp_str(b, "differs");
    sy_mp_array(b, n);
    (void)nd_bridge_tell(&l->bridges, i, put_text, b);
}

static void look_done(uv_work_t *work, int status)
{
    struct look *l = work->data;
    struct nd_node *n = l->asker.node;
    struct sy_buf b = {0};

    n->bridges_looking = false;
    if (n->closing || status != 0) {
        sy_free(l);
        return;
    }
    for (unsigned i = 0; i < l->bridges.n; i++) {
        if (l->bridges.list[i].written) {
            SY_LOG(&n->log, SY_NOTE, "bridge.settings",
                   KSTR("area", l->bridges.list[i].area),
                   KU64("mended", l->bridges.list[i].findings.n));
        }
    }
    nd_reply_begin(&l->asker, &b);
    sy_mp_map(&b, 2);
    sy_mp_kstr(&b, "node", nd_config_self(&n->config)->name);
    sy_mp_str(&b, "bridges");
    sy_mp_array(&b, l->bridges.n);
    for (unsigned i = 0; i < l->bridges.n; i++) {
        put_bridge(l, i, &b);
    }
    nd_reply_send(&l->asker, &b);
    sy_free(l);
}

void nd_op_bridges(struct nd_request *q)
{
    struct nd_node *n = q->asker.node;
    char action[16];
    struct look *l;

    nd_map_str(q->args, "action", action, sizeof action);
    if (action[0] != '\0' && strcmp(action, "check") != 0 &&
        strcmp(action, "write") != 0) {
        nd_reply_error(&q->asker, "invalid",
                       "the settings of bridges are looked at with "
                       "'check' or mended with 'write', not '%s'",
                       action);
        return;
    }
    /* The log is written by the same few threads. */
    if (n->bridges_looking) {
        nd_reply_error(&q->asker, "busy", "somebody is looking already: ask again");
        return;
    }
    l = sy_calloc(1, sizeof *l);
    l->asker = q->asker;
    l->write = strcmp(action, "write") == 0;
    l->work.data = l;
    nd_bridges_of(&n->config, &l->bridges);
    if (uv_queue_work(n->loop, &l->work, look_run, look_done) != 0) {
        nd_reply_error(&q->asker, "busy", "nobody is free to look: ask again");
        sy_free(l);
        return;
    }
    n->bridges_looking = true;
}
