/* Two nodes and a row in Postgres: what the machine of consensus/tie.h is told, and what
 * it wants done. The decision to go on alone, or to begin empty, is written into a file
 * first; the process then begins anew in its own place and carries it out before anything
 * else (nd_tie_resume). */

#include "node/tie.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mp.h"
#include "node/node.h"
#include "replication/decode.h"

enum {
    LOOK_MS = 5000,
    LOOK_SILENT_MS = 1000,
    LOOK_IDLE_MS = 15000,
    RETRY_MS = 500,
    EMPTY_MS = 2000,
    PROPOSE_AGAIN_MS = 1000,
    MEMBER_AGAIN_MS = 200,
    LET_LEADER_MS = 400, /* Who led has the ports running: let it stay. */
    LET_PREFERRED_MS = 4000,
    WIDEN_MS = 10000 /* So long the row stays closed for somebody who may come. */
};

static const char fact_epoch[] = "tie.epoch";

/* --- levels --- */

static uint64_t epoch_applied(const struct nd_node *n)
{
    const struct rp_fact *f = rp_store_fact(n->store, fact_epoch);

    return f != NULL ? strtoull(f->value, NULL, 10) : 0;
}

static uint64_t epoch_in(const struct cs_entry *e)
{
    struct rp_entry entry;
    struct rp_input in;
    uint64_t top = 0;

    if (e->type != RAFT_COMMAND || rp_entry_open(&entry, e->data, e->len) != 0) {
        return 0;
    }
    while (rp_entry_next(&entry, &in) == 1) {
        if (in.kind == RP_IN_FACT && strcmp(in.fact.key, fact_epoch) == 0) {
            uint64_t epoch = strtoull(in.fact.value, NULL, 10);

            top = epoch > top ? epoch : top;
        }
    }
    return top;
}

/* What is in the log counts before it is known to be committed: after a start that is
 * all that there is to go by. */
static uint64_t epoch_held(struct nd_node *n, uint64_t applied)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    struct nd_tie *t = &n->tie;
    /* With the same end two logs are the same; the present term says nothing of it. */
    uint64_t end = cs_core_term_of(core, cs_core_last(core));

    if (cs_core_last(core) != t->held_last || end != t->held_term) {
        t->held = 0;
        for (uint64_t i = cs_core_last(core); i > cs_core_applied(core); i--) {
            const struct cs_entry *e = cs_core_entry(core, i);
            uint64_t epoch = e != NULL ? epoch_in(e) : 0;

            t->held = epoch > t->held ? epoch : t->held;
        }
        t->held_last = cs_core_last(core);
        t->held_term = end;
    }
    return t->held > applied ? t->held : applied;
}

static uint32_t voters_newest(const struct nd_node *n)
{
    uint32_t set = 0;
    struct cs_member m;

    for (uint64_t id = 1; id <= CS_ID_MAX; id++) {
        if (cs_core_member(nd_replica_core(n->replica), id, &m) &&
            m.role == CS_ROLE_VOTER) {
            set |= CS_TIE_NODE(id);
        }
    }
    return set;
}

static uint32_t voters_in_force(const struct nd_node *n)
{
    uint64_t ids[CS_MEMBERS_MAX];
    bool voter[CS_MEMBERS_MAX];
    unsigned count = cs_core_members(nd_replica_core(n->replica), ids, voter);
    uint32_t set = 0;

    for (unsigned i = 0; i < count; i++) {
        set |= voter[i] ? CS_TIE_NODE(ids[i]) : 0;
    }
    return set;
}

static uint64_t other_of(uint32_t voters, uint64_t self)
{
    uint32_t rest = voters & ~CS_TIE_NODE(self);

    for (uint64_t id = 1; id <= CS_ID_MAX; id++) {
        if (rest == CS_TIE_NODE(id) && rest != voters) {
            return id;
        }
    }
    return 0;
}

static bool settled(const struct nd_node *n)
{
    const struct cs_core *core = nd_replica_core(n->replica);

    return cs_core_role(core) == CS_LEADER &&
           cs_core_applied(core) == cs_core_committed(core) &&
           cs_core_term_of(core, cs_core_applied(core)) == cs_core_term(core);
}

