/* Files that move with the watch: versions of sets (docs/adr/0024). Sets lie in order of
 * their names; the versions of one in a ring, by number. */

#include "replication/files.h"

#include <assert.h>
#include <string.h>

#include "base/mp.h"
#include "replication/store_impl.h"

enum { DEPTH_MAX = 4, PATH_SHOWN = 100 };

bool rp_files_path_ok(const char *path)
{
    unsigned depth = 0;

    if (strlen(path) >= RP_FILES_PATH_SIZE) {
        return false;
    }
    for (const char *p = path;; depth++) {
        size_t n = strcspn(p, "/");

        /* No hidden ones, and so neither "." nor "..". */
        if (n == 0 || p[0] == '.' || depth > DEPTH_MAX) {
            return false;
        }
        if (p[n] == '\0') {
            return true;
        }
        p += n + 1;
    }
}

/* What is wrong with @f behind @before, of a list that has @bytes so far. */
static const char *wrong(const struct rp_file *f, const char *before, uint64_t bytes)
{
    if (!rp_files_path_ok(f->path)) {
        return "not a path within the folder";
    }
    if (before != NULL && strcmp(before, f->path) >= 0) {
        return "not in its place";
    }
    if (f->mode > 0777) {
        return "its mode has more than permissions";
    }
    if (f->size > RP_FILES_BYTES_MAX || bytes + f->size > RP_FILES_BYTES_MAX) {
        return "all together are more than 64 MiB";
    }
    return NULL;
}

int rp_files_ok(const struct rp_file *list, unsigned n, struct sy_errbuf *eb)
{
    uint64_t bytes = 0;

    if (n == 0 || n > RP_FILES_MAX) {
        return sy_fail(eb, SY_ELIMIT, "%u files; a version has 1 to %d", n, RP_FILES_MAX);
    }
    for (unsigned i = 0; i < n; i++) {
        const char *why = wrong(&list[i], i > 0 ? list[i - 1].path : NULL, bytes);

        if (why != NULL) {
            return sy_fail(eb, SY_EINVALID, "%.*s: %s", PATH_SHOWN, list[i].path, why);
        }
        bytes += list[i].size;
    }
    return 0;
}

bool rp_files_equal(const struct rp_file *a, unsigned a_n, const struct rp_file *b,
                    unsigned b_n)
{
    bool equal = a_n == b_n;

    for (unsigned i = 0; i < a_n && equal; i++) {
        equal = strcmp(a[i].path, b[i].path) == 0 && a[i].size == b[i].size &&
                a[i].mode == b[i].mode &&
                memcmp(a[i].sum, b[i].sum, sizeof a[i].sum) == 0;
    }
    return equal;
}

