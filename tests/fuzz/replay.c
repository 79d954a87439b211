/* Where there is no libFuzzer: feed the files of the given folders, and the given
 * files, to the fuzzer's entry point. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static unsigned files;

static void feed_file(const char *path)
{
    struct sy_buf b = {0};
    FILE *f = fopen(path, "rb");
    size_t n;

    if (f == NULL) {
        perror(path);
        exit(1);
    }
    while ((n = fread(sy_buf_reserve(&b, 4096), 1, 4096, f)) > 0) {
        b.len += n;
    }
    (void)fclose(f); /* Only read. */
    (void)LLVMFuzzerTestOneInput(b.p, b.len);
    sy_buf_free(&b);
    files++;
}

static void feed(const char *path)
{
    struct stat st;
    struct dirent *entry;
    DIR *dir;

    if (stat(path, &st) != 0) {
        perror(path);
        exit(1);
    }
    if (!S_ISDIR(st.st_mode)) {
        feed_file(path);
        return;
    }
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        struct sy_buf name = {0};

        if (entry->d_name[0] != '.') {
            sy_buf_fmt(&name, "%s/%s", path, entry->d_name);
            sy_buf_u8(&name, 0);
            feed((const char *)name.p);
            sy_buf_free(&name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        feed(argv[i]);
    }
    printf("%u files replayed\n", files);
    return files > 0 ? 0 : 1; /* A corpus that is not there tests nothing. */
}
