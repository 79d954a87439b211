/* The shape of the file: YAML into struct nd_raw, row by row of the table.
 *
 * libyaml's document API keeps the place of every node, which its events would
 * make us carry about and libcyaml tells only for its own errors (docs/adr/0004).
 * Aliases point to the node of their anchor; nothing is expanded, and the walk is
 * as deep as the table, so neither a bomb of aliases nor a circle does harm. */

#include <stdarg.h>
#include <string.h>
#include <yaml.h>

#include "node/config_schema.h"

/* Counted before anything is built. */
struct bounds
{
    int depth, anchors, documents;
};

struct walk
{
    yaml_document_t doc;
    struct nd_problems *ps;
};

static unsigned line_of(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static unsigned column_of(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.column + 1;
}

static void SY_PRINTF(4, 5)
    wrong(struct walk *w, const yaml_node_t *node, const char *path, const char *fmt, ...)
{
    char what[ND_PROBLEM_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    nd_problem_at(w->ps, line_of(node), column_of(node), path, "%s", what);
}

static const char *kind_of(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return "a single value";
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_MAPPING_NODE:
        return "a section with keys";
    case YAML_NO_NODE:
        break;
    }
    return "nothing";
}

static bool is_quoted(const yaml_node_t *node)
{
    return node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
}

static bool is_null(const yaml_node_t *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

    if (node->type != YAML_SCALAR_NODE || is_quoted(node)) {
        return false;
    }
    for (unsigned i = 0; i < sizeof nulls / sizeof nulls[0]; i++) {
        if (strcmp((const char *)node->data.scalar.value, nulls[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Is it of type @type, and if not, say so. */
static bool expect(struct walk *w, const yaml_node_t *node, yaml_node_type_t type,
                   const char *path, const char *wanted)
{
    if (is_null(node)) {
        wrong(w, node, path, "has no value: give it %s or leave it out", wanted);
        return false;
    }
    if (node->type != type) {
        wrong(w, node, path, "is %s, must be %s", kind_of(node), wanted);
        return false;
    }
    return true;
}

/* Whatever YAML does not take for a character within a line, when it is not escaped:
 * what is printed must load again. */
static bool is_control(const unsigned char *s)
{
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0) ||
           (s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9)) ||
           (s[0] == 0xef && s[1] == 0xbb && s[2] == 0xbf) ||
           (s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe);
}

/* The text of a scalar; NULL when it is none or holds what no option may. */
static const char *text_of(struct walk *w, const yaml_node_t *node, const char *path,
                           const char *wanted)
{
    const unsigned char *s;

    if (!expect(w, node, YAML_SCALAR_NODE, path, wanted)) {
        return NULL;
    }
    s = node->data.scalar.value;
    for (size_t i = 0; i < node->data.scalar.length; i++) {
        if (is_control(&s[i])) {
            wrong(w, node, path,
                  "holds a control character: it must be one line of text");
            return NULL;
        }
    }
    return (const char *)s;
}

static const char *wanted_by(const struct nd_row *row)
{
    switch (row->type) {
    case ND_MAP:
        return "a section with keys";
    case ND_MAPS:
        return "a list of sections, each begun with '-'";
    case ND_TEXTS:
        return "a list of texts";
    case ND_ADDRESSES:
        return "a list like [\"192.168.1.10:1883\"]";
    case ND_ADDRESS:
        return "an address in quotes, like \"192.168.1.10:1883\"";
    case ND_UINT:
        return "a whole number";
    case ND_DURATION:
        return "a duration like 10s";
    case ND_SIZE:
        return "a size like 8MiB";
    case ND_BOOL:
        return "true or false";
    case ND_TEXT:
    case ND_CHOICE:
    case ND_SECRET:
    case ND_TYPES_NR:
        break;
    }
    return "text";
}

static void walk_scalar(struct walk *w, yaml_node_t *node, const struct nd_row *row,
                        const char *path, void *field)
{
    const char *text = text_of(w, node, path, wanted_by(row));
    char why[ND_WHY_SIZE];

    if (text != NULL && !nd_value_set(row, field, text, is_quoted(node), why)) {
        wrong(w, node, path, "%s", why);
    }
}

static bool secret_kind(const char *key, struct nd_config_secret *s)
{
    if (strcmp(key, "env") == 0) {
        s->from = ND_SECRET_ENV;
    } else if (strcmp(key, "file") == 0) {
        s->from = ND_SECRET_FILE;
    } else if (strcmp(key, "credential") == 0) {
        s->from = ND_SECRET_CREDENTIAL;
    } else {
        return false;
    }
    return true;
}

static const char *secret_name_wrong(const struct nd_config_secret *s)
{
    static const char word[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

    if (s->name[0] == '\0') {
        return "is empty";
    }
    if (s->from == ND_SECRET_ENV && s->name[strspn(s->name, word)] != '\0') {
        return "is not the name of an environment variable: letters, digits and '_'";
    }
    if (s->from == ND_SECRET_FILE && s->name[0] != '/') {
        return "is not an absolute path: begin it with '/'";
    }
    if (s->from == ND_SECRET_CREDENTIAL &&
        (strchr(s->name, '/') != NULL || s->name[0] == '.')) {
        return "is not the name of a credential: no '/' in it, no '.' in front";
    }
    return NULL;
}

/* What stands here may be a secret: no message repeats it. */
static void walk_secret(struct walk *w, yaml_node_t *node, const char *path,
                        struct nd_config_secret *ret)
{
    static const char mend[] = "{env: NAME}, {file: /PATH} or {credential: NAME}";
    struct nd_config_secret s = {.from = ND_SECRET_NONE};
    yaml_node_pair_t *pair;
    const yaml_node_t *key, *value;
    const char *name, *bad;

    if (node->type == YAML_SCALAR_NODE && !is_null(node)) {
        wrong(w, node, path, "a secret must not stand in this file: write %s", mend);
        return;
    }
    if (!expect(w, node, YAML_MAPPING_NODE, path, mend)) {
        return;
    }
    pair = node->data.mapping.pairs.start;
    if (node->data.mapping.pairs.top - pair != 1) {
        wrong(w, node, path, "must have exactly one key: %s", mend);
        return;
    }
    key = yaml_document_get_node(&w->doc, pair->key);
    value = yaml_document_get_node(&w->doc, pair->value);
    if (key->type != YAML_SCALAR_NODE ||
        !secret_kind((const char *)key->data.scalar.value, &s)) {
        wrong(w, key, path, "must be %s", mend);
        return;
    }
    name = text_of(w, value, path, mend);
    if (name == NULL) {
        return;
    }
    if (strlen(name) >= sizeof s.name) {
        wrong(w, value, path, "is %zu bytes long: at most %zu", strlen(name),
              sizeof s.name - 1);
        return;
    }
    memcpy(s.name, name, strlen(name) + 1);
    bad = secret_name_wrong(&s);
    if (bad != NULL) {
        wrong(w, value, path, "%s", bad);
        return;
    }
    *ret = s;
}

static void walk_map(struct walk *w, yaml_node_t *node, const char *section,
                     const char *path, void *base);

static void walk_list(struct walk *w, yaml_node_t *node, const struct nd_row *row,
                      const char *path, char *base)
{
    yaml_node_item_t *items;
    size_t n;
    char item_path[ND_SHOWN_SIZE], section[ND_SHOWN_SIZE];

    if (!expect(w, node, YAML_SEQUENCE_NODE, path, wanted_by(row))) {
        return;
    }
    items = node->data.sequence.items.start;
    n = (size_t)(node->data.sequence.items.top - items);
    if (n < row->min || n > row->max) {
        wrong(w, node, path, "has %zu entries, must have %u to %u", n, (unsigned)row->min,
              (unsigned)row->max);
        return;
    }
    *(unsigned *)(void *)(base + row->n_off) = (unsigned)n;
    snprintf(section, sizeof section, "%s[]", row->path);
    for (unsigned i = 0; i < n && !nd_problems_full(w->ps); i++) {
        yaml_node_t *item = yaml_document_get_node(&w->doc, items[i]);
        char *field = base + row->off + i * row->size;

        snprintf(item_path, sizeof item_path, "%s[%u]", path, i);
        nd_mark_add(w->ps, item_path, line_of(item), column_of(item));
        memset(field, 0, row->size);
        if (row->type != ND_MAPS) {
            walk_scalar(w, item, row, item_path, field);
            continue;
        }
        if (row->init != NULL) {
            row->init(field);
        }
        walk_map(w, item, section, item_path, field);
    }
}

static void walk_value(struct walk *w, yaml_node_t *node, const struct nd_row *row,
                       const char *path, char *base)
{
    switch (row->type) {
    case ND_MAP:
        *(bool *)(base + row->n_off) = true;
        walk_map(w, node, row->path, path, base);
        break;
    case ND_MAPS:
    case ND_TEXTS:
    case ND_ADDRESSES:
        walk_list(w, node, row, path, base);
        break;
    case ND_SECRET:
        walk_secret(w, node, path, (struct nd_config_secret *)(void *)(base + row->off));
        break;
    case ND_TEXT:
    case ND_CHOICE:
    case ND_ADDRESS:
    case ND_UINT:
    case ND_DURATION:
    case ND_SIZE:
    case ND_BOOL:
    case ND_TYPES_NR:
        walk_scalar(w, node, row, path, base + row->off);
        break;
    }
}

static const char *key_in_section(const void *data, unsigned i)
{
    return nd_row_in(&nd_rows[i], data) ? nd_row_key(&nd_rows[i]) : NULL;
}

/* The row of that key anywhere in the file: it may be right, but in the wrong place. */
static const struct nd_row *row_elsewhere(const char *key)
{
    for (unsigned i = 0; i < nd_rows_n; i++) {
        if (strcmp(nd_row_key(&nd_rows[i]), key) == 0) {
            return &nd_rows[i];
        }
    }
    return NULL;
}

static void unknown_key(struct walk *w, const yaml_node_t *node, const char *section,
                        const char *path, const char *key)
{
    const char *near = nd_nearest(key, key_in_section, section, nd_rows_n);
    const struct nd_row *row = row_elsewhere(key);
    struct sy_buf known = {0};

    if (near != NULL || row != NULL) {
        wrong(w, node, path, "unknown key: did you mean '%s'?",
              near != NULL ? near : row->path);
        return;
    }
    for (unsigned i = 0; i < nd_rows_n; i++) {
        if (nd_row_in(&nd_rows[i], section)) {
            sy_buf_fmt(&known, "%s%s", known.len > 0 ? ", " : "",
                       nd_row_key(&nd_rows[i]));
        }
    }
    wrong(w, node, path, "unknown key; known here: %.*s", (int)known.len,
          (const char *)known.p);
    sy_buf_free(&known);
}

static void walk_pair(struct walk *w, const yaml_node_pair_t *pair, const char *section,
                      const char *path, void *base)
{
    yaml_node_t *key = yaml_document_get_node(&w->doc, pair->key);
    yaml_node_t *value = yaml_document_get_node(&w->doc, pair->value);
    char child[ND_SHOWN_SIZE], shown[64];
    const struct nd_mark *mark;
    const struct nd_row *row;
    const char *name = text_of(w, key, path, "a key");

    if (name == NULL) {
        return;
    }
    snprintf(child, sizeof child, "%s%s%s", path, path[0] != '\0' ? "." : "",
             nd_show(shown, name));
    row = nd_row_find(section, name, strlen(name));
    if (row == NULL) {
        unknown_key(w, key, section, child, name);
        return;
    }
    mark = nd_mark_find(w->ps, child);
    if (mark != NULL) {
        wrong(w, key, child, "stands here twice: the first is in line %u", mark->line);
        return;
    }
    nd_mark_add(w->ps, child, line_of(value), column_of(value));
    walk_value(w, value, row, child, base);
}

/* Of the first sentence of @s, without its full stop. */
static int sentence_len(const char *s)
{
    const char *end = strstr(s, ". ");

    return (int)(end != NULL ? (size_t)(end - s) : strlen(s) - 1);
}

static void walk_map(struct walk *w, yaml_node_t *node, const char *section,
                     const char *path, void *base)
{
    const yaml_node_pair_t *pair;
    char child[ND_SHOWN_SIZE];

    if (!expect(w, node, YAML_MAPPING_NODE, path, "a section with keys")) {
        return;
    }
    for (pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && !nd_problems_full(w->ps); pair++) {
        walk_pair(w, pair, section, path, base);
    }
    for (unsigned i = 0; i < nd_rows_n; i++) {
        const struct nd_row *row = &nd_rows[i];

        snprintf(child, sizeof child, "%s%s%s", path, path[0] != '\0' ? "." : "",
                 nd_row_key(row));
        if (row->required && nd_row_in(row, section) &&
            nd_mark_find(w->ps, child) == NULL) {
            wrong(w, node, child, "is missing: %.*s", sentence_len(row->prose),
                  row->prose);
        }
    }
}

/* The bytes first: libyaml names no place for a bad one, and would take UTF-16. */
static bool check_bytes(struct nd_problems *ps, const char *text, size_t len)
{
    unsigned line = 1, column = 1;
    bool indent = true;

    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)text[i];

        if (ch == '\t' && indent) {
            nd_problem_at(ps, line, column, "",
                          "a tab in the indentation: YAML wants blanks");
            return false;
        }
        if ((ch < 0x20 && ch != '\t' && ch != '\n' && ch != '\r') || ch == 0x7f) {
            nd_problem_at(ps, line, column, "",
                          "control character 0x%02x: this is not a text file", ch);
            return false;
        }
        indent = ch == '\n' || (indent && ch == ' ');
        column = ch == '\n' ? 1 : column + ((ch & 0xc0) != 0x80);
        line += ch == '\n';
    }
    return true;
}

static size_t utf8_length(const unsigned char *p, size_t n)
{
    uint32_t v;
    size_t len = p[0] < 0x80   ? 1
                 : p[0] < 0xc2 ? 0
                 : p[0] < 0xe0 ? 2
                 : p[0] < 0xf0 ? 3
                               : 4;

    if (len == 0 || len > n || p[0] > 0xf4) {
        return 0;
    }
    v = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        v = v << 6 | (p[i] & 0x3fu);
    }
    /* Overlong, surrogates, beyond Unicode. */
    if ((len == 3 && (v < 0x800 || (v >= 0xd800 && v < 0xe000))) ||
        (len == 4 && (v < 0x10000 || v > 0x10ffff))) {
        return 0;
    }
    return len;
}

static bool check_utf8(struct nd_problems *ps, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned line = 1, column = 1;

    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length(p + i, len - i);
        if (n == 0) {
            nd_problem_at(ps, line, column, "",
                          "byte 0x%02x is not UTF-8: save the file as UTF-8", p[i]);
            return false;
        }
        column = p[i] == '\n' ? 1 : column + 1;
        line += p[i] == '\n';
    }
    return true;
}

static bool check_tags(struct walk *w)
{
    static const char *const tags[] = {[YAML_SCALAR_NODE] = YAML_DEFAULT_SCALAR_TAG,
                                       [YAML_SEQUENCE_NODE] = YAML_DEFAULT_SEQUENCE_TAG,
                                       [YAML_MAPPING_NODE] = YAML_DEFAULT_MAPPING_TAG};
    size_t n = (size_t)(w->doc.nodes.top - w->doc.nodes.start);

    for (size_t i = 1; i <= n; i++) {
        yaml_node_t *node = yaml_document_get_node(&w->doc, (int)i);

        if (strcmp((const char *)node->tag, tags[node->type]) != 0) {
            wrong(w, node, "", "tags (words with '!') mean nothing here: leave it out");
            return false;
        }
    }
    return true;
}

static void syntax_error(struct nd_problems *ps, const yaml_parser_t *parser)
{
    unsigned line = (unsigned)parser->problem_mark.line + 1;
    unsigned column = (unsigned)parser->problem_mark.column + 1;
    const char *what = parser->problem != NULL ? parser->problem : "out of memory";

    if (parser->context != NULL) {
        nd_problem_at(ps, line, column, "", "not YAML: %s %s that begins in line %u",
                      what, parser->context, (unsigned)parser->context_mark.line + 1);
    } else {
        nd_problem_at(ps, line, column, "", "not YAML: %s", what);
    }
}

static bool open_parser(yaml_parser_t *parser, struct nd_problems *ps, const char *text,
                        size_t len)
{
    if (!yaml_parser_initialize(parser)) {
        nd_problem_at(ps, 0, 0, "", "out of memory");
        return false;
    }
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, len);
    return true;
}

