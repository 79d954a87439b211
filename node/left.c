/* After a recovery (vagtctl recover, docs/adr/0022): who was left behind is told so by
 * the leader's gossip and stops for good; when it has put its log aside (vagtd
 * --rejoin) the leader takes it in again, without anybody's help.
 *
 *   fact recover.epoch      how often the cluster was recovered, as a number that grows
 *   fact recover.left.<id>  the epoch in which that node was left behind
 *   file left-behind        in its data folder: it was told so */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mp.h"
#include "node/node.h"

enum { EXIT_LEFT = 5, HEARD_MS = 3000, AGAIN_MS = 200, PATH_SIZE = ND_PATH_SIZE + 32 };

static uint64_t epoch_of(const struct nd_node *n)
{
    const struct rp_fact *f = rp_store_fact(n->store, "recover.epoch");

    return f != NULL ? strtoull(f->value, NULL, 10) : 0;
}

/* --- the file --- */

static void path_of(char to[PATH_SIZE], const char *dir, const char *end)
{
    snprintf(to, PATH_SIZE, "%s/left-behind%s", dir, end);
}

uint64_t nd_left_read(const char *dir, struct sy_errbuf *eb)
{
    char path[PATH_SIZE], by[64] = "?";
    uint64_t epoch = 0;
    FILE *f;

    path_of(path, dir, "");
    f = fopen(path, "re");
    if (f == NULL) {
        return 0;
    }
    if (fscanf(f, "epoch %" SCNu64 " told by %63s", &epoch, by) < 1) {
        epoch = 1; /* The file alone says it. */
    }
    fclose(f);
    (void)sy_fail(eb, SY_ESTALE,
                  "the cluster was recovered without this node (epoch %" PRIu64
                  ", told by %s): what only its log holds is not part of it any more. "
                  "`vagtd --rejoin` puts the log aside, then start it again: it gets "
                  "everything from the others",
                  epoch, by);
    return epoch;
}

static int sync_folder(const char *dir)
{
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rv = folder < 0 || fsync(folder) != 0 ? -errno : 0;

    if (folder >= 0) {
        close(folder);
    }
    return rv;
}

int nd_left_clear(const char *dir)
{
    char path[PATH_SIZE];

    path_of(path, dir, "");
    return unlink(path) == 0 || errno == ENOENT ? sync_folder(dir) : -errno;
}

static int write_file(const char *dir, uint64_t epoch, const char *by)
{
    char path[PATH_SIZE], tmp[PATH_SIZE];
    FILE *f;
    int rv;

    path_of(path, dir, "");
    path_of(tmp, dir, ".tmp");
    f = fopen(tmp, "we");
    if (f == NULL) {
        return -errno;
    }
    rv = fprintf(f, "epoch %" PRIu64 " told by %s\n", epoch, by) > 0 && fflush(f) == 0 &&
                 fsync(fileno(f)) == 0
             ? 0
             : -EIO;
    fclose(f);
    if (rv == 0 && rename(tmp, path) != 0) {
        rv = -errno;
    }
    return rv == 0 ? sync_folder(dir) : rv;
}

/* --- telling and hearing --- */

/* Members are those of the newest configuration, committed or not: whoever gets
 * anything from this leader is among them. */
void nd_left_put(struct nd_node *n, struct sy_buf *b)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    uint64_t ids[CS_ID_MAX];
    uint32_t found = 0;
    struct cs_member m;

    for (uint64_t id = 1; id <= CS_ID_MAX; id++) {
        if (cs_core_member(core, id, &m)) {
            ids[found++] = id;
        }
    }
    sy_mp_kuint(b, "epoch", epoch_of(n));
    sy_mp_str(b, "members");
    sy_mp_array(b, found);
    for (uint32_t i = 0; i < found; i++) {
        sy_mp_uint(b, ids[i]);
    }
}

