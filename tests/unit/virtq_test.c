/* The ring walker: what a good driver does, and everything that a bad one may try. */
#include "virtio/queue.h"

#include <errno.h>

#include "tests/check.h"
#include "tests/lib/vdriver.h"

static struct vdriver d;
static struct virtq q;
static struct virtq_chain c;

#define DESC VDRIVER_DESC(0)
#define USED VDRIVER_USED(0)
#define AVAIL VDRIVER_AVAIL(0)
#define DATA VDRIVER_DATA
#define RAM_END (VDRIVER_RAM + VDRIVER_RAM_SIZE)

/* A fresh ring of `size`; the driver half is vdriver's. */
static int ring_start(uint16_t size, bool event_idx, bool indirect)
{
    static const uint8_t zero[0x10000];
    struct virtq_config cfg = {.ready = true, .size = size, .desc = GPA(DESC), .avail = GPA(AVAIL), .used = GPA(USED)};

    vdriver_write(&d, DESC, zero, sizeof(zero));
    d.size = size;
    d.next_desc[0] = d.avail[0] = d.seen[0] = 0;
    return virtq_start(&q, d.mem, &cfg, event_idx, indirect);
}

static void ring_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    vdriver_desc(&d, DESC, i, addr, len, flags, next);
}

/* Offers head 0 of a ring set up by ring_desc; what pop says. */
static int ring_pop0(void)
{
    vdriver_offer(&d, 0, 0);
    return virtq_pop(&q, &c);
}

static void avail_u16(size_t off, uint16_t v)
{
    vdriver_write(&d, AVAIL + off, &v, 2);
}

static uint16_t used_u16(size_t off)
{
    uint16_t v;
    vdriver_read(&d, USED + off, &v, 2);
    return v;
}

static void test_config_is_checked(void)
{
    const struct virtq_config good = {
        .ready = true, .size = 8, .desc = GPA(DESC), .avail = GPA(AVAIL), .used = GPA(USED)};
    struct virtq_config cfg = good;

    CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false), 0);
    for (unsigned size = 0; size <= 2048; size += size < 16 ? 1 : size) {
        cfg.size = (uint16_t)size;
        bool ok = size && !(size & (size - 1)) && size <= VIRTQ_SIZE_MAX;
        CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false) == 0, ok);
    }
    cfg = good;
    cfg.desc = GPA(DESC + 8);
    CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false), -EINVAL);
    cfg = good;
    cfg.avail = GPA(AVAIL + 1);
    CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false), -EINVAL);
    cfg = good;
    cfg.used = GPA(USED + 2);
    CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false), -EINVAL);
    const uint64_t bad[] = {0, RAM_END, RAM_END - 16, UINT64_MAX & ~UINT64_C(15), VDRIVER_RAM - 16};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        cfg = good;
        cfg.desc = GPA(bad[i]);
        CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false), -EINVAL);
        cfg = good;
        cfg.avail = GPA(bad[i]);
        CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false), -EINVAL);
        cfg = good;
        cfg.used = GPA(bad[i]);
        CHECK_EQ(virtq_start(&q, d.mem, &cfg, false, false), -EINVAL);
    }
}

static void test_chain_in_order(void)
{
    CHECK_EQ(ring_start(8, false, true), 0);
    CHECK_EQ(virtq_pop(&q, &c), 0);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 16, false}, {DATA + 0x1000, 512, true}, {DATA + 0x2000, 1, true}},
                3);
    CHECK_EQ(virtq_pop(&q, &c), 1);
    CHECK_EQ(c.head, 0);
    CHECK_EQ(c.nout, 1);
    CHECK_EQ(c.nin, 2);
    CHECK_EQ(c.out_len, 16);
    CHECK_EQ(c.in_len, 513);
    CHECK(c.iov[0].iov_base == mem_read_ptr(d.mem, GPA(DATA), 16));
    CHECK(virtq_chain_in(&c)[1].iov_base == mem_read_ptr(d.mem, GPA(DATA + 0x2000), 1));
    CHECK_EQ(virtq_pop(&q, &c), 0);
    virtq_push(&q, c.head, 513);
    uint32_t head, len;
    CHECK(vdriver_used(&d, 0, &head, &len));
    CHECK_EQ(head, 0);
    CHECK_EQ(len, 513);
}

