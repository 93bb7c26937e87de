/* ss_sha256.h - the SHA-256 digest of data that come in pieces.
 *
 * Thread safety: any thread may call any of them, each on a state of its own.
 *
 * Source: FIPS 180-4, 4.1.2, 5 and 6.2.
 */
#ifndef SS_SHA256_H
#define SS_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SS_SHA256_BYTES = 32, SS_SHA256_BLOCK_BYTES = 64 };

struct ss_sha256 {
    uint32_t hash[8];
    uint64_t length_bytes; /* of all data so far */
    unsigned char block[SS_SHA256_BLOCK_BYTES];
};

/* Begins a digest. It cannot fail, and needs no memory of its own. */
void ss_sha256_start(struct ss_sha256 *state);

/* Adds data. How they are cut into pieces makes no difference.
 * length_bytes: 0 adds nothing. 2^61 bytes are the limit of all together.
 */
void ss_sha256_add(struct ss_sha256 *state, const void *data,
                   size_t length_bytes);

/* Ends a digest; the state must be started anew after that.
 * digest: the 32 bytes that sha256sum(1) prints as 64 digits.
 */
void ss_sha256_end(struct ss_sha256 *state,
                   unsigned char digest[SS_SHA256_BYTES]);

#endif
