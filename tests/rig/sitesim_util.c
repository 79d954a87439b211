#include "sitesim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void die_out_of_memory(void)
{
    fputs("sitesim: out of memory\n", stderr);
    exit(1);
}

void *sim_alloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);

    if (p == NULL) {
        die_out_of_memory();
    }
    return p;
}

static void make_room(struct sim_buf *b, size_t len)
{
    size_t cap = b->cap > 0 ? b->cap : 1024;
    char *data;

    if (b->cap - b->len > len) {
        return;
    }
    while (cap - b->len <= len) {
        cap *= 2;
    }
    data = realloc(b->data, cap);
    if (data == NULL) {
        die_out_of_memory();
    }
    b->data = data;
    b->cap = cap;
}

void sim_buf_put(struct sim_buf *b, const char *data, size_t len)
{
    make_room(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void sim_buf_printf(struct sim_buf *b, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        return;
    }
    make_room(b, (size_t)n);
    va_start(args, format);
    (void)vsnprintf(b->data + b->len, b->cap - b->len, format, args);
    va_end(args);
    b->len += (size_t)n;
}

void sim_buf_free(struct sim_buf *b)
{
    free(b->data);
    *b = (struct sim_buf){0};
}

/* splitmix64: a few lines, and the same site from the same --seed on every machine. */
uint64_t sim_random(struct sim_site *s)
{
    uint64_t z = (s->random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int sim_random_int(struct sim_site *s, int low, int high)
{
    if (high <= low) {
        return low;
    }
    return low + (int)(sim_random(s) % (uint64_t)(high - low + 1));
}

double sim_random_unit(struct sim_site *s)
{
    return (double)(sim_random(s) >> 11) / 9007199254740992.0;
}

/* FNV-1a. */
uint64_t sim_hash(const char *data, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char)data[i]) * 0x100000001b3u;
    }
    return h;
}

int64_t sim_wall_ms(struct sim_site *s)
{
    return s->wall_offset_ms + (int64_t)uv_now(&s->loop);
}

void sim_iso_time(int64_t wall_ms, char out[32])
{
    static const char digits[] = "0123456789";
    time_t seconds = (time_t)(wall_ms / 1000);
    int ms = (int)(wall_ms % 1000);
    struct tm tm;

    (void)gmtime_r(&seconds, &tm);
    (void)strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    out[19] = '.';
    out[20] = digits[ms / 100];
    out[21] = digits[ms / 10 % 10];
    out[22] = digits[ms % 10];
    out[23] = 'Z';
    out[24] = '\0';
}

bool sim_parse_int(const char *text, int low, int high, int *ret)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || v < low || v > high) {
        return false;
    }
    *ret = (int)v;
    return true;
}

struct sim_job
{
    uv_timer_t timer;
    struct sim_area *area;
    struct sim_meter *meter;
    uint32_t incarnation;
    int value;
    sim_job_fn fn;
    struct sim_job *next, *prev;
};

static void job_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void job_end(struct sim_job *j)
{
    struct sim_site *s = j->area->site;

    *(j->prev != NULL ? &j->prev->next : &s->first_job) = j->next;
    if (j->next != NULL) {
        j->next->prev = j->prev;
    }
    s->jobs--;
    uv_close((uv_handle_t *)&j->timer, job_closed);
}

static void job_due(uv_timer_t *timer)
{
    struct sim_job *j = timer->data;
    struct sim_site *s = j->area->site;

    if (j->area->running && j->incarnation == j->area->incarnation) {
        j->fn(j->area, j->meter, j->value);
    } else {
        s->lost_in_restart++;
    }
    job_end(j);
}

void sim_jobs_cancel(struct sim_site *s)
{
    while (s->first_job != NULL) {
        job_end(s->first_job);
    }
}

void sim_later(struct sim_area *a, struct sim_meter *m, int value, uint64_t delay_ms,
               sim_job_fn fn)
{
    struct sim_site *s = a->site;
    struct sim_job *j;

    if (s->jobs >= SIM_JOBS_MAX) {
        s->jobs_refused++;
        return;
    }
    j = sim_alloc(1, sizeof *j);
    j->area = a;
    j->meter = m;
    j->incarnation = a->incarnation;
    j->value = value;
    j->fn = fn;
    j->next = s->first_job;
    if (j->next != NULL) {
        j->next->prev = j;
    }
    s->first_job = j;
    (void)uv_timer_init(&s->loop, &j->timer);
    j->timer.data = j;
    (void)uv_timer_start(&j->timer, job_due, delay_ms, 0);
    s->jobs++;
}
