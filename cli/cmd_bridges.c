/* bridges: what in a Zigbee2MQTT's configuration.yaml is in the way of a move. */

#include <string.h>

#include "base/mp.h"
#include "cli/cli.h"

static void show_bridge(struct ct_out *o, struct ct_val bridge)
{
    struct ct_iter it = ct_iterate(ct_get(bridge, "differs"));
    bool written = ct_bool(bridge, "written");
    struct ct_val text;

    ct_say(o, ct_str(bridge, "area"));
    ct_put(o, " (");
    ct_say(o, ct_str(bridge, "dir"));
    ct_put(o, it.left == 0 ? "): as it should be\n"
              : written    ? "): mended; it counts when Zigbee2MQTT starts next\n"
                           : ")\n");
    while (ct_next(&it, &text)) {
        ct_sentence(o, "  ", CT_PLAIN, ct_str_of(text));
    }
}

static int view_bridges(struct ct_out *o, const struct ct_options *opt,
                        const struct ct_reply *r)
{
    struct ct_iter it = ct_iterate(ct_get(r->result, "bridges"));
    struct ct_val bridge;
    bool good = true, any = it.left > 0;

    if (!any && !opt->json) {
        ct_put(o, "no area of ");
        ct_say(o, ct_str(r->result, "node"));
        ct_put(o, " has a bridge section: see areas[].bridge in vagt.yaml(5)\n");
    }
    while (ct_next(&it, &bridge)) {
        good = good && (ct_iterate(ct_get(bridge, "differs")).left == 0 ||
                        ct_bool(bridge, "written"));
        if (!opt->json) {
            show_bridge(o, bridge);
        }
    }
    if (opt->json) {
        int rv = ct_print_json(o, r->result);

        return rv == CT_DONE && !good ? CT_FAILED : rv;
    }
    return good ? CT_DONE : CT_FAILED;
}

int ct_cmd_bridges(const struct ct_options *opt)
{
    const char *action = opt->args_n > 0 ? opt->args[0] : "check";
    struct sy_buf args = {0};
    int rv;

    if (strcmp(action, "check") != 0 && strcmp(action, "write") != 0) {
        ct_complain("bridges '%s': say check or write", action);
        return CT_USAGE;
    }
    /* Looking is for viewers: only what changes something is named. */
    sy_mp_map(&args, strcmp(action, "write") == 0);
    if (strcmp(action, "write") == 0) {
        sy_mp_kstr(&args, "action", action);
    }
    rv = ct_simple(opt, "bridges", &args, view_bridges);
    sy_buf_free(&args);
    return rv;
}
