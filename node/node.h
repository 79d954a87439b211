/* A node: everything joined. Private to node/: one struct, and who does what.
 *
 *   replica.c   what is agreed upon        duty.c      brokers, sources, Postgres
 *   tend.c      what time brings           ops*.c      one operation each
 *   hold.c      a full outbox              beacon.c    the status at the broker
 *   node.c      life, timers, the watch    dispatch.c  commands on their way out
 *   control.c   requests of operators      events.c    what happened, told
 *   table.c     what comes by Postgres     wish.c      what may be asked for
 *   forward.c   to the leader and back     status.c    what is, told
 *   notes.c     what sources tell           office.c    who should lead
 *   left.c      who was left behind by a recovery
 *   takein.c    who comes back with nothing     supervised.c  what systemd is told
 *   tie.c, tie_tell.c  two nodes and a row in Postgres
 *   backup.c    backups, when and whether   members*.c  who the nodes are
 *   air.c       attempts without an answer  ready.c, probes.c  could one relieve now
 *   tls.c       certificates of the nodes, and who will not have us
 *   relief.c    how the watch came here     upkeep.c    maintenance, restarts
 *   drill*.c    failures on purpose          canary.c    what they send
 *   drain.c     a broker of ours is read to the end
 *   site.c, site_tell.c  what moves with it  issues.c, why.c  what is wrong, and why
 *   audit.c  who changed what
 *   files*.c, ops_files*.c  folders that move with it */

#ifndef ND_NODE_H
#define ND_NODE_H

#include <uv.h>

#include "adapters/postgres/check.h"
#include "adapters/probe/probe.h"
#include "adapters/zmq/control.h"
#include "consensus/agree.h"
#include "consensus/watch.h"
#include "node/audit.h"
#include "node/caller.h"
#include "node/config.h"
#include "node/drill.h"
#include "node/files.h"
#include "node/keys.h"
#include "node/members.h"
#include "node/parts.h"
#include "node/replica.h"
#include "node/site.h"
#include "node/table.h"
#include "node/tie.h"
#include "node/tls.h"
#include "node/upkeep.h"
#include "replication/breaker.h"
#include "replication/source.h"

enum {
    ND_AWAITS_MAX = 256,    /* requests waiting for a command to end */
    ND_AWAITS_KEY_MAX = 32, /* of one key */
    ND_FORWARDS_MAX = 256,  /* requests sent on to the leader */
    ND_NOTES_MAX = 64,      /* sentences about the bridges */
    ND_AIR_MAX = 256,       /* attempts without an answer that are remembered */
    ND_LETTERS_RECENT = 32,
    ND_GOSSIP_MS = 500,
    ND_CLOCKS = 4,
    ND_GOSSIP_MAX = 64 * 1024,
    ND_REPLY_MAX = 1024 * 1024
};

/* Kinds of frames between peers, on top of the replica's. */
enum {
    ND_FRAME_GOSSIP = ND_FRAME_OWNER,
    ND_FRAME_REQUEST,
    ND_FRAME_REPLY,
    ND_FRAME_TIE,
    ND_FRAME_DRILL = 40,
    ND_FRAME_CALLER = 48 /* who asks for the request that follows */
};

/* In place of a slot's number: what a node notes of its own (audit.c). */
#define ND_NOTE_REF UINT64_MAX

struct nd_node;

/* Who gets the answer: a client of ours, or a peer that forwarded. */
struct nd_asker
{
    struct nd_node *node;
    struct ad_zmq_client client;
    struct nd_caller caller;
    uint64_t peer; /* 0: client */
    uint64_t ref;  /* of the peer's forward slot */
    uint64_t request_id;
};

/* One request. @args is borrowed, a cursor at the args map (n == 0: none). */
struct nd_request
{
    struct nd_asker asker;
    const char *op;
    struct sy_cur args;
    const uint8_t *raw; /* As it came: for sending it on. */
    size_t raw_len;
};

struct nd_broker
{
    struct nd_node *node;
    unsigned nr;          /* in the configuration */
    struct ad_mqtt *mqtt; /* NULL: not open */
    struct nd_wait wait;  /* for the commit of a burst */
    bool waiting;
    uint32_t burst_inputs; /* made of the burst so far */
    /* Is our reader given what was published to set (dispatch.c)? As seen during this
     * watch. */
    enum { ND_ECHO_UNKNOWN, ND_ECHO_YES, ND_ECHO_NO } echo;
    uint64_t mute_since_ms; /* of the first message that should have come; 0: none */
};

