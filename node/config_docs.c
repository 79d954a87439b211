/* Documents made from the table, so that they cannot miss an option. Only tests
 * call this; the linker leaves it out of vagtd. */

#include <string.h>

#include "base/mem.h"
#include "node/config_schema.h"

/* Room for one entry of any list, aligned for anything. */
union element {
    struct nd_config_node node;
    struct nd_raw_broker broker;
    struct nd_raw_area area;
    struct nd_config_resource resource;
};

static bool is_list(const struct nd_row *row)
{
    return row->type == ND_MAPS || row->type == ND_TEXTS || row->type == ND_ADDRESSES;
}

static const char *type_name(const struct nd_row *row)
{
    static const char *const names[] = {[ND_MAP] = "section",
                                        [ND_MAPS] = "list of sections",
                                        [ND_TEXT] = "text",
                                        [ND_TEXTS] = "list of texts",
                                        [ND_CHOICE] = "word",
                                        [ND_ADDRESS] = "address",
                                        [ND_ADDRESSES] = "list of addresses",
                                        [ND_UINT] = "number",
                                        [ND_DURATION] = "duration",
                                        [ND_SIZE] = "size",
                                        [ND_BOOL] = "true or false",
                                        [ND_SECRET] = "secret"};

    _Static_assert(sizeof names / sizeof names[0] == ND_TYPES_NR, "a name for each");
    return names[row->type];
}

static void put_range(struct sy_buf *out, const struct nd_row *row)
{
    if (row->type == ND_CHOICE) {
        for (unsigned i = 0; row->names[i] != NULL; i++) {
            sy_buf_fmt(out, "%s%s", i > 0 ? ", " : "", row->names[i]);
        }
    } else if (row->type == ND_UINT || row->type == ND_DURATION || row->type == ND_SIZE) {
        nd_value_number(row, row->min, out);
        sy_buf_str(out, " to ");
        nd_value_number(row, row->max, out);
    } else if (is_list(row)) {
        sy_buf_fmt(out, "%u to %u entries", (unsigned)row->min, (unsigned)row->max);
    } else if (row->type == ND_TEXT) {
        sy_buf_fmt(out, "%u to %u bytes", (unsigned)row->min, (unsigned)row->max);
    }
}

/* The list of sections that @row is in, NULL if in none. */
static const struct nd_row *list_of(const struct nd_row *row)
{
    const char *end = strstr(row->path, "[].");

    return end != NULL ? nd_row_find("", row->path, (size_t)(end - row->path)) : NULL;
}

static void put_default(struct sy_buf *out, const struct nd_row *row,
                        const struct nd_raw *raw)
{
    const struct nd_row *list = list_of(row);
    union element e;
    const char *base = (const char *)raw;

    if (list != NULL) {
        memset(&e, 0, sizeof e);
        if (list->init != NULL) {
            list->init(&e);
        }
        base = (const char *)&e;
    }
    if (row->required) {
        sy_buf_str(out, "required");
    } else if (is_list(row)) {
        sy_buf_u8(out, '[');
        for (unsigned i = 0; i < *(const unsigned *)(const void *)(base + row->n_off);
             i++) {
            nd_value_get(row, base + row->off + i * row->size, out);
        }
        sy_buf_u8(out, ']');
    } else {
        nd_value_get(row, base + row->off, out);
    }
}

/* What stands between sections: a function for each kind of document. */
typedef void (*row_cb)(struct sy_buf *out, const struct nd_row *row,
                       const struct nd_raw *raw);

static void each_row(struct sy_buf *out, row_cb cb)
{
    struct nd_raw *raw = sy_alloc(sizeof *raw);

    nd_raw_default(raw);
    for (unsigned i = 0; i < nd_rows_n; i++) {
        cb(out, &nd_rows[i], raw);
    }
    sy_free(raw);
}

