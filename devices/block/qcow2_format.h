/*
 * What a qcow2 file looks like (the format's specification: interop/qcow2 of QEMU's documentation), and the header as
 * it is in memory. Numbers in the file are big-endian.
 */
#ifndef PIPIT_DEVICES_BLOCK_QCOW2_FORMAT_H
#define PIPIT_DEVICES_BLOCK_QCOW2_FORMAT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/util.h"

#define QCOW2_MAGIC "QFI\xfb"
#define QCOW2_MAGIC_LEN 4

/* incompatible_features */
#define QCOW2_INCOMPAT_DIRTY BIT64(0)
#define QCOW2_INCOMPAT_CORRUPT BIT64(1)
#define QCOW2_INCOMPAT_DATA_FILE BIT64(2)
#define QCOW2_INCOMPAT_COMPRESSION BIT64(3)
#define QCOW2_INCOMPAT_EXTENDED_L2 BIT64(4)
#define QCOW2_INCOMPAT_KNOWN                                                                                           \
    (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_EXTENDED_L2)
/* compatible_features */
#define QCOW2_COMPAT_LAZY_REFCOUNTS BIT64(0)
/* autoclear_features */
#define QCOW2_AUTOCLEAR_BITMAPS BIT64(0)

#define QCOW2_EXT_END 0x00000000U
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXT_FEATURE_NAMES 0x6803f857U
#define QCOW2_EXT_BITMAPS 0x23852875U
#define QCOW2_EXT_ENCRYPTION 0x0537be77U
#define QCOW2_EXT_DATA_FILE 0x44415441U

/* Entries of tables. */
#define QCOW2_COPIED BIT64(63)     /* L1, standard L2: the refcount is exactly one */
#define QCOW2_COMPRESSED BIT64(62) /* L2 */
#define QCOW2_ZERO BIT64(0)        /* L2 of version 3, without extended entries */
#define QCOW2_OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define QCOW2_REFTABLE_MASK UINT64_C(0xfffffffffffffe00)

#define QCOW2_V2_HEADER 72
#define QCOW2_V3_HEADER 104
#define QCOW2_HEADER_LEN 112 /* what we write: with the compression type */

/* Limits; those of the format, or those that other programs have too. */
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_L1_BYTES_MAX MIB(32)
#define QCOW2_REFTABLE_BYTES_MAX MIB(8)
#define QCOW2_SNAPSHOTS_MAX 65536
#define QCOW2_SNAPSHOT_TABLE_MAX MIB(64)
#define QCOW2_BACKING_NAME_MAX 1023
#define QCOW2_BITMAPS_MAX 65535
#define QCOW2_SUBCLUSTERS 32

enum qcow2_compression { QCOW2_ZLIB, QCOW2_ZSTD };

static inline uint16_t be16_get(const void *p)
{
    return __builtin_bswap16(le16_get(p));
}
static inline uint32_t be32_get(const void *p)
{
    return __builtin_bswap32(le32_get(p));
}
static inline uint64_t be64_get(const void *p)
{
    return __builtin_bswap64(le64_get(p));
}
static inline void be16_put(void *p, uint16_t v)
{
    le16_put(p, __builtin_bswap16(v));
}
static inline void be32_put(void *p, uint32_t v)
{
    le32_put(p, __builtin_bswap32(v));
}
static inline void be64_put(void *p, uint64_t v)
{
    le64_put(p, __builtin_bswap64(v));
}

struct qcow2_header {
    unsigned version;
    uint64_t backing_offset;
    uint32_t backing_len;
    unsigned cluster_bits;
    uint64_t size; /* of the disk, bytes */
    uint32_t l1_size;
    uint64_t l1_offset;
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
    uint32_t nsnapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    unsigned refcount_order;
    uint32_t length;
    unsigned compression; /* enum qcow2_compression */
    /* From the extensions and behind them. */
    char backing[QCOW2_BACKING_NAME_MAX + 1]; /* "" where there is none */
    char backing_format[32];                  /* "" where it is not recorded */
    uint32_t nbitmaps;
    uint64_t bitmaps_offset, bitmaps_len; /* the directory */
};

/* The fields up to 104 bytes or header_length, from the file's first bytes (at least 112, zeroes behind the file's
 * end); every number is checked. Refusals name the feature. */
int qcow2_header_parse(const uint8_t *p, struct qcow2_header *h, const char *path, struct err *e);
/* The extensions and the backing file's name, from the first cluster. */
int qcow2_header_extensions(const uint8_t *p, size_t len, struct qcow2_header *h, const char *path, struct err *e);
/* Writes the fields into the first cluster; extensions stay as they are. */
void qcow2_header_put(const struct qcow2_header *h, uint8_t *p);
/* Lays the whole first cluster out anew: fields, extensions (those of `old` that are not ours are kept, NULL: none),
 * backing file. -ENOSPC where the names do not fit, -EINVAL. h->length, backing_offset and backing_len are set. */
int qcow2_header_build(struct qcow2_header *h, const uint8_t *old, uint8_t *p, size_t len, struct err *e);
/* NULL, or why the cluster size, refcount width and disk size of `h` cannot be an image. */
const char *qcow2_header_limits(const struct qcow2_header *h);

#endif
