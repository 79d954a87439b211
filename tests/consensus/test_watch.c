/* Three views of one pure machine: scenarios as traces a person can read, what may
 * act and what may not, and every short history against a tiny model of the ports. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "consensus/watch.h"

static const char *const do_names[] = {"-", "start", "stop", "DIE"};

/* --- scenarios --- */

enum ports { DOWN, MOVING, UP };

struct trace
{
    struct cs_watch w;
    char text[2048];
    size_t len;
};

static void begin(struct trace *t)
{
    memset(t, 0, sizeof *t);
    cs_watch_init(&t->w, 500);
}

/* One step, and one line of what it came to. */
static void feed(struct trace *t, uint64_t now_ms, uint64_t leads, uint64_t barrier,
                 enum ports ports, bool diverged)
{
    struct cs_watch_levels l = {
        .now_ms = now_ms,
        .leader_term = leads,
        .barrier_term = barrier,
        .ports_up = ports == UP,
        .ports_down = ports == DOWN,
        .diverged = diverged,
    };
    enum cs_watch_effect effect = cs_watch_step(&t->w, &l);
    int n =
        snprintf(t->text + t->len, sizeof t->text - t->len, "%llu %s %llu %s\n",
                 (unsigned long long)now_ms, cs_watch_state_name(cs_watch_state(&t->w)),
                 (unsigned long long)cs_watch_term(&t->w), do_names[effect]);

    assert_true(n > 0 && (size_t)n < sizeof t->text - t->len);
    t->len += (size_t)n;
}

static void a_watch_begins_with_its_barrier_and_ends_with_its_term(void **state)
{
    struct trace t;

    (void)state;
    begin(&t);
    feed(&t, 0, 0, 0, DOWN, false);
    feed(&t, 10, 7, 0, DOWN, false);
    feed(&t, 20, 7, 3, DOWN, false); /* An older watch of ours: not enough. */
    feed(&t, 30, 7, 7, DOWN, false);
    feed(&t, 40, 7, 7, MOVING, false);
    feed(&t, 50, 7, 7, UP, false);
    feed(&t, 60, 7, 7, UP, false);
    feed(&t, 70, 0, 7, UP, false);
    feed(&t, 80, 0, 7, MOVING, false);
    feed(&t, 90, 0, 7, DOWN, false);
    assert_string_equal(t.text,
                        "0 standby 0 -\n"
                        "10 standby 0 -\n"
                        "20 standby 0 -\n"
                        "30 ramping 7 start\n"
                        "40 ramping 7 -\n"
                        "50 active 7 -\n"
                        "60 active 7 -\n"
                        "70 draining 7 stop\n"
                        "80 draining 7 -\n"
                        "90 standby 0 -\n");
}

static void an_election_won_while_draining_waits_for_the_ports(void **state)
{
    struct trace t;

    (void)state;
    begin(&t);
    feed(&t, 0, 7, 7, DOWN, false);
    feed(&t, 10, 7, 7, UP, false);
    feed(&t, 20, 0, 7, UP, false);
    feed(&t, 30, 9, 9, MOVING, false);
    feed(&t, 40, 9, 9, DOWN, false); /* Standby and ramping in one step. */
    feed(&t, 50, 9, 9, UP, false);
    assert_string_equal(t.text,
                        "0 ramping 7 start\n"
                        "10 active 7 -\n"
                        "20 draining 7 stop\n"
                        "30 draining 7 -\n"
                        "40 ramping 9 start\n"
                        "50 active 9 -\n");
}

/* Between two terms that this node led, another watch may have lived. */
static void a_new_term_drains_even_when_the_same_node_won(void **state)
{
    struct trace t;

    (void)state;
    begin(&t);
    feed(&t, 0, 7, 7, DOWN, false);
    feed(&t, 10, 7, 7, UP, false);
    feed(&t, 20, 8, 7, UP, false);
    feed(&t, 30, 8, 7, DOWN, false); /* Drained, but whose work is not known yet. */
    feed(&t, 40, 8, 8, DOWN, false);
    assert_string_equal(t.text,
                        "0 ramping 7 start\n"
                        "10 active 7 -\n"
                        "20 draining 7 stop\n"
                        "30 standby 0 -\n"
                        "40 ramping 8 start\n");
}

static void leadership_lost_while_ramping_drains(void **state)
{
    struct trace t;

    (void)state;
    begin(&t);
    feed(&t, 0, 7, 7, DOWN, false);
    feed(&t, 10, 0, 7, MOVING, false);
    feed(&t, 20, 0, 7, DOWN, false);
    assert_string_equal(t.text,
                        "0 ramping 7 start\n"
                        "10 draining 7 stop\n"
                        "20 standby 0 -\n");
}

