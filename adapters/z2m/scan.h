/* Walking over JSON without building it.
 *
 * bridge/devices has about 9 kB for each device, of which four short strings are
 * wanted. A tree of it costs ten times its size and stalls the loop for tens of
 * milliseconds; a walk costs neither. What is walked over is checked for balance
 * only; what is taken (ad_z2m_scan_string) is decoded strictly. No recursion. */

#ifndef AD_Z2M_SCAN_H
#define AD_Z2M_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* A stretch of JSON text; not terminated. */
struct ad_z2m_text
{
    const char *p;
    size_t n;
};

/* The elements of one array or the members of one object. */
struct ad_z2m_scan
{
    const char *p;
    const char *end;
    bool object;
    bool begun;
    bool done;
    bool bad;
};

/* @open: '[' or '{'. Anything else in @text makes the walk bad. */
void ad_z2m_scan_begin(struct ad_z2m_scan *s, struct ad_z2m_text text, char open);
/* The next one; @key (without its quotes, still escaped) only in objects. False at
 * the end, and when bad. */
bool ad_z2m_scan_next(struct ad_z2m_scan *s, struct ad_z2m_text *key,
                      struct ad_z2m_text *value);
bool ad_z2m_scan_is(struct ad_z2m_text key, const char *name);
/* Decodes a string value into @to, terminated. SY_EINVALID: not a string, or not
 * UTF-8; SY_ELIMIT: too long. @to is then empty, which may be all one wants to know. */
int ad_z2m_scan_string(struct ad_z2m_text value, char *to, size_t size);

#endif /* AD_Z2M_SCAN_H */
