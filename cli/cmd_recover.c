/* vagtctl recover: the quorum is lost for good, somebody has to decide who goes on.
 * Looks at the data folders it is given, says what could be lost, asks, and makes one
 * of them the only voter (node/reform.h). Works on folders, not on running nodes: who
 * lost the quorum cannot agree on anything. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "node/reform.h"

enum { FOLDERS_MAX = CS_MEMBERS_MAX, ASK_MS = 1500 };

struct folder
{
    const char *path;
    struct nd_log_look look;
    bool good;
};

struct inquiry
{
    struct folder folders[FOLDERS_MAX];
    unsigned n;
    const struct folder *best;
    uint64_t term;     /* highest seen */
    unsigned voters;   /* in the configuration of the best */
    unsigned looked;   /* at so many of them */
    bool running_more; /* a running node holds more than the best folder */
};

/* Raft's order: an entry of a newer term counts more than any number of older ones. */
static bool better(const struct nd_log_look *a, const struct nd_log_look *b)
{
    return a->last_term != b->last_term ? a->last_term > b->last_term : a->last > b->last;
}

/* --- what runs --- */

/* What a running node says of the end of its log; one of an older version does not tell
 * the term. */
static bool holds_more(const struct ct_val *node, const struct folder *best)
{
    struct nd_log_look l = {.last = ct_uint(*node, "last"),
                            .last_term = ct_uint(*node, "last_term")};

    if (best == NULL) {
        return false;
    }
    l.last_term = l.last_term != 0 ? l.last_term : best->look.last_term;
    return better(&l, &best->look);
}

/* A node that runs speaks for itself: with a watch there is nothing to recover, and
 * what it holds nobody may throw away unseen. */
static int ask_running(const struct ct_options *opt, struct inquiry *q, struct ct_out *o)
{
    struct ct_client c;
    int rv = CT_DONE;

    ct_client_init(&c, &opt->sockets);
    for (unsigned i = 0; rv == CT_DONE && i < opt->sockets.n; i++) {
        struct ct_reply r = {.answer = CT_NONE};
        struct ct_iter it;
        struct ct_val node;

        ct_ask_one(&c, i, "status", NULL, ASK_MS, &r);
        if (r.answer == CT_OK && ct_get(r.result, "watch").m.type == SY_MP_MAP) {
            ct_complain(
                "recover: there is a watch (%s answers and sees it): nothing needs to be "
                "recovered. A node whose disk is lost is replaced while the others run",
                opt->sockets.at[i]);
            rv = CT_FAILED;
        }
        it = ct_iterate(ct_get(r.result, "nodes"));
        while (rv == CT_DONE && r.answer == CT_OK && ct_next(&it, &node)) {
            if (ct_uint(node, "id") == r.node) {
                uint64_t term = ct_uint(node, "term"), last = ct_uint(node, "last");

                ct_put(o, "node ");
                ct_fmt(o,
                       "%" PRIu64 " runs at %s: term %" PRIu64 ", last entry %" PRIu64
                       "\n",
                       r.node, opt->sockets.at[i], term, last);
                q->term = term > q->term ? term : q->term;
                q->running_more = q->running_more || holds_more(&node, q->best);
            }
        }
        ct_reply_free(&r);
    }
    ct_client_free(&c);
    return rv;
}

/* --- what lies in folders --- */

static void show_folder(struct ct_out *o, const struct folder *f)
{
    const struct nd_log_look *l = &f->look;

    ct_say(o, ct_lit(f->path));
    ct_fmt(o, ": node %" PRIu64 " of ", l->id);
    ct_say(o, ct_lit(l->cluster));
    ct_fmt(o, ", last entry %" PRIu64 " of term %" PRIu64 ", current term %" PRIu64,
           l->last, l->last_term, l->term);
    ct_put(o, ", members");
    for (unsigned i = 0; i < l->members_n; i++) {
        ct_fmt(o, "%s %" PRIu64 "%s", i > 0 ? "," : "", l->members[i],
               l->voter[i] ? "" : " (no vote)");
    }
    ct_put(o, "\n");
    if (l->last_at_ms != 0) {
        ct_line_time(o, "  newest", l->last_at_ms);
    }
}

