/* Private to node/files*.c.
 *
 *   files.c         what there is, what it tells    files_job.c    the disk, one job at a
 * time files_watch.c   on watch: taken, offered        files_copy.c   contents between
 * nodes files_start.c   before a start                  files_decide.c what to do then */

#ifndef ND_FILES_IMPL_H
#define ND_FILES_IMPL_H

#include <uv.h>

#include "adapters/files/files.h"
#include "node/files.h"
#include "node/files_decide.h"
#include "node/node.h"

enum {
    ND_FILES_READS_MAX = 16,
    ND_FILES_SKIPS_MAX = 32,
    ND_FILES_ASIDE_MAX = 3, /* of each set */
    ND_FILES_STATE_MS = 60000,
    ND_FILES_LOOK_MS = 60000,
    ND_FILES_TORN_MS = 60000
};

typedef uint8_t nd_sum[RP_FILES_SUM_LEN];

/* A set, on this node. */
struct nd_folder
{
    struct nd_files *f;
    struct nd_set c;
    int which;             /* its resource; -1: it has none */
    uint64_t settled_term; /* in which the folder was made what it must be; 0: never */
    uint64_t used_term;    /* in which it was found in use, and is left alone */
    uint64_t settled_last; /* the newest version then: nobody took another since */
    uint64_t based_on;     /* version that the folder was last */
    uint64_t marked;       /* what its mark says */
    bool mark_due;
    uint64_t mark_again_ms;

    /* Before a start. */
    struct
    {
        enum {
            ND_START_OFF,
            ND_START_LOOK,
            ND_START_WAIT,
            ND_START_LAY,
            ND_START_MARK
        } at;
        bool runs; /* Who uses it runs already: a process before this one started it. */
        uint64_t began_ms, again_ms;
        struct nd_files_case c;
        enum nd_files_what what;
        uint64_t version;
    } start;
    char barred[ND_FILES_WHY_SIZE]; /* why it could not be laid out here */
    char laying[ND_FILES_WHY_SIZE];
    uint64_t said_ms; /* when that was said */

    /* On watch: what was taken, until it is committed. */
    uv_fs_event_t event;
    bool event_open, watching;
    uint64_t look_ms, taken_ms,
        torn_ms; /* next look; last version; since when half written */
    bool take;   /* the look found something new */
    bool looked; /* since it was asked for the last time */
    struct rp_file *list;
    unsigned list_n;
    struct
    {
        uint64_t id; /* 0: none */
        uint64_t follows, began_ms, told_ms, proposed_ms;
        uint32_t have; /* bit of each node */
    } offer;
    uint64_t last_ms; /* since when nobody writes into it any more; 0: somebody may */
    char taking[ND_FILES_WHY_SIZE];

    /* Elsewhere: what the watch offers. */
    struct
    {
        uint64_t id, from;
        bool said; /* that all of it is here */
        struct rp_file *list;
        unsigned n;
    } theirs;
};

enum nd_files_job_kind {
    ND_JOB_LOOK,
    ND_JOB_TAKE,
    ND_JOB_LAY,
    ND_JOB_MARK,
    ND_JOB_PUT,
    ND_JOB_PIECE,
    ND_JOB_READ,
    ND_JOB_SWEEP
};

struct nd_files_job
{
    uv_work_t work;
    bool busy;
    enum nd_files_job_kind kind;
    void (*done)(struct nd_files *f);
    struct nd_folder *folder;
    char dir[AD_FILES_DIR_SIZE], aside[AD_FILES_DIR_SIZE + 32], mark[AD_FILES_MARK_SIZE];
    char end[40]; /* of the name of what is moved away */
    int64_t now_ms;
    struct ad_files_set *files; /* looked at, taken, laid out */
    nd_sum sum;
    uint64_t offset, total, peer;
    bool verify;
    struct sy_buf bytes;
    nd_sum *sums; /* to be kept by a sweep */
    size_t sums_n, sums_cap;
    nd_sum *found; /* by it, and kept; by a lay: that are not there */
    size_t found_n, found_cap;
    int rv;
    struct sy_errbuf eb;
};

struct nd_files
{
    struct nd_node *n;
    struct ad_files_store store;
    struct nd_folder *list;
    unsigned list_n;
    bool opened, closing;
    unsigned open_handles;
    struct nd_files_job job;
    nd_sum *held; /* contents that are here, sorted */
    size_t held_n, held_cap;
    uint64_t bytes, asides, offer_id;
    bool sweep_due;
    uint64_t sweep_ms;

