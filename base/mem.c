#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_die(void *p)
{
    if (p == NULL) {
        fputs("<2>ev=out_of_memory\n", stderr);
        abort();
    }
    return p;
}

void *sy_alloc(size_t size)
{
    return or_die(malloc(size > 0 ? size : 1));
}

void *sy_calloc(size_t n, size_t size)
{
    return or_die(calloc(n > 0 ? n : 1, size > 0 ? size : 1));
}

void *sy_realloc(void *p, size_t size)
{
    return or_die(realloc(p, size > 0 ? size : 1));
}

void *sy_memdup(const void *p, size_t size)
{
    void *q = sy_alloc(size);

    if (size > 0) {
        memcpy(q, p, size);
    }
    return q;
}

char *sy_strdup(const char *s)
{
    return sy_memdup(s, strlen(s) + 1);
}

void sy_free(void *p)
{
    free(p);
}
