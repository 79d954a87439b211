#include <string.h>

#include <jansson.h>
#include <yaml.h>

#include "adapters/files/files.h"

/* jansson takes 20 to 45 times the size of what is small values, and the largest file of
 * a set has 64 MiB. */
enum { TREE_MAX = 1024 * 1024 };

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Of what is large only that it has its end: written from its beginning to there it lacks
 * that when it is half written. */
static bool has_end(const char *p, size_t n)
{
    while (n > 0 && memchr(" \t\r\n", p[n - 1], 4) != NULL) {
        n--;
    }
    return n > 0 && (p[n - 1] == '}' || p[n - 1] == ']');
}

static int check_json(const char *path, const char *p, size_t n, unsigned line,
                      struct sy_errbuf *eb)
{
    json_error_t e;
    json_t *j;

    if (n > TREE_MAX) {
        return has_end(p, n) ? 0
                             : sy_fail(eb, SY_EBUSY,
                                       "%s is half written at line %u: it "
                                       "does not end with } or ]",
                                       path, line);
    }
    j = json_loadb(p, n, JSON_DECODE_ANY, &e);
    if (j == NULL) {
        return sy_fail(eb, SY_EBUSY, "%s is half written or damaged at line %u: %s", path,
                       line + (unsigned)(e.line > 0 ? e.line - 1 : 0), e.text);
    }
    json_decref(j);
    return 0;
}

/* Zigbee2MQTT's database.db: a device each line; the last has no line end. */
static int check_lines(const char *path, const char *p, size_t n, struct sy_errbuf *eb)
{
    unsigned line = 1;

    if (n == 0) {
        return sy_fail(eb, SY_EBUSY, "%s is empty", path);
    }
    for (size_t at = 0; at < n; line++) {
        const char *end = memchr(p + at, '\n', n - at);
        size_t len = end != NULL ? (size_t)(end - (p + at)) : n - at;
        int rv = len > 0 ? check_json(path, p + at, len, line, eb) : 0;

        if (rv != 0) {
            return rv;
        }
        at += len + 1;
    }
    return 0;
}

static int check_yaml(const char *path, const void *p, size_t n, struct sy_errbuf *eb)
{
    yaml_parser_t parser;
    yaml_event_t event;
    bool end = false;
    int rv = 0;

    if (n == 0) {
        return sy_fail(eb, SY_EBUSY, "%s is empty", path);
    }
    if (yaml_parser_initialize(&parser) == 0) {
        return sy_fail(eb, -12, "%s: no memory to read it", path);
    }
    yaml_parser_set_input_string(&parser, p, n);
    while (rv == 0 && !end) {
        if (yaml_parser_parse(&parser, &event) == 0) {
            rv = sy_fail(eb, SY_EBUSY, "%s is half written or damaged at line %zu: %s",
                         path, parser.problem_mark.line + 1,
                         parser.problem != NULL ? parser.problem : "no YAML");
        } else {
            end = event.type == YAML_STREAM_END_EVENT;
            yaml_event_delete(&event);
        }
    }
    yaml_parser_delete(&parser);
    return rv;
}

int ad_files_check(const char *path, const void *p, size_t n, struct sy_errbuf *eb)
{
    if (strcmp(path, "database.db") == 0) {
        return check_lines(path, p, n, eb);
    }
    if (ends_with(path, ".json")) {
        return check_json(path, p, n, 1, eb);
    }
    if (ends_with(path, ".yaml") || ends_with(path, ".yml")) {
        return check_yaml(path, p, n, eb);
    }
    return 0;
}
