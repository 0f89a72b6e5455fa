/* virtio-blk through its window, on a real image and both engines. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/lib/vdriver.h"

#define SECTORS 8192 /* 4 MiB */
#define HDR VDRIVER_DATA
#define STATUS (VDRIVER_DATA + 0x800)
#define DATA (VDRIVER_DATA + 0x1000)
#define F_RO BIT64(5)
#define F_FLUSH BIT64(9)
#define F_DISCARD BIT64(13)
#define F_ZEROES BIT64(14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };

static struct vdriver d;
static struct block_engine *engine;
static struct block *image;
static char dir[] = "/tmp/pipit-blk-XXXXXX", path[64];
static uint64_t features;
static struct virtio_blk_policy policy; /* of the next device */
static atomic_uint stops;               /* that it asked for */

static bool open_all(bool threads, bool read_only)
{
    const struct block_options o = {.read_only = read_only, .writeback = true};
    struct virtio_device *vd;

    if (!vdriver_open(&d) || block_engine_create(&engine, d.loop, threads, NULL) < 0 ||
        block_open_raw(&image, engine, path, &o, NULL) < 0 || virtio_blk_create(&vd, image, "serial-7", &policy) < 0 ||
        !vdriver_attach(&d, vd))
        return false;
    vdriver_run_loop(&d);
    vdriver_put(&d, 0x014, 0);
    features = vdriver_get(&d, 0x010) & (F_RO | F_FLUSH | F_DISCARD | F_ZEROES);
    return true;
}

static void close_all(void)
{
    vdriver_detach(&d);
    block_close(image);
    block_engine_destroy(engine);
    vdriver_close(&d);
}

static void put_header(uint64_t at, uint32_t type, uint64_t sector)
{
    uint8_t h[16] = {0};
    le32_put(h, type);
    le64_put(h + 8, sector);
    vdriver_write(&d, at, h, sizeof(h));
}

/* One request with up to one data buffer; its status, or 0xff when nothing came back. */
static uint8_t request(uint32_t type, uint64_t sector, uint64_t data, uint32_t len, uint32_t *used)
{
    struct vdriver_seg seg[3] = {{HDR, 16, false}};
    unsigned n = 1;
    uint8_t status = 0xee;
    uint32_t head;

    put_header(HDR, type, sector);
    vdriver_write(&d, STATUS, &status, 1);
    if (len)
        seg[n++] = (struct vdriver_seg){data, len, type == T_IN || type == T_ID};
    seg[n++] = (struct vdriver_seg){STATUS, 1, true};
    uint16_t h = vdriver_add(&d, 0, seg, n);
    vdriver_kick(&d, 0);
    if (!vdriver_used(&d, 0, &head, used) || head != h)
        return 0xff;
    vdriver_read(&d, STATUS, &status, 1);
    return status;
}

static uint8_t range_request(uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
    uint8_t r[16];
    le64_put(r, sector);
    le32_put(r + 8, n);
    le32_put(r + 12, flags);
    vdriver_write(&d, DATA, r, 16);
    return request(type, 0, DATA, 16, NULL);
}

static void fill(uint64_t at, size_t len, unsigned seed)
{
    uint8_t *p = mem_write_begin(d.mem, GPA(at), len);
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(seed + i * 31 + i / 512);
}

static bool filled(uint64_t at, size_t len, unsigned seed)
{
    const uint8_t *p = mem_read_ptr(d.mem, GPA(at), len);
    for (size_t i = 0; i < len; i++)
        if (p[i] != (uint8_t)(seed + i * 31 + i / 512))
            return false;
    return true;
}

static void test_config(void)
{
    CHECK_EQ(vdriver_get(&d, 8), 2);
    CHECK_EQ(vdriver_config(&d, 0, 8), SECTORS);
    CHECK_EQ(vdriver_config(&d, 20, 4), 512);
    CHECK(vdriver_config(&d, 12, 4) >= 1);
    CHECK((features & (F_FLUSH | F_ZEROES | F_RO)) == (F_FLUSH | F_ZEROES));
}

