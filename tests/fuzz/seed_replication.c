/* Writes the first corpora of fuzz_entry, fuzz_snapshot and fuzz_bundle below the given
 * folder: seed_replication tests/fuzz/corpus */

#include <stdio.h>
#include <stdlib.h>

#include "node/bundle.h"
#include "store_pair.h"

/* Some of everything, as it would really come. */
static void put_inputs(struct rp_batch *b, uint64_t ieee, unsigned step)
{
    struct rp_report r = {.ieee = ieee,
                          .last_seen_ms = 1000 + step,
                          .payload_hash = step,
                          .state = step % 2 == 0 ? RP_ON : RP_OFF,
                          .values = {.has = 31, .energy_mwh = 70000, .power_mw = -3}};
    struct rp_file file = {.path = "database.db", .size = step, .mode = 0600};
    char id[3] = {'c', (char)('0' + step), 0};

    rp_batch_area(b, "a", "t");
    rp_batch_device(b, 1, ieee, "n", "m");
    rp_batch_bridge(b, 1, RP_ONLINE, true);
    rp_batch_avail(b, ieee, RP_ONLINE);
    rp_batch_report(b, &r);
    rp_batch_command(b, id, ieee, "state", "ON", "x", 9000 + step);
    rp_batch_sent(b, step + 1, 1, 5000);
    rp_batch_going(b, step + 1, 2, 6000);
    rp_batch_left(b, step + 1, 2);
    r.state = RP_ON;
    r.last_seen_ms = 0;
    r.redelivered = true;
    rp_batch_report(b, &r);
    rp_batch_told(b, ieee, step % 2 == 0 ? RP_OFFLINE : RP_ONLINE, 500);
    rp_batch_trouble(b, step + 1, 1, "no route");
    rp_batch_letter(b, 1, "t/n", "no JSON", "{", 1);
    rp_batch_letter(b, 0, "", "", NULL, 0);
    rp_batch_fact(b, "maintenance", step % 2 == 0 ? "9000 work" : "");
    rp_batch_drill(b, 0, RP_DRILL_RUNNING, "kill", NULL, 0);
    if (step % 2 == 1) {
        rp_batch_drill(b, step, RP_DRILL_PASSED, "kill", "report", 6);
    }
    if (step == 3) {
        rp_batch_lapse(b, ieee, 0, 1);
        rp_batch_area_off(b, 1, RP_OFF_OPERATOR, true);
        rp_batch_letters_shipped(b, 2);
    }
    rp_batch_files(b, "s", step, step / 2, 1, &file, 1);
    if (step == 2) {
        rp_batch_end(b, 1, RP_FAILED, "why");
        rp_batch_gone(b, ieee);
        rp_batch_watch(b, 7, 1);
        rp_batch_shipped(b, 2, 3);
        rp_batch_checkpoint(b, 1, 1);
        rp_batch_tick(b);
        rp_batch_audit(b, 1, "anna", "nas", "send", "lamp ON", "done");
    }
}

static void write_file(const char *folder, const char *kind, unsigned i,
                       const struct sy_buf *b)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s/seed-%u", folder, kind, i);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(b->p, 1, b->len, f) != b->len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static int append(void *data, const void *p, size_t n)
{
    sy_buf_put(data, p, n);
    return 0;
}

/* A whole backup of what is in @s. */
static void write_bundle(const char *folder, unsigned i, struct rp_store *s)
{
    struct nd_bundle_meta meta = {.cluster = "site",
                                  .node = "nas",
                                  .version = "0.1.0",
                                  .term = 3,
                                  .taken_ms = 1764};
    struct sy_buf tar = {0}, sums = {0}, file = {0};

    sy_buf_u8(&file, 'r');
    if (nd_bundle_begin(&tar, &sums, &meta, s, NULL) != 0) {
        exit(1);
    }
    nd_bundle_add(&tar, "config.yaml", "cluster: site\n", 14, meta.taken_ms, &sums);
    nd_bundle_end(&tar, &sums, meta.taken_ms);
    sy_buf_put(&file, tar.p, tar.len);
    write_file(folder, "fuzz_bundle", i, &file);
    sy_buf_free(&tar);
    sy_buf_free(&sums);
    sy_buf_free(&file);
}

int main(int argc, char **argv)
{
    enum { TRAILER_SIZE = 1 + 1 + 1 + 9 }; /* Array, kind, records < 128, hash. */
    struct rp_store *s = fuzz_store(0);
    struct sy_buf entries = {0};
    struct rp_batch b = {0};

    if (argc != 2) {
        fputs("usage: seed_replication <folder of the corpora>\n", stderr);
        return 2;
    }
    for (unsigned step = 0; step < 4; step++) {
        struct sy_buf entry = {0};
        struct sy_buf snapshot = {0};

        put_inputs(&b, 1 + step % 3, step);
        rp_batch_seal(&b, 1000 + step, 1, &entry);
        if (fuzz_apply(s, entry.p, entry.len) != 0) {
            return 1;
        }
        sy_buf_u8(&entries, (uint8_t)entry.len);
        sy_buf_u8(&entries, (uint8_t)(entry.len >> 8));
        sy_buf_put(&entries, entry.p, entry.len);
        write_file(argv[1], "fuzz_entry", step, &entries);
        sy_buf_u8(&snapshot, 255);
        if (rp_store_snapshot(s, append, &snapshot) != 0) {
            return 1;
        }
        if (snapshot.p[snapshot.len - 9] != 0xcf) {
            return 1; /* A hash that is short by chance: change the inputs. */
        }
        snapshot.len -= TRAILER_SIZE;
        write_file(argv[1], "fuzz_snapshot", step, &snapshot);
        write_bundle(argv[1], step, s);
        sy_buf_free(&entry);
        sy_buf_free(&snapshot);
    }
    sy_buf_free(&entries);
    rp_batch_free(&b);
    return 0;
}
