#include "node/files_decide.h"

#include <string.h>

enum nd_files_what nd_files_decide(const struct nd_files_case *c, uint64_t *ret)
{
    bool follows = c->based_on != 0 && (c->based_on == c->newest || c->ours_since);

    *ret = c->newest;
    if (c->newest == 0) {
        return ND_FILES_START;
    }
    if (c->folder == ND_FOLDER_WHOLE && c->equals == c->newest) {
        return ND_FILES_START;
    }
    if (c->folder == ND_FOLDER_WHOLE && c->equals == 0 && follows) {
        return ND_FILES_TAKE;
    }
    if (c->folder == ND_FOLDER_ODD && follows) {
        return ND_FILES_START; /* It was used like this; why it is not taken is told. */
    }
    if (c->complete != c->newest && !c->waited) {
        return ND_FILES_WAIT;
    }
    *ret = c->complete;
    if (c->complete == 0) { /* Nothing better than what there is. */
        *ret = c->equals != 0 ? c->equals : c->based_on;
        return ND_FILES_START;
    }
    if (c->folder == ND_FOLDER_WHOLE && c->equals >= c->complete) {
        *ret = c->equals; /* Not the newest, but as new as any here. */
        return ND_FILES_START;
    }
    return c->folder == ND_FOLDER_NONE || c->equals != 0 ? ND_FILES_LAY : ND_FILES_ASIDE;
}

/* What a bridge makes anew by itself. */
static bool is_state(const char *path)
{
    return strcmp(path, "state.json") == 0;
}

bool nd_files_equal_but_state(const struct rp_file *a, unsigned a_n,
                              const struct rp_file *b, unsigned b_n)
{
    unsigned i = 0, k = 0;

    for (;;) {
        i += i < a_n && is_state(a[i].path) ? 1U : 0U;
        k += k < b_n && is_state(b[k].path) ? 1U : 0U;
        if (i == a_n || k == b_n) {
            return i == a_n && k == b_n;
        }
        if (!rp_files_equal(&a[i++], 1, &b[k++], 1)) {
            return false;
        }
    }
}

uint64_t nd_files_which(const struct rp_store *s, const char *set,
                        const struct rp_file *list, unsigned n, bool but_state)
{
    const struct rp_files_set *is = rp_store_files_set(s, set);

    for (uint32_t k = 0; is != NULL && k < is->kept; k++) {
        const struct rp_files_version *v = rp_store_files_version(s, set, is->last - k);

        if (but_state ? nd_files_equal_but_state(list, n, v->list, v->n)
                      : rp_files_equal(list, n, v->list, v->n)) {
            return v->nr;
        }
    }
    return 0;
}

bool nd_files_ours_since(const struct rp_store *s, const char *set, uint64_t nr,
                         uint64_t node)
{
    const struct rp_files_set *is = rp_store_files_set(s, set);

    for (uint64_t at = nr + 1; is != NULL && at <= is->last; at++) {
        const struct rp_files_version *v = rp_store_files_version(s, set, at);

        if (v == NULL || v->node != node || v->from != 0) {
            return false;
        }
    }
    return is != NULL;
}

bool nd_files_enough(unsigned full, unsigned have, bool others_away)
{
    return have > full / 2 || (full == 2 && have == 1 && others_away);
}
