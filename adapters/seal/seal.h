/* Checksums and encryption of files that leave this machine.
 *
 * Encryption is CMS (RFC 5652, 5083) to a certificate, AES-256-GCM: whoever has the
 * private key opens it with openssl(1), without vagt:
 *
 *   openssl cms -decrypt -inform DER -inkey KEY -in FILE -out PLAIN */

#ifndef AD_SEAL_SEAL_H
#define AD_SEAL_SEAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { AD_SEAL_SUM_SIZE = 65 }; /* SHA-256 in hex, with the zero byte */

void ad_seal_sum(const void *p, size_t n, char ret_hex[AD_SEAL_SUM_SIZE]);
/* Appended to @to. @cert: a file with a certificate in PEM. */
SY_MUST_USE int ad_seal_encrypt(const char *cert, const void *p, size_t n,
                                struct sy_buf *to, struct sy_errbuf *eb);
/* @key: a file with the private key in PEM. */
SY_MUST_USE int ad_seal_decrypt(const char *key, const void *p, size_t n,
                                struct sy_buf *to, struct sy_errbuf *eb);
/* Could it be encrypted to that? */
SY_MUST_USE int ad_seal_check(const char *cert, struct sy_errbuf *eb);

#endif /* AD_SEAL_SEAL_H */
