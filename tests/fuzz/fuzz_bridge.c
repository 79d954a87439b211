/* Text is a configuration.yaml of Zigbee2MQTT. What can be mended line by line has
 * nothing left to mend; what cannot is left and says why. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "adapters/bridge/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct ad_bridge_wanted wanted = {.base_topic = "z/a 1",
                                                   .servers = {"[::1]:1883"},
                                                   .servers_n = 1,
                                                   .client_id = "it's #1",
                                                   .port = "tcp://192.0.2.1:6638"};
    struct ad_bridge_findings f;
    struct sy_errbuf eb = {.text = ""};
    struct sy_buf out = {0};
    char said[600];

    if (ad_bridge_settings_check((const char *)p, n, &wanted, &f, &eb) != 0) {
        assert(eb.text[0] != '\0');
        return 0;
    }
    for (unsigned i = 0; i < f.n; i++) {
        ad_bridge_finding_text(&f.list[i], said, sizeof said);
        assert(strpbrk(said, "\n\033") == NULL);
    }
    if (ad_bridge_settings_mend((const char *)p, n, &wanted, &out, &eb) != 0) {
        assert(eb.text[0] != '\0' && out.len == 0);
        return 0;
    }
    assert(f.n > 0 || (out.len == n && memcmp(out.p, p, n) == 0));
    assert(ad_bridge_settings_check((const char *)out.p, out.len, &wanted, &f, &eb) == 0);
    assert(f.n == 0);
    sy_buf_free(&out);
    return 0;
}
