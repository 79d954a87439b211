/* Until the running half of the files is joined: nothing is here, nothing is copied. */

#include "node/node.h"

bool nd_files_view(struct nd_node *n, unsigned i, struct nd_files_view *ret)
{
    (void)n;
    (void)i;
    (void)ret;
    return false;
}

bool nd_files_has(struct nd_node *n, const uint8_t sum[RP_FILES_SUM_LEN])
{
    (void)n;
    (void)sum;
    return false;
}

uint64_t nd_files_bytes(struct nd_node *n)
{
    (void)n;
    return 0;
}

uint64_t nd_files_asides(struct nd_node *n)
{
    (void)n;
    return 0;
}

uint64_t nd_files_complete(struct sy_cur node_map, const char *set)
{
    (void)node_map;
    (void)set;
    return 0;
}

void nd_files_read(struct nd_node *n, const uint8_t sum[RP_FILES_SUM_LEN],
                   nd_files_read_cb cb, void *data)
{
    (void)n;
    (void)sum;
    (void)cb;
    (void)data;
}

void nd_files_path(const struct nd_config *c, char to[ND_FILES_PATH_SIZE])
{
    snprintf(to, ND_FILES_PATH_SIZE, "%s/files", c->data_dir);
}