const struct rp_file *rp_files_find(const struct rp_file *list, unsigned n,
                                    const char *path)
{
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(list[i].path, path) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

void rp_files_hex(const uint8_t sum[RP_FILES_SUM_LEN], char ret[RP_FILES_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < RP_FILES_SUM_LEN; i++) {
        ret[2 * i] = digits[sum[i] >> 4];
        ret[2 * i + 1] = digits[sum[i] & 15];
    }
    ret[2 * RP_FILES_SUM_LEN] = '\0';
}

bool rp_files_sum(const char *hex, uint8_t ret[RP_FILES_SUM_LEN])
{
    static const char digits[] = "0123456789abcdef";

    if (strlen(hex) != 2 * RP_FILES_SUM_LEN || strspn(hex, digits) != strlen(hex)) {
        return false;
    }
    for (unsigned i = 0; i < RP_FILES_SUM_LEN; i++) {
        unsigned high = (unsigned)(strchr(digits, hex[2 * i]) - digits);
        unsigned low = (unsigned)(strchr(digits, hex[2 * i + 1]) - digits);

        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* --- a list as it lies in an entry and, a record each, in a snapshot --- */

void rp_put_file(struct sy_buf *b, const struct rp_file *f)
{
    sy_mp_str(b, f->path);
    sy_mp_uint(b, f->size);
    sy_mp_uint(b, f->mode);
    sy_mp_bin(b, f->sum, sizeof f->sum);
}

void rp_get_file(struct sy_cur *c, struct rp_file *f)
{
    const uint8_t *sum;
    uint32_t n;

    memset(f, 0, sizeof *f);
    rp_get_name(c, f->path, sizeof f->path);
    f->size = sy_mp_get_uint(c);
    f->mode = (uint16_t)rp_get_max(c, 0777);
    sum = sy_mp_get_bin(c, &n);
    if (c->bad || n != sizeof f->sum) {
        c->bad = 1;
        return;
    }
    memcpy(f->sum, sum, sizeof f->sum);
}

bool rp_files_list_ok(const uint8_t *p, uint32_t len)
{
    struct sy_cur c = {.p = p, .n = len};
    struct rp_file f[2] = {{.size = 0}};
    uint64_t bytes = 0;
    unsigned n = 0;

    for (; c.n > 0; n++) {
        struct rp_file *now = &f[n % 2];

        rp_get_file(&c, now);
        if (c.bad || n == RP_FILES_MAX ||
            wrong(now, n > 0 ? f[(n + 1) % 2].path : NULL, bytes) != NULL) {
            return false;
        }
        bytes += now->size;
    }
    return true;
}

/* --- sets --- */

/* Where @name is, or where it belongs. */
static uint32_t place(const struct rp_store *s, const char *name, bool *found)
{
    uint32_t i = 0;
    int order = 1;

    while (i < s->sets_n && (order = strcmp(s->sets[i].name, name)) < 0) {
        i++;
    }
    *found = i < s->sets_n && order == 0;
    return i;
}

struct rp_files_version *rp_files_slot(const struct rp_store *s,
                                       const struct rp_files_set *set, uint64_t nr)
{
    return &s->versions[set->place * RP_FILES_KEPT + nr % RP_FILES_KEPT];
}

static uint32_t free_place(const struct rp_store *s)
{
    uint32_t taken = 0, at = 0;

    _Static_assert(RP_FILES_SETS_MAX <= 32, "a bit for each");
    for (uint32_t i = 0; i < s->sets_n; i++) {
        taken |= 1U << s->sets[i].place;
    }
    while ((taken >> at & 1U) != 0) {
        at++;
    }
    return at;
}

static struct rp_files_set *insert(struct rp_store *s, uint32_t i, const char *name)
{
    struct rp_files_set set = {.place = free_place(s)};

    memcpy(set.name, name, strlen(name) + 1);
    memmove(&s->sets[i + 1], &s->sets[i], (s->sets_n - i) * sizeof s->sets[0]);
    s->sets[i] = set;
    s->sets_n++;
    return &s->sets[i];
}

/* The next version of @set; the oldest makes room. */
static struct rp_files_version *next(struct rp_store *s, struct rp_files_set *set)
{
    struct rp_files_version *v;

    set->last++;
    v = rp_files_slot(s, set, set->last);
    if (set->kept == RP_FILES_KEPT) {
        s->sum -= rp_digest_files(set, v);
    } else {
        set->kept++;
    }
    return v;
}

static void forget(struct rp_store *s, uint32_t i)
{
    struct rp_files_set was = s->sets[i];

    for (uint64_t nr = was.last - was.kept + 1; nr <= was.last; nr++) {
        s->sum -= rp_digest_files(&was, rp_files_slot(s, &was, nr));
    }
    s->sets_n--;
    memmove(&s->sets[i], &s->sets[i + 1], (s->sets_n - i) * sizeof s->sets[0]);
    was.last = was.kept = 0;
    rp_emit(s, &(struct rp_event){.kind = RP_EV_FILES, .files = &was});
}

static void take(struct rp_store *s, struct rp_files_set *set,
                 const struct rp_in_files *in)
{
    struct rp_files_version *v = next(s, set);
    struct sy_cur c = {.p = in->list, .n = in->list_len};

    v->nr = set->last;
    v->at_ms = s->m.now_ms;
    v->from = in->from;
    v->node = in->node;
    v->bytes = v->n = 0;
    while (c.n > 0) {
        assert(v->n < RP_FILES_MAX);
        rp_get_file(&c, &v->list[v->n]);
        v->bytes += v->list[v->n++].size;
    }
    assert(!c.bad); /* rp_files_list_ok() */
    s->sum += rp_digest_files(set, v);
    rp_emit(s, &(struct rp_event){.kind = RP_EV_FILES, .files = set});
}

void rp_apply_files(struct rp_store *s, const struct rp_in_files *in)
{
    bool found;
    uint32_t i = place(s, in->set, &found);
    uint64_t last = found ? s->sets[i].last : 0;

    if (in->list_len == 0) {
        if (found) {
            forget(s, i);
        }
    } else if (in->follows != last || in->from > last) {
        rp_refuse(s, (struct rp_event){0},
                  "files of %s: a version behind %llu came late, the newest is %llu",
                  in->set, (unsigned long long)in->follows, (unsigned long long)last);
    } else if (!found && s->sets_n == RP_FILES_SETS_MAX) {
        rp_refuse(s, (struct rp_event){0},
                  "files of %s: there are %d sets already; forget one that is no more",
                  in->set, RP_FILES_SETS_MAX);
    } else {
        take(s, found ? &s->sets[i] : insert(s, i, in->set), in);
    }
}

struct rp_files_version *rp_files_append(struct rp_store *s, const char *name,
                                         uint64_t nr)
{
    struct rp_files_set *set = s->sets_n > 0 ? &s->sets[s->sets_n - 1] : NULL;
    int order = set != NULL ? strcmp(set->name, name) : -1;

    if (order > 0 ||
        (order == 0 && (nr != set->last + 1 || set->kept == RP_FILES_KEPT)) ||
        (order < 0 && s->sets_n == RP_FILES_SETS_MAX)) {
        return NULL;
    }
    if (order < 0) {
        set = insert(s, s->sets_n, name);
        set->last = nr - 1;
    }
    return next(s, set);
}

bool rp_files_complete(struct rp_store *s, struct rp_files_version *v)
{
    v->bytes = 0;
    for (unsigned i = 0; i < v->n; i++) {
        if (wrong(&v->list[i], i > 0 ? v->list[i - 1].path : NULL, v->bytes) != NULL) {
            return false;
        }
        v->bytes += v->list[i].size;
    }
    s->sum += rp_digest_files(&s->sets[s->sets_n - 1], v);
    return true;
}

/* --- reading --- */

uint32_t rp_store_files(const struct rp_store *s)
{
    return s->sets_n;
}

const struct rp_files_set *rp_store_files_at(const struct rp_store *s, uint32_t i)
{
    return i < s->sets_n ? &s->sets[i] : NULL;
}

const struct rp_files_set *rp_store_files_set(const struct rp_store *s, const char *name)
{
    bool found;
    uint32_t i = place(s, name, &found);

    return found ? &s->sets[i] : NULL;
}

const struct rp_files_version *rp_store_files_version(const struct rp_store *s,
                                                      const char *set, uint64_t nr)
{
    const struct rp_files_set *is = rp_store_files_set(s, set);

    if (is == NULL || nr > is->last || (nr > 0 && nr + is->kept <= is->last)) {
        return NULL;
    }
    return rp_files_slot(s, is, nr > 0 ? nr : is->last);
}

bool rp_store_files_names(const struct rp_store *s, const uint8_t sum[RP_FILES_SUM_LEN])
{
    for (uint32_t i = 0; i < s->sets_n; i++) {
        const struct rp_files_set *set = &s->sets[i];

        for (uint32_t k = 0; k < set->kept; k++) {
            const struct rp_files_version *v = rp_files_slot(s, set, set->last - k);

            for (unsigned f = 0; f < v->n; f++) {
                if (memcmp(v->list[f].sum, sum, RP_FILES_SUM_LEN) == 0) {
                    return true;
                }
            }
        }
    }
    return false;
}
