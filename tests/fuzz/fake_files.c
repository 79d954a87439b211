#include "tests/fuzz/fake_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "adapters/files/files.h"

enum { KEPT_MAX = 8 };

static const char content[] = "content";

static struct
{
    char kept[KEPT_MAX][AD_FILES_SUM_SIZE], mark[AD_FILES_MARK_SIZE];
    unsigned kept_n;
    uint8_t folder;
    int fault;
} disk;

void fake_files_reset(void)
{
    memset(&disk, 0, sizeof disk);
}

void fake_files_disk(uint8_t folder, uint8_t fault)
{
    static const int faults[] = {0,       SY_EBUSY,    SY_ELIMIT, SY_ECORRUPT,
                                 -ENOENT, SY_EINVALID, -ENOSPC,   SY_ENOTFOUND};

    disk.folder = folder;
    disk.fault = faults[fault % (sizeof faults / sizeof faults[0])];
}

unsigned fake_files_list(uint8_t folder, struct rp_file to[3])
{
    unsigned n = folder & 3;

    memset(to, 0, 3 * sizeof to[0]);
    for (unsigned i = 0; i < n; i++) {
        snprintf(to[i].path, sizeof to[i].path, "%s",
                 i == 0   ? "a"
                 : i == 1 ? "secret.yaml"
                          : "state.json");
        to[i].size = sizeof content - 1;
        to[i].mode = 0600;
        memset(to[i].sum, folder >> 2, sizeof to[i].sum);
        to[i].sum[0] = (uint8_t)i;
    }
    return n;
}

static int fault(struct sy_errbuf *eb)
{
    return disk.fault == 0 ? 0 : sy_fail(eb, disk.fault, "the disk does not");
}

static int keep(const char *sum, struct sy_errbuf *eb)
{
    if (fault(eb) == 0 && !ad_files_has(NULL, sum)) {
        if (disk.kept_n == KEPT_MAX) {
            return sy_fail(eb, SY_ELIMIT, "the disk is full");
        }
        memcpy(disk.kept[disk.kept_n++], sum, AD_FILES_SUM_SIZE);
    }
    return disk.fault;
}

/* --- adapters/files --- */

int ad_files_open(struct ad_files_store *s, const char *dir, uint64_t bytes_max,
                  struct sy_errbuf *eb)
{
    (void)dir, (void)eb;
    *s = (struct ad_files_store){.bytes_max = bytes_max};
    return 0;
}

bool ad_files_has(const struct ad_files_store *s, const char *sum)
{
    (void)s;
    for (unsigned i = 0; i < disk.kept_n; i++) {
        if (strcmp(disk.kept[i], sum) == 0) {
            return true;
        }
    }
    return false;
}

int ad_files_put(struct ad_files_store *s, const void *p, size_t n,
                 char ret_sum[AD_FILES_SUM_SIZE], struct sy_errbuf *eb)
{
    (void)s, (void)p, (void)n, (void)ret_sum;
    return sy_fail(eb, SY_ELIMIT, "no backup is laid out here");
}

int ad_files_keep(struct ad_files_store *s, const char *sum, const void *p, size_t n,
                  struct sy_errbuf *eb)
{
    (void)s, (void)p, (void)n;
    return keep(sum, eb);
}

int ad_files_piece(const struct ad_files_store *s, const char *sum, uint64_t offset,
                   size_t max, struct sy_buf *to, uint64_t *ret_total)
{
    (void)max;
    if (!ad_files_has(s, sum) || disk.fault != 0) {
        return disk.fault != 0 ? disk.fault : SY_ENOTFOUND;
    }
    if (offset >= sizeof content) {
        return SY_EINVALID;
    }
    *ret_total = sizeof content - 1;
    sy_buf_put(to, content + offset, sizeof content - 1 - (size_t)offset);
    return 0;
}

int ad_files_get(struct ad_files_store *s, const char *sum, struct sy_buf *to,
                 struct sy_errbuf *eb)
{
    if (!ad_files_has(s, sum)) {
        return sy_fail(eb, SY_ENOTFOUND, "no such content");
    }
    if (fault(eb) == 0) {
        sy_buf_put(to, content, sizeof content - 1);
    }
    return disk.fault;
}

int ad_files_sweep(struct ad_files_store *s, bool (*wanted)(void *data, const char *sum),
                   void *data)
{
    unsigned n = 0;

    (void)s;
    for (unsigned i = 0; i < disk.kept_n; i++) {
        if (wanted(data, disk.kept[i])) {
            memmove(disk.kept[n++], disk.kept[i], AD_FILES_SUM_SIZE);
        }
    }
    disk.kept_n = n;
    return 0;
}

int ad_files_look(const char *dir, int64_t now_ms, struct ad_files_set *ret,
                  struct sy_errbuf *eb)
{
    struct rp_file list[3];

    (void)dir, (void)now_ms;
    memset(ret, 0, sizeof *ret);
    if (fault(eb) == 0) {
        ret->n = fake_files_list(disk.folder, list);
        for (unsigned i = 0; i < ret->n; i++) {
            memcpy(ret->list[i].path, list[i].path, sizeof list[i].path);
            rp_files_hex(list[i].sum, ret->list[i].sum);
            ret->list[i].size = list[i].size;
            ret->list[i].mode = list[i].mode;
        }
    }
    return disk.fault;
}

int ad_files_take(struct ad_files_store *s, const char *dir, int64_t now_ms,
                  struct ad_files_set *ret, struct sy_errbuf *eb)
{
    int rv = ad_files_look(dir, now_ms, ret, eb);

    (void)s;
    for (unsigned i = 0; rv == 0 && i < ret->n; i++) {
        rv = keep(ret->list[i].sum, eb);
    }
    return rv;
}

int ad_files_lay(struct ad_files_store *s, const struct ad_files_set *set,
                 const char *mark, const char *dir, const char *aside,
                 struct sy_errbuf *eb)
{
    (void)aside;
    for (unsigned i = 0; i < set->n; i++) {
        if (!ad_files_has(s, set->list[i].sum)) {
            return sy_fail(eb, SY_ENOTFOUND, "no such content");
        }
    }
    return ad_files_mark(dir, mark, eb);
}

int ad_files_mark(const char *dir, const char *mark, struct sy_errbuf *eb)
{
    (void)dir;
    if (fault(eb) == 0) {
        snprintf(disk.mark, sizeof disk.mark, "%s", mark);
    }
    return disk.fault;
}

void ad_files_marked(const char *dir, char ret[AD_FILES_MARK_SIZE])
{
    (void)dir;
    memcpy(ret, disk.mark, sizeof disk.mark);
}

int ad_files_thin(const char *dir, const char *end, unsigned keep_n, struct sy_errbuf *eb)
{
    (void)dir, (void)end, (void)keep_n;
    return fault(eb);
}
