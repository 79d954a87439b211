#include "adapters/peer/tls.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/mem.h"

enum {
    /* Of somebody who has not proved anything yet. */
    STRANGER_BYTES_MAX = 32 * 1024,
    CHAIN_BYTES_MAX = 16 * 1024,
    READ_STEP = 16 * 1024,
    FILES = 3
};

/* What a file was when it was read. */
struct stamp
{
    ino_t ino;
    off_t size;
    struct timespec mtime;
};

struct ad_tls
{
    struct ad_tls_files files;
    char cluster[64];
    uint64_t self;
    SSL_CTX *ctx;
    int64_t until;
    struct stamp stamps[FILES];
    bool failed; /* to read them anew: try again */
};

struct ad_tls_link
{
    SSL *ssl;
    BIO *in, *out; /* owned by @ssl */
    const struct ad_tls *owner;
    uint64_t dials;
    uint64_t named; /* by its certificate, which is right */
    size_t seen;
    bool done;
};

/* --- who somebody is --- */

uint64_t ad_tls_id_of(const char *uri, size_t n, const char *cluster)
{
    static const char scheme[] = "vagt://", node[] = "/node/";
    size_t len = strlen(cluster), at = sizeof scheme - 1 + len + sizeof node - 1;
    uint64_t id = 0;

    if (n <= at || n > at + 3 || memcmp(uri, scheme, sizeof scheme - 1) != 0 ||
        memcmp(uri + sizeof scheme - 1, cluster, len) != 0 ||
        memcmp(uri + at - (sizeof node - 1), node, sizeof node - 1) != 0 ||
        uri[at] == '0') {
        return 0;
    }
    for (; at < n; at++) {
        if (uri[at] < '0' || uri[at] > '9') {
            return 0;
        }
        id = 10 * id + (uint64_t)(uri[at] - '0');
    }
    return id;
}

/* The node that @x was made for; 0: none of @cluster. */
static uint64_t id_in(const X509 *x, const char *cluster)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    uint64_t id = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && id == 0; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_URI) {
            const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;

            id = ad_tls_id_of((const char *)ASN1_STRING_get0_data(uri),
                              (size_t)ASN1_STRING_length(uri), cluster);
        }
    }
    GENERAL_NAMES_free(names);
    return id;
}

/* Called for each certificate of the chain, the peer's own last. */
static int judge(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct ad_tls_link *l = SSL_get_app_data(ssl);

    if (good == 1 && X509_STORE_CTX_get_error_depth(store) == 0) {
        uint64_t id = id_in(X509_STORE_CTX_get_current_cert(store), l->owner->cluster);

        if (id == 0 || id == l->owner->self || (l->dials != 0 && id != l->dials)) {
            X509_STORE_CTX_set_error(store, id == 0 ? X509_V_ERR_SUBJECT_ISSUER_MISMATCH
                                                    : X509_V_ERR_HOSTNAME_MISMATCH);
            return 0;
        }
        l->named = id;
    }
    return good;
}

/* --- what we show, and whom we trust --- */

static const char *file_at(const struct ad_tls_files *f, unsigned i)
{
    return i == 0 ? f->ca : i == 1 ? f->cert : f->key;
}

static int bad_file(struct sy_errbuf *eb, const char *what, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    int rv = sy_fail(eb, SY_EINVALID, "%s %.200s: %s", what, file,
                     why != NULL ? why : "it cannot be used");

    ERR_clear_error();
    return rv;
}

static int look_at(const struct ad_tls_files *f, struct stamp stamps[FILES],
                   struct sy_errbuf *eb)
{
    memset(stamps, 0, FILES * sizeof stamps[0]);
    for (unsigned i = 0; i < FILES; i++) {
        const char *path = file_at(f, i);
        struct stat st;

        if (stat(path, &st) != 0) {
            int rv = -errno;

            return sy_fail(eb, rv, "%.200s cannot be read: %s", path, sy_err_text(rv));
        }
        if (i == FILES - 1 && (st.st_mode & S_IRWXO) != 0) {
            return sy_fail(eb, SY_EINVALID,
                           "everybody on this machine may use the key %.200s: chmod 600 "
                           "it",
                           path);
        }
        stamps[i] = (struct stamp){st.st_ino, st.st_size, st.st_mtim};
    }
    return 0;
}

static bool same(const struct stamp *a, const struct stamp *b)
{
    for (unsigned i = 0; i < FILES; i++) {
        if (a[i].ino != b[i].ino || a[i].size != b[i].size ||
            a[i].mtime.tv_sec != b[i].mtime.tv_sec ||
            a[i].mtime.tv_nsec != b[i].mtime.tv_nsec) {
            return false;
        }
    }
    return true;
}

/* A key with a passphrase: nobody is there to type it. */
static int no_passphrase(char *buf, int size, int writes, void *data)
{
    (void)buf, (void)size, (void)writes, (void)data;
    return -1;
}

