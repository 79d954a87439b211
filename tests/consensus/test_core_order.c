/* The order is the safety: what depends on a term, a vote or an entry does not
 * leave before that is durable. One core, a recording world. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/consensus/one_core.h"

static int setup(void **state)
{
    struct one_core *o = calloc(1, sizeof *o);

    cs_core_config_default(&o->config);
    o->config.id = 1;
    o->config.seed = 7;
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    one_core_close(*state);
    free(*state);
    return 0;
}

static struct one_core *three(void **state)
{
    struct one_core *o = *state;

    one_core_open(o, 3);
    return o;
}

static uint64_t submit(struct one_core *o, unsigned len)
{
    uint8_t p[512] = {1};
    uint64_t index, term;

    assert_int_equal(cs_core_submit(o->core, o->now, p, len, &index, &term), 0);
    assert_int_equal(term, cs_core_term(o->core));
    return index;
}

static void the_library_is_the_one_we_know(void **state)
{
    three(state);
    assert_int_equal(raft_version_number(), CS_RAFT_VERSION);
    assert_int_equal(RAFT_VERSION_NUMBER, CS_RAFT_VERSION);
    assert_int_equal(sizeof(struct raft), CS_RAFT_SIZE);
}

/* --- votes --- */

static void a_vote_leaves_after_it_is_durable(void **state)
{
    struct one_core *o = three(state);
    unsigned store;

    one_core_vote_wanted(o, 2, 5, false, 1, 1);
    store = one_core_find(o, 0, W_STORE, 0);
    assert_true(store < o->n);
    assert_true(o->wishes[store].has_vote);
    assert_int_equal(o->wishes[store].term, 5);
    assert_int_equal(o->wishes[store].voted_for, 2);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE_RESULT), 0);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE_RESULT), 1);
    assert_true(one_core_find(o, 0, W_SEND, RAFT_REQUEST_VOTE_RESULT) >
                one_core_find(o, 0, W_STORED, 0));
}

static void a_candidate_is_silent_until_its_term_is_durable(void **state)
{
    struct one_core *o = three(state);

    one_core_expire(o);
    assert_int_equal(cs_core_role(o->core), CS_CANDIDATE);
    /* A pre-vote changes nothing, so it may leave at once. */
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE), 2);
    o->n = 0;
    one_core_vote_given(o, 2, 2, true);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE), 0);
    assert_int_equal(o->wishes[one_core_find(o, 0, W_STORE, 0)].voted_for, 1);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE), 2);
}

static void all_frames_wait_behind_a_vote_and_stay_in_order(void **state)
{
    struct one_core *o = three(state);
    unsigned vote, refusal;

    one_core_vote_wanted(o, 2, 5, false, 1, 1);
    one_core_vote_wanted(o, 2, 6, false, 1,
                         1); /* The vote changes while it is written. */
    one_core_vote_wanted(o, 3, 6, false, 1, 1); /* Refused: it is node 2's. */
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE_RESULT), 0);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE_RESULT), 1);
    assert_true(o->storing);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_REQUEST_VOTE_RESULT), 3);
    vote = one_core_find(o, 0, W_SEND, RAFT_REQUEST_VOTE_RESULT);
    assert_int_equal(o->wishes[vote].m.request_vote_result.term, 5);
    vote = one_core_find(o, vote + 1, W_SEND, RAFT_REQUEST_VOTE_RESULT);
    assert_int_equal(o->wishes[vote].m.request_vote_result.term, 6);
    refusal = one_core_find(o, vote + 1, W_SEND, RAFT_REQUEST_VOTE_RESULT);
    assert_int_equal(o->wishes[refusal].to, 3);
    assert_false(o->wishes[refusal].m.request_vote_result.vote_granted);
}

static void frames_that_wait_are_bounded(void **state)
{
    struct one_core *o = three(state);

    one_core_vote_wanted(o, 2, 5, false, 1, 1);
    for (unsigned i = 0; i < 10000; i++) {
        one_core_vote_wanted(o, 3, 5, false, 1, 1);
    }
    assert_true(o->core->held_frames <= 4096);
    o->n = 0;
    cs__send_drop_held(o->core);
    assert_int_equal(o->core->held_frames, 0);
    assert_int_equal(o->core->held_bytes, 0);
}

/* --- entries --- */

