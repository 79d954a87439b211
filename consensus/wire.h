/* Messages of the consensus core as bytes.
 *
 *   u8 version | u8 type | fields, little endian
 *
 * The body does not say who sent it: the transport knows that from the
 * certificate. The decoder trusts nothing: libraft's assertions are compiled out
 * in Debian's build, so what it takes for granted is checked here (lengths,
 * counts, types, term != 0, terms of entries that never fall, configurations
 * that its own decoder would read without looking at the end of the buffer). */

#ifndef CS_WIRE_H
#define CS_WIRE_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "consensus/core.h"

enum {
    CS_WIRE_VERSION = 1,
    CS_WIRE_ENTRY = 13, /* Bytes of an entry besides its payload. */
    CS_WIRE_HEAD_MAX = 64
};

/* Above this no term or index is believed: arithmetic on them may not wrap. */
#define CS_WIRE_NUMBER_MAX (UINT64_C(1) << 62)

struct cs_wire
{
    struct raft_message m; /* server_id and server_address are left 0. */
    /* AppendEntries: the sender's clock. Its result: the stamp of the last
     * AppendEntries that the answering node had followed. 0: none. */
    uint64_t stamp;
    struct raft_entry *entries; /* The array, whatever m points to later. */
};

/* Fields of @m, without the entries of an AppendEntries (say how many with
 * cs_wire_put_count(), then put each) and without the configuration of an
 * InstallSnapshot (cs_wire_put_conf()). */
void cs_wire_put(struct sy_buf *b, const struct raft_message *m, uint64_t stamp);
void cs_wire_put_count(struct sy_buf *b, uint32_t n);
void cs_wire_put_entry(struct sy_buf *b, const struct cs_entry *e);
void cs_wire_put_conf(struct sy_buf *b, const struct sy_buf *conf);

/* 0 or SY_ECORRUPT. What libraft may take over (payloads, configuration) is
 * allocated with raft_malloc(). */
SY_MUST_USE int cs_wire_decode(const uint8_t *p, size_t n, struct cs_wire *ret);
/* Free what libraft never takes over. */
void cs_wire_close(struct cs_wire *w);
/* Free everything: for a message that libraft never saw. */
void cs_wire_discard(struct cs_wire *w);

/* Is this a raft_configuration_encode()d configuration of at most CS_MEMBERS_MAX
 * servers with ids of ours, with nothing behind it? */
bool cs_wire_conf_valid(const uint8_t *p, size_t n);

#endif /* CS_WIRE_H */
