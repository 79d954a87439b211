#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node/config_schema.h"

static void SY_PRINTF(5, 0) add(struct nd_problems *ps, unsigned line, unsigned column,
                                const char *path, const char *fmt, va_list ap)
{
    char *text;
    int n;

    if (ps->n >= ND_PROBLEMS_MAX) {
        ps->n = ND_PROBLEMS_MAX + 1;
        return;
    }
    ps->list[ps->n].line = line;
    ps->list[ps->n].column = column;
    text = ps->list[ps->n].text;
    /* A long name of a file must not push the sentence out of the line, hence a
     * limit for each part; together they leave room. */
    n = snprintf(text, ND_PROBLEM_SIZE, "%.100s:", ps->file);
    if (line > 0) {
        n += snprintf(text + n, ND_PROBLEM_SIZE - (size_t)n, "%u:%u:", line, column);
    }
    n += snprintf(text + n, ND_PROBLEM_SIZE - (size_t)n, " %.127s%s", path,
                  path[0] != '\0' ? ": " : "");
    vsnprintf(text + n, ND_PROBLEM_SIZE - (size_t)n, fmt, ap);
    ps->n++;
}

void nd_problem_at(struct nd_problems *ps, unsigned line, unsigned column,
                   const char *path, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(ps, line, column, path, fmt, ap);
    va_end(ap);
}

void nd_problem(struct nd_problems *ps, const char *path, const char *fmt, ...)
{
    char part[ND_SHOWN_SIZE];
    const struct nd_mark *mark = NULL;
    va_list ap;

    snprintf(part, sizeof part, "%s", path);
    while ((mark = nd_mark_find(ps, part)) == NULL && part[0] != '\0') {
        size_t n = strlen(part);

        while (n > 0 && part[n] != '.' && part[n] != '[') {
            n--;
        }
        part[n] = '\0';
    }
    va_start(ap, fmt);
    add(ps, mark != NULL ? mark->line : 1, mark != NULL ? mark->column : 1, path, fmt,
        ap);
    va_end(ap);
}

void nd_mark_add(struct nd_problems *ps, const char *path, unsigned line, unsigned column)
{
    if (ps->marks_n == ps->marks_cap) {
        ps->marks_cap = ps->marks_cap > 0 ? ps->marks_cap * 2 : 64;
        ps->marks = sy_realloc(ps->marks, ps->marks_cap * sizeof *ps->marks);
    }
    snprintf(ps->marks[ps->marks_n].path, ND_SHOWN_SIZE, "%s", path);
    ps->marks[ps->marks_n].line = line;
    ps->marks[ps->marks_n].column = column;
    ps->marks_n++;
}

const struct nd_mark *nd_mark_find(const struct nd_problems *ps, const char *path)
{
    for (unsigned i = 0; i < ps->marks_n; i++) {
        if (strcmp(ps->marks[i].path, path) == 0) {
            return &ps->marks[i];
        }
    }
    return NULL;
}

bool nd_problems_full(const struct nd_problems *ps)
{
    return ps->n > ND_PROBLEMS_MAX;
}

/* In the order of the file. Insertion, since it keeps equal ones in order. */
void nd_problems_sort(struct nd_problems *ps)
{
    unsigned n = ps->n < ND_PROBLEMS_MAX ? ps->n : ND_PROBLEMS_MAX;

    for (unsigned i = 1; i < n; i++) {
        for (unsigned j = i; j > 0; j--) {
            struct nd_problem_line *a = &ps->list[j - 1], *b = &ps->list[j], kept;

            if (a->line < b->line || (a->line == b->line && a->column <= b->column)) {
                break;
            }
            kept = *a;
            *a = *b;
            *b = kept;
        }
    }
}

void nd_problems_free(struct nd_problems *ps)
{
    sy_free(ps->marks);
    ps->marks = NULL;
    ps->marks_n = ps->marks_cap = 0;
}
