/* A bridge, its source and the store it fills, without broker and log: what the
 * bridge says is translated, sealed and applied at once. */

#ifndef TESTS_Z2M_WORLD_H
#define TESTS_Z2M_WORLD_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/z2m/z2m.h"

#define NOW_MS UINT64_C(1795225000000) /* 2026-11-21T01:36:40Z */

enum { NOTES_MAX = 64 };

struct world
{
    void *mem;
    struct rp_store *store;
    void *source;
    struct rp_batch batch;
    struct sy_buf entry;
    uint64_t index;
    uint64_t now_ms;
    uint32_t inputs;  /* Of the last message, without letters, */
    uint32_t letters; /* and these. */
    unsigned notes_n;
    struct
    {
        int kind;
        uint64_t ieee;
        uint16_t number;
        bool final, letter, redelivered, fresh;
        char name[160];
        char text[512];
        char reason[RP_TEXT_SIZE];
        char property[RP_PROP_SIZE];
        char value[RP_VALUE_SIZE];
        char filter[300];
    } notes[NOTES_MAX];
};

enum { HOLD_MS = 180000 };

static inline void world_copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from != NULL ? from : "");
}

static inline void world_note(void *data, const struct rp_source_note *note)
{
    struct world *w = data;
    unsigned i = w->notes_n < NOTES_MAX ? w->notes_n++ : NOTES_MAX - 1;

    assert(note->kind >= RP_NOTE_BAD_PAYLOAD && note->kind <= RP_NOTE_FILTER);
    assert(note->area == 1 && note->name != NULL && note->text != NULL);
    assert((note->filter != NULL) == (note->kind == RP_NOTE_FILTER));
    assert((note->kind >= RP_NOTE_SETTING && note->kind <= RP_NOTE_MENDED) ==
           (note->number != 0));
    assert((note->kind == RP_NOTE_SETTING) <= (strlen(note->text) < RP_NOTE_TEXT_SIZE));
    /* Only who says of which device what was, may end a command. */
    assert(note->kind == RP_NOTE_BRIDGE_ERROR
               ? (note->ieee != 0) == (note->reason != NULL)
               : note->reason == NULL && !note->final);
    assert(note->reason == NULL || (strlen(note->reason) < RP_TEXT_SIZE &&
                                    strpbrk(note->reason, "\n\r\t") == NULL));
    w->notes[i].kind = (int)note->kind;
    w->notes[i].ieee = note->ieee;
    w->notes[i].number = note->number;
    w->notes[i].final = note->final;
    w->notes[i].letter = note->topic != NULL;
    w->notes[i].redelivered = note->redelivered;
    w->notes[i].fresh = note->fresh;
    snprintf(w->notes[i].name, sizeof w->notes[i].name, "%s", note->name);
    snprintf(w->notes[i].text, sizeof w->notes[i].text, "%s", note->text);
    world_copy(w->notes[i].reason, sizeof w->notes[i].reason, note->reason);
    world_copy(w->notes[i].property, sizeof w->notes[i].property, note->property);
    world_copy(w->notes[i].value, sizeof w->notes[i].value, note->value);
    world_copy(w->notes[i].filter, sizeof w->notes[i].filter, note->filter);
    if (note->topic != NULL) {
        w->letters++;
        rp_batch_letter(&w->batch, note->area, note->topic, note->text, note->payload,
                        note->len);
    }
}

static inline void world_commit(struct world *w)
{
    int rv;

    w->inputs = w->batch.n - w->letters;
    if (w->batch.n == 0) {
        return;
    }
    rp_batch_seal(&w->batch, w->now_ms, 1, &w->entry);
    rv = rp_store_apply(w->store, ++w->index, w->entry.p, w->entry.len, NULL, NULL);
    assert(rv == 0);
}

/* As after a relief: the source knows what the store has. */
static inline void world_begin(struct world *w)
{
    if (w->source != NULL) {
        ad_z2m_source.end(w->source);
    }
    w->source = ad_z2m_source.begin(
        w->store, 1, &(struct rp_source_config){.hold_ms = HOLD_MS}, world_note, w);
}

static inline void world_open(struct world *w, uint32_t devices_max)
{
    struct rp_limits limits = {.areas_max = 4,
                               .devices_max = devices_max,
                               .readings_max = 1000,
                               .commands_max = 16,
                               .letters_max = 4};
    size_t size = (rp_store_size(&limits) + 63) / 64 * 64;

    memset(w, 0, sizeof *w);
    w->mem = aligned_alloc(64, size);
    assert(w->mem != NULL);
    memset(w->mem, 0, size);
    w->store = rp_store_init(&limits, w->mem);
    w->now_ms = NOW_MS;
    rp_batch_area(&w->batch, "north", "site/z2m");
    rp_batch_area(&w->batch, "south", "site/z2m-south");
    world_commit(w);
    world_begin(w);
}

static inline void world_close(struct world *w)
{
    ad_z2m_source.end(w->source);
    rp_batch_free(&w->batch);
    sy_buf_free(&w->entry);
    free(w->mem);
}

static inline void world_send(struct world *w, const struct rp_message *m)
{
    w->notes_n = 0;
    w->letters = 0;
    ad_z2m_source.message(w->source, m, w->now_ms, &w->batch);
}

#endif /* TESTS_Z2M_WORLD_H */
