/* The log against the bare disk, in one run: what does a durable entry cost?
 *
 * bench_wal [FOLDER [ROUNDS]]: FOLDER must be on the disk that matters (default:
 * here). Prints one line per measurement. */

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "adapters/wal/wal.h"
#include "base/mem.h"

enum {
    ROUNDS_DEFAULT = 5000,
    RAW_SIZE = 168,
    SMALL = 128,
    LARGE = 64 * 1024,
    LARGE_MB = 256
};

static struct sy_errbuf eb;

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void report(const char *what, double *us, size_t n)
{
    qsort(us, n, sizeof *us, compare);
    printf("%-34s p50 %7.1f  p99 %7.1f  p99.9 %7.1f  max %7.1f us\n", what, us[n / 2],
           us[n * 99 / 100], us[n * 999 / 1000], us[n - 1]);
}

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, eb.text);
    exit(1);
}

static struct ad_wal *new_log(const struct ad_wal_fs *fs, struct ad_wal_config *config)
{
    struct cs_entry first = {.term = 1, .type = RAFT_CHANGE};
    struct cs_core_boot boot;
    struct ad_wal *w;

    if (ad_wal_bootstrap(fs, config, "bench/1", &first, &eb) < 0 ||
        ad_wal_open(&w, fs, config, "bench/1", &boot, &eb) < 0) {
        die("open");
    }
    for (size_t i = 0; i < boot.n; i++) {
        sy_free(boot.entries[i].data);
    }
    sy_free(boot.entries);
    return w;
}

/* One operation, blocking; makes spares as a node would. */
static void store(struct ad_wal *w, const struct cs_store_op *op)
{
    struct ad_wal_job *job = ad_wal_store(w, op);

    if (ad_wal_job_run(job, &eb) < 0) {
        die("store");
    }
    ad_wal_job_done(w, job);
}

static void spare(struct ad_wal *w, const struct ad_wal_fs *fs, uint64_t size)
{
    if (ad_wal_wants_spare(w)) {
        if (ad_wal_make_spare(fs, size) < 0) {
            die("spare");
        }
        ad_wal_spare_made(w);
    }
}

struct bench
{
    const struct ad_wal_fs *fs;
    struct ad_wal_config config;
    struct ad_wal *w;
    uint64_t index;
};

static void put(struct bench *b, const struct cs_entry *e, size_t n)
{
    struct cs_store_op op = {.first = b->index + 1, .n = n, .entries = e};

    /* Old segments are reused, as behind snapshots. */
    op.drop_until = b->index > 1000 ? b->index - 1000 : 0;
    store(b->w, &op);
    b->index += n;
}

static void latency(struct bench *b, size_t rounds)
{
    static uint8_t data[SMALL];
    struct cs_entry e = {.term = 1, .type = RAFT_COMMAND, .len = SMALL, .data = data};
    double *raw = sy_calloc(rounds, sizeof *raw), *wal = sy_calloc(rounds, sizeof *wal);
    int file = b->fs->create(b->fs->ctx, "raw");
    uint64_t offset = 0;

    assert(file >= 0);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *zero = sy_calloc(1, 1 << 20);

        b->fs->write(b->fs->ctx, file, (uint64_t)i << 20, zero, 1 << 20);
        sy_free(zero);
    }
    fsync(file);
    /* In turns, so that both see the same mood of the disk. */
    for (size_t i = 0; i < rounds; i++) {
        double t = now_us();

        b->fs->write(b->fs->ctx, file, offset, data, RAW_SIZE);
        b->fs->sync(b->fs->ctx, file);
        raw[i] = now_us() - t;
        offset = (offset + RAW_SIZE) % (7 << 20);
        spare(b->w, b->fs, b->config.segment_size);
        t = now_us();
        put(b, &e, 1);
        wal[i] = now_us() - t;
    }
    report("pwrite + fdatasync, 168 B", raw, rounds);
    report("ad_wal_store + run, 128 B entry", wal, rounds);
    b->fs->close(b->fs->ctx, file);
    b->fs->unlink(b->fs->ctx, "raw");
    sy_free(raw);
    sy_free(wal);
}

/* What the owner's thread spends. */
static void encoding(struct bench *b)
{
    enum { BATCH = 256, TIMES = 200 };
    static uint8_t data[SMALL];
    struct cs_entry e[BATCH];
    double us[TIMES];

    for (size_t i = 0; i < BATCH; i++) {
        e[i] = (struct cs_entry){
            .term = 1, .type = RAFT_COMMAND, .len = SMALL, .data = data};
    }
    for (size_t i = 0; i < TIMES; i++) {
        struct cs_store_op op = {.first = b->index + 1, .n = BATCH, .entries = e};
        struct ad_wal_job *job;
        double t = now_us();

        job = ad_wal_store(b->w, &op);
        us[i] = now_us() - t;
        if (ad_wal_job_run(job, &eb) < 0) {
            die("store");
        }
        ad_wal_job_done(b->w, job);
        b->index += BATCH;
        spare(b->w, b->fs, b->config.segment_size);
    }
    report("encoding 256 x 128 B", us, TIMES);
}

static void throughput(struct bench *b, size_t batch)
{
    static uint8_t data[LARGE];
    struct cs_entry e[16];
    double t = now_us(), s;
    size_t n = (size_t)LARGE_MB * 16;

    assert(batch <= 16);
    for (size_t i = 0; i < batch; i++) {
        e[i] = (struct cs_entry){
            .term = 1, .type = RAFT_COMMAND, .len = LARGE, .data = data};
    }
    for (size_t i = 0; i < n; i += batch) {
        spare(b->w, b->fs, b->config.segment_size);
        put(b, e, batch);
    }
    s = (now_us() - t) / 1e6;
    printf("64 KiB entries, %2zu per write       %.0f MB/s\n", batch,
           (double)n * LARGE / 1e6 / s);
}

static void remove_one(void *data, const char *name)
{
    const struct ad_wal_fs *fs = data;

    fs->unlink(fs->ctx, name); /* "." and ".." stay. */
}

int main(int argc, char **argv)
{
    char folder[] = "bench-wal-XXXXXX";
    struct ad_wal_fs fs;
    struct bench b = {.fs = &fs, .index = 1};
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : ROUNDS_DEFAULT;

    ad_wal_config_default(&b.config);
    if ((argc > 1 && chdir(argv[1]) != 0) || mkdtemp(folder) == NULL || rounds == 0 ||
        ad_wal_disk_open(&fs, folder, &eb) < 0) {
        fprintf(stderr, "usage: bench_wal [FOLDER [ROUNDS]] %s\n", eb.text);
        return 2;
    }
    b.w = new_log(&fs, &b.config);
    latency(&b, rounds);
    encoding(&b);
    throughput(&b, 1);
    throughput(&b, 16);
    ad_wal_close(&b.w);
    fs.list(fs.ctx, remove_one, &fs);
    ad_wal_disk_close(&fs);
    return rmdir(folder) == 0 ? 0 : 1;
}