struct nd_area
{
    struct nd_node *node;
    const struct nd_config_area *config;
    const struct rp_source_ops *source;
    void *state; /* of the source; NULL: not begun */
    uint16_t nr; /* replicated; 0: not known yet */
    size_t topic_len;
    uint64_t next_slot_ms; /* pacing: no command is decided before */
    uint64_t out_ms;       /* ... and when the next one would leave, evenly spaced */
    struct rp_breaker breaker;
    struct rp_batch *out;       /* of the message that the source has now; NULL: none */
    uint64_t letters_due_ms[2]; /* dead letters: known devices, others (notes.c) */
    uint64_t letters_recent[ND_LETTERS_RECENT];
    unsigned letters_at;
    bool outage; /* told: most of its devices are offline (tend.c) */
};

/* A command of the ledger as this watch has handled it. */
struct nd_try
{
    uint64_t seq;
    uint32_t proposed;  /* attempt whose `sent` was proposed; 0: none */
    bool publish;       /* that `sent` is committed: publish it now */
    bool resend;        /* sent by an earlier watch, or never left: do not wait */
    uint32_t published; /* the attempt that left last */
    uint32_t owes;      /* the attempt that left and is not told to have: air.c */
    bool echoed;        /* and was read back */
    uint64_t left_ms;   /* when it left, monotonic */
    uint64_t sent_ms;   /* when that was decided, the cluster's time */
    uint32_t silent;    /* attempts whose time passed without an answer, as counted */
};

/* An attempt that left and was not answered. */
struct nd_air
{
    uint64_t ieee;
    char value[RP_VALUE_SIZE];
    uint64_t seq;   /* of our command; 0: somebody else's */
    bool echoed;    /* read back: where it stands in the order of the broker is known */
    bool overtaken; /* one that left later was read back */
    /* So it seemed; kept until it is read back, or over. */
    bool answered;
    bool apart;         /* without what was left behind; of that: true */
    bool left_behind;   /* was under way when a link broke: lost, or tried still */
    uint64_t until_ms;  /* monotonic; when it is over, answered or not */
    uint64_t before_ms; /* when what was left behind before it is over; 0: nothing was */
    uint64_t since_ms;  /* since when its device has not been without one */
};

struct nd_await
{
    bool used;
    char id[RP_ID_SIZE];
    struct nd_asker asker;
    uint64_t deadline_ms;
};

struct nd_forward
{
    uint64_t ref; /* 0: free */
    struct nd_asker asker;
    uint64_t began_ms, deadline_ms;
    uint64_t peer;
    struct sy_buf reply; /* It has come; given on when what it says is known here, too: */
    uint64_t index;
};

struct nd_peer_view
{
    struct sy_buf gossip; /* last one received */
    uint64_t at_ms;
    uint64_t committed; /* ours when we heard it: what it is measured against */
    bool forgot;        /* we lead, and it lacks what it had acknowledged to us: */
    uint64_t had, has;
    uint64_t taking_ms; /* when to say why it is not a member yet (takein.c) */
    /* Its wall clock less ours, of the last few times: what took long to come here
     * seems behind, so the highest is nearest. */
    int64_t clock_ms[ND_CLOCKS];
    unsigned clocks;
};

/* Something that this node would need on watch, looked at now and then (probes.c). */
struct nd_probe
{
    struct nd_node *node;
    struct ad_probe *probe; /* under way; */
    struct ad_pg_check *check;
    bool known, good;
    char text[256];
    uint64_t at_ms, due_ms; /* of the last end; of the next begin */
};

/* Could this node relieve, and could anybody (ready.c). */
struct nd_ready
{
    struct nd_probe brokers[ND_BROKERS_MAX], coordinators[ND_AREAS_MAX], postgres;
    bool looking;
    /* What the watch had committed, and when it said so: not level until we have it. */
    uint64_t target, target_ms, newest, newest_ms;
    uint64_t look_ms; /* the next look at the whole */
    enum { ND_TOLD_NOTHING, ND_TOLD_READY, ND_TOLD_LOST } told, seen;
    uint64_t seen_ms; /* since when it is as seen */
};

