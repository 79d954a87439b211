#include "tests/node/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "node/config_schema.h"

void source_path(char out[512], const char *file)
{
    const char *root = getenv("VAGT_SOURCE");

    snprintf(out, 512, "%s/%s", root != NULL ? root : ".", file);
}

struct sy_buf slurp(const char *file)
{
    struct sy_buf b = {0};
    char path[512], why[ND_WHY_SIZE];

    source_path(path, file);
    if (nd_file_read(path, 1 << 20, false, &b, why) != 0) {
        fail_msg("%s", why);
    }
    sy_buf_u8(&b, 0);
    return b;
}

void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0 && chmod(path, mode) == 0);
}
