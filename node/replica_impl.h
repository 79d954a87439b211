/* Private to node/replica*.c. */

#ifndef ND_REPLICA_IMPL_H
#define ND_REPLICA_IMPL_H

#include <errno.h>
#include <sys/types.h>

#include "node/replica.h"

/* A sealed batch and who waits for it. */
struct nd_sealed
{
    struct sy_link link;
    struct sy_buf entry;
    struct sy_link waits;
};

/* A store that waits for a fence to be written. */
struct nd_late_op
{
    struct cs_store_op op;
    struct cs_entry *entries;
    struct cs_snapshot_meta meta;
};

/* A snapshot on its way to a peer: one chunk at a time, acknowledged. */
struct nd_xfer_out
{
    struct nd_replica *r;
    uint64_t to;
    uint64_t index;
    uint64_t term;
    int file; /* -1: none under way */
    uint64_t offset;
    uint64_t size;
    uint64_t started_ms;
    uint64_t acked_ms;
    bool reading;
    bool cancelled;
    uv_work_t work;
    uint8_t *chunk;
    int64_t chunk_len;
};

/* A snapshot coming in; the work runs in the thread pool. */
struct nd_xfer_in
{
    struct nd_replica *r;
    uint64_t from;
    uint64_t index;
    uint64_t term;
    int file; /* -1: none under way */
    uint64_t offset;
    uint64_t size;
    struct sy_buf frame; /* The InstallSnapshot it belongs to. */
    struct sy_buf chunk;
    bool writing;
    bool cancelled;
    bool committed; /* The file is closed and in its place. */
    int error;
    struct sy_errbuf eb;
    uv_work_t work;
};

struct nd_replica
{
    struct nd_replica_config config;
    uv_loop_t *loop;
    const struct sy_log *log;
    struct nd_replica_callbacks cb;
    void *data;
    char identity[128];

    struct ad_wal_fs fs;
    struct ad_wal *wal;
    struct cs_core *core;
    struct ad_peers *peers;
    struct rp_store *store;
    void *memory; /* of the store */
    size_t memory_size;

    /* The disk: one log operation at a time. */
    struct ad_wal_job *job;
    bool job_is_fence;
    int job_rv;
    struct sy_errbuf job_eb;
    struct nd_late_op *late;
    uv_work_t job_work;
    uv_work_t spare_work;
    bool spare_busy;
    int spare_rv;
    uint64_t spare_retry_ms; /* After a failure: not before. */
    bool spare_made;         /* The log has not been told yet. */
    uv_timer_t fence_timer;

    /* A snapshot being written by a child. */
    pid_t child;
    uint64_t child_index;
    uint64_t child_term;
    uint64_t child_began_ns;
    uint64_t child_fork_us; /* So long the loop stood still for it. */
    int child_fd;
    uv_poll_t child_poll;
    bool child_open;
    uv_timer_t child_timer;
    uv_work_t prune_work;
    uint64_t prune_index, prune_term;
    int64_t prune_size; /* of that snapshot; < 0: not known */
    bool prune_busy;

    struct nd_xfer_out out[CS_ID_MAX + 1];
    struct nd_xfer_in in;

    /* Proposals. */
    struct rp_batch batch;
    uint64_t sealed_inputs; /* of batches before */
    struct sy_link batch_waits;
    struct sy_link sealed; /* nd_sealed, not submitted yet */
    size_t sealed_bytes;
    struct sy_link waits; /* nd_wait with an index, in order */
    struct sy_link done;  /* nd_wait with a status, to be called */
    unsigned inflight;

    uv_timer_t tick;
    uv_prepare_t prepare;
    uv_idle_t again;        /* Keeps the loop from sleeping while there is more to do. */
    uint64_t turn_began_ns; /* When the loop last went to sleep, or did not. */
    uint64_t turn_idle_ns;  /* How long it had slept since it began, then. */
    uint64_t turn_cpu_ns;
    uint64_t stall_us, work_us;
    struct rp_clock clock;
    enum cs_core_role role;
    uint64_t term;
    uint64_t leader;
    uint64_t applied;
    bool dirty; /* changed() is owed */
    struct nd_replica_gate gate;
    uint32_t widen_wanted;
    uint64_t heard_ms[CS_ID_MAX + 1];

    unsigned open_handles;
    unsigned open_work;
    bool closing;
    void (*closed)(void *data);
};

/* replica_disk.c */
void nd_disk_init(struct nd_replica *r);
void nd_disk_store(void *ctx, const struct cs_store_op *op);
/* How long a log in memory may be where there is little of it. */
size_t nd_replica_small_log(const struct nd_replica *r, int64_t snapshot_size);
void nd_disk_snapshot(void *ctx, const struct cs_snapshot_meta *meta);
SY_MUST_USE int nd_disk_restore(struct nd_replica *r, uint64_t index, uint64_t term,
                                struct sy_errbuf *eb);
void nd_disk_close(struct nd_replica *r);
void nd_disk_fatal(struct nd_replica *r, const char *what, const char *why);

/* replica_xfer.c */
void nd_xfer_init(struct nd_replica *r);
void nd_xfer_send(void *ctx, uint64_t to, const uint8_t *frame, size_t len,
                  uint64_t index);
void nd_xfer_frame(struct nd_replica *r, uint64_t from, uint8_t kind, const uint8_t *p,
                   size_t n);
void nd_xfer_lost(struct nd_replica *r, uint64_t peer);
void nd_xfer_close(struct nd_replica *r);
void nd_xfer_free(struct nd_replica *r);

/* replica_turn.c */
/* An entry is committed: apply it, and whoever waited for it will be told. For the
 * core's ops. */
void nd_replica_apply(void *ctx, uint64_t index, uint64_t term, uint8_t type,
                      const uint8_t *p, size_t n);
/* After every call into the core: notice what changed. */
void nd_replica_observe(struct nd_replica *r);
/* Tell, seal, submit. True: there is more to do than fits into a turn. */
bool nd_replica_turn(struct nd_replica *r);
/* Everybody who waits is told UV_ECANCELED. */
void nd_replica_cancel(struct nd_replica *r);

/* replica.c */
void nd_replica_handle_closed(uv_handle_t *handle);
void nd_replica_work_done(struct nd_replica *r);

#endif /* ND_REPLICA_IMPL_H */
