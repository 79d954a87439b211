#include "base/crc32c.h"

#include <string.h>

/* Half a byte at a time: the table is 64 bytes, constant and easy to check. */
static const uint32_t table[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
    0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
    0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t sy_crc32c_soft(uint32_t crc, const void *p, size_t n)
{
    const uint8_t *q = p;

    crc = ~crc;
    for (; n > 0; n--, q++) {
        crc = table[(crc ^ *q) & 15] ^ (crc >> 4);
        crc = table[(crc ^ (uint32_t)(*q >> 4)) & 15] ^ (crc >> 4);
    }
    return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t hard(uint32_t crc, const uint8_t *p,
                                                       size_t n)
{
    uint64_t c = ~crc;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;

        memcpy(&v, p, 8);
        c = __builtin_ia32_crc32di(c, v);
    }
    crc = (uint32_t)c;
    for (; n > 0; n--, p++) {
        crc = __builtin_ia32_crc32qi(crc, *p);
    }
    return ~crc;
}
#endif

uint32_t sy_crc32c(uint32_t crc, const void *p, size_t n)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) {
        return hard(crc, p, n);
    }
#endif
    return sy_crc32c_soft(crc, p, n);
}
