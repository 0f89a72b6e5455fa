/*
 * gzip, zstd and EFI zboot.
 *
 * Output grows by doubling from a first guess up to a limit that the caller derives from guest RAM, so a file that
 * expands without end costs no more than the guest was given. What follows the first gzip member or zstd frame is
 * ignored: kernels are built with their size appended.
 *
 * EFI zboot (Linux's drivers/firmware/efi/libstub/zboot-header.S): a PE program whose DOS header carries "zimg", the
 * place of the compressed kernel in the file, and the name of the compression.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#include "loader/unpack.h"
#include "vmm/base/util.h"

#define ZBOOT_HEADER_SIZE 64
#define ZBOOT_PAYLOAD_OFFSET 8
#define ZBOOT_PAYLOAD_SIZE 12
#define ZBOOT_COMPRESSION 24 /* NUL-terminated name */
#define ZBOOT_COMPRESSION_SIZE 32

enum unpack_kind unpack_probe(const uint8_t *data, uint64_t size)
{
    if (size >= 3 && data[0] == 0x1f && data[1] == 0x8b && data[2] == 8)
        return UNPACK_GZIP;
    if (size >= 4 && le32_get(data) == 0xfd2fb528)
        return UNPACK_ZSTD;
    if (size >= ZBOOT_HEADER_SIZE && memcmp(data, "MZ", 2) == 0 && memcmp(data + 4, "zimg", 4) == 0)
        return UNPACK_ZBOOT;
    return UNPACK_NONE;
}

/* Output that grows up to `limit` bytes. */
struct unpack_buf {
    uint8_t *data;
    uint64_t used, cap, limit;
};

static int unpack_buf_init(struct unpack_buf *b, uint64_t in_size, uint64_t limit, const char *name, struct err *e)
{
    /* Kernels shrink to about a third. */
    b->used = 0;
    b->limit = limit;
    b->cap = MAX(MIN(in_size <= limit / 4 ? in_size * 4 : limit, limit), (uint64_t)1);
    b->data = malloc(b->cap);
    return b->data ? 0 : err_set(e, ENOMEM, "not enough memory to decompress %s", name);
}

/* Makes room for at least one byte more. */
__attribute__((unused)) static int unpack_buf_grow(struct unpack_buf *b, const char *name, struct err *e)
{
    if (b->cap >= b->limit)
        return err_set_status(e, ERR_STATUS_MEMORY, EFBIG,
                              "%s does not fit in the guest's RAM: it decompresses to more than %" PRIu64 " MiB", name,
                              b->limit >> 20);
    uint64_t cap = b->cap > b->limit / 2 ? b->limit : b->cap * 2;
    uint8_t *p = realloc(b->data, cap);
    if (!p)
        return err_set(e, ENOMEM, "not enough memory to decompress %s", name);
    b->data = p;
    b->cap = cap;
    return 0;
}

#ifdef HAVE_ZLIB
static int unpack_gzip_stream(z_stream *z, const uint8_t *data, uint64_t size, struct unpack_buf *b, const char *name,
                              struct err *e)
{
    uint64_t in = 0;
    int r = 0, zr = Z_OK;

    while (zr != Z_STREAM_END) {
        if (b->used == b->cap && (r = unpack_buf_grow(b, name, e)) < 0)
            return r;
        /* zlib counts in unsigned int. */
        uInt nin = (uInt)MIN(size - in, (uint64_t)UINT_MAX);
        uInt nout = (uInt)MIN(b->cap - b->used, (uint64_t)UINT_MAX);
        z->next_in = (Bytef *)(uintptr_t)(data + in);
        z->avail_in = nin;
        z->next_out = b->data + b->used;
        z->avail_out = nout;
        zr = inflate(z, Z_NO_FLUSH);
        in += nin - z->avail_in;
        b->used += nout - z->avail_out;
        if (zr == Z_BUF_ERROR || (zr == Z_OK && in == size && z->avail_out != 0))
            return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is truncated: its gzip stream does not end",
                                  name);
        if (zr != Z_OK && zr != Z_STREAM_END)
            return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is damaged: gzip: %s", name,
                                  z->msg ? z->msg : "bad data");
    }
    return 0;
}

static int unpack_gzip(const uint8_t *data, uint64_t size, struct unpack_buf *b, const char *name, struct err *e)
{
    z_stream z = {0};
    int r;

    /* 15 + 16: largest window, gzip header. */
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return err_set(e, ENOMEM, "not enough memory to decompress %s", name);
    r = unpack_gzip_stream(&z, data, size, b, name, e);
    inflateEnd(&z);
    return r;
}

static uint64_t unpack_gzip_head(const uint8_t *data, uint64_t size, uint8_t *out, uint64_t cap)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size, .next_out = out, .avail_out = (uInt)cap};

    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return 0;
    /* What came out before an error or the end of the input counts. */
    inflate(&z, Z_SYNC_FLUSH);
    inflateEnd(&z);
    return cap - z.avail_out;
}
#else
static uint64_t unpack_gzip_head(const uint8_t *data, uint64_t size, uint8_t *out, uint64_t cap)
{
    (void)data, (void)size, (void)out, (void)cap;
    return 0;
}

static int unpack_gzip(const uint8_t *data, uint64_t size, struct unpack_buf *b, const char *name, struct err *e)
{
    (void)data, (void)size, (void)b;
    return err_set(e, ENOTSUP, "%s is compressed with gzip, and this pipit was built without zlib", name);
}
#endif