static void a_diverged_node_never_acts(void **state)
{
    struct trace t;

    (void)state;
    begin(&t);
    feed(&t, 0, 7, 7, DOWN, true);
    feed(&t, 10, 8, 8, DOWN, true);
    feed(&t, 20, 8, 8, DOWN, false);
    feed(&t, 30, 8, 8, UP, false);
    feed(&t, 40, 8, 8, UP, true); /* Found out while it was on watch. */
    feed(&t, 50, 8, 8, DOWN, true);
    feed(&t, 60, 9, 9, DOWN, true);
    assert_string_equal(t.text,
                        "0 standby 0 -\n"
                        "10 standby 0 -\n"
                        "20 ramping 8 start\n"
                        "30 active 8 -\n"
                        "40 draining 8 stop\n"
                        "50 standby 0 -\n"
                        "60 standby 0 -\n");
}

static void ports_that_do_not_stop_end_the_process(void **state)
{
    struct trace t;

    (void)state;
    begin(&t);
    feed(&t, 0, 7, 7, DOWN, false);
    feed(&t, 10, 7, 7, UP, false);
    feed(&t, 1000, 0, 7, UP, false);
    assert_int_equal(cs_watch_drain_deadline(&t.w), 1500);
    feed(&t, 1499, 0, 7, MOVING, false);
    feed(&t, 1500, 0, 7, MOVING, false);
    feed(&t, 1501, 9, 9, MOVING, false); /* A new term is no excuse. */
    assert_string_equal(t.text,
                        "0 ramping 7 start\n"
                        "10 active 7 -\n"
                        "1000 draining 7 stop\n"
                        "1499 draining 7 -\n"
                        "1500 draining 7 DIE\n"
                        "1501 draining 7 DIE\n");
    /* Down at the last moment is down. */
    begin(&t);
    feed(&t, 0, 7, 7, DOWN, false);
    feed(&t, 10, 0, 7, MOVING, false);
    feed(&t, 9999, 0, 7, DOWN, false);
    assert_int_equal(cs_watch_state(&t.w), CS_STANDBY);
    assert_int_equal(cs_watch_drain_deadline(&t.w), 0);
}

static void only_an_active_watch_with_a_lease_may_act(void **state)
{
    struct trace t;

    (void)state;
    begin(&t);
    assert_false(cs_watch_may_act(&t.w, 0, 100));
    feed(&t, 0, 7, 7, DOWN, false);
    assert_false(cs_watch_may_act(&t.w, 0, 100)); /* ramping */
    feed(&t, 10, 7, 7, UP, false);
    assert_true(cs_watch_may_act(&t.w, 10, 100));
    assert_true(cs_watch_may_act(&t.w, 99, 100));
    assert_false(cs_watch_may_act(&t.w, 100, 100));  /* until, not through */
    assert_false(cs_watch_may_act(&t.w, 5000, 100)); /* woken from a pause */
    assert_false(cs_watch_may_act(&t.w, 10, 0));
    feed(&t, 20, 0, 7, UP, false);
    assert_false(cs_watch_may_act(&t.w, 20, 100)); /* draining */
}

/* --- every history --- */

/* The alphabet: one level or the clock changes, then the machine is asked. Ports
 * do what they like between a start and a stop, but those that are down come up
 * only when started. */
enum symbol {
    LOSE,    /* leads no term */
    WIN,     /* leads the next term: they never repeat */
    BARRIER, /* the barrier of the term it leads is applied */
    GO_UP,   /* the ports come up */
    GO_DOWN, /* the ports are down */
    DIVERGE, /* the state is found to differ, or was re-seeded */
    WAIT,    /* half the deadline passes */
    SYMBOLS
};

enum { DEPTH = 8, DRAIN_MS = 4 };

/* What the world looks like from outside. The machine may not contradict it. */
struct world
{
    struct cs_watch_levels l;
    uint64_t newest_term;
    uint64_t runs_for; /* The ports were started for this term, are not down since. */
    bool stopping;
    uint64_t stopped_at;
    bool dead;
};

static void happen(struct world *m, enum symbol s)
{
    switch (s) {
    case LOSE:
        m->l.leader_term = 0;
        break;
    case WIN:
        m->l.leader_term = ++m->newest_term;
        break;
    case BARRIER:
        if (m->l.leader_term != 0) {
            m->l.barrier_term = m->l.leader_term;
        }
        break;
    case GO_UP:
        m->l.ports_up = m->runs_for != 0 && !m->stopping;
        m->l.ports_down = m->runs_for == 0;
        break;
    case GO_DOWN:
        /* Only what is stopping goes down: a port that fails stays a port. */
        if (m->stopping || m->runs_for == 0) {
            m->l.ports_up = false;
            m->l.ports_down = true;
            m->runs_for = 0;
            m->stopping = false;
        }
        break;
    case DIVERGE:
        m->l.diverged = !m->l.diverged;
        break;
    case WAIT:
        m->l.now_ms += DRAIN_MS / 2;
        break;
    case SYMBOLS:
    default:
        fail();
    }
}

