/* Snapshots between nodes: chunks, one under way at a time, each acknowledged when
 * it is written. So neither side holds more than a chunk, and Raft's own frames
 * pass between two chunks. Losing any frame ends the transfer; the leader's core
 * begins another one when its timeout has passed. */

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "node/replica_impl.h"

enum { CHUNK = 256 * 1024, STALLED_MS = 5000 };

/* --- sending --- */

static void out_stop(struct nd_xfer_out *x)
{
    if (x->file < 0) {
        return;
    }
    if (x->reading) {
        x->cancelled = true; /* The thread pool still has the file. */
        return;
    }
    (void)!x->r->fs.close(x->r->fs.ctx, x->file);
    x->file = -1;
}

static void out_read(uv_work_t *work)
{
    struct nd_xfer_out *x = work->data;

    x->chunk_len = x->r->fs.read(x->r->fs.ctx, x->file, x->offset, x->chunk, CHUNK);
}

static void out_read_done(uv_work_t *work, int status)
{
    struct nd_xfer_out *x = work->data;
    struct nd_replica *r = x->r;
    struct sy_buf body = {0};

    (void)status;
    x->reading = false;
    if (x->cancelled || r->closing || x->chunk_len <= 0) {
        x->cancelled = false;
        out_stop(x);
    } else {
        sy_buf_u64(&body, x->index);
        sy_buf_u64(&body, x->offset);
        sy_buf_put(&body, x->chunk, (size_t)x->chunk_len);
        if (!ad_peers_send(r->peers, x->to, ND_FRAME_SNAP_CHUNK, body.p, body.len)) {
            out_stop(x);
        }
        sy_buf_free(&body);
    }
    nd_replica_work_done(r);
}

static void out_next(struct nd_xfer_out *x)
{
    int rv;

    x->reading = true;
    x->work.data = x;
    x->r->open_work++;
    rv = uv_queue_work(x->r->loop, &x->work, out_read, out_read_done);
    assert(rv == 0);
}

void nd_xfer_send(void *ctx, uint64_t to, const uint8_t *frame, size_t len,
                  uint64_t index)
{
    struct nd_replica *r = ctx;
    struct nd_xfer_out *x = &r->out[to];
    uint64_t now = nd_now_ms();
    char name[AD_WAL_NAME_MAX];
    struct sy_buf body = {0};
    int64_t size;
    uint64_t term;

    if (x->file >= 0 && now - x->acked_ms < STALLED_MS) {
        return; /* The one under way goes on. */
    }
    out_stop(x);
    if (x->file >= 0 || !cs_frame_is_snapshot(frame, len, &index, &term)) {
        return;
    }
    ad_wal_snap_name(name, index, term);
    x->file = r->fs.open(r->fs.ctx, name);
    if (x->file < 0) {
        return; /* Replaced by a newer one this moment. */
    }
    size = r->fs.size(r->fs.ctx, x->file);
    x->to = to;
    x->index = index;
    x->term = term;
    x->offset = 0;
    x->size = size > 0 ? (uint64_t)size : 0;
    x->started_ms = x->acked_ms = now;
    if (x->chunk == NULL) {
        x->chunk = sy_alloc(CHUNK);
    }
    sy_buf_u64(&body, x->size);
    sy_buf_put(&body, frame, len);
    if (size <= 0 ||
        !ad_peers_send(r->peers, to, ND_FRAME_SNAP_BEGIN, body.p, body.len)) {
        out_stop(x);
    } else {
        SY_LOG(r->log, SY_NOTE, "snapshot.sending", KU64("peer", to),
               KU64("index", index), KU64("bytes", x->size));
    }
    sy_buf_free(&body);
}

static void take_ack(struct nd_replica *r, uint64_t from, struct sy_cur c)
{
    struct nd_xfer_out *x = &r->out[from];
    uint64_t index = sy_cur_u64(&c);
    uint64_t offset = sy_cur_u64(&c);

    if (c.bad || x->file < 0 || x->index != index || x->reading || offset > x->size) {
        return;
    }
    x->acked_ms = nd_now_ms();
    x->offset = offset;
    if (offset == x->size) {
        SY_LOG(r->log, SY_NOTE, "snapshot.sent", KU64("peer", from), KU64("index", index),
               KU64("ms", x->acked_ms - x->started_ms));
        out_stop(x);
    } else {
        out_next(x);
    }
}

/* --- receiving --- */

static void in_stop(struct nd_xfer_in *x)
{
    if (x->file < 0) {
        return;
    }
    if (x->writing) {
        x->cancelled = true;
        return;
    }
    (void)!x->r->fs.close(x->r->fs.ctx, x->file);
    x->file = -1;
}

static void in_ack(struct nd_xfer_in *x)
{
    struct sy_buf body = {0};

    sy_buf_u64(&body, x->index);
    sy_buf_u64(&body, x->offset);
    (void)ad_peers_send(x->r->peers, x->from, ND_FRAME_SNAP_ACK, body.p, body.len);
    sy_buf_free(&body);
}

