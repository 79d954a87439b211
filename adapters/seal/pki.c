#include "adapters/seal/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { EARLY_S = 3600 /* clocks differ */, DAY_S = 86400, PASSPHRASE_MAX = 1024 };

static int fail(struct sy_errbuf *eb, const char *what, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return sy_fail(eb, SY_EINVALID, "%s %.300s%s%s", what, file, why != NULL ? ": " : "",
                   why != NULL ? why : "");
}

/* --- files --- */

static void path_of(char to[AD_PKI_PATH_SIZE], const char *dir, const char *node,
                    const char *file)
{
    snprintf(to, AD_PKI_PATH_SIZE, "%s%s%s/%s", dir, node != NULL ? "/nodes/" : "",
             node != NULL ? node : "", file);
}

static int make_dir(const char *path, struct sy_errbuf *eb)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        int rv = -errno;

        return sy_fail(eb, rv, "%.300s cannot be made: %s", path, sy_err_text(rv));
    }
    return 0;
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);

        if (k < 0) {
            return -errno;
        }
        p += k;
        n -= (size_t)k;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

int ad_pki_write(const char *path, const void *p, size_t n, bool secret,
                 struct sy_errbuf *eb)
{
    char tmp[AD_PKI_PATH_SIZE + 8];
    int fd, rv;

    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    (void)unlink(tmp); /* Its mode may be another. */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
              secret ? 0600 : 0644);
    rv = fd >= 0 ? write_all(fd, p, n) : -errno;
    if (fd >= 0 && close(fd) != 0 && rv == 0) {
        rv = -errno;
    }
    if (rv == 0 && rename(tmp, path) != 0) {
        rv = -errno;
    }
    if (rv != 0) {
        (void)unlink(tmp);
        return sy_fail(eb, rv, "%.300s cannot be written: %s", path, sy_err_text(rv));
    }
    return 0;
}

static int write_bio(const char *path, BIO *b, bool secret, struct sy_errbuf *eb)
{
    char *p = NULL;
    long n = BIO_get_mem_data(b, &p);

    return ad_pki_write(path, p, n > 0 ? (size_t)n : 0, secret, eb);
}

static int write_cert(const char *path, X509 *x, struct sy_errbuf *eb)
{
    BIO *b = BIO_new(BIO_s_mem());
    int rv = b != NULL && PEM_write_bio_X509(b, x) == 1
                 ? write_bio(path, b, false, eb)
                 : fail(eb, "no certificate for", path);

    BIO_free(b);
    return rv;
}

static int write_key(const char *path, EVP_PKEY *key, const char *passphrase,
                     struct sy_errbuf *eb)
{
    const EVP_CIPHER *cipher = passphrase != NULL ? EVP_aes_256_cbc() : NULL;
    BIO *b = BIO_new(BIO_s_secmem());
    int len = passphrase != NULL ? (int)strnlen(passphrase, PASSPHRASE_MAX) : 0;
    int rv = b != NULL && PEM_write_bio_PKCS8PrivateKey(b, key, cipher, passphrase, len,
                                                        NULL, NULL) == 1
                 ? write_bio(path, b, true, eb)
                 : fail(eb, "no key for", path);

    BIO_free(b);
    return rv;
}

static int read_cert(const char *path, X509 **ret, struct sy_errbuf *eb)
{
    FILE *f = fopen(path, "re");
    int rv = f != NULL ? 0 : -errno;

    if (f == NULL) {
        return sy_fail(eb, rv, "%.300s cannot be opened: %s", path, sy_err_text(rv));
    }
    *ret = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    return *ret != NULL ? 0 : fail(eb, "there is no certificate in", path);
}

static int give_passphrase(char *buf, int size, int writes, void *data)
{
    size_t n = data != NULL ? strnlen(data, PASSPHRASE_MAX) : 0;

    (void)writes;
    if (n == 0 || n > (size_t)size) {
        return -1;
    }
    memcpy(buf, data, n);
    return (int)n;
}

static int read_key(const char *path, const char *passphrase, EVP_PKEY **ret,
                    struct sy_errbuf *eb)
{
    FILE *f = fopen(path, "re");
    int rv = f != NULL ? 0 : -errno;

