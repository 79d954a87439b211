/* The port of a source of messages: what turns the topics of an area into inputs
 * of the state machine, and commands into messages. Zigbee2MQTT is one
 * (adapters/z2m); another is another table of these functions, listed in
 * node/sources.c.
 *
 * A source is used by the node on watch only, from its loop; it does no I/O. It
 * may keep what it learnt (names of devices) in its own state, which begins
 * empty at every relief and is filled from the store by begin(). */

#ifndef RP_SOURCE_H
#define RP_SOURCE_H

#include "base/err.h"
#include "replication/batch.h"
#include "replication/store.h"

/* A message as the broker delivered it. Borrowed. */
struct rp_message
{
    const char *topic;
    const void *payload;
    size_t len;
    bool retained; /* Sent because of a subscription, not live. */
    bool dup;      /* Redelivered (MQTT DUP flag). */
    uint8_t qos;
    uint32_t link;  /* Counts the connections of the reader; what is redelivered comes
                       first on each. */
    uint64_t at_ms; /* 0: now. Else it came then, and is tried again: what bears no time
                       of its own is of that time. */
};

/* What a source has to tell its node besides inputs; valid during the call. */
struct rp_source_note
{
    enum {
        RP_NOTE_BAD_PAYLOAD = 1, /* text: what is wrong; name: the topic */
        RP_NOTE_UNKNOWN_DEVICE,  /* name; text */
        RP_NOTE_BRIDGE_ERROR,    /* text: as the bridge said it; ieee or 0, and then: */
        RP_NOTE_SETTING,         /* text: a sentence about the bridge; number, ieee */
        RP_NOTE_MENDED,          /* what the sentence number, ieee said is so no more */
        RP_NOTE_ASKED, /* ieee, value, redelivered: the bridge was asked for this,
                          by us or by others; told before what it answers */
        RP_NOTE_FILTER /* filter: subscribe to this, too, at QoS 1. For topics
                          that topics() cannot know; told again whenever the
                          bridge lists its devices. */
    } kind;
    uint16_t area;
    uint64_t ieee;
    const char *name;
    const char *text;
    /* The message a letter is to be made of, for RP_NOTE_BAD_PAYLOAD and
     * RP_NOTE_UNKNOWN_DEVICE. NULL: none, it is only a warning. */
    const char *topic;
    const void *payload;
    size_t len;
    bool redelivered; /* It may have become a letter before. */
    /* RP_NOTE_BRIDGE_ERROR about a command to @ieee: @text in one line for people.
     * What else is known of that command: NULL is any. */
    const char *reason;
    const char *property;
    const char *value;
    bool final; /* To try again cannot help. */
    /* A sentence replaces the one of the same area, number and ieee. */
    uint16_t number;
    const char *filter;
    bool
        fresh; /* What is retained there is wanted, though the session may have had it. */
};

typedef void (*rp_note_cb)(void *data, const struct rp_source_note *note);

enum { RP_NOTE_TEXT_SIZE = 256 }; /* Of a sentence about the bridge. */

struct rp_source_config
{
    uint64_t hold_ms; /* rp_batch_told() */
};

struct rp_source_ops
{
    const char *name; /* in the configuration: areas[].source */

    /* State of one area. @store is borrowed for the source's life, @config copied. */
    void *(*begin)(const struct rp_store *store, uint16_t area,
                   const struct rp_source_config *config, rp_note_cb cb, void *data);
    void (*end)(void *source);
    /* The subscriptions of an area: calls @each with topic filter and QoS. @fresh:
     * what is retained there is wanted by each watch. */
    void (*topics)(const struct rp_area *area,
                   void (*each)(void *data, const char *filter, int qos, bool fresh),
                   void *data);
    /* Translate; inputs are appended to @out. Never fails: what is wrong with a
     * message becomes a note and costs no other message. @now_ms is wall time. */
    void (*message)(void *source, const struct rp_message *m, uint64_t now_ms,
                    struct rp_batch *out);
    /* Whoever runs the bridge, and the only broker where it can be heard, says whether
     * its process has been started (@runs) or is not there. Said again and again, or
     * never. While it is not there, whatever is heard of it is old. May be NULL. */
    void (*process)(void *source, bool runs, uint64_t now_ms, struct rp_batch *out);
    /* Can this command be asked of this source? SY_EINVALID with a sentence. */
    int (*check)(const char *property, const char *value, struct sy_errbuf *eb);
    /* Topic and payload that ask the device for it (buffers are emptied first,
     * topic is terminated). Never retained, QoS 1. */
    void (*command)(void *source, const struct rp_device *device,
                    const struct rp_command *command, struct sy_buf *topic,
                    struct sy_buf *payload);
};

#endif /* RP_SOURCE_H */
