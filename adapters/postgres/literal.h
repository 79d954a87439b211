/* Array literals in text, the parameters of our statements: unnest() takes them apart
 * on the server. A batch has some 15,000 elements and the loop waits, so numbers are
 * written by hand. */

#ifndef AD_POSTGRES_LITERAL_H
#define AD_POSTGRES_LITERAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum { AD_PG_COLUMNS = 8 };

/* The parameters of one statement, in its order. */
struct ad_pg_columns
{
    struct sy_buf col[AD_PG_COLUMNS];
    unsigned rows;
};

/* Between the two, as many elements in each column as there are rows. */
void ad_pg_columns_begin(struct ad_pg_columns *c);
void ad_pg_columns_end(struct ad_pg_columns *c);
void ad_pg_columns_free(struct ad_pg_columns *c);

void ad_pg_put_null(struct sy_buf *b);
void ad_pg_put_bool(struct sy_buf *b, bool v);
void ad_pg_put_uint(struct sy_buf *b, uint64_t v);
void ad_pg_put_int(struct sy_buf *b, int64_t v);
/* Milliseconds; 0 becomes NULL. */
void ad_pg_put_time(struct sy_buf *b, uint64_t ms);
/* UTF-8 as it is, checked where it came in. */
void ad_pg_put_text(struct sy_buf *b, const char *s);
void ad_pg_put_text_or_null(struct sy_buf *b, const char *s);
/* Text from outside: what is no UTF-8, and with @ascii all that is not ASCII, becomes
 * a question mark. A server refuses the whole statement otherwise. */
void ad_pg_put_any_text(struct sy_buf *b, const char *s, bool ascii);
/* An element of a bytea array. */
void ad_pg_put_bytes(struct sy_buf *b, const void *p, size_t n);

#endif /* AD_POSTGRES_LITERAL_H */
