#include "tests/consensus/tie_world.h"

#include <stdio.h>
#include <string.h>

struct limits limits;
unsigned without;
unsigned bugs;
bool judging;
const char *wrong;

/* --- the model of Raft --- */

unsigned id_of(unsigned i)
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

uint8_t voters_of(const struct node *a, unsigned upto)
{
    const struct entry *e = conf_of(a, upto);

    return e != NULL ? e->arg : 0;
}

uint8_t fact_of(const struct node *a, unsigned upto)
{
    uint8_t top = 0;

    for (unsigned i = 0; i < upto; i++) {
        if (a->log[i].kind == FACT && a->log[i].arg > top) {
            top = a->log[i].arg;
        }
    }
    return top;
}

bool alone(const struct world *w, unsigned i)
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

bool acts(const struct world *w, unsigned i)
{
    const struct node *a = &w->node[i];

    return a->up && settled(a) && !cs_tie_muted(&a->tie) &&
           (alone(w, i) ? may_lead(w, i) : a->lease != 0);
}

bool add(struct node *a, enum kind kind, unsigned arg, unsigned arg2)
{
    if (a->n == LOG_MAX) {
        return false;
    }
    a->log[a->n++] = (struct entry){a->term, (uint8_t)kind, (uint8_t)arg, (uint8_t)arg2};
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

    if (!a->up || (a->silent && (!a->leads || alone(w, i))) ||
        (b->up && w->link[1 - i])) {
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

void fall(struct world *w, unsigned i)
{
    struct node *a = &w->node[i];
    struct node was = *a;

    if (a->asks == 1) {
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
        return a->heard_empty && add(a, CONF, c->arg, other) && (commit(w, i), true);
    }
    /* The leader tells what it has of the spare since it leads. */
    return a->match == a->n && !a->silent && add(a, CONF, PAIR, 0) &&
           (commit(w, i), true);
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
    memset(a, 0, sizeof *a);
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
        if (a->tie.swapping) {
            a->asks = 1;
        } else {
            /* At once: one that takes its time is one that is not looked at again. */
            cs_tie_answer(&a->tie, w->pg ? &w->row : NULL);
        }
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
    if (how > 0 && w->losses++ >= limits.losses) {
        return false;
    }
    if (how == 3 || how == 4) {
        keep_late(w, i);
    }
    if (how == 0 || how == 1 || how == 4) {
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

bool do_late(struct world *w, unsigned k)
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

static const char *const step_names[STEPS_EACH] = {
    "crash", "start",       "elect", "replicate",   "acknowledge", "silent",
    "hear",  "admit",       "data",  "cut or heal", "think",       "look",
    "serve", "serve, lost", "lost",  "late",        "twice",       "answer"};

bool step_node(struct world *w, unsigned what, unsigned i)
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

bool step(struct world *w, unsigned what)
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

const char *step_name(unsigned what)
{
    static char name[STEPS][24];

    if (what >= 2 * STEPS_EACH) {
        return what < 2 * STEPS_EACH + LATE_MAX ? "late one is done" : "Postgres";
    }
    snprintf(name[what], sizeof name[0], "%u %s", id_of(what % 2), step_names[what / 2]);
    return name[what];
}
