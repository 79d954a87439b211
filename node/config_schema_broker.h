/* The rows of a Mosquitto of ours, for the table in config_schema.c, in the words of
 * which they are written. */

#ifndef ND_CONFIG_SCHEMA_BROKER_H
#define ND_CONFIG_SCHEMA_BROKER_H

#define MOSQUITTO_ROWS                                                                   \
    {"resources[].mosquitto", ND_MAP, THERE(struct nd_config_resource, has_mosquitto),   \
     .prose =                                                                            \
         "A Mosquitto of the site's own: its mosquitto.conf is made from this before "   \
         "each start, so it is the same on each host."},                                 \
        {"resources[].mosquitto.listen",                                                 \
         ND_ADDRESSES,                                                                   \
         .required = true,                                                               \
         RANGE(1, AD_BROKER_LISTEN_MAX),                                                 \
         .off = offsetof(struct nd_config_resource, mosquitto.listen),                   \
         .size = sizeof(((struct nd_config_resource *)0)->mosquitto.listen[0]),          \
         THERE(struct nd_config_resource, mosquitto.listen_n),                           \
         .port_off = offsetof(struct nd_config_resource, mosquitto.listen[0].port) -     \
                     offsetof(struct nd_config_resource, mosquitto.listen[0].host),      \
         .prose = "Where it listens: the address that moves, and perhaps loopback."},    \
        {"resources[].mosquitto.data_dir",                                               \
         ND_TEXT,                                                                        \
         .required = true,                                                               \
         RANGE(2, 255),                                                                  \
         RESOURCE(mosquitto.data_dir),                                                   \
         .check = check_absolute,                                                        \
         .prose =                                                                        \
             "Folder of what it keeps: retained messages and the queues of clients "     \
             "that "                                                                     \
             "are away. Each host has its own, and begins empty."},                      \
        {"resources[].mosquitto.executable",                                             \
         ND_TEXT,                                                                        \
         RANGE(2, 255),                                                                  \
         RESOURCE(mosquitto.executable),                                                 \
         .check = check_absolute,                                                        \
         .prose = "The program."},                                                       \
        {"resources[].mosquitto.user",                                                   \
         ND_TEXT,                                                                        \
         RANGE(1, 31),                                                                   \
         RESOURCE(mosquitto.user),                                                       \
         .check = check_word,                                                            \
         .prose = "Who it becomes if `vagtd` is root; else it stays who `vagtd` is."},   \
        {"resources[].mosquitto.password_file",                                          \
         ND_TEXT,                                                                        \
         RANGE(0, 255),                                                                  \
         RESOURCE(mosquitto.password_file),                                              \
         .check = check_absolute,                                                        \
         .prose =                                                                        \
             "Names and passwords, made with mosquitto_passwd(1). Must be given unless " \
             "all of `listen` is loopback."},                                            \
        {"resources[].mosquitto.acl_file",                                               \
         ND_TEXT,                                                                        \
         RANGE(0, 255),                                                                  \
         RESOURCE(mosquitto.acl_file),                                                   \
         .check = check_absolute,                                                        \
         .prose = "Who may do what: see mosquitto.conf(5)."},                            \
        {"resources[].mosquitto.certfile",                                               \
         ND_TEXT,                                                                        \
         RANGE(0, 255),                                                                  \
         RESOURCE(mosquitto.certfile),                                                   \
         .check = check_absolute,                                                        \
         .prose = "Certificate for TLS, on all of `listen` but loopback."},              \
        {"resources[].mosquitto.keyfile",                                                \
         ND_TEXT,                                                                        \
         RANGE(0, 255),                                                                  \
         RESOURCE(mosquitto.keyfile),                                                    \
         .check = check_absolute,                                                        \
         .prose = "Its key."},                                                           \
        {"resources[].mosquitto.cafile",                                                 \
         ND_TEXT,                                                                        \
         RANGE(0, 255),                                                                  \
         RESOURCE(mosquitto.cafile),                                                     \
         .check = check_absolute,                                                        \
         .prose = "If given, clients need a certificate that one of these signed."},     \
        {"resources[].mosquitto.autosave",                                               \
         ND_DURATION,                                                                    \
         SECONDS,                                                                        \
         RANGE(1, 3600),                                                                 \
         RESOURCE(mosquitto.autosave_s),                                                 \
         .prose =                                                                        \
             "How often it saves. What came since the last time is lost when it is "     \
             "killed, although the bridges were told that all is well."},                \
        {"resources[].mosquitto.max_queued_messages", ND_UINT, RANGE(1, 10000000),       \
         RESOURCE(mosquitto.max_queued_messages),                                        \
         .prose =                                                                        \
             "Messages kept for a client that is away, for us above all: messages per "  \
             "second times the longest outage. The newest are dropped beyond."},         \
        {"resources[].mosquitto.max_connections", ND_UINT, RANGE(1, 100000),             \
         RESOURCE(mosquitto.max_connections), .prose = "Clients on each of `listen`."},  \
    {                                                                                    \
        "resources[].mosquitto.memory_limit", ND_SIZE, BYTES,                            \
            RANGE(16 * MIB, 1024 * GIB), RESOURCE(mosquitto.memory_limit),               \
            .prose =                                                                     \
                "Beyond, it refuses messages and throws clients out. A queued message "  \
                "costs about 0.9 KB."                                                    \
    }

#endif /* ND_CONFIG_SCHEMA_BROKER_H */
