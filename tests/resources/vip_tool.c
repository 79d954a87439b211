/* One step with an address, for vip.sh: vip_tool hold|drop|announce ADDRESS INTERFACE. */

#include <stdio.h>
#include <string.h>

#include "adapters/resources/vip.h"

enum { SECONDS = 4 };

int main(int argc, char **argv)
{
    struct sy_errbuf eb = {.text = ""};
    struct ad_vip v;
    int rv;

    if (argc != 4 || !ad_vip_parse(&v, argv[2], argv[3])) {
        fputs("usage: vip_tool hold|drop|announce ADDRESS INTERFACE\n", stderr);
        return 2;
    }
    if (strcmp(argv[1], "hold") == 0) {
        rv = ad_vip_hold(&v, SECONDS, &eb);
    } else if (strcmp(argv[1], "drop") == 0) {
        rv = ad_vip_drop(&v, &eb);
    } else {
        rv = ad_vip_announce(&v, &eb);
    }
    if (rv != 0) {
        fprintf(stderr, "%s\n", eb.text);
    }
    return rv == 0 ? 0 : 1;
}
