/*
 * Decompression, private to loader/ (and its tests). Output is malloc'ed and never larger than `limit`.
 */
#ifndef PIPIT_LOADER_UNPACK_H
#define PIPIT_LOADER_UNPACK_H

#include <stdint.h>

#include "vmm/base/err.h"

/* What a compressed or packed file holds. */
enum unpack_kind {
    UNPACK_NONE, /* none of those below */
    UNPACK_GZIP,
    UNPACK_ZSTD,
    UNPACK_ZBOOT, /* EFI zboot: a PE program with a compressed kernel in it */
};
enum unpack_kind unpack_probe(const uint8_t *data, uint64_t size);

/*
 * Unpacks one layer; `name` is for messages. -ENOTSUP: built without the library, or a compression that is not
 * supported; -EINVAL: malformed or truncated; -EFBIG: more than `limit` bytes come out.
 */
int unpack(enum unpack_kind kind, const uint8_t *data, uint64_t size, uint64_t limit, uint8_t **out, uint64_t *out_size,
           const char *name, struct err *e);

/* The first bytes of what a gzip or zstd file expands to, at most `cap`; returns how many, 0 where it is neither, is
 * damaged from the beginning, or the library is not there. */
uint64_t unpack_head(const uint8_t *data, uint64_t size, uint8_t *out, uint64_t cap);

#endif
