#include "adapters/z2m/scan.h"

#include <jansson.h>
#include <string.h>

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
        p++;
    }
    return p;
}

/* @p is behind the opening quote. Behind the closing one, or NULL. */
static const char *skip_string(const char *p, const char *end)
{
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        const char *back;

        if (quote == NULL) {
            return NULL;
        }
        for (back = quote; back > p && back[-1] == '\\'; back--) {
        }
        if ((quote - back) % 2 == 0) {
            return quote + 1;
        }
        p = quote + 1; /* An escaped quote. */
    }
    return NULL;
}

static const char *skip_nested(const char *p, const char *end)
{
    size_t depth = 0;

    while (p != NULL && p < end) {
        switch (*p++) {
        case '"':
            p = skip_string(p, end);
            break;
        case '[':
        case '{':
            depth++;
            break;
        case ']':
        case '}':
            if (--depth == 0) {
                return p;
            }
            break;
        default:
            break;
        }
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end)
{
    const char *start = p;

    if (p == end) {
        return NULL;
    }
    if (*p == '"') {
        return skip_string(p + 1, end);
    }
    if (*p == '[' || *p == '{') {
        return skip_nested(p, end);
    }
    while (p < end && strchr(",]} \t\r\n", *p) == NULL) {
        p++; /* A number or a word. strchr() finds a zero byte, too: it ends here. */
    }
    return p > start ? p : NULL;
}

void ad_z2m_scan_begin(struct ad_z2m_scan *s, struct ad_z2m_text text, char open)
{
    const char *end = text.p + text.n;
    const char *p = skip_blank(text.p, end);

    *s = (struct ad_z2m_scan){.p = p, .end = end, .object = open == '{'};
    if (p == end || *p != open) {
        s->bad = true;
    } else {
        s->p = p + 1;
    }
}

static bool fail(struct ad_z2m_scan *s)
{
    s->bad = true;
    return false;
}

static bool ended(struct ad_z2m_scan *s)
{
    if (s->p < s->end && *s->p == (s->object ? '}' : ']')) {
        s->p++;
        s->done = true;
    }
    return s->done;
}

bool ad_z2m_scan_next(struct ad_z2m_scan *s, struct ad_z2m_text *key,
                      struct ad_z2m_text *value)
{
    const char *p;

    if (s->bad || s->done) {
        return false;
    }
    s->p = skip_blank(s->p, s->end);
    if (ended(s)) {
        return false;
    }
    if (s->begun) {
        if (s->p == s->end || *s->p != ',') {
            return fail(s);
        }
        s->p = skip_blank(s->p + 1, s->end);
    }
    s->begun = true;
    if (s->object) {
        p = s->p < s->end && *s->p == '"' ? skip_string(s->p + 1, s->end) : NULL;
        if (p == NULL) {
            return fail(s);
        }
        *key = (struct ad_z2m_text){s->p + 1, (size_t)(p - s->p) - 2};
        s->p = skip_blank(p, s->end);
        if (s->p == s->end || *s->p != ':') {
            return fail(s);
        }
        s->p = skip_blank(s->p + 1, s->end);
    }
    p = skip_value(s->p, s->end);
    if (p == NULL) {
        return fail(s);
    }
    *value = (struct ad_z2m_text){s->p, (size_t)(p - s->p)};
    s->p = p;
    return true;
}

bool ad_z2m_scan_is(struct ad_z2m_text key, const char *name)
{
    return key.n == strlen(name) && memcmp(key.p, name, key.n) == 0;
}

int ad_z2m_scan_string(struct ad_z2m_text value, char *to, size_t size)
{
    json_t *json = json_loadb(value.p, value.n, JSON_DECODE_ANY, NULL);
    int rv = 0;

    to[0] = '\0';
    if (!json_is_string(json)) {
        rv = SY_EINVALID;
    } else if (json_string_length(json) >= size) {
        rv = SY_ELIMIT;
    } else {
        memcpy(to, json_string_value(json), json_string_length(json) + 1);
    }
    json_decref(json);
    return rv;
}
