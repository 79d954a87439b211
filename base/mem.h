/* Allocation for the parts that may allocate (node/, adapters/ and the driver
 * of libraft). Running out of memory ends the process: the cluster has moved on
 * before anybody could write a recovery path that works. Sizes that a peer
 * chooses are checked against a limit before they come here. */

#ifndef SY_BASE_MEM_H
#define SY_BASE_MEM_H

#include <stddef.h>

/* Never NULL, also for size 0. Freed with sy_free(). */
void *sy_alloc(size_t size);
void *sy_calloc(size_t n, size_t size);
void *sy_realloc(void *p, size_t size);
void *sy_memdup(const void *p, size_t size);
char *sy_strdup(const char *s);
void sy_free(void *p);

#endif /* SY_BASE_MEM_H */
