/* The certificates of `tls`: where they are, and whether they would do. */

#include <string.h>

#include "node/config_schema.h"

bool nd_key_path(const struct nd_config_secret *s,
                 const char *(*getenv_fn)(const char *name), char *to, size_t size,
                 char why[ND_WHY_SIZE])
{
    const char *folder = getenv_fn("CREDENTIALS_DIRECTORY");

    if (s->from == ND_SECRET_FILE) {
        snprintf(to, size, "%s", s->name);
        return true;
    }
    if (folder == NULL || folder[0] != '/' || strlen(folder) >= ND_PATH_SIZE) {
        snprintf(why, ND_WHY_SIZE,
                 "credential %.60s: $CREDENTIALS_DIRECTORY is not set: add "
                 "LoadCredential=%.60s:/PATH to the unit (by hand: -p of systemd-run)",
                 s->name, s->name);
        return false;
    }
    snprintf(to, size, "%s/%s", folder, s->name);
    return true;
}

void nd_tls_collect(const struct nd_raw *raw, uint64_t self,
                    const char *(*getenv_fn)(const char *name), struct ad_tls_files *ret,
                    struct nd_problems *ps)
{
    const struct nd_config_tls *t = &raw->c.tls;
    struct ad_tls *tls = NULL;
    char why[ND_WHY_SIZE];
    struct sy_errbuf eb;

    *ret = (struct ad_tls_files){.ca = ""};
    if (!t->given) {
        return;
    }
    if (!nd_key_path(&t->key, getenv_fn, ret->key, sizeof ret->key, why)) {
        nd_problem(ps, "tls.key", "%s", why);
        return;
    }
    snprintf(ret->ca, sizeof ret->ca, "%s", t->ca);
    snprintf(ret->cert, sizeof ret->cert, "%s", t->cert);
    if (ad_tls_open(&tls, ret, raw->c.cluster, self, &eb) != 0) {
        nd_problem(ps, "tls", "%s", eb.text);
    }
    ad_tls_free(tls);
}