static void test_write_then_read(void)
{
    uint32_t used;

    CHECK(vdriver_init(&d, features, 1, 16));
    fill(DATA, 65536, 3);
    CHECK_EQ(request(T_OUT, 7, DATA, 65536, &used), 0);
    CHECK_EQ(used, 1);
    CHECK_EQ(request(T_FLUSH, 0, 0, 0, &used), 0);
    CHECK_EQ(request(T_IN, 7, DATA + 0x20000, 65536, &used), 0);
    CHECK_EQ(used, 65537);
    CHECK(filled(DATA + 0x20000, 65536, 3));
    /* It is in the file. */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t b[512];
    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, b, 512, 7 * 512), 512);
    close(fd);
    CHECK(!memcmp(b, mem_read_ptr(d.mem, GPA(DATA), 512), 512));
}

/* Without FLUSH negotiated each write is made durable before it completes. */
static void test_write_without_flush_feature(void)
{
    CHECK(vdriver_init(&d, 0, 1, 16));
    fill(DATA, 512, 9);
    CHECK_EQ(request(T_OUT, 1, DATA, 512, NULL), 0);
    CHECK_EQ(request(T_IN, 1, DATA + 512, 512, NULL), 0);
    CHECK(filled(DATA + 512, 512, 9));
    CHECK_EQ(range_request(T_ZEROES, 0, 8, 0), 2);
    CHECK_EQ(range_request(T_DISCARD, 0, 8, 0), 2);
}

/* Header, data and status cut into pieces of any size (2.7.4.1: no assumptions on framing). */
static void test_any_framing(void)
{
    CHECK(vdriver_init(&d, features, 1, 16));
    fill(DATA, 1024, 5);
    CHECK_EQ(request(T_OUT, 20, DATA, 1024, NULL), 0);
    put_header(HDR, T_IN, 20);
    struct vdriver_seg seg[] = {
        {HDR, 7, false},           {HDR + 7, 9, false}, {DATA + 0x4000, 1, true}, {DATA + 0x5000, 1000, true},
        {DATA + 0x6000, 24, true},
    };
    uint32_t used;
    vdriver_add(&d, 0, seg, 5);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, &used));
    CHECK_EQ(used, 1025);
    uint8_t a[1024], b[1025];
    vdriver_read(&d, DATA, a, 1024);
    vdriver_read(&d, DATA + 0x4000, b, 1);
    vdriver_read(&d, DATA + 0x5000, b + 1, 1000);
    vdriver_read(&d, DATA + 0x6000, b + 1001, 24);
    CHECK(!memcmp(a, b, 1024));
    CHECK_EQ(b[1024], 0);
}

static void test_indirect_many_in_flight(void)
{
    enum { N = 64 };
    CHECK(vdriver_init(&d, features | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX, 1, 64));
    uint64_t table = VDRIVER_RAM + MIB(4), hdr = table + N * 64, st = hdr + N * 16, data = VDRIVER_RAM + MIB(5);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < N; i++) {
            uint64_t t = table + i * 64, buf = data + i * 4096;
            if (pass == 0)
                fill(buf, 4096, i);
            else
                memset(mem_write_begin(d.mem, GPA(buf), 4096), 0, 4096);
            put_header(hdr + i * 16, pass ? T_IN : T_OUT, i * 8);
            vdriver_desc(&d, t, 0, hdr + i * 16, 16, VIRTQ_DESC_F_NEXT, 1);
            vdriver_desc(&d, t, 1, buf, 4096, VIRTQ_DESC_F_NEXT | (pass ? VIRTQ_DESC_F_WRITE : 0), 2);
            vdriver_desc(&d, t, 2, st + i, 1, VIRTQ_DESC_F_WRITE, 0);
            vdriver_write(&d, st + i, "\xee", 1);
            vdriver_desc(&d, VDRIVER_DESC(0), i, t, 48, VIRTQ_DESC_F_INDIRECT, 0);
            vdriver_offer(&d, 0, (uint16_t)i);
        }
        vdriver_kick(&d, 0);
        bool seen[N] = {false};
        for (unsigned i = 0; i < N; i++) {
            uint32_t head, len;
            CHECK(vdriver_used(&d, 0, &head, &len));
            CHECK(head < N && !seen[head]);
            seen[head] = true;
            CHECK_EQ(len, pass ? 4097 : 1);
            uint8_t s;
            vdriver_read(&d, st + head, &s, 1);
            CHECK_EQ(s, 0);
        }
    }
    for (unsigned i = 0; i < N; i++)
        CHECK(filled(data + i * 4096, 4096, i));
}

