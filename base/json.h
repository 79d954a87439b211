/* Writing JSON (RFC 8259) into a sy_buf, for `vagtctl --json` and HTTP.
 *
 * The calls mirror the text: an object is sy_json_object(), keys each followed by
 * one value, sy_json_object_end(). Commas are the writer's business. Calls that
 * would not give JSON (a value without a key, an end without a beginning) are our
 * own mistakes and fail an assertion. What the strings hold is not: bytes that are
 * no UTF-8 become U+FFFD, and what could steer a terminal is escaped. */

#ifndef SY_BASE_JSON_H
#define SY_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { SY_JSON_DEPTH_MAX = 32 };

struct sy_json
{
    struct sy_buf *b; /* Borrowed. */
    unsigned depth;
    bool after_key;
    bool ended; /* The one value at the top is complete. */
    struct
    {
        bool object;
        bool filled;
    } level[SY_JSON_DEPTH_MAX];
};

/* One value follows; it is appended to @b. */
void sy_json_init(struct sy_json *j, struct sy_buf *b);
/* Everything that was begun has ended. */
void sy_json_finish(struct sy_json *j);

void sy_json_object(struct sy_json *j);
void sy_json_object_end(struct sy_json *j);
void sy_json_array(struct sy_json *j);
void sy_json_array_end(struct sy_json *j);
void sy_json_key(struct sy_json *j, const char *key);
void sy_json_keyn(struct sy_json *j, const char *key, size_t n);

void sy_json_str(struct sy_json *j, const char *s);
void sy_json_strn(struct sy_json *j, const char *s, size_t n);
void sy_json_hex(struct sy_json *j, const void *p, size_t n);
void sy_json_uint(struct sy_json *j, uint64_t v);
void sy_json_int(struct sy_json *j, int64_t v);
void sy_json_bool(struct sy_json *j, bool v);
/* As many digits as it takes (15 to 17) to read back the same; null for what JSON
 * cannot say (infinite, not a number). */
void sy_json_double(struct sy_json *j, double v);
void sy_json_null(struct sy_json *j);

/* A key and its value. */
void sy_json_kstr(struct sy_json *j, const char *key, const char *s);
void sy_json_kuint(struct sy_json *j, const char *key, uint64_t v);
void sy_json_kint(struct sy_json *j, const char *key, int64_t v);
void sy_json_kbool(struct sy_json *j, const char *key, bool v);

/* Writes the next MessagePack value of @c as one value: bin and ext as hex, keys
 * that are numbers as their digits. SY_ECORRUPT if it is damaged, nested deeper than
 * sy_mp_skip() allows or has other keys; then nothing was written. */
SY_MUST_USE int sy_json_mp(struct sy_json *j, struct sy_cur *c);
/* The same as a whole text, appended to @b. */
SY_MUST_USE int sy_json_from_mp(struct sy_buf *b, struct sy_cur *c);

/* The code point at @p (of @n > 0 bytes) into *@cp; returns its length in bytes. What
 * is no UTF-8 (also overlong forms and surrogates) is U+FFFD, one byte long. */
size_t sy_utf8_next(const char *p, size_t n, uint32_t *cp);
/* Controls, line separators and marks that turn the direction of text: never to be
 * written raw where people read. */
bool sy_utf8_unsafe(uint32_t cp);

#endif /* SY_BASE_JSON_H */
