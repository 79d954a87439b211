#include "adapters/probe/tls.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/mem.h"

struct ad_probe_ctx
{
    SSL_CTX *ctx;
};

struct ad_probe_tls
{
    SSL *ssl;
    BIO *in, *out; /* owned by @ssl */
};

/* --- the files --- */

static int bad_file(struct sy_errbuf *eb, const char *file, const char *mend)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    int rv;

    if (access(file, R_OK) != 0) {
        why = strerror(errno); /* To OpenSSL it is "system lib". */
    }
    rv = sy_fail(eb, SY_EINVALID, "%.200s cannot be used (%s): %s", file,
                 why != NULL ? why : "no reason given", mend);
    ERR_clear_error();
    return rv;
}

/* A key with a passphrase: nobody is there to be asked. */
static int no_passphrase(char *buf, int size, int rwflag, void *data)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)data;
    return 0;
}

static int load_own(SSL_CTX *ctx, const struct ad_probe_files *f, struct sy_errbuf *eb)
{
    struct stat st;

    if (f->cert == NULL || f->cert[0] == '\0') {
        return 0;
    }
    if (stat(f->key, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        return sy_fail(eb, SY_EINVALID,
                       "everybody on this machine may read or change %.200s: chmod 600 "
                       "it",
                       f->key);
    }
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ctx, f->cert) != 1) {
        return bad_file(eb, f->cert, "it must be our certificate, as PEM");
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) != 1) {
        return bad_file(eb, f->key,
                        "it must be the key of that certificate, as PEM, without a "
                        "passphrase");
    }
    return 0;
}

int ad_probe_ctx_open(struct ad_probe_ctx **ret, const struct ad_probe_files *f,
                      struct sy_errbuf *eb)
{
    struct ad_probe_ctx *c = sy_calloc(1, sizeof *c);
    int rv;

    ERR_clear_error();
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (c->ctx == NULL) {
        sy_free(c);
        return sy_fail(eb, SY_ELIMIT, "OpenSSL does not start");
    }
    (void)SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
    rv = SSL_CTX_load_verify_file(c->ctx, f->ca) == 1
             ? 0
             : bad_file(eb, f->ca, "it must hold certificates of a CA, as PEM");
    rv = rv != 0 ? rv : load_own(c->ctx, f, eb);
    if (rv != 0) {
        ad_probe_ctx_free(c);
        return rv;
    }
    *ret = c;
    return 0;
}

void ad_probe_ctx_free(struct ad_probe_ctx *c)
{
    if (c != NULL) {
        SSL_CTX_free(c->ctx);
        sy_free(c);
    }
}

/* --- one connection --- */

struct ad_probe_tls *ad_probe_tls_new(struct ad_probe_ctx *c, const char *host)
{
    struct ad_probe_tls *t = sy_calloc(1, sizeof *t);

    t->ssl = SSL_new(c->ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (t->ssl == NULL || t->in == NULL || t->out == NULL ||
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), host) != 1) {
        BIO_free(t->in);
        BIO_free(t->out);
        SSL_free(t->ssl);
        sy_free(t);
        return NULL;
    }
    BIO_set_mem_eof_return(t->in, -1); /* Nothing there is not the end. */
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    return t;
}

void ad_probe_tls_free(struct ad_probe_tls *t)
{
    if (t != NULL) {
        SSL_free(t->ssl);
        sy_free(t);
    }
}

bool ad_probe_tls_is_up(const struct ad_probe_tls *t)
{
    return SSL_is_init_finished(t->ssl) == 1;
}

static void take_wire(struct ad_probe_tls *t, struct sy_buf *wire)
{
    int n = (int)BIO_ctrl_pending(t->out);

    if (n > 0) {
        n = BIO_read(t->out, sy_buf_reserve(wire, (size_t)n), n);
        wire->len += n > 0 ? (size_t)n : 0;
    }
}

static int why_not(struct ad_probe_tls *t, struct sy_errbuf *eb)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    long verified = SSL_get_verify_result(t->ssl);
    int rv;

    if (verified != X509_V_OK) {
        rv = sy_fail(eb, SY_EINVALID,
                     "shows a certificate that is not good (%s): brokers[].tls.ca must "
                     "have signed "
                     "it, and it must name this address",
                     X509_verify_cert_error_string(verified));
    } else if (code != 0 && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) {
        rv = sy_fail(eb, SY_EINVALID, "does not speak TLS at this port");
    } else {
        rv = sy_fail(eb, SY_EINVALID, "no TLS: %s",
                     why != NULL ? why : "it ended the connection");
    }
    ERR_clear_error();
    return rv;
}

/* Did @rv, of a call, mean more than "later"? */
static bool failed(const struct ad_probe_tls *t, int rv)
{
    int error = SSL_get_error(t->ssl, rv);

    return rv <= 0 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
}

int ad_probe_tls_turn(struct ad_probe_tls *t, const void *p, size_t n,
                      struct sy_buf *wire, struct sy_buf *plain, size_t max,
                      struct sy_errbuf *eb)
{
    int rv = 1;

    assert(n <= INT32_MAX);
    ERR_clear_error();
    if (n > 0 && BIO_write(t->in, p, (int)n) != (int)n) {
        return sy_fail(eb, SY_ELIMIT, "no memory for what it says");
    }
    if (!ad_probe_tls_is_up(t)) {
        rv = SSL_do_handshake(t->ssl);
    }
    while (rv > 0 && plain->len < max) {
        size_t room = max - plain->len;

        rv = SSL_read(t->ssl, sy_buf_reserve(plain, room), (int)room);
        plain->len += rv > 0 ? (size_t)rv : 0;
    }
    take_wire(t, wire);
    return failed(t, rv) ? why_not(t, eb) : 0;
}

void ad_probe_tls_say(struct ad_probe_tls *t, const void *p, size_t n,
                      struct sy_buf *wire)
{
    ERR_clear_error();
    (void)SSL_write(t->ssl, p, (int)n); /* Into memory: what fails goes unanswered. */
    take_wire(t, wire);
}
