/* Three ways to set a value: in place of the old one; as a new line at the head of its
 * section; as a new section at the end of the file. */

#include "adapters/bridge/mend.h"

#include <stdint.h>
#include <string.h>

#include "adapters/bridge/tree.h"

struct edit
{
    const struct ad_bridge_tree *t;
    const char *rest; /* of the path, from the first key that is not there */
    const char *value;
    struct sy_buf *out;
};

static void put_text(struct edit *e, size_t from, size_t to)
{
    sy_buf_put(e->out, e->t->text + from, to - from);
}

/* Quoted unless it is a plain word or number. */
static void put_value(struct edit *e)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        "0123456789_./:-";
    size_t n = strspn(e->value, plain);
    bool quote = e->value[0] == '\0' || strchr("-.:", e->value[0]) != NULL ||
                 e->value[n] != '\0' || e->value[n - 1] == ':';

    if (!quote) {
        sy_buf_str(e->out, e->value);
        return;
    }
    sy_buf_u8(e->out, '\'');
    for (const char *s = e->value; *s != '\0'; s++) {
        sy_buf_put(e->out, *s == '\'' ? "''" : s, *s == '\'' ? 2 : 1);
    }
    sy_buf_u8(e->out, '\'');
}

static void put_blanks(struct edit *e, size_t n)
{
    while (n-- > 0) {
        sy_buf_u8(e->out, ' ');
    }
}

/* "a.b" as "a:\n  b: value\n", @indent deep. */
static void put_lines(struct edit *e, size_t indent)
{
    const char *key = e->rest;

    for (size_t n; n = strcspn(key, "."), key[n] == '.'; key += n + 1) {
        put_blanks(e, indent);
        sy_buf_put(e->out, key, n);
        sy_buf_str(e->out, ":\n");
        indent += 2;
    }
    put_blanks(e, indent);
    sy_buf_fmt(e->out, "%s: ", key);
    put_value(e);
    sy_buf_u8(e->out, '\n');
}

/* "a.b" as "a: {b: value}". */
static void put_flow(struct edit *e)
{
    const char *key = e->rest;
    unsigned open = 0;

    for (size_t n; n = strcspn(key, "."), key[n] == '.'; key += n + 1) {
        sy_buf_put(e->out, key, n);
        sy_buf_str(e->out, ": {");
        open++;
    }
    sy_buf_fmt(e->out, "%s: ", key);
    put_value(e);
    while (open-- > 0) {
        sy_buf_u8(e->out, '}');
    }
}

static size_t line_start(const struct edit *e, size_t at)
{
    while (at > 0 && e->t->text[at - 1] != '\n') {
        at--;
    }
    return at;
}

static size_t next_line(const struct edit *e, size_t at)
{
    const char *end = memchr(e->t->text + at, '\n', e->t->len - at);

    return end != NULL ? (size_t)(end - e->t->text) + 1 : e->t->len;
}

static void end_line(struct edit *e)
{
    if (e->out->len > 0 && e->out->p[e->out->len - 1] != '\n') {
        sy_buf_u8(e->out, '\n');
    }
}

static void replace(struct edit *e, const yaml_node_t *node)
{
    size_t from = ad_bridge_tree_offset(e->t, &node->start_mark);
    size_t to = ad_bridge_tree_offset(e->t, &node->end_mark);

    put_text(e, 0, from);
    if (from > 0 && e->t->text[from - 1] == ':') {
        sy_buf_u8(e->out, ' '); /* It was empty. */
    }
    put_value(e);
    put_text(e, to, e->t->len);
}

static void add_at(struct edit *e, size_t at, size_t indent)
{
    put_text(e, 0, at);
    end_line(e);
    put_lines(e, indent);
    put_text(e, at, e->t->len);
}

static void add_to_flow(struct edit *e, const yaml_node_t *map)
{
    size_t at = ad_bridge_tree_offset(e->t, &map->start_mark) + 1; /* behind '{' */

    put_text(e, 0, at);
    put_flow(e);
    if (map->data.mapping.pairs.start < map->data.mapping.pairs.top) {
        sy_buf_str(e->out, ", ");
    }
    put_text(e, at, e->t->len);
}

/* @map exists, and does not have the next key. */
static void add_to_section(struct edit *e, const yaml_node_t *map)
{
    const yaml_node_t *first;

    if (map->data.mapping.style == YAML_FLOW_MAPPING_STYLE) {
        add_to_flow(e, map);
        return;
    }
    if (map == ad_bridge_tree_root(e->t)) {
        add_at(e, e->t->len, 0);
        return;
    }
    first = yaml_document_get_node((yaml_document_t *)(uintptr_t)&e->t->doc,
                                   map->data.mapping.pairs.start->key);
    add_at(e, line_start(e, ad_bridge_tree_offset(e->t, &first->start_mark)),
           first->start_mark.column);
}

/* "mqtt:" and nothing: its first line comes behind the line of the key. */
static void begin_section(struct edit *e, const yaml_node_t *key)
{
    add_at(e, next_line(e, ad_bridge_tree_offset(e->t, &key->end_mark)),
           key->start_mark.column + 2);
}

/* Walks down as far as there is something. False: not to be done by lines. */
static bool edit(struct edit *e)
{
    const yaml_node_t *map = ad_bridge_tree_root(e->t);

    for (;;) {
        size_t n = strcspn(e->rest, ".");
        yaml_node_t *key = NULL;
        yaml_node_t *node = ad_bridge_tree_get(e->t, map, e->rest, n, &key);

        if (node == NULL) {
            add_to_section(e, map);
            return true;
        }
        if (e->rest[n] == '\0') {
            replace(e, node);
            return node->type == YAML_SCALAR_NODE;
        }
        e->rest += n + 1;
        if (ad_bridge_tree_is_null(node)) {
            begin_section(e, key);
            return true;
        }
        if (node->type != YAML_MAPPING_NODE) {
            return false;
        }
        map = node;
    }
}

static bool is_what_was_wanted(const struct ad_bridge_tree *before, const struct edit *e,
                               const char *path)
{
    struct ad_bridge_tree after;
    const char *now;
    bool good;

    if (ad_bridge_tree_read(&after, (const char *)e->out->p, e->out->len, NULL) != 0) {
        return false;
    }
    now = ad_bridge_tree_text(ad_bridge_tree_find(&after, path));
    good = now != NULL && strcmp(now, e->value) == 0 &&
           ad_bridge_tree_same_but(before, &after, path);
    ad_bridge_tree_free(&after);
    return good;
}

int ad_bridge_mend(const char *text, size_t len, const char *path, const char *value,
                   struct sy_buf *out, struct sy_errbuf *eb)
{
    struct ad_bridge_tree t;
    struct edit e = {.t = &t, .rest = path, .value = value, .out = out};
    int rv = ad_bridge_tree_read(&t, text, len, eb);

    if (rv != 0) {
        return rv;
    }
    if (!edit(&e) || !is_what_was_wanted(&t, &e, path)) {
        sy_buf_free(out);
        rv = sy_fail(eb, SY_EINVALID,
                     "%s cannot be set without changing more than that: set it by hand "
                     "to %s",
                     path, value);
    }
    ad_bridge_tree_free(&t);
    return rv;
}
