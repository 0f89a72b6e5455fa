/*
 * The shared ring: frames of all sizes come out as they went in; a peer that writes nonsense into counters, lengths or
 * data gets an error, never a copy from outside the ring; and two threads that sleep and wake each other lose nothing.
 */
#include "devices/net/ring.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/check.h"
#include "vmm/base/util.h"

static struct net_ring_mem mem;
static uint8_t frame[NET_FRAME_MAX], back[NET_FRAME_MAX];

static uint32_t rng_state = 12345;

static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 17;
    rng_state ^= rng_state << 5;
    return rng_state;
}

static void fresh(struct net_ring *p, struct net_ring *c)
{
    memset(&mem, 0, sizeof(mem));
    net_ring_init(p, &mem);
    net_ring_init(c, &mem);
}

static int push(struct net_ring *p, uint32_t len)
{
    struct iovec iov = {frame, len};
    return net_ring_push(p, &iov, 1);
}

static void all_sizes_come_out(void)
{
    struct net_ring p, c;

    fresh(&p, &c);
    for (unsigned i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i * 7 + i / 251);
    for (uint32_t len = 1; len <= NET_FRAME_MAX; len += len < 3000 ? 1 : 977) {
        uint32_t a = rng() % len;
        struct iovec iov[3] = {{frame, a}, {frame + a, 0}, {frame + a, len - a}};
        CHECK_EQ(net_ring_push(&p, iov, 3), 0);
        memset(back, 0xee, MIN(len + 8, (uint32_t)NET_FRAME_MAX));
        CHECK_EQ(net_ring_pop(&c, back), len);
        CHECK(memcmp(back, frame, len) == 0);
        CHECK(len == NET_FRAME_MAX || back[len] == 0xee);
    }
    CHECK_EQ(net_ring_pop(&c, back), 0);
}

static void bad_sizes_are_refused(void)
{
    struct net_ring p, c;
    struct iovec wrap[2] = {{frame, 60}, {frame, SIZE_MAX - 10}};

    fresh(&p, &c);
    CHECK_EQ(push(&p, 0), -EMSGSIZE);
    CHECK_EQ(push(&p, NET_FRAME_MAX + 1), -EMSGSIZE);
    CHECK_EQ(net_ring_push(&p, wrap, 2), -EMSGSIZE);
    CHECK_EQ(net_ring_push(&p, NULL, 0), -EMSGSIZE);
    CHECK_EQ(net_ring_pop(&c, back), 0);
}

static void full_ring_waits_and_is_woken_at_half(void)
{
    struct net_ring p, c;
    unsigned n = 0, popped = 0;
    bool woken = false;

    fresh(&p, &c);
    CHECK(!net_ring_congested(&p));
    while (push(&p, 1500) == 0)
        n++;
    CHECK_EQ(n, NET_RING_SIZE / 1504);
    CHECK(net_ring_congested(&p));
    while (!woken) {
        CHECK_EQ(net_ring_pop(&c, back), 1500);
        popped++;
        woken = net_ring_drained(&c);
    }
    CHECK((n - popped) * 1504u <= NET_RING_SIZE / 2);
    CHECK((n - popped + 1) * 1504u > NET_RING_SIZE / 2);
    CHECK(!net_ring_congested(&p));
    CHECK_EQ(push(&p, NET_FRAME_MAX), 0);
    while (net_ring_pop(&c, back) > 0)
        CHECK(!net_ring_drained(&c)); /* nobody waits any more */
}

static void idle_consumer_is_woken_once(void)
{
    struct net_ring p, c;

    fresh(&p, &c);
    CHECK_EQ(push(&p, 60), 0);
    CHECK(!net_ring_fed(&p));
    CHECK(!net_ring_idle(&c)); /* there is a frame */
    CHECK_EQ(net_ring_pop(&c, back), 60);
    CHECK(net_ring_idle(&c));
    CHECK_EQ(push(&p, 60), 0);
    CHECK_EQ(push(&p, 60), 0);
    CHECK(net_ring_fed(&p));
    CHECK(!net_ring_fed(&p));
}

/* Counters that cannot be: more than the ring holds, unaligned, behind. */
static void hostile_counters_break_the_ring(void)
{
    static const uint32_t heads[] = {NET_RING_SIZE + 4, UINT32_MAX, 2, 0x80000000, UINT32_MAX - 3, 61};
    struct net_ring p, c;

    for (unsigned i = 0; i < ARRAY_SIZE(heads); i++) {
        fresh(&p, &c);
        atomic_store(&mem.head, heads[i]);
        CHECK_EQ(net_ring_pop(&c, back), -EPROTO);
        CHECK(c.broken);
        atomic_store(&mem.head, 0); /* broken for good */
        CHECK_EQ(net_ring_pop(&c, back), -EPROTO);
        CHECK(!net_ring_idle(&c));
        CHECK(!net_ring_drained(&c));

        fresh(&p, &c);
        atomic_store(&mem.tail, 0u - heads[i]);
        CHECK_EQ(push(&p, 60), -EPROTO);
        CHECK(p.broken);
        atomic_store(&mem.tail, 0);
        CHECK_EQ(push(&p, 60), -EPROTO);
        CHECK(!net_ring_congested(&p));
    }
}