static void test_serial(void)
{
    char id[20];

    CHECK(vdriver_init(&d, features, 1, 16));
    CHECK_EQ(request(T_ID, 0, DATA, 20, NULL), 0);
    vdriver_read(&d, DATA, id, 20);
    CHECK(!memcmp(id, "serial-7\0\0\0\0\0\0\0\0\0\0\0\0", 20));
    CHECK_EQ(request(T_ID, 0, DATA, 4, NULL), 0);
}

static void test_bad_requests_get_a_status(void)
{
    CHECK(vdriver_init(&d, features, 1, 16));
    CHECK_EQ(request(T_IN, SECTORS, DATA, 512, NULL), 1);
    CHECK_EQ(request(T_IN, SECTORS - 1, DATA, 1024, NULL), 1);
    CHECK_EQ(request(T_IN, UINT64_MAX, DATA, 512, NULL), 1);
    CHECK_EQ(request(T_IN, UINT64_MAX / 512, DATA, 512, NULL), 1);
    CHECK_EQ(request(T_OUT, SECTORS, DATA, 512, NULL), 1);
    CHECK_EQ(request(T_IN, 0, DATA, 100, NULL), 1);
    CHECK_EQ(request(T_OUT, 0, DATA, 513, NULL), 1);
    CHECK_EQ(request(77, 0, DATA, 512, NULL), 2);
    CHECK_EQ(request(T_IN, 0, 0, 0, NULL), 0);
    CHECK_EQ(range_request(T_ZEROES, SECTORS - 1, 2, 0), 1);
    CHECK_EQ(range_request(T_ZEROES, UINT64_MAX, 8, 0), 1);
    CHECK_EQ(range_request(T_ZEROES, 0, UINT32_MAX, 0), 1);
    CHECK_EQ(range_request(T_ZEROES, 0, 8, 2), 2);
    CHECK_EQ(range_request(T_ZEROES, 0, 8, 1), 0);
    if (features & F_DISCARD) {
        CHECK_EQ(range_request(T_DISCARD, 0, 8, 0), 0);
        CHECK_EQ(range_request(T_DISCARD, 0, 8, 1), 2);
        CHECK_EQ(range_request(T_DISCARD, SECTORS, 1, 0), 1);
        CHECK_EQ(request(T_DISCARD, 0, DATA, 32, NULL), 1);
    }
    CHECK(!(vdriver_get(&d, 0x70) & VIRTIO_STATUS_NEEDS_RESET));
}

static void test_zeroes(void)
{
    CHECK(vdriver_init(&d, features, 1, 16));
    fill(DATA, 8192, 1);
    CHECK_EQ(request(T_OUT, 64, DATA, 8192, NULL), 0);
    CHECK_EQ(range_request(T_ZEROES, 65, 2, 0), 0);
    CHECK_EQ(request(T_IN, 64, DATA + 0x10000, 8192, NULL), 0);
    const uint8_t *p = mem_read_ptr(d.mem, GPA(DATA + 0x10000), 8192);
    for (unsigned i = 512; i < 1536; i++)
        CHECK_EQ(p[i], 0);
    CHECK(filled(DATA + 0x10000, 512, 1));
}

/* No header or no status byte: there is nothing to answer into. */
static void test_shapeless_requests_break_the_queue(void)
{
    const struct vdriver_seg bad[][2] = {
        {{HDR, 15, false}, {STATUS, 1, true}},
        {{HDR, 16, false}, {DATA, 512, false}},
        {{DATA, 512, true}, {STATUS, 1, true}},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        CHECK(vdriver_init(&d, features, 1, 16));
        vdriver_add(&d, 0, bad[i], 2);
        vdriver_kick(&d, 0);
        CHECK(vdriver_wait_status(&d, VIRTIO_STATUS_NEEDS_RESET));
        CHECK_EQ(vdriver_used_idx(&d, 0), 0);
    }
    CHECK(vdriver_init(&d, features, 1, 16));
    CHECK_EQ(request(T_IN, 0, DATA, 512, NULL), 0);
}

