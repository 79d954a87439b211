#ifndef AD_POSTGRES_DOORS_H
#define AD_POSTGRES_DOORS_H

#include <stdbool.h>
#include <stddef.h>

/* Does @conninfo go to another machine without a word on whether that is to be
 * verified? libpq would take whoever answers then. @host: which one. */
bool ad_pg_doors_open(const char *conninfo, char *host, size_t size);

#endif /* AD_POSTGRES_DOORS_H */
