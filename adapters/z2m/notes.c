/* What the node is told. Sentences about the bridge are told once, until they are
 * mended; a bad message each time, since it is to become a letter. */

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapters/z2m/impl.h"
#include "base/hash.h"

enum {
    PER_DEVICE_MAX = 8,       /* Of one sentence about devices, in one list. */
    STRANGER_EVERY_MS = 60000 /* A letter for each name: as often as a meter reports. */
};

void ad_z2m_whole(char *text)
{
    size_t n = strlen(text);
    size_t start = n; /* Of the last character. */
    unsigned char lead;

    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return;
    }
    lead = (unsigned char)text[--start];
    if (n - start < (lead >= 0xf0 ? 4U : lead >= 0xe0 ? 3U : lead >= 0xc0 ? 2U : 1U)) {
        text[start] = '\0';
    }
}

SY_PRINTF(2, 0)
static void format(char text[RP_NOTE_TEXT_SIZE], const char *fmt, va_list ap)
{
    vsnprintf(text, RP_NOTE_TEXT_SIZE, fmt, ap);
    ad_z2m_whole(text);
}

static void note(struct ad_z2m *z, struct rp_source_note n)
{
    n.area = z->area;
    n.name = n.name != NULL ? n.name : "";
    n.text = n.text != NULL ? n.text : "";
    z->note_cb(z->note_data, &n);
}

void ad_z2m_note_payload(struct ad_z2m *z, const struct rp_message *m, const char *fmt,
                         ...)
{
    char text[RP_NOTE_TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    format(text, fmt, ap);
    va_end(ap);
    note(z, (struct rp_source_note){.kind = RP_NOTE_BAD_PAYLOAD,
                                    .name = m->topic,
                                    .text = text,
                                    .topic = m->retained ? NULL : m->topic,
                                    .payload = m->payload,
                                    .len = m->len,
                                    .redelivered = m->dup});
}

void ad_z2m_warn(struct ad_z2m *z, const char *topic, const char *fmt, ...)
{
    char text[RP_NOTE_TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    format(text, fmt, ap);
    va_end(ap);
    note(z, (struct rp_source_note){
                .kind = RP_NOTE_BAD_PAYLOAD, .name = topic, .text = text});
}

/* A device that joins sends its first state before anybody lists it, and who was
 * removed may go on talking: each minute is enough to see what it says. */
void ad_z2m_note_stranger(struct ad_z2m *z, const struct rp_message *m,
                          struct ad_z2m_device *d, uint64_t now_ms)
{
    char text[64] = "no device of this name is listed";

    if (!z->list_known || m->retained || d->group) {
        return;
    }
    if (d->noted_at_ms != 0 && now_ms >= d->noted_at_ms &&
        now_ms - d->noted_at_ms < STRANGER_EVERY_MS) {
        d->unnoted++;
        return;
    }
    if (d->unnoted > 0) {
        snprintf(text, sizeof text, "no device of this name is listed; %u more like it",
                 d->unnoted);
    }
    d->noted_at_ms = now_ms;
    d->unnoted = 0;
    note(z, (struct rp_source_note){.kind = RP_NOTE_UNKNOWN_DEVICE,
                                    .name = d->name,
                                    .text = text,
                                    .topic = m->topic,
                                    .payload = m->payload,
                                    .len = m->len,
                                    .redelivered = m->dup});
}

void ad_z2m_note_filter(struct ad_z2m *z, const char *filter, bool fresh)
{
    note(z, (struct rp_source_note){
                .kind = RP_NOTE_FILTER, .filter = filter, .fresh = fresh});
}

void ad_z2m_note_asked(struct ad_z2m *z, const struct rp_message *m, uint64_t ieee,
                       const char *value)
{
    note(z,
         (struct rp_source_note){
             .kind = RP_NOTE_ASKED, .ieee = ieee, .value = value, .redelivered = m->dup});
}

/* --- sentences --- */

static struct ad_z2m_told *find(struct ad_z2m *z, uint16_t number, uint64_t ieee)
{
    for (unsigned i = 0; i < z->told_n; i++) {
        if (z->told[i].number == number && z->told[i].ieee == ieee) {
            return &z->told[i];
        }
    }
    return NULL;
}

/* A new entry; NULL: enough is told. The rest is, when some of that is mended. There is
 * room for twice as many: those of the list before are not swept yet. */
static struct ad_z2m_told *add(struct ad_z2m *z, uint16_t number, uint64_t ieee)
{
    unsigned same = 0;

    for (unsigned i = 0; i < z->told_n; i++) {
        same += z->told[i].number == number && z->told[i].again;
    }
    if (same == PER_DEVICE_MAX || z->told_n == AD_Z2M_TOLD_MAX) {
        return NULL;
    }
    z->told[z->told_n] = (struct ad_z2m_told){.number = number, .ieee = ieee};
    return &z->told[z->told_n++];
}

void ad_z2m_tell(struct ad_z2m *z, enum ad_z2m_sentence number, uint64_t ieee,
                 const char *fmt, ...)
{
    struct ad_z2m_told *t = find(z, (uint16_t)number, ieee);
    char text[RP_NOTE_TEXT_SIZE];
    uint64_t hash;
    va_list ap;

    va_start(ap, fmt);
    format(text, fmt, ap);
    va_end(ap);
    hash = sy_hash(text, strlen(text), 0);
    if (t == NULL) {
        t = add(z, (uint16_t)number, ieee);
    }
    if (t == NULL) {
        return;
    }
    t->again = true;
    if (t->hash != hash) {
        t->hash = hash;
        note(z, (struct rp_source_note){.kind = RP_NOTE_SETTING,
                                        .text = text,
                                        .number = (uint16_t)number,
                                        .ieee = ieee});
    }
}

bool ad_z2m_is_told(struct ad_z2m *z, enum ad_z2m_sentence number, uint64_t ieee)
{
    return find(z, (uint16_t)number, ieee) != NULL;
}

static void mended(struct ad_z2m *z, struct ad_z2m_told *t)
{
    struct ad_z2m_told was = *t;

    *t = z->told[--z->told_n];
    note(z, (struct rp_source_note){
                .kind = RP_NOTE_MENDED, .number = was.number, .ieee = was.ieee});
}

void ad_z2m_mended(struct ad_z2m *z, enum ad_z2m_sentence number, uint64_t ieee)
{
    struct ad_z2m_told *t = find(z, (uint16_t)number, ieee);

    if (t != NULL) {
        mended(z, t);
    }
}

void ad_z2m_tell_begin(struct ad_z2m *z)
{
    for (unsigned i = 0; i < z->told_n; i++) {
        z->told[i].again = false;
    }
}

void ad_z2m_tell_end(struct ad_z2m *z)
{
    for (unsigned i = z->told_n; i-- > 0;) {
        if (z->told[i].number >= AD_Z2M_NAME && !z->told[i].again) {
            mended(z, &z->told[i]); /* The last one takes its place: seen before. */
        }
    }
}