static int read_files(SSL_CTX *ctx, const struct ad_tls_files *f, struct sy_errbuf *eb)
{
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    if (SSL_CTX_load_verify_file(ctx, f->ca) != 1) {
        return bad_file(eb, "there is no certificate of a CA in", f->ca);
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, f->cert) != 1) {
        return bad_file(eb, "there is no certificate in", f->cert);
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) != 1) {
        return ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH
                   ? bad_file(eb, "it is not the key of that certificate:", f->key)
                   : bad_file(eb, "there is no private key without passphrase in",
                              f->key);
    }
    return 0;
}

static int64_t end_of(const X509 *x)
{
    struct tm tm;

    return ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static int64_t end_of_chain(STACK_OF(X509) * chain)
{
    int64_t until = INT64_MAX;

    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t end = end_of(sk_X509_value(chain, i));

        until = end < until ? end : until;
    }
    return until;
}

/* Would the others believe us, but for the time? */
static int check_own(struct ad_tls *t, SSL_CTX *ctx, int64_t *ret_until,
                     struct sy_errbuf *eb)
{
    X509 *own = SSL_CTX_get0_certificate(ctx);
    STACK_OF(X509) *between = NULL;
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    uint64_t id = id_in(own, t->cluster);
    int rv = 0;

    if (id != t->self) {
        X509_STORE_CTX_free(store);
        return sy_fail(eb, SY_EINVALID,
                       "%.200s is not for this node: it must name "
                       "vagt://%s/node/%llu, as `vagtctl pki node` writes it",
                       t->files.cert, t->cluster, (unsigned long long)t->self);
    }
    (void)SSL_CTX_get0_chain_certs(ctx, &between);
    if (store == NULL ||
        X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(ctx), own, between) != 1) {
        rv = bad_file(eb, "cannot check", t->files.cert);
    } else {
        X509_STORE_CTX_set_flags(store, X509_V_FLAG_NO_CHECK_TIME);
        if (X509_verify_cert(store) != 1) {
            rv = sy_fail(eb, SY_EINVALID, "%.200s is not signed by the CA in %.200s: %s",
                         t->files.cert, t->files.ca,
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
        } else {
            *ret_until = end_of_chain(X509_STORE_CTX_get0_chain(store));
        }
    }
    X509_STORE_CTX_free(store);
    return rv;
}

static void harden(SSL_CTX *ctx)
{
    static const char suites[] =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
        "TLS_CHACHA20_POLY1305_SHA256";
    bool ok = SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
              SSL_CTX_set_ciphersuites(ctx, suites) == 1 &&
              SSL_CTX_set_num_tickets(ctx, 0) == 1;

    assert(ok); /* They are part of every libssl. */
    (void)ok;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_BYTES_MAX);
    SSL_CTX_set_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, judge);
    SSL_CTX_set_verify_depth(ctx, 3);
}

static int load(struct ad_tls *t, struct sy_errbuf *eb)
{
    struct stamp stamps[FILES];
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int64_t until = 0;
    int rv = look_at(&t->files, stamps, eb);

    assert(ctx != NULL);
    ERR_clear_error();
    harden(ctx);
    if (rv == 0) {
        rv = read_files(ctx, &t->files, eb);
    }
    if (rv == 0) {
        rv = check_own(t, ctx, &until, eb);
    }
    t->failed = rv != 0;
    if (rv != 0) {
        SSL_CTX_free(ctx);
        return rv;
    }
    SSL_CTX_free(t->ctx); /* Connections that use it still hold it. */
    t->ctx = ctx;
    t->until = until;
    memcpy(t->stamps, stamps, sizeof t->stamps);
    return 0;
}

int ad_tls_open(struct ad_tls **ret, const struct ad_tls_files *files,
                const char *cluster, uint64_t self, struct sy_errbuf *eb)
{
    struct ad_tls *t = sy_calloc(1, sizeof *t);
    int rv;

    t->files = *files;
    snprintf(t->cluster, sizeof t->cluster, "%s", cluster);
    t->self = self;
    rv = load(t, eb);
    if (rv != 0) {
        ad_tls_free(t);
        return rv;
    }
    *ret = t;
    return 0;
}

int ad_tls_renew(struct ad_tls *t, struct sy_errbuf *eb)
{
    struct stamp stamps[FILES];
    int rv;

    if (!t->failed && look_at(&t->files, stamps, NULL) == 0 && same(stamps, t->stamps)) {
        return 0;
    }
    rv = load(t, eb);
    return rv != 0 ? rv : 1;
}

int64_t ad_tls_until(const struct ad_tls *t)
{
    return t->until;
}

void ad_tls_free(struct ad_tls *t)
{
    if (t != NULL) {
        SSL_CTX_free(t->ctx);
        sy_free(t);
    }
}

/* --- one connection --- */

struct ad_tls_link *ad_tls_link_new(struct ad_tls *t, uint64_t dials)
{
    struct ad_tls_link *l = sy_calloc(1, sizeof *l);

    l->ssl = SSL_new(t->ctx);
    l->in = BIO_new(BIO_s_mem());
    l->out = BIO_new(BIO_s_mem());
    assert(l->ssl != NULL && l->in != NULL && l->out != NULL);
    l->owner = t;
    l->dials = dials;
    SSL_set_bio(l->ssl, l->in, l->out);
    SSL_set_app_data(l->ssl, l);
    if (dials != 0) {
        SSL_set_connect_state(l->ssl);
    } else {
        SSL_set_accept_state(l->ssl);
    }
    return l;
}

