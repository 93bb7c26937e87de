/* ss_sha256.c - see ss_sha256.h. */
#define _POSIX_C_SOURCE 200809L

#include "ss_sha256.h"

#include <string.h>

/* The first 32 bits of the fractions of the cube roots of the first 64 primes:
 * FIPS 180-4, 4.2.2.
 */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

/* The words of a block and those that are made of them: 6.2.2, part 1. */
static void schedule(const unsigned char *block, uint32_t words[64])
{
    for (int i = 0; i < 16; i++) {
        const unsigned char *bytes = block + 4 * i;

        words[i] = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
                   (uint32_t)bytes[2] << 8 | bytes[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t near = words[i - 2];
        uint32_t far = words[i - 15];

        words[i] = words[i - 16] + words[i - 7] +
                   (rotate(near, 17) ^ rotate(near, 19) ^ near >> 10) +
                   (rotate(far, 7) ^ rotate(far, 18) ^ far >> 3);
    }
}

/* 6.2.2, parts 2 to 4. */
static void take_block(struct ss_sha256 *state, const unsigned char *block)
{
    uint32_t words[64];
    uint32_t h[8];

    schedule(block, words);
    memcpy(h, state->hash, sizeof(h));
    for (int i = 0; i < 64; i++) {
        uint32_t choice = (h[4] & h[5]) ^ (~h[4] & h[6]);
        uint32_t majority = (h[0] & h[1]) ^ (h[0] & h[2]) ^ (h[1] & h[2]);
        uint32_t first =
            h[7] + choice + constants[i] + words[i] +
            (rotate(h[4], 6) ^ rotate(h[4], 11) ^ rotate(h[4], 25));
        uint32_t second =
            majority + (rotate(h[0], 2) ^ rotate(h[0], 13) ^ rotate(h[0], 22));

        memmove(h + 1, h, 7 * sizeof(h[0]));
        h[4] += first;
        h[0] = first + second;
    }
    for (int i = 0; i < 8; i++) {
        state->hash[i] += h[i];
    }
}

void ss_sha256_start(struct ss_sha256 *state)
{
    /* The same of the square roots of the first eight primes: 5.3.3. */
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                      0xa54ff53a, 0x510e527f, 0x9b05688c,
                                      0x1f83d9ab, 0x5be0cd19};

    memcpy(state->hash, start, sizeof(start));
    state->length_bytes = 0;
}

void ss_sha256_add(struct ss_sha256 *state, const void *data,
                   size_t length_bytes)
{
    const unsigned char *bytes = data;

    while (length_bytes > 0) {
        size_t filled = (size_t)(state->length_bytes % SS_SHA256_BLOCK_BYTES);
        size_t piece = SS_SHA256_BLOCK_BYTES - filled;

        if (piece > length_bytes) {
            piece = length_bytes;
        }
        memcpy(state->block + filled, bytes, piece);
        state->length_bytes += piece;
        if (filled + piece == SS_SHA256_BLOCK_BYTES) {
            take_block(state, state->block);
        }
        bytes += piece;
        length_bytes -= piece;
    }
}

void ss_sha256_end(struct ss_sha256 *state,
                   unsigned char digest[SS_SHA256_BYTES])
{
    static const unsigned char padding[SS_SHA256_BLOCK_BYTES] = {0x80};
    uint64_t bits = state->length_bytes * 8;
    size_t filled = (size_t)(state->length_bytes % SS_SHA256_BLOCK_BYTES);
    unsigned char length[8];

    /* One bit, zeros, and the length in the last eight bytes: 5.1.1. */
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    ss_sha256_add(state, padding, filled < 56 ? 56 - filled : 120 - filled);
    ss_sha256_add(state, length, sizeof(length));
    for (int i = 0; i < SS_SHA256_BYTES; i++) {
        digest[i] = (unsigned char)(state->hash[i / 4] >> (24 - 8 * (i % 4)));
    }
}