static bool names(struct sy_cur map, uint64_t id)
{
    uint32_t count;

    if (!nd_map_find(&map, "members")) {
        return true; /* An older version: it does not say. */
    }
    count = sy_mp_get_array(&map);
    for (uint32_t i = 0; i < count && !map.bad; i++) {
        if (sy_mp_get_uint(&map) == id) {
            return true;
        }
    }
    return map.bad;
}

/* A leader of a later epoch without us among its members: our log belongs to a past
 * that was given up. Nothing of it may count any more, not even a vote, so the process
 * ends; the file keeps it so after a start that nobody can tell anything. */
void nd_left_heard(struct nd_node *n, uint64_t from)
{
    const struct cs_core *core = nd_replica_core(n->replica);
    const struct nd_config_node *c = nd_config_node(&n->config, from);
    struct sy_errbuf eb = {.text = ""};
    struct sy_cur map;
    uint64_t age, epoch;
    char raft[16];
    int rv;

    if (cs_core_last(core) == 0 || !nd_status_node_map(n, from, &map, &age)) {
        return;
    }
    nd_map_str(map, "raft", raft, sizeof raft);
    epoch = nd_map_uint(map, "epoch", 0);
    if (strcmp(raft, "leader") != 0 || epoch <= epoch_of(n) || names(map, n->config.id)) {
        return;
    }
    rv = write_file(n->config.data_dir, epoch, c != NULL ? c->name : "?");
    (void)nd_left_read(n->config.data_dir, &eb);
    SY_LOG(&n->log, SY_ERR, "recover.left_behind", KU64("epoch", epoch),
           KU64("told_by", from), KERR(rv), KSTR("why", eb.text));
    fflush(stderr);
    _exit(EXIT_LEFT);
}

/* --- taking in again, as leader --- */

static bool came_empty(struct nd_node *n, uint64_t id)
{
    struct sy_cur map;
    uint64_t age;

    return ad_peers_linked(nd_replica_peers(n->replica), id) &&
           nd_status_node_map(n, id, &map, &age) && age < HEARD_MS &&
           nd_map_uint(map, "last", 1) == 0;
}

/* The id in "recover.left.<id>"; 0: another fact. */
static uint64_t left_id(const struct rp_fact *f)
{
    static const char prefix[] = "recover.left.";

    return strncmp(f->key, prefix, sizeof prefix - 1) == 0
               ? strtoull(f->key + sizeof prefix - 1, NULL, 10)
               : 0;
}

void nd_left_tend(struct nd_node *n)
{
    uint64_t now = nd_now_ms();

    if (nd_replica_leading(n->replica) == 0 || now < n->left_again_ms) {
        return;
    }
    n->left_again_ms = now + AGAIN_MS;
    for (uint32_t i = 0; i < rp_store_facts(n->store); i++) {
        const struct rp_fact *f = rp_store_fact_at(n->store, i);
        uint64_t id = left_id(f);

        if (id != 0 && id <= CS_ID_MAX && nd_config_node(&n->config, id) != NULL) {
            if (nd_take_in(n, id, came_empty(n, id))) {
                rp_batch_fact(nd_replica_batch(n->replica), f->key, "");
                SY_LOG(&n->log, SY_NOTE, "recover.rejoined", KU64("peer", id));
            }
        }
    }
}

/* --- sentences --- */

void nd_left_issues(struct nd_node *n,
                    void (*tell)(void *data, bool error, const char *text), void *data)
{
    for (uint32_t i = 0; i < rp_store_facts(n->store); i++) {
        uint64_t id = left_id(rp_store_fact_at(n->store, i));
        const struct nd_config_node *c = nd_config_node(&n->config, id);
        struct cs_member m;
        char text[320];

        if (id == 0 || c == NULL) {
            continue;
        }
        if (cs_core_member(nd_replica_core(n->replica), id, &m)) {
            snprintf(text, sizeof text,
                     "%s was left behind by the recovery and is catching up", c->name);
        } else {
            snprintf(text, sizeof text,
                     "the cluster was recovered without %s: `vagtd --rejoin` there, then "
                     "start it; it is taken in again by itself",
                     c->name);
        }
        tell(data, false, text);
    }
}
