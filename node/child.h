/* A forked child of ours that writes the state as it is at the instant of the fork. */

#ifndef ND_CHILD_H
#define ND_CHILD_H

#include <sys/types.h>

/* First thing in the child of @parent: it has no descriptor but the standard three, dies
 * with its parent (ends at once if that is dead already), and before it if memory runs
 * out. */
void nd_child_begin(pid_t parent);

#endif /* ND_CHILD_H */
