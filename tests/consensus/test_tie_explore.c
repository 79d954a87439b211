/* Walks what can happen to two nodes and the row: every order of the steps below, up to
 * the budgets. The machine is the real one (consensus/tie.c); around it a small model of
 * Raft, of the links and of Postgres.
 *
 *   test_tie_explore            the walk, then each deliberate bug, which must be found
 *   test_tie_explore LEVEL      deeper: 2 takes minutes
 *
 * What holds at any time: never two nodes that act; who acts has all that was ever
 * committed; logs with the same term at an index are the same. And from each state
 * of the walk (every LIVE_EACH-th): once nothing more breaks somebody acts within
 * LIVE_ROUNDS, and the row is open again if both are there.
 *
 * Time is what it makes possible: a node finds its peer silent only when nothing
 * of it arrives; then the peer's lease is over and what is on its way renews none. */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/tie.h"

enum {
    LOG_MAX = 12,
    LIVE_ROUNDS = 40,
    DEPTH_MAX = 20000,
    LATE_MAX = 2,
    SEEN_BITS = 24,
    PAIR = 6 /* nodes 1 and 2 */
};

enum kind { BARRIER, DATA, CONF, FACT };

struct entry
{
    uint8_t term, kind, arg, arg2; /* CONF: voters, spares */
};

/* What a node is on its disk, then what it is while it runs. */
struct node
{
    struct entry log[LOG_MAX];
    uint8_t n, term, vote;
    uint8_t marker, marker_term, exec; /* exec: epoch won by the life before */

    uint8_t up, leads, commit, match, lease, silent;
    uint8_t ack, ack_term, ack_fresh; /* on its way to this node; 0: none */
    uint8_t heard_epoch, heard_out, heard_empty;
    uint8_t asks; /* 1: on its way, 2: answered */
    uint8_t reading;
    struct cs_tie tie;
    struct cs_tie_row answer;
};

struct world
{
    struct node node[2];
    uint8_t link[2]; /* link[i]: what i says arrives */
    uint8_t pg;
    struct cs_tie_row row;
    struct
    {
        struct cs_tie_row want;
        uint64_t expect;
    } late[LATE_MAX];
    uint8_t data, done; /* entries made, committed (a mask) */
    uint8_t crashes, cuts, losses;
};

struct limits
{
    unsigned crashes, cuts, losses, data, epoch, term;
};

enum bug { BUG_TERM = 1, BUG_KEEP = 2 };

static struct limits limits;
static unsigned without;
static unsigned bugs;
static uint64_t *seen;
static unsigned long long states, judged;
static const char *wrong;
static bool judging; /* Budgets do not count: nothing breaks any more. */

/* --- the model of Raft --- */

static unsigned id_of(unsigned i)
{
    return i + 1;
}

static const struct entry *conf_of(const struct node *a, unsigned upto)
{
    for (unsigned i = upto; i > 0; i--) {
        if (a->log[i - 1].kind == CONF) {
            return &a->log[i - 1];
        }
    }
    return NULL;
}

static uint8_t voters_of(const struct node *a, unsigned upto)
{
    const struct entry *e = conf_of(a, upto);

    return e != NULL ? e->arg : 0;
}

static uint8_t fact_of(const struct node *a, unsigned upto)
{
    uint8_t top = 0;

    for (unsigned i = 0; i < upto; i++) {
        if (a->log[i].kind == FACT && a->log[i].arg > top) {
            top = a->log[i].arg;
        }
    }
    return top;
}

static bool alone(const struct world *w, unsigned i)
{
    return voters_of(&w->node[i], w->node[i].n) == CS_TIE_NODE(id_of(i));
}

static bool settled(const struct node *a)
{
    return a->leads && a->commit > 0 && a->log[a->commit - 1].term == a->term;
}

static bool may_lead(const struct world *w, unsigned i)
{
    struct cs_tie_levels l = {.voters = voters_of(&w->node[i], w->node[i].n)};

    return cs_tie_may_lead(&w->node[i].tie, &l);
}

static bool acts(const struct world *w, unsigned i)
{
    const struct node *a = &w->node[i];

    return a->up && settled(a) && !cs_tie_muted(&a->tie) &&
           (alone(w, i) ? may_lead(w, i) : a->lease != 0);
}