static void wrong_event(struct nd_problems *ps, const yaml_event_t *event,
                        const char *what)
{
    nd_problem_at(ps, (unsigned)event->start_mark.line + 1,
                  (unsigned)event->start_mark.column + 1, "", "%s", what);
}

static bool is_anchored(const yaml_event_t *event)
{
    return (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor != NULL) ||
           (event->type == YAML_SEQUENCE_START_EVENT &&
            event->data.sequence_start.anchor != NULL) ||
           (event->type == YAML_MAPPING_START_EVENT &&
            event->data.mapping_start.anchor != NULL);
}

/* One event; false: enough. */
static bool check_event(struct nd_problems *ps, const yaml_event_t *event,
                        struct bounds *b)
{
    bool start = event->type == YAML_SEQUENCE_START_EVENT ||
                 event->type == YAML_MAPPING_START_EVENT;
    bool end =
        event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT;

    b->depth = b->depth + start - end;
    b->anchors += is_anchored(event);
    b->documents += event->type == YAML_DOCUMENT_START_EVENT;
    if (b->depth > ND_DEPTH_MAX) {
        wrong_event(ps, event, "is nested deeper than 16 levels");
    } else if (b->anchors > ND_ANCHORS_MAX) {
        wrong_event(ps, event, "has more than 64 anchors");
    } else if (b->documents > 1) {
        wrong_event(ps, event, "a second document begins: one file, one configuration");
    } else {
        return event->type != YAML_STREAM_END_EVENT;
    }
    return false;
}

