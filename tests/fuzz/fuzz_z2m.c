/* Bytes are messages of a bridge: a letter (l live, r retained, d redelivered; in
 * capitals: not committed before the next; b: relieved, and then live; p: the bridge's
 * process was found to be gone, s: it was started, and then live), the topic
 * below the base, a line feed, the payload, a zero byte. What the source makes of
 * them must apply to a store. */

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "tests/z2m/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void send(struct world *w, char how, const char *line, size_t len)
{
    const char *feed = memchr(line, '\n', len);
    struct rp_message m = {.qos = 1};
    struct sy_buf topic = {0};

    if (feed == NULL) {
        return;
    }
    sy_buf_str(&topic, "site/z2m/");
    sy_buf_put(&topic, line, (size_t)(feed - line));
    sy_buf_u8(&topic, 0);
    m.topic = (const char *)topic.p;
    /* A copy of the exact size, for the sanitizer. */
    m.len = len - (size_t)(feed + 1 - line);
    m.payload = sy_memdup(feed + 1, m.len);
    m.retained = how == 'r' || how == 'R';
    m.dup = how == 'd' || how == 'D';
    if (how == 'b') {
        world_commit(w);
        world_begin(w);
    }
    if (how == 'p' || how == 's') {
        ad_z2m_source.process(w->source, how == 's', w->now_ms, &w->batch);
    }
    world_send(w, &m);
    if (how >= 'a') {
        world_commit(w);
    }
    w->now_ms += 1000;
    sy_free((void *)(uintptr_t)m.payload);
    sy_buf_free(&topic);
}

/* Whoever is listed can be asked for something, by a topic that one may publish. */
static void command_all(struct world *w)
{
    struct rp_command c = {.property = "state", .value = "ON"};
    struct sy_buf topic = {0};
    struct sy_buf payload = {0};

    for (uint32_t i = 0; i < rp_store_devices(w->store); i++) {
        ad_z2m_source.command(w->source, rp_store_device_at(w->store, i), &c, &topic,
                              &payload);
        assert(topic.len > 0 && topic.p[topic.len - 1] == '\0');
        assert(strpbrk((const char *)topic.p, "+#") == NULL);
    }
    sy_buf_free(&topic);
    sy_buf_free(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct world w;

    world_open(&w, 4);
    while (n > 1) {
        const uint8_t *end = memchr(p, 0, n);
        size_t len = end != NULL ? (size_t)(end - p) : n;

        if (len > 1) {
            send(&w, (char)p[0], (const char *)p + 1, len - 1);
        }
        len += end != NULL;
        p += len;
        n -= len;
    }
    world_commit(&w);
    command_all(&w);
    world_begin(&w);
    world_close(&w);
    return 0;
}
