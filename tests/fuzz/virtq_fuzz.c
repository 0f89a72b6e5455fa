/*
 * libFuzzer target: the ring walker on rings and descriptors that are all the input's.
 *
 * RAM begins at guest address 0, so that small numbers are good addresses. The first eight bytes choose the size, the
 * features and how much of the input is poked in later, between calls, as a racing driver would; the rest is laid over
 * RAM, where descriptors, avail ring and used ring stand within the first kilobytes. Every chain that is accepted must
 * lie in RAM and keep to the bounds.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"
#include "vmm/base/util.h"

#include "virtio/queue.h"

#define RAM_SIZE KIB(64)
#define DESC 0x000
#define AVAIL 0x800
#define USED 0xa00
#define HEADER 8
#define ROUNDS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem *ram;
static struct virtq_chain chain;

static void must(bool cond)
{
    if (!cond)
        abort();
}

static void check_chain(const struct virtq *q)
{
    const struct mem_region *r = &ram->region[0];
    uint64_t out = 0, in = 0;

    must(chain.head < q->size && chain.nout + chain.nin <= VIRTQ_SEGS_MAX);
    for (unsigned i = 0; i < chain.nout + chain.nin; i++) {
        volatile uint8_t *p = chain.iov[i].iov_base;
        size_t len = chain.iov[i].iov_len;
        must(len > 0 && range_within((uint64_t)(p - r->host), len, r->size));
        if (i < chain.nout) {
            out += len;
            (void)(p[0] + p[len - 1]);
        } else {
            in += len;
            p[0] = p[len - 1] = 0x5a;
        }
    }
    must(out == chain.out_len && in == chain.in_len && out + in <= UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct virtq q;
    struct virtq_config cfg = {.ready = true, .desc = GPA(DESC), .avail = GPA(AVAIL), .used = GPA(USED)};

    if (size < HEADER)
        return 0;
    if (!ram) {
        log_set_level(LOG_ERROR);
        if (mem_create(&ram) < 0 || mem_add_ram(ram, GPA(0), RAM_SIZE, NULL, NULL) < 0)
            abort();
    }
    uint8_t *host = ram->region[0].host;
    memset(host, 0, 0x4000);
    cfg.size = (uint16_t)(1 << (data[0] & 15));
    if (data[0] & 0x80) {
        cfg.size = le16_get(data + 2);
        cfg.desc.v = (uint64_t)data[4] << 12;
        cfg.avail.v = le16_get(data + 4);
        cfg.used.v = le16_get(data + 6);
    }
    size_t later = MIN((size_t)data[1] * 4, (size - HEADER) / 2), first = MIN(size - HEADER - later, (size_t)RAM_SIZE);
    memcpy(host, data + HEADER, first);
    const uint8_t *poke = data + size - later;

    if (virtq_start(&q, ram, &cfg, data[0] & 0x10, data[0] & 0x20) < 0)
        return 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        int rc = virtq_pop(&q, &chain);
        if (rc > 0) {
            check_chain(&q);
            virtq_wrote(ram, virtq_chain_in(&chain), chain.nin);
            if (data[0] & 0x40 && i % 3 == 0)
                virtq_unpop(&q, 1);
            else
                virtq_push(&q, chain.head, chain.in_len);
        } else {
            must((rc < 0) == (q.broken != NULL));
            virtq_enable_notify(&q);
        }
        virtq_needs_interrupt(&q);
        /* The driver's next move: two bytes anywhere in the first kilobytes. */
        if (later >= 4) {
            le16_put(host + (le16_get(poke) & 0xfff), le16_get(poke + 2));
            poke += 4;
            later -= 4;
        } else if (rc <= 0) {
            break;
        }
    }
    return 0;
}