    /* What is being copied to here. */
    struct
    {
        bool on, whole; /* all of it has come, and is to be written */
        nd_sum sum;
        uint64_t size, from, asked_ms, again_ms;
        uint32_t tried; /* bit of each node that has not got it */
        bool verify;    /* what came was damaged: the other side should look */
        unsigned damaged;
        struct sy_buf buf;
    } fetch;
    struct
    {
        nd_sum sum;
        uint64_t until_ms;
    } skips[ND_FILES_SKIPS_MAX]; /* nobody has them */
    unsigned skip_at;
    uint64_t missing_ms;          /* next look for what is missing */
    uint32_t old_at;              /* set whose older versions are looked at next */
    char room[ND_FILES_WHY_SIZE]; /* why contents cannot be written */
    uint64_t bytes_in, bytes_out;

    /* Pieces that others want, one of each. */
    struct
    {
        bool on, verify;
        nd_sum sum;
        uint64_t offset;
    } serve[CS_ID_MAX + 1];

    struct
    {
        nd_files_read_cb cb;
        void *data;
        nd_sum sum;
    } reads[ND_FILES_READS_MAX];
    unsigned reads_at, reads_n;
};

/* files.c */
uint64_t nd_files_term(const struct nd_node *n);   /* on watch; 0: not */
uint64_t nd_files_last(const struct nd_folder *d); /* the newest version; 0: none */
/* The folder is version @nr now. */
void nd_files_is(struct nd_folder *d, uint64_t nr);
void nd_files_run(struct nd_files *f);  /* begins the next job, if none is under way */
void nd_files_free(struct nd_files *f); /* when nothing of it is open any more */

/* files_job.c */
struct nd_files_job *nd_files_job(struct nd_files *f, enum nd_files_job_kind kind,
                                  struct nd_folder *d, void (*done)(struct nd_files *f));
/* For a sweep: it stays. */
void nd_files_want(struct nd_files_job *j, const nd_sum sum);
void nd_files_job_begin(struct nd_files *f);
/* What was looked at or taken, as a version lists it. */
unsigned nd_files_job_list(const struct nd_files *f, struct rp_file *to);
void nd_files_job_lay(struct nd_files *f, const struct rp_files_version *v);
void nd_files_mark_text(const struct rp_files_version *v, char to[AD_FILES_MARK_SIZE]);
bool nd_files_held(const struct nd_files *f, const nd_sum sum);
void nd_files_found(struct nd_files *f); /* by a sweep: nothing else is here */
void nd_files_hold_sum(struct nd_files *f, const nd_sum sum);
void nd_files_drop_sum(struct nd_files *f, const nd_sum sum);
/* All contents of the version are here; else how many are not. */
uint32_t nd_files_lacks(const struct nd_files *f, const struct rp_file *list, unsigned n);
uint64_t nd_files_whole(const struct nd_files *f, const char *set); /* newest; 0: none */

/* Each begins a job of its own, if it has any: true. */
bool nd_files_start_run(struct nd_files *f);
bool nd_files_serve_run(struct nd_files *f);
bool nd_files_put_run(struct nd_files *f);
bool nd_files_watch_run(struct nd_files *f);

/* files_start.c */
void nd_files_start_tend(struct nd_files *f);
void nd_files_before(struct nd_node *n, unsigned which);
/* Does anybody use it already, whom the process before this one started? */
bool nd_files_used(const struct nd_folder *d);

/* files_watch.c */
void nd_files_watch_tend(struct nd_folder *d);
void nd_files_watch_committed(struct nd_folder *d, const struct rp_files_version *v);
void nd_files_watch_have(struct nd_files *f, uint64_t from, struct sy_cur c);
void nd_files_unwatch(struct nd_folder *d); /* of the file system's events */

/* files_copy.c */
void nd_files_copy_tend(struct nd_files *f);
void nd_files_copy_frame(struct nd_files *f, uint64_t from, uint8_t kind,
                         const uint8_t *p, size_t len);
/* The offer of @d, for all that have not got it. */
void nd_files_copy_offer(struct nd_folder *d);
bool nd_files_full_node(const struct nd_node *n,
                        uint64_t id); /* another, that may take it */

#endif /* ND_FILES_IMPL_H */