static bool linked(const struct nd_node *n, uint64_t id)
{
    return id != 0 && ad_peers_linked(nd_replica_peers(n->replica), id);
}

/* The other voter is there, but its log is not: it had acknowledged things, and has
 * nothing now. Raft sends nothing twice, and there is no third to hand over to: nothing
 * commits any more. It counts as gone then; without a log it can neither lead nor be
 * elected, and it is taken in again. Said for two seconds, so that it is not merely what
 * it said just before it had anything. */
static bool lost_its_log(struct nd_node *n, uint64_t now)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    struct nd_tie *t = &n->tie;
    const struct nd_tie_peer *p = &t->peers[t->peer];

    if (!linked(n, t->peer) || !p->told || !p->empty || cs_core_last(core) == 0) {
        t->empty_ms = 0;
    } else if (t->empty_ms == 0 && cs_core_role(core) == CS_LEADER &&
               cs_core_match(core, t->peer) > 0) {
        t->empty_ms = now;
    }
    return t->empty_ms != 0 && now >= t->empty_ms + EMPTY_MS;
}

static bool is_silent(struct nd_node *n, uint64_t now)
{
    uint64_t heard = nd_replica_heard_ms(n->replica, n->tie.peer);

    if (lost_its_log(n, now)) {
        return true;
    }
    heard = heard > n->started_ms ? heard : n->started_ms;
    return n->tie.peer != 0 &&
           cs_tie_silent(now, heard, n->config.raft.election_ms, n->tie.broken);
}

static bool patient(const struct nd_node *n, uint64_t now)
{
    const struct nd_tie *t = &n->tie;
    uint64_t wait = t->was_led ? LET_LEADER_MS : 0;

    if (n->config.tie_preferred[0] != '\0' &&
        strcmp(n->config.tie_preferred, nd_config_self(&n->config)->name) != 0) {
        wait = LET_PREFERRED_MS;
    }
    return t->broken || now >= t->silent_ms + wait;
}

/* Is there a broker, as far as was looked? */
static bool broker_there(const struct nd_node *n)
{
    for (unsigned i = 0; i < n->config.brokers_n; i++) {
        if (n->brokers[i].mqtt != NULL || !n->ready.brokers[i].known ||
            n->ready.brokers[i].good) {
            return true;
        }
    }
    return false;
}

const char *nd_tie_unfit(struct nd_node *n)
{
    return nd_config_self(&n->config)->witness            ? "it is a witness"
           : nd_node_diverged(n)                          ? "its state is wrong"
           : ad_wal_space_low(nd_replica_wal(n->replica)) ? "its disk is nearly full"
           : !broker_there(n)                             ? "it reaches no broker"
                                                          : NULL;
}

/* An operator re-formed the cluster around this node (vagtctl recover), later than the
 * row was last heard of: Postgres may be what is away. */
static bool forced(const struct nd_node *n)
{
    const struct rp_fact *by = rp_store_fact(n->store, "recover.epoch");
    const struct rp_fact *tie = rp_store_fact(n->store, fact_epoch);

    return by != NULL && (tie == NULL || by->at_ms > tie->at_ms);
}

static uint64_t out_epoch(const struct nd_node *n)
{
    uint64_t top = 0;

    for (uint64_t id = 1; id <= CS_ID_MAX; id++) {
        const struct nd_tie_peer *p = &n->tie.peers[id];

        if (p->told && p->out > top && linked(n, id)) {
            top = p->out;
        }
    }
    return top;
}

