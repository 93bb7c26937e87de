/* test_ss_sha256 - digests that others have published or sha256sum(1) gives. */
#define _POSIX_C_SOURCE 200809L

#include "ss_sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_digest(struct ss_sha256 *digest, const char *expected)
{
    unsigned char bytes[SS_SHA256_BYTES];
    char text[2 * SS_SHA256_BYTES + 1];

    ss_sha256_end(digest, bytes);
    for (int i = 0; i < SS_SHA256_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
    assert_string_equal(text, expected);
}

static void test_published(void **state)
{
    static const struct {
        const char *text;
        const char *digest;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb924"
             "27ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223"
                "b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039"
         "a33ce45964ff2167f6ecedd419db06c1"},
    };
    struct ss_sha256 digest;

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        ss_sha256_start(&digest);
        ss_sha256_add(&digest, known[i].text, strlen(known[i].text));
        assert_digest(&digest, known[i].digest);
    }
}

/* A million times 'a', of FIPS 180-2, B.3, in pieces of every length. */
static void test_pieces(void **state)
{
    struct ss_sha256 digest;
    char text[200];
    size_t left = 1000000;

    (void)state;
    memset(text, 'a', sizeof(text));
    ss_sha256_start(&digest);
    for (size_t i = 0; left > 0; i++) {
        size_t piece = i % sizeof(text) < left ? i % sizeof(text) : left;

        ss_sha256_add(&digest, text, piece);
        left -= piece;
    }
    assert_digest(&digest, "cdc76e5c9914fb9281a1c7e284d73e67"
                           "f1809a48a497200e046d39ccc7112cd0");
}

/* The padding needs a block of its own from 56 bytes on. */
static void test_lengths(void **state)
{
    static const struct {
        size_t length;
        const char *digest;
    } known[] = {
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9a"
             "e9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f"
             "590ce20f1bde7090ef7970686ec6738a"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209"
             "f439851db43d0ba5997337df154668eb"},
    };
    struct ss_sha256 digest;
    char text[64];

    (void)state;
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        ss_sha256_start(&digest);
        ss_sha256_add(&digest, text, known[i].length);
        assert_digest(&digest, known[i].digest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_lengths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