static bool add(struct node *a, enum kind kind, unsigned arg, unsigned arg2)
{
    if (a->n == LOG_MAX) {
        return false;
    }
    a->log[a->n++] =
        (struct entry){a->term, (uint8_t)kind, (uint8_t)arg, (uint8_t)arg2};
    return true;
}

static void commit(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];
    unsigned upto = alone(w, i) ? a->n : a->match;

    if (upto > a->n) {
        upto = a->n;
    }
    if (!a->leads || upto <= a->commit || a->log[upto - 1].term != a->term) {
        return;
    }
    a->commit = (uint8_t)upto;
    for (unsigned k = 0; k < upto; k++) {
        if (a->log[k].kind == DATA) {
            w->done |= (uint8_t)(1 << a->log[k].arg);
        }
    }
}

static void lead(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];

    a->leads = 1;
    a->match = a->lease = a->ack = 0;
    (void)add(a, BARRIER, 0, 0);
    commit(w, i);
}

static bool elect(struct world *w, unsigned i)
{
    struct node *a = &w->node[i], *b = &w->node[1 - i];
    unsigned last_a = a->n > 0 ? a->log[a->n - 1].term : 0;
    unsigned last_b = b->n > 0 ? b->log[b->n - 1].term : 0;
    uint8_t voters = voters_of(a, a->n);

    if (!a->up || a->leads || (voters & CS_TIE_NODE(id_of(i))) == 0 ||
        a->n + 1 >= LOG_MAX || (!judging && a->term >= limits.term)) {
        return false;
    }
    if (alone(w, i)) {
        a->term++;
        a->vote = (uint8_t)id_of(i);
        lead(w, i);
        return true;
    }
    if (!b->up || b->leads || b->n == 0 || !w->link[0] || !w->link[1] ||
        cs_tie_muted(&a->tie) || cs_tie_muted(&b->tie) || last_a < last_b ||
        (last_a == last_b && a->n < b->n) || alone(w, 1 - i)) {
        return false;
    }
    a->term = b->term = (uint8_t)((a->term > b->term ? a->term : b->term) + 1);
    a->vote = b->vote = (uint8_t)id_of(i);
    a->silent = b->silent = 0;
    lead(w, i);
    return true;
}

/* All that the other lacks; its answer is on its way then. */
static bool replicate(struct world *w, unsigned i)
{
    struct node *a = &w->node[i], *b = &w->node[1 - i];
    const struct entry *conf = conf_of(a, a->n);
    unsigned same = 0;

    if (!a->up || !a->leads || !b->up || !w->link[i] || cs_tie_muted(&a->tie) ||
        cs_tie_muted(&b->tie) || conf == NULL ||
        ((conf->arg | conf->arg2) & CS_TIE_NODE(id_of(1 - i))) == 0) {
        return false;
    }
    if (b->term > a->term) {
        a->leads = 0; /* It says so. */
        a->term = b->term;
        return true;
    }
    while (same < a->n && same < b->n && a->log[same].term == b->log[same].term) {
        if (memcmp(&a->log[same], &b->log[same], sizeof a->log[0]) != 0) {
            wrong = "two logs differ under the same term and index";
        }
        same++;
    }
    b->leads = 0;
    b->term = a->term;
    if (same < a->n) { /* A conflict cuts the rest; a longer log of the same is kept. */
        memset(b->log, 0, sizeof b->log);
        memcpy(b->log, a->log, sizeof a->log);
        b->n = a->n;
    }
    b->commit = a->commit > b->commit ? a->commit : b->commit;
    b->silent = 0;
    if (w->link[1 - i]) {
        a->ack = a->n;
        a->ack_term = a->term;
        a->ack_fresh = 1;
    }
    return true;
}

static bool acknowledge(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];

    if (!a->up || a->ack == 0) {
        return false;
    }
    if (!cs_tie_muted(&a->tie) && a->leads && a->ack_term == a->term) {
        a->match = a->ack > a->match ? a->ack : a->match;
        a->lease |= a->ack_fresh;
        a->silent = a->ack_fresh ? 0 : a->silent;
        commit(w, i);
    }
    a->ack = a->ack_term = a->ack_fresh = 0;
    return true;
}

/* --- time, links, lives --- */

