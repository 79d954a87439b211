#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/broker/broker.h"

enum {
    PACKET_MAX = 64 * 1024 * 1024, /* bridge/definitions of a large area: some MB */
    INFLIGHT_MAX = 1000,
    CLIENT_EXPIRY_DAYS = 14
};

void ad_broker_config_default(struct ad_broker_config *c)
{
    *c = (struct ad_broker_config){
        .executable = "/usr/sbin/mosquitto",
        .user = "mosquitto",
        .autosave_s = 5,
        .max_queued_messages = 300000,
        .max_connections = 1000,
        .memory_limit = (uint64_t)1 << 30,
    };
}

bool ad_broker_is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static bool is_private(const struct ad_broker_config *c)
{
    for (unsigned i = 0; i < c->listen_n; i++) {
        if (!ad_broker_is_loopback(c->listen[i].host)) {
            return false;
        }
    }
    return true;
}

const char *ad_broker_config_wrong(const struct ad_broker_config *c, const char **ret_key)
{
    bool cert = c->certfile[0] != '\0', key = c->keyfile[0] != '\0';

    if (c->password_file[0] == '\0' && !is_private(c)) {
        *ret_key = "password_file";
        return "is missing: whoever reaches an address that is not loopback could "
               "switch every meter; make one with mosquitto_passwd -c";
    }
    if (cert != key) {
        *ret_key = cert ? "keyfile" : "certfile";
        return "is missing: certfile and keyfile belong together";
    }
    if (c->cafile[0] != '\0' && !cert) {
        *ret_key = "cafile";
        return "asks clients for certificates, which needs TLS: set certfile and "
               "keyfile";
    }
    return NULL;
}

static void put_file(struct sy_buf *out, const char *key, const char *path)
{
    if (path[0] != '\0') {
        sy_buf_fmt(out, "%s %s\n", key, path);
    }
}

static void put_listener(const struct ad_broker_config *c, unsigned i, struct sy_buf *out)
{
    const char *host = c->listen[i].host;

    sy_buf_fmt(out, "\nlistener %u %s\n", (unsigned)c->listen[i].port, host);
    if (c->certfile[0] == '\0' || ad_broker_is_loopback(host)) {
        return;
    }
    put_file(out, "certfile", c->certfile);
    put_file(out, "keyfile", c->keyfile);
    sy_buf_str(out, "tls_version tlsv1.2\n"); /* at least */
    if (c->cafile[0] != '\0') {
        put_file(out, "cafile", c->cafile);
        sy_buf_str(out, "require_certificate true\n");
    }
}

void ad_broker_conf(const struct ad_broker_config *c, struct sy_buf *out)
{
    sy_buf_str(out,
               "# Made by vagtd from its own configuration, before each start: "
               "changes\n# made here are lost. See vagt.yaml(5), mosquitto.\n\n");
    sy_buf_str(out, "per_listener_settings false\n");
    put_file(out, "user", c->user);
    sy_buf_fmt(out, "allow_anonymous %s\n",
               c->password_file[0] == '\0' ? "true" : "false");
    put_file(out, "password_file", c->password_file);
    put_file(out, "acl_file", c->acl_file);

    /* By time, not by the number of changes: each save writes all there is, which 72
     * messages a second would not leave the disk a moment for. */
    sy_buf_fmt(out,
               "\npersistence true\npersistence_location %s%s\n"
               "autosave_interval %u\nautosave_on_changes false\n",
               c->data_dir, c->data_dir[strlen(c->data_dir) - 1] == '/' ? "" : "/",
               c->autosave_s);

    sy_buf_fmt(out,
               "\nmax_queued_messages %u\nmax_queued_bytes 0\n"
               "max_inflight_messages %u\nmax_packet_size %u\nmemory_limit %llu\n"
               "persistent_client_expiration %ud\nset_tcp_nodelay true\n",
               c->max_queued_messages, (unsigned)INFLIGHT_MAX, (unsigned)PACKET_MAX,
               (unsigned long long)c->memory_limit, (unsigned)CLIENT_EXPIRY_DAYS);
    /* Of all listeners, which take it one by one. */
    sy_buf_fmt(out,
               "\nlog_dest stderr\nlog_timestamp false\nlog_type error\n"
               "log_type warning\nlog_type notice\n");
    for (unsigned i = 0; i < c->listen_n; i++) {
        put_listener(c, i, out);
        sy_buf_fmt(out, "max_connections %u\n", c->max_connections);
    }
}

/* --- on the disk --- */

static int fail_file(struct sy_errbuf *eb, const char *path, const char *what)
{
    int err = errno;

    return sy_fail(eb, -err, "%s: %s: %s", path, what, strerror(err));
}

static int write_file(const char *path, const struct sy_buf *b, struct sy_errbuf *eb)
{
    char beside[AD_BROKER_PATH_SIZE + 8];
    int fd;

    (void)snprintf(beside, sizeof beside, "%s.new", path);
    fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return fail_file(eb, beside, "cannot be written");
    }
    if (write(fd, b->p, b->len) != (ssize_t)b->len || fsync(fd) != 0 ||
        fchmod(fd, 0644) != 0 || rename(beside, path) != 0) {
        int rv = fail_file(eb, beside, "cannot be written");

        (void)close(fd);
        return rv;
    }
    (void)close(fd);
    return 0;
}

/* It belongs to who mosquitto will be. */
static int make_data_dir(const struct ad_broker_config *c)
{
    struct passwd pw, *found = NULL;
    char buf[1024];

    if (mkdir(c->data_dir, 0750) != 0) {
        return errno == EEXIST ? 0 : -1;
    }
    if (geteuid() != 0 || getpwnam_r(c->user, &pw, buf, sizeof buf, &found) != 0 ||
        found == NULL) {
        return 0; /* Ours, or ad_broker_check() has told. */
    }
    return chown(c->data_dir, pw.pw_uid, pw.pw_gid);
}

int ad_broker_prepare(const struct ad_broker_config *c, const char *path,
                      struct sy_errbuf *eb)
{
    struct sy_buf b = {0};
    int rv;

    if (make_data_dir(c) != 0) {
        return fail_file(eb, c->data_dir, "cannot be made");
    }
    ad_broker_conf(c, &b);
    rv = write_file(path, &b, eb);
    sy_buf_free(&b);
    return rv;
}
