/* A Mosquitto of ours: its configuration made from ours, and a look at what it will
 * need on this host. To run it is somebody else's work. */

#ifndef AD_BROKER_BROKER_H
#define AD_BROKER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { AD_BROKER_LISTEN_MAX = 4, AD_BROKER_PATH_SIZE = 256, AD_BROKER_TEXT_SIZE = 400 };

struct ad_broker_config
{
    struct
    {
        char host[64]; /* numeric */
        uint16_t port;
    } listen[AD_BROKER_LISTEN_MAX];
    unsigned listen_n;
    char executable[AD_BROKER_PATH_SIZE]; /* default /usr/sbin/mosquitto */
    char user[32]; /* default mosquitto: if it is started as root */
    char data_dir[AD_BROKER_PATH_SIZE];
    char password_file[AD_BROKER_PATH_SIZE]; /* "": whoever reaches it may do anything */
    char acl_file[AD_BROKER_PATH_SIZE];
    char cafile[AD_BROKER_PATH_SIZE];   /* clients need a certificate of its, if given */
    char certfile[AD_BROKER_PATH_SIZE]; /* with its key: TLS, except on loopback */
    char keyfile[AD_BROKER_PATH_SIZE];
    unsigned autosave_s;          /* default 5 */
    unsigned max_queued_messages; /* default 300,000, of one client that is away */
    unsigned max_connections;     /* default 1,000 */
    uint64_t memory_limit;        /* default 1 GiB */
};

bool ad_broker_is_loopback(const char *host);
void ad_broker_config_default(struct ad_broker_config *c);
/* What cannot be, with the mend; NULL: nothing. @ret_key names the key. */
const char *ad_broker_config_wrong(const struct ad_broker_config *c,
                                   const char **ret_key);
/* mosquitto.conf(5). */
void ad_broker_conf(const struct ad_broker_config *c, struct sy_buf *out);
/* Writes it, and makes the folder of its data if there is none. */
SY_MUST_USE int ad_broker_prepare(const struct ad_broker_config *c, const char *path,
                                  struct sy_errbuf *eb);

/* A sentence about this host; @error: it would not start. */
typedef void (*ad_broker_tell)(void *data, bool error, const char *text);

/* Reads files, runs the program for its version: may take two seconds. */
void ad_broker_check(const struct ad_broker_config *c, ad_broker_tell tell, void *data);
/* Is there a line for @user? True if there is no file to tell. */
bool ad_broker_has_user(const struct ad_broker_config *c, const char *user);
/* What the version means for a site; NULL: nothing. @ret_error: too old. */
const char *ad_broker_version_means(const char *version, bool *ret_error);

#endif /* AD_BROKER_BROKER_H */
