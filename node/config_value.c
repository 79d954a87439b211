/* One value: text to number and back. Every parser takes the whole text, checks
 * the range, and says in one sentence what is wrong and what to write instead. */

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <uv.h>

#include "node/config_schema.h"

struct suffix
{
    const char *text;
    uint64_t factor;
};

/* Largest first: the printer takes the first that divides. */
static const struct suffix ms_suffixes[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
                                            {"s", 1000},     {"ms", 1},      {NULL, 0}};
static const struct suffix s_suffixes[] = {{"d", 86400},
                                           {"h", 3600},
                                           {"m", 60},
                                           {"s", 1},
                                           {NULL, 0}};
static const struct suffix byte_suffixes[] = {{"GiB", 1 << 30},
                                              {"MiB", 1 << 20},
                                              {"KiB", 1 << 10},
                                              {"B", 1},
                                              {NULL, 0}};
static const struct suffix no_suffixes[] = {{"", 1}, {NULL, 0}};

static const struct suffix *suffixes_of(enum nd_unit unit)
{
    switch (unit) {
    case ND_UNIT_NONE:
        return no_suffixes;
    case ND_UNIT_MS:
        return ms_suffixes;
    case ND_UNIT_S:
        return s_suffixes;
    case ND_UNIT_BYTES:
        return byte_suffixes;
    }
    return no_suffixes;
}

const char *nd_show(char out[64], const char *s)
{
    enum { SHOWN_MAX = 48 };
    size_t n = 0;

    for (; s[n] != '\0' && n < SHOWN_MAX; n++) {
        unsigned char ch = (unsigned char)s[n];

        out[n] = (char)(ch < 0x20 || ch == 0x7f ? '?' : ch);
    }
    if (s[n] != '\0') {
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) {
            n--; /* Do not cut a character in two. */
        }
        memcpy(out + n, "...", 4);
    } else {
        out[n] = '\0';
    }
    return out;
}

/* Edit distance of two words (Levenshtein), of which one row is kept. */
static unsigned distance(const char *a, const char *b)
{
    enum { WORD_MAX = 48 };
    unsigned row[WORD_MAX + 1];
    size_t n = strlen(b);

    if (strlen(a) > WORD_MAX || n > WORD_MAX) {
        return WORD_MAX;
    }
    for (unsigned j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned best = diagonal + (tolower((unsigned char)a[i - 1]) !=
                                        tolower((unsigned char)b[j - 1]));

            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[n];
}

const char *nd_nearest(const char *s, const char *(*word)(const void *data, unsigned i),
                       const void *data, unsigned n)
{
    const char *nearest = NULL;
    size_t len = strlen(s);
    /* More changes would make any word of any other. */
    unsigned best = len < 4 ? 1 : len < 9 ? 2 : 3;

    for (unsigned i = 0; i < n; i++) {
        const char *w = word(data, i);
        unsigned d = w != NULL ? distance(s, w) : best + 1;

        if (d <= best && (nearest == NULL || d < best)) {
            nearest = w;
            best = d;
        }
    }
    return nearest;
}

static uint64_t load_uint(const void *field, size_t size)
{
    switch (size) {
    case 2:
        return *(const uint16_t *)field;
    case 4:
        return *(const uint32_t *)field;
    default:
        return *(const uint64_t *)field;
    }
}

static void store_uint(void *field, size_t size, uint64_t v)
{
    switch (size) {
    case 2:
        *(uint16_t *)field = (uint16_t)v;
        break;
    case 4:
        *(uint32_t *)field = (uint32_t)v;
        break;
    default:
        *(uint64_t *)field = v;
        break;
    }
}

static bool why_not(char why[ND_WHY_SIZE], const char *fmt, ...) SY_PRINTF(2, 3);

static bool why_not(char why[ND_WHY_SIZE], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, ND_WHY_SIZE, fmt, ap);
    va_end(ap);
    return false;
}

void nd_value_number(const struct nd_row *row, uint64_t v, struct sy_buf *out)
{
    const struct suffix *s = suffixes_of(row->unit);

    if (v == 0 && row->unit != ND_UNIT_NONE) {
        sy_buf_str(out, row->unit == ND_UNIT_BYTES ? "0B" : "0s");
        return;
    }
    while (v % s->factor != 0) {
        s++; /* The last factor is 1. */
    }
    sy_buf_fmt(out, "%" PRIu64 "%s", v / s->factor, s->text);
}

static bool out_of_range(const struct nd_row *row, const char *text,
                         char why[ND_WHY_SIZE])
{
    struct sy_buf b = {0};
    char shown[64];

    nd_value_number(row, row->min, &b);
    sy_buf_str(&b, " to ");
    nd_value_number(row, row->max, &b);
    why_not(why, "%s is out of range: %.*s", nd_show(shown, text), (int)b.len,
            (const char *)b.p);
    sy_buf_free(&b);
    return false;
}

/* Digits at *@text; moves it behind them. False: none, or a leading zero. More
 * than fits becomes UINT64_MAX. */
