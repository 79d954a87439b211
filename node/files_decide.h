/* What is to be done with a folder before who uses it starts. Pure.
 *
 *   no version yet, or the folder is the newest        start
 *   changes behind the newest, taken by nobody yet     take them as a version, start
 *   an older version, empty, or not there              lay the newest out
 *   changes behind an older version, or half written   move it aside, lay the newest out
 *
 * The newest version whose contents are not here is waited for, and at the end the
 * newest that is whole here is taken instead. */

#ifndef ND_FILES_DECIDE_H
#define ND_FILES_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/files.h"

enum nd_folder_state {
    ND_FOLDER_NONE,  /* not there, or empty */
    ND_FOLDER_WHOLE, /* could be taken as a version */
    ND_FOLDER_TORN,  /* a file is half written */
    ND_FOLDER_ODD    /* cannot be taken for another reason */
};

struct nd_files_case
{
    enum nd_folder_state folder;
    uint64_t newest;   /* version; 0: there is none yet */
    uint64_t complete; /* newest version whose contents are all here; 0: none */
    uint64_t equals;   /* version that the folder is; 0: none that is kept */
    uint64_t based_on; /* what it was when it was laid out or taken last; 0: not known */
    bool ours_since;   /* all versions behind that were taken from this folder */
    bool waited;       /* long enough for contents */
};

enum nd_files_what {
    ND_FILES_START,
    ND_FILES_TAKE, /* then start */
    ND_FILES_WAIT,
    ND_FILES_LAY,  /* what was there is nothing new */
    ND_FILES_ASIDE /* lay out, and keep what was there */
};

/* @ret: the version to lay out, or that the folder is. */
enum nd_files_what nd_files_decide(const struct nd_files_case *c, uint64_t *ret);

/* The version that @list is, but for what is state only ("state.json"), searched from
 * the newest; 0: none. */
uint64_t nd_files_which(const struct rp_store *s, const char *set,
                        const struct rp_file *list, unsigned n, bool but_state);
bool nd_files_equal_but_state(const struct rp_file *a, unsigned a_n,
                              const struct rp_file *b, unsigned b_n);
/* Were all versions behind @nr taken from a folder by @node? */
bool nd_files_ours_since(const struct rp_store *s, const char *set, uint64_t nr,
                         uint64_t node);

/* Is the version durable where it must be? Of @full nodes that may take the watch, @have
 * have it, this one among them. Of two, one is enough while the other is away. */
bool nd_files_enough(unsigned full, unsigned have, bool others_away);

#endif /* ND_FILES_DECIDE_H */