static bool grow_silent(struct world *w, unsigned i)
{
    struct node *a = &w->node[i], *b = &w->node[1 - i];

    if (!a->up || (a->silent && (!a->leads || alone(w, i))) || (b->up && w->link[1 - i])) {
        return false;
    }
    a->silent = 1;
    a->lease = 0;
    if (!alone(w, i)) {
        a->leads = 0;
    }
    b->lease = 0; /* It counts from what we answered last. */
    b->ack_fresh = 0;
    return true;
}

static bool hear(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];
    const struct node *b = &w->node[1 - i];
    bool out;

    if (!a->up || !b->up || !w->link[1 - i]) {
        return false;
    }
    out = alone(w, 1 - i) && settled(b) && may_lead(w, 1 - i) &&
          b->tie.confirmed <= fact_of(b, b->commit) &&
          (conf_of(b, b->n)->arg2 & CS_TIE_NODE(id_of(i))) == 0;
    a->silent = 0;
    a->heard_epoch = fact_of(b, b->commit);
    a->heard_out = out ? a->heard_epoch : 0;
    a->heard_empty = b->n == 0;
    return true;
}

static void keep_late(struct world *w, unsigned i)
{
    const struct node *a = &w->node[i];

    for (unsigned k = 0; k < LATE_MAX; k++) {
        if (w->late[k].want.epoch == 0) {
            w->late[k].want = a->tie.want;
            w->late[k].expect = a->tie.expect;
            return;
        }
    }
}

static void fall(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];
    struct node was = *a;

    if (a->asks == 1 && !a->reading) {
        keep_late(w, i);
    }
    memset(a, 0, sizeof *a);
    memcpy(a->log, was.log, sizeof a->log);
    a->n = was.n;
    a->term = was.term;
    a->vote = was.vote;
    a->marker = was.marker;
    a->marker_term = was.marker_term;
    w->node[1 - i].heard_epoch = w->node[1 - i].heard_out = 0;
    w->node[1 - i].heard_empty = 0;
    w->node[1 - i].ack_fresh &= 1;
}

/* node/reform.c */
static bool reform(struct node *a, unsigned i)
{
    uint8_t term = a->term > a->marker_term ? a->term : a->marker_term;

    if (a->n + 3 > LOG_MAX || (!judging && term + 1u > limits.term)) {
        return false;
    }
    if (!(bugs & BUG_TERM)) {
        a->term = (uint8_t)(term + 1);
    }
    (void)add(a, CONF, CS_TIE_NODE(id_of(i)), 0);
    a->marker = a->marker_term = 0;
    return true;
}

static bool start(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];
    uint8_t exec = a->exec;

    if (a->up || (a->marker && !reform(a, i))) {
        return false;
    }
    a->up = 1;
    a->exec = 0;
    cs_tie_init(&a->tie, id_of(i), 0, exec);
    a->tie.without = without;
    return true;
}

/* --- members --- */

static bool admit(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];
    const struct entry *c = conf_of(a, a->n);
    uint8_t other = (uint8_t)CS_TIE_NODE(id_of(1 - i));

    if (!a->up || !alone(w, i) || !settled(a) || !may_lead(w, i) || a->commit != a->n ||
        a->n + 2 >= LOG_MAX) {
        return false;
    }
    if (c->arg2 != other) {
        return (a->heard_empty || (bugs & BUG_KEEP)) && add(a, CONF, c->arg, other) &&
               (commit(w, i), true);
    }
    /* The leader tells what it has of the spare since it leads. */
    return a->match == a->n && !a->silent && add(a, CONF, PAIR, 0) && (commit(w, i), true);
}

/* --- Postgres and the machine --- */

static void levels_of(const struct world *w, unsigned i, bool look,
                      struct cs_tie_levels *l)
{
    const struct node *a = &w->node[i];

    *l = (struct cs_tie_levels){
        .voters = voters_of(a, a->n),
        .in_force = voters_of(a, a->commit > 0 ? a->commit : 1),
        .epoch = fact_of(a, a->commit),
        .held = fact_of(a, a->n),
        .peer_epoch = a->heard_epoch,
        .out_epoch = a->heard_out,
        .term = a->term,
        .leading = settled(a),
        .silent = a->silent,
        .fit = true,
        .calm = true,
        .patient = true,
        .look = look,
        .reach = true,
    };
}