/* A first pass, before libyaml builds anything: its time grows with the square of
 * the depth (100,000 brackets cost 20 s) and of the number of anchors. */
static bool check_bounds(struct nd_problems *ps, const char *text, size_t len)
{
    struct bounds b = {.depth = 0};
    unsigned before = ps->n;
    yaml_parser_t parser;
    yaml_event_t event;
    bool more = true;

    if (!open_parser(&parser, ps, text, len)) {
        return false;
    }
    while (more) {
        if (!yaml_parser_parse(&parser, &event)) {
            syntax_error(ps, &parser);
            break;
        }
        more = check_event(ps, &event, &b);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return ps->n == before;
}

void nd_yaml_read(struct nd_raw *raw, struct nd_problems *ps, const char *text,
                  size_t len)
{
    static const char bom[] = "\xef\xbb\xbf"; /* Some editors on Windows. */
    struct walk w = {.ps = ps};
    yaml_parser_t parser;
    yaml_node_t *root;

    if (len >= strlen(bom) && memcmp(text, bom, strlen(bom)) == 0) {
        text += strlen(bom);
        len -= strlen(bom);
    }
    if (len > ND_FILE_SIZE_MAX) {
        nd_problem_at(ps, 0, 0, "", "is larger than 1 MiB: not a configuration of ours");
        return;
    }
    if (!check_bytes(ps, text, len) || !check_utf8(ps, text, len) ||
        !check_bounds(ps, text, len) || !open_parser(&parser, ps, text, len)) {
        return;
    }
    if (!yaml_parser_load(&parser, &w.doc)) {
        syntax_error(ps, &parser);
        yaml_parser_delete(&parser);
        return;
    }
    root = yaml_document_get_root_node(&w.doc);
    if (root == NULL) {
        nd_problem_at(ps, 1, 1, "", "is empty: see the examples, or vagt.yaml(5)");
    } else if (check_tags(&w)) {
        nd_mark_add(ps, "", line_of(root), column_of(root));
        walk_map(&w, root, "", "", raw);
    }
    yaml_document_delete(&w.doc);
    yaml_parser_delete(&parser);
}
