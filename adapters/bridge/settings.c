#include "adapters/bridge/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/bridge/mend.h"
#include "adapters/bridge/tree.h"
#include "base/mem.h"

static const char file_name[] = "configuration.yaml";

struct row
{
    const char *path;
    const char *want; /* NULL: it depends on the site, see wanted_of() */
    bool (*good)(const char *is, const struct ad_bridge_wanted *w);
    const char *otherwise; /* what Zigbee2MQTT takes when it is not there */
    const char *why;
};

/* --- what is good --- */

static bool base_is_ours(const char *is, const struct ad_bridge_wanted *w)
{
    return strcmp(is, w->base_topic) == 0;
}

static const char *scheme(const struct ad_bridge_wanted *w)
{
    return w->tls ? "mqtts://" : "mqtt://";
}

/* Is @is @address, "192.0.2.10:1883"? The usual port need not be said. */
static bool is_at(const char *is, const char *address, const char *usual)
{
    size_t n = strlen(is) - (is[0] != '\0' && is[strlen(is) - 1] == '/');

    return strncmp(is, address, n) == 0 &&
           (address[n] == '\0' || strcmp(address + n, usual) == 0);
}

static bool server_is_ours(const char *is, const struct ad_bridge_wanted *w)
{
    size_t n = strlen(scheme(w));

    for (unsigned i = 0; i < w->servers_n && strncmp(is, scheme(w), n) == 0; i++) {
        if (is_at(is + n, w->servers[i], w->tls ? ":8883" : ":1883")) {
            return true;
        }
    }
    return w->servers_n == 0;
}

static bool port_is_ours(const char *is, const struct ad_bridge_wanted *w)
{
    return w->port[0] == '\0' || strcmp(is, w->port) == 0;
}

static bool something(const char *is, const struct ad_bridge_wanted *w)
{
    (void)w;
    return is[0] != '\0';
}

static bool on(const char *is, const struct ad_bridge_wanted *w)
{
    (void)w;
    return strcmp(is, "true") == 0 || strcmp(is, "True") == 0 || strcmp(is, "TRUE") == 0;
}

static bool one_or_more(const char *is, const struct ad_bridge_wanted *w)
{
    (void)w;
    return strtod(is, NULL) >= 1;
}

static bool not_disable(const char *is, const struct ad_bridge_wanted *w)
{
    (void)w;
    return strcmp(is, "disable") != 0;
}

static bool quiet(const char *is, const struct ad_bridge_wanted *w)
{
    (void)w;
    return strcmp(is, "warning") == 0 || strcmp(is, "error") == 0;
}