static uint64_t top_token(const struct world *w)
{
    uint64_t top = w->row.token;

    for (unsigned i = 0; i < 2; i++) {
        const struct node *a = &w->node[i];

        top = a->tie.want.token > top ? a->tie.want.token : top;
        top = a->tie.row.token > top ? a->tie.row.token : top;
        top = a->answer.token > top ? a->answer.token : top;
    }
    for (unsigned k = 0; k < LATE_MAX; k++) {
        top = w->late[k].want.token > top ? w->late[k].want.token : top;
    }
    return top;
}

static void archive(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];

    fall(w, i);
    if (!(bugs & BUG_KEEP)) {
        memset(a, 0, sizeof *a);
    }
}

static bool propose(struct node *a)
{
    if (!a->leads || fact_of(a, a->n) >= a->tie.propose || a->n + 3 > LOG_MAX) {
        return false;
    }
    return add(a, FACT, (unsigned)a->tie.propose, 0);
}

static bool think(struct world *w, unsigned i, bool look)
{
    struct node *a = &w->node[i];
    struct cs_tie before = a->tie;
    struct cs_tie_levels l;

    if (!a->up) {
        return false;
    }
    levels_of(w, i, look, &l);
    a->tie.next_token = top_token(w);
    switch (cs_tie_step(&a->tie, &l)) {
    case CS_TIE_NOTHING:
        break;
    case CS_TIE_READ:
    case CS_TIE_SWAP:
        if (!judging && a->tie.swapping && a->tie.want.epoch > limits.epoch) {
            return false;
        }
        a->asks = 1;
        a->reading = !a->tie.swapping;
        break;
    case CS_TIE_PROPOSE:
        a->tie.next_token = 0;
        if (!propose(a)) {
            return memcmp(&before, &a->tie, sizeof before) != 0;
        }
        commit(w, i);
        break;
    case CS_TIE_REFORM: {
        uint8_t epoch = (uint8_t)a->tie.want.epoch, term = (uint8_t)a->tie.want.term;

        fall(w, i);
        a->marker = 1;
        a->marker_term = term;
        a->exec = epoch;
        return true;
    }
    case CS_TIE_ARCHIVE:
        archive(w, i);
        return true;
    }
    a->tie.next_token = 0;
    return memcmp(&before, &a->tie, sizeof before) != 0 || a->asks == 1;
}

static void swap_row(struct world *w, uint64_t expect, const struct cs_tie_row *want)
{
    if (w->row.epoch == expect) {
        w->row = *want;
    }
}

/* What becomes of a request: 0 done; 1 done and the answer is lost; 2 lost; 3 late;
 * 4 done, and done again later. */
static bool serve(struct world *w, unsigned i, unsigned how)
{
    struct node *a = &w->node[i];

    if (!a->up || a->asks != 1 || (how != 2 && how != 3 && !w->pg)) {
        return false;
    }
    if (how > 0 && (w->losses++ >= limits.losses || (a->reading && how != 2))) {
        return false;
    }
    if (how == 3 || how == 4) {
        keep_late(w, i);
    }
    if (!a->reading && (how == 0 || how == 1 || how == 4)) {
        swap_row(w, a->tie.expect, &a->tie.want);
    }
    a->asks = how == 0 || how == 4 ? 2 : 0;
    a->answer = w->row;
    if (a->asks == 0) {
        a->answer = (struct cs_tie_row){0};
        cs_tie_answer(&a->tie, NULL);
    }
    return true;
}

static bool answered(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];

    if (!a->up || a->asks != 2) {
        return false;
    }
    cs_tie_answer(&a->tie, &a->answer);
    a->asks = 0;
    a->answer = (struct cs_tie_row){0};
    return true;
}

static bool do_late(struct world *w, unsigned k)
{
    if (w->late[k].want.epoch == 0 || !w->pg) {
        return false;
    }
    swap_row(w, w->late[k].expect, &w->late[k].want);
    memset(&w->late[k], 0, sizeof w->late[k]);
    return true;
}

static bool write_data(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];

    return acts(w, i) && w->data < limits.data && a->n + 4 < LOG_MAX &&
           add(a, DATA, w->data++, 0) && (commit(w, i), true);
}

