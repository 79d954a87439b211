/* Which folders move with the watch, by the configuration: those of bridges that belong
 * to it, as "bridge-AREA", and those of `files`. The state may know sets that are none
 * of these any more. */

#ifndef ND_SETS_H
#define ND_SETS_H

#include "node/config.h"
#include "replication/files.h"

struct nd_set
{
    const char *name; /* of a bridge also that of its resource */
    const char *dir;  /* absolute */
    int area;         /* index in the configuration; -1: none */
    char bridge[RP_FILES_NAME_SIZE];
};

/* Number @i of them; false: there are no more. @c must outlive @ret. */
bool nd_set_at(const struct nd_config *c, unsigned i, struct nd_set *ret);
bool nd_set_named(const struct nd_config *c, const char *name, struct nd_set *ret);

#endif /* ND_SETS_H */
