#include <inttypes.h>

#include "cli/cli.h"

/* The best view there is: a node that sees a watch knows more than one that sees
 * none, which may be cut off. @r holds the view or the failure. */
void ct_status_ask(struct ct_client *c, const struct ct_options *opt, struct ct_reply *r)
{
    struct ct_reply other = {0};

    ct_ask(c, "status", NULL, opt->timeout_ms, r);
    if (r->answer != CT_OK || ct_status_health(r->result) != CT_NO_WATCH) {
        return;
    }
    for (unsigned i = 0; i < opt->sockets.n && !ct_interrupted; i++) {
        unsigned first = c->at;

        if (i == first) {
            continue;
        }
        ct_ask_one(c, i, "status", NULL, opt->timeout_ms / opt->sockets.n + 1, &other);
        if (other.answer == CT_OK && ct_status_health(other.result) != CT_NO_WATCH) {
            ct_reply_free(r);
            *r = other;
            return;
        }
        c->at = first;
    }
    ct_reply_free(&other);
}

/* The verdict comes last, where the eye is when it has scrolled by. */
static void show_view(struct ct_out *o, struct ct_val status)
{
    ct_status_head(o, status);
    ct_put(o, "\n");
    ct_status_body(o, status);
    ct_put(o, "\n");
    ct_status_verdict(o, status);
}

static int show_once(const struct ct_options *opt, struct ct_client *c, struct ct_out *o)
{
    struct ct_reply r = {0};
    int rv;

    ct_status_ask(c, opt, &r);
    if (r.answer != CT_OK) {
        rv = ct_fail_reply(opt, o, &r);
    } else if (opt->json) {
        rv = ct_print_json(o, r.result) != CT_DONE ? CT_FAILED
                                                   : ct_status_health(r.result);
    } else {
        show_view(o, r.result);
        rv = ct_status_health(r.result);
    }
    ct_reply_free(&r);
    return rv;
}

/* --- --stale --- */

static void show_stale_head(struct ct_out *o, const struct ct_options *opt, unsigned i,
                            const struct ct_reply *r)
{
    struct ct_iter it = ct_iterate(ct_get(r->result, "nodes"));
    struct ct_val n;

    ct_colour(o, CT_BOLD);
    ct_fmt(o, "=== what node %" PRIu64 " at %s knows", r->node, opt->sockets.at[i]);
    ct_colour(o, CT_PLAIN);
    ct_put(o, "\n");
    while (ct_next(&it, &n)) {
        if (ct_uint(n, "id") == r->node) {
            continue;
        }
        ct_put(o, "    of ");
        ct_say(o, ct_str(n, "name"));
        if (ct_is_uint(ct_get(n, "contact_ms"))) {
            ct_put(o, ": ");
            ct_age(&o->b, ct_uint(n, "contact_ms"));
            ct_put(o, " old\n");
        } else {
            ct_put(o, ": nothing since it started\n");
        }
    }
    if (ct_is_uint(ct_get(ct_get(r->result, "site"), "stale_ms"))) {
        ct_put(o, "    of the site: ");
        ct_age(&o->b, ct_uint(ct_get(r->result, "site"), "stale_ms"));
        ct_put(o, " old\n");
    }
    ct_put(o, "\n");
}

static void stale_json(struct sy_json *j, const char *socket, const struct ct_reply *r)
{
    struct sy_cur c = r->result.start;

    sy_json_object(j);
    sy_json_kstr(j, "socket", socket);
    if (r->answer == CT_OK && r->result.m.type != SY_MP_BAD) {
        sy_json_key(j, "status");
        if (sy_json_mp(j, &c) != 0) {
            sy_json_null(j);
        }
    } else {
        sy_json_kstr(j, "error",
                     r->answer != CT_OK ? (const char *)r->text.p : "damaged");
    }
    sy_json_object_end(j);
}

/* Every socket's own view. The exit code is that of the worst; who does not answer
 * makes it at least degraded, and if nobody does it is unreachable. */
static int show_stale(const struct ct_options *opt, struct ct_client *c, struct ct_out *o)
{
    struct ct_reply r = {0};
    struct sy_json j;
    unsigned answers = 0;
    int worst = CT_HEALTHY;

    sy_json_init(&j, &o->b);
    if (opt->json) {
        sy_json_array(&j);
    }
    for (unsigned i = 0; i < opt->sockets.n && !ct_interrupted; i++) {
        int health = CT_DEGRADED;

        ct_ask_one(c, i, "status", NULL, opt->timeout_ms, &r);
        if (r.answer == CT_OK) {
            answers++;
            health = ct_status_health(r.result);
        }
        worst = health > worst ? health : worst;
        if (opt->json) {
            stale_json(&j, opt->sockets.at[i], &r);
            continue;
        }
        if (i > 0) {
            ct_put(o, "\n");
        }
        if (r.answer == CT_OK) {
            show_stale_head(o, opt, i, &r);
            show_view(o, r.result);
        } else {
            ct_sentence(o, "=== ", CT_BOLD, ct_lit((const char *)r.text.p));
        }
    }
    if (opt->json) {
        sy_json_array_end(&j);
        sy_json_finish(&j);
        ct_put(o, "\n");
    }
    ct_reply_free(&r);
    return answers > 0 ? worst : CT_UNREACHABLE;
}

int ct_cmd_status(const struct ct_options *opt)
{
    struct ct_client c;
    struct ct_out o;
    int rv;

    ct_client_init(&c, &opt->sockets);
    ct_out_init(&o);
    if (opt->watch_ms > 0) {
        rv = ct_status_watch(opt, &c, &o);
    } else if (opt->stale) {
        rv = show_stale(opt, &c, &o);
    } else {
        rv = show_once(opt, &c, &o);
    }
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_client_free(&c);
    ct_out_free(&o);
    return rv;
}
