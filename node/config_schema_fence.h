/* The rows of what happens to what does not stop, for the table in config_schema.c, in
 * the words of which they are written. */

#ifndef ND_CONFIG_SCHEMA_FENCE_H
#define ND_CONFIG_SCHEMA_FENCE_H

#define FENCE_ROWS                                                                  \
    {"watch.fence", ND_CHOICE, RAW(c.fence), .names = fences,                       \
     .prose =                                                                       \
         "What happens when one of `resources` does not stop. `exit`: what can be " \
         "killed is killed, and the node ends. `reboot`: the machine, too, at "     \
         "once (needs CAP_SYS_BOOT). `watchdog`: the machine is reset by its "      \
         "watchdog, also when it hangs; without one nothing is started."},          \
    {                                                                               \
        "watch.watchdog", ND_TEXT, RANGE(2, 255), RAW(c.watchdog),                  \
            .check = check_absolute,                                                \
            .prose =                                                                \
                "The watchdog of this machine, for `fence: watchdog`. Nobody else " \
                "may have it, and it must bite within a quarter of "                \
                "`watch.takeover_wait`."                                            \
    }

#endif /* ND_CONFIG_SCHEMA_FENCE_H */
