/* Bytes from a peer: the decoder, and what the transport asks of a frame. What is
 * accepted must encode to the same bytes. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/wire.h"

static void check(int ok)
{
    if (!ok) {
        abort();
    }
}

static void encode(const struct cs_wire *w, struct sy_buf *b)
{
    const struct raft_append_entries *a = &w->m.append_entries;

    cs_wire_put(b, &w->m, w->stamp);
    if (w->m.type == RAFT_APPEND_ENTRIES) {
        cs_wire_put_count(b, a->n_entries);
        for (unsigned i = 0; i < a->n_entries; i++) {
            const struct raft_entry *e = &a->entries[i];

            check(e->buf.len == 0 || e->batch != NULL);
            check(e->type != RAFT_CHANGE || cs_wire_conf_valid(e->buf.base, e->buf.len));
            cs_wire_put_entry(b, &(struct cs_entry){.term = e->term,
                                                    .type = (uint8_t)e->type,
                                                    .len = (uint32_t)e->buf.len,
                                                    .data = e->buf.base});
        }
    } else if (w->m.type == RAFT_INSTALL_SNAPSHOT) {
        struct raft_buffer raw;

        check(raft_configuration_encode(&w->m.install_snapshot.conf, &raw) == 0);
        cs_wire_put_conf(b, &(struct sy_buf){raw.base, raw.len, raw.len});
        raft_free(raw.base);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cs_snapshot_meta meta;
    uint64_t index = 0, term = 0;
    struct cs_wire w;
    struct sy_buf b = {.p = NULL};
    bool snapshot = cs_frame_is_snapshot(data, size, &index, &term);

    if (cs_frame_snapshot_meta(data, size, &meta) == 0) {
        check(snapshot && meta.index == index && meta.term == term);
        sy_buf_free(&meta.conf);
    }
    if (cs_wire_decode(data, size, &w) != 0) {
        check(!snapshot);
        return 0;
    }
    check(snapshot == (w.m.type == RAFT_INSTALL_SNAPSHOT));
    encode(&w, &b);
    check(b.len == size && memcmp(b.p, data, size) == 0);
    sy_buf_free(&b);
    cs_wire_discard(&w);
    return 0;
}