    if (f == NULL) {
        return sy_fail(eb, rv, "%.300s cannot be opened: %s", path, sy_err_text(rv));
    }
    *ret = PEM_read_PrivateKey(f, NULL, give_passphrase, (void *)(uintptr_t)passphrase);
    fclose(f);
    if (*ret == NULL) {
        ERR_clear_error();
        return sy_fail(eb, SY_EINVALID, "the key %.300s cannot be used: %s", path,
                       passphrase == NULL ? "if it has a passphrase, put that into the "
                                            "environment variable VAGT_CA_PASSPHRASE"
                                          : "is it the right passphrase?");
    }
    return 0;
}

/* --- certificates --- */

static bool put_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *e;
    X509V3_CTX ctx;
    bool ok;

    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = e != NULL && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool put_name(X509_NAME *name, const char *field, const char *value)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                      (const unsigned char *)value, -1, -1, 0) == 1;
}

/* 127 random bits: nobody keeps a list. */
static bool put_serial(X509 *x)
{
    BIGNUM *n = BN_new();
    bool ok = n != NULL && BN_rand(n, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

    BN_free(n);
    return ok;
}

static bool put_times(X509 *x, int64_t now, int days)
{
    return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(now - EARLY_S)) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(now + (int64_t)days * DAY_S)) !=
               NULL;
}

static X509 *blank(const char *cluster, const char *name, EVP_PKEY *key, int64_t now,
                   int days)
{
    X509 *x = X509_new();
    X509_NAME *subject = X509_get_subject_name(x);

    if (X509_set_version(x, X509_VERSION_3) == 1 && put_serial(x) &&
        put_times(x, now, days) && put_name(subject, "O", cluster) &&
        put_name(subject, "CN", name) && X509_set_pubkey(x, key) == 1) {
        return x;
    }
    X509_free(x);
    return NULL;
}

int ad_pki_init(const char *dir, const char *cluster, const char *passphrase, int64_t now,
                struct sy_errbuf *eb)
{
    char crt[AD_PKI_PATH_SIZE], key_path[AD_PKI_PATH_SIZE], sub[AD_PKI_PATH_SIZE];
    EVP_PKEY *key;
    X509 *x = NULL;
    int rv;