/* Listed devices, of all and of each area of the configuration (status.c). */
struct nd_counts
{
    uint64_t at_ms; /* 0: never counted */
    uint64_t listed;
    uint64_t canaries; /* online, and not counted above (canary.h) */
    uint64_t devices[ND_AREAS_MAX];
    uint64_t online[ND_AREAS_MAX];
    uint64_t offline[ND_AREAS_MAX]; /* and said to be */
};

/* A sentence about a bridge, told by its source. */
struct nd_note
{
    uint16_t area, number;
    uint64_t ieee;
    char text[RP_NOTE_TEXT_SIZE];
};

struct nd_node
{
    struct nd_config config;
    uv_loop_t *loop;
    struct sy_log log;
    struct nd_replica *replica;
    struct rp_store *store;
    struct ad_zmq *zmq;
    uint64_t started_ms;
    uint64_t rng;

    /* The watch. */
    struct cs_watch watch;
    uint64_t leading;      /* term led, as last seen */
    uint64_t barrier_term; /* newest own term whose RP_IN_WATCH is applied here */
    uint64_t relieved_ms;  /* when this node became active last */
    uint64_t elected_ms;
    uint64_t yield_again_ms;  /* unfit to lead: next try to hand over */
    uint64_t left_again_ms;   /* next look at those who were left behind (left.c) */
    uint64_t forgot_again_ms; /* the same for the sake of a peer that lost its log */

    /* How it came here (relief.c). */
    struct
    {
        uint64_t before;                 /* who led before; 0: nobody that we know of */
        uint64_t term;                   /* led, and told of */
        uint64_t lost_ms[CS_ID_MAX + 1]; /* when its connection ended; 0: it has not */
        bool broken[CS_ID_MAX + 1];      /* by the other side's kernel */
        char text[400];                  /* "": this node has not led since it started */
        char handing_over[80];
        uint64_t handing_over_ms;
    } relief;

    struct nd_tie tie;
    struct nd_tls tls;

    /* Whose state differs, and what was told of it. */
    struct cs_agree agree;
    bool diverged;

    /* Its ports (duty.c). */
    struct nd_broker brokers[ND_BROKERS_MAX];
    struct nd_area areas[ND_AREAS_MAX];
    unsigned areas_n;
    struct ad_pg *pg;
    struct nd_table table;
    bool ports_running;
    unsigned ports_open; /* not closed yet */
    struct nd_note notes[ND_NOTES_MAX];
    unsigned notes_n;
    uint64_t unknown_devices, bad_payloads, letters_skipped, notes_skipped;

    /* Commands (dispatch.c). */
    struct nd_try *tries; /* sorted by seq */
    size_t tries_n, tries_cap;
    struct nd_air air[ND_AIR_MAX];
    unsigned air_n;
    bool dispatch_due;

    uv_timer_t dispatch_timer, checkpoint_timer, gossip_timer, watch_timer;
    uint64_t checkpoint_index;
    uint64_t stall_max_us, work_max_us;

    bool holding; /* the outbox is full: nothing is read (hold.c) */
    struct
    {
        uint64_t look_ms, tell_ms;
        unsigned issues;
        char health[16];
    } beacon;

    struct nd_site site;
    struct nd_files *files; /* files.c; NULL: nothing moves with the watch */
    uint64_t rolled_back[RP_FILES_SETS_MAX]; /* versions that bridges began anew for */
    unsigned differ_jobs;
    bool bridges_looking;   /* for an operator */
    struct nd_parts *parts; /* parts.c; NULL: no brokers or bridges of ours */
    struct nd_members members;
    struct nd_upkeep upkeep;
    struct nd_drill drill;
    struct nd_audit audit;
    bool joining; /* not caught up since its log was empty (join.c) */

    /* Silence (tend.c). */
    uint32_t walk_at;
    uint64_t tend_areas_ms;

    /* Control. */
    struct nd_await awaits[ND_AWAITS_MAX];
    struct nd_forward forwards[ND_FORWARDS_MAX];
    uint64_t forward_ref;
    struct nd_peer_view views[CS_ID_MAX + 1];
    struct nd_ready ready;
    struct nd_counts counts;
    struct
    {
        bool used;
        struct nd_asker asker;
        uint64_t term; /* led when it began */
        uint64_t began_ms, deadline_ms;
    } handover;