static void markdown_row(struct sy_buf *out, const struct nd_row *row,
                         const struct nd_raw *raw)
{
    struct sy_buf value = {0};

    sy_buf_fmt(out, "| `%s` | %s | ", row->path, type_name(row));
    put_range(out, row);
    sy_buf_str(out, " | ");
    if (row->type != ND_MAP) {
        put_default(&value, row, raw);
    }
    if (value.len > 0) {
        sy_buf_fmt(out, row->required ? "**%.*s**" : "`%.*s`", (int)value.len,
                   (const char *)value.p);
    }
    sy_buf_fmt(out, " | %s |\n", row->prose);
    sy_buf_free(&value);
}

void nd_docs_markdown(struct sy_buf *out)
{
    sy_buf_str(out, "| key | type | range | default | meaning |\n");
    sy_buf_str(out, "|---|---|---|---|---|\n");
    each_row(out, markdown_row);
}

/* scdoc: '_' begins underlining inside of a word, too, and '[' needs care. */
static void put_scdoc(struct sy_buf *out, const char *s)
{
    bool code = false;

    for (; *s != '\0'; s++) {
        if (*s == '`') {
            sy_buf_u8(out, '*');
            code = !code;
            continue;
        }
        if (*s == '_' || *s == '*' || *s == '\\' || *s == '#') {
            sy_buf_u8(out, '\\');
        }
        sy_buf_u8(out, (uint8_t)*s);
    }
}

static void scdoc_row(struct sy_buf *out, const struct nd_row *row,
                      const struct nd_raw *raw)
{
    struct sy_buf b = {0};

    sy_buf_str(out, "*");
    put_scdoc(out, row->path);
    sy_buf_fmt(out, "* (%s", type_name(row));
    put_range(&b, row);
    if (b.len > 0) {
        sy_buf_fmt(out, ", %.*s", (int)b.len, (const char *)b.p);
    }
    b.len = 0;
    if (row->type != ND_MAP) {
        put_default(&b, row, raw);
    }
    if (b.len > 0) {
        sy_buf_u8(&b, 0);
        sy_buf_str(out, row->required ? ", " : ", default ");
        put_scdoc(out, (const char *)b.p);
    }
    sy_buf_str(out, ")\n\t");
    put_scdoc(out, row->prose);
    sy_buf_str(out, "\n\n");
    sy_buf_free(&b);
}

void nd_docs_scdoc(struct sy_buf *out)
{
    each_row(out, scdoc_row);
}

static void json_text(struct sy_buf *out, const char *s)
{
    sy_buf_u8(out, '"');
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            sy_buf_u8(out, '\\');
        }
        sy_buf_u8(out, (uint8_t)*s);
    }
    sy_buf_u8(out, '"');
}

static void json_indent(struct sy_buf *out, unsigned depth)
{
    sy_buf_fmt(out, "\n%*s", (int)(2 * depth), "");
}

static void json_text_row(struct sy_buf *out, const struct nd_row *row, bool entry)
{
    sy_buf_str(out, "\"type\": \"string\"");
    if (!entry && row->type == ND_TEXT) {
        sy_buf_fmt(out, ", \"minLength\": %u, \"maxLength\": %u", (unsigned)row->min,
                   (unsigned)row->max);
    }
    if (row->type == ND_ADDRESS || row->type == ND_ADDRESSES) {
        sy_buf_str(out, ", \"pattern\": \"^([0-9.]+|\\\\[[0-9a-fA-F:.]+\\\\]):[0-9]+$\"");
    }
}