static const char *verify_text(long result)
{
    static const struct
    {
        long result;
        const char *text;
    } rows[] = {
        {X509_V_ERR_CERT_HAS_EXPIRED,
         "its certificate has expired: renew it (`vagtctl pki renew`); or the clock of "
         "one of the two machines is wrong"},
        {X509_V_ERR_CERT_NOT_YET_VALID,
         "its certificate is not valid yet: compare the clocks of the two machines"},
        {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "its certificate is of another CA"},
        {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "its certificate is of another CA"},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "its certificate is of another CA"},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
         "its certificate is of another CA"},
        {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "its certificate is of another CA"},
        {X509_V_ERR_CERT_SIGNATURE_FAILURE, "its certificate is of another CA"},
        {X509_V_ERR_SUBJECT_ISSUER_MISMATCH,
         "its certificate names no node of this cluster"},
        {X509_V_ERR_HOSTNAME_MISMATCH,
         "its certificate is that of another node: compare `nodes`, and which files lie "
         "on which machine"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].result == result) {
            return rows[i].text;
        }
    }
    return X509_verify_cert_error_string(result);
}

static const char *reason_text(int reason)
{
    switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "it shows no certificate";
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
        return "it does not speak TLS: a stranger, or a node without `tls`";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_UNKNOWN_PROTOCOL:
        return "it speaks an old TLS: 1.3 is needed";
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_BAD_RECORD_TYPE:
        return "what it sent was changed, or repeated, on the way";
    default:
        return ERR_reason_error_string(ERR_peek_last_error());
    }
}

static int fail(struct ad_tls_link *l, struct sy_errbuf *eb)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code), rv;
    const char *text;

    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
        rv = sy_fail(eb, -ECONNREFUSED, "it says: %s",
                     SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    } else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        rv = sy_fail(eb, SY_EINVALID, "%s", verify_text(SSL_get_verify_result(l->ssl)));
    } else {
        text = code != 0 ? reason_text(reason) : "it ended the encryption";
        rv = sy_fail(eb, SY_EINVALID, "%s", text != NULL ? text : "broken TLS");
    }
    ERR_clear_error();
    return rv;
}

static int shake(struct ad_tls_link *l, struct sy_errbuf *eb)
{
    int n = SSL_do_handshake(l->ssl);

    if (n == 1) {
        assert(l->named != 0); /* judge() lets nobody else through. */
        l->done = true;
        return 0;
    }
    if (SSL_get_error(l->ssl, n) == SSL_ERROR_WANT_READ) {
        return l->seen > STRANGER_BYTES_MAX
                   ? sy_fail(eb, SY_EINVALID, "a greeting that does not end")
                   : 0;
    }
    return fail(l, eb);
}

static int read_all(struct ad_tls_link *l, struct sy_buf *plain, struct sy_errbuf *eb)
{
    for (;;) {
        int n = SSL_read(l->ssl, sy_buf_reserve(plain, READ_STEP), READ_STEP);

        if (n <= 0) {
            return SSL_get_error(l->ssl, n) == SSL_ERROR_WANT_READ ? 0 : fail(l, eb);
        }
        plain->len += (size_t)n;
    }
}

/* What the library wants to say, moved to where it is sent from. */
static void drain(struct ad_tls_link *l, struct sy_buf *wire)
{
    char *p = NULL;
    long n = BIO_get_mem_data(l->out, &p);

    if (n > 0) {
        sy_buf_put(wire, p, (size_t)n);
        (void)BIO_reset(l->out);
    }
}

int ad_tls_take(struct ad_tls_link *l, const void *p, size_t n, struct sy_buf *plain,
                struct sy_buf *wire, struct sy_errbuf *eb)
{
    int rv = 0;

    assert(n <= INT_MAX);
    ERR_clear_error();
    l->seen += l->done ? 0 : n;
    if (n > 0 && BIO_write(l->in, p, (int)n) != (int)n) {
        return sy_fail(eb, SY_EINVALID, "no room for what came");
    }
    if (!l->done) {
        rv = shake(l, eb);
    }
    if (rv == 0 && l->done) {
        rv = read_all(l, plain, eb);
    }
    l->done = l->done && rv == 0; /* After an error nothing can be said any more. */
    drain(l, wire);
    return rv;
}

void ad_tls_give(struct ad_tls_link *l, const void *p, size_t n, struct sy_buf *wire)
{
    size_t done = 0;
    int ok;

    assert(l->done);
    ERR_clear_error();
    ok = n == 0 || SSL_write_ex(l->ssl, p, n, &done) == 1;
    assert(ok && done == n); /* Into memory: there is nothing to wait for. */
    (void)ok;
    drain(l, wire);
}

uint64_t ad_tls_peer(const struct ad_tls_link *l)
{
    return l->done ? l->named : 0;
}

void ad_tls_link_free(struct ad_tls_link *l)
{
    if (l != NULL) {
        SSL_free(l->ssl);
        sy_free(l);
    }
}