    /* A backup being written by a child (backup.c). */
    struct
    {
        pid_t child; /* 0: none */
        int fd;
        uv_poll_t poll;
        bool open; /* the poll */
        struct nd_backup_result *result;
        char dir[ND_PATH_SIZE], cert[ND_PATH_SIZE];
        bool scheduled, late;
        bool asked;
        struct nd_asker asker;
        uint64_t taken_ms, began_ms, look_ms, again_ms;
        uint64_t done, failed;
    } backup;

    /* What systemd was told (supervised.c). */
    struct
    {
        bool ready;
        enum cs_watch_state told;
        unsigned watchdog_ms;
        uint64_t due_ms;
    } supervised;

    struct nd_keys keys;
    /* Who each peer says asks for its next request. */
    struct
    {
        uint64_t ref;
        struct nd_caller caller;
    } heard[CS_ID_MAX + 1];

    bool stopping; /* a signal came: hand over, then close */
    uint64_t stop_deadline_ms;
    bool closing;      /* the ports first, */
    bool parts_closed; /* then the rest */
    unsigned open_handles;
    unsigned open_parts;
    int exit_code;
};

/* node.c */
SY_MUST_USE int nd_node_open(struct nd_node *n, uv_loop_t *loop, struct sy_errbuf *eb);
void nd_node_stop(struct nd_node *n); /* gracefully: hand over first */
bool nd_node_may_act(struct nd_node *n);
/* This node's state differs from the cluster's: it must not act, nor be followed. */
bool nd_node_diverged(const struct nd_node *n);
uint64_t nd_node_random(struct nd_node *n);
void nd_replica_config_of(const struct nd_config *c, struct nd_replica_config *ret);

/* office.c */
/* Is this peer, as far as one hears, fit for the watch? @roomy: and its disk. */
bool nd_node_sound(struct nd_node *n, uint64_t id, bool roomy);
uint64_t nd_node_heir(struct nd_node *n);
/* A leader that should not be one hands over. */
void nd_office_tend(struct nd_node *n);

/* backup.c */
void nd_backup_tend(struct nd_node *n);
void nd_backup_close(struct nd_node *n);
/* The last time of day @at ("03:30", local) that is not after @now_ms. */
uint64_t nd_backup_due_ms(uint64_t now_ms, const char *at);
uint64_t nd_backup_age_s(struct nd_node *n); /* of the last verified; 0: never, or now */
void nd_backup_issues(struct nd_node *n,
                      void (*tell)(void *data, bool error, const char *text), void *data);
void nd_op_backup(struct nd_request *q);

/* left.c */
/* The epoch of the recovery that this folder's node was left behind by, and a sentence
 * of what to do; 0: it was not. */
uint64_t nd_left_read(const char *dir, struct sy_errbuf *eb);
SY_MUST_USE int nd_left_clear(const char *dir);
void nd_left_put(struct nd_node *n, struct sy_buf *b); /* two pairs of a node's map */
void nd_left_heard(struct nd_node *n, uint64_t from);  /* may end the process */
void nd_left_tend(struct nd_node *n);
void nd_left_issues(struct nd_node *n,
                    void (*tell)(void *data, bool error, const char *text), void *data);

/* join.c, join_resume.c */
enum { ND_JOIN_PATH_SIZE = ND_PATH_SIZE + 16 };
void nd_join_path(char to[ND_JOIN_PATH_SIZE], const char *dir);
/* Before an empty log is written. */
SY_MUST_USE int nd_join_mark(const char *dir, struct sy_errbuf *eb);
SY_MUST_USE int nd_join_clear(const char *dir);
/* Before the log is opened. */
SY_MUST_USE int nd_join_resume(const struct nd_config *c, const struct sy_log *log,
                               bool *ret_joining, struct sy_errbuf *eb);
void nd_join_tend(struct nd_node *n);

/* takein.c */
/* A step on the way of @id back among the voters; true: it is one. @empty: it is there,
 * with nothing in its log. */
bool nd_take_in(struct nd_node *n, uint64_t id, bool empty);

/* tie.c */
/* The file that says it, and its folder made durable. */
enum { ND_TIE_PATH_SIZE = ND_PATH_SIZE + 32 };
void nd_tie_path(char to[ND_TIE_PATH_SIZE], const char *dir, const char *end);
int nd_tie_sync_folder(const char *dir);
/* What the next start is to do before all else, whatever crashes: "alone" or "empty". */
SY_MUST_USE int nd_tie_write_next(const char *dir, const char *what, uint64_t epoch,
                                  uint64_t term);