static const struct row rows[] = {
    {"mqtt.base_topic", NULL, base_is_ours, "zigbee2mqtt",
     "what it publishes is not read here"},
    {"mqtt.server", NULL, server_is_ours, "",
     "it would not find the broker, or find another one, on the host that relieves"},
    {"mqtt.client_id", NULL, something, "",
     "without one that is the same on both hosts the will of the one that died marks the "
     "one that works as offline, for ever"},
    {"serial.port", NULL, port_is_ours, "",
     "it would not drive the coordinator of this area"},
    {"device_options.qos", "1", one_or_more, "0",
     "a state on its way when a node dies is lost"},
    {"device_options.retain", "true", on, "false",
     "who relieves learns the state of a device only with its next report"},
    {"advanced.last_seen", "ISO_8601", not_disable, "disable",
     "a reading repeated after a restart counts as new"},
    {"advanced.log_level", "warning", quiet, "info",
     "every message is repeated on bridge/logging"},
    {"availability.enabled", "true", on, "false", "a dead meter looks alive"},
    {"availability.active.timeout", "10", something, "",
     "Zigbee2MQTT wants it beside pause_on_backoff_gt"},
    {"availability.active.pause_on_backoff_gt", "15", one_or_more, "0",
     "dead meters are pinged for ever, one after the other, and the others wait"},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

_Static_assert((int)ROWS <= (int)AD_BRIDGE_FINDINGS_MAX, "each row may be a finding");

static void wanted_of(const struct row *row, const struct ad_bridge_wanted *w, char *to)
{
    const char *value = row->want;

    if (row->good == server_is_ours) {
        snprintf(to, AD_BRIDGE_VALUE_SIZE, "%s%.140s", scheme(w), w->servers[0]);
        return;
    }
    if (value == NULL) {
        value = row->good == base_is_ours   ? w->base_topic
                : row->good == port_is_ours ? w->port
                                            : w->client_id;
    }
    snprintf(to, AD_BRIDGE_VALUE_SIZE, "%s", value);
}

/* --- looking --- */

/* '!secret name' and its like: the value is in another file, and the user's. */
static bool is_elsewhere(const char *value)
{
    return value[0] == '!';
}

/* For a terminal and a message: no controls, no half of a character. */
static void show(char to[AD_BRIDGE_VALUE_SIZE], const char *text)
{
    size_t n = 0;

    for (; text[n] != '\0' && n < AD_BRIDGE_VALUE_SIZE - 1; n++) {
        unsigned char ch = (unsigned char)text[n];

        to[n] = (char)(ch < 0x20 || ch == 0x7f ? '?' : ch);
    }
    while (n > 0 && text[n] != '\0' && ((unsigned char)text[n] & 0xc0) == 0x80) {
        n--;
    }
    to[n] = '\0';
}

static void find(const struct ad_bridge_tree *t, const struct row *row,
                 const struct ad_bridge_wanted *w, struct ad_bridge_findings *ret)
{
    const yaml_node_t *node = ad_bridge_tree_find(t, row->path);
    bool there = node != NULL && !ad_bridge_tree_is_null(node);
    const char *text = there ? ad_bridge_tree_text(node) : row->otherwise;
    struct ad_bridge_finding *f = &ret->list[ret->n];

    if (row->good == something && row->want == NULL && there && text != NULL) {
        show(ret->client_id, text);
    }
    if (text != NULL && (is_elsewhere(text) || row->good(text, w))) {
        return;
    }
    *f = (struct ad_bridge_finding){.path = row->path, .why = row->why};
    if (there) {
        f->line = (unsigned)node->start_mark.line + 1;
        show(f->is, text != NULL ? text : "a section");
    }
    wanted_of(row, w, f->want);
    ret->n++;
}

/* The timeout is optional by itself. */
static void drop_lonely_timeout(struct ad_bridge_findings *f)
{
    if (f->n > 0 && strcmp(f->list[f->n - 1].path, "availability.active.timeout") == 0) {
        f->n--;
    }
}

int ad_bridge_settings_check(const char *text, size_t len,
                             const struct ad_bridge_wanted *wanted,
                             struct ad_bridge_findings *ret, struct sy_errbuf *eb)
{
    struct ad_bridge_tree t;
    int rv = ad_bridge_tree_read(&t, text, len, eb);

    if (rv != 0) {
        return rv;
    }
    *ret = (struct ad_bridge_findings){.n = 0};
    for (unsigned i = 0; i < ROWS; i++) {
        find(&t, &rows[i], wanted, ret);
    }
    drop_lonely_timeout(ret);
    ad_bridge_tree_free(&t);
    return 0;
}

int ad_bridge_settings_mend(const char *text, size_t len,
                            const struct ad_bridge_wanted *wanted, struct sy_buf *out,
                            struct sy_errbuf *eb)
{
    struct ad_bridge_findings before, after;
    struct sy_buf now = {0}, next = {0};
    int rv = ad_bridge_settings_check(text, len, wanted, &before, eb);

    sy_buf_put(&now, text, len);
    for (unsigned i = 0; rv == 0 && i < before.n; i++) {
        const struct ad_bridge_finding *f = &before.list[i];

        rv = ad_bridge_mend((const char *)now.p, now.len, f->path, f->want, &next, eb);
        if (rv == 0) {
            sy_buf_free(&now);
            sy_buf_give(&next, &now);
        }
    }
    if (rv == 0) {
        rv = ad_bridge_settings_check((const char *)now.p, now.len, wanted, &after, eb);
    }
    if (rv == 0 && after.n > 0) {
        rv = sy_fail(eb, SY_EINVALID, "%s cannot be set here: change it by hand",
                     after.list[0].path);
    }
    if (rv == 0) {
        sy_buf_give(&now, out);
    }
    sy_buf_free(&next);
    sy_buf_free(&now);
    return rv;
}

void ad_bridge_finding_text(const struct ad_bridge_finding *f, char *to, size_t size)
{
    if (f->line > 0) {
        snprintf(to, size, "line %u: %s is '%s': %s; set it to %s", f->line, f->path,
                 f->is, f->why, f->want);
    } else {
        snprintf(to, size, "%s is not set: %s; set it to %s", f->path, f->why, f->want);
    }
}

/* --- the file --- */

static int fail_file(struct sy_errbuf *eb, const char *path, const char *what)
{
    int err = errno;

    return sy_fail(eb, -err, "%s: %s: %s", path, what, strerror(err));
}

static int read_all(int fd, struct sy_buf *out)
{
    for (;;) {
        uint8_t *to = sy_buf_reserve(out, 64 * 1024);
        ssize_t n = read(fd, to, 64 * 1024);

        if (n < 0) {
            return -errno;
        }
        out->len += (size_t)n;
        if (n == 0 || out->len > AD_BRIDGE_FILE_MAX) {
            return 0;
        }
    }
}

static int read_file(const char *path, struct sy_buf *out, struct stat *st,
                     struct sy_errbuf *eb)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    int rv = 0;

    if (fd < 0) {
        return fail_file(eb, path, "cannot be read");
    }
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode) || st->st_size > AD_BRIDGE_FILE_MAX) {
        rv = sy_fail(eb, SY_EINVALID, "%s: is no file of at most 1 MiB", path);
    } else if (read_all(fd, out) != 0) {
        rv = fail_file(eb, path, "cannot be read");
    }
    (void)close(fd);
    return rv;
}