static void test_unpop_gives_back(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 16, false}}, 1);
    CHECK_EQ(virtq_pop(&q, &c), 1);
    virtq_unpop(&q, 1);
    CHECK_EQ(virtq_pop(&q, &c), 1);
    CHECK_EQ(virtq_pop(&q, &c), 0);
}

static void test_indices_wrap(void)
{
    CHECK_EQ(ring_start(4, true, false), 0);
    for (unsigned i = 0; i < 70000; i++) {
        uint16_t head = vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA + i % 64, 1 + i % 7, i & 1}}, 1);
        CHECK_EQ(virtq_pop(&q, &c), 1);
        CHECK_EQ(c.head, head);
        CHECK_EQ(c.in_len + c.out_len, 1 + i % 7);
        virtq_push(&q, c.head, i);
        uint32_t got, len;
        CHECK(vdriver_used(&d, 0, &got, &len));
        CHECK_EQ(got, head);
        CHECK_EQ(len, i);
    }
}

static void test_full_ring(void)
{
    CHECK_EQ(ring_start(256, false, false), 0);
    for (unsigned i = 0; i < 256; i++)
        vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 8, true}}, 1);
    for (unsigned i = 0; i < 256; i++)
        CHECK_EQ(virtq_pop(&q, &c), 1);
    CHECK_EQ(virtq_pop(&q, &c), 0);
    /* One more than the ring holds while all are with the device. */
    vdriver_offer(&d, 0, 0);
    CHECK_EQ(virtq_pop(&q, &c), -EPROTO);
}

static void test_index_jumps(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, DATA, 8, 0, 0);
    avail_u16(2, 9);
    CHECK_EQ(virtq_pop(&q, &c), -EPROTO);
    CHECK(q.broken != NULL);
    /* It stays broken when the driver mends it. */
    avail_u16(2, 1);
    CHECK_EQ(virtq_pop(&q, &c), -EPROTO);

    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, DATA, 8, 0, 0);
    CHECK_EQ(ring_pop0(), 1);
    CHECK_EQ(ring_pop0(), 1);
    avail_u16(2, 1); /* backwards */
    CHECK_EQ(virtq_pop(&q, &c), -EPROTO);
    avail_u16(2, 0xffff);
    CHECK_EQ(ring_start(8, false, false), 0);
    avail_u16(2, 0xffff);
    CHECK_EQ(virtq_pop(&q, &c), -EPROTO);
}

static void test_bad_head_and_next(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    vdriver_offer(&d, 0, 8);
    CHECK_EQ(virtq_pop(&q, &c), -EPROTO);
    CHECK_EQ(ring_start(8, false, false), 0);
    vdriver_offer(&d, 0, 0xffff);
    CHECK_EQ(virtq_pop(&q, &c), -EPROTO);
    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, DATA, 8, VIRTQ_DESC_F_NEXT, 8);
    CHECK_EQ(ring_pop0(), -EPROTO);
    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, DATA, 8, VIRTQ_DESC_F_NEXT, 0xffff);
    CHECK_EQ(ring_pop0(), -EPROTO);
}

static void test_loops(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, DATA, 8, VIRTQ_DESC_F_NEXT, 0);
    CHECK_EQ(ring_pop0(), -EPROTO);

    CHECK_EQ(ring_start(8, false, false), 0);
    for (unsigned i = 0; i < 8; i++)
        ring_desc(i, DATA, 0, VIRTQ_DESC_F_NEXT, (uint16_t)((i + 1) % 8));
    CHECK_EQ(ring_pop0(), -EPROTO);

    /* The longest chain that is none. */
    CHECK_EQ(ring_start(8, false, false), 0);
    for (unsigned i = 0; i < 8; i++)
        ring_desc(i, DATA, 1, i < 7 ? VIRTQ_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    CHECK_EQ(ring_pop0(), 1);
    CHECK_EQ(c.nout, 8);

    /* A loop inside an indirect table. */
    CHECK_EQ(ring_start(8, false, true), 0);
    ring_desc(0, DATA, 32, VIRTQ_DESC_F_INDIRECT, 0);
    vdriver_desc(&d, DATA, 0, DATA + 0x1000, 4, VIRTQ_DESC_F_NEXT, 1);
    vdriver_desc(&d, DATA, 1, DATA + 0x1000, 4, VIRTQ_DESC_F_NEXT, 0);
    CHECK_EQ(ring_pop0(), -EPROTO);
}

