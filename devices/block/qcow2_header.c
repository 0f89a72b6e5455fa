/* The header of a qcow2 file: read with distrust, written, laid out. */
#include "devices/block/qcow2_format.h"

#include <errno.h>
#include <stdio.h>

static const struct {
    uint8_t type, bit;
    const char *name;
} feature_names[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

#define FEATURE_ROW 48

static int header_features(const struct qcow2_header *h, const char *path, struct err *e)
{
    if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE)
        return err_set(e, ENOTSUP, "%s keeps its data in an external data file, which is not supported", path);
    /* Bits that only the feature name table can name wait until that is read. */
    if (!!(h->incompatible & QCOW2_INCOMPAT_COMPRESSION) != (h->compression != QCOW2_ZLIB))
        return err_set(e, EINVAL, "%s: the compression type %u contradicts the feature bit", path, h->compression);
    if (h->compression > QCOW2_ZSTD)
        return err_set(e, ENOTSUP, "%s uses compression type %u, which is not known", path, h->compression);
    if (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 && h->cluster_bits < 14)
        return err_set(e, EINVAL, "%s has extended L2 entries and clusters smaller than 16 KiB", path);
    return 0;
}

const char *qcow2_header_limits(const struct qcow2_header *h)
{
    if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return "the cluster size is none of 512 to 2M";
    if (h->refcount_order > 6)
        return "the refcount width is more than 64 bits";
    unsigned shift = h->cluster_bits + h->cluster_bits - (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? 4 : 3);
    if (h->size > (uint64_t)INT64_MAX - BIT64(shift) || (h->size >> shift) >= QCOW2_L1_BYTES_MAX / 8)
        return "the disk is larger than this cluster size can address";
    return NULL;
}

/* A table of `bytes` at `offset`: inside what the format can address. */
static bool table_ok(const struct qcow2_header *h, uint64_t offset, uint64_t bytes)
{
    return offset % BIT64(h->cluster_bits) == 0 && offset != 0 && range_within(offset, bytes, BIT64(56));
}

static int header_tables(const struct qcow2_header *h, const char *path, struct err *e)
{
    unsigned shift = h->cluster_bits + h->cluster_bits - (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? 4 : 3);
    const char *why = qcow2_header_limits(h);

    if (why)
        return err_set(e, EINVAL, "%s: %s", path, why);
    uint64_t need = (h->size + BIT64(shift) - 1) >> shift;
    if (h->l1_size > QCOW2_L1_BYTES_MAX / 8)
        return err_set(e, EFBIG, "%s: its L1 table has more than %u entries", path, (unsigned)(QCOW2_L1_BYTES_MAX / 8));
    if (h->l1_size < need)
        return err_set(e, EINVAL, "%s: its L1 table is too small for the size of the disk", path);
    if (h->l1_size && !table_ok(h, h->l1_offset, (uint64_t)h->l1_size * 8))
        return err_set(e, EINVAL, "%s: its L1 table has an impossible place", path);
    if (h->reftable_clusters == 0 ||
        (uint64_t)h->reftable_clusters << h->cluster_bits > MAX(QCOW2_REFTABLE_BYTES_MAX, BIT64(h->cluster_bits)))
        return err_set(e, EINVAL, "%s: its refcount table has an impossible size", path);
    if (!table_ok(h, h->reftable_offset, (uint64_t)h->reftable_clusters << h->cluster_bits))
        return err_set(e, EINVAL, "%s: its refcount table has an impossible place", path);
    if (h->nsnapshots > QCOW2_SNAPSHOTS_MAX)
        return err_set(e, EINVAL, "%s: it says it has %u snapshots", path, h->nsnapshots);
    if (h->nsnapshots && !table_ok(h, h->snapshots_offset, 40))
        return err_set(e, EINVAL, "%s: its snapshot table has an impossible place", path);
    return 0;
}

