/* A cluster in one process: real cores, real logs, and a simulated disk, network
 * and clock, all decided by one seed. Same seed, same run.
 *
 * The disk is tests/wal/memfs: a crash may come between any two file operations,
 * and what is not synced is then up to the seed. The network keeps the order of
 * each pair (as TCP does), loses, delays and cuts, in one direction, too. Time is
 * milliseconds and passes only between events.
 *
 * Whatever must never happen ends the run with a sentence in sim->why (SIM_TRY).
 * Checked all the time: one leader per term, leader completeness, log matching,
 * equal applied prefixes, nothing durable forgotten by a restart. */

#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/wal/wal.h"
#include "base/buf.h"
#include "consensus/core.h"
#include "consensus/core_impl.h"
#include "tests/wal/memfs.h"

enum { SIM_NODES_MAX = 5 };

/* The state machine under the log. */
struct sim_fsm
{
    void *(*create)(void);
    void (*destroy)(void *s);
    void (*apply)(void *s, uint64_t index, uint64_t term, const uint8_t *p, size_t n);
    void (*save)(const void *s, struct sy_buf *to);
    /* Becomes what was saved; 0 or an error. */
    int (*load)(void *s, const uint8_t *p, size_t n);
    uint64_t (*hash)(const void *s);
    /* A command of at most @cap bytes; its length. */
    size_t (*command)(uint64_t *random, uint8_t *to, size_t cap);
};

extern const struct sim_fsm sim_counter; /* Hashes and counts what it is given. */

/* Rules broken on purpose, to see that the checks notice. */
enum sim_mutant {
    SIM_SOUND,
    SIM_NO_HOLD,      /* Frames do not wait for term and vote. */
    SIM_EARLY_REPORT, /* Entries are reported before they are durable. */
    SIM_NO_STALE,     /* Completed writes of truncated entries are reported. */
    SIM_LYING_DISK,   /* sync() does nothing. */
    SIM_NO_CRC        /* Torn records of the log pass for sound ones. */
};

enum sim_event_type {
    SIM_FRAME,
    SIM_TRANSFER, /* A snapshot on its way. */
    SIM_DISK,
    SIM_SNAPSHOT, /* A snapshot being written. */
    SIM_TIMER,
    SIM_START,
    SIM_CLIENT,
    SIM_FAULT,
    SIM_CALL, /* fn(ctx, n) of a host: to node @to, or to nobody (0). */
    SIM_WAKE  /* The end of a pause. */
};

struct sim_event
{
    uint64_t t;
    uint64_t seq; /* Ties are decided by order of creation. */
    enum sim_event_type type;
    unsigned to;
    unsigned from;
    uint32_t to_life; /* Of the two ends when it was posted. */
    uint32_t from_life;
    uint64_t n;
    uint8_t kind; /* of a frame: 0 is the core's, others are the host's */
    struct sy_buf frame;
    struct sy_buf file;
    void (*fn)(void *ctx, uint64_t n);
    void *ctx;
};

struct sim_queue
{
    struct sim_event *heap;
    size_t n;
    size_t cap;
    uint64_t seq;
};

void sim_queue_post(struct sim_queue *q, struct sim_event e);
bool sim_queue_pop(struct sim_queue *q, uint64_t until, struct sim_event *ret);
void sim_queue_free(struct sim_queue *q);

struct sim;
struct sim_node;

/* Who runs more than a core on each node (site.h). */
struct sim_host
{
    /* What follows, up to leave(), happens on @x. */
    void (*enter)(struct sim_node *x);
    void (*turn)(struct sim_node *x);  /* the event is over; only if @x is up */
    void (*died)(struct sim_node *x);  /* sim_die() was called on it */
    void (*leave)(struct sim_node *x); /* @x may be down by now */
    void (*started)(struct sim_node *x);
    void (*stopped)(struct sim_node *x, bool power); /* its core is still there */
    /* In the place of the state machine's apply(): entries of every type. */
    void (*apply)(struct sim_node *x, uint64_t index, uint64_t term, uint8_t type,
                  const uint8_t *p, size_t n);
    void (*frame)(struct sim_node *x, unsigned from, uint8_t kind, const uint8_t *p,
                  size_t n);
};

struct sim_node
{
    struct sim *sim;
    unsigned id;
    bool up;
    uint32_t life;
    struct cs_core *core;
    struct cs_core_config config; /* Used at the next start. */
    void *state;
    uint64_t timer;
    enum cs_core_role role; /* As last traced. */

    struct memfs *disk;
    struct ad_wal_fs fs;
    struct ad_wal *wal;
    struct ad_wal_job *job;
    uint64_t job_term; /* What the job writes. */
    uint64_t job_vote;
    uint64_t fuse; /* File operations until the power goes; 0: stays. */
    bool dead;
    unsigned slow_ms; /* Its disk takes so much longer. */

    bool paused; /* As by SIGSTOP: what comes meanwhile is held back. */
    struct sim_event *held;
    size_t held_n, held_cap;

    struct ad_wal_snap_writer *writer;
    struct cs_snapshot_meta snap_meta;
    struct sy_buf snap_state;
    bool prune; /* There are old snapshots. */

    uint64_t net_at[SIM_NODES_MAX + 1]; /* Newest delivery to each peer. */
    /* What a restart may not forget. */
    uint64_t had_index, had_index_term, had_term, had_vote;
};