    path_of(crt, dir, NULL, "ca.crt");
    path_of(key_path, dir, NULL, "ca.key");
    path_of(sub, dir, NULL, "nodes");
    if (access(crt, F_OK) == 0 || access(key_path, F_OK) == 0) {
        return sy_fail(eb, SY_EEXISTS,
                       "%.300s has a CA already: another one would lock out every node",
                       dir);
    }
    key = EVP_EC_gen("P-256");
    if (key != NULL) {
        x = blank(cluster, "vagt CA", key, now, AD_PKI_CA_DAYS);
    }
    if (x == NULL || X509_set_issuer_name(x, X509_get_subject_name(x)) != 1 ||
        !put_ext(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !put_ext(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !put_ext(x, x, NID_subject_key_identifier, "hash") ||
        X509_sign(x, key, EVP_sha256()) == 0) {
        rv = fail(eb, "no CA for", dir);
    } else {
        rv = make_dir(dir, eb);
        rv = rv == 0 ? make_dir(sub, eb) : rv;
        rv = rv == 0 ? write_key(key_path, key, passphrase, eb) : rv;
        rv = rv == 0 ? write_cert(crt, x, eb) : rv;
    }
    X509_free(x);
    EVP_PKEY_free(key);
    return rv;
}

int ad_pki_cluster(const char *dir, char *ret, size_t size, struct sy_errbuf *eb)
{
    char path[AD_PKI_PATH_SIZE];
    X509 *x = NULL;
    int rv;

    path_of(path, dir, NULL, "ca.crt");
    rv = read_cert(path, &x, eb);
    if (rv == 0 && X509_NAME_get_text_by_NID(X509_get_subject_name(x),
                                             NID_organizationName, ret, (int)size) <= 0) {
        rv = sy_fail(eb, SY_EINVALID, "%.300s is not the CA of a cluster", path);
    }
    X509_free(x);
    return rv;
}

/* The CA, to sign with. */
static int open_ca(const char *dir, const char *passphrase, X509 **ret_ca,
                   EVP_PKEY **ret_key, struct sy_errbuf *eb)
{
    char path[AD_PKI_PATH_SIZE];
    int rv;

    path_of(path, dir, NULL, "ca.crt");
    rv = read_cert(path, ret_ca, eb);
    if (rv == 0) {
        path_of(path, dir, NULL, "ca.key");
        rv = read_key(path, passphrase, ret_key, eb);
    }
    return rv;
}

/* For a name that is used as one of a folder, or in a list with commas. */
static bool is_word(const char *s)
{
    static const char good[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        "0123456789._-:";

    return s[0] != '\0' && s[0] != '.' && strlen(s) < 96 && s[strspn(s, good)] == '\0';
}

static int names_of(const struct ad_pki_node *node, struct sy_buf *to,
                    struct sy_errbuf *eb)
{
    sy_buf_fmt(to, "URI:vagt://%s/node/%llu,DNS:%s", node->cluster,
               (unsigned long long)node->id, node->name);
    for (unsigned i = 0; i < node->addresses_n; i++) {
        const char *a = node->addresses[i];
        uint8_t raw[16];
        bool numeric =
            inet_pton(AF_INET, a, raw) == 1 || inet_pton(AF_INET6, a, raw) == 1;

        if (!is_word(a) || (!numeric && strchr(a, ':') != NULL)) {
            return sy_fail(eb, SY_EINVALID, "'%.100s' is no address and no host name", a);
        }
        sy_buf_fmt(to, ",%s:%s", numeric ? "IP" : "DNS", a);
    }
    sy_buf_u8(to, 0);
    return 0;
}

static bool put_node_exts(X509 *x, X509 *ca)
{
    return put_ext(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
           put_ext(x, ca, NID_key_usage, "critical,digitalSignature") &&
           put_ext(x, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
           put_ext(x, ca, NID_subject_key_identifier, "hash") &&
           put_ext(x, ca, NID_authority_key_identifier, "keyid:always");
}

/* For @key; the caller frees it. */
static int issue(const char *dir, const struct ad_pki_node *node, EVP_PKEY *key,
                 const char *passphrase, int64_t now, int days, X509 **ret,
                 struct sy_errbuf *eb)
{
    struct sy_buf names = {0};
    EVP_PKEY *ca_key = NULL;
    X509 *ca = NULL, *x = NULL;
    int rv = names_of(node, &names, eb);

    rv = rv == 0 ? open_ca(dir, passphrase, &ca, &ca_key, eb) : rv;
    if (rv == 0) {
        x = blank(node->cluster, node->name, key, now, days);
        if (x == NULL || X509_set_issuer_name(x, X509_get_subject_name(ca)) != 1 ||
            !put_node_exts(x, ca) ||
            !put_ext(x, ca, NID_subject_alt_name, (const char *)names.p) ||
            X509_sign(x, ca_key, EVP_sha256()) == 0) {
            rv = fail(eb, "no certificate for", node->name);
        }
    }
    if (rv == 0) {
        *ret = x;
    } else {
        X509_free(x);
    }
    sy_buf_free(&names);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    return rv;
}

/* The CA's certificate goes with it. */
static int copy_ca(const char *dir, const char *name, struct sy_errbuf *eb)
{
    char path[AD_PKI_PATH_SIZE];
    X509 *ca = NULL;
    int rv;

    path_of(path, dir, NULL, "ca.crt");
    rv = read_cert(path, &ca, eb);
    path_of(path, dir, name, "ca.crt");
    rv = rv == 0 ? write_cert(path, ca, eb) : rv;
    X509_free(ca);
    return rv;
}

int ad_pki_node(const char *dir, const struct ad_pki_node *node, const char *passphrase,
                int64_t now, int days, struct sy_errbuf *eb)
{
    char path[AD_PKI_PATH_SIZE], crt[AD_PKI_PATH_SIZE];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = NULL;
    int rv;

    if (key == NULL || !is_word(node->name)) {
        EVP_PKEY_free(key);
        return sy_fail(eb, SY_EINVALID, "'%.100s' is no name for a node", node->name);
    }
    path_of(crt, dir, node->name, "node.crt");
    if (access(crt, F_OK) == 0) {
        EVP_PKEY_free(key);
        return sy_fail(eb, SY_EEXISTS,
                       "%.300s is there already: `vagtctl pki renew` makes it last "
                       "longer; for a new key move its folder away first",
                       crt);
    }
    rv = issue(dir, node, key, passphrase, now, days, &x, eb);
    path_of(path, dir, node->name, "");
    rv = rv == 0 ? make_dir(path, eb) : rv;
    rv = rv == 0 ? copy_ca(dir, node->name, eb) : rv;
    path_of(path, dir, node->name, "node.key");
    rv = rv == 0 ? write_key(path, key, NULL, eb) : rv;
    rv = rv == 0 ? write_cert(crt, x, eb) : rv;
    X509_free(x);
    EVP_PKEY_free(key);
    return rv;
}

/* @old with other times and another number, signed anew. */
static int sign_again(X509 *old, X509 *ca, EVP_PKEY *ca_key, int64_t now, int days,
                      const char *path, struct sy_errbuf *eb)
{
    X509 *x = X509_dup(old);
    int rv;

    if (x == NULL || !put_serial(x) || !put_times(x, now, days) ||
        X509_set_issuer_name(x, X509_get_subject_name(ca)) != 1 ||
        X509_sign(x, ca_key, EVP_sha256()) == 0) {
        rv = fail(eb, "cannot renew", path);
    } else {
        rv = write_cert(path, x, eb);
    }
    X509_free(x);
    return rv;
}

int ad_pki_renew(const char *dir, const char *name, const char *passphrase, int64_t now,
                 int days, struct sy_errbuf *eb)
{
    char path[AD_PKI_PATH_SIZE];
    EVP_PKEY *ca_key = NULL;
    X509 *ca = NULL, *old = NULL;
    int rv = is_word(name) ? 0 : sy_fail(eb, SY_EINVALID, "'%.100s' is no name", name);

    path_of(path, dir, name, "node.crt");
    rv = rv == 0 ? read_cert(path, &old, eb) : rv;
    rv = rv == 0 ? open_ca(dir, passphrase, &ca, &ca_key, eb) : rv;
    if (rv == 0 && X509_verify(old, X509_get0_pubkey(ca)) != 1) {
        ERR_clear_error();
        rv = sy_fail(eb, SY_EINVALID, "%.300s was not signed by the CA in %.100s", path,
                     dir);
    }
    rv = rv == 0 ? sign_again(old, ca, ca_key, now, days, path, eb) : rv;
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    X509_free(old);
    return rv;
}

/* --- what one says --- */

static int64_t unix_time(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void put_text(struct sy_buf *to, const ASN1_STRING *s)
{
    sy_buf_put(to, ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
}

static void describe_names(const X509 *x, char *ret, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    struct sy_buf b = {0};

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        char ip[INET6_ADDRSTRLEN] = "?";

        sy_buf_str(&b, i > 0 ? ", " : "");
        if (g->type == GEN_URI || g->type == GEN_DNS) {
            put_text(&b, g->d.ia5);
        } else if (g->type == GEN_IPADD) {
            int n = ASN1_STRING_length(g->d.iPAddress);

            (void)inet_ntop(n == 4 ? AF_INET : AF_INET6,
                            ASN1_STRING_get0_data(g->d.iPAddress), ip, sizeof ip);
            sy_buf_str(&b, n == 4 || n == 16 ? ip : "?");
        }
    }
    snprintf(ret, size, "%.*s", (int)b.len, b.len > 0 ? (const char *)b.p : "");
    sy_buf_free(&b);
    GENERAL_NAMES_free(names);
}

int ad_pki_describe(const char *file, struct ad_pki_cert *ret, struct sy_errbuf *eb)
{
    X509 *x = NULL;
    BIGNUM *serial;
    char *hex;
    int rv = read_cert(file, &x, eb);

    if (rv != 0) {
        return rv;
    }
    *ret = (struct ad_pki_cert){.from = unix_time(X509_get0_notBefore(x)),
                                .until = unix_time(X509_get0_notAfter(x)),
                                .is_ca = X509_check_ca(x) == 1};
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName,
                                    ret->subject, sizeof ret->subject);
    describe_names(x, ret->names, sizeof ret->names);
    serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    hex = serial != NULL ? BN_bn2hex(serial) : NULL;
    snprintf(ret->serial, sizeof ret->serial, "%s", hex != NULL ? hex : "");
    OPENSSL_free(hex);
    BN_free(serial);
    X509_free(x);
    return 0;
}
