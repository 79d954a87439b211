/* A YAML file as a tree, for settings.c and mend.c. Private to this folder. */

#ifndef AD_BRIDGE_TREE_H
#define AD_BRIDGE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "base/err.h"

enum { AD_BRIDGE_DEPTH_MAX = 24, AD_BRIDGE_ANCHORS_MAX = 16 };

struct ad_bridge_tree
{
    yaml_document_t doc;
    const char *text; /* borrowed */
    size_t len;
};

SY_MUST_USE int ad_bridge_tree_read(struct ad_bridge_tree *t, const char *text,
                                    size_t len, struct sy_errbuf *eb);
void ad_bridge_tree_free(struct ad_bridge_tree *t);
yaml_node_t *ad_bridge_tree_root(const struct ad_bridge_tree *t);
/* NULL: no such key. @ret_key may be NULL. */
yaml_node_t *ad_bridge_tree_get(const struct ad_bridge_tree *t, const yaml_node_t *map,
                                const char *key, size_t len, yaml_node_t **ret_key);
/* "mqtt.server"; NULL. */
yaml_node_t *ad_bridge_tree_find(const struct ad_bridge_tree *t, const char *path);
/* The text of a scalar, NULL of anything else. */
const char *ad_bridge_tree_text(const yaml_node_t *node);
bool ad_bridge_tree_is_null(const yaml_node_t *node);
/* Marks count characters. */
size_t ad_bridge_tree_offset(const struct ad_bridge_tree *t, const yaml_mark_t *mark);
/* Is @b as @a, but for what stands at @path? */
bool ad_bridge_tree_same_but(const struct ad_bridge_tree *a,
                             const struct ad_bridge_tree *b, const char *path);

#endif /* AD_BRIDGE_TREE_H */