static void a_follower_acknowledges_what_is_durable(void **state)
{
    struct one_core *o = three(state);
    unsigned i;

    one_core_append(o, 2, 2, 0, 1, 1, 1, 3, 2);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_APPEND_ENTRIES_RESULT), 0);
    assert_int_equal(cs_core_stored_index(o->core), 1);
    i = one_core_find(o, 0, W_STORE, 0);
    assert_true(o->wishes[i].has_vote); /* The term went with the same operation. */
    assert_int_equal(o->wishes[i].first, 2);
    assert_int_equal(o->wishes[i].n, 3);
    one_core_append(o, 2, 2, 0, 4, 2, 1, 2, 2);
    one_core_stored(o);
    assert_int_equal(cs_core_stored_index(o->core), 4);
    i = one_core_find(o, 0, W_SEND, RAFT_APPEND_ENTRIES_RESULT);
    assert_int_equal(o->wishes[i].m.append_entries_result.last_log_index, 4);
    i = one_core_find(o, i, W_STORE, 0); /* What came in meanwhile goes together. */
    assert_int_equal(o->wishes[i].first, 5);
    assert_int_equal(o->wishes[i].n, 2);
    one_core_stored(o);
    assert_int_equal(cs_core_stored_index(o->core), 6);
    assert_false(o->storing);
}

static void a_stale_completion_reports_nothing_that_was_cut_off(void **state)
{
    struct one_core *o = three(state);
    unsigned i;

    one_core_append(o, 2, 2, 0, 1, 1, 1, 4, 2); /* 2..5 of term 2, being written */
    one_core_append(o, 3, 3, 0, 3, 2, 1, 3, 3); /* 4..6 of term 3 replace 4 and 5 */
    assert_int_equal(cs_core_last(o->core), 6);
    o->n = 0;
    one_core_stored(o);
    assert_int_equal(cs_core_stored_index(o->core), 3);
    for (i = one_core_find(o, 0, W_SEND, RAFT_APPEND_ENTRIES_RESULT); i < o->n;
         i = one_core_find(o, i + 1, W_SEND, RAFT_APPEND_ENTRIES_RESULT)) {
        assert_true(o->wishes[i].m.append_entries_result.last_log_index <= 3);
    }
    i = one_core_find(o, 0, W_STORE, 0);
    assert_int_equal(o->wishes[i].first, 4);
    assert_int_equal(o->wishes[i].n, 3);
    one_core_stored(o);
    assert_int_equal(cs_core_stored_index(o->core), 6);
}

static void a_leader_commits_with_its_own_disk_or_without(void **state)
{
    struct one_core *o = three(state);
    uint64_t index;

    one_core_lead(o);
    o->n = 0;
    index = submit(o, 10);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_APPEND_ENTRIES), 0); /* probing */
    one_core_result(o, 2, 2, 0, index - 1, 0);
    one_core_result(o, 3, 2, 0, index - 1, 0);
    one_core_result(o, 2, 2, 0, index, 0);
    assert_int_equal(cs_core_committed(o->core), index - 1);
    one_core_result(o, 3, 2, 0, index, 0);
    assert_int_equal(cs_core_committed(o->core), index);
    assert_int_equal(cs_core_applied(o->core), index);
    assert_true(cs_core_stored_index(o->core) < index);
    one_core_stored(o);
    assert_int_equal(cs_core_stored_index(o->core), index);
}

static void a_single_voter_commits_what_is_durable(void **state)
{
    struct one_core *o = *state;
    uint64_t index;

    one_core_open(o, 1);
    assert_int_equal(cs_core_role(o->core), CS_LEADER);
    assert_int_equal(cs_core_term(o->core), 2); /* A new one: BUG 8. */
    assert_true(o->wishes[one_core_find(o, 0, W_STORE, 0)].has_vote);
    one_core_stored(o);
    index = submit(o, 10);
    assert_int_equal(cs_core_committed(o->core), index - 1);
    one_core_stored(o);
    assert_int_equal(cs_core_applied(o->core), index);
    assert_true(cs_core_lease_until(o->core) == UINT64_MAX);
}

static void submissions_have_limits(void **state)
{
    struct one_core *o = *state;
    uint8_t p[2048] = {0};
    uint64_t index, term;

    o->config.backlog_max = 8192;
    o->config.frame_max = 1024;
    three(state);
    assert_int_equal(cs_core_submit(o->core, o->now, p, 10, &index, &term),
                     SY_ENOTLEADER);
    assert_int_equal(cs_core_barrier(o->core, o->now, &index), SY_ENOTLEADER);
    one_core_lead(o);
    assert_int_equal(cs_core_submit(o->core, o->now, p, 1024, &index, &term),
                     SY_EINVALID);
    for (unsigned i = 0; i < 16; i++) {
        if (cs_core_submit(o->core, o->now, p, 900, &index, &term) != 0) {
            break;
        }
    }
    assert_int_equal(cs_core_submit(o->core, o->now, p, 900, &index, &term), SY_ELIMIT);
    assert_true(cs_core_last(o->core) < 12);
    one_core_result(o, 2, 2, 0, 2, 0);
    for (unsigned i = 0; i < 20 && cs_core_committed(o->core) < index; i++) {
        one_core_result(o, 2, 2, 0, i, 0);
        if (o->storing) {
            one_core_stored(o);
        }
    }
    assert_int_equal(cs_core_committed(o->core), index);
    assert_int_equal(cs_core_submit(o->core, o->now, p, 900, &index, &term), 0);
}