static void test_buffers_outside_ram(void)
{
    const struct {
        uint64_t addr;
        uint32_t len;
    } bad[] = {
        {0, 1},
        {RAM_END, 1},
        {RAM_END - 1, 2},
        {VDRIVER_RAM - 1, 2},
        {UINT64_MAX, 1},
        {UINT64_MAX, 2},
        {UINT64_MAX - 0xfff, 0x1000},
        {UINT64_MAX - 0xfff, UINT32_MAX},
        {VDRIVER_RAM, UINT32_MAX},
        {VDRIVER_RAM + 1, (uint32_t)VDRIVER_RAM_SIZE},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        for (uint16_t flags = 0; flags <= VIRTQ_DESC_F_WRITE; flags += VIRTQ_DESC_F_WRITE) {
            CHECK_EQ(ring_start(8, false, false), 0);
            ring_desc(0, bad[i].addr, bad[i].len, flags, 0);
            CHECK_EQ(ring_pop0(), -EPROTO);
        }
    }
    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, VDRIVER_RAM, (uint32_t)VDRIVER_RAM_SIZE, VIRTQ_DESC_F_WRITE, 0);
    CHECK_EQ(ring_pop0(), 1);
}

static void test_length_cannot_wrap(void)
{
    /* 512 buffers of 8 MiB are 4 GiB. */
    CHECK_EQ(ring_start(1024, false, false), 0);
    for (unsigned i = 0; i < 1024; i++)
        ring_desc(i, VDRIVER_RAM, (uint32_t)VDRIVER_RAM_SIZE, VIRTQ_DESC_F_WRITE | (i < 1023 ? VIRTQ_DESC_F_NEXT : 0),
                  (uint16_t)(i + 1));
    CHECK_EQ(ring_pop0(), -EPROTO);
    CHECK_EQ(ring_start(1024, false, false), 0);
    for (unsigned i = 0; i < 511; i++)
        ring_desc(i, VDRIVER_RAM, (uint32_t)VDRIVER_RAM_SIZE, VIRTQ_DESC_F_WRITE | (i < 510 ? VIRTQ_DESC_F_NEXT : 0),
                  (uint16_t)(i + 1));
    CHECK_EQ(ring_pop0(), 1);
    CHECK_EQ(c.in_len, 511 * VDRIVER_RAM_SIZE);
}

static void test_readable_after_writable(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, DATA, 8, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 1);
    ring_desc(1, DATA, 8, 0, 0);
    CHECK_EQ(ring_pop0(), -EPROTO);
}

