/* What mqtt.c, reader.c and writer.c share. */

#ifndef AD_MQTT_IMPL_H
#define AD_MQTT_IMPL_H

#include "adapters/mqtt/client.h"

enum { PUBLISH_MESSAGES_MAX = 8192 };

/* What the broker says of the messages it threw away. */
struct ad_mqtt_sys
{
    int mid;          /* Of the SUBSCRIBE under way; 0: none. */
    unsigned unheard; /* Connections in a row that ended before its answer. */
    bool known;       /* @last is of this broker: */
    unsigned address; /* the one at this address. */
    uint64_t last;    /* What its counter stood at. */
    bool rose;        /* The owner has not been told. */
};

struct ad_mqtt_tell
{
    char payload[AD_MQTT_TELL_MAX];
    size_t len;
    bool wanted;            /* There is a status. */
    bool due;               /* It has not left on this connection. */
    int mid;                /* Of the one under way; 0: none. */
    unsigned unheard;       /* Connections in a row that ended before its answer. */
    uint64_t not_before_ms; /* The broker does not want it now. */
};

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
    size_t burst;           /* Messages of the burst so far. */
    uint64_t burst_end_ns;  /* It takes no more time of the loop than this. */
    bool burst_connected;   /* Its connection still lives. */
    uint64_t reader_ups;    /* Connections of the reader. */
    bool subscribe_due;     /* Was asked for while there was no connection. */
    bool fresh_due;         /* And retained messages with it. */
    bool fresh;             /* Naming all, since that was due. */
    unsigned subscribing;   /* Asked for on this connection, not answered; */
    bool fresh_subscribing; /* one of them with retained messages. */
    struct ad_mqtt_sys sys;

    struct ad_mqtt_client writer;
    /* What the broker has not confirmed, oldest first: a ring. */
    struct ad_mqtt_waiting waiting[PUBLISH_MESSAGES_MAX];
    unsigned waiting_first;
    unsigned waiting_n;
    struct ad_mqtt_tell tell;

    unsigned open_handles;
    void (*closed)(void *data);
};

extern const struct ad_mqtt_client_ops ad_mqtt_reader_ops;
extern const struct ad_mqtt_client_ops ad_mqtt_writer_ops;

/* For the ops of both. */
void ad_mqtt_link_changed(struct ad_mqtt *m);
void ad_mqtt_describe(struct ad_mqtt *m);

/* sys.c */
void ad_mqtt_sys_connected(struct ad_mqtt *m);
/* Is it an answer of this? */
bool ad_mqtt_sys_subscribed(struct ad_mqtt *m, int mid);
/* Is it a message for this? From inside the library. */
bool ad_mqtt_sys_message(struct ad_mqtt *m, const struct mosquitto_message *mm);
void ad_mqtt_sys_lost(struct ad_mqtt *m);

/* tell.c */
void ad_mqtt_tell_connected(struct ad_mqtt *m);
/* Is it an answer of this? From inside the library. */
bool ad_mqtt_tell_acked(struct ad_mqtt *m, int mid, int reason);
void ad_mqtt_tell_go_on(struct ad_mqtt *m);
void ad_mqtt_tell_lost(struct ad_mqtt *m);

#endif /* AD_MQTT_IMPL_H */