static void look_around(struct nd_node *n, uint64_t now)
{
    struct nd_tie *t = &n->tie;
    struct cs_tie_levels *l = &t->l;
    const struct cs_core *core = nd_replica_core(n->replica);
    uint64_t epoch = epoch_applied(n);
    uint32_t wanted;
    bool silent;

    *l = (struct cs_tie_levels){.voters = voters_newest(n)};
    t->peer = other_of(l->voters, n->config.id);
    silent = is_silent(n, now);
    if (silent && t->silent_ms == 0) {
        t->look_ms = now; /* What was known of the row may be old. */
    }
    t->silent_ms = !silent ? 0 : t->silent_ms != 0 ? t->silent_ms : now;
    if (!silent && cs_core_leader(core) != 0) {
        t->was_led = cs_core_leader(core) != n->config.id;
    }
    l->in_force = voters_in_force(n);
    wanted = nd_replica_widen_wanted(n->replica);
    if (wanted != 0) {
        t->widen = wanted;
        t->widen_until_ms = now + WIDEN_MS;
    }
    l->widen = now < t->widen_until_ms ? t->widen : 0;
    l->epoch = epoch;
    l->held = epoch_held(n, epoch);
    l->peer_epoch = linked(n, t->peer) ? t->peers[t->peer].epoch : 0;
    /* Of three only an operator leaves one behind (left.c). */
    l->out_epoch = cs_core_last(core) > 0 && !n->joining && cs_tie_count(l->voters) <= 2
                       ? out_epoch(n)
                       : 0;
    l->term = cs_core_term(core);
    l->leading = settled(n) && !(silent && t->empty_ms != 0);
    l->silent = silent;
    l->fit = silent && nd_tie_unfit(n) == NULL;
    l->forced = forced(n);
    l->calm = !n->stopping && !n->closing && !n->handover.used && !n->joining &&
              !nd_upkeep_held(n);
    l->patient = patient(n, now);
    l->look = now >= t->look_ms;
    l->reach = t->pg != NULL && ad_pg_tie_up(t->pg);
}

/* --- the row --- */

static void on_answer(void *data, const struct cs_tie_row *row)
{
    struct nd_node *n = data;
    struct nd_tie *t = &n->tie;
    uint64_t confirmed = t->m.confirmed;

    cs_tie_answer(&t->m, row);
    if (row != NULL) {
        t->row_ms = nd_now_ms();
    } else {
        t->look_ms = nd_now_ms() + RETRY_MS;
    }
    if (t->m.lost && t->m.purpose == CS_TIE_CLAIM && row != NULL) {
        t->m.lost = false;
        SY_LOG(&n->log, SY_NOTE, "tie.lost", KU64("epoch", row->epoch),
               KU64("sole", row->sole));
    }
    if (t->m.confirmed != confirmed) {
        SY_LOG(&n->log, t->m.confirmed != 0 ? SY_NOTE : SY_ERR,
               t->m.confirmed != 0 ? "tie.confirmed" : "tie.revoked",
               KU64("epoch", t->m.row.epoch), KU64("sole", t->m.row.sole));
    }
    nd_tie_tend(n);
}

static void on_pg_changed(void *data)
{
    struct nd_node *n = data;

    SY_LOG(&n->log, SY_INFO, "tie.postgres", KU64("up", ad_pg_tie_up(n->tie.pg)),
           KSTR("why", ad_pg_tie_error(n->tie.pg)));
}

static void open_postgres(struct nd_node *n)
{
    static const struct ad_pg_tie_cb cb = {on_answer, on_pg_changed};
    struct sy_errbuf eb;

    if (n->tie.pg == NULL && n->tie.l.voters != 0 && cs_tie_count(n->tie.l.voters) <= 2 &&
        ad_pg_tie_open(&n->tie.pg, n->loop, &n->config.postgres, &cb, n, &eb) != 0) {
        n->tie.pg = NULL;
        n->tie.on = false;
        SY_LOG(&n->log, SY_ERR, "tie.failed", KSTR("why", eb.text));
    }
}

/* --- what is to be done after the process has begun anew --- */

void nd_tie_path(char to[ND_TIE_PATH_SIZE], const char *dir, const char *end)
{
    snprintf(to, ND_TIE_PATH_SIZE, "%s/tie-next%s", dir, end);
}

int nd_tie_sync_folder(const char *dir)
{
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rv = folder < 0 || fsync(folder) != 0 ? -errno : 0;

    if (folder >= 0) {
        close(folder);
    }
    return rv;
}

