/* The effective configuration, printed from the table that reads it. */

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "node/config_schema.h"

/* Back from the clean form to what the rows point into. */
static void to_raw(const struct nd_config *c, struct nd_raw *raw)
{
    const struct nd_config_node *self = nd_config_self(c);

    memset(raw, 0, sizeof *raw);
    raw->c = *c;
    raw->present = true;
    snprintf(raw->self, sizeof raw->self, "%s", self != NULL ? self->name : "");
    snprintf(raw->log_level, sizeof raw->log_level, "%s",
             nd_log_levels[c->log_level - SY_ERR]);
    for (unsigned i = 0; i < c->brokers_n; i++) {
        raw->brokers[i].m = c->brokers[i];
        raw->brokers[i].password = c->broker_passwords[i];
        raw->brokers[i].tls_key = c->broker_keys[i];
        raw->brokers[i].plaintext = c->broker_plaintext[i];
        snprintf(raw->brokers[i].username, ND_USER_SIZE, "%s",
                 c->brokers[i].username != NULL ? c->brokers[i].username : "");
    }
    for (unsigned i = 0; i < c->areas_n; i++) {
        raw->areas[i].a = c->areas[i];
        snprintf(raw->areas[i].broker, ND_REF_SIZE, "%s",
                 c->brokers[c->areas[i].broker].name);
    }
}

/* Text always in quotes: nobody has to know which words YAML takes for others. */
static void put_quoted(struct sy_buf *out, const char *s, size_t n)
{
    sy_buf_u8(out, '"');
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\') {
            sy_buf_u8(out, '\\');
        }
        sy_buf_u8(out, (uint8_t)s[i]);
    }
    sy_buf_u8(out, '"');
}

static void put_value(struct sy_buf *out, const struct nd_row *row, const void *field)
{
    struct sy_buf b = {0};

    nd_value_get(row, field, &b);
    if (row->type == ND_UINT || row->type == ND_BOOL || row->type == ND_DURATION ||
        row->type == ND_SIZE || row->type == ND_CHOICE) {
        sy_buf_put(out, b.p, b.len);
    } else {
        put_quoted(out, (const char *)b.p, b.len);
    }
    sy_buf_free(&b);
}

static void put_secret(struct sy_buf *out, const struct nd_config_secret *s)
{
    static const char *const kinds[] = {[ND_SECRET_NONE] = "",
                                        [ND_SECRET_ENV] = "env",
                                        [ND_SECRET_FILE] = "file",
                                        [ND_SECRET_CREDENTIAL] = "credential"};

    sy_buf_fmt(out, "{%s: ", kinds[s->from]);
    put_quoted(out, s->name, strlen(s->name));
    sy_buf_u8(out, '}');
}

static void put_list(struct sy_buf *out, const struct nd_row *row, const char *base)
{
    unsigned n = *(const unsigned *)(const void *)(base + row->n_off);

    sy_buf_u8(out, '[');
    for (unsigned i = 0; i < n; i++) {
        sy_buf_str(out, i > 0 ? ", " : "");
        put_value(out, row, base + row->off + i * row->size);
    }
    sy_buf_u8(out, ']');
}

/* What is not set, and is not needed because of what else is. */
static bool is_absent(const struct nd_row *row, const struct nd_raw *raw,
                      const char *base)
{
    bool whole = raw->c.postgres_from.conninfo.from != ND_SECRET_NONE;
    size_t from = offsetof(struct nd_raw, c.postgres_from);

    if (row->type == ND_SECRET) {
        const struct nd_config_secret *s = (const void *)(base + row->off);

        return s->from == ND_SECRET_NONE;
    }
    if (nd_row_in(row, "postgres") && whole && row->off > from &&
        row->off < from + sizeof raw->c.postgres_from) {
        return true;
    }
    if (row->type == ND_MAP) {
        return !*(const bool *)(base + row->n_off);
    }
    if (row->type == ND_MAPS || (row->type == ND_TEXTS && row->min > 0)) {
        return *(const unsigned *)(const void *)(base + row->n_off) == 0;
    }
    return row->type == ND_TEXT && base[row->off] == '\0';
}

static void put_section(struct sy_buf *out, const struct nd_raw *raw, const char *section,
                        const char *base, const char *first, const char *indent);

static void put_sections(struct sy_buf *out, const struct nd_raw *raw,
                         const struct nd_row *row, const char *base)
{
    unsigned n = *(const unsigned *)(const void *)(base + row->n_off);
    char section[ND_SHOWN_SIZE];

    snprintf(section, sizeof section, "%s[]", row->path);
    for (unsigned i = 0; i < n; i++) {
        put_section(out, raw, section, base + row->off + i * row->size, "  - ", "    ");
    }
}

static void put_row(struct sy_buf *out, const struct nd_raw *raw,
                    const struct nd_row *row, const char *base, const char *indent)
{
    char deeper[16];

    if (row->type == ND_MAP) {
        snprintf(deeper, sizeof deeper, "%s  ", indent);
        sy_buf_fmt(out, "%s%s:\n", indent, nd_row_key(row));
        put_section(out, raw, row->path, base, deeper, deeper);
        return;
    }
    if (row->type == ND_MAPS) {
        sy_buf_fmt(out, "%s%s:\n", indent, nd_row_key(row));
        put_sections(out, raw, row, base);
        return;
    }
    sy_buf_fmt(out, "%s%s: ", indent, nd_row_key(row));
    if (row->type == ND_TEXTS || row->type == ND_ADDRESSES) {
        put_list(out, row, base);
    } else if (row->type == ND_SECRET) {
        put_secret(out, (const void *)(base + row->off));
    } else {
        put_value(out, row, base + row->off);
    }
    sy_buf_u8(out, '\n');
}

/* @first: the indentation of the first line, which may hold the dash of a list. */
static void put_section(struct sy_buf *out, const struct nd_raw *raw, const char *section,
                        const char *base, const char *first, const char *indent)
{
    for (unsigned i = 0; i < nd_rows_n; i++) {
        if (nd_row_in(&nd_rows[i], section) && !is_absent(&nd_rows[i], raw, base)) {
            put_row(out, raw, &nd_rows[i], base, first);
            first = indent;
        }
    }
}

void nd_config_print(const struct nd_config *c, struct sy_buf *out)
{
    struct nd_raw *raw = sy_alloc(sizeof *raw);

    to_raw(c, raw);
    put_section(out, raw, "", (const char *)raw, "", "");
    sy_free(raw);
}