/* tie_resume.c. Before the log is opened: it is done. */
SY_MUST_USE int nd_tie_resume(const struct nd_config *c, const struct sy_log *log,
                              struct sy_errbuf *eb);
void nd_tie_open(struct nd_node *n);
void nd_tie_close(struct nd_node *n);
void nd_tie_tend(struct nd_node *n); /* every 100 ms, and when anything changed */
void nd_tie_link(struct nd_node *n, uint64_t peer, bool up, bool broken);
/* Why this node could not do the work; NULL: it could. */
const char *nd_tie_unfit(struct nd_node *n);

/* tie_tell.c */
void nd_tie_tell(struct nd_node *n);
void nd_tie_heard(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len);
/* A sentence on who may go on alone, and why; false: there is nothing to say. @bad: it
 * is nothing to live with. */
bool nd_tie_sentence(struct nd_node *n, char *to, size_t size, bool *ret_bad);
/* Are there two voters at most, and a row that decides? */
bool nd_tie_decides(const struct nd_node *n);
/* Could the row be written? For `ready`. */
bool nd_tie_writable(struct nd_node *n, char *to, size_t size);

/* duty.c */
void nd_duty_init(struct nd_node *n);
void nd_duty_start(struct nd_node *n);
void nd_duty_stop(struct nd_node *n);
/* For drills: what is closed, as if the other side were away; and all of it anew.
 * False: not all yet, ask again. */
void nd_duty_cut_brokers(struct nd_node *n);
void nd_duty_cut_postgres(struct nd_node *n);
bool nd_duty_mend(struct nd_node *n);
bool nd_duty_up(const struct nd_node *n);
bool nd_duty_down(const struct nd_node *n);
void nd_duty_event(struct nd_node *n, const struct rp_event *ev);
void nd_duty_changed(struct nd_node *n);
struct nd_area *nd_duty_area(struct nd_node *n, uint16_t nr);
/* What the cluster must know of the configuration; appended to @b. */
void nd_duty_propose_areas(struct nd_node *n, struct rp_batch *b);

/* notes.c */
void nd_notes_take(struct nd_area *a, const struct rp_source_note *note);
void nd_notes_area_off(struct nd_node *n, uint16_t area);

/* tend.c */
void nd_tend_begin(struct nd_node *n); /* a new watch of ours */
/* For how long all that was said at a broker could be heard: the reader is up. */
uint64_t nd_listened_ms(struct nd_node *n, unsigned broker);
void nd_tend(struct nd_node *n);

/* relief.c */
/* Hand leadership to @to (0: any), and say why. As nd_replica_transfer(). */
SY_MUST_USE int nd_hand_over(struct nd_node *n, uint64_t to, unsigned timeout_ms,
                             const char *why);
const char *nd_relief_handing_over(const struct nd_node *n); /* "": it does not */
void nd_relief_link(struct nd_node *n, uint64_t peer, bool up, bool broken);
void nd_relief_changed(struct nd_node *n);
/* What happened to who led last; false: this node, or nobody that it knows of. */
bool nd_relief_cause(struct nd_node *n, char *to, size_t size);
void nd_relief_active(struct nd_node *n);

/* probes.c: called every 100 ms; looks at what is due. */
void nd_probes_tend(struct nd_node *n);
void nd_probes_close(struct nd_node *n);

/* ready.c: could the watch be relieved right now? */
enum nd_ready_state { ND_READY_NO, ND_READY_YES, ND_READY_UNKNOWN };
struct nd_verdict
{
    enum nd_ready_state state;
    bool pointless; /* only one node may ever have the watch */
    char text[320]; /* a sentence, without its full stop */
};
void nd_ready_judge(struct nd_node *n, struct nd_verdict *ret);
/* The same of one node that might take the watch; says why not. */
enum nd_ready_state nd_ready_node(struct nd_node *n, uint64_t id, char *to, size_t size);
/* What this node tells of itself: an array of its conditions. */
void nd_ready_put_own(struct nd_node *n, struct sy_buf *b);
void nd_ready_heard(struct nd_node *n, uint64_t from, uint64_t committed,
                    uint64_t wall_ms);
