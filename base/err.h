/* One error space for the whole program.
 *
 * 0 is success, every failure is negative. Values down to -4095 are errno (and
 * therefore libuv) codes; our own start at -5000 so the two cannot collide.
 * Library codes that are positive (raft) or stringly (libpq) are translated at
 * the border, once, by the code that called the library. */

#ifndef SY_BASE_ERR_H
#define SY_BASE_ERR_H

#include <stddef.h>

#define SY_MUST_USE __attribute__((warn_unused_result))
#define SY_PRINTF(FMT, ARGS) __attribute__((format(printf, FMT, ARGS)))

/* X(name, value, text for operators) */
#define SY_ERR_MAP(X)                                               \
    X(SY_ENOTLEADER, -5000, "this node is not the leader")          \
    X(SY_ENOQUORUM, -5001, "no quorum")                             \
    X(SY_ESTALE, -5002, "version is older than the stored one")     \
    X(SY_ECORRUPT, -5003, "stored or received data is malformed")   \
    X(SY_ELIMIT, -5004, "a configured limit was reached")           \
    X(SY_EVERSION, -5005, "written by a newer version")             \
    X(SY_ENOTFOUND, -5006, "no such thing")                         \
    X(SY_EINVALID, -5007, "invalid value")                          \
    X(SY_EBUSY, -5008, "busy, try again")                           \
    X(SY_ETIMEOUT, -5009, "timed out")                              \
    X(SY_EUNKNOWN, -5010, "outcome unknown: leadership was lost")   \
    X(SY_EEXISTS, -5011, "exists already")

enum {
#define X(NAME, VALUE, TEXT) NAME = (VALUE),
    SY_ERR_MAP(X)
#undef X
};

/* Human context for a failure. The return code says what kind of failure it
 * was; the buffer says where, and is only filled on failure. */
struct sy_errbuf
{
    char text[512];
};

/* Name of a code for logs ("SY_ESTALE", "ENOENT"). Never NULL. */
const char *sy_err_name(int err);

/* Text of a code for people ("version is older than the stored one"). */
const char *sy_err_text(int err);

/* Fill @eb (which may be NULL) and return @err, so that a failing branch is one
 * line: return sy_fail(eb, SY_ELIMIT, "peers: %zu > %d", n, MAX); */
int sy_fail(struct sy_errbuf *eb, int err, const char *fmt, ...) SY_PRINTF(3, 4);

#endif /* SY_BASE_ERR_H */