static int put_all(int fd, const struct sy_buf *b)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t n = write(fd, b->p + at, b->len - at);

        if (n < 0) {
            return -1;
        }
        at += (size_t)n;
    }
    return fsync(fd);
}

/* Beside the old one first, so that there is always a whole one. */
static int replace_file(const char *path, const struct sy_buf *b, const struct stat *st,
                        struct sy_errbuf *eb)
{
    char beside[512];
    int fd;

    if (snprintf(beside, sizeof beside, "%s.vagt", path) >= (int)sizeof beside) {
        return sy_fail(eb, SY_EINVALID, "%s: the path is too long", path);
    }
    fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return fail_file(eb, beside, "cannot be written");
    }
    if (put_all(fd, b) != 0 ||
        ((st->st_uid != geteuid() || st->st_gid != getegid()) &&
         fchown(fd, st->st_uid, st->st_gid) != 0) ||
        fchmod(fd, st->st_mode & 07777) != 0 || rename(beside, path) != 0) {
        int rv = fail_file(eb, beside, "cannot be written");

        (void)close(fd);
        (void)unlink(beside);
        return rv;
    }
    (void)close(fd);
    return 0;
}

static int path_of(const char *dir, char path[static 300], struct sy_errbuf *eb)
{
    if (snprintf(path, 300, "%s/%s", dir, file_name) >= 300) {
        return sy_fail(eb, SY_EINVALID, "%s: the path is too long", dir);
    }
    return 0;
}

static int in_file(int rv, const char *path, struct sy_errbuf *eb)
{
    struct sy_errbuf why = *eb;

    return sy_fail(eb, rv, "%s: %.200s", path, why.text);
}

int ad_bridge_settings_look(const char *dir, const struct ad_bridge_wanted *wanted,
                            struct ad_bridge_findings *ret, struct sy_errbuf *eb)
{
    struct sy_buf b = {0};
    struct stat st;
    char path[300];
    int rv = path_of(dir, path, eb);

    if (rv == 0) {
        rv = read_file(path, &b, &st, eb);
        if (rv == 0) {
            rv = ad_bridge_settings_check((const char *)b.p, b.len, wanted, ret, eb);
            rv = rv != 0 ? in_file(rv, path, eb) : 0;
        }
    }
    sy_buf_free(&b);
    return rv;
}

int ad_bridge_settings_write(const char *dir, const struct ad_bridge_wanted *wanted,
                             struct ad_bridge_findings *ret, struct sy_errbuf *eb)
{
    struct sy_buf b = {0}, mended = {0};
    struct stat st;
    char path[300];
    int rv = path_of(dir, path, eb);

    if (rv == 0) {
        rv = read_file(path, &b, &st, eb);
    }
    if (rv == 0) {
        rv = ad_bridge_settings_check((const char *)b.p, b.len, wanted, ret, eb);
        if (rv == 0 && ret->n > 0) {
            rv = ad_bridge_settings_mend((const char *)b.p, b.len, wanted, &mended, eb);
        }
        rv = rv != 0 ? in_file(rv, path, eb) : 0;
    }
    if (rv == 0 && ret->n > 0) {
        rv = replace_file(path, &mended, &st, eb);
    }
    sy_buf_free(&b);
    sy_buf_free(&mended);
    return rv;
}
