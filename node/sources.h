/* The sources of messages that this build knows (replication/source.h). */

#ifndef ND_SOURCES_H
#define ND_SOURCES_H

#include "replication/source.h"

/* By the name in areas[].source; NULL: unknown. */
const struct rp_source_ops *nd_source(const char *name);

#endif /* ND_SOURCES_H */