static bool should_run(const struct world *m)
{
    return m->l.leader_term != 0 && m->l.barrier_term == m->l.leader_term &&
           !m->l.diverged;
}

static void carry_out(struct world *m, enum cs_watch_effect effect)
{
    switch (effect) {
    case CS_DO_NOTHING:
        break;
    case CS_DO_START:
        assert_int_equal(m->runs_for, 0); /* One term at a time, */
        assert_true(m->l.ports_down);     /* none of the one before left, */
        assert_true(should_run(m));       /* and never without the barrier. */
        m->runs_for = m->l.leader_term;
        m->l.ports_down = false;
        break;
    case CS_DO_STOP:
        assert_int_not_equal(m->runs_for, 0);
        assert_false(m->stopping);
        assert_true(m->l.leader_term != m->runs_for || m->l.diverged);
        m->stopping = true;
        m->stopped_at = m->l.now_ms;
        m->l.ports_up = false;
        break;
    case CS_DO_DIE:
        assert_true(m->stopping); /* Only what does not stop is a reason, */
        assert_true(m->l.now_ms - m->stopped_at >= DRAIN_MS); /* after a while. */
        m->dead = true;
        break;
    default:
        fail();
    }
}

static void check(const struct world *m, const struct cs_watch *w)
{
    bool runs = m->runs_for != 0 && !m->stopping;

    if (m->dead) {
        return;
    }
    /* Safety: what runs, runs for the term that is led, in a state that is right. */
    if (runs) {
        assert_int_equal(m->runs_for, m->l.leader_term);
        assert_false(m->l.diverged);
    }
    /* Liveness: whoever should act and can, does. */
    if (should_run(m) && !m->stopping) {
        assert_true(runs);
        assert_int_equal(cs_watch_state(w), m->l.ports_up ? CS_ACTIVE : CS_RAMPING);
    }
    /* A drain is over when its time is. */
    if (m->stopping) {
        assert_true(m->l.now_ms - m->stopped_at < DRAIN_MS);
    }
    assert_int_equal(cs_watch_term(w), m->runs_for);
    assert_int_equal(cs_watch_may_act(w, m->l.now_ms, m->l.now_ms + 1),
                     cs_watch_state(w) == CS_ACTIVE);
    assert_false(cs_watch_may_act(w, m->l.now_ms, m->l.now_ms));
    assert_true(!cs_watch_may_act(w, m->l.now_ms, UINT64_MAX) || (runs && m->l.ports_up));
}

static void run(const unsigned history[DEPTH])
{
    struct world m = {.l.ports_down = true};
    struct cs_watch w;

    cs_watch_init(&w, DRAIN_MS);
    for (unsigned i = 0; i < DEPTH && !m.dead; i++) {
        enum cs_watch_effect effect;
        enum cs_watch_state before;

        happen(&m, (enum symbol)history[i]);
        do { /* As node.c does it: until nothing changes. */
            before = cs_watch_state(&w);
            effect = cs_watch_step(&w, &m.l);
            carry_out(&m, effect);
        } while (!m.dead && (effect != CS_DO_NOTHING || cs_watch_state(&w) != before));
        check(&m, &w);
    }
}

static void no_history_breaks_the_watch(void **state)
{
    unsigned history[DEPTH] = {0};
    unsigned long n = 0;
    unsigned i;

    (void)state;
    do {
        run(history);
        n++;
        for (i = 0; i < DEPTH && ++history[i] == SYMBOLS; i++) {
            history[i] = 0;
        }
    } while (i < DEPTH);
    assert_int_equal(n, 5764801); /* 7^8 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_begins_with_its_barrier_and_ends_with_its_term),
        cmocka_unit_test(an_election_won_while_draining_waits_for_the_ports),
        cmocka_unit_test(a_new_term_drains_even_when_the_same_node_won),
        cmocka_unit_test(leadership_lost_while_ramping_drains),
        cmocka_unit_test(a_diverged_node_never_acts),
        cmocka_unit_test(ports_that_do_not_stop_end_the_process),
        cmocka_unit_test(only_an_active_watch_with_a_lease_may_act),
        cmocka_unit_test(no_history_breaks_the_watch),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
