#include "adapters/bridge/tree.h"

#include <stdint.h>
#include <string.h>

static const char bom[] = "\xef\xbb\xbf";

static int refused(const yaml_parser_t *parser, struct sy_errbuf *eb)
{
    return sy_fail(eb, SY_EINVALID, "line %u: not YAML: %s",
                   (unsigned)parser->problem_mark.line + 1,
                   parser->problem != NULL ? parser->problem : "out of memory");
}

static bool open_parser(yaml_parser_t *parser, const char *text, size_t len)
{
    if (!yaml_parser_initialize(parser)) {
        return false;
    }
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, len);
    return true;
}

static bool is_start(const yaml_event_t *e)
{
    return e->type == YAML_MAPPING_START_EVENT || e->type == YAML_SEQUENCE_START_EVENT;
}

static bool is_end(const yaml_event_t *e)
{
    return e->type == YAML_MAPPING_END_EVENT || e->type == YAML_SEQUENCE_END_EVENT;
}

/* A first pass: libyaml's time grows with the square of depth and of anchors. */
static int check_bounds(const char *text, size_t len, struct sy_errbuf *eb)
{
    unsigned depth = 0, aliases = 0, documents = 0;
    yaml_parser_t parser;
    yaml_event_t e;
    int rv = 0;

    if (!open_parser(&parser, text, len)) {
        return sy_fail(eb, SY_EINVALID, "out of memory");
    }
    for (bool more = true; rv == 0 && more;) {
        if (!yaml_parser_parse(&parser, &e)) {
            rv = refused(&parser, eb);
            break;
        }
        depth = depth + is_start(&e) - is_end(&e);
        aliases += e.type == YAML_ALIAS_EVENT;
        documents += e.type == YAML_DOCUMENT_START_EVENT;
        more = e.type != YAML_STREAM_END_EVENT;
        if (depth > AD_BRIDGE_DEPTH_MAX || aliases > AD_BRIDGE_ANCHORS_MAX ||
            documents > 1) {
            rv = sy_fail(eb, SY_EINVALID, "line %u: no configuration of Zigbee2MQTT",
                         (unsigned)e.start_mark.line + 1);
        }
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
    return rv;
}

int ad_bridge_tree_read(struct ad_bridge_tree *t, const char *text, size_t len,
                        struct sy_errbuf *eb)
{
    yaml_parser_t parser;
    int rv;

    if (len >= strlen(bom) && memcmp(text, bom, strlen(bom)) == 0) {
        return sy_fail(eb, SY_EINVALID, "begins with a byte order mark: save it without");
    }
    rv = check_bounds(text, len, eb);
    if (rv != 0) {
        return rv;
    }
    t->text = text;
    t->len = len;
    if (!open_parser(&parser, text, len)) {
        return sy_fail(eb, SY_EINVALID, "out of memory");
    }
    if (!yaml_parser_load(&parser, &t->doc)) {
        rv = refused(&parser, eb);
    }
    yaml_parser_delete(&parser);
    if (rv == 0 && (ad_bridge_tree_root(t) == NULL ||
                    ad_bridge_tree_root(t)->type != YAML_MAPPING_NODE)) {
        ad_bridge_tree_free(t);
        rv = sy_fail(eb, SY_EINVALID, "has no sections: not Zigbee2MQTT's");
    }
    return rv;
}

void ad_bridge_tree_free(struct ad_bridge_tree *t)
{
    yaml_document_delete(&t->doc);
}

/* libyaml's getters want it writable and do not write. */
static yaml_document_t *doc_of(const struct ad_bridge_tree *t)
{
    return (yaml_document_t *)(uintptr_t)&t->doc;
}

yaml_node_t *ad_bridge_tree_root(const struct ad_bridge_tree *t)
{
    return yaml_document_get_root_node(doc_of(t));
}

const char *ad_bridge_tree_text(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE
               ? (const char *)node->data.scalar.value
               : NULL;
}

bool ad_bridge_tree_is_null(const yaml_node_t *node)
{
    const char *s = ad_bridge_tree_text(node);

    return s != NULL && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s[0] == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

yaml_node_t *ad_bridge_tree_get(const struct ad_bridge_tree *t, const yaml_node_t *map,
                                const char *key, size_t len, yaml_node_t **ret_key)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE) {
        return NULL;
    }
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start;
         p < map->data.mapping.pairs.top; p++) {
        yaml_node_t *k = yaml_document_get_node(doc_of(t), p->key);
        const char *s = ad_bridge_tree_text(k);

        if (s != NULL && strlen(s) == len && memcmp(s, key, len) == 0) {
            if (ret_key != NULL) {
                *ret_key = k;
            }
            return yaml_document_get_node(doc_of(t), p->value);
        }
    }
    return NULL;
}

