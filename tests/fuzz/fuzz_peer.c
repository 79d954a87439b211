/* Bytes of somebody who has not said who it is: frames, the hello, the goodbye, the name
 * in a certificate. What is accepted must encode to the same bytes. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/peer/hello.h"
#include "adapters/peer/tls.h"

static void check(int ok)
{
    if (!ok) {
        abort();
    }
}

static void hello(const uint8_t *p, size_t n)
{
    struct ad_peer_hello h;
    struct sy_buf b = {.p = NULL};

    if (ad_peer_hello_parse(p, n, &h)) {
        check(strnlen(h.cluster, sizeof h.cluster) < sizeof h.cluster);
        ad_peer_hello_put(&b, &h);
        check(b.len <= n && memcmp(b.p, p, b.len) == 0);
        /* Shorter only if the name was none of a cluster. */
        check(b.len == n || h.cluster[0] == '\0');
    }
    sy_buf_free(&b);
}

static void goodbye(const uint8_t *p, size_t n)
{
    struct ad_peer_goodbye g, again;
    struct sy_buf b = {.p = NULL};

    if (ad_peer_goodbye_parse(p, n, &g)) {
        check(g.reason == p[0] && strlen(g.text) == n - 1);
        ad_peer_goodbye_put(&b, g.reason, g.text);
        check(b.len == n && ad_peer_goodbye_parse(b.p, b.len, &again));
        check(strcmp(g.text, again.text) == 0);
        for (const char *c = g.text; *c != '\0'; c++) {
            check(*c >= 0x20 && *c < 0x7f);
        }
    }
    sy_buf_free(&b);
}

static void frames(const uint8_t *p, size_t n)
{
    size_t whole = 0;
    int rv;

    while ((rv = ad_peer_frame_next(p, n, AD_PEER_HELLO_MAX, &whole)) > 0) {
        check(whole >= AD_PEER_HEADER && whole <= 4 + AD_PEER_HELLO_MAX && whole <= n);
        hello(p + AD_PEER_HEADER, whole - AD_PEER_HEADER);
        goodbye(p + AD_PEER_HEADER, whole - AD_PEER_HEADER);
        p += whole;
        n -= whole;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char uri[64];
    uint64_t id;

    frames(data, size);
    hello(data, size);
    goodbye(data, size);
    id = ad_tls_id_of((const char *)data, size, "campsite");
    check(id < 1000);
    if (id != 0) {
        int n = snprintf(uri, sizeof uri, "vagt://campsite/node/%llu",
                         (unsigned long long)id);

        check((size_t)n == size && memcmp(uri, data, size) == 0);
    }
    return 0;
}
