/* sitesim: plays a metering site as Zigbee2MQTT 2.14 shows it on MQTT. See sitesim.h. */
#include "sitesim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct sim_site *s = sim_alloc(1, sizeof *s);
    int status = 0;

    if (sim_args_parse(&s->opt, argc, argv, &status) != 0) {
        free(s);
        return status;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)mosquitto_lib_init();
    if (uv_loop_init(&s->loop) != 0) {
        fputs("sitesim: no event loop\n", stderr);
        return 1;
    }
    sim_site_init(s);
    if (s->opt.control.host[0] != '\0' && sim_control_open(s) != 0) {
        status = 1;
        sim_site_close(s, false);
    } else {
        for (int k = 0; k < s->opt.areas; k++) {
            sim_bridge_start(&s->areas[k], false);
        }
        printf("site of %d meters, first broker %s:%d\n", s->meter_count,
               s->opt.brokers[0].host, s->opt.brokers[0].port);
    }
    (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    /* Every handle was closed: the cheapest leak check there is. */
    if (uv_loop_close(&s->loop) != 0) {
        fputs("sitesim: a handle was left open\n", stderr);
        status = 1;
    }
    (void)mosquitto_lib_cleanup();
    if (s->log_file != NULL) {
        (void)fclose(s->log_file);
    }
    free(s->meters);
    free(s->log);
    free(s);
    return status;
}