static const struct folder *folder_of(const struct inquiry *q, uint64_t id)
{
    for (unsigned i = 0; i < q->n; i++) {
        if (q->folders[i].good && q->folders[i].look.id == id) {
            return &q->folders[i];
        }
    }
    return NULL;
}

static int look_at_all(const struct ct_options *opt, struct inquiry *q, struct ct_out *o)
{
    if (opt->args_n > FOLDERS_MAX) {
        ct_complain("recover: more than %d folders", FOLDERS_MAX);
        return CT_USAGE;
    }
    for (int i = 0; i < opt->args_n; i++) {
        struct folder *f = &q->folders[q->n];
        struct sy_errbuf eb = {.text = ""};

        *f = (struct folder){.path = opt->args[i]};
        if (nd_log_look(f->path, &f->look, &eb) != 0) {
            ct_say(o, ct_lit(f->path));
            ct_put(o, ": cannot be used: ");
            ct_say(o, ct_lit(eb.text));
            ct_put(o, "\n");
            continue;
        }
        if (folder_of(q, f->look.id) != NULL) {
            ct_complain("recover: %s and %s both belong to node %" PRIu64
                        ": give the one that ran last",
                        folder_of(q, f->look.id)->path, f->path, f->look.id);
            return CT_FAILED;
        }
        if (q->n > 0 && strcmp(f->look.cluster, q->folders[0].look.cluster) != 0) {
            ct_complain("recover: %s belongs to cluster %s, %s to %s", f->path,
                        f->look.cluster, q->folders[0].path, q->folders[0].look.cluster);
            return CT_FAILED;
        }
        f->good = true;
        q->n++;
        q->term = f->look.term > q->term ? f->look.term : q->term;
        show_folder(o, f);
        if (f->look.last > 0 && (q->best == NULL || better(&f->look, &q->best->look))) {
            q->best = f;
        }
    }
    return CT_DONE;
}

/* --- what it means --- */

static void say_unseen(struct ct_out *o, const struct inquiry *q)
{
    const struct nd_log_look *l = &q->best->look;
    bool first = true;

    for (unsigned i = 0; i < l->members_n; i++) {
        if (l->voter[i] && folder_of(q, l->members[i]) == NULL) {
            ct_fmt(o, "%s%" PRIu64, first ? "" : ", ", l->members[i]);
            first = false;
        }
    }
}

static void judge(struct inquiry *q, struct ct_out *o)
{
    const struct nd_log_look *l = &q->best->look;

    for (unsigned i = 0; i < l->members_n; i++) {
        q->voters += l->voter[i];
        q->looked += l->voter[i] && folder_of(q, l->members[i]) != NULL;
    }
    ct_fmt(o, "\nThe most is in ");
    ct_say(o, ct_lit(q->best->path));
    ct_fmt(o, " (node %" PRIu64 "): it would go on alone, with all that its log holds.\n",
           l->id);
    if (q->looked > q->voters / 2) {
        ct_fmt(o,
               "%u of %u voters were looked at, a majority: nothing that was ever "
               "acknowledged is lost. If they can run, start them instead: a majority "
               "needs no recovery.\n",
               q->looked, q->voters);
        return;
    }
    ct_fmt(o, "Only %u of %u voters could be looked at, not ", q->looked, q->voters);
    say_unseen(o, q);
    ct_fmt(o,
           ": what the others agreed on without node %" PRIu64
           " is LOST for good: readings that Postgres does not have, and what became of "
           "commands, after entry %" PRIu64 ".\n",
           l->id, l->last);
    if (l->last_at_ms != 0) {
        ct_put(o,
               "If it was in step until it stopped that is nothing; at worst it is all "
               "since its newest entry, ");
        ct_age(&o->b, ct_wall_ms() > l->last_at_ms ? ct_wall_ms() - l->last_at_ms : 0);
        ct_put(o, " ago.\n");
    }
}

