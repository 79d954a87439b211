/* Walks what can happen to two nodes and the row of the tie-breaker: every order of the
 * steps of tie_world.c, up to the limits.
 *
 *   test_tie_explore        all walks, then each deliberate bug, which must be found
 *   test_tie_explore deep   walks that take minutes
 *
 * What holds at any time: never two nodes that act; who acts has all that was ever
 * committed; logs with the same term at an index are the same. And from one of LIVE_EACH
 * states: once nothing more breaks somebody acts within LIVE_ROUNDS rounds, and the row
 * is open again if both are there. */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/consensus/tie_world.h"

enum { LIVE_ROUNDS = 40, LIVE_EACH = 37, DEPTH_MAX = 20000 };

static uint64_t *seen;
static unsigned seen_bits = 23;
static unsigned long long states, judged;

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
        if (!a->leads || a->ack_term != a->term ||
            (a->ack <= a->match && (!a->ack_fresh || (a->lease && !a->silent)))) {
            a->ack = a->ack_term = a->ack_fresh = 0;
        }
        a->heard_out = a->heard_out > fact_of(a, a->commit) ? a->heard_out : 0;
        a->heard_empty = alone(w, i) ? a->heard_empty : 0;
        a->vote = 0;
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
    uint64_t at = h >> (64 - seen_bits);

    while (seen[at] != 0 && seen[at] != h) {
        at = (at + 1) & (((uint64_t)1 << seen_bits) - 1);
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

        printf("  node %u:%s%s term %u commit %u silent %u confirmed %llu%s%s log",
               id_of(i), a->up ? " up" : " down", a->leads ? " leads" : "", a->term,
               a->commit, a->silent, (unsigned long long)a->tie.confirmed,
               a->tie.unsure ? " unsure" : "", a->tie.muted ? " muted" : "");
        for (unsigned k = 0; k < a->n; k++) {
            printf(" %u:%c%x", a->log[k].term, "-DCF"[a->log[k].kind], a -> log[k].arg);
        }
        printf("\n");
    }
}

/* Depth first; true: nothing wrong. */
static bool walk(const struct world *from)
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
        if (states % LIVE_EACH == 0) {
            check_live(&w);
        }
        assert(depth + 1 < DEPTH_MAX && states < (1ULL << (seen_bits - 1)));
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

static bool explore(const char *what, struct limits k)
{
    struct world w;
    bool well;

    limits = k;
    wrong = NULL;
    states = judged = 0;
    memset(seen, 0, sizeof *seen << seen_bits);
    begin(&w);
    well = walk(&w);
    printf(
        "%s: crashes %u, cuts %u, answers lost %u, entries %u, epoch %u, term %u: %llu "
        "states, %llu judged for liveness: %s\n",
        what, k.crashes, k.cuts, k.losses, k.data, k.epoch, k.term, states, judged,
        well ? "all holds" : "found");
    (void)fflush(stdout);
    return well;
}

/* crashes, cuts (of one direction), losses, entries, epoch, term */
static const struct limits walks[] = {
    {1, 0, 0, 1, 4, 5}, {0, 1, 0, 1, 4, 5}, {0, 0, 1, 1, 4, 5},
    {1, 0, 1, 1, 4, 5}, {0, 2, 0, 1, 3, 4}, {1, 1, 0, 1, 3, 4},
};
static const struct limits deep_walks[] = {
    {1, 1, 1, 1, 3, 4},
    {2, 0, 0, 1, 4, 5},
    {2, 0, 1, 1, 4, 5},
    {0, 2, 1, 1, 3, 4},
};

static const struct
{
    const char *what;
    unsigned without, bugs;
} mutants[] = {
    {"claims without waiting for the lease", CS_TIE_WITHOUT_SILENCE, 0},
    {"listens while a claim is under way", CS_TIE_WITHOUT_MUTE, 0},
    {"an unknown outcome counts as won", CS_TIE_WITHOUT_PROOF, 0},
    {"claims a row that names the other", CS_TIE_WITHOUT_NAME, 0},
    {"hands back before both know", CS_TIE_WITHOUT_FACT, 0},
    {"re-forms in the old term", 0, BUG_TERM},
    {"claims an epoch that the one left behind may hold", CS_TIE_WITHOUT_ABOVE, 0},
};

/* Until one of the walks finds it. */
static bool finds(size_t i)
{
    without = mutants[i].without;
    bugs = mutants[i].bugs;
    for (size_t k = 0; k < sizeof walks / sizeof walks[0]; k++) {
        if (!explore(mutants[i].what, walks[k])) {
            return true;
        }
    }
    printf("NOT FOUND: %s\n", mutants[i].what);
    return false;
}

static int all(const struct limits *list, size_t n)
{
    int bad = 0;

    for (size_t k = 0; k < n; k++) {
        bad += !explore("the protocol", list[k]);
    }
    return bad;
}

int main(int argc, char **argv)
{
    bool deep = argc > 1 && strcmp(argv[1], "deep") == 0;
    int bad;

    seen_bits = deep ? 27 : seen_bits;
    seen = calloc((size_t)1 << seen_bits, sizeof *seen);
    stack = calloc(DEPTH_MAX, sizeof *stack);
    assert(seen != NULL && stack != NULL);
    if (deep) {
        bad = all(deep_walks, sizeof deep_walks / sizeof deep_walks[0]);
    } else {
        bad = all(walks, sizeof walks / sizeof walks[0]);
        for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
            bad += !finds(i);
        }
    }
    free(seen);
    free(stack);
    return bad;
}
