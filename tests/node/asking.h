/* A node on watch with a device in each area, and what is asked of it: for test_control.c
 * and test_forward.c. */

#ifndef TESTS_NODE_ASKING_H
#define TESTS_NODE_ASKING_H

#include "tests/node/fake_node.h"

enum { A = 0xa, B = 0xb, MINUTE = 60000 };

static inline int open_site(void **state)
{
    (void)state;
    fake_open(3);
    fake_begin();
    fake_lead();
    fake_device(A, 1);
    fake_device(B, 2);
    fake_bridges_ready();
    fake_sound(2, "standby");
    fake_sound(3, "standby");
    return 0;
}

static inline int close_site(void **state)
{
    (void)state;
    fake_close();
    return 0;
}

static inline void ask_send(uint8_t client, const char *id, const char *device,
                            const char *value)
{
    fake_args_begin(id != NULL ? 4 : 3);
    sy_mp_kstr(&fake_args, "device", device);
    sy_mp_kstr(&fake_args, "property", "state");
    sy_mp_kstr(&fake_args, "value", value);
    if (id != NULL) {
        sy_mp_kstr(&fake_args, "id", id);
    }
    fake_ask(client, "send", &fake_args);
}

/* A request of @op that is right, with all arguments it may have. */
static inline void put_request(struct sy_buf *b, const char *op)
{
    b->len = 0;
    sy_mp_map(b, 4);
    sy_mp_kuint(b, "v", 1);
    sy_mp_kuint(b, "id", 0x1234);
    sy_mp_kstr(b, "op", op);
    sy_mp_str(b, "args");
    sy_mp_map(b, 9);
    sy_mp_kstr(b, "device", "d10");
    sy_mp_kstr(b, "property", "state");
    sy_mp_kstr(b, "value", "ON");
    sy_mp_kstr(b, "area", "north");
    sy_mp_kstr(b, "id", "c1");
    sy_mp_kuint(b, "timeout_ms", 1000);
    sy_mp_kuint(b, "limit", 10);
    sy_mp_kuint(b, "after", 0);
    sy_mp_kbool(b, "open", true);
}

#define IN_SITE(F) cmocka_unit_test_setup_teardown(F, open_site, close_site)

#endif /* TESTS_NODE_ASKING_H */