void nd_ready_tend(struct nd_node *n); /* every 100 ms */
/* Appends name and 0 or 1 of each condition of each node; returns how many. */
uint32_t nd_ready_metrics(struct nd_node *n, struct sy_buf *b);
void nd_op_ready(struct nd_request *q);
/* ops_bridges.c */
void nd_op_bridges(struct nd_request *q);

/* ops_files.c, ops_files_diff.c */
const char *nd_node_name(const struct nd_node *n, uint64_t id);
/* The set that is asked for; false: answered. */
bool nd_files_set_of(struct nd_request *q, char name[RP_FILES_NAME_SIZE]);
void nd_files_put_sets(struct nd_node *n, struct sy_buf *b); /* an array of maps */
void nd_rollbacks_tend(struct nd_node *n);
void nd_op_files(struct nd_request *q);
void nd_op_files_diff(struct nd_request *q);
void nd_op_files_rollback(struct nd_request *q);
void nd_op_files_forget(struct nd_request *q);
/* files_tell.c */
unsigned nd_files_missing(struct nd_node *n, const struct rp_files_version *v);
/* Has that node, as far as one hears, all of version @nr, its newest? */
bool nd_files_on(struct nd_node *n, uint64_t id, const char *set, uint64_t nr);
/* A node that is there and does not know of files: it would stop at a version of them.
 * NULL: there is none. */
const char *nd_files_older(struct nd_node *n);
/* Of nd_set_at(): could it go on here? */
enum nd_ready_state nd_files_ready(struct nd_node *n, unsigned i, char *text,
                                   size_t size);
uint32_t nd_files_metrics(struct nd_node *n, struct sy_buf *b);
void nd_files_copies_issues(struct nd_node *n,
                            void (*tell)(void *data, bool error, const char *text),
                            void *data);

/* supervised.c */
void nd_supervised_tend(struct nd_node *n);

/* hold.c */
void nd_hold_begin(struct nd_node *n);
void nd_hold_tend(struct nd_node *n);

/* beacon.c */
void nd_beacon_config(const struct nd_node *n, struct ad_mqtt_config *c);
void nd_beacon_begin(struct nd_node *n);
void nd_beacon_tend(struct nd_node *n);

/* wish.c: what somebody wants of a device. @area may be "". */
struct nd_wish
{
    const char *device; /* friendly name or 0x... */
    const char *area;
    const char *property, *value;
};
/* NULL: it makes no sense; @eb says why, @ret_code is for the control plane. */
const struct rp_device *nd_wish_check(struct nd_node *n, const struct nd_wish *w,
                                      const char **ret_code, struct sy_errbuf *eb);

/* dispatch.c */
void nd_dispatch_init(struct nd_node *n);
void nd_dispatch_begin(struct nd_node *n); /* a new watch of ours */
void nd_dispatch_event(struct nd_node *n, const struct rp_event *ev);
void nd_dispatch_run(struct nd_node *n);
/* RP_NOTE_ASKED, in the middle of a burst. */
void nd_dispatch_asked(struct nd_area *a, const struct rp_source_note *note);
void nd_dispatch_free(struct nd_node *n);

/* air.c */
void nd_air_begin(struct nd_node *n); /* a new watch of ours */
void nd_air_left(struct nd_node *n, const struct rp_command *c);
/* The broker gave this back: the command of ours that it was; 0: somebody else asked. */
uint64_t nd_air_asked(struct nd_node *n, uint64_t ieee, const char *value);
/* A link broke, that of the bridge of @area or ours: what is under way may be lost. */
void nd_air_doubt(struct nd_node *n, uint16_t area);
/* The device has said something. */
void nd_air_heard(struct nd_node *n, const struct rp_device *d);
/* The bridge gave up an attempt; @value NULL: of any value. */
void nd_air_failed(struct nd_node *n, uint64_t ieee, const char *value);
/* Until when another value may still be answered for the device of @c; 0: it is not. */
uint64_t nd_air_until(struct nd_node *n, const struct rp_command *c);

/* events.c */
void nd_events_apply(struct nd_node *n, const struct rp_event *ev);
void nd_events_role(struct nd_node *n, const char *from, const char *to, uint64_t term);
/* Most devices of an area are offline at once, or no more (a->outage). */
void nd_events_outage(struct nd_node *n, const struct nd_area *a, uint64_t devices,
                      uint64_t offline);
