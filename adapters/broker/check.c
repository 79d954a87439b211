/* What the broker will need on this host. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapters/broker/broker.h"

enum { VERSION_MS = 2000, OUTPUT_MAX = 4096, LINE_SIZE = 1024 };

struct telling
{
    ad_broker_tell tell;
    void *data;
};

static void tell(const struct telling *t, bool error, const char *fmt, ...)
    SY_PRINTF(3, 4);

static void tell(const struct telling *t, bool error, const char *fmt, ...)
{
    char text[AD_BROKER_TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    t->tell(t->data, error, text);
}

/* --- the program --- */

/* What it says on its standard output; false: it cannot be run. */
static bool run(const char *path, char out[static OUTPUT_MAX])
{
    char *argv[] = {(char *)(uintptr_t)path, (char *)(uintptr_t) "-h", NULL};
    char *env[] = {NULL};
    posix_spawn_file_actions_t actions;
    size_t n = 0;
    int fds[2];
    pid_t pid;
    bool ran;

    if (pipe2(fds, O_CLOEXEC) != 0) {
        return false;
    }
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
    ran = posix_spawn(&pid, path, &actions, NULL, argv, env) == 0;
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(fds[1]);
    while (ran && n < OUTPUT_MAX - 1) {
        struct pollfd p = {.fd = fds[0], .events = POLLIN};
        ssize_t got =
            poll(&p, 1, VERSION_MS) == 1 ? read(fds[0], out + n, OUTPUT_MAX - 1 - n) : 0;

        if (got <= 0) {
            break;
        }
        n += (size_t)got;
    }
    out[n] = '\0';
    (void)close(fds[0]);
    if (ran) {
        (void)kill(pid, SIGKILL); /* It may be none that ends by itself. */
        (void)waitpid(pid, NULL, 0);
    }
    return ran;
}

const char *ad_broker_version_means(const char *version, bool *ret_error)
{
    unsigned major = 0, minor = 0, patch = 0;

    *ret_error = false;
    if (sscanf(version, "%u.%u.%u", &major, &minor, &patch) < 2) {
        return "has a version that is not understood: 2.0.11 to 2.0.21 were tried";
    }
    if (major < 2) {
        *ret_error = true;
        return "is older than 2.0, which knows neither MQTT 5 as it is needed nor these "
               "settings: install a newer one";
    }
    if (major == 2 && minor == 0 && patch < 13) {
        return "hands out more messages ahead of their acknowledgement than was agreed, "
               "and may deliver a new one in front of older ones that it delivers again "
               "(mended in 2.0.13). vagt does not mind; receive_max has no effect with "
               "it, and other clients may see readings out of order";
    }
    return NULL;
}

static void check_program(const struct ad_broker_config *c, const struct telling *t)
{
    static const char named[] = "mosquitto version ";
    char out[OUTPUT_MAX];
    const char *version, *means;
    bool error;

    if (access(c->executable, X_OK) != 0) {
        tell(t, true,
             "%s cannot be run: %s; install mosquitto or set executable to where it is",
             c->executable, strerror(errno));
        return;
    }
    version = run(c->executable, out) ? strstr(out, named) : NULL;
    if (version == NULL) {
        tell(t, true, "%s does not say that it is mosquitto: is executable right?",
             c->executable);
        return;
    }
    version += strlen(named);
    means = ad_broker_version_means(version, &error);
    if (means != NULL) {
        tell(t, error, "mosquitto %.*s %s", (int)strcspn(version, " \r\n"), version,
             means);
    }
}

/* --- the files --- */

/* Who mosquitto will be. */
static bool becomes(const struct ad_broker_config *c, struct passwd *pw, char buf[1024])
{
    struct passwd *found;

    if (geteuid() != 0) {
        return false; /* Who we are. */
    }
    return getpwnam_r(c->user, pw, buf, 1024, &found) == 0 && found != NULL;
}

static void check_user(const struct ad_broker_config *c, const struct telling *t)
{
    struct passwd pw;
    char buf[1024];

    if (geteuid() == 0 && !becomes(c, &pw, buf)) {
        tell(t, true, "there is no user %s, which mosquitto would become: set user",
             c->user);
    }
}

static void check_data(const struct ad_broker_config *c, const struct telling *t)
{
    struct passwd pw;
    struct stat st;
    char buf[1024];

    if (stat(c->data_dir, &st) != 0) {
        if (errno != ENOENT) {
            tell(t, true, "data_dir %s: %s", c->data_dir, strerror(errno));
        }
        return; /* It is made. */
    }
    if (!S_ISDIR(st.st_mode)) {
        tell(t, true, "data_dir %s is no folder", c->data_dir);
    } else if (becomes(c, &pw, buf) && pw.pw_uid != 0 && st.st_uid != pw.pw_uid) {
        tell(t, true,
             "data_dir %s does not belong to %s, which mosquitto becomes, so nothing "
             "would be saved: chown %s %s",
             c->data_dir, c->user, c->user, c->data_dir);
    } else if (geteuid() != 0 && access(c->data_dir, W_OK) != 0) {
        tell(t, true, "data_dir %s cannot be written, so nothing would be saved: %s",
             c->data_dir, strerror(errno));
    }
}

static bool check_file(const char *key, const char *path, const struct telling *t)
{
    struct stat st;

    if (path[0] == '\0') {
        return false;
    }
    if (access(path, R_OK) != 0 || stat(path, &st) != 0) {
        tell(t, true, "%s %s cannot be read: %s", key, path, strerror(errno));
        return false;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        tell(t, true, "%s %s is empty or no file", key, path);
        return false;
    }
    return true;
}

static void check_passwords(const struct ad_broker_config *c, const struct telling *t)
{
    char line[LINE_SIZE];
    unsigned nr = 0;
    FILE *f;

    if (!check_file("password_file", c->password_file, t) ||
        (f = fopen(c->password_file, "re")) == NULL) {
        return;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');

        nr++;
        if (line[0] != '#' && line[0] != '\n' && (colon == NULL || colon[1] != '$')) {
            tell(t, true,
                 "password_file %s line %u is not NAME:$...: mosquitto_passwd -U turns "
                 "plain passwords into such",
                 c->password_file, nr);
            break;
        }
    }
    explicit_bzero(line, sizeof line);
    (void)fclose(f);
}

bool ad_broker_has_user(const struct ad_broker_config *c, const char *user)
{
    size_t n = strlen(user);
    char line[LINE_SIZE];
    bool found = false;
    FILE *f;

    if (c->password_file[0] == '\0' || (f = fopen(c->password_file, "re")) == NULL) {
        return true;
    }
    while (!found && fgets(line, sizeof line, f) != NULL) {
        found = strncmp(line, user, n) == 0 && line[n] == ':';
    }
    explicit_bzero(line, sizeof line);
    (void)fclose(f);
    return found;
}

void ad_broker_check(const struct ad_broker_config *c, ad_broker_tell tell_cb, void *data)
{
    struct telling t = {tell_cb, data};

    check_program(c, &t);
    check_user(c, &t);
    check_data(c, &t);
    check_passwords(c, &t);
    (void)check_file("acl_file", c->acl_file, &t);
    (void)check_file("cafile", c->cafile, &t);
    (void)check_file("certfile", c->certfile, &t);
    (void)check_file("keyfile", c->keyfile, &t);
    for (unsigned i = 0; i < c->listen_n && c->certfile[0] == '\0'; i++) {
        if (!ad_broker_is_loopback(c->listen[i].host)) {
            tell(&t, false,
                 "passwords and readings go over the network as they are: set certfile "
                 "and keyfile");
            break;
        }
    }
}
