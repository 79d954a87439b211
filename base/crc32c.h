/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), in hardware where there is any. */

#ifndef SY_BASE_CRC32C_H
#define SY_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue @crc (0 to begin) over @n bytes. */
uint32_t sy_crc32c(uint32_t crc, const void *p, size_t n);
/* The portable version, for machines without SSE 4.2 and for the test. */
uint32_t sy_crc32c_soft(uint32_t crc, const void *p, size_t n);

#endif /* SY_BASE_CRC32C_H */
