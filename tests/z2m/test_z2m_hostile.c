/* Payloads that no Zigbee2MQTT would send: none may crash, none may make an entry
 * that does not apply, and none may cost another message. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "tests/z2m/world.h"

static const char list[] =
    "[{\"ieee_address\":\"0xa4c1380100010000\",\"friendly_name\":\"m\",\"type\":"
    "\"Router\","
    "\"definition\":{\"model\":\"TO-Q-SYS-JZT\"}}]";
static const char *const topics[] = {"site/z2m/bridge/state",   "site/z2m/bridge/info",
                                     "site/z2m/bridge/devices", "site/z2m/bridge/logging",
                                     "site/z2m/bridge/health",  "site/z2m/m",
                                     "site/z2m/m/availability", "site/z2m/stranger"};

/* Everywhere, retained and not; then the meter must still be understood. */
static void try_all(const void *payload, size_t len)
{
    struct world w;

    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        world_open(&w, 8);
        world_send(&w, &(struct rp_message){.topic = "site/z2m/bridge/devices",
                                            .payload = list,
                                            .len = sizeof list - 1});
        world_commit(&w);
        for (int retained = 0; retained < 2; retained++) {
            world_send(&w, &(struct rp_message){.topic = topics[i],
                                                .payload = payload,
                                                .len = len,
                                                .retained = retained});
            world_commit(&w);
        }
        world_send(
            &w, &(struct rp_message){
                    .topic = "site/z2m/m", .payload = "{\"state\":\"ON\"}", .len = 14});
        world_commit(&w);
        assert_int_equal(rp_store_device(w.store, 0xa4c1380100010000)->state, RP_ON);
        world_close(&w);
    }
}

static void nonsense_of_all_kinds(void **state)
{
    static const char *const nonsense[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "{}",
        "null",
        "true",
        "1",
        "1e999",
        "-",
        "\"x",
        "{\"state\":1}",
        "{\"state\":null}",
        "{\"state\":{\"state\":\"ON\"}}",
        "{\"state\":[]}",
        "{\"state\":\"TOGGLE\"}",
        "{\"a\":1,\"a\":2}",
        "{\"power\":1e999}",
        "{\"power\":NaN}",
        "{\"power\":Infinity}",
        "{\"power\":-0.0}",
        "{\"energy\":1e309,\"x\":[[[[]]]]}",
        "{\"last_seen\":{\"$date\":1}}",
        "{\"config\":[]}",
        "{\"config\":{\"advanced\":1}}",
        "{\"config\":{\"mqtt\":{\"base_topic\":[]},\"device_options\":\"qos\"}}",
        "{\"level\":\"error\"}",
        "{\"level\":\"error\",\"message\":1}",
        "{\"level\":\"error\",\"message\":\"''''' to ' to '' failed\"}",
        "{\"x\":\"\\ud800\"}",
        "{\"x\":\"\xff\xfe\"}",
        "{\"\xc3\x28\":1}",
        "\xef\xbb\xbf{}",
        "{\"voltage\":\"\xed\xa0\x80\"}",
        "{\"state\":\"ON\"} x",
        "{\"state\":\"ON\\u0000\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        try_all(nonsense[i], strlen(nonsense[i]));
    }
    try_all("\0\0\0", 3);
    try_all("{\"state\":\"O\0N\"}", 15);
    try_all("[{\0}]", 5);
}

static void much_of_everything(void **state)
{
    enum { MUCH = 1024 * 1024 };
    char *p = malloc(MUCH + 64);

    (void)state;
    memset(p, '[', MUCH);
    try_all(p, MUCH);
    memset(p, '{', MUCH);
    try_all(p, MUCH);
    memset(p, '"', MUCH);
    try_all(p, MUCH);
    memset(p, '\\', MUCH);
    p[0] = '"';
    try_all(p, MUCH);
    memset(p, '9', MUCH);
    try_all(p, MUCH);
    memset(p, 'A', MUCH);
    memcpy(p, "{\"state\":\"", 10);
    memcpy(p + MUCH - 2, "\"}", 2);
    try_all(p, MUCH);
    memcpy(p, "[{\"friendly_name\":\"", 19);
    memcpy(p + MUCH - 3, "\"}]", 3);
    try_all(p, MUCH);
    for (int i = 0; i < MUCH; i += 6) { /* {"a":{"a":... */
        memcpy(p + i, "{\"a\":{", 6);
    }
    try_all(p, MUCH);
    free(p);
}

/* An area of 300 meters sends 2.6 MB; the loop must not stand still for it. */
static void a_long_list_takes_little_time(void **state)
{
    enum { DEVICES = 300, FILL = 8600 };
    size_t size = DEVICES * (FILL + 300) + 16;
    char *p = malloc(size);
    size_t n = 0;
    struct timespec a;
    struct timespec b;
    struct world w;

    (void)state;
    p[n++] = '[';
    for (int i = 0; i < DEVICES; i++) {
        n += (size_t)snprintf(
            p + n, size - n,
            "%s{\"definition\":{\"description\":\"plug\",\"exposes\":[\"",
            i > 0 ? "," : "");
        for (int k = 0; k < FILL; k += 20) {
            memcpy(p + n, "\",{\"access\":1},\"name\"", 20);
            n += 20;
        }
        n += (size_t)snprintf(
            p + n, size - n,
            "\"],\"model\":\"M\"},\"friendly_name\":\"m%d\",\"ieee_address\":"
            "\"0xa4c13801%08x\",\"type\":\"Router\"}",
            i, i);
    }
    p[n++] = ']';
    world_open(&w, 400);
    clock_gettime(CLOCK_MONOTONIC, &a);
    world_send(&w, &(struct rp_message){
                       .topic = "site/z2m/bridge/devices", .payload = p, .len = n});
    clock_gettime(CLOCK_MONOTONIC, &b);
    world_commit(&w);
    print_message(
        "%zu kB of bridge/devices: %.1f ms\n", n / 1000,
        (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
    assert_int_equal(w.notes_n, 0);
    assert_int_equal(w.inputs, DEVICES);
    world_close(&w);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_of_all_kinds),
        cmocka_unit_test(much_of_everything),
        cmocka_unit_test(a_long_list_takes_little_time),
    };

    return cmocka_run_group_tests_name("z2m_hostile", tests, NULL, NULL);
}