#ifdef HAVE_ZSTD
static int unpack_zstd(const uint8_t *data, uint64_t size, struct unpack_buf *b, const char *name, struct err *e)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx(); /* refuses windows above 128 MiB by default */
    ZSTD_inBuffer in = {data, size, 0};
    size_t left = 1;
    int r = 0;

    if (!ctx)
        return err_set(e, ENOMEM, "not enough memory to decompress %s", name);
    while (left != 0) {
        if (b->used == b->cap && (r = unpack_buf_grow(b, name, e)) < 0)
            break;
        ZSTD_outBuffer out = {b->data, b->cap, b->used};
        size_t before = in.pos;
        left = ZSTD_decompressStream(ctx, &out, &in);
        if (ZSTD_isError(left)) {
            r = err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is damaged: zstd: %s", name,
                               ZSTD_getErrorName(left));
            break;
        }
        if (left != 0 && in.pos == in.size && in.pos == before && out.pos == b->used) {
            r = err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is truncated: its zstd frame does not end",
                               name);
            break;
        }
        b->used = out.pos;
    }
    ZSTD_freeDCtx(ctx);
    return r;
}

static uint64_t unpack_zstd_head(const uint8_t *data, uint64_t size, uint8_t *out, uint64_t cap)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_inBuffer in = {data, size, 0};
    ZSTD_outBuffer o = {out, cap, 0};
    size_t before;

    if (!ctx)
        return 0;
    do {
        before = in.pos + o.pos;
        size_t left = ZSTD_decompressStream(ctx, &o, &in);
        if (left == 0 || ZSTD_isError(left))
            break;
    } while (o.pos < cap && in.pos + o.pos != before);
    ZSTD_freeDCtx(ctx);
    return o.pos;
}
#else
static uint64_t unpack_zstd_head(const uint8_t *data, uint64_t size, uint8_t *out, uint64_t cap)
{
    (void)data, (void)size, (void)out, (void)cap;
    return 0;
}

static int unpack_zstd(const uint8_t *data, uint64_t size, struct unpack_buf *b, const char *name, struct err *e)
{
    (void)data, (void)size, (void)b;
    return err_set(e, ENOTSUP, "%s is compressed with zstd, and this pipit was built without libzstd", name);
}
#endif

static int unpack_stream(enum unpack_kind kind, const uint8_t *data, uint64_t size, uint64_t limit, uint8_t **out,
                         uint64_t *out_size, const char *name, struct err *e)
{
    struct unpack_buf b;
    int r = unpack_buf_init(&b, size, limit, name, e);

    if (r < 0)
        return r;
    r = kind == UNPACK_GZIP ? unpack_gzip(data, size, &b, name, e) : unpack_zstd(data, size, &b, name, e);
    if (r == 0 && b.used == 0)
        r = err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s decompresses to nothing", name);
    if (r < 0) {
        free(b.data);
        return r;
    }
    *out = b.data;
    *out_size = b.used;
    return 0;
}

static int unpack_zboot(const uint8_t *data, uint64_t size, uint64_t limit, uint8_t **out, uint64_t *out_size,
                        const char *name, struct err *e)
{
    char comp[ZBOOT_COMPRESSION_SIZE + 1] = {0};
    uint64_t off = le32_get(data + ZBOOT_PAYLOAD_OFFSET), len = le32_get(data + ZBOOT_PAYLOAD_SIZE);

    if (!range_within(off, len, size) || len == 0)
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is truncated or damaged: its EFI zboot header speaks of %" PRIu64 " bytes at %" PRIu64
                              ", the file has %" PRIu64,
                              name, len, off, size);
    memcpy(comp, data + ZBOOT_COMPRESSION, ZBOOT_COMPRESSION_SIZE);
    if (strcmp(comp, "gzip") == 0)
        return unpack_stream(UNPACK_GZIP, data + off, len, limit, out, out_size, name, e);
    if (strcmp(comp, "zstd") == 0 || strcmp(comp, "zstd22") == 0)
        return unpack_stream(UNPACK_ZSTD, data + off, len, limit, out, out_size, name, e);
    for (char *p = comp; *p; p++) /* it goes to a terminal */
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    return err_set(e, ENOTSUP, "%s is an EFI zboot kernel compressed with '%s'; gzip and zstd are supported", name,
                   comp);
}

uint64_t unpack_head(const uint8_t *data, uint64_t size, uint8_t *out, uint64_t cap)
{
    switch (unpack_probe(data, size)) {
    case UNPACK_GZIP: return unpack_gzip_head(data, MIN(size, (uint64_t)UINT_MAX), out, MIN(cap, (uint64_t)UINT_MAX));
    case UNPACK_ZSTD: return unpack_zstd_head(data, size, out, cap);
    default: return 0;
    }
}

int unpack(enum unpack_kind kind, const uint8_t *data, uint64_t size, uint64_t limit, uint8_t **out, uint64_t *out_size,
           const char *name, struct err *e)
{
    if (kind == UNPACK_NONE)
        return err_set(e, EINVAL, "%s is not compressed", name);
    if (kind == UNPACK_ZBOOT)
        return unpack_zboot(data, size, limit, out, out_size, name, e);
    return unpack_stream(kind, data, size, limit, out, out_size, name, e);
}
