/* What mqtt.c, reader.c and writer.c share. */

#ifndef AD_MQTT_IMPL_H
#define AD_MQTT_IMPL_H

#include "adapters/mqtt/client.h"

enum { PUBLISH_MESSAGES_MAX = 8192 };

struct ad_mqtt_waiting
{
    int mid;
    uint32_t bytes;
};

struct ad_mqtt
{
    struct ad_mqtt_config config;
    struct ad_mqtt_callbacks cb;
    void *data;
    const struct sy_log *log;
    struct ad_mqtt_status status;

    struct ad_mqtt_client reader;
    size_t burst;          /* Messages of the burst so far. */
    uint64_t burst_end_ns; /* It takes no more time of the loop than this. */
    bool burst_connected;  /* Its connection still lives. */
    uint64_t reader_ups;   /* Connections of the reader. */
    bool subscribe_due;    /* Was asked for while there was no connection. */
    unsigned subscribing;  /* Asked for on this connection, not answered. */

    struct ad_mqtt_client writer;
    /* What the broker has not confirmed, oldest first: a ring. */
    struct ad_mqtt_waiting waiting[PUBLISH_MESSAGES_MAX];
    unsigned waiting_first;
    unsigned waiting_n;

    unsigned open_handles;
    void (*closed)(void *data);
};

extern const struct ad_mqtt_client_ops ad_mqtt_reader_ops;
extern const struct ad_mqtt_client_ops ad_mqtt_writer_ops;

/* For the ops of both. */
void ad_mqtt_link_changed(struct ad_mqtt *m);

#endif /* AD_MQTT_IMPL_H */
