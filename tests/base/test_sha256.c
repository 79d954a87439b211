#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/sha256.h"

static void is_hash(struct sy_sha256 *s, const char *hex)
{
    uint8_t hash[SY_SHA256_SIZE];
    char text[2 * SY_SHA256_SIZE + 1];

    sy_sha256_end(s, hash);
    for (unsigned i = 0; i < sizeof hash; i++) {
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    }
    assert_string_equal(text, hex);
}

/* FIPS 180-4: the examples of NIST. */
static void the_published_examples_hold(void **state)
{
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    struct sy_sha256 s;

    (void)state;
    sy_sha256_begin(&s);
    is_hash(&s, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sy_sha256_begin(&s);
    sy_sha256_add(&s, "abc", 3);
    is_hash(&s, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sy_sha256_begin(&s);
    sy_sha256_add(&s, two, sizeof two - 1);
    is_hash(&s, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void a_million_letters_in_uneven_portions(void **state)
{
    char a[997];
    size_t left = 1000000;
    struct sy_sha256 s;

    (void)state;
    memset(a, 'a', sizeof a);
    sy_sha256_begin(&s);
    for (size_t n = 1; left > 0; n = n % sizeof a + 1) {
        size_t some = n < left ? n : left;

        sy_sha256_add(&s, a, some);
        left -= some;
    }
    is_hash(&s, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_examples_hold),
        cmocka_unit_test(a_million_letters_in_uneven_portions),
    };

    return cmocka_run_group_tests_name("sha256", tests, NULL, NULL);
}