static bool cut(struct world *w, unsigned i)
{
    if (w->link[i] && w->cuts++ >= limits.cuts) {
        return false;
    }
    w->link[i] = !w->link[i];
    if (!w->link[i]) {
        w->node[1 - i].heard_epoch = w->node[1 - i].heard_out = 0;
        w->node[1 - i].heard_empty = 0;
    }
    return true;
}

/* --- all steps --- */

enum { STEPS_EACH = 19, STEPS = 2 * STEPS_EACH + LATE_MAX + 1 };

static const char *const step_names[STEPS_EACH] = {
    "crash",   "start",     "elect",       "replicate",     "acknowledge",
    "silent",  "hear",      "admit",       "data",          "cut or heal",
    "think",   "look",      "serve",       "serve, lost",   "lost",
    "late",    "twice",     "answer",      "-"};

static bool step_node(struct world *w, unsigned what, unsigned i)
{
    switch (what) {
    case 0:
        return w->node[i].up && w->crashes++ < limits.crashes && (fall(w, i), true);
    case 1:
        return start(w, i);
    case 2:
        return elect(w, i);
    case 3:
        return replicate(w, i);
    case 4:
        return acknowledge(w, i);
    case 5:
        return grow_silent(w, i);
    case 6:
        return hear(w, i);
    case 7:
        return admit(w, i);
    case 8:
        return write_data(w, i);
    case 9:
        return cut(w, i);
    case 10:
    case 11:
        return think(w, i, what == 11);
    case 12:
    case 13:
    case 14:
    case 15:
    case 16:
        return serve(w, i, what - 12);
    case 17:
        return answered(w, i);
    default:
        return false;
    }
}

static bool step(struct world *w, unsigned what)
{
    if (what < 2 * STEPS_EACH) {
        return step_node(w, what / 2, what % 2);
    }
    what -= 2 * STEPS_EACH;
    if (what < LATE_MAX) {
        return do_late(w, what);
    }
    if (w->pg && w->losses++ >= limits.losses) {
        return false;
    }
    w->pg = !w->pg;
    return true;
}

static const char *step_name(unsigned what)
{
    static char name[STEPS][24];

    if (what >= 2 * STEPS_EACH) {
        return what < 2 * STEPS_EACH + LATE_MAX ? "late one is done" : "Postgres";
    }
    snprintf(name[what], sizeof name[0], "%u %s", id_of(what % 2), step_names[what / 2]);
    return name[what];
}

/* --- judging --- */

static void check(const struct world *w)
{
    if (acts(w, 0) && acts(w, 1)) {
        wrong = "two act";
    }
    for (unsigned i = 0; i < 2; i++) {
        const struct node *a = &w->node[i];
        unsigned has = 0;

        for (unsigned k = 0; k < a->n; k++) {
            has |= a->log[k].kind == DATA ? 1u << a->log[k].arg : 0;
        }
        if (acts(w, i) && (has & w->done) != w->done) {
            wrong = "what was committed is lost";
        }
    }
}

/* A round in which nothing breaks. */
static void good_round(struct world *w, unsigned who)
{
    static const uint8_t order[] = {1, 5, 6, 12, 17, 2, 3, 4, 3, 7, 10, 12, 17, 11};

    for (unsigned k = 0; k < sizeof order; k++) {
        for (unsigned i = 0; i < 2; i++) {
            if ((who & (1u << i)) != 0) {
                (void)step_node(w, order[k], i);
                check(w);
            }
        }
    }
    for (unsigned k = 0; k < LATE_MAX; k++) {
        (void)do_late(w, k);
    }
}

static bool open_again(const struct world *w)
{
    return w->row.sole == 0 && w->row.members == PAIR;
}

static bool comes_right(struct world w, unsigned who)
{
    for (unsigned r = 0; r < LIVE_ROUNDS && wrong == NULL; r++) {
        good_round(&w, who);
        if ((acts(&w, 0) || acts(&w, 1)) && (who != 3 || open_again(&w))) {
            return true;
        }
        for (unsigned i = 0; i < 2; i++) {
            if (w.node[i].n + 4 >= LOG_MAX) {
                return true; /* The model's log is full: not judged. */
            }
        }
    }
    return wrong != NULL;
}