/* One line for a program, instead of all the above. */
static void put_json(const struct inquiry *q, struct ct_out *o, bool done, uint64_t epoch)
{
    const struct nd_log_look *l = &q->best->look;

    o->b.len = 0;
    ct_fmt(
        o,
        "{\"cluster\":\"%s\",\"node\":%" PRIu64 ",\"last\":%" PRIu64
        ",\"last_term\":%" PRIu64 ",\"newest_ms\":%" PRIu64
        ",\"voters\":%u,\"looked_at\":%u,\"may_lose\":%s,\"done\":%s,\"epoch\":%" PRIu64
        "}\n",
        l->cluster, l->id, l->last, l->last_term, l->last_at_ms, q->voters, q->looked,
        q->looked > q->voters / 2 ? "false" : "true", done ? "true" : "false", epoch);
}

/* --- asking --- */

static bool confirmed(const struct ct_options *opt, const char *cluster, struct ct_out *o)
{
    char line[ND_REFORM_CLUSTER_SIZE + 2];

    if (opt->yes != NULL) {
        return strcmp(opt->yes, cluster) == 0;
    }
    ct_put(o,
           "\nThe other nodes are left behind for ever: what only they hold is not "
           "part of the\ncluster any more. They must not run until this one does.\n"
           "Type the name of the cluster to go on, anything else to leave all as it "
           "is: ");
    if (!ct_out_flush(o) || fgets(line, sizeof line, stdin) == NULL) {
        return false;
    }
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, cluster) == 0;
}

/* --- doing --- */

static int carry_out(const struct inquiry *q, struct ct_out *o, bool json)
{
    const struct nd_log_look *l = &q->best->look;
    struct sy_errbuf eb = {.text = ""};
    uint64_t epoch;

    if (nd_act_as_owner(q->best->path, &eb) != 0 ||
        nd_recover(q->best->path, l, q->term, &epoch, &eb) != 0) {
        ct_complain("recover: %s", eb.text);
        return CT_FAILED;
    }
    if (json) {
        put_json(q, o, true, epoch);
        return CT_DONE;
    }
    ct_fmt(o,
           "Done: node %" PRIu64 " is the only voter, in epoch %" PRIu64
           ".\nNow start vagtd there. On each other node, when it is back: start it, it "
           "hears that it\nwas left behind and stops; `vagtd --rejoin`, and start it "
           "again. With an empty disk\n`vagtd --rejoin` comes first.\n",
           l->id, epoch);
    return CT_DONE;
}

static int recover(const struct ct_options *opt, struct inquiry *q, struct ct_out *o)
{
    int rv = look_at_all(opt, q, o);

    if (rv == CT_DONE) {
        rv = ask_running(opt, q, o);
    }
    if (rv != CT_DONE) {
        return rv;
    }
    if (q->best == NULL) {
        ct_complain(
            "recover: none of the folders holds a log that can be used: nothing "
            "was changed; a backup may help (vagtctl restore)");
        return CT_FAILED;
    }
    judge(q, o);
    if (q->running_more) {
        ct_complain(
            "recover: a node that runs holds more than any of the folders: stop "
            "its vagtd and give its folder, too; nothing was changed");
        return CT_FAILED;
    }
    if (opt->json && opt->yes == NULL) {
        put_json(q, o, false, 0);
        return CT_FAILED;
    }
    if (!confirmed(opt, q->best->look.cluster, o)) {
        ct_complain(
            "recover: not confirmed with the name of the cluster: nothing was "
            "changed");
        return CT_FAILED;
    }
    return carry_out(q, o, opt->json);
}

int ct_cmd_recover(const struct ct_options *opt)
{
    struct inquiry q = {.n = 0};
    struct ct_out o;
    int rv;

    ct_out_init(&o);
    rv = recover(opt, &q, &o);
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_out_free(&o);
    return rv;
}