void nd_events_peer(struct nd_node *n, uint64_t peer, bool up);
void nd_events_diverged(struct nd_node *n); /* n->diverged has changed */
void nd_events_ready(struct nd_node *n, bool ready, const char *text);
void nd_put_device(struct nd_node *n, struct sy_buf *b, const struct rp_device *d);
void nd_put_command(struct nd_node *n, struct sy_buf *b, const struct rp_command *c);

/* control.c */
SY_MUST_USE int nd_control_open(struct nd_node *n, struct sy_errbuf *eb);
void nd_control_handle(struct nd_node *n, const struct nd_asker *asker, const uint8_t *p,
                       size_t len);
/* Which of the arguments that operations know; -1: none. */
int nd_control_argument(const struct sy_mp *name);
void nd_control_tick(struct nd_node *n); /* time-outs; also after every change */
void nd_reply_begin(const struct nd_asker *a, struct sy_buf *b);
void nd_reply_send(const struct nd_asker *a, struct sy_buf *b); /* frees @b */
void nd_reply_error(const struct nd_asker *a, const char *code, const char *fmt, ...)
    SY_PRINTF(3, 4);
/* What @a asked for was proposed, and @status is what became of that: true if it was
 * applied. Otherwise @a is told; @see says where to look, after "see ". */
bool nd_reply_applied(const struct nd_asker *a, int status, const char *see);

/* ops.c, ops_area.c, ops_command.c: called through the table in control.c */
void nd_op_ping(struct nd_request *q);
void nd_op_status(struct nd_request *q);
void nd_op_devices(struct nd_request *q);
void nd_op_send(struct nd_request *q);
void nd_op_await(struct nd_request *q);
void nd_op_command(struct nd_request *q);
void nd_op_commands(struct nd_request *q);
void nd_op_cancel(struct nd_request *q);
void nd_op_handover(struct nd_request *q);
void nd_op_hash(struct nd_request *q);
/* The node that @key names, by id or name; 0: it names none. Answers itself if there
 * is no such node. @name is for sentences. */
uint64_t nd_request_node(struct nd_request *q, const char *key,
                         char name[static RP_NAME_SIZE], bool *bad);
void nd_op_why(struct nd_request *q);
void nd_op_metrics(struct nd_request *q);
void nd_op_area(struct nd_request *q);
void nd_handover_tick(struct nd_node *n);
void nd_awaits_tick(struct nd_node *n);

/* forward.c */
void nd_forward(const struct nd_request *q, const uint8_t *p, size_t len);
/* To this node, whether it leads or not. */
void nd_forward_to(const struct nd_request *q, uint64_t node, const uint8_t *p,
                   size_t len);
void nd_forward_frame(struct nd_node *n, uint64_t from, uint8_t kind, const uint8_t *p,
                      size_t len);
void nd_forward_caller(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len);
void nd_forward_tick(struct nd_node *n);
void nd_forward_free(struct nd_node *n);

/* status.c */
void nd_status_gossip(struct nd_node *n); /* tell the peers */
void nd_status_heard(struct nd_node *n, uint64_t from, const uint8_t *p, size_t len);
void nd_status_put(struct nd_node *n, struct sy_buf *b);
void nd_status_free(struct nd_node *n);
const struct nd_counts *nd_status_counts(struct nd_node *n);
/* The newest map a node told of itself ("node") or of the site ("site"); NULL. */
bool nd_status_site_map(struct nd_node *n, struct sy_cur *ret, uint64_t *ret_age_ms);
bool nd_status_node_map(struct nd_node *n, uint64_t id, struct sy_cur *ret,
                        uint64_t *ret_age_ms);
/* Number under @key of the map at @c, or @otherwise. */
uint64_t nd_map_uint(struct sy_cur c, const char *key, uint64_t otherwise);
void nd_map_str(struct sy_cur c, const char *key, char *to, size_t size);
bool nd_map_find(struct sy_cur *c, const char *key);

/* issues.c: sentences, most severe first */
struct nd_issues
{
    struct
    {
        bool error;
        char text[320];
    } list[32];
    unsigned n;
    const char *health; /* "healthy", "degraded", "no_watch" */
    char banner[320];
};
void nd_issues_find(struct nd_node *n, struct nd_issues *ret);
/* Is somebody on watch, as far as this node can tell? */
bool nd_watch_is_kept(struct nd_node *n);

/* why.c */
void nd_why_put(struct nd_node *n, uint64_t node, struct sy_buf *b);

#endif /* ND_NODE_H */