static void in_write(uv_work_t *work)
{
    struct nd_xfer_in *x = work->data;
    const struct ad_wal_fs *fs = &x->r->fs;

    x->error = fs->write(fs->ctx, x->file, x->offset, x->chunk.p, x->chunk.len);
    if (x->error == 0 && x->offset + x->chunk.len == x->size) {
        /* Closes the file, whatever comes out. */
        x->error = ad_wal_incoming_commit(fs, x->file, x->index, x->term, &x->eb);
        x->committed = true;
    }
}

static void in_write_done(uv_work_t *work, int status)
{
    struct nd_xfer_in *x = work->data;
    struct nd_replica *r = x->r;

    (void)status;
    x->writing = false;
    x->offset += x->chunk.len;
    x->file = x->committed ? -1 : x->file;
    if (x->cancelled || r->closing || x->error != 0) {
        if (x->error != 0) {
            SY_LOG(r->log, SY_WARN, "snapshot.refused", KU64("index", x->index),
                   KERR(x->error), KSTR("why", x->eb.text));
        }
        x->cancelled = false;
        in_stop(x);
    } else {
        in_ack(x);
        if (x->committed &&
            cs_core_recv(r->core, nd_now_ms(), x->from, x->frame.p, x->frame.len) != 0) {
            SY_LOG(r->log, SY_WARN, "peer.malformed", KU64("peer", x->from));
        }
        nd_replica_observe(r);
    }
    nd_replica_work_done(r);
}

static void take_begin(struct nd_replica *r, uint64_t from, struct sy_cur c)
{
    struct nd_xfer_in *x = &r->in;
    uint64_t size = sy_cur_u64(&c);
    int rv;

    in_stop(x);
    if (x->file >= 0) {
        return; /* The thread pool still has the one before. */
    }
    if (c.bad || size == 0 || !cs_frame_is_snapshot(c.p, c.n, &x->index, &x->term)) {
        SY_LOG(r->log, SY_WARN, "peer.malformed", KU64("peer", from));
        return;
    }
    rv = ad_wal_incoming_create(&r->fs, x->index, x->term, &x->file);
    if (rv != 0) {
        x->file = -1;
        SY_LOG(r->log, SY_WARN, "snapshot.refused", KU64("index", x->index), KERR(rv));
        return;
    }
    x->from = from;
    x->offset = 0;
    x->size = size;
    x->committed = false;
    x->eb.text[0] = '\0';
    x->frame.len = 0;
    sy_buf_put(&x->frame, c.p, c.n);
    SY_LOG(r->log, SY_NOTE, "snapshot.receiving", KU64("peer", from),
           KU64("index", x->index), KU64("bytes", size));
    in_ack(x);
}

static void take_chunk(struct nd_replica *r, uint64_t from, struct sy_cur c)
{
    struct nd_xfer_in *x = &r->in;
    uint64_t index = sy_cur_u64(&c);
    uint64_t offset = sy_cur_u64(&c);
    int rv;

    if (c.bad || x->file < 0 || x->writing || x->from != from || x->index != index ||
        x->offset != offset || c.n == 0 || c.n > x->size - offset) {
        return;
    }
    x->chunk.len = 0;
    sy_buf_put(&x->chunk, c.p, c.n);
    x->writing = true;
    x->work.data = x;
    r->open_work++;
    rv = uv_queue_work(r->loop, &x->work, in_write, in_write_done);
    assert(rv == 0);
}

/* --- both --- */

void nd_xfer_init(struct nd_replica *r)
{
    for (unsigned i = 0; i <= CS_ID_MAX; i++) {
        r->out[i].r = r;
        r->out[i].file = -1;
    }
    r->in.r = r;
    r->in.file = -1;
}

void nd_xfer_frame(struct nd_replica *r, uint64_t from, uint8_t kind, const uint8_t *p,
                   size_t n)
{
    struct sy_cur c = {.p = p, .n = n};

    switch (kind) {
    case ND_FRAME_SNAP_BEGIN:
        take_begin(r, from, c);
        break;
    case ND_FRAME_SNAP_CHUNK:
        take_chunk(r, from, c);
        break;
    case ND_FRAME_SNAP_ACK:
        take_ack(r, from, c);
        break;
    default: /* Of a newer version: it can do without an answer. */
        break;
    }
}

void nd_xfer_lost(struct nd_replica *r, uint64_t peer)
{
    out_stop(&r->out[peer]);
    if (r->in.from == peer) {
        in_stop(&r->in);
    }
}

void nd_xfer_close(struct nd_replica *r)
{
    for (unsigned i = 0; i <= CS_ID_MAX; i++) {
        out_stop(&r->out[i]);
    }
    in_stop(&r->in);
}

void nd_xfer_free(struct nd_replica *r)
{
    for (unsigned i = 0; i <= CS_ID_MAX; i++) {
        sy_free(r->out[i].chunk);
    }
    sy_buf_free(&r->in.chunk);
    sy_buf_free(&r->in.frame);
}