static void test_reset_with_requests_in_flight(void)
{
    CHECK(vdriver_init(&d, features, 1, 64));
    for (unsigned round = 0; round < 30; round++) {
        for (unsigned i = 0; i < 16; i++) {
            uint64_t hdr = HDR + i * 16;
            put_header(hdr, T_IN, i);
            vdriver_add(
                &d, 0, (struct vdriver_seg[]){{hdr, 16, false}, {DATA + i * 65536, 65536, true}, {STATUS, 1, true}}, 3);
        }
        vdriver_kick(&d, 0);
        /* Once the write of the status is over, the buffers are the driver's. */
        vdriver_put(&d, 0x70, 0);
        memset(mem_write_begin(d.mem, GPA(DATA), MIB(1)), 0xcc, MIB(1));
        usleep(500);
        const uint8_t *p = mem_read_ptr(d.mem, GPA(DATA), MIB(1));
        for (unsigned i = 0; i < MIB(1); i += 509)
            CHECK_EQ(p[i], 0xcc);
        CHECK(vdriver_init(&d, features, 1, 64));
    }
}

/* A host that takes no more bytes: the guest sees an I/O error, and what it wrote before is there. */
static void test_full_host_disk(void)
{
    struct rlimit old, lim;

    CHECK(vdriver_init(&d, features, 1, 16));
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    lim = old;
    lim.rlim_cur = MIB(1);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
    fill(DATA, 4096, 8);
    uint8_t low = request(T_OUT, 100, DATA, 4096, NULL), high = request(T_OUT, 4096, DATA, 4096, NULL);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_EQ(low, 0);
    CHECK_EQ(high, 1);
    CHECK_EQ(request(T_IN, 100, DATA + 0x10000, 4096, NULL), 0);
    CHECK(filled(DATA + 0x10000, 4096, 8));
    CHECK_EQ(request(T_OUT, 4096, DATA, 4096, NULL), 0);
}

static void on_stop(void *opaque, bool write, int error)
{
    CHECK(opaque == &stops && write && error == EFBIG);
    atomic_fetch_add(&stops, 1);
}

static atomic_uint posted;

static void pause_and_resume(void *opaque)
{
    (void)opaque;
    d.dev->desc->ops->pause(d.dev);
    d.dev->desc->ops->resume(d.dev);
    atomic_fetch_add(&posted, 1);
}

static bool wait_for(atomic_uint *n, unsigned want)
{
    for (unsigned i = 0; i < 5000 && atomic_load(n) < want; i++)
        usleep(1000);
    return atomic_load(n) == want;
}

/* Behind the limit that the test sets: the head of the chain, which does not come back. */
static uint16_t kept_write(void)
{
    const struct vdriver_seg seg[] = {{HDR, 16, false}, {DATA, 4096, false}, {STATUS, 1, true}};
    uint16_t head;

    put_header(HDR, T_OUT, 4096);
    head = vdriver_add(&d, 0, seg, 3);
    vdriver_kick(&d, 0);
    return head;
}

/* Where the policy is to stop, a write that fails stays until there was a pause, as often as it has to. */
static void test_kept_until_it_works(void)
{
    struct rlimit old, lim;
    uint32_t head = 0, used;
    uint8_t status = 0xee;

    CHECK(vdriver_init(&d, features, 1, 16));
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    lim = old;
    lim.rlim_cur = MIB(1);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
    fill(DATA, 4096, 9);
    vdriver_write(&d, STATUS, &status, 1);
    uint16_t mine = kept_write();
    CHECK(wait_for(&stops, 1));
    /* Others are served. */
    vdriver_kick(&d, 0);
    loop_post(d.loop, pause_and_resume, NULL);
    CHECK(wait_for(&stops, 2));
    CHECK_EQ(vdriver_used_idx(&d, 0), 0);
    setrlimit(RLIMIT_FSIZE, &old);
    loop_post(d.loop, pause_and_resume, NULL);
    CHECK(vdriver_used(&d, 0, &head, &used) && head == mine);
    vdriver_read(&d, STATUS, &status, 1);
    CHECK_EQ(status, 0);
    CHECK_EQ(request(T_IN, 4096, DATA + 0x10000, 4096, NULL), 0);
    CHECK(filled(DATA + 0x10000, 4096, 9));
}

