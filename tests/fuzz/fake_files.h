/* A disk for files that move with the watch, in memory: what it says is the fuzzer's. */

#ifndef TESTS_FUZZ_FAKE_FILES_H
#define TESTS_FUZZ_FAKE_FILES_H

#include "replication/store.h"

/* Empty, and sound. */
void fake_files_reset(void);
/* What is in the folder from now on, and what goes wrong. */
void fake_files_disk(uint8_t folder, uint8_t fault);
/* The same list, as a version of another node. Returns how many. */
unsigned fake_files_list(uint8_t folder, struct rp_file to[3]);

#endif