static bool take_digits(const char **text, uint64_t *ret)
{
    const char *p = *text;
    uint64_t v = 0;

    if (!isdigit((unsigned char)p[0]) || (p[0] == '0' && isdigit((unsigned char)p[1]))) {
        return false;
    }
    for (; isdigit((unsigned char)*p); p++) {
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (unsigned)(*p - '0'), &v)) {
            v = UINT64_MAX;
        }
    }
    *text = p;
    *ret = v;
    return true;
}

static bool set_uint(const struct nd_row *row, void *field, const char *text,
                     char why[ND_WHY_SIZE])
{
    const char *p = text;
    char shown[64];
    uint64_t v;

    if (!take_digits(&p, &v) || *p != '\0') {
        return why_not(why, "'%s' is not a whole number from %" PRIu64 " to %" PRIu64,
                       nd_show(shown, text), row->min, row->max);
    }
    if (v < row->min || v > row->max) {
        return out_of_range(row, text, why);
    }
    store_uint(field, row->size, v);
    return true;
}

static bool no_unit(const struct nd_row *row, const char *text, const char *rest,
                    char why[ND_WHY_SIZE])
{
    const char *units = row->unit == ND_UNIT_BYTES ? "B, KiB, MiB or GiB"
                        : row->unit == ND_UNIT_MS  ? "ms, s, m, h or d"
                                                   : "s, m, h or d";
    const char *example = row->unit == ND_UNIT_BYTES ? "8MiB" : "10s";
    char shown[64];

    if (rest == text) {
        return why_not(why,
                       "'%s' is not a %s: write a whole number and its unit, like %s",
                       nd_show(shown, text),
                       row->unit == ND_UNIT_BYTES ? "size" : "duration", example);
    }
    if (*rest == '\0') {
        return why_not(why, "%s has no unit: add one of %s", nd_show(shown, text), units);
    }
    if (*rest == '.') {
        return why_not(why, "%s is not a whole number: use a smaller unit (%s)",
                       nd_show(shown, text), units);
    }
    if (row->unit == ND_UNIT_S && strcmp(rest, "ms") == 0) {
        return why_not(why, "%s is finer than this can be: write whole seconds",
                       nd_show(shown, text));
    }
    return why_not(why, "'%s' is not a unit: use %s", nd_show(shown, rest), units);
}

static bool set_with_unit(const struct nd_row *row, void *field, const char *text,
                          char why[ND_WHY_SIZE])
{
    const struct suffix *s = suffixes_of(row->unit);
    const char *p = text;
    uint64_t v;

    if (!take_digits(&p, &v)) {
        return no_unit(row, text, text, why);
    }
    while (s->text != NULL && strcmp(s->text, p) != 0) {
        s++;
    }
    if (s->text == NULL) {
        return no_unit(row, text, p, why);
    }
    if (__builtin_mul_overflow(v, s->factor, &v) || v < row->min || v > row->max) {
        return out_of_range(row, text, why);
    }
    store_uint(field, row->size, v);
    return true;
}

static bool set_bool(void *field, const char *text, char why[ND_WHY_SIZE])
{
    char shown[64];
    bool on = strcmp(text, "true") == 0;

    if (!on && strcmp(text, "false") != 0) {
        return why_not(why, "'%s' is neither true nor false", nd_show(shown, text));
    }
    *(bool *)field = on;
    return true;
}

static bool set_text(const struct nd_row *row, void *field, const char *text,
                     char why[ND_WHY_SIZE])
{
    size_t n = strlen(text);
    /* What the table does not limit (entries of a list) the member does. */
    size_t max = row->type == ND_TEXTS ? row->size - 1 : row->max;
    const char *wrong = row->check != NULL && n > 0 ? row->check(text) : NULL;
    char shown[64];

    if (n == 0 && (row->min > 0 || row->type == ND_TEXTS)) {
        return why_not(why, "is empty");
    }
    if (n > max) {
        return why_not(why, "'%s' is %zu bytes long: at most %zu", nd_show(shown, text),
                       n, max);
    }
    if (wrong != NULL) {
        return why_not(why, "'%s' %s", nd_show(shown, text), wrong);
    }
    memset(field, 0, row->size);
    memcpy(field, text, n);
    return true;
}

static const char *nth_name(const void *data, unsigned i)
{
    const struct nd_row *row = data;

    return row->names[i];
}

static bool unknown_choice(const struct nd_row *row, const char *text,
                           char why[ND_WHY_SIZE])
{
    struct sy_buf all = {0};
    const char *near;
    char shown[64];
    unsigned n = 0;

    for (; row->names[n] != NULL; n++) {
        sy_buf_fmt(&all, "%s%s", n > 0 ? ", " : "", row->names[n]);
    }
    near = nd_nearest(text, nth_name, row, n);
    why_not(why, "'%s' is not known here%s%s%s known: %.*s", nd_show(shown, text),
            near != NULL ? ": did you mean '" : ";", near != NULL ? near : "",
            near != NULL ? "'?" : "", (int)all.len, (const char *)all.p);
    sy_buf_free(&all);
    return false;
}

