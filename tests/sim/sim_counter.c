#include "tests/sim/sim.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

struct counter
{
    uint64_t hash;
    uint64_t count;
};

static void *create(void)
{
    return sy_calloc(1, sizeof(struct counter));
}

static void apply(void *s, uint64_t index, uint64_t term, const uint8_t *p, size_t n)
{
    struct counter *c = s;

    (void)index, (void)term;
    c->hash = sy_hash(p, n, c->hash);
    c->count++;
}

static void save(const void *s, struct sy_buf *to)
{
    sy_buf_put(to, s, sizeof(struct counter));
}

static int load(void *s, const uint8_t *p, size_t n)
{
    if (n != sizeof(struct counter)) {
        return SY_ECORRUPT;
    }
    memcpy(s, p, n);
    return 0;
}

static uint64_t hash(const void *s)
{
    const struct counter *c = s;

    return sy_hash(c, sizeof *c, 0);
}

static uint64_t next(uint64_t *random)
{
    return *random = *random * 6364136223846793005u + 1442695040888963407u;
}

static size_t command(uint64_t *random, uint8_t *to, size_t cap)
{
    size_t n = 8 + (size_t)((next(random) >> 33) % 300);

    n = n < cap ? n : cap;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = next(random);

        memcpy(to + i, &v, n - i < 8 ? n - i : 8);
    }
    return n;
}

const struct sim_fsm sim_counter = {
    .create = create,
    .destroy = sy_free,
    .apply = apply,
    .save = save,
    .load = load,
    .hash = hash,
    .command = command,
};
