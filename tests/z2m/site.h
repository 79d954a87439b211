/* An area with two meters, as tests talk to it. */

#ifndef TESTS_Z2M_SITE_H
#define TESTS_Z2M_SITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/z2m/world.h"

static struct world w;

enum { LIVE, RETAINED, DUP };

static inline int setup(void **state)
{
    (void)state;
    world_open(&w, 16);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

/* Translate; the inputs wait. */
static uint32_t link_nr; /* Of the reader's connections. */

static inline void hear(int how, const char *topic, const char *payload)
{
    char full[256];

    snprintf(full, sizeof full, "site/z2m/%s", topic);
    world_send(&w, &(struct rp_message){.topic = full,
                                        .payload = payload,
                                        .len = strlen(payload),
                                        .retained = how == RETAINED,
                                        .dup = how == DUP,
                                        .qos = 1,
                                        .link = link_nr});
}

static inline void say(int how, const char *topic, const char *payload)
{
    hear(how, topic, payload);
    world_commit(&w);
}

#define COORDINATOR                                                                 \
    "{\"ieee_address\":\"0x00124b00aaaaaaaa\",\"type\":\"Coordinator\",\"friendly_" \
    "name\":"                                                                       \
    "\"Coordinator\",\"definition\":null,\"supported\":true,\"disabled\":false}"
#define DEVICE(IEEE, NAME, MODEL)                                                       \
    "{\"definition\":{\"description\":\"Smart \\\"plug\\\" {[ "                         \
    "\\\\\",\"exposes\":[{\"a\":["                                                      \
    "1,2,{}]}],\"model\":\"" MODEL                                                      \
    "\",\"vendor\":\"Tongou\"},\"disabled\":false,"                                     \
    "\"friendly_name\":\"" NAME "\",\"ieee_address\":\"" IEEE                           \
    "\",\"interview_completed"                                                          \
    "\":true,\"model_id\":\"TS0001\",\"network_address\":1,\"power_source\":\"Mains\"," \
    "\"supported\":true,\"type\":\"Router\"}"

#define IEEE_1 UINT64_C(0xa4c1380100010000)
#define IEEE_2 UINT64_C(0xa4c1380100010001)
#define METER_1 DEVICE("0xa4c1380100010000", "pitch 1", "TO-Q-SY2-163JZT")
#define METER_2 DEVICE("0xA4C1380100010001", "pitch 2", "TOWSMR1-40A-AC")

static inline void list_two(void)
{
    say(RETAINED, "bridge/devices", "[" COORDINATOR "," METER_1 ", " METER_2 "]");
    assert_int_equal(w.notes_n, 0);
}

static inline const struct rp_device *meter(uint64_t ieee)
{
    const struct rp_device *d = rp_store_device(w.store, ieee);

    assert_non_null(d);
    return d;
}

static inline const struct rp_area *area(void)
{
    return rp_store_area(w.store, 1);
}

static inline bool ready(void)
{
    return area()->bridge == RP_ONLINE && area()->ready_at_ms != 0;
}

/* How many notes of this kind came with the last message; the first of them. */
static inline unsigned notes_of(int kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w.notes_n; i++) {
        n += w.notes[i].kind == kind;
    }
    return n;
}

static inline unsigned note_of(int kind)
{
    for (unsigned i = 0; i < w.notes_n; i++) {
        if (w.notes[i].kind == kind) {
            return i;
        }
    }
    fail_msg("no note of kind %d", kind);
    return 0;
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif /* TESTS_Z2M_SITE_H */
