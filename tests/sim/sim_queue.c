#include "tests/sim/sim.h"

#include "base/mem.h"

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->t != b->t ? a->t < b->t : a->seq < b->seq;
}

void sim_queue_post(struct sim_queue *q, struct sim_event e)
{
    size_t i = q->n;

    if (q->n == q->cap) {
        q->cap = q->cap * 2 + 256;
        q->heap = sy_realloc(q->heap, q->cap * sizeof *q->heap);
    }
    q->n++;
    e.seq = q->seq++;
    while (i > 0 && before(&e, &q->heap[(i - 1) / 2])) {
        q->heap[i] = q->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->heap[i] = e;
}

bool sim_queue_pop(struct sim_queue *q, uint64_t until, struct sim_event *ret)
{
    struct sim_event e;
    size_t i = 0;

    if (q->n == 0 || q->heap[0].t > until) {
        return false;
    }
    *ret = q->heap[0];
    e = q->heap[--q->n];
    for (;;) {
        size_t k = 2 * i + 1;

        if (k >= q->n) {
            break;
        }
        if (k + 1 < q->n && before(&q->heap[k + 1], &q->heap[k])) {
            k++;
        }
        if (!before(&q->heap[k], &e)) {
            break;
        }
        q->heap[i] = q->heap[k];
        i = k;
    }
    q->heap[i] = e;
    return true;
}

void sim_queue_free(struct sim_queue *q)
{
    for (size_t i = 0; i < q->n; i++) {
        sy_buf_free(&q->heap[i].frame);
        sy_buf_free(&q->heap[i].file);
    }
    sy_free(q->heap);
    *q = (struct sim_queue){.heap = NULL};
}