static bool set_choice(const struct nd_row *row, void *field, const char *text,
                       char why[ND_WHY_SIZE])
{
    for (unsigned i = 0; row->names[i] != NULL; i++) {
        if (strcmp(row->names[i], text) == 0) {
            memset(field, 0, row->size);
            memcpy(field, text, strlen(text));
            return true;
        }
    }
    return unknown_choice(row, text, why);
}

/* Into the one way to write it, so that equal addresses are equal texts. */
static bool canonical(const char *text, char host[ND_HOST_SIZE])
{
    unsigned char raw[16];
    int family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;

    return strchr(text, '%') == NULL && uv_inet_pton(family, text, raw) == 0 &&
           uv_inet_ntop(family, raw, host, ND_HOST_SIZE) == 0;
}

static bool no_port(const char *text, char why[ND_WHY_SIZE])
{
    char shown[64];

    nd_show(shown, text);
    return why_not(why, "'%s' has no port: write it like 192.168.1.10:1883", shown);
}

bool nd_address_parse(const char *text, char host[ND_HOST_SIZE], uint16_t *ret_port,
                      char why[ND_WHY_SIZE])
{
    char name[256], found[ND_HOST_SIZE] = "", shown[64];
    const char *colon = strrchr(text, ':'), *digits;
    bool bracket = text[0] == '[';
    size_t n;
    uint64_t port;

    if (colon == NULL || (bracket && (colon == text || colon[-1] != ']'))) {
        return no_port(text, why);
    }
    digits = colon + 1;
    n = (size_t)(colon - text) - (bracket ? 2 : 0);
    if (n >= sizeof name) {
        return why_not(why, "'%s' is too long for an address", nd_show(shown, text));
    }
    memcpy(name, text + bracket, n);
    name[n] = '\0';
    if (!bracket && strchr(name, ':') != NULL) {
        return why_not(why, "'%s' lacks brackets: write IPv6 like \"[::1]:1883\"",
                       nd_show(shown, text));
    }
    if (!canonical(name, found)) {
        return why_not(why,
                       "'%s' is not a numeric address: a name would have to be resolved, "
                       "which can block the node; write it like 192.168.1.10:1883",
                       nd_show(shown, name));
    }
    if (!take_digits(&digits, &port) || *digits != '\0' || port < 1 || port > 65535) {
        return why_not(why, "'%s' is not a port: 1 to 65535", nd_show(shown, colon + 1));
    }
    memcpy(host, found, sizeof found);
    *ret_port = (uint16_t)port;
    return true;
}

bool nd_address_is_loopback(const char *host)
{
    return strcmp(host, "::1") == 0 || strncmp(host, "127.", 4) == 0 ||
           strncmp(host, "::ffff:127.", 11) == 0;
}

bool nd_value_set(const struct nd_row *row, void *field, const char *text, bool quoted,
                  char why[ND_WHY_SIZE])
{
    bool number = row->type == ND_UINT || row->type == ND_BOOL;
    char shown[64];

    if (quoted && number) {
        return why_not(why, "\"%s\" is text: leave the quotes out", nd_show(shown, text));
    }
    if (nd_holds_secret(text)) { /* And it is not repeated here. */
        return why_not(why,
                       "holds a password: a secret must not stand in this file; "
                       "name a file or a variable where it does");
    }
    switch (row->type) {
    case ND_TEXT:
    case ND_TEXTS:
        return set_text(row, field, text, why);
    case ND_CHOICE:
        return set_choice(row, field, text, why);
    case ND_ADDRESS:
    case ND_ADDRESSES:
        return nd_address_parse(text, field,
                                (uint16_t *)(void *)((char *)field + row->port_off), why);
    case ND_UINT:
        return set_uint(row, field, text, why);
    case ND_DURATION:
    case ND_SIZE:
        return set_with_unit(row, field, text, why);
    case ND_BOOL:
        return set_bool(field, text, why);
    case ND_MAP:
    case ND_MAPS:
    case ND_SECRET:
    case ND_TYPES_NR:
        break;
    }
    return why_not(why, "is not a single value");
}

static void get_address(const struct nd_row *row, const char *host, struct sy_buf *out)
{
    uint16_t port;

    memcpy(&port, host + row->port_off, sizeof port);
    if (port != 0) {
        sy_buf_fmt(out, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
    }
}

void nd_value_get(const struct nd_row *row, const void *field, struct sy_buf *out)
{
    switch (row->type) {
    case ND_TEXT:
    case ND_TEXTS:
    case ND_CHOICE:
        sy_buf_str(out, field);
        break;
    case ND_ADDRESS:
    case ND_ADDRESSES:
        get_address(row, field, out);
        break;
    case ND_UINT:
    case ND_DURATION:
    case ND_SIZE:
        nd_value_number(row, load_uint(field, row->size), out);
        break;
    case ND_BOOL:
        sy_buf_str(out, *(const bool *)field ? "true" : "false");
        break;
    case ND_MAP:
    case ND_MAPS:
    case ND_SECRET:
    case ND_TYPES_NR:
        break;
    }
}
