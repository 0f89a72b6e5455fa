/* Compressed clusters: raw deflate with a window of 4 KiB, or a zstd frame; behind either may be padding. */
#include "devices/block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#define DEFLATE_WINDOW (-12) /* raw */
#define DEFLATE_MEMORY 9
#define ZSTD_WINDOW_MAX 24 /* log2: what a frame may make us allocate; clusters have at most 2^21 bytes */

const char *qcow2_compression_missing(unsigned type)
{
#ifndef HAVE_ZLIB
    if (type == QCOW2_ZLIB)
        return "zlib";
#endif
#ifndef HAVE_ZSTD
    if (type == QCOW2_ZSTD)
        return "libzstd";
#endif
    return type > QCOW2_ZSTD ? "this type of compression" : NULL;
}

#ifdef HAVE_ZLIB
static int zlib_unpack(const uint8_t *in, size_t len, uint8_t *out, size_t n)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)in, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)n};

    if (inflateInit2(&z, DEFLATE_WINDOW) != Z_OK)
        return -ENOMEM;
    int rc = inflate(&z, Z_FINISH);
    bool whole = z.avail_out == 0 && (rc == Z_STREAM_END || rc == Z_BUF_ERROR);
    inflateEnd(&z);
    return whole ? 0 : -EIO;
}

static int zlib_pack(const uint8_t *in, size_t n, uint8_t *out, size_t room, size_t *len)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)in, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)room};

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, DEFLATE_WINDOW, DEFLATE_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    int rc = deflate(&z, Z_FINISH);
    *len = z.total_out;
    deflateEnd(&z);
    return rc == Z_STREAM_END ? 0 : -ENOSPC;
}
#endif

#ifdef HAVE_ZSTD
static int zstd_unpack(const uint8_t *in, size_t len, uint8_t *out, size_t n)
{
    ZSTD_inBuffer i = {in, len, 0};
    ZSTD_outBuffer o = {out, n, 0};
    ZSTD_DStream *s = ZSTD_createDStream();
    int rc = 0;

    if (!s)
        return -ENOMEM;
    ZSTD_DCtx_setParameter(s, ZSTD_d_windowLogMax, ZSTD_WINDOW_MAX);
    while (o.pos < o.size) {
        size_t before = i.pos + o.pos, more = ZSTD_decompressStream(s, &o, &i);
        if (ZSTD_isError(more) || (i.pos + o.pos == before)) {
            rc = -EIO;
            break;
        }
    }
    ZSTD_freeDStream(s);
    return rc;
}

static int zstd_pack(const uint8_t *in, size_t n, uint8_t *out, size_t room, size_t *len)
{
    size_t rc = ZSTD_compress(out, room, in, n, ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(rc))
        return -ENOSPC;
    *len = rc;
    return 0;
}
#endif

int qcow2_decompress(unsigned type, const uint8_t *in, size_t len, uint8_t *out, size_t n)
{
#ifdef HAVE_ZLIB
    if (type == QCOW2_ZLIB)
        return zlib_unpack(in, len, out, n);
#endif
#ifdef HAVE_ZSTD
    if (type == QCOW2_ZSTD)
        return zstd_unpack(in, len, out, n);
#endif
    (void)type, (void)in, (void)len, (void)out, (void)n;
    return -ENOTSUP;
}

int qcow2_compress(unsigned type, const uint8_t *in, size_t n, uint8_t *out, size_t room, size_t *len)
{
#ifdef HAVE_ZLIB
    if (type == QCOW2_ZLIB)
        return zlib_pack(in, n, out, room, len);
#endif
#ifdef HAVE_ZSTD
    if (type == QCOW2_ZSTD)
        return zstd_pack(in, n, out, room, len);
#endif
    (void)type, (void)in, (void)n, (void)out, (void)room, (void)len;
    return -ENOTSUP;
}
