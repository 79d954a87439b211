/* Who changed what: records beside the changes (docs/adr/0029). */

#ifndef ND_AUDIT_H
#define ND_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/audit.h"

enum { ND_AUDIT_NOTES_MAX = 16 };

/* What is no input of the log, waiting until the state has its record. */
struct nd_audit_note
{
    bool used;
    uint64_t behind; /* the newest record when it was taken down */
    uint64_t due_ms; /* told to who leads, and not seen yet: again */
    struct rp_audit a;
};

struct nd_audit
{
    struct nd_audit_note notes[ND_AUDIT_NOTES_MAX];
    uint64_t lost;    /* no room */
    bool config_told; /* the configuration that this node began with */
};

struct nd_node;
struct nd_request;
struct nd_asker;

/* Around an operation: what it puts into the batch gets its record into the same entry.
 */
uint64_t nd_audit_begin(struct nd_node *n);
void nd_audit_end(const struct nd_request *q, uint64_t before);
/* What goes by no entry; @asker NULL: the node itself. */
void nd_audit_note(struct nd_node *n, const struct nd_asker *asker, const char *what,
                   const char *about, const char *result);
void nd_audit_tend(struct nd_node *n);
void nd_op_audit(struct nd_request *q);
void nd_op_audit_note(struct nd_request *q);

#endif /* ND_AUDIT_H */
