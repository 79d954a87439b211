#include "tests/peer/tls_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "adapters/seal/pki.h"

static void must(int rv, const struct sy_errbuf *eb)
{
    if (rv < 0) {
        fail_msg("%s", eb->text);
    }
}

void tls_rig_node(const char *dir, const char *cluster, uint64_t id, const char *name,
                  int64_t now, int days)
{
    const struct ad_pki_node n = {.cluster = cluster,
                                  .id = id,
                                  .name = name,
                                  .addresses = {"127.0.0.1"},
                                  .addresses_n = 1};
    struct sy_errbuf eb;

    must(ad_pki_node(dir, &n, NULL, now, days, &eb), &eb);
}

void tls_rig_files(const char *dir, const char *name, struct ad_tls_files *ret)
{
    snprintf(ret->ca, sizeof ret->ca, "%s/ca.crt", dir);
    snprintf(ret->cert, sizeof ret->cert, "%s/nodes/%s/node.crt", dir, name);
    snprintf(ret->key, sizeof ret->key, "%s/nodes/%s/node.key", dir, name);
}

void tls_rig_init(struct tls_rig *t, struct rig *r)
{
    const char *tmp = getenv("TMPDIR");
    struct ad_tls_files files;
    struct sy_errbuf eb;
    char name[8];

    memset(t, 0, sizeof *t);
    snprintf(t->dir, sizeof t->dir, "%s/vagt-pki.XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->foreign, sizeof t->foreign, "%s/foreign", t->dir);
    t->now = time(NULL);
    must(ad_pki_init(t->dir, "campsite", NULL, t->now, &eb), &eb);
    must(ad_pki_init(t->foreign, "campsite", NULL, t->now, &eb), &eb);
    for (unsigned i = 1; i <= RIG_NODES; i++) {
        snprintf(name, sizeof name, "n%u", i);
        tls_rig_node(t->dir, "campsite", i, name, t->now, 365);
        tls_rig_files(t->dir, name, &files);
        must(ad_tls_open(&t->tls[i], &files, "campsite", i, &eb), &eb);
        rig_config(r, i)->tls = t->tls[i];
    }
}

void tls_rig_fini(struct tls_rig *t)
{
    char command[300];

    for (unsigned i = 1; i <= RIG_NODES; i++) {
        ad_tls_free(t->tls[i]);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", t->dir);
    assert_int_equal(system(command), 0);
}

/* --- the client --- */

static void send_out(struct raw_tls *c, struct sy_buf *hold)
{
    char *p = NULL;
    long n = BIO_get_mem_data(c->out, &p);

    if (n <= 0) {
        return;
    }
    if (hold != NULL) {
        sy_buf_put(hold, p, (size_t)n);
    } else {
        sy_buf_put(&c->sent, p, (size_t)n);
        raw_write(c->fd, p, (size_t)n);
    }
    (void)BIO_reset((BIO *)c->out);
}

void raw_tls_dial(struct raw_tls *c, struct rig *r, unsigned id, const char *dir,
                  const char *name, bool old)
{
    struct ad_tls_files files;

    memset(c, 0, sizeof *c);
    c->rig = r;
    c->until_ns = uv_hrtime() + 5000000000ULL;
    c->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(c->ctx, old ? TLS1_2_VERSION : 0);
    if (name != NULL) {
        tls_rig_files(dir, name, &files);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(c->ctx, files.cert), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(c->ctx, files.key, SSL_FILETYPE_PEM),
                         1);
    }
    c->ssl = SSL_new(c->ctx);
    c->in = BIO_new(BIO_s_mem());
    c->out = BIO_new(BIO_s_mem());
    SSL_set_bio(c->ssl, c->in, c->out);
    SSL_set_connect_state(c->ssl);
    c->fd = raw_dial(r, id);
    raw_tls_turn(c);
}

void raw_tls_turn(struct raw_tls *c)
{
    uint8_t raw[16384];
    ssize_t n;

    if (uv_hrtime() > c->until_ns) {
        fail_msg("waited in vain for the other side: up %d", c->up);
    }
    while ((n = recv(c->fd, raw, sizeof raw, 0)) > 0) {
        BIO_write(c->in, raw, (int)n);
    }
    c->ended = c->ended || n == 0 || (errno != EAGAIN && errno != EINTR);
    if (!c->up) {
        c->up = SSL_do_handshake(c->ssl) == 1;
    }
    while (c->up && (n = SSL_read(c->ssl, raw, sizeof raw)) > 0) {
        sy_buf_put(&c->got, raw, (size_t)n);
    }
    send_out(c, NULL);
    rig_turn(c->rig);
}

void raw_tls_write(struct raw_tls *c, const void *p, size_t n, struct sy_buf *hold)
{
    assert_int_equal(SSL_write(c->ssl, p, (int)n), (int)n);
    send_out(c, hold);
}

void raw_tls_close(struct raw_tls *c)
{
    close(c->fd);
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    sy_buf_free(&c->sent);
    sy_buf_free(&c->got);
}