int nd_tie_write_next(const char *dir, const char *what, uint64_t epoch, uint64_t term)
{
    char path[ND_TIE_PATH_SIZE], tmp[ND_TIE_PATH_SIZE];
    FILE *f;
    int rv;

    nd_tie_path(path, dir, "");
    nd_tie_path(tmp, dir, ".tmp");
    f = fopen(tmp, "we");
    if (f == NULL) {
        return -errno;
    }
    rv = fprintf(f, "%s epoch %" PRIu64 " term %" PRIu64 "\n", what, epoch, term) > 0 &&
                 fflush(f) == 0 && fsync(fileno(f)) == 0
             ? 0
             : -EIO;
    fclose(f);
    if (rv == 0 && rename(tmp, path) != 0) {
        rv = -errno;
    }
    return rv == 0 ? nd_tie_sync_folder(dir) : rv;
}

/* From here on this process only ends: another one goes on in its place. */
static void begin_anew(struct nd_node *n, const char *what, uint64_t epoch, uint64_t term)
{
    int rv = nd_tie_write_next(n->config.data_dir, what, epoch, term);
    char text[24];

    if (rv != 0) {
        SY_LOG(&n->log, SY_ERR, "tie.failed", KERR(rv), KSTR("dir", n->config.data_dir));
        fflush(stderr);
        _exit(1); /* Whether it is written is not known: the next start sees. */
    }
    snprintf(text, sizeof text, "%" PRIu64, epoch);
    (void)setenv(ND_TIE_ENV, strcmp(what, "alone") == 0 ? text : "0", 1);
    if (strcmp(what, "alone") == 0) {
        nd_site_stay(n); /* Nobody else can have them: the row names this node. */
    }
    n->tie.again = true;
    n->stopping = true;
    n->stop_deadline_ms = 0;
}

/* --- effects --- */

static void propose(struct nd_node *n, uint64_t now)
{
    struct nd_tie *t = &n->tie;
    char text[24];

    if (nd_replica_leading(n->replica) == 0 ||
        (t->proposed == t->m.propose && now < t->proposed_ms + PROPOSE_AGAIN_MS)) {
        return;
    }
    t->proposed = t->m.propose;
    t->proposed_ms = now;
    snprintf(text, sizeof text, "%" PRIu64, t->m.propose);
    rp_batch_fact(nd_replica_batch(n->replica), fact_epoch, text);
}

static void swap(struct nd_node *n)
{
    static const char *const names[] = {"claim", "claim again", "open", "close"};
    const struct cs_tie *m = &n->tie.m;

    SY_LOG(&n->log, SY_NOTE, "tie.swap", KSTR("what", names[m->purpose]),
           KU64("from", m->expect), KU64("to", m->want.epoch),
           KU64("sole", m->want.sole));
    ad_pg_tie_swap(n->tie.pg, m->expect, &m->want);
}

static void carry_out(struct nd_node *n, enum cs_tie_effect effect, uint64_t now)
{
    struct nd_tie *t = &n->tie;

    switch (effect) {
    case CS_TIE_READ:
        t->look_ms = now + (t->l.silent    ? LOOK_SILENT_MS
                            : t->l.leading ? LOOK_MS
                                           : LOOK_IDLE_MS);
        ad_pg_tie_read(t->pg);
        break;
    case CS_TIE_SWAP:
        swap(n);
        break;
    case CS_TIE_PROPOSE:
        propose(n, now);
        break;
    case CS_TIE_REFORM:
        SY_LOG(&n->log, SY_WARN, "tie.alone", KU64("epoch", t->m.want.epoch),
               KU64("without", t->peer));
        begin_anew(n, "alone", t->m.want.epoch, t->m.want.term);
        break;
    case CS_TIE_ARCHIVE:
        SY_LOG(&n->log, SY_WARN, "tie.left_behind", KU64("epoch", t->l.out_epoch));
        begin_anew(n, "empty", t->l.out_epoch, 0);
        break;
    case CS_TIE_NOTHING:
        break;
    }
}

