/* Folders that move with the watch: the running half of docs/adr/0024. What is agreed
 * upon is in replication/files.h, what lies on this disk in adapters/files; this joins
 * them.
 *
 *   on watch   a folder changed -> taken as a version -> offered to the others -> durable
 *              on a majority -> committed
 *   elsewhere  contents that an offer or a kept version names and this node lacks are
 *              asked for, one chunk at a time, and kept
 *   a start    the newest version is laid out, unless the folder is that already; what
 *              was there and is nowhere else is moved aside, never merged
 *
 * The disk is touched by one job at a time, in the thread pool. */

#ifndef ND_FILES_H
#define ND_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mp.h"
#include "node/sets.h"

struct nd_node;
struct rp_event;

enum {
    ND_FILES_CHUNK = 64 * 1024,
    ND_FILES_WHY_SIZE = 256,
    ND_FILES_PATH_SIZE = ND_PATH_SIZE + 8
};

/* Frames between nodes. */
enum {
    ND_FRAME_FILES_OFFER = 42, /* a version of a set that wants to be committed */
    ND_FRAME_FILES_HAVE,       /* its contents are durable here, or why not */
    ND_FRAME_FILES_WANT,       /* a piece of contents */
    ND_FRAME_FILES_CHUNK       /* that piece */
};

/* Where the contents lie below a node's data folder: ad_files_get() reads them there. */
void nd_files_path(const struct nd_config *c, char to[ND_FILES_PATH_SIZE]);

/* --- for status, readiness, metrics, operators (by the order of nd_set_at()) --- */

struct nd_files_view
{
    uint64_t complete; /* newest version all of whose contents are here; 0: none */
    uint32_t missing;  /* contents of the newest version that are not here */
    uint64_t based_on; /* version that the folder of this node was last; 0: none */
    /* Sentences that say what an operator can do; "": all is well. */
    char taking[ND_FILES_WHY_SIZE]; /* why no version can be taken (on watch) */
    char laying[ND_FILES_WHY_SIZE]; /* what was not as it should be at the last start */
};

/* false: no such set, or this node has nothing to do with them (a witness). */
bool nd_files_view(struct nd_node *n, unsigned i, struct nd_files_view *ret);
/* Are the contents here? Asks no disk. */
bool nd_files_has(struct nd_node *n, const uint8_t sum[RP_FILES_SUM_LEN]);
uint64_t nd_files_bytes(struct nd_node *n);  /* of all contents that are here */
uint64_t nd_files_asides(struct nd_node *n); /* folders moved aside by this process */
/* Pairs of a node's map: "files" -> {SET: newest complete version}, and "files_ails", a
 * sentence. */
enum { ND_FILES_NODE_PAIRS = 2 };
void nd_files_put_node(struct nd_node *n, struct sy_buf *b);
/* What a node said of @set in its map; 0: nothing, or no version. */
uint64_t nd_files_complete(struct sy_cur node_map, const char *set);
/* The sentences of all nodes that are heard. */
void nd_files_issues(struct nd_node *n,
                     void (*tell)(void *data, bool error, const char *text), void *data);

/* Reads contents; the answer comes later, from the loop. @why: a sentence if @rv is not
 * 0. @content is the callback's to give on or leave. */
typedef void (*nd_files_read_cb)(void *data, int rv, struct sy_buf *content,
                                 const char *why);
void nd_files_read(struct nd_node *n, const uint8_t sum[RP_FILES_SUM_LEN],
                   nd_files_read_cb cb, void *data);

/* --- for the node --- */

/* Behind nd_parts_init(): puts itself before all else that a bridge waits for. */
void nd_files_init(struct nd_node *n);
SY_MUST_USE int nd_files_open(struct nd_node *n, struct sy_errbuf *eb);
void nd_files_tend(struct nd_node *n); /* every 100 ms */
void nd_files_event(struct nd_node *n, const struct rp_event *ev);
void nd_files_frame(struct nd_node *n, uint64_t from, uint8_t kind, const uint8_t *p,
                    size_t len);
/* Sets without a bridge are still being laid out: nothing may start yet. */
bool nd_files_hold(struct nd_node *n, char *why, size_t size);
/* Nobody writes into the folders any more, and the watch goes elsewhere: what was
 * written last is taken. true: it is done, or took too long. Ask again until then. */
bool nd_files_last_look(struct nd_node *n);
/* The handover is over: whoever keeps the watch has them written into again. */
void nd_files_last_over(struct nd_node *n);
void nd_files_close(struct nd_node *n);

#endif /* ND_FILES_H */
