/*
 * GDB's remote protocol from a hostile peer: frames of nonsense, and of each packet every notation read from every
 * place. What is received stays within its bounds, and comes back the same when it is sent.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/service/gdbstub/rsp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void notations(const struct rsp *r)
{
    for (size_t i = 0; i <= r->in_len && i < 64; i++) {
        const char *p = r->in + i, *end = r->in + strlen(r->in + i) + i;
        uint8_t bytes[32];
        char text[16];
        uint64_t a, b;
        struct rsp_thread t;

        rsp_take_range(&p, &a, &b);
        must(p <= end);
        p = r->in + i;
        rsp_take_hex(&p, bytes, sizeof(bytes));
        must(p <= end);
        p = r->in + i;
        if (rsp_take_string(&p, text, sizeof(text)))
            must(strlen(text) < sizeof(text));
        must(p <= end);
        p = r->in + i;
        if (rsp_take_thread(&p, &t))
            must(t.thread >= RSP_ALL && t.process >= RSP_ALL);
        must(p <= end);
    }
}

static void again(const struct rsp *r)
{
    static struct rsp out, in;
    enum rsp_event e = RSP_NOTHING;

    rsp_init(&out);
    rsp_init(&in);
    rsp_begin(&out);
    rsp_put(&out, r->in, r->in_len);
    rsp_end(&out);
    for (size_t i = 0; i < out.out_len; i++)
        e = rsp_feed(&in, (uint8_t)out.out[i]);
    must(e == RSP_PACKET && in.in_len == r->in_len && !memcmp(in.in, r->in, r->in_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rsp r;

    rsp_init(&r);
    for (size_t i = 0; i < size; i++) {
        if (rsp_feed(&r, data[i]) != RSP_PACKET)
            continue;
        must(r.in_len <= RSP_PACKET_MAX && !r.in[r.in_len]);
        notations(&r);
        again(&r);
    }
    return 0;
}