/* Is this one entitled to go on alone? */
static bool entitled(const struct world *w, unsigned i)
{
    const struct node *a = &w->node[i];
    uint8_t voters = voters_of(a, a->n);

    if (a->marker) {
        return w->row.sole == id_of(i);
    }
    return (voters & CS_TIE_NODE(id_of(i))) != 0 && w->row.members == PAIR &&
           (w->row.sole == id_of(i) ||
            (w->row.sole == 0 && voters == PAIR && fact_of(a, a->n) >= w->row.epoch));
}

static void check_live(const struct world *now)
{
    struct world w = *now;

    judging = true;
    judged++;
    w.link[0] = w.link[1] = w.pg = 1;
    if (!comes_right(w, 3)) {
        wrong = "both are there, and nobody acts or the row stays closed";
    }
    for (unsigned i = 0; i < 2 && wrong == NULL; i++) {
        struct world one = w;

        if (one.node[1 - i].up) {
            fall(&one, 1 - i);
        }
        for (unsigned k = 0; k < LATE_MAX; k++) {
            (void)do_late(&one, k);
        }
        if (one.node[i].asks == 0 && entitled(&one, i) && !comes_right(one, 1u << i)) {
            wrong = "one is there and entitled, and does not act";
        }
    }
    judging = false;
}

/* --- walking --- */

static void rename_token(struct world *w, uint64_t *old, unsigned *n, uint64_t *token)
{
    (void)w;
    if (*token == 0) {
        return;
    }
    for (unsigned i = 0; i < *n; i++) {
        if (old[i] == *token) {
            *token = i + 1;
            return;
        }
    }
    old[(*n)++] = *token;
    *token = *n;
}

/* What does not matter any more makes no difference. */
static void canonical(struct world *w)
{
    uint64_t old[16];
    unsigned n = 0;

    for (unsigned i = 0; i < 2; i++) {
        struct node *a = &w->node[i];

        if (!a->tie.asked && !a->tie.unsure && !a->tie.won) {
            memset(&a->tie.want, 0, sizeof a->tie.want);
            a->tie.expect = 0;
            a->tie.purpose = 0;
        }
        a->tie.propose = a->tie.next_token = 0;
        a->tie.lost = false;
        if (!a->tie.seen) {
            memset(&a->tie.row, 0, sizeof a->tie.row);
        }
        a->tie.row.token = 0; /* It was compared when it came. */
    }
    rename_token(w, old, &n, &w->row.token);
    for (unsigned i = 0; i < 2; i++) {
        rename_token(w, old, &n, &w->node[i].tie.want.token);
        rename_token(w, old, &n, &w->node[i].answer.token);
    }
    for (unsigned k = 0; k < LATE_MAX; k++) {
        rename_token(w, old, &n, &w->late[k].want.token);
    }
}

static uint64_t hash_of(const struct world *w)
{
    const uint8_t *p = (const uint8_t *)w;
    uint64_t h = 0x9e3779b97f4a7c15ULL;

    for (size_t i = 0; i + 8 <= sizeof *w; i += 8) {
        uint64_t v;

        memcpy(&v, p + i, 8);
        h = (h ^ v) * 0xbf58476d1ce4e5b9ULL;
        h ^= h >> 29;
    }
    return h == 0 ? 1 : h;
}

static bool first_time(const struct world *w)
{
    uint64_t h = hash_of(w);
    uint64_t at = h >> (64 - SEEN_BITS);

    while (seen[at] != 0 && seen[at] != h) {
        at = (at + 1) & (((uint64_t)1 << SEEN_BITS) - 1);
    }
    if (seen[at] == h) {
        return false;
    }
    seen[at] = h;
    states++;
    return true;
}

struct frame
{
    struct world w;
    unsigned next; /* step to try */
};

static struct frame *stack;
static struct world bad_world;

static void tell_trail(unsigned depth)
{
    printf("  after %u steps:", depth);
    for (unsigned d = depth > 60 ? depth - 60 : 0; d < depth; d++) {
        printf(" | %s", step_name(stack[d].next - 1));
    }
    printf("\n");
}

static void tell_world(const struct world *w)
{
    printf("  row %llu sole %u members %x\n", (unsigned long long)w->row.epoch,
           w->row.sole, w->row.members);
    for (unsigned i = 0; i < 2; i++) {
        const struct node *a = &w->node[i];

        printf("  node %u:%s%s term %u commit %u silent %u confirmed %llu%s%s log", id_of(i),
               a->up ? " up" : " down", a->leads ? " leads" : "", a->term, a->commit,
               a->silent, (unsigned long long)a->tie.confirmed,
               a->tie.unsure ? " unsure" : "", a->tie.muted ? " muted" : "");
        for (unsigned k = 0; k < a->n; k++) {
            printf(" %u:%c%x", a->log[k].term, "-DCF"[a->log[k].kind], a->log[k].arg);
        }
        printf("\n");
    }
}

