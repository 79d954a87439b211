/* Inside of the snapshot files, for the start. */

#ifndef AD_WAL_SNAP_H
#define AD_WAL_SNAP_H

#include "adapters/wal/wal.h"

/* Read the whole file and check it. @each may be NULL; @ret_meta, too (its conf is
 * allocated). SY_ECORRUPT, SY_EVERSION or an errno. */
SY_MUST_USE int ad_wal_snap_verify(const struct ad_wal_fs *fs, const char *name,
                                   uint64_t index, uint64_t term,
                                   struct cs_snapshot_meta *ret_meta,
                                   int (*each)(void *data, const void *p, size_t n),
                                   void *data, struct sy_errbuf *eb);

#endif /* AD_WAL_SNAP_H */