/* --- snapshots --- */

static void commit_some(struct one_core *o, unsigned n)
{
    uint64_t prev = cs_core_last(o->core);

    one_core_append(o, 2, 2, 0, prev, cs_core_term_of(o->core, prev), prev + n, n, 2);
}

static void a_snapshot_covers_only_what_is_durable(void **state)
{
    struct one_core *o = *state;
    unsigned i;

    o->config.snapshot_entries = 10;
    o->config.inflight_max = 4;
    o->config.trailing = 5;
    three(state);
    commit_some(o, 14); /* Committed by the others; not durable here. */
    assert_int_equal(one_core_count(o, 0, W_SNAPSHOT, 0), 0);
    assert_int_equal(cs_core_applied(o->core), 10); /* Due: it waits for the disk. */
    one_core_stored(o);
    i = one_core_find(o, 0, W_SNAPSHOT, 0);
    assert_true(i < o->n);
    assert_true(o->wishes[i].index <= cs_core_stored_index(o->core));
    assert_int_equal(cs_core_applied(o->core), 15);
    assert_int_equal(cs_core_first(o->core), 1);
    assert_int_equal(cs_core_snapshot_index(o->core), 0);
    cs_core_snapshot_taken(o->core, o->now, true);
    assert_int_equal(cs_core_snapshot_index(o->core), o->wishes[i].index);
    assert_int_equal(cs_core_first(o->core), o->wishes[i].index - 5 + 1);
    i = one_core_find(o, i, W_STORE, 0);
    assert_int_equal(o->wishes[i].drop_until, cs_core_first(o->core) - 1);
    assert_int_equal(o->wishes[i].n, 0);
}

static void a_failed_snapshot_is_tried_again_later(void **state)
{
    struct one_core *o = *state;

    o->config.snapshot_entries = 10;
    three(state);
    commit_some(o, 14);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SNAPSHOT, 0), 1);
    cs_core_snapshot_taken(o->core, o->now, false);
    commit_some(o, 14);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SNAPSHOT, 0), 1);
    o->now += 6000;
    commit_some(o, 14);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SNAPSHOT, 0), 2);
    cs_core_snapshot_taken(o->core, o->now, true);
}

static void a_log_of_many_bytes_is_snapshotted_and_cut(void **state)
{
    struct one_core *o = *state;
    unsigned i;

    o->config.snapshot_entries = 0;
    o->config.snapshot_bytes = 2000; /* About 50 entries of 16 + 24 bytes. */
    three(state);
    commit_some(o, 40);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SNAPSHOT, 0), 0);
    commit_some(o, 40);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SNAPSHOT, 0), 1);
    cs_core_snapshot_taken(o->core, o->now, true);
    i = one_core_find(o, 0, W_SNAPSHOT, 0);
    assert_true(cs_core_first(o->core) > 1); /* Although trailing is 4096. */
    assert_true(cs_core_first(o->core) < o->wishes[i].index);
    assert_true(cs_core_log_bytes(o->core) < 4000);
}

static void an_install_is_stored_restored_then_acknowledged(void **state)
{
    struct one_core *o = three(state);
    unsigned i;

    one_core_append(o, 2, 2, 0, 1, 1, 1, 3, 2); /* Being written. */
    one_core_install(o, 2, 2, 50, 2);
    one_core_install(o, 2, 2, 50, 2); /* Once more: of no use, and no leak. */
    assert_int_equal(one_core_count(o, 0, W_RESTORE, 0), 0);
    assert_int_equal(cs_core_snapshot_index(o->core), 0);
    /* A heartbeat says that 50 is committed; the state machine is not there. */
    one_core_append(o, 2, 2, 0, 50, 2, 60, 0, 0);
    assert_int_equal(cs_core_applied(o->core), 1);
    o->n = 0;
    one_core_stored(o); /* The old write: to be forgotten. */
    assert_int_equal(cs_core_stored_index(o->core), 0);
    i = one_core_find(o, 0, W_STORE, 0);
    assert_true(o->wishes[i].install);
    assert_int_equal(one_core_count(o, 0, W_RESTORE, 0), 0);
    one_core_stored(o);
    i = one_core_find(o, 0, W_RESTORE, 0);
    assert_int_equal(o->wishes[i].index, 50);
    i = one_core_find(o, i, W_SEND, RAFT_APPEND_ENTRIES_RESULT);
    assert_int_equal(o->wishes[i].m.append_entries_result.last_log_index, 50);
    assert_int_equal(cs_core_applied(o->core), 50);
    assert_int_equal(cs_core_first(o->core), 51);
    assert_int_equal(cs_core_snapshot_index(o->core), 50);
    one_core_append(o, 2, 2, 0, 50, 2, 51, 1, 2);
    one_core_stored(o);
    assert_int_equal(cs_core_applied(o->core), 51);
}