static void test_indirect(void)
{
    /* Direct descriptors in front of one indirect one are allowed. */
    CHECK_EQ(ring_start(8, false, true), 0);
    ring_desc(0, DATA, 16, VIRTQ_DESC_F_NEXT, 1);
    ring_desc(1, DATA + 0x1000, 48, VIRTQ_DESC_F_INDIRECT, 0);
    vdriver_desc(&d, DATA + 0x1000, 0, DATA + 0x100, 3, VIRTQ_DESC_F_NEXT, 2);
    vdriver_desc(&d, DATA + 0x1000, 2, DATA + 0x200, 5, VIRTQ_DESC_F_WRITE, 0);
    CHECK_EQ(ring_pop0(), 1);
    CHECK_EQ(c.nout, 2);
    CHECK_EQ(c.nin, 1);
    CHECK_EQ(c.out_len, 19);
    CHECK_EQ(c.in_len, 5);

    /* Longer than the ring, within our bound. */
    CHECK_EQ(ring_start(2, false, true), 0);
    ring_desc(0, DATA, 16 * 1024, VIRTQ_DESC_F_INDIRECT, 0);
    for (unsigned i = 0; i < 1024; i++)
        vdriver_desc(&d, DATA, i, DATA + 0x10000, 1, i < 1023 ? VIRTQ_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    CHECK_EQ(ring_pop0(), 1);
    CHECK_EQ(c.nout, VIRTQ_SEGS_MAX);
}

static void test_bad_indirect(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    ring_desc(0, DATA, 16, VIRTQ_DESC_F_INDIRECT, 0);
    CHECK_EQ(ring_pop0(), -EPROTO); /* not negotiated */

    CHECK_EQ(ring_start(8, false, true), 0);
    ring_desc(0, DATA, 16, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_NEXT, 1);
    CHECK_EQ(ring_pop0(), -EPROTO);

    CHECK_EQ(ring_start(8, false, true), 0);
    ring_desc(0, DATA, 16, VIRTQ_DESC_F_INDIRECT, 0);
    vdriver_desc(&d, DATA, 0, DATA, 16, VIRTQ_DESC_F_INDIRECT, 0);
    CHECK_EQ(ring_pop0(), -EPROTO); /* nested */

    const uint32_t len[] = {0, 1, 15, 17, 16 * 1025, UINT32_MAX, 0xfffffff0};
    for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
        CHECK_EQ(ring_start(8, false, true), 0);
        ring_desc(0, DATA, len[i], VIRTQ_DESC_F_INDIRECT, 0);
        CHECK_EQ(ring_pop0(), -EPROTO);
    }
    const uint64_t addr[] = {0, RAM_END, RAM_END - 8, UINT64_MAX - 7};
    for (unsigned i = 0; i < ARRAY_SIZE(addr); i++) {
        CHECK_EQ(ring_start(8, false, true), 0);
        ring_desc(0, addr[i], 16, VIRTQ_DESC_F_INDIRECT, 0);
        CHECK_EQ(ring_pop0(), -EPROTO);
    }
    /* More buffers than one chain may hold: a full table behind one direct descriptor. */
    CHECK_EQ(ring_start(8, false, true), 0);
    ring_desc(0, DATA, 1, VIRTQ_DESC_F_NEXT, 1);
    ring_desc(1, DATA, 16 * 1024, VIRTQ_DESC_F_INDIRECT, 0);
    for (unsigned i = 0; i < 1024; i++)
        vdriver_desc(&d, DATA, i, DATA + 0x10000, 1, i < 1023 ? VIRTQ_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    CHECK_EQ(ring_pop0(), -EPROTO);
}

static void test_interrupt_flag(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    CHECK(!virtq_needs_interrupt(&q)); /* nothing was pushed */
    virtq_push(&q, 0, 0);
    CHECK(virtq_needs_interrupt(&q));
    CHECK(!virtq_needs_interrupt(&q));
    avail_u16(0, VIRTQ_AVAIL_F_NO_INTERRUPT);
    virtq_push(&q, 0, 0);
    CHECK(!virtq_needs_interrupt(&q));
}

static void test_interrupt_event(void)
{
    size_t used_event = 4 + 2 * 8;

    CHECK_EQ(ring_start(8, true, false), 0);
    avail_u16(0, VIRTQ_AVAIL_F_NO_INTERRUPT); /* has no meaning with the event index */
    avail_u16(used_event, 0);
    virtq_push(&q, 0, 0);
    CHECK(virtq_needs_interrupt(&q));
    avail_u16(used_event, 3);
    virtq_push(&q, 0, 0);
    virtq_push(&q, 0, 0);
    CHECK(!virtq_needs_interrupt(&q));
    virtq_push(&q, 0, 0);
    CHECK(virtq_needs_interrupt(&q));
    /* Over the wrap of the index. */
    for (unsigned i = 4; i < 65534; i++)
        virtq_push(&q, 0, 0);
    avail_u16(used_event, 65535);
    virtq_needs_interrupt(&q);
    virtq_push(&q, 0, 0);
    CHECK(!virtq_needs_interrupt(&q));
    virtq_push(&q, 0, 0);
    CHECK(virtq_needs_interrupt(&q));
}

static void test_notify_suppression(void)
{
    CHECK_EQ(ring_start(8, false, false), 0);
    virtq_disable_notify(&q);
    CHECK_EQ(used_u16(0), VIRTQ_USED_F_NO_NOTIFY);
    CHECK(!virtq_enable_notify(&q));
    CHECK_EQ(used_u16(0), 0);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    CHECK(virtq_enable_notify(&q));

    CHECK_EQ(ring_start(8, true, false), 0);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    CHECK_EQ(virtq_pop(&q, &c), 1);
    CHECK(!virtq_enable_notify(&q));
    CHECK_EQ(used_u16(4 + 8 * 8), 1); /* avail_event */
}

static void test_writes_are_announced(void)
{
    const struct mem_region *r = mem_find(d.mem, GPA(VDRIVER_RAM), 1);
    unsigned page = (unsigned)((DATA - VDRIVER_RAM) / MEM_PAGE_SIZE);

    CHECK_EQ(ring_start(8, false, false), 0);
    for (uint64_t i = 0; i < VDRIVER_RAM_SIZE / MEM_PAGE_SIZE; i++)
        atomic_store(&r->flags[i], 0);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA + 4000, 200, true}}, 1);
    CHECK_EQ(virtq_pop(&q, &c), 1);
    virtq_wrote(d.mem, virtq_chain_in(&c), c.nin);
    CHECK(atomic_load(&r->flags[page]) & MEM_PAGE_DIRTY);
    CHECK(atomic_load(&r->flags[page + 1]) & MEM_PAGE_DIRTY);
    CHECK(!(atomic_load(&r->flags[page + 2]) & MEM_PAGE_DIRTY));
    virtq_push(&q, c.head, 200);
    CHECK(atomic_load(&r->flags[(USED - VDRIVER_RAM) / MEM_PAGE_SIZE]) & MEM_PAGE_DIRTY);
}

