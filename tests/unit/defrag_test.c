/*
 * Reassembly of the guest's IPv4 fragments: what fits comes out whole, once; what does not is thrown away; no fragment
 * ever passes.
 */
#include "devices/net/defrag.h"

#include <string.h>

#include "tests/check.h"
#include "vmm/base/util.h"

static struct net_defrag d;
static uint8_t payload[65536 + 128], frame[65700];

static void be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t sum(const uint8_t *p, unsigned len)
{
    uint32_t s = 0;

    for (unsigned i = 0; i < len; i += 2)
        s += get16(p + i);
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return ~s & 0xffff;
}

/* Bytes [from, from + len) of the payload as a piece of datagram `id`; the frame's length. */
static uint32_t make(uint32_t id, uint32_t from, uint32_t len, uint32_t flags, unsigned head)
{
    memset(frame, 0, 74);
    memset(frame, 0x52, 12);
    be16(frame + 12, 0x0800);
    frame[14] = (uint8_t)(0x40 | head / 4);
    be16(frame + 16, head + len);
    be16(frame + 18, id);
    be16(frame + 20, flags | from / 8);
    frame[22] = 64;
    frame[23] = 17;
    memcpy(frame + 26, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
    be16(frame + 24, sum(frame + 14, head));
    memcpy(frame + 14 + head, payload + from, len);
    return 14 + head + len;
}

static const uint8_t *piece(uint32_t id, uint32_t from, uint32_t len, bool more, uint32_t *out_len, int64_t now)
{
    *out_len = make(id, from, len, more ? 0x2000 : 0, 20);
    return net_defrag(&d, frame, out_len, now);
}

static bool whole(const uint8_t *f, uint32_t len, uint32_t want)
{
    return f && len == 34 + want && get16(f + 12) == 0x0800 && get16(f + 16) == 20 + want && get16(f + 20) == 0 &&
           sum(f + 14, 20) == 0 && memcmp(f + 34, payload, want) == 0;
}

static void others_pass_as_they_are(void)
{
    uint32_t len = make(1, 0, 100, 0, 20);

    CHECK(net_defrag(&d, frame, &len, 0) == frame && len == 134);
    len = make(1, 0, 100, 0x4000, 20); /* "do not fragment" */
    CHECK(net_defrag(&d, frame, &len, 0) == frame && len == 134);
    be16(frame + 12, 0x86dd);
    frame[20] = 0xff;
    CHECK(net_defrag(&d, frame, &len, 0) == frame);
    for (len = 0; len < 34; len++)
        CHECK(net_defrag(&d, frame, &len, 0) == frame);
}

static void pieces_come_out_whole_in_any_order(void)
{
    static const unsigned order[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
    static const uint32_t from[] = {0, 1480, 2960}, size[] = {1480, 1480, 41};

    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
        uint32_t len;
        for (unsigned k = 0; k < 3; k++) {
            unsigned n = order[i][k];
            const uint8_t *f = piece(7, from[n], size[n], n != 2, &len, 0);
            if (k < 2)
                CHECK(!f);
            else
                CHECK(whole(f, len, 3001));
        }
    }
    for (unsigned i = 0; i < NET_DEFRAG_MAX; i++)
        CHECK(!d.entry[i].used);
}

static void the_largest_datagram(void)
{
    const uint8_t *f = NULL;
    uint32_t len = 0;

    for (uint32_t at = 0; at < 65515; at += 1480)
        f = piece(8, at, MIN(1480u, 65515 - at), at + 1480 < 65515, &len, 0);
    CHECK(whole(f, len, 65515));
    /* A last piece with a short header behind a first one with a long header: together too long. */
    len = make(9, 0, 65504, 0x2000, 28);
    CHECK(!net_defrag(&d, frame, &len, 0));
    CHECK(!piece(9, 65504, 11, false, &len, 0));
    CHECK(!d.entry[0].used);
}

static void contradictions_lose_the_datagram(void)
{
    uint32_t len;

    /* An overlap; then the rest does not make a datagram. */
    CHECK(!piece(1, 0, 64, true, &len, 0));
    CHECK(!piece(1, 56, 64, true, &len, 0));
    CHECK(!piece(1, 64, 10, false, &len, 0));
    memset(&d, 0, sizeof(d));
    /* The same piece twice, two ends, a piece behind the end, an end before a piece. */
    CHECK(!piece(2, 8, 8, false, &len, 0) && !piece(2, 8, 8, false, &len, 0) && !d.entry[0].used);
    CHECK(!piece(3, 16, 8, false, &len, 0) && !piece(3, 8, 4, false, &len, 0) && !d.entry[0].used);
    CHECK(!piece(4, 16, 8, false, &len, 0) && !piece(4, 24, 8, true, &len, 0) && !d.entry[0].used);
    CHECK(!piece(5, 64, 8, true, &len, 0) && !piece(5, 16, 8, false, &len, 0) && !d.entry[0].used);
}

static void nonsense_is_dropped(void)
{
    uint32_t len;

    CHECK(!piece(1, 0, 63, true, &len, 0)); /* not whole blocks */
    CHECK(!piece(1, 8, 0, false, &len, 0)); /* nothing */
    CHECK(!piece(1, 65528, 100, false, &len, 0));
    len = make(1, 0, 64, 0x8000, 20); /* the reserved bit */
    CHECK(!net_defrag(&d, frame, &len, 0));
    len = make(1, 0, 64, 0x2000, 20) - 1; /* shorter than it says */
    CHECK(!net_defrag(&d, frame, &len, 0));
    len = make(1, 0, 64, 0x2000, 20);
    frame[24] ^= 1; /* checksum */
    CHECK(!net_defrag(&d, frame, &len, 0));
    len = make(1, 0, 64, 0x2000, 20);
    frame[14] = 0x44;
    CHECK(!net_defrag(&d, frame, &len, 0));
    for (unsigned i = 0; i < NET_DEFRAG_MAX; i++)
        CHECK(!d.entry[i].used);
}

static void the_oldest_gives_way(void)
{
    const uint8_t *f;
    uint32_t len;

    for (uint32_t id = 0; id <= NET_DEFRAG_MAX; id++)
        CHECK(!piece(id, 0, 64, true, &len, id));
    CHECK(!piece(0, 64, 8, false, &len, 20)); /* replaces 1 */
    CHECK(!piece(1, 64, 8, false, &len, 21));
    f = piece(5, 64, 8, false, &len, 22);
    CHECK(whole(f, len, 72));
    CHECK(!piece(6, 64, 8, false, &len, 22 + NET_DEFRAG_MS)); /* its beginning is forgotten */
}

/* As a hostile guest would: whatever comes out is no fragment, and its lengths fit. */
static void random_pieces(void)
{
    uint32_t x = 2463534242u, out = 0;

    for (unsigned i = 0; i < 200000; i++) {
        uint32_t len, from, size;
        const uint8_t *f;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        from = (x & 7) * 8;
        size = x & 0x100 ? (x >> 12 & 7) * 8 : x >> 12 & 63;
        len = make(x >> 20 & 15, from, size, x >> 9 & 1 ? 0x2000 : 0, x >> 10 & 1 ? 20 : 32);
        f = net_defrag(&d, frame, &len, i);
        if (!f)
            continue;
        CHECK_EQ(get16(f + 20), 0);
        CHECK_EQ(get16(f + 16) + 14u, len);
        out += f != frame;
    }
    CHECK(out > 100);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
    RUN(others_pass_as_they_are);
    RUN(pieces_come_out_whole_in_any_order);
    RUN(the_largest_datagram);
    RUN(contradictions_lose_the_datagram);
    RUN(nonsense_is_dropped);
    RUN(the_oldest_gives_way);
    memset(&d, 0, sizeof(d));
    RUN(random_pieces);
    return check_done();
}
