/*
 * Tier 1: V registers in host registers.
 *
 * Results are stored at once, so that all that looks at guest state (faults, the interpreter, other blocks) finds it in
 * memory. Some V registers are in XMM6 and up as well, so that what follows need not load them: of each the lowest
 * `valid` bytes are known to be there. After a scalar operation what lies above may be anything, while memory has the
 * zeroes that the architecture wants.
 *
 * A block that may branch to its own start is translated twice. The first time says which registers it reads before it
 * writes them, and which it writes; the second has those in place at the loop's head, which the block's entry loads and
 * its branches back keep. There results are not stored, but are dirty until something looks at them: each way out of
 * the block, and each slow path before C code runs, stores what is dirty at that place. In user mode an access that
 * faults goes by such a path, too. Code that comes back from a slow path loads all of them again.
 */
#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

static struct x64_mem t1_vmem(unsigned r)
{
    return x64_m(RBP, JIT_OFF(cpu.v) + (int32_t)r * 16);
}

/* The host register of V register v, 0: none. First come, first served, unless there is a plan. */
static int t1_vhost(struct t1 *t, unsigned v)
{
    struct t1_vregs *r = &t->vreg;

    if (!r->host[v] && !t->planned && r->next < T1_XMM_COUNT)
        r->host[v] = (uint8_t)(T1_XMM_FIRST + r->next++);
    return r->host[v];
}

/* What the loop does counts for more than what is behind it. */
static void t1_vused(struct t1 *t, unsigned v)
{
    t->vreg.uses[v] = (uint16_t)(t->vreg.uses[v] + (t->i <= t->turn ? 4 : 1));
}

static void t1_vread(struct t1 *t, unsigned v, unsigned bytes)
{
    struct t1_vregs *r = &t->vreg;

    t1_vused(t, v);
    if (!(r->written & BIT32(v)))
        r->need[v] = (uint8_t)MAX(r->need[v], bytes);
}

static void t1_vreload(struct t1 *t, unsigned v)
{
    sse_rm(t->e, SSE_MOVAPS_LOAD, t->vreg.host[v], t1_vmem(v));
}

/* v is dirty: all of it is valid then. */
static void t1_vwhole(struct t1 *t, unsigned v)
{
    int h = t->vreg.host[v];

    if (t->vreg.now.valid[v] == 8)
        sse_rr(t->e, SSE_MOVQ_LOAD, h, h);
    else if (t->vreg.now.valid[v] == 4)
        sse_rri(t->e, SSE_66_3A(0x21), h, h, 0x0e); /* insertps: lane 0, zeroes above */
    t->vreg.now.valid[v] = 16;
}

static bool t1_vdirty(const struct t1 *t, unsigned v)
{
    return t->vreg.now.dirty & BIT32(v);
}

static void t1_vsync(struct t1 *t, unsigned v)
{
    if (!t1_vdirty(t, v))
        return;
    t1_vwhole(t, v);
    sse_rm(t->e, SSE_MOVAPS_STORE, t->vreg.host[v], t1_vmem(v));
    t->vreg.now.dirty &= ~BIT32(v);
}

struct x64_mem t1_v(struct t1 *t, unsigned r)
{
    t1_vsync(t, r);
    return t1_vmem(r);
}

void t1_vspill(struct t1 *t)
{
    for (unsigned v = 0; v < 32 && t->vreg.now.dirty; v++)
        t1_vsync(t, v);
}

/* At least `bytes` of v, which has a host register, are valid. */
static void t1_vfill(struct t1 *t, unsigned v, unsigned bytes)
{
    if (t->vreg.now.valid[v] >= bytes)
        return;
    if (t1_vdirty(t, v))
        t1_vwhole(t, v);
    else
        t1_vreload(t, v);
    t->vreg.now.valid[v] = 16;
}

/* The host register with at least `bytes` of v, 0: none. */
static int t1_vfind(struct t1 *t, unsigned v, unsigned bytes)
{
    int h = t1_vhost(t, v);

    t1_vread(t, v, bytes);
    if (h)
        t1_vfill(t, v, bytes);
    return h;
}

int t1_vin(struct t1 *t, unsigned v, unsigned bytes, int scratch)
{
    int h = t1_vfind(t, v, bytes);

    if (h)
        return h;
    sse_rm(t->e, bytes == 16 ? SSE_MOVAPS_LOAD : bytes == 8 ? SSE_MOVQ_LOAD : SSE_MOVSS_LOAD, scratch, t1_vmem(v));
    return scratch;
}

void t1_vget(struct t1 *t, int x, unsigned v)
{
    int h = t1_vin(t, v, 16, x);

    if (h != x)
        sse_rr(t->e, SSE_MOVAPS_LOAD, x, h);
}

void t1_vop(struct t1 *t, bool w, uint32_t op, int x, unsigned v, unsigned bytes)
{
    int h = t1_vfind(t, v, bytes);

    if (h)
        x64_rr(t->e, w, op, x, h);
    else
        x64_rm(t->e, w, op, x, t1_vmem(v));
}