static void json_scalar(struct sy_buf *out, const struct nd_row *row)
{
    switch (row->type) {
    case ND_CHOICE:
        sy_buf_str(out, "\"enum\": [");
        for (unsigned i = 0; row->names[i] != NULL; i++) {
            sy_buf_str(out, i > 0 ? ", " : "");
            json_text(out, row->names[i]);
        }
        sy_buf_u8(out, ']');
        break;
    case ND_UINT:
        sy_buf_fmt(out, "\"type\": \"integer\", \"minimum\": %llu, \"maximum\": %llu",
                   (unsigned long long)row->min, (unsigned long long)row->max);
        break;
    case ND_DURATION:
        sy_buf_fmt(out,
                   "\"type\": \"string\", \"pattern\": \"^(0|[1-9][0-9]*)(%ss|m|h|d)$\"",
                   row->unit == ND_UNIT_MS ? "ms|" : "");
        break;
    case ND_SIZE:
        sy_buf_str(out,
                   "\"type\": \"string\", "
                   "\"pattern\": \"^(0|[1-9][0-9]*)(B|KiB|MiB|GiB)$\"");
        break;
    case ND_BOOL:
        sy_buf_str(out, "\"type\": \"boolean\"");
        break;
    case ND_SECRET:
        sy_buf_str(out, "\"$ref\": \"#/$defs/secret\"");
        break;
    case ND_TEXTS:
    case ND_ADDRESSES:
        sy_buf_fmt(
            out, "\"type\": \"array\", \"minItems\": %u, \"maxItems\": %u, \"items\": {",
            (unsigned)row->min, (unsigned)row->max);
        json_text_row(out, row, true);
        sy_buf_u8(out, '}');
        break;
    case ND_TEXT:
    case ND_ADDRESS:
    case ND_MAP:
    case ND_MAPS:
    case ND_TYPES_NR:
        json_text_row(out, row, false);
        break;
    }
}

static void json_section(struct sy_buf *out, const char *section, unsigned depth);

static void json_row(struct sy_buf *out, const struct nd_row *row, unsigned depth)
{
    char section[ND_SHOWN_SIZE];

    json_text(out, nd_row_key(row));
    sy_buf_str(out, ": {\"description\": ");
    json_text(out, row->prose);
    sy_buf_str(out, ", ");
    if (row->type == ND_MAP) {
        json_section(out, row->path, depth);
    } else if (row->type == ND_MAPS) {
        snprintf(section, sizeof section, "%s[]", row->path);
        sy_buf_fmt(
            out, "\"type\": \"array\", \"minItems\": %u, \"maxItems\": %u, \"items\": {",
            (unsigned)row->min, (unsigned)row->max);
        json_section(out, section, depth);
        sy_buf_u8(out, '}');
    } else {
        json_scalar(out, row);
    }
    sy_buf_u8(out, '}');
}

static void json_required(struct sy_buf *out, const char *section)
{
    bool first = true;

    sy_buf_str(out, "\"required\": [");
    for (unsigned i = 0; i < nd_rows_n; i++) {
        if (nd_rows[i].required && nd_row_in(&nd_rows[i], section)) {
            sy_buf_str(out, first ? "" : ", ");
            json_text(out, nd_row_key(&nd_rows[i]));
            first = false;
        }
    }
    sy_buf_str(out, "]");
}

/* The members of an object schema, without its braces. */
static void json_section(struct sy_buf *out, const char *section, unsigned depth)
{
    bool first = true;

    sy_buf_str(out, "\"type\": \"object\", \"additionalProperties\": false,");
    json_indent(out, depth);
    json_required(out, section);
    sy_buf_str(out, ", \"properties\": {");
    for (unsigned i = 0; i < nd_rows_n; i++) {
        if (nd_row_in(&nd_rows[i], section)) {
            sy_buf_str(out, first ? "" : ",");
            json_indent(out, depth + 1);
            json_row(out, &nd_rows[i], depth + 2);
            first = false;
        }
    }
    json_indent(out, depth);
    sy_buf_u8(out, '}');
}

void nd_docs_json_schema(struct sy_buf *out)
{
    sy_buf_str(out,
               "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
               "  \"title\": \"vagt.yaml\",\n"
               "  \"$defs\": {\"secret\": {\"type\": \"object\", "
               "\"minProperties\": 1, \"maxProperties\": 1,\n"
               "    \"additionalProperties\": false, \"properties\": {\n"
               "      \"env\": {\"type\": \"string\"}, "
               "\"file\": {\"type\": \"string\", \"pattern\": \"^/\"}, "
               "\"credential\": {\"type\": \"string\"}}}},\n  ");
    json_section(out, "", 1);
    sy_buf_str(out, "\n}\n");
}