static void set_gate(struct nd_node *n)
{
    struct nd_tie *t = &n->tie;
    struct nd_replica_gate gate = {
        .shut = !cs_tie_may_lead(&t->m, &t->l) || t->again || n->joining,
        .muted = cs_tie_muted(&t->m) || t->again,
        /* While it catches up its newest configuration may be one of long ago. */
        .members_only = t->l.voters == CS_TIE_NODE(n->config.id) && !n->joining,
        .guarded = true,
        .widen_to =
            t->l.widen != 0 && cs_tie_may_widen(&t->m, t->l.widen) ? t->l.widen : 0,
    };

    nd_replica_set_gate(n->replica, &gate);
}

/* --- taking the other in again --- */

static void tend_members(struct nd_node *n, uint64_t now)
{
    const struct nd_tie *t = &n->tie;

    if (t->l.voters != CS_TIE_NODE(n->config.id) || !t->l.leading ||
        t->m.confirmed == 0 || t->l.epoch < t->m.confirmed || now < t->member_ms) {
        return;
    }
    n->tie.member_ms = now + MEMBER_AGAIN_MS;
    for (unsigned i = 0; i < n->config.nodes_n; i++) {
        uint64_t id = n->config.nodes[i].id;

        if (id != n->config.id && linked(n, id) &&
            (t->m.row.members & CS_TIE_NODE(id)) != 0) {
            (void)nd_take_in(n, id, t->peers[id].told && t->peers[id].empty);
        }
    }
}

/* Nothing is known to be committed before something of the own term is; and while the
 * gate is shut nobody else appends anything. */
static void tend_barrier(struct nd_node *n, uint64_t now)
{
    const struct cs_core *core = nd_replica_core(n->replica);

    if (n->tie.l.voters == CS_TIE_NODE(n->config.id) && cs_core_role(core) == CS_LEADER &&
        now >= n->tie.barrier_ms &&
        cs_core_term_of(core, cs_core_last(core)) != cs_core_term(core)) {
        n->tie.barrier_ms = now + RETRY_MS;
        nd_replica_barrier(n->replica);
    }
}

/* --- the node's calls --- */

void nd_tie_tend(struct nd_node *n)
{
    uint64_t now = nd_now_ms();
    struct nd_tie *t = &n->tie;
    enum cs_tie_effect effect;

    if (!t->on || t->again || n->closing) {
        return;
    }
    look_around(n, now);
    open_postgres(n);
    effect = cs_tie_step(&t->m, &t->l);
    set_gate(n); /* Before a claim leaves. */
    carry_out(n, effect, now);
    set_gate(n);
    tend_barrier(n, now);
    tend_members(n, now);
}

void nd_tie_open(struct nd_node *n)
{
    const char *won = getenv(ND_TIE_ENV);
    uint64_t token = (n->config.id << 56) | (nd_node_random(n) >> 32 << 24);

    n->tie.on = n->config.nodes_n >= 2 && n->config.has_postgres &&
                strcmp(n->config.tie_mode, "off") != 0 &&
                !nd_config_self(&n->config)->witness;
    cs_tie_init(&n->tie.m, (uint32_t)n->config.id, token,
                won != NULL ? strtoull(won, NULL, 10) : 0);
    (void)unsetenv(ND_TIE_ENV);
    if (n->tie.on) {
        look_around(n, nd_now_ms());
        set_gate(n);
    }
}

static void pg_closed(void *data)
{
    (void)data;
}

void nd_tie_close(struct nd_node *n)
{
    if (n->tie.pg != NULL) {
        ad_pg_tie_close(n->tie.pg, pg_closed);
        n->tie.pg = NULL;
    }
}

void nd_tie_link(struct nd_node *n, uint64_t peer, bool up, bool broken)
{
    n->tie.peers[peer] = (struct nd_tie_peer){0};
    if (peer == n->tie.peer) {
        n->tie.broken = !up && broken;
    }
    if (up) {
        nd_tie_tell(n);
    }
}