static void hostile_lengths_break_the_ring(void)
{
    static const uint32_t lens[] = {
        0, NET_FRAME_MAX + 1, UINT32_MAX, UINT32_MAX - 2, UINT32_MAX - 3, 0x80000000, NET_RING_SIZE, 61, 64};
    struct net_ring p, c;

    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        fresh(&p, &c);
        CHECK_EQ(push(&p, 60), 0);
        le32_put(mem.data, lens[i]);
        CHECK_EQ(net_ring_pop(&c, back), -EPROTO);
        CHECK(c.broken);
    }
}

/* Whatever stands in the shared memory, a pop touches the ring and its own buffer only (the sanitizer watches). */
static void random_garbage_stays_inside(void)
{
    struct net_ring p, c;
    unsigned got = 0, broke = 0;

    fresh(&p, &c);
    for (unsigned i = 0; i < sizeof(mem.data); i += 4)
        le32_put(mem.data + i, rng() & 1 ? rng() : rng() % 70000);
    for (unsigned round = 0; round < 20000; round++) {
        net_ring_init(&c, &mem);
        c.pos = rng() & ~3u;
        atomic_store(&mem.head, rng() & 1 ? rng() : c.pos + (rng() % (NET_RING_SIZE + 64) & ~3u));
        for (;;) {
            int n = net_ring_pop(&c, back);
            if (n <= 0)
                break;
            CHECK(n <= NET_FRAME_MAX);
            got++;
        }
        broke += c.broken;
    }
    CHECK(got > 0);
    CHECK(broke > 0);
}

/* --- two threads ----------------------------------------------------------------------------------------------------
 */

#define FRAMES 60000

static sem_t to_consumer, to_producer;
static unsigned lost_wakes;

static uint32_t frame_length(uint32_t i)
{
    return 4 + (i * 2654435761u >> 16) % (i % 64 == 0 ? 60000u : 1510u);
}

static bool wait_for(sem_t *s)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += 20;
    while (sem_timedwait(s, &ts) < 0)
        if (errno == ETIMEDOUT)
            return false;
    return true;
}

static void *producer(void *arg)
{
    struct net_ring p;
    static uint8_t f[NET_FRAME_MAX];

    (void)arg;
    net_ring_init(&p, &mem);
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct iovec iov = {f, frame_length(i)};
        le32_put(f, i);
        while (net_ring_push(&p, &iov, 1) == -EAGAIN)
            if (!wait_for(&to_producer)) {
                lost_wakes++;
                return NULL;
            }
        if (net_ring_fed(&p))
            sem_post(&to_consumer);
    }
    return NULL;
}

static void threads_lose_nothing(void)
{
    struct net_ring c;
    pthread_t th;
    uint32_t i = 0, wrong = 0;
    bool alive = true;

    memset(&mem, 0, sizeof(mem));
    net_ring_init(&c, &mem);
    sem_init(&to_consumer, 0, 0);
    sem_init(&to_producer, 0, 0);
    CHECK_EQ(pthread_create(&th, NULL, producer, NULL), 0);
    while (i < FRAMES && alive) {
        int n = net_ring_pop(&c, back);
        if (n > 0) {
            wrong += (uint32_t)n != frame_length(i) || le32_get(back) != i;
            i++;
            if (net_ring_drained(&c))
                sem_post(&to_producer);
            if (i % 4096 == 0)
                sched_yield();
        } else if (n < 0) {
            alive = false;
        } else if (net_ring_idle(&c)) {
            alive = wait_for(&to_consumer);
        }
    }
    pthread_join(th, NULL);
    CHECK(alive);
    CHECK_EQ(lost_wakes, 0);
    CHECK_EQ(i, FRAMES);
    CHECK_EQ(wrong, 0);
}

int main(void)
{
    RUN(all_sizes_come_out);
    RUN(bad_sizes_are_refused);
    RUN(full_ring_waits_and_is_woken_at_half);
    RUN(idle_consumer_is_woken_once);
    RUN(hostile_counters_break_the_ring);
    RUN(hostile_lengths_break_the_ring);
    RUN(random_garbage_stays_inside);
    RUN(threads_lose_nothing);
    return check_done();
}
