/* Bytes that come before anybody has proved who it is. 's': to a node that was dialled;
 * 'c': to one that dials; 'm': two nodes talk, and the bytes are what somebody between
 * them does: of the next flight, where (two bytes), to be changed by which mask; 0 cuts
 * it there. Nobody is known by that, and what is said was said by the other side. */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "adapters/peer/tls.h"
#include "adapters/seal/pki.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { NODES = 2, FLIGHTS = 12, WIRE_MAX = 64 * 1024 };

static const char word[] = "what one node says to the other";
static struct ad_tls *tls[NODES + 1];

/* --- certificates, made once --- */

static void make_node(const char *dir, uint64_t id)
{
    char name[8];
    struct ad_pki_node node = {.cluster = "site", .id = id, .name = name};
    struct ad_tls_files files;
    struct sy_errbuf eb;
    int rv;

    snprintf(name, sizeof name, "n%u", (unsigned)id);
    rv = ad_pki_node(dir, &node, NULL, time(NULL), 30, &eb);
    assert(rv == 0);
    snprintf(files.ca, sizeof files.ca, "%s/ca.crt", dir);
    snprintf(files.cert, sizeof files.cert, "%s/nodes/%s/node.crt", dir, name);
    snprintf(files.key, sizeof files.key, "%s/nodes/%s/node.key", dir, name);
    rv = ad_tls_open(&tls[id], &files, "site", id, &eb);
    assert(rv == 0);
}

static void make_all(void)
{
    const char *tmp = getenv("TMPDIR");
    char dir[256], command[300];
    struct sy_errbuf eb;
    int rv;

    snprintf(dir, sizeof dir, "%s/vagt-fuzz.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL || ad_pki_init(dir, "site", NULL, time(NULL), &eb) != 0) {
        abort();
    }
    for (uint64_t id = 1; id <= NODES; id++) {
        make_node(dir, id);
    }
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    rv = system(command);
    assert(rv == 0);
}

/* --- a stranger --- */

static void stranger(const uint8_t *p, size_t n, uint64_t dials)
{
    struct ad_tls_link *l = ad_tls_link_new(tls[1], dials);
    struct sy_buf plain = {.p = NULL}, wire = {.p = NULL};
    struct sy_errbuf eb = {.text = ""};

    if (ad_tls_take(l, NULL, 0, &plain, &wire, &eb) == 0 &&
        ad_tls_take(l, p, n, &plain, &wire, &eb) != 0) {
        assert(eb.text[0] != '\0');
    }
    assert(ad_tls_peer(l) == 0 && plain.len == 0 && wire.len < WIRE_MAX);
    ad_tls_link_free(l);
    sy_buf_free(&plain);
    sy_buf_free(&wire);
}

/* --- somebody in between --- */

struct side
{
    struct ad_tls_link *link;
    struct sy_buf plain, wire;
    bool said, failed;
};

static void meddle(struct sy_buf *wire, struct sy_cur *in)
{
    size_t at;
    uint8_t mask;

    if (in->n < 3 || wire->len == 0) {
        return;
    }
    at = sy_cur_u8(in);
    at = (at | (size_t)sy_cur_u8(in) << 8) % wire->len;
    mask = sy_cur_u8(in);
    if (mask == 0) {
        wire->len = at;
    } else {
        wire->p[at] ^= mask;
    }
}

/* What @from has for the other side. */
static void carry(struct side *from, struct side *to, struct sy_cur *in)
{
    struct sy_errbuf eb = {.text = ""};

    if (!from->failed && !from->said && ad_tls_peer(from->link) != 0) {
        from->said = true;
        ad_tls_give(from->link, word, sizeof word, &from->wire);
    }
    meddle(&from->wire, in);
    if (!to->failed && ad_tls_take(to->link, from->wire.p, from->wire.len, &to->plain,
                                   &to->wire, &eb) != 0) {
        to->failed = true;
        assert(eb.text[0] != '\0');
    }
    from->wire.len = 0;
    assert(to->plain.len <= sizeof word);
    assert(to->plain.len == 0 || memcmp(to->plain.p, word, to->plain.len) == 0);
}

static void between(struct sy_cur in)
{
    struct side a = {.link = ad_tls_link_new(tls[1], 2)};
    struct side b = {.link = ad_tls_link_new(tls[2], 0)};
    struct sy_errbuf eb;
    bool untouched = in.n < 3;
    int rv = ad_tls_take(a.link, NULL, 0, &a.plain, &a.wire, &eb);

    assert(rv == 0);
    for (unsigned i = 0; i < FLIGHTS; i++) {
        carry(&a, &b, &in);
        carry(&b, &a, &in);
    }
    assert(ad_tls_peer(a.link) == 0 || ad_tls_peer(a.link) == 2);
    assert(ad_tls_peer(b.link) == 0 || ad_tls_peer(b.link) == 1);
    assert(!untouched || (a.plain.len == sizeof word && b.plain.len == sizeof word));
    ad_tls_link_free(a.link);
    ad_tls_link_free(b.link);
    sy_buf_free(&a.plain);
    sy_buf_free(&a.wire);
    sy_buf_free(&b.plain);
    sy_buf_free(&b.wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (tls[1] == NULL) {
        make_all();
    }
    if (n > 0 && p[0] == 'm') {
        between((struct sy_cur){.p = p + 1, .n = n - 1});
    } else if (n > 1) {
        stranger(p + 1, n - 1, p[0] == 'c' ? 2 : 0);
    }
    return 0;
}