int qcow2_header_parse(const uint8_t *p, struct qcow2_header *h, const char *path, struct err *e)
{
    int rc;

    memset(h, 0, sizeof(*h));
    if (memcmp(p, QCOW2_MAGIC, QCOW2_MAGIC_LEN) != 0)
        return err_set(e, EINVAL, "%s is not a qcow2 image", path);
    h->version = be32_get(p + 4);
    if (h->version < 2 || h->version > 3)
        return err_set(e, ENOTSUP, "%s is a qcow2 image of version %u; 2 and 3 are supported", path, h->version);
    h->backing_offset = be64_get(p + 8);
    h->backing_len = be32_get(p + 16);
    uint32_t cluster_bits = be32_get(p + 20);
    if (cluster_bits < QCOW2_CLUSTER_BITS_MIN || cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return err_set(e, EINVAL, "%s: its cluster size of 2^%u bytes is none of 512 to 2M", path, cluster_bits);
    h->cluster_bits = cluster_bits;
    h->size = be64_get(p + 24);
    uint32_t crypt = be32_get(p + 32);
    h->l1_size = be32_get(p + 36);
    h->l1_offset = be64_get(p + 40);
    h->reftable_offset = be64_get(p + 48);
    h->reftable_clusters = be32_get(p + 56);
    h->nsnapshots = be32_get(p + 60);
    h->snapshots_offset = be64_get(p + 64);
    h->refcount_order = 4;
    h->length = QCOW2_V2_HEADER;
    if (h->version >= 3) {
        h->incompatible = be64_get(p + 72);
        h->compatible = be64_get(p + 80);
        h->autoclear = be64_get(p + 88);
        h->refcount_order = be32_get(p + 96);
        h->length = be32_get(p + 100);
        if (h->length < QCOW2_V3_HEADER || h->length % 8 || h->length > BIT64(h->cluster_bits))
            return err_set(e, EINVAL, "%s: its header has an impossible length of %u bytes", path, h->length);
        h->compression = h->length > 104 ? p[104] : 0;
        if (h->refcount_order > 6)
            return err_set(e, EINVAL, "%s: its refcounts are wider than 64 bits", path);
    }
    if (crypt)
        return err_set(e, ENOTSUP, "%s is encrypted (%s), which is not supported", path,
                       crypt == 1   ? "AES"
                       : crypt == 2 ? "LUKS"
                                    : "by a method that is not known");
    rc = header_features(h, path, e);
    return rc < 0 ? rc : header_tables(h, path, e);
}

/* Unknown incompatible bits, by the names that the file itself has for them. */
static int refuse_unknown(const uint8_t *names, size_t len, const struct qcow2_header *h, const char *path,
                          struct err *e)
{
    uint64_t unknown = h->incompatible & ~QCOW2_INCOMPAT_KNOWN;
    char text[FEATURE_ROW] = "";

    if (!unknown)
        return 0;
    unsigned bit = (unsigned)__builtin_ctzll(unknown);
    for (size_t at = 0; names && at + FEATURE_ROW <= len; at += FEATURE_ROW) {
        if (names[at] != 0 || names[at + 1] != bit)
            continue;
        memcpy(text, names + at + 2, FEATURE_ROW - 2);
        for (char *c = text; *c; c++)
            if (*c < ' ' || *c > '~')
                *c = '?';
        break;
    }
    return err_set(e, ENOTSUP, "%s needs a feature that is not known: bit %u%s%s%s", path, bit, *text ? " (" : "", text,
                   *text ? ")" : "");
}

static int header_backing(const uint8_t *p, size_t len, struct qcow2_header *h, const char *path, struct err *e)
{
    if (!h->backing_offset)
        return 0;
    if (h->backing_len > QCOW2_BACKING_NAME_MAX)
        return err_set(e, EINVAL, "%s: the name of its backing file is too long", path);
    if (!range_within(h->backing_offset, h->backing_len, len) || h->backing_offset < h->length)
        return err_set(e, EINVAL, "%s: the name of its backing file has an impossible place", path);
    memcpy(h->backing, p + h->backing_offset, h->backing_len);
    if (memchr(h->backing, 0, h->backing_len))
        return err_set(e, EINVAL, "%s: the name of its backing file has a zero byte in it", path);
    return 0;
}

int qcow2_header_extensions(const uint8_t *p, size_t len, struct qcow2_header *h, const char *path, struct err *e)
{
    size_t end = h->backing_offset && h->backing_offset < len ? (size_t)h->backing_offset : len;
    const uint8_t *names = NULL;
    size_t nnames = 0, at = h->length;

    while (at + 8 <= end) {
        uint32_t type = be32_get(p + at), n = be32_get(p + at + 4);

        at += 8;
        if (type == QCOW2_EXT_END)
            break;
        if (n > end - at)
            return err_set(e, EINVAL, "%s: a header extension is longer than the header", path);
        switch (type) {
        case QCOW2_EXT_BACKING_FORMAT:
            if (n >= sizeof(h->backing_format))
                return err_set(e, EINVAL, "%s: the name of the backing format is too long", path);
            memcpy(h->backing_format, p + at, n);
            h->backing_format[n] = 0;
            break;
        case QCOW2_EXT_FEATURE_NAMES:
            names = p + at;
            nnames = n;
            break;
        case QCOW2_EXT_BITMAPS:
            if (n != 24)
                return err_set(e, EINVAL, "%s: its bitmaps extension has an impossible length", path);
            h->nbitmaps = be32_get(p + at);
            h->bitmaps_len = be64_get(p + at + 8);
            h->bitmaps_offset = be64_get(p + at + 16);
            break;
        case QCOW2_EXT_ENCRYPTION: return err_set(e, ENOTSUP, "%s is encrypted (LUKS), which is not supported", path);
        case QCOW2_EXT_DATA_FILE:
        default: break;
        }
        at = MIN(at + align_up(n, 8), end);
    }
    int rc = refuse_unknown(names, nnames, h, path, e);
    return rc < 0 ? rc : header_backing(p, len, h, path, e);
}

void qcow2_header_put(const struct qcow2_header *h, uint8_t *p)
{
    memcpy(p, QCOW2_MAGIC, QCOW2_MAGIC_LEN);
    be32_put(p + 4, h->version);
    be64_put(p + 8, h->backing_offset);
    be32_put(p + 16, h->backing_len);
    be32_put(p + 20, h->cluster_bits);
    be64_put(p + 24, h->size);
    be32_put(p + 32, 0);
    be32_put(p + 36, h->l1_size);
    be64_put(p + 40, h->l1_offset);
    be64_put(p + 48, h->reftable_offset);
    be32_put(p + 56, h->reftable_clusters);
    be32_put(p + 60, h->nsnapshots);
    be64_put(p + 64, h->snapshots_offset);
    if (h->version < 3)
        return;
    be64_put(p + 72, h->incompatible);
    be64_put(p + 80, h->compatible);
    be64_put(p + 88, h->autoclear);
    be32_put(p + 96, h->refcount_order);
    be32_put(p + 100, h->length);
    if (h->length > 104)
        p[104] = (uint8_t)h->compression;
}

/* One extension at *at, if it fits with the end mark behind it. */
static bool extension_put(uint8_t *p, size_t len, size_t *at, uint32_t type, const void *data, size_t n)
{
    if (*at + 8 + align_up(n, 8) + 8 > len)
        return false;
    be32_put(p + *at, type);
    be32_put(p + *at + 4, (uint32_t)n);
    if (n)
        memcpy(p + *at + 8, data, n);
    *at += 8 + align_up(n, 8);
    return true;
}

/* Extensions of the former header that we do not write ourselves. */
static bool extensions_keep(const uint8_t *old, uint8_t *p, size_t len, size_t *at)
{
    uint64_t backing = be64_get(old + 8);
    size_t end = backing && backing < len ? (size_t)backing : len;
    size_t from = be32_get(old + 4) >= 3 ? be32_get(old + 100) : QCOW2_V2_HEADER;

    while (from + 8 <= end) {
        uint32_t type = be32_get(old + from), n = be32_get(old + from + 4);
        if (type == QCOW2_EXT_END || n > end - from - 8)
            break;
        if (type != QCOW2_EXT_BACKING_FORMAT && type != QCOW2_EXT_FEATURE_NAMES &&
            !extension_put(p, len, at, type, old + from + 8, n))
            return false;
        from += 8 + align_up(n, 8);
    }
    return true;
}

int qcow2_header_build(struct qcow2_header *h, const uint8_t *old, uint8_t *p, size_t len, struct err *e)
{
    uint8_t names[ARRAY_SIZE(feature_names) * FEATURE_ROW];
    size_t n = strlen(h->backing), at;

    if (n > QCOW2_BACKING_NAME_MAX)
        return err_set(e, EINVAL, "the name of the backing file is longer than %d bytes", QCOW2_BACKING_NAME_MAX);
    memset(p, 0, len);
    if (h->version < 3)
        h->length = QCOW2_V2_HEADER;
    else if (h->length < QCOW2_HEADER_LEN)
        h->length = QCOW2_HEADER_LEN;
    at = h->length;
    if (*h->backing_format &&
        !extension_put(p, len, &at, QCOW2_EXT_BACKING_FORMAT, h->backing_format, strlen(h->backing_format)))
        goto full;
    if (old && !extensions_keep(old, p, len, &at))
        goto full;
    if (h->version >= 3) {
        memset(names, 0, sizeof(names));
        for (unsigned i = 0; i < ARRAY_SIZE(feature_names); i++) {
            uint8_t *row = names + i * (size_t)FEATURE_ROW;
            row[0] = feature_names[i].type;
            row[1] = feature_names[i].bit;
            memcpy(row + 2, feature_names[i].name, strlen(feature_names[i].name));
        }
        /* For the reader's comfort only: small clusters do without. */
        size_t before = at;
        if (!extension_put(p, len, &at, QCOW2_EXT_FEATURE_NAMES, names, sizeof(names)) || at + 8 + n > len) {
            memset(p + before, 0, len - before);
            at = before;
        }
    }
    if (at + 8 + n > len)
        goto full;
    at += 8;
    h->backing_offset = n ? at : 0;
    h->backing_len = (uint32_t)n;
    memcpy(p + at, h->backing, n);
    qcow2_header_put(h, p);
    return 0;
full:
    return err_set(e, ENOSPC, "the header has no room for the name of the backing file in one cluster of %zu bytes",
                   len);
}