static void a_snapshot_overtaken_by_an_install_is_dropped(void **state)
{
    struct one_core *o = *state;

    o->config.snapshot_entries = 10;
    three(state);
    commit_some(o, 14);
    one_core_stored(o);
    assert_int_equal(one_core_count(o, 0, W_SNAPSHOT, 0), 1);
    one_core_install(o, 2, 2, 50, 2);
    cs_core_snapshot_taken(o->core, o->now, true);
    assert_int_equal(cs_core_snapshot_index(o->core), 0);
    one_core_stored(o);
    assert_int_equal(cs_core_snapshot_index(o->core), 50);
    assert_int_equal(cs_core_stats(o->core)->snapshots_taken, 0);
    assert_int_equal(cs_core_stats(o->core)->snapshots_installed, 1);
}

/* --- the lease --- */

static void the_lease_counts_from_when_the_question_was_sent(void **state)
{
    struct one_core *o = three(state);
    uint64_t sent;
    unsigned i;

    one_core_lead(o);
    assert_int_equal(cs_core_lease_until(o->core), 0);
    o->n = 0;
    one_core_expire(o);
    i = one_core_find(o, 0, W_SEND, RAFT_APPEND_ENTRIES);
    sent = o->wishes[i].stamp;
    assert_int_equal(sent, o->now);
    o->now += 30;
    one_core_result(o, 2, 2, sent, 1, 0);
    assert_int_equal(cs_core_lease_until(o->core), sent + o->config.election_ms);
    one_core_result(o, 3, 2, sent - 20, 1, 0); /* Older: one voter is enough. */
    assert_int_equal(cs_core_lease_until(o->core), sent + o->config.election_ms);
    one_core_result(o, 3, 2, o->now + 999, 1, 0); /* Nobody answers before we ask. */
    assert_int_equal(cs_core_lease_until(o->core), sent + o->config.election_ms);
    one_core_append(o, 3, 7, 0, 1, 1, 1, 0, 0); /* Deposed. */
    assert_int_equal(cs_core_lease_until(o->core), 0);
}

static void a_follower_answers_with_the_stamp_it_followed(void **state)
{
    struct one_core *o = three(state);
    unsigned i;

    one_core_append(o, 2, 2, 777, 1, 1, 1, 1, 2);
    one_core_append(o, 2, 2, 888, 2, 2, 1, 0, 0);
    one_core_stored(o);
    i = one_core_find(o, 0, W_SEND, RAFT_APPEND_ENTRIES_RESULT);
    assert_int_equal(o->wishes[i].stamp, 888);
    one_core_vote_wanted(o, 3, 5, false, 9, 4); /* (Refused: it has a leader.) */
    o->n = 0;
    one_core_append(o, 3, 6, 0, 9, 4, 1, 0, 0); /* Another leader, no stamp. */
    one_core_stored(o);
    i = one_core_find(o, 0, W_SEND, RAFT_APPEND_ENTRIES_RESULT);
    assert_int_equal(o->wishes[i].to, 3);
    assert_int_equal(o->wishes[i].stamp, 0);
    o->n = 0;
    one_core_append(o, 2, 2, 999, 2, 2, 1, 0, 0); /* The old one, too late. */
    i = one_core_find(o, 0, W_SEND, RAFT_APPEND_ENTRIES_RESULT);
    assert_int_equal(o->wishes[i].m.append_entries_result.term, 6);
    assert_int_equal(o->wishes[i].m.append_entries_result.last_log_index, 0);
    assert_int_equal(o->wishes[i].stamp, 0);
}

/* --- transfer --- */

