/* Folders that move with the watch, on a node whose peers are the test. The thread pool
 * is a queue that the test runs: everything else may come first. The set is "extra". */

#ifndef TESTS_NODE_FILES_RIG_H
#define TESTS_NODE_FILES_RIG_H

#include "node/files_impl.h"
#include "tests/node/fake_node.h"

enum { FILES_PATH = 200 };

extern char root[64], dir[FILES_PATH]; /* of all; of the set */
extern uv_work_t *queued;

/* @resource: there is one, "first", and the process has begun anew in its own place. */
void open_nodes(unsigned nodes, bool resource);
int end_nodes(void);

void work(void);
/* Time passes, and all work is done. */
void pass(uint64_t ms);

void put(const char *name, const char *text);
bool holds(const char *where, const char *name, const char *text);
void sum_of(const char *text, uint8_t sum[RP_FILES_SUM_LEN]);

/* The last one that was sent; NULL: none. */
const struct fake_frame *frame(uint8_t kind, uint64_t to);
void hear(uint64_t from, uint8_t kind, struct sy_buf *b);
void make_chunk(struct sy_buf *b, const char *of, uint64_t offset, uint64_t total,
                const char *text);
void hear_chunk(uint64_t from, const char *of, uint64_t offset, uint64_t total,
                const char *text);
void follow(uint64_t leader);
/* Node 2 is on watch and offers version @id, or 77: one file. */
void make_offer(struct sy_buf *b, uint64_t id, const char *text);
void offer(const char *text);
/* It has what was offered last. */
void acknowledge(uint64_t from);
void have(uint64_t from); /* and all that was proposed is applied */

uint64_t newest(void);
/* Another node takes a version of @text while it has the watch. */
void theirs(const char *text);

#endif
