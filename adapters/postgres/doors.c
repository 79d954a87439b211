#include "adapters/postgres/doors.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

static bool is_near(const char *host, size_t n)
{
    return n == 0 || host[0] == '/' || host[0] == '@' ||
           (n == 9 && memcmp(host, "localhost", 9) == 0) ||
           (n > 4 && memcmp(host, "127.", 4) == 0) ||
           (n == 3 && memcmp(host, "::1", 3) == 0);
}

/* The first of @list, of which the parts are separated by commas, that is elsewhere. */
static bool find_far(const char *list, char *host, size_t size)
{
    for (;;) {
        size_t n = strcspn(list, ",");

        if (!is_near(list, n)) {
            snprintf(host, size, "%.*s", (int)n, list);
            return true;
        }
        if (list[n] == '\0') {
            return false;
        }
        list += n + 1;
    }
}

bool ad_pg_doors_open(const char *conninfo, char *host, size_t size)
{
    char *error = NULL;
    PQconninfoOption *o = PQconninfoParse(conninfo, &error);
    bool far = false, said = false;

    if (o == NULL) {
        PQfreemem(error); /* Who connects tells it. */
        return false;
    }
    for (const PQconninfoOption *i = o; i->keyword != NULL; i++) {
        if (i->val == NULL) {
            continue;
        }
        /* A service is a file of libpq's own, which may say all of it. */
        said = said || strcmp(i->keyword, "sslmode") == 0 ||
               strcmp(i->keyword, "service") == 0;
        if (strcmp(i->keyword, "host") == 0 || strcmp(i->keyword, "hostaddr") == 0) {
            far = far || find_far(i->val, host, size);
        }
    }
    PQconninfoFree(o);
    return far && !said;
}
