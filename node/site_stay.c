/* What runs goes on while this process begins anew in its own place: its keeper is passed
 * on, and says what runs. So of two nodes the one on watch loses nothing of the site when
 * the other one dies.
 *
 * It leads no more before it may claim the row in Postgres (consensus/tie.c), so the stop
 * of all waits for the claim. That takes nothing from the safety: who would take over
 * waits watch.takeover_wait, of which one half is this process's, and it ends with that.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "node/node.h"

#define KEEPER_ENV "VAGT_KEEPER"

/* A keeper of another configuration or program would carry out something else. */
static uint32_t fingerprint(const struct nd_node *n)
{
    struct sy_buf b = {.p = NULL};
    uint32_t crc = sy_crc32c(0, VAGT_VERSION, sizeof VAGT_VERSION);

    nd_config_print(&n->config, &b);
    crc = sy_crc32c(crc, b.p, b.len);
    sy_buf_free(&b);
    return crc;
}

/* --- the process that ends --- */

void nd_site_stay(struct nd_node *n)
{
    struct nd_site *s = &n->site;

    for (unsigned i = 0; i < s->m.n; i++) {
        const struct cs_resource *x = &s->m.list[i];

        /* One that may not stop is fenced by who began to stop it. */
        if (x->state == CS_RES_STUCK || (x->state == CS_RES_STOPPING && x->started)) {
            return;
        }
    }
    s->stay.going = cs_resources_started(&s->m) && !s->yield.on;
}

void nd_site_pass_on(struct nd_node *n)
{
    char text[32];

    if (n->site.stay.going && n->site.fd >= 0) {
        snprintf(text, sizeof text, "%d %" PRIu32, n->site.fd, fingerprint(n));
        (void)setenv(KEEPER_ENV, text, 1);
        (void)fcntl(n->site.fd, F_SETFD, 0);
    }
}

/* --- the process that begins --- */

static bool ask(int fd, enum ad_keeper_what what)
{
    struct ad_keeper_message m = {.what = (uint8_t)what};

    return send(fd, &m, sizeof m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof m;
}

static bool is_a_keeper(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
           type == SOCK_SEQPACKET;
}

int nd_site_take_over(struct nd_node *n)
{
    const char *text = getenv(KEEPER_ENV);
    uint32_t print;
    int fd = -1;

    if (text == NULL || sscanf(text, "%d %" SCNu32, &fd, &print) != 2 || fd < 3 ||
        !is_a_keeper(fd)) {
        (void)unsetenv(KEEPER_ENV);
        return -1;
    }
    (void)unsetenv(KEEPER_ENV);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (print != fingerprint(n) || !ask(fd, AD_KEEPER_ALIVE) ||
        !ask(fd, AD_KEEPER_LIST)) {
        close(fd); /* It stops everything then, and the next one waits for it. */
        return -1;
    }
    n->site.stay = (struct nd_site_stay){
        .on = true,
        .old = true,
        .until_ms = nd_now_ms() + n->config.takeover_wait_ms / 2,
    };
    return fd;
}

bool nd_site_stay_heard(struct nd_node *n, const struct ad_keeper_message *m)
{
    struct nd_site_stay *s = &n->site.stay;

    if (!s->on) {
        return false;
    }
    if (m->what == AD_KEEPER_RUNS) {
        s->runs[m->which] = true;
    } else if (m->what == AD_KEEPER_LIST) {
        s->known = true;
    } else if (m->what == AD_KEEPER_ENDED) {
        s->runs[m->which] = false;
    }
    return true; /* Whatever else came was asked by the process before. */
}

static void adopt(struct nd_node *n)
{
    struct nd_site *s = &n->site;

    for (unsigned i = 0; i < s->m.n; i++) {
        if (s->stay.runs[i]) {
            cs_resources_adopt(&s->m, nd_now_ms(), i);
            s->parts[i].told = CS_RES_RUNNING;
            s->parts[i].since_ms = nd_wall_ms();
            SY_LOG(&n->log, SY_NOTE, "resource.adopted",
                   KSTR("resource", s->list[i].name));
        }
    }
}

/* --- both --- */

/* It leads no more, and may yet turn out to be the one that goes on. */
static bool undecided(const struct nd_node *n)
{
    const struct nd_tie *t = &n->tie;
    uint32_t sole = t->m.row.sole;

    return t->on && t->peer != 0 && t->l.reach && !t->m.lost &&
           (sole == 0 || sole == n->config.id) &&
           cs_core_leader(nd_replica_core(n->replica)) == 0 &&
           cs_watch_state(&n->watch) == CS_DRAINING && !n->stopping && !n->closing &&
           !n->site.yield.on && !nd_node_diverged(n) &&
           nd_now_ms() < n->watch.since_ms + n->config.takeover_wait_ms * 3 / 8;
}

bool nd_site_stay_tend(struct nd_node *n, bool wanted)
{
    struct nd_site_stay *s = &n->site.stay;

    if (s->going || undecided(n)) {
        return false;
    }
    if (s->on && s->known && wanted) {
        s->on = false;
        adopt(n);
    } else if (s->on && nd_now_ms() >= s->until_ms) {
        s->on = false; /* They are stopped, as after any other start. */
    }
    return !s->on;
}
