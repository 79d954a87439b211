#include "replication/model.h"

const char *rp_switch_name(enum rp_switch s)
{
    switch (s) {
    case RP_OFF:
        return "off";
    case RP_ON:
        return "on";
    case RP_SWITCH_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *rp_avail_name(enum rp_avail a)
{
    switch (a) {
    case RP_OFFLINE:
        return "offline";
    case RP_ONLINE:
        return "online";
    case RP_AVAIL_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *rp_command_status_name(enum rp_command_status s)
{
    static const char *const names[RP_STATUS_NR] = {
        [RP_ACCEPTED] = "accepted",   [RP_SENT] = "sent",
        [RP_CONFIRMED] = "confirmed", [RP_FAILED] = "failed",
        [RP_EXPIRED] = "expired",     [RP_SUPERSEDED] = "superseded",
        [RP_CANCELLED] = "cancelled",
    };

    return s >= RP_ACCEPTED && s < RP_STATUS_NR ? names[s] : "unknown";
}
