/* One value in a YAML file set, line by line. Private to this folder. */

#ifndef AD_BRIDGE_MEND_H
#define AD_BRIDGE_MEND_H

#include "base/buf.h"
#include "base/err.h"

/* @text with @value at @path ("mqtt.server") into @out. Refuses where more than that
 * would change. */
SY_MUST_USE int ad_bridge_mend(const char *text, size_t len, const char *path,
                               const char *value, struct sy_buf *out,
                               struct sy_errbuf *eb);

#endif /* AD_BRIDGE_MEND_H */