/* A driver that resets the device meanwhile is not given what it had asked for before. */
static void test_reset_forgets_what_is_kept(void)
{
    struct rlimit old, lim;

    CHECK(vdriver_init(&d, features, 1, 16));
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    lim = old;
    lim.rlim_cur = MIB(1);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
    atomic_store(&stops, 0);
    kept_write();
    CHECK(wait_for(&stops, 1));
    kept_write();
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK(vdriver_init(&d, features, 1, 16));
    atomic_store(&posted, 0);
    loop_post(d.loop, pause_and_resume, NULL);
    CHECK(wait_for(&posted, 1));
    CHECK_EQ(request(T_IN, 0, DATA, 512, NULL), 0);
    CHECK_EQ(vdriver_used_idx(&d, 0), 1);
    /* One is left for close_all. */
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
    atomic_store(&stops, 0);
    kept_write();
    CHECK(wait_for(&stops, 1));
    setrlimit(RLIMIT_FSIZE, &old);
}

static void test_read_only(void)
{
    CHECK(features & F_RO);
    CHECK(!(features & (F_DISCARD | F_ZEROES)));
    CHECK(vdriver_init(&d, features, 1, 16));
    CHECK_EQ(request(T_IN, 0, DATA, 512, NULL), 0);
    CHECK_EQ(request(T_OUT, 0, DATA, 512, NULL), 1);
    CHECK_EQ(request(T_FLUSH, 0, 0, 0, NULL), 0);
    CHECK_EQ(range_request(T_ZEROES, 0, 1, 0), 2);
}

/* discard=ignore: zeroes are written, and no room is given back. */
static void test_no_discard(void)
{
    struct stat before, after;

    CHECK((features & (F_DISCARD | F_ZEROES)) == F_ZEROES);
    CHECK(vdriver_init(&d, features, 1, 16));
    fill(DATA, 8192, 1);
    CHECK_EQ(request(T_OUT, 64, DATA, 8192, NULL), 0);
    CHECK_EQ(stat(path, &before), 0);
    CHECK_EQ(range_request(T_ZEROES, 64, 16, 1), 0);
    CHECK_EQ(stat(path, &after), 0);
    CHECK_EQ(after.st_blocks, before.st_blocks);
    CHECK_EQ(range_request(T_DISCARD, 64, 16, 0), 2);
}

int main(void)
{
    int fd;

    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof(path), "%s/disk", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, SECTORS * 512) < 0)
        return 1;
    close(fd);
    for (unsigned threads = 0; threads < 2; threads++) {
        if (!open_all(threads, false))
            return 1;
        printf("engine %s\n", block_engine_name(engine));
        RUN(test_config);
        RUN(test_write_then_read);
        RUN(test_write_without_flush_feature);
        RUN(test_any_framing);
        RUN(test_indirect_many_in_flight);
        RUN(test_serial);
        RUN(test_bad_requests_get_a_status);
        RUN(test_zeroes);
        RUN(test_shapeless_requests_break_the_queue);
        RUN(test_reset_with_requests_in_flight);
        RUN(test_full_host_disk);
        close_all();
        policy = (struct virtio_blk_policy){.write = VIRTIO_BLK_STOP, .stop = on_stop, .opaque = &stops};
        atomic_store(&stops, 0);
        if (!open_all(threads, false))
            return 1;
        RUN(test_kept_until_it_works);
        RUN(test_reset_forgets_what_is_kept);
        close_all();
        policy = (struct virtio_blk_policy){.no_discard = true};
        if (!open_all(threads, false))
            return 1;
        RUN(test_no_discard);
        close_all();
        policy = (struct virtio_blk_policy){0};
        if (!open_all(threads, true))
            return 1;
        RUN(test_read_only);
        close_all();
    }
    unlink(path);
    rmdir(dir);
    return check_done();
}