/* What was first applied at an index, by anybody. */
struct sim_known
{
    uint64_t term;
    uint64_t hash;
    uint64_t in_term; /* It was committed then, or before. */
};

struct sim_stats
{
    uint64_t elections, acked, snapshots, installs, crashes, kills, transfers, alarms;
    uint64_t changes; /* of the members */
};

struct sim
{
    unsigned n;
    uint64_t seed;
    uint64_t random;
    uint64_t now;
    uint64_t events;
    const struct sim_fsm *fsm;
    enum sim_mutant mutant;
    unsigned without;            /* enum cs_without, for all nodes */
    const struct sim_host *host; /* NULL: cores and state machines, no more */
    void *host_data;
    int verbose;
    bool manual; /* No timers: somebody calls sim_expire(). */
    bool faults;
    bool clients;
    bool random_config; /* Limits are drawn at each start. */
    unsigned founders;  /* Nodes above this one begin empty. */
    bool members;       /* Members come and go. */

    struct sim_queue queue;
    struct sim_node nodes[SIM_NODES_MAX + 1];
    bool cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    unsigned loss_permille, disk_max_ms, net_max_ms;
    size_t segment_size;
    jmp_buf died; /* Of the process of the node that runs. */
    /* Of frames that would be delivered: false loses them. */
    bool (*filter)(struct sim *s, unsigned from, unsigned to, const struct cs_wire *w);
    void *filter_data;

    struct sim_known *known;
    uint64_t known_cap;
    uint64_t known_max;
    uint64_t acked_max;
    unsigned *leader_of; /* By term. */
    uint64_t leader_cap;
    struct sim_stats stats;

    jmp_buf oops;
    char why[512];
};

/* if (SIM_TRY(s)) { ... runs ... } else { s->why } */
#define SIM_TRY(S) (setjmp((S)->oops) == 0)

void sim_fail(struct sim *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void sim_trace(struct sim *s, int level, const char *fmt, ...) SY_PRINTF(3, 4);

/* The process of the node that runs ends here and now, as by _exit(). */
void sim_die(struct sim *s) __attribute__((noreturn));

uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n);

struct sim *sim_new(unsigned nodes, uint64_t seed, const struct sim_fsm *fsm);
/* Write the first entry to all disks and start all nodes. Set options before. */
void sim_boot(struct sim *s);
void sim_destroy(struct sim **s);
void sim_run_until(struct sim *s, uint64_t t);

void sim_start(struct sim_node *x);
/* @power: what is not synced may be lost; otherwise only the process dies. */
void sim_crash(struct sim_node *x, bool power);
/* @n random commands to @x, leader or not. */
void sim_submit(struct sim_node *x, unsigned n);
void sim_alarm(struct sim_node *x, uint64_t peer);
/* Move the clock to the node's next timeout and let it have it. */
void sim_expire(struct sim_node *x);
void sim_cut_off(struct sim *s, unsigned id, bool on);
struct sim_node *sim_leader(struct sim *s); /* Of the highest term, or NULL. */

/* sim_node.c */
extern const char sim_identity[];
void sim_wal_config(const struct sim *s, struct ad_wal_config *c);
/* From here on the power may go between any two file operations; sim_burnt()
 * says whether it did (the node has crashed then). */
void sim_light_fuse(struct sim_node *x);
bool sim_burnt(struct sim_node *x);
int sim_on_disk(void *data, enum memfs_op op, const char *name, uint64_t offset,
                size_t n);
void sim_post(struct sim_node *x, enum sim_event_type type, uint64_t delay);
/* A frame of the host's; lost, delayed and ordered like those of the core. */
void sim_send(struct sim_node *x, uint64_t to, uint8_t kind, const uint8_t *p, size_t n);
/* Nothing of this node runs for @ms. */
void sim_pause(struct sim_node *x, uint64_t ms);
void sim_arm(struct sim_node *x);
void sim_close_node(struct sim_node *x);
/* A full disk ends the process, which is started again later: true, it is down. */
bool sim_disk_full(struct sim_node *x, int rv);
void sim_fail_if(struct sim_node *x, int rv, const char *what, struct sy_errbuf *eb);

/* sim_check.c */
void sim_check_applied(struct sim_node *x, uint64_t index, uint64_t term,
                       const uint8_t *p, size_t n);
void sim_check_node(struct sim_node *x);
void sim_check_logs(struct sim *s);
void sim_check_equal(struct sim *s);
void sim_note_durable(struct sim_node *x);
void sim_check_remembered(struct sim_node *x, const struct cs_core_boot *boot);

/* sim_members.c */
void sim_format(struct sim_node *x); /* A new disk. (sim_world.c) */
/* One random change of the members, by the leader. */
void sim_change_members(struct sim *s);
/* Make all of them voters; fails when it takes too long. */
void sim_join_all(struct sim *s);
void sim_check_conf(struct sim_node *x);
void sim_check_member(struct sim_node *x);

/* sim_faults.c */
void sim_fault(struct sim *s);
/* Ten seconds of faults, then healing: it must get live and equal again. */
void sim_torture(struct sim *s);
uint64_t sim_digest(const struct sim *s);
/* The mutant SIM_NO_CRC: make checksums of torn records right. */
void sim_forge_checksums(struct memfs *disk);

#endif /* TESTS_SIM_SIM_H */