void t1_vhalf(struct t1 *t, uint32_t op, int x, unsigned v, bool upper)
{
    int h = upper ? t1_vfind(t, v, 16) : 0;

    if (!upper) {
        t1_vop(t, false, op, x, v, 8);
    } else if (h) {
        sse_rri(t->e, SSE_PSHUFD, x, h, 0xee);
        sse_rr(t->e, op, x, x);
    } else {
        sse_rm(t->e, op, x, x64_m(RBP, t1_vmem(v).disp + 8));
    }
}

void t1_vf3(struct t1 *t, uint32_t op, int x, int n, int m)
{
    if (t1_have.avx) {
        vex_rrr(t->e, false, op, x, n, m);
        return;
    }
    if (x != n && x == m) {
        sse_rr(t->e, SSE_MOVAPS_LOAD, XMM5, m);
        m = XMM5;
    }
    if (x != n)
        sse_rr(t->e, SSE_MOVAPS_LOAD, x, n);
    sse_rr(t->e, op, x, m);
}

void t1_v3(struct t1 *t, uint32_t op, int x, int n, unsigned v, unsigned bytes)
{
    int h = t1_vfind(t, v, bytes);

    if (h) {
        t1_vf3(t, op, x, n, h);
    } else if (t1_have.avx) {
        vex_rrm(t->e, false, op, x, n, t1_vmem(v));
    } else {
        if (x != n)
            sse_rr(t->e, SSE_MOVAPS_LOAD, x, n);
        sse_rm(t->e, op, x, t1_vmem(v));
    }
}

void t1_vconst(struct t1 *t, uint32_t op, int x, int n, enum jit_const k)
{
    if (x != n && t1_have.avx) {
        vex_rrm(t->e, false, op, x, n, t1_const(k));
        return;
    }
    if (x != n)
        sse_rr(t->e, SSE_MOVAPS_LOAD, x, n);
    sse_rm(t->e, op, x, t1_const(k));
}

int t1_vout(struct t1 *t, unsigned v)
{
    return t1_vhost(t, v); /* XMM0 where it has none */
}

int t1_vtry(struct t1 *t, unsigned v, uint32_t sources)
{
    return t1_vdirty(t, v) && (sources & BIT32(v)) ? XMM0 : t1_vout(t, v);
}

void t1_vput(struct t1 *t, unsigned v, int x, unsigned bytes)
{
    int h = t1_vhost(t, v);

    t1_vused(t, v);
    t->vreg.written |= BIT32(v);
    if (h) {
        if (h != x)
            sse_rr(t->e, SSE_MOVAPS_LOAD, h, x);
        t->vreg.now.valid[v] = (uint8_t)bytes;
        if (t->planned) {
            t->vreg.now.dirty |= BIT32(v);
            return;
        }
    }
    if (bytes == 8) {
        sse_rr(t->e, SSE_MOVQ_LOAD, XMM0, x);
        x = XMM0;
    } else if (bytes == 4) {
        sse_rri(t->e, SSE_66_3A(0x21), XMM0, x, 0x0e); /* insertps: lane 0, zeroes above */
        x = XMM0;
    }
    sse_rm(t->e, SSE_MOVAPS_STORE, x, t1_vmem(v));
}

void t1_vlost(struct t1 *t, unsigned v)
{
    t->vreg.now.valid[v] = 0;
    t->vreg.now.dirty &= ~BIT32(v);
    t->vreg.written |= BIT32(v);
}

void t1_vforget(struct t1 *t)
{
    t->vreg.now = (struct t1_vstate){0};
}

void t1_vconvert(struct t1 *t, const struct t1_vstate *to)
{
    for (unsigned v = 0; v < 32; v++) {
        if (!t->vreg.host[v])
            continue;
        if (!(to->dirty & BIT32(v)))
            t1_vsync(t, v);
        t1_vfill(t, v, to->valid[v]);
    }
}

/* ---- loops ---- */

/* Makes the plan of the second translation from what the first one saw; false where a second one is no use. */
bool t1_vplan(struct t1 *t)
{
    struct t1_vregs *r = &t->vreg, plan = {0};
    unsigned score[32];

    for (unsigned v = 0; v < 32; v++)
        score[v] = r->uses[v] ? r->uses[v] + (r->need[v] ? 2u : 0) : 0;
    for (plan.next = 0; plan.next < T1_XMM_COUNT; plan.next++) {
        unsigned best = 0;

        for (unsigned v = 1; v < 32; v++)
            if (score[v] > score[best])
                best = v;
        if (!score[best])
            break;
        score[best] = 0;
        plan.host[best] = (uint8_t)(T1_XMM_FIRST + plan.next);
        plan.head.valid[best] = r->need[best];
        if (r->written & BIT32(best)) {
            plan.head.valid[best] = 16;
            plan.head.dirty |= BIT32(best);
        }
    }
    *r = plan;
    return plan.next > 0;
}

void t1_vhead(struct t1 *t)
{
    for (unsigned v = 0; v < 32; v++)
        if (t->vreg.head.valid[v])
            t1_vreload(t, v);
    t->vreg.now = t->vreg.head;
}

/* A routine for slow paths: all that may be in host registers, from memory. */
void t1_vroutine(struct t1 *t)
{
    t->vreg.routine = NULL;
    if (!t->vreg.next)
        return;
    t->vreg.routine = t->e->p;
    for (unsigned v = 0; v < 32; v++)
        if (t->vreg.host[v])
            t1_vreload(t, v);
    x64_u8(t->e, 0xc3);
}
