/* Every history of some length over a small alphabet, against a model that is
 * too simple to be wrong. Shorter histories are beginnings of longer ones, so the
 * invariants hold after each input of each history. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

/* One more costs twelve times as long; the sanitizers cost as much again. */
#ifdef __SANITIZE_ADDRESS__
enum { LENGTH = 4 };
#else
enum { LENGTH = 5 };
#endif

enum { DEADLINE_MS = 60000, WAIT_MS = 40000 };

enum letter {
    COMMAND_1, /* ON */
    COMMAND_2, /* OFF */
    SENT_1,
    SENT_2,
    FAIL_1,
    REPORT_ON,
    REPORT_OFF,
    REDELIVERED, /* The last report once more. */
    LATE_ON,     /* Measured before everything. */
    WAIT,
    GONE,
    LISTED,
    LETTERS_NR
};

struct command
{
    enum rp_command_status status; /* 0: never submitted. */
    uint32_t attempts;
    uint64_t deadline_ms;
    enum rp_switch wish;
};

struct model
{
    uint64_t now_ms;
    bool listed;
    enum rp_switch state;
    unsigned readings;
    unsigned lates;
    struct command c[2];
    uint64_t ended[RP_STATUS_NR];
    struct rp_report last;
};

static bool is_open(const struct command *c)
{
    return c->status == RP_ACCEPTED || c->status == RP_SENT;
}

static void end(struct model *m, struct command *c, enum rp_command_status status)
{
    if (is_open(c)) {
        c->status = status;
        m->ended[status]++;
    }
}

static void model_command(struct model *m, unsigned i)
{
    if (m->c[i].status != 0 || !m->listed) {
        return;
    }
    end(m, &m->c[1 - i], RP_SUPERSEDED);
    m->c[i].status = RP_ACCEPTED;
    m->c[i].deadline_ms = m->now_ms + DEADLINE_MS;
}

static void model_report(struct model *m, enum rp_switch state, bool late)
{
    if (!m->listed) {
        return;
    }
    m->readings++;
    if (late) {
        return; /* Older than any attempt, too. */
    }
    m->state = state;
    for (unsigned i = 0; i < 2; i++) {
        if (m->c[i].status == RP_SENT && m->c[i].wish == state) {
            end(m, &m->c[i], RP_CONFIRMED);
        }
    }
}

static void model_sent(struct model *m, unsigned i)
{
    if (is_open(&m->c[i])) {
        m->c[i].status = RP_SENT;
        m->c[i].attempts++;
    }
}

static void model_step(struct model *m, enum letter letter)
{
    m->now_ms += letter == WAIT ? WAIT_MS : 1;
    for (unsigned i = 0; i < 2; i++) {
        if (m->c[i].deadline_ms <= m->now_ms) {
            end(m, &m->c[i], RP_EXPIRED);
        }
    }
    switch (letter) {
    case COMMAND_1:
    case COMMAND_2:
        model_command(m, letter - COMMAND_1);
        break;
    case SENT_1:
    case SENT_2:
        model_sent(m, letter - SENT_1);
        break;
    case FAIL_1:
        end(m, &m->c[0], RP_FAILED);
        break;
    case REPORT_ON:
        model_report(m, RP_ON, false);
        break;
    case REPORT_OFF:
        model_report(m, RP_OFF, false);
        break;
    case LATE_ON:
        model_report(m, RP_ON, true);
        break;
    case GONE:
        m->listed = false;
        end(m, &m->c[0], RP_FAILED);
        end(m, &m->c[1], RP_FAILED);
        break;
    case LISTED:
        m->listed = true;
        break;
    case REDELIVERED:
    case WAIT:
    case LETTERS_NR:
        break;
    }
}

static void put_report(struct rp_batch *b, struct model *m, enum letter letter)
{
    struct rp_report r = {.ieee = A,
                          .state = letter == REPORT_OFF ? RP_OFF : RP_ON,
                          .last_seen_ms = m->now_ms,
                          .payload_hash = m->now_ms,
                          .values.has = RP_HAS_POWER};

    if (letter == LATE_ON) {
        r.last_seen_ms = T0 - 1000 + m->lates++;
        r.payload_hash = r.last_seen_ms;
    }
    if (m->listed && letter == REPORT_ON + (r.state == RP_OFF)) {
        m->last = r;
    }
    rp_batch_report(b, &r);
}

