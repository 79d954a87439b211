/* Facts: a small table of names and texts that all nodes must agree on and that nothing
 * else holds, like until when there is maintenance. Sorted by key. */

#include <assert.h>
#include <string.h>

#include "replication/store_impl.h"

/* Where @key is, or where it belongs. */
static uint32_t place(const struct rp_store *s, const char *key, bool *found)
{
    uint32_t i = 0;
    int order = 1;

    while (i < s->facts_n && (order = strcmp(s->facts[i].key, key)) < 0) {
        i++;
    }
    *found = i < s->facts_n && order == 0;
    return i;
}

static void drop(struct rp_store *s, uint32_t i)
{
    s->sum -= rp_digest_fact(&s->facts[i]);
    s->facts_n--;
    memmove(&s->facts[i], &s->facts[i + 1], (s->facts_n - i) * sizeof s->facts[0]);
}

static void insert(struct rp_store *s, uint32_t i, const struct rp_fact *f)
{
    memmove(&s->facts[i + 1], &s->facts[i], (s->facts_n - i) * sizeof s->facts[0]);
    s->facts[i] = *f;
    s->facts_n++;
    s->sum += rp_digest_fact(f);
}

bool rp_facts_append(struct rp_store *s, const struct rp_fact *f)
{
    if (s->facts_n == RP_FACTS_MAX || f->value[0] == '\0' ||
        (s->facts_n > 0 && strcmp(s->facts[s->facts_n - 1].key, f->key) >= 0)) {
        return false;
    }
    insert(s, s->facts_n, f);
    return true;
}

void rp_apply_fact(struct rp_store *s, const struct rp_in_fact *in)
{
    struct rp_fact f = {.at_ms = s->m.now_ms};
    bool found;
    uint32_t i = place(s, in->key, &found);

    memcpy(f.key, in->key, sizeof f.key);
    memcpy(f.value, in->value, sizeof f.value);
    if (!found && s->facts_n == RP_FACTS_MAX && f.value[0] != '\0') {
        rp_refuse(s, (struct rp_event){0}, "the fact '%s' has no room among %d", f.key,
                  RP_FACTS_MAX);
        return;
    }
    if (found) {
        drop(s, i);
    }
    if (f.value[0] != '\0') {
        insert(s, i, &f);
    }
    rp_emit(s, &(struct rp_event){.kind = RP_EV_FACT, .fact = &f});
}

const struct rp_fact *rp_store_fact(const struct rp_store *s, const char *key)
{
    bool found;
    uint32_t i = place(s, key, &found);

    return found ? &s->facts[i] : NULL;
}

uint32_t rp_store_facts(const struct rp_store *s)
{
    return s->facts_n;
}

const struct rp_fact *rp_store_fact_at(const struct rp_store *s, uint32_t i)
{
    assert(i < s->facts_n);
    return &s->facts[i];
}
