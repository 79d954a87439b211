/* The rows of how a broker is spoken to, for the table in config_schema.c, in the words
 * of which they are written. */

#ifndef ND_CONFIG_SCHEMA_WIRE_H
#define ND_CONFIG_SCHEMA_WIRE_H

#define BROKER_TLS_ROWS                                                                 \
    {"brokers[].tls", ND_MAP, THERE(struct nd_raw_broker, m.tls.on),                    \
     .prose =                                                                           \
         "TLS 1.2 or newer with the broker. Its certificate must name the address "     \
         "that stands in `addresses` (as IP address). The files are read at each "      \
         "connection."},                                                                \
        {"brokers[].tls.ca",                                                            \
         ND_TEXT,                                                                       \
         .required = true,                                                              \
         RANGE(2, 255),                                                                 \
         BROKER(m.tls.ca),                                                              \
         .check = check_absolute,                                                       \
         .prose = "File with the certificate of the CA that signed the broker's."},     \
        {"brokers[].tls.cert",                                                          \
         ND_TEXT,                                                                       \
         RANGE(0, 255),                                                                 \
         BROKER(m.tls.cert),                                                            \
         .check = check_absolute,                                                       \
         .prose = "File with a certificate of ours, for a broker that asks for one."},  \
        {"brokers[].tls.key", ND_SECRET, BROKER(tls_key),                               \
         .prose =                                                                       \
             "Its key, without a passphrase: `{file: PATH}` or `{credential: NAME}`."}, \
    {                                                                                   \
        "brokers[].plaintext", ND_BOOL, BROKER(plaintext),                              \
            .prose =                                                                    \
                "Must be `true` when one of `addresses` is not on loopback and "        \
                "there is no `tls`: password, readings and commands can be read "       \
                "and changed on the way then."                                          \
    }

#endif /* ND_CONFIG_SCHEMA_WIRE_H */