static void a_transfer_waits_for_the_target_and_ends_at_its_deadline(void **state)
{
    struct one_core *o = three(state);
    uint64_t index, term, deadline;
    uint8_t p[8] = {0};

    one_core_lead(o);
    one_core_result(o, 2, 2, 0, cs_core_last(o->core), 0);
    one_core_result(o, 3, 2, 0, cs_core_last(o->core), 0);
    index = submit(o, 10);
    one_core_stored(o);
    assert_int_equal(cs_core_transfer(o->core, o->now, 1, o->now + 50), SY_EINVALID);
    assert_int_equal(cs_core_transfer(o->core, o->now, 9, o->now + 50), SY_EINVALID);
    deadline = o->now + 50;
    o->n = 0;
    assert_int_equal(cs_core_transfer(o->core, o->now, 2, deadline), 0);
    assert_true(cs_core_transferring(o->core));
    assert_int_equal(cs_core_transfer(o->core, o->now, 2, deadline), SY_EBUSY);
    assert_int_equal(cs_core_submit(o->core, o->now, p, 8, &index, &term), SY_EBUSY);
    assert_true(cs_core_timeout(o->core) <= deadline);
    one_core_result(o, 3, 2, 0, index, 0); /* Committed; but 2 is not level. */
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_TIMEOUT_NOW), 0);
    cs_core_tick(o->core, deadline);
    assert_false(cs_core_transferring(o->core));
    o->now = deadline;
    index = submit(o, 10);
    one_core_stored(o);
    assert_int_equal(cs_core_transfer(o->core, o->now, 2, o->now + 50), 0);
    one_core_result(o, 3, 2, o->now, index - 1, 0);
    assert_true(cs_core_lease_until(o->core) > o->now);
    one_core_result(o, 2, 2, 0, index, 0);
    assert_int_equal(one_core_count(o, 0, W_SEND, RAFT_TIMEOUT_NOW), 1);
    assert_int_equal(cs_core_lease_until(o->core), 0);
}

/* --- what a peer may not do --- */

static void frames_that_make_no_sense_are_refused(void **state)
{
    struct one_core *o = three(state);
    struct raft_message m = {.type = RAFT_REQUEST_VOTE};
    struct sy_buf b = {.p = NULL};

    m.request_vote.term = 9;
    m.request_vote.candidate_id = 2;
    m.request_vote.last_log_index = m.request_vote.last_log_term = 1;
    cs_wire_put(&b, &m, 0);
    /* In another one's name, in our own, in nobody's. */
    assert_int_equal(cs_core_recv(o->core, o->now, 3, b.p, b.len), SY_ECORRUPT);
    assert_int_equal(cs_core_recv(o->core, o->now, 1, b.p, b.len), SY_ECORRUPT);
    assert_int_equal(cs_core_recv(o->core, o->now, 0, b.p, b.len), SY_ECORRUPT);
    assert_int_equal(cs_core_recv(o->core, o->now, 16, b.p, b.len), SY_ECORRUPT);
    assert_int_equal(cs_core_term(o->core), 1);
    /* A second leader in our own term. */
    one_core_lead(o);
    b.len = 0;
    m = (struct raft_message){.type = RAFT_APPEND_ENTRIES};
    m.append_entries.term = 2;
    m.append_entries.prev_log_index = m.append_entries.prev_log_term = 1;
    cs_wire_put(&b, &m, 0);
    cs_wire_put_count(&b, 0);
    assert_int_equal(cs_core_recv(o->core, o->now, 3, b.p, b.len), SY_ECORRUPT);
    assert_int_equal(cs_core_role(o->core), CS_LEADER);
    sy_buf_free(&b);
}

int main(void)
{
#define T(F) cmocka_unit_test_setup_teardown(F, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_library_is_the_one_we_know),
        T(a_vote_leaves_after_it_is_durable),
        T(a_candidate_is_silent_until_its_term_is_durable),
        T(all_frames_wait_behind_a_vote_and_stay_in_order),
        T(frames_that_wait_are_bounded),
        T(a_follower_acknowledges_what_is_durable),
        T(a_stale_completion_reports_nothing_that_was_cut_off),
        T(a_leader_commits_with_its_own_disk_or_without),
        T(a_single_voter_commits_what_is_durable),
        T(submissions_have_limits),
        T(a_snapshot_covers_only_what_is_durable),
        T(a_failed_snapshot_is_tried_again_later),
        T(a_log_of_many_bytes_is_snapshotted_and_cut),
        T(an_install_is_stored_restored_then_acknowledged),
        T(a_snapshot_overtaken_by_an_install_is_dropped),
        T(the_lease_counts_from_when_the_question_was_sent),
        T(a_follower_answers_with_the_stamp_it_followed),
        T(a_transfer_waits_for_the_target_and_ends_at_its_deadline),
        T(frames_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