static void test_iov_helpers(void)
{
    char a[] = "abc", b[] = "", e[] = "defgh", out[16] = {0};
    struct iovec iov[] = {{a, 3}, {b, 0}, {e, 5}}, cut[4];

    CHECK_EQ(virtq_iov_get(iov, 3, 2, out, 3), 3);
    CHECK(!memcmp(out, "cde", 3));
    CHECK_EQ(virtq_iov_get(iov, 3, 6, out, 16), 2);
    CHECK_EQ(virtq_iov_get(iov, 3, 8, out, 1), 0);
    CHECK_EQ(virtq_iov_put(iov, 3, 2, "XYZ", 3), 3);
    CHECK(!memcmp(a, "abX", 3) && !memcmp(e, "YZfgh", 5));
    CHECK_EQ(virtq_iov_slice(iov, 3, 1, 4, cut, 4), 2);
    CHECK(cut[0].iov_base == a + 1 && cut[0].iov_len == 2);
    CHECK(cut[1].iov_base == e && cut[1].iov_len == 2);
    CHECK_EQ(virtq_iov_slice(iov, 3, 1, 4, cut, 1), -E2BIG);
    CHECK_EQ(virtq_iov_slice(iov, 3, 8, 4, cut, 4), 0);
}

int main(void)
{
    if (!vdriver_open(&d))
        return 1;
    RUN(test_config_is_checked);
    RUN(test_chain_in_order);
    RUN(test_unpop_gives_back);
    RUN(test_indices_wrap);
    RUN(test_full_ring);
    RUN(test_index_jumps);
    RUN(test_bad_head_and_next);
    RUN(test_loops);
    RUN(test_buffers_outside_ram);
    RUN(test_length_cannot_wrap);
    RUN(test_readable_after_writable);
    RUN(test_indirect);
    RUN(test_bad_indirect);
    RUN(test_interrupt_flag);
    RUN(test_interrupt_event);
    RUN(test_notify_suppression);
    RUN(test_writes_are_announced);
    RUN(test_iov_helpers);
    vdriver_close(&d);
    return check_done();
}