/* Depth first; true: nothing wrong. */
static bool walk(const struct world *from, unsigned live_each)
{
    unsigned depth = 0, deepest = 0;

    stack[0] = (struct frame){*from, 0};
    while (wrong == NULL) {
        struct frame *f = &stack[depth];
        struct world w = f->w;

        if (f->next == STEPS) {
            if (depth-- == 0) {
                break;
            }
            continue;
        }
        if (!step(&w, f->next++)) {
            continue;
        }
        check(&w);
        canonical(&w);
        bad_world = w;
        if (wrong != NULL || !first_time(&w)) {
            continue;
        }
        if (states % live_each == 0) {
            check_live(&w);
        }
        assert(depth + 1 < DEPTH_MAX && states < (1ULL << (SEEN_BITS - 1)));
        if (wrong == NULL) {
            stack[++depth] = (struct frame){w, 0};
            deepest = depth > deepest ? depth : deepest;
        }
    }
    if (wrong != NULL) {
        printf("  %s\n", wrong);
        tell_world(&bad_world);
        tell_trail(depth + 1);
    }
    return wrong == NULL;
}

/* Both up, node 1 leads, both know that they are two, and the row is open. */
static void begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->link[0] = w->link[1] = w->pg = 1;
    w->row = (struct cs_tie_row){.epoch = 1, .term = 1, .token = 1, .members = PAIR};
    for (unsigned i = 0; i < 2; i++) {
        struct node *a = &w->node[i];

        a->term = 1;
        (void)add(a, CONF, PAIR, 0);
        (void)add(a, FACT, 1, 0);
        a->vote = 1;
        a->up = 1;
        a->commit = a->n;
        cs_tie_init(&a->tie, id_of(i), 0, 0);
        a->tie.without = without;
    }
    w->node[0].leads = w->node[0].lease = 1;
    w->node[0].match = w->node[0].n;
    canonical(w);
}

static bool explore(const char *what, struct limits k, unsigned live_each)
{
    struct world w;
    bool well;

    limits = k;
    wrong = NULL;
    states = judged = 0;
    memset(seen, 0, sizeof *seen << SEEN_BITS);
    begin(&w);
    well = walk(&w, live_each);
    printf("%s: %llu states, %llu judged for liveness: %s\n", what, states, judged,
           well ? "all holds" : "FOUND");
    (void)fflush(stdout);
    return well;
}

static const struct
{
    const char *what;
    unsigned without, bugs;
} mutants[] = {
    {"claims without waiting for the lease", CS_TIE_WITHOUT_SILENCE, 0},
    {"listens while a claim is under way", CS_TIE_WITHOUT_MUTE, 0},
    {"an unknown outcome counts as won", CS_TIE_WITHOUT_PROOF, 0},
    {"claims a row that names the other", CS_TIE_WITHOUT_NAME, 0},
    {"claims a row newer than what it knows", CS_TIE_WITHOUT_EPOCH, 0},
    {"hands back before both know", CS_TIE_WITHOUT_FACT, 0},
    {"re-forms in the old term", 0, BUG_TERM},
    {"comes back with its old log", 0, BUG_KEEP},
};

int main(int argc, char **argv)
{
    int level = argc > 1 ? argv[1][0] - '0' : 1;
    struct limits k = {.crashes = 1, .cuts = 1, .losses = 1, .data = 1, .epoch = 3, .term = 4};
    int bad = 0;

    if (level > 1) {
        k = (struct limits){2, 2, 1, 2, 4, 5};
    }
    seen = calloc((size_t)1 << SEEN_BITS, sizeof *seen);
    stack = calloc(DEPTH_MAX, sizeof *stack);
    assert(seen != NULL && stack != NULL);
    bad += !explore("the protocol", k, 7);
    for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
        without = mutants[i].without;
        bugs = mutants[i].bugs;
        bad += explore(mutants[i].what, k, 7);
    }
    free(seen);
    free(stack);
    return bad;
}
