/* Private to the folder: whole files. */

#ifndef AD_FILES_DISK_H
#define AD_FILES_DISK_H

#include "adapters/files/files.h"

/* Reads to the end, AD_FILES_SIZE_MAX at most: SY_ELIMIT. */
SY_MUST_USE int ad_files__read(int fd, struct sy_buf *to);
/* A new file @name in the folder @at, synced; nothing is left behind on failure. */
SY_MUST_USE int ad_files__write(int at, const char *name, const void *p, size_t n,
                                unsigned mode, unsigned uid, unsigned gid);
SY_MUST_USE int ad_files__sync_dir(const char *dir);
void ad_files__sum(const void *p, size_t n, char ret_hex[AD_FILES_SUM_SIZE]);
/* The file or folder and all below. */
SY_MUST_USE int ad_files__remove(int at, const char *name);

#endif /* AD_FILES_DISK_H */
