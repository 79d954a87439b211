#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"

static void both(const void *p, size_t n, uint32_t expected)
{
    assert_int_equal(sy_crc32c(0, p, n), expected);
    assert_int_equal(sy_crc32c_soft(0, p, n), expected);
}

/* RFC 3720, appendix B.4. */
static void the_vectors_of_the_rfc(void **state)
{
    static const uint8_t read_pdu[48] = {
        0x01,        0xc0,        [16] = 0x14, [22] = 0x04,
        [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02,
    };
    uint8_t p[32];

    (void)state;
    memset(p, 0, sizeof p);
    both(p, sizeof p, 0x8a9136aa);
    memset(p, 0xff, sizeof p);
    both(p, sizeof p, 0x62a8ab43);
    for (unsigned i = 0; i < sizeof p; i++) {
        p[i] = (uint8_t)i;
    }
    both(p, sizeof p, 0x46dd794e);
    for (unsigned i = 0; i < sizeof p; i++) {
        p[i] = (uint8_t)(31 - i);
    }
    both(p, sizeof p, 0x113fdb5c);
    both(read_pdu, sizeof read_pdu, 0xd9963a56);
    both("123456789", 9, 0xe3069283);
    both("", 0, 0);
}

static void hard_and_soft_agree_at_every_length_and_offset(void **state)
{
    uint8_t p[300];

    (void)state;
    for (unsigned i = 0; i < sizeof p; i++) {
        p[i] = (uint8_t)(i * 167 + i / 7);
    }
    for (size_t at = 0; at < 9; at++) {
        for (size_t n = 0; at + n <= sizeof p; n++) {
            assert_int_equal(sy_crc32c((uint32_t)n, p + at, n),
                             sy_crc32c_soft((uint32_t)n, p + at, n));
        }
    }
}

static void it_can_be_continued(void **state)
{
    static const char text[] = "the watch aboard a ship keeps the site running";
    size_t n = sizeof text - 1;

    (void)state;
    for (size_t cut = 0; cut <= n; cut++) {
        uint32_t crc = sy_crc32c(0, text, cut);

        assert_int_equal(sy_crc32c(crc, text + cut, n - cut), sy_crc32c_soft(0, text, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc),
        cmocka_unit_test(hard_and_soft_agree_at_every_length_and_offset),
        cmocka_unit_test(it_can_be_continued),
    };

    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