yaml_node_t *ad_bridge_tree_find(const struct ad_bridge_tree *t, const char *path)
{
    yaml_node_t *node = ad_bridge_tree_root(t);

    while (node != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");

        node = ad_bridge_tree_get(t, node, path, n, NULL);
        path += n + (path[n] == '.');
    }
    return node;
}

size_t ad_bridge_tree_offset(const struct ad_bridge_tree *t, const yaml_mark_t *mark)
{
    size_t at = 0;

    for (size_t i = 0; i < mark->index && at < t->len; i++) {
        do {
            at++;
        } while (at < t->len && ((unsigned char)t->text[at] & 0xc0) == 0x80);
    }
    return at;
}

/* --- what an edit has changed --- */

struct both
{
    const struct ad_bridge_tree *a, *b;
    const char *path;
    unsigned depth; /* An alias may lead to what it stands in. */
};

static struct both below(const struct both *w, const char *path)
{
    return (struct both){w->a, w->b, path, w->depth + 1};
}

static bool same(const struct both *w, const yaml_node_t *x, const yaml_node_t *y);

static bool same_list(const struct both *w, const yaml_node_t *x, const yaml_node_t *y)
{
    struct both next = below(w, NULL);
    size_t n = (size_t)(x->data.sequence.items.top - x->data.sequence.items.start);

    if (n != (size_t)(y->data.sequence.items.top - y->data.sequence.items.start)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!same(
                &next,
                yaml_document_get_node(doc_of(w->a), x->data.sequence.items.start[i]),
                yaml_document_get_node(doc_of(w->b), y->data.sequence.items.start[i]))) {
            return false;
        }
    }
    return true;
}

/* Each key of @x is in @y with the same value, except what @w->path leads to. */
static bool same_pairs(const struct both *w, const yaml_node_t *x, const yaml_node_t *y)
{
    size_t head = w->path != NULL ? strcspn(w->path, ".") : 0;

    for (const yaml_node_pair_t *p = x->data.mapping.pairs.start;
         p < x->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(doc_of(w->a), p->key);
        const char *s = ad_bridge_tree_text(k);
        struct both next = below(w, NULL);
        const yaml_node_t *v;

        if (s == NULL) {
            return false; /* A key that is no text: not ours to judge. */
        }
        if (w->path != NULL && strlen(s) == head && memcmp(s, w->path, head) == 0) {
            if (w->path[head] == '\0') {
                continue;
            }
            next.path = w->path + head + 1;
        }
        v = ad_bridge_tree_get(w->b, y, s, strlen(s), NULL);
        if (next.path != NULL &&
            (v == NULL ||
             ad_bridge_tree_is_null(yaml_document_get_node(doc_of(w->a), p->value)))) {
            continue; /* A section that begins or ends with this key. */
        }
        if (v == NULL ||
            !same(&next, yaml_document_get_node(doc_of(w->a), p->value), v)) {
            return false;
        }
    }
    return true;
}

static bool same(const struct both *w, const yaml_node_t *x, const yaml_node_t *y)
{
    if (w->depth > AD_BRIDGE_DEPTH_MAX) {
        return false;
    }
    if (x->type != y->type) {
        /* An empty section gets its first key. */
        return w->path != NULL &&
               (ad_bridge_tree_is_null(x) || ad_bridge_tree_is_null(y));
    }
    switch (x->type) {
    case YAML_SCALAR_NODE:
        return x->data.scalar.length == y->data.scalar.length &&
               memcmp(x->data.scalar.value, y->data.scalar.value,
                      x->data.scalar.length) == 0;
    case YAML_SEQUENCE_NODE:
        return same_list(w, x, y);
    case YAML_MAPPING_NODE:
        return same_pairs(w, x, y) &&
               same_pairs(&(struct both){w->b, w->a, w->path, w->depth}, y, x);
    case YAML_NO_NODE:
    default:
        return false;
    }
}

bool ad_bridge_tree_same_but(const struct ad_bridge_tree *a,
                             const struct ad_bridge_tree *b, const char *path)
{
    return same(&(struct both){a, b, path, 0}, ad_bridge_tree_root(a),
                ad_bridge_tree_root(b));
}
