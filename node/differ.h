/* What differs between two contents of a file, for people: as a unified diff where it is
 * text. Secrets never come out: those of whole files, and in others what stands behind
 * the name of one, as far as it belongs to it. Lines are compared as they are, so that
 * another secret shows as a line that differs and says nothing. */

#ifndef ND_DIFFER_H
#define ND_DIFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum nd_differs {
    ND_DIFFERS_TEXT,   /* said in the text */
    ND_DIFFERS_SECRET, /* its contents are never shown */
    ND_DIFFERS_BINARY, /* no text, or too much of it */
};

struct nd_content
{
    const char *p;
    size_t n;
};

enum { ND_DIFFER_LINES_MAX = 20000, ND_DIFFER_LINE_SHOWN = 200 };

/* Is nothing in a file of this name to be shown? */
bool nd_differ_is_secret(const char *path);
/* Appends to @out, at most about @max bytes. An absent file is one without lines. */
enum nd_differs nd_differ(const char *path, struct nd_content before,
                          struct nd_content after, size_t max, struct sy_buf *out);

#endif /* ND_DIFFER_H */
