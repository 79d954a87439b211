/* Dead letters: what came in and could not become anything, until Postgres has it. */

#include <assert.h>
#include <string.h>

#include "replication/store_impl.h"

static struct rp_letter *place(const struct rp_store *s, uint64_t seq)
{
    return &s->letters[(seq - s->letters_base) % s->limits.letters_max];
}

static void forget_first(struct rp_store *s)
{
    assert(s->m.letters_first <= s->m.letters_last);
    s->sum -= rp_digest_letter(place(s, s->m.letters_first));
    s->m.letters_first++;
}

void rp_letters_put(struct rp_store *s, const struct rp_letter *l)
{
    if (s->m.letters_first > s->m.letters_last) {
        s->letters_base = l->seq; /* Empty: the same few pages again. */
        s->m.letters_first = l->seq;
    } else if (s->m.letters_last - s->m.letters_first + 1 == s->limits.letters_max) {
        forget_first(s);
        s->m.letters_dropped++;
    }
    s->m.letters_last = l->seq;
    *place(s, l->seq) = *l;
    s->sum += rp_digest_letter(l);
}

void rp_apply_letter(struct rp_store *s, const struct rp_in_letter *in)
{
    struct rp_letter l = {.seq = s->m.letters_last + 1,
                          .at_ms = s->m.now_ms,
                          .area = rp_store_area(s, in->area) != NULL ? in->area : 0,
                          .cut = in->cut,
                          .payload_len = (uint16_t)in->payload_len};

    memcpy(l.topic, in->topic, sizeof l.topic);
    memcpy(l.reason, in->reason, sizeof l.reason);
    if (in->payload_len > 0) {
        memcpy(l.payload, in->payload, in->payload_len);
    }
    s->stats.letters++;
    rp_letters_put(s, &l);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_LETTER,
                                  .area = rp_store_area(s, l.area),
                                  .text = in->reason});
}

void rp_apply_letters_shipped(struct rp_store *s, uint64_t seq)
{
    struct rp_meta *m = &s->m;

    if (seq > m->letters_last) {
        rp_refuse(s, (struct rp_event){0},
                  "shipped up to dead letter %llu: there are only %llu",
                  (unsigned long long)seq, (unsigned long long)m->letters_last);
        return;
    }
    if (seq > m->letters_shipped) {
        m->letters_shipped = seq;
    }
    while (m->letters_first <= m->letters_shipped) {
        forget_first(s);
    }
}
