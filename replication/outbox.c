/* Readings that Postgres does not have yet. */

#include <assert.h>

#include "replication/store_impl.h"

static struct rp_reading *place(const struct rp_store *s, uint64_t seq)
{
    return &s->readings[(seq - s->ring_base) % s->limits.readings_max];
}

static void forget_first(struct rp_store *s)
{
    assert(s->m.readings_first <= s->m.readings_last);
    s->sum -= rp_digest_reading(place(s, s->m.readings_first));
    s->m.readings_first++;
}

void rp_outbox_put(struct rp_store *s, const struct rp_reading *r)
{
    if (s->m.readings_first > s->m.readings_last) {
        /* Empty: begin at the ring's start again, so that an outbox which is
         * shipped all the time keeps using the same few pages of memory. */
        s->ring_base = r->seq;
        s->m.readings_first = r->seq;
    } else if (s->m.readings_last - s->m.readings_first + 1 == s->limits.readings_max) {
        forget_first(s);
        s->m.readings_dropped++;
    }
    s->m.readings_last = r->seq;
    *place(s, r->seq) = *r;
    s->sum += rp_digest_reading(r);
}

void rp_outbox_push(struct rp_store *s, const struct rp_report *r, uint64_t time_ms)
{
    s->stats.readings++;
    rp_outbox_put(s, &(struct rp_reading){.seq = s->m.readings_last + 1,
                                          .ieee = r->ieee,
                                          .time_ms = time_ms,
                                          .state = r->state,
                                          .values = r->values});
}

void rp_apply_shipped(struct rp_store *s, const struct rp_in_shipped *in)
{
    struct rp_meta *m = &s->m;

    if (in->reading_seq > m->readings_last || in->revision > m->revision) {
        /* Postgres has what this cluster never had: it was restored from an older
         * copy, or another cluster writes under its name. */
        rp_refuse(s, (struct rp_event){0},
                  "shipped up to reading %llu, revision %llu: there are only %llu, %llu",
                  (unsigned long long)in->reading_seq, (unsigned long long)in->revision,
                  (unsigned long long)m->readings_last, (unsigned long long)m->revision);
        return;
    }
    if (in->reading_seq > m->readings_shipped) {
        m->readings_shipped = in->reading_seq;
    }
    while (m->readings_first <= m->readings_shipped) {
        forget_first(s);
    }
    if (in->revision > m->revision_shipped) {
        m->revision_shipped = in->revision;
    }
}