static void put(struct rp_batch *b, const struct rp_store *s, struct model *m,
                enum letter letter)
{
    static const char *const ids[] = {"1", "2"};
    unsigned i = letter == COMMAND_2 || letter == SENT_2;
    const struct rp_command *c = rp_store_command(s, ids[i]);
    struct rp_report again = m->last;

    if (letter == COMMAND_1 || letter == COMMAND_2) {
        rp_batch_command(b, ids[i], A, "state", i == 0 ? "ON" : "OFF", "test",
                         m->now_ms + DEADLINE_MS);
    } else if (letter == SENT_1 || letter == SENT_2) {
        rp_batch_sent(b, c != NULL ? c->seq : 9, c != NULL ? c->attempts + 1 : 1,
                      m->now_ms);
    } else if (letter == FAIL_1) {
        rp_batch_end(b, c != NULL ? c->seq : 9, RP_FAILED, "because");
    } else if (letter == GONE) {
        rp_batch_gone(b, A);
    } else if (letter == LISTED) {
        rp_batch_device(b, 1, A, "a", "plug");
    } else if (letter == REDELIVERED) {
        again.redelivered = true;
        rp_batch_report(b, &again);
    } else if (letter == WAIT) {
        rp_batch_tick(b);
    } else {
        put_report(b, m, letter);
    }
}

static void compare(const struct rp_store *s, const struct model *m)
{
    const struct rp_device *d = rp_store_device(s, A);
    const struct rp_command *c[2] = {rp_store_command(s, "1"), rp_store_command(s, "2")};

    assert_int_equal(d->listed, m->listed);
    assert_int_equal(d->state, m->state);
    assert_int_equal(rp_store_readings_last(s), m->readings);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(c[i] != NULL ? c[i]->status : 0, m->c[i].status);
        if (c[i] != NULL) {
            assert_int_equal(c[i]->attempts, m->c[i].attempts);
        }
    }
    for (int e = RP_CONFIRMED; e < RP_STATUS_NR; e++) {
        assert_true(rp_store_ended(s, (enum rp_command_status)e) == m->ended[e]);
    }
}

static void apply(struct world *w, uint64_t now_ms, uint64_t index)
{
    rp_batch_seal(&w->b, now_ms, 1, &w->entry);
    assert_int_equal(rp_store_apply(w->s, index, w->entry.p, w->entry.len, NULL, NULL),
                     0);
}

/* Many histories begin alike: one of them is enough to look at the beginning. */
static bool first_visit(const enum letter *word, unsigned i)
{
    while (++i < LENGTH) {
        if (word[i] != 0) {
            return false;
        }
    }
    return true;
}

static void play(struct world *w, const enum letter *word)
{
    struct model m = {.now_ms = T0, .listed = true};

    m.c[0].wish = RP_ON;
    m.c[1].wish = RP_OFF;
    rp_store_reset(w->s);
    rp_batch_area(&w->b, "north", "z2m-north");
    rp_batch_device(&w->b, 1, A, "a", "plug");
    /* So that there is a last_seen to compare with, and a report to repeat. */
    put_report(&w->b, &m, REPORT_ON);
    model_report(&m, RP_ON, false);
    apply(w, T0, 1);
    for (unsigned i = 0; i < LENGTH; i++) {
        model_step(&m, word[i]);
        put(&w->b, w->s, &m, word[i]);
        apply(w, m.now_ms, i + 2);
        if (first_visit(word, i)) {
            compare(w->s, &m);
            check_invariants(w->s);
        }
    }
}

static void every_history_ends_as_the_model_says(void **state)
{
    struct rp_limits l = {.areas_max = 1,
                          .devices_max = 1,
                          .readings_max = 8,
                          .commands_max = 2,
                          .letters_max = 4};
    enum letter word[LENGTH] = {0};
    struct world w;
    unsigned n = 0;
    unsigned i = 0;

    (void)state;
    world_open(&w, &l);
    while (i < LENGTH) {
        play(&w, word);
        n++;
        /* Count up in base LETTERS_NR. */
        for (i = 0; i < LENGTH && ++word[i] == LETTERS_NR; i++) {
            word[i] = 0;
        }
    }
    assert_int_equal(n, 12 * 12 * 12 * 12 * (LENGTH == 5 ? 12 : 1));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_history_ends_as_the_model_says),
    };

    return cmocka_run_group_tests_name("histories", tests, NULL, NULL);
}
