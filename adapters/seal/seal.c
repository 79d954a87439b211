#include "adapters/seal/seal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

void ad_seal_sum(const void *p, size_t n, char ret_hex[AD_SEAL_SUM_SIZE])
{
    unsigned char sum[32];
    size_t len = sizeof sum;
    int ok = EVP_Q_digest(NULL, "SHA256", NULL, p, n, sum, &len);

    assert(ok == 1 && len == sizeof sum); /* It is part of every libcrypto. */
    (void)ok;
    for (unsigned i = 0; i < sizeof sum; i++) {
        snprintf(ret_hex + 2 * (size_t)i, 3, "%02x", sum[i]);
    }
}

static int fail(struct sy_errbuf *eb, const char *what, const char *file)
{
    char why[160] = "unknown reason";
    unsigned long code = ERR_get_error();

    if (code != 0) {
        ERR_error_string_n(code, why, sizeof why);
    }
    ERR_clear_error();
    return sy_fail(eb, SY_EINVALID, "%s %.160s: %s", what, file, why);
}

static FILE *open_pem(const char *path, struct sy_errbuf *eb, int *ret_err)
{
    FILE *f = fopen(path, "re");

    *ret_err = f != NULL ? 0 : -errno;
    if (f == NULL) {
        (void)sy_fail(eb, *ret_err, "cannot open %.200s: %s", path,
                      sy_err_text(*ret_err));
    }
    return f;
}

static int read_cert(const char *path, X509 **ret, struct sy_errbuf *eb)
{
    int rv;
    FILE *f = open_pem(path, eb, &rv);

    if (f == NULL) {
        return rv;
    }
    *ret = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    return *ret != NULL ? 0 : fail(eb, "there is no certificate in", path);
}

int ad_seal_check(const char *cert, struct sy_errbuf *eb)
{
    X509 *x = NULL;
    int rv = read_cert(cert, &x, eb);

    X509_free(x);
    return rv;
}

/* All there is in the memory BIO. */
static void take(BIO *from, struct sy_buf *to)
{
    char *p = NULL;
    long n = BIO_get_mem_data(from, &p);

    if (n > 0) {
        sy_buf_put(to, p, (size_t)n);
    }
}

static BIO *memory(const void *p, size_t n)
{
    return n <= INT_MAX ? BIO_new_mem_buf(p, (int)n) : NULL;
}

int ad_seal_encrypt(const char *cert, const void *p, size_t n, struct sy_buf *to,
                    struct sy_errbuf *eb)
{
    X509 *x = NULL;
    STACK_OF(X509) *to_whom = sk_X509_new_null();
    BIO *in = memory(p, n), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = NULL;
    int rv = read_cert(cert, &x, eb);

    if (rv == 0 && to_whom != NULL && sk_X509_push(to_whom, x) > 0 && in != NULL &&
        out != NULL) {
        cms = CMS_encrypt(to_whom, in, EVP_aes_256_gcm(), CMS_BINARY);
    }
    if (rv == 0 && (cms == NULL || i2d_CMS_bio(out, cms) != 1)) {
        rv = fail(eb, "cannot encrypt to", cert);
    }
    if (rv == 0) {
        take(out, to);
    }
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    BIO_free(out);
    sk_X509_free(to_whom);
    X509_free(x);
    return rv;
}

static int read_key(const char *path, EVP_PKEY **ret, struct sy_errbuf *eb)
{
    int rv;
    FILE *f = open_pem(path, eb, &rv);

    if (f == NULL) {
        return rv;
    }
    *ret = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    return *ret != NULL ? 0 : fail(eb, "there is no private key in", path);
}

int ad_seal_decrypt(const char *key, const void *p, size_t n, struct sy_buf *to,
                    struct sy_errbuf *eb)
{
    EVP_PKEY *k = NULL;
    BIO *in = memory(p, n), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = NULL;
    int rv = read_key(key, &k, eb);

    if (rv == 0 && in != NULL && out != NULL) {
        cms = d2i_CMS_bio(in, NULL);
    }
    if (rv == 0 &&
        (cms == NULL || CMS_decrypt(cms, k, NULL, NULL, out, CMS_BINARY) != 1)) {
        rv = fail(eb, "it cannot be opened with", key);
    }
    if (rv == 0) {
        take(out, to);
    }
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    BIO_free(out);
    EVP_PKEY_free(k);
    return rv;
}
