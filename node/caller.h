/* Who asks for something over the control plane, and what that allows. */

#ifndef ND_CALLER_H
#define ND_CALLER_H

#include <stdbool.h>
#include <stdint.h>

enum { ND_CALLER_NAME_SIZE = 40, ND_CALLER_FROM_SIZE = 64 };

/* Each may do what the one before may. */
enum nd_role {
    ND_ROLE_NONE,
    ND_ROLE_VIEWER,   /* look */
    ND_ROLE_OPERATOR, /* switch, hand over, keep the site running */
    ND_ROLE_ADMIN     /* who belongs to the cluster, who has a key */
};

struct nd_caller
{
    enum nd_role role;
    bool by_key;                    /* not by sitting at a machine */
    char name[ND_CALLER_NAME_SIZE]; /* of the key; "root", "uid 1000" of a local one */
    char from[ND_CALLER_FROM_SIZE]; /* "pid 4711 on nas", "192.0.2.7 at nas" */
};

#endif /* ND_CALLER_H */
