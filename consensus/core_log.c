#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "consensus/core_impl.h"

enum { FIRST_CAP = 1024 };

/* An empty entry costs, too. */
size_t cs__entry_bytes(const struct cs_entry *e)
{
    return e->len + sizeof *e;
}

uint64_t cs__log_last(const struct cs_log *l)
{
    return l->first + l->n - 1;
}

bool cs__log_has(const struct cs_log *l, uint64_t index)
{
    return index >= l->first && index - l->first < l->n;
}

struct cs_entry *cs__log_at(const struct cs_log *l, uint64_t index)
{
    assert(cs__log_has(l, index));
    return &l->base[l->head + (size_t)(index - l->first)];
}

static void make_room(struct cs_log *l)
{
    if (l->head > l->n) {
        memmove(l->base, l->base + l->head, l->n * sizeof *l->base);
        l->head = 0;
        return;
    }
    l->cap = l->cap > 0 ? l->cap * 2 : FIRST_CAP;
    l->base = sy_realloc(l->base, l->cap * sizeof *l->base);
}

void cs__log_add(struct cs_log *l, struct cs_entry e)
{
    if (l->head + l->n == l->cap) {
        make_room(l);
    }
    l->base[l->head + l->n] = e;
    l->n++;
    l->bytes += cs__entry_bytes(&e);
}

static void forget(struct cs_log *l, struct cs_entry *e)
{
    l->bytes -= cs__entry_bytes(e);
    sy_free(e->data);
    e->data = NULL;
}

void cs__log_pop(struct cs_log *l)
{
    assert(l->n > 0);
    l->n--;
    forget(l, &l->base[l->head + l->n]);
}

void cs__log_drop_until(struct cs_log *l, uint64_t index)
{
    while (l->n > 0 && l->first <= index) {
        forget(l, &l->base[l->head]);
        l->head++;
        l->n--;
        l->first++;
    }
    if (l->n == 0) {
        l->head = 0;
    }
    assert(l->n > 0 || l->bytes == 0);
}

void cs__log_reset(struct cs_log *l, uint64_t first)
{
    while (l->n > 0) {
        cs__log_pop(l);
    }
    l->head = 0;
    l->first = first;
}

void cs__log_free(struct cs_log *l)
{
    cs__log_reset(l, 1);
    sy_free(l->base);
    l->base = NULL;
    l->cap = 0;
}
