/* Files of the source tree, for the tests of the configuration. */

#ifndef TESTS_NODE_SOURCE_H
#define TESTS_NODE_SOURCE_H

#include <sys/types.h>

#include "base/buf.h"

/* $VAGT_SOURCE, or the current folder, and @file below it. */
void source_path(char out[512], const char *file);
/* The whole file, terminated. */
struct sy_buf slurp(const char *file);
void write_file(const char *path, const char *text, mode_t mode);

#endif /* TESTS_NODE_SOURCE_H */
