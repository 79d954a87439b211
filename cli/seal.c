/* CURVE towards a node's TCP endpoints: our key, and which key each node has.
 *
 *   identity   one line: our secret key, Z85 (`vagtctl keys new`)
 *   known      a line for each node: HOST KEY, its public key (curve.pub of the node);
 *              # begins a comment line
 *
 * Without keys we speak to Unix sockets and the loopback only: elsewhere anybody could
 * answer. VAGT_PLAINTEXT=1 says that the network is trusted. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

#include "cli/cli.h"

enum { KEY_SIZE = 41, PATH_SIZE = 512, LINE_SIZE = 400 };

static struct
{
    char identity[PATH_SIZE], known[PATH_SIZE];
    bool told; /* where the identity is */
    bool plaintext;
    char public_key[KEY_SIZE], secret[KEY_SIZE]; /* "": not read */
} seal;

static void set_path(char to[PATH_SIZE], const char *option, const char *variable,
                     const char *otherwise)
{
    const char *env = getenv(variable), *home = getenv("HOME");

    if (option != NULL || (env != NULL && env[0] != '\0')) {
        snprintf(to, PATH_SIZE, "%s", option != NULL ? option : env);
    } else if (home != NULL) {
        snprintf(to, PATH_SIZE, "%s/.config/vagt/%s", home, otherwise);
    }
}

void ct_seal_init(const struct ct_options *opt)
{
    const char *env = getenv("VAGT_IDENTITY"), *plain = getenv("VAGT_PLAINTEXT");

    set_path(seal.identity, opt->identity, "VAGT_IDENTITY", "identity");
    set_path(seal.known, opt->known, "VAGT_KNOWN", "known");
    seal.told = opt->identity != NULL || (env != NULL && env[0] != '\0');
    seal.plaintext = plain != NULL && strcmp(plain, "1") == 0;
}

static bool read_identity(struct sy_errbuf *eb)
{
    FILE *f;
    struct stat st;
    char line[LINE_SIZE] = "";

    if (seal.secret[0] != '\0') {
        return true;
    }
    f = fopen(seal.identity, "re");
    if (f == NULL || fstat(fileno(f), &st) != 0) {
        (void)sy_fail(eb, -errno,
                      "%s: %s; `vagtctl keys new FILE` makes a key, and an admin enrols "
                      "it",
                      seal.identity, strerror(errno));
    } else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        (void)sy_fail(eb, SY_EINVALID, "%s: others may read it: chmod 600 it",
                      seal.identity);
    } else if (fgets(line, sizeof line, f) == NULL ||
               (line[strcspn(line, "\r\n")] = '\0', strlen(line) != KEY_SIZE - 1) ||
               zmq_curve_public(seal.public_key, line) != 0) {
        (void)sy_fail(eb, SY_EINVALID, "%s: is no key: one line of 40 characters",
                      seal.identity);
    } else {
        memcpy(seal.secret, line, KEY_SIZE);
    }
    if (f != NULL) {
        fclose(f);
    }
    explicit_bzero(line, sizeof line);
    return seal.secret[0] != '\0';
}

/* The key of a node, by its host; false: none is known. */
static bool key_of(const char *host, char key[KEY_SIZE])
{
    FILE *f = seal.known[0] != '\0' ? fopen(seal.known, "re") : NULL;
    char line[LINE_SIZE], name[LINE_SIZE], found[LINE_SIZE];
    bool got = false;

    while (f != NULL && !got && fgets(line, sizeof line, f) != NULL) {
        got = line[0] != '#' && sscanf(line, "%399s %399s", name, found) == 2 &&
              strcmp(name, host) == 0 && strlen(found) == KEY_SIZE - 1;
    }
    if (got) {
        memcpy(key, found, KEY_SIZE);
    }
    if (f != NULL) {
        fclose(f);
    }
    return got;
}

/* HOST of tcp://HOST:PORT and tcp://[HOST]:PORT. */
static bool host_of(const char *endpoint, char *to, size_t size)
{
    const char *from = endpoint + strlen("tcp://"), *colon = strrchr(endpoint, ':');
    size_t n;

    if (strncmp(endpoint, "tcp://", strlen("tcp://")) != 0 || colon <= from) {
        return false;
    }
    n = (size_t)(colon - from);
    if (n > 2 && from[0] == '[') {
        from++;
        n -= 2;
    }
    if (n >= size) {
        return false;
    }
    memcpy(to, from, n);
    to[n] = '\0';
    return true;
}

bool ct_sealed(const char *endpoint)
{
    char host[CT_ENDPOINT_SIZE], key[KEY_SIZE];

    return host_of(endpoint, host, sizeof host) && key_of(host, key);
}

static bool on_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

bool ct_seal(void *sock, const char *endpoint, struct sy_errbuf *eb)
{
    char host[CT_ENDPOINT_SIZE], key[KEY_SIZE];

    if (!host_of(endpoint, host, sizeof host)) {
        return true;
    }
    if (!key_of(host, key)) {
        if (!seal.told && (seal.plaintext || on_loopback(host))) {
            return true;
        }
        (void)sy_fail(eb, SY_EINVALID,
                      "%s: the key of %s is not in %s: a line \"%s KEY\", the KEY in "
                      "the curve.pub of that node%s",
                      endpoint, host, seal.known, host,
                      seal.told ? ""
                                : "; or, where the nodes have none and the network is "
                                  "trusted, VAGT_PLAINTEXT=1");
        return false;
    }
    return read_identity(eb) &&
           zmq_setsockopt(sock, ZMQ_CURVE_SERVERKEY, key, KEY_SIZE) == 0 &&
           zmq_setsockopt(sock, ZMQ_CURVE_PUBLICKEY, seal.public_key, KEY_SIZE) == 0 &&
           zmq_setsockopt(sock, ZMQ_CURVE_SECRETKEY, seal.secret, KEY_SIZE) == 0;
}
