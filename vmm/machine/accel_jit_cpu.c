/*
 * What the JIT asks of the machine while it runs a vCPU: its memory and instruction operations, bound to arch/arm64's
 * translation, system registers and exceptions, and to the machine's RAM and bus; and arch/arm64's hooks, bound to the
 * JIT.
 */
#include "vmm/machine/accel_jit_int.h"

#include <stdlib.h>

static const struct accel_jit_config *accel_jit_cfg(struct arm64_cpu *c)
{
    return &accel_jit_of(c->machine)->cfg;
}

/* ---- memory ---- */

static int accel_jit_translate(struct arm64_cpu *c, uint64_t va, unsigned acc, unsigned el, struct jit_xlat *out)
{
    struct arm64_xlat x;
    struct arm64_fault f;

    if (arm64_walk(c, accel_jit_cfg(c)->mem, va, &x, &f)) {
        arm64_abort(c, va, acc, f.fsc, false);
        return A64_TRAPPED;
    }
    if (!arm64_permitted(c, &x, acc, el)) {
        arm64_abort(c, va, acc, arm64_perm_fsc(&x), false);
        return A64_TRAPPED;
    }
    *out = (struct jit_xlat){
        .pa = x.pa, .page_bits = x.page_bits, .perm = x.perm, .ng = x.ng, .device = x.device, .asid = x.asid};
    return 0;
}

static void accel_jit_align_fault(struct arm64_cpu *c, uint64_t va, bool write)
{
    arm64_abort(c, va, write ? ARM64_WRITE : ARM64_READ, ARM64_FSC_ALIGN, false);
}

static void accel_jit_fetch_abort(struct arm64_cpu *c, uint64_t va)
{
    arm64_abort(c, va, ARM64_FETCH, ARM64_FSC_EXTERNAL, false);
}

/* Unsupported exclusive or atomic access: fault status 0x35 (Arm ARM D17.2.37). */
static void accel_jit_atomic_fault(struct arm64_cpu *c, uint64_t va)
{
    arm64_abort(c, va, ARM64_WRITE, 0x35, false);
}

static void accel_jit_pc_align(struct arm64_cpu *c)
{
    arm64_exception(c, ARM64_EC_PC_ALIGN, 0, c->pc);
}

static uint8_t *accel_jit_ram_page(void *opaque, uint64_t pa, atomic_uchar **flags)
{
    struct accel_jit *a = opaque;
    const struct mem_region *r = mem_find_direct(a->cfg.mem, GPA(pa), MEM_PAGE_SIZE);

    if (!r)
        return NULL;
    *flags = &r->flags[(pa - r->base.v) >> MEM_PAGE_BITS];
    return r->host + (pa - r->base.v);
}

static atomic_uchar *accel_jit_page_flags(void *opaque, const uint8_t *host)
{
    struct accel_jit *a = opaque;
    const struct mem *m = a->cfg.mem;

    for (unsigned i = 0; i < m->nregions + m->nroms; i++) {
        const struct mem_region *r = i < m->nregions ? &m->region[i] : &m->rom[i - m->nregions].r;
        if (host >= r->host && (uint64_t)(host - r->host) < r->size)
            return &r->flags[(uint64_t)(host - r->host) >> MEM_PAGE_BITS];
    }
    abort(); /* the JIT only asks for what accel_jit_ram_page gave it */
}

static int accel_jit_mmio_read(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t *val)
{
    accel_jit_count(c, ACCEL_JIT_MMIO_READ);
    if (!bus_read(accel_jit_cfg(c)->bus, c->index, GPA(pa), size, val))
        return 0;
    arm64_abort(c, va, ARM64_READ, ARM64_FSC_EXTERNAL, false);
    return A64_TRAPPED;
}

static int accel_jit_mmio_write(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t val)
{
    struct accel_jit *a = accel_jit_of(c->machine);
    int r;

    accel_jit_count(c, ACCEL_JIT_MMIO_WRITE);
    r = bus_write(a->cfg.bus, c->index, GPA(pa), size, val);
    if (unlikely(atomic_load_explicit(&a->rom_hidden, memory_order_relaxed)) && atomic_exchange(&a->rom_hidden, false))
        jit_drop_rom(c);
    if (!r)
        return 0;
    arm64_abort(c, va, ARM64_WRITE, ARM64_FSC_EXTERNAL, false);
    return A64_TRAPPED;
}

/* By a guest's write, whose vCPU goes on from there, or while no vCPU runs. */
static void accel_jit_rom_switched(void *opaque, const struct mem_rom *rom)
{
    struct accel_jit *a = opaque;

    if (!atomic_load(&rom->direct))
        atomic_store(&a->rom_hidden, true);
}

static void accel_jit_invalidate(void *opaque, gpa_t a, uint64_t len)
{
    struct accel_jit *aj = opaque;
    const struct mem *m = aj->cfg.mem;
    const struct mem_region *r = mem_find(m, a, len);

    for (unsigned i = 0; !r && i < m->nroms; i++)
        if (range_within(a.v - m->rom[i].r.base.v, len, m->rom[i].r.size))
            r = &m->rom[i].r;
    if (r)
        jit_invalidate(aj->jit, r->host + (a.v - r->base.v), len);
}

static bool accel_jit_interrupt(struct arm64_cpu *c)
{
    bool taken = arm64_take_interrupt(c);

    if (taken)
        accel_jit_count(c, ACCEL_JIT_INTERRUPT);
    return taken;
}

/* ---- hooks of arch/arm64 ---- */

static void accel_jit_tlbi(struct arm64_cpu *c, const struct arm64_tlbi *op)
{
    static const uint8_t kind[] = {[ARM64_TLBI_ALL] = JIT_FLUSH_ALL,
                                   [ARM64_TLBI_ASID] = JIT_FLUSH_ASID,
                                   [ARM64_TLBI_VA] = JIT_FLUSH_VA,
                                   [ARM64_TLBI_VAA] = JIT_FLUSH_VAA};
    struct jit_tlbi_request r = {.kind = kind[op->kind], .asid = op->asid, .va = op->va, .pages = op->pages};
    jit_tlbi(c, &r, op->broadcast);
}

/*
 * Stores to translated code are noticed when they are made, or by the next DSB (jit/rt/tlb.c), so the guest need not
 * say IC: CTR_EL0.DIC. If it does, that counts. The address was found to be mapped by the caller.
 */
static void accel_jit_icache(struct arm64_cpu *c, uint64_t va, uint64_t len)
{
    struct mem *m = accel_jit_cfg(c)->mem;
    const uint8_t *host = len ? jit_readable(c, va) : NULL;
    struct arm64_xlat x;
    struct arm64_fault f;

    if (!len) {
        jit_recheck(c);
    } else if (host) {
        jit_invalidate(accel_jit_of(c->machine)->jit, host, len);
    } else if (!arm64_walk(c, m, va, &x, &f)) {
        const struct mem_region *r = mem_find(m, GPA(x.pa), len);
        if (r && (atomic_load(&r->flags[(x.pa - r->base.v) >> MEM_PAGE_BITS]) & MEM_PAGE_CODE))
            jit_invalidate(accel_jit_of(c->machine)->jit, r->host + (x.pa - r->base.v), len);
    }
}

static int accel_jit_dcache_check(struct arm64_cpu *c, uint64_t va, bool write)
{
    struct arm64_xlat x;
    struct arm64_fault f;
    enum arm64_access acc = write ? ARM64_WRITE : ARM64_READ;

    /* A kernel that patches itself asks some hundred thousand times while it boots. */
    if (!write && jit_readable(c, va))
        return 0;
    if (arm64_walk(c, accel_jit_cfg(c)->mem, va, &x, &f)) {
        arm64_abort(c, va, acc, f.fsc, true);
        return A64_TRAPPED;
    }
    if (!arm64_permitted(c, &x, acc, c->el)) {
        arm64_abort(c, va, acc, arm64_perm_fsc(&x), true);
        return A64_TRAPPED;
    }
    return 0;
}

static const struct arm64_hooks accel_jit_hooks = {
    .tlbi = accel_jit_tlbi,
    .context_changed = jit_context_changed,
    .icache_invalidate = accel_jit_icache,
    .dcache_check = accel_jit_dcache_check,
    .fpcr_changed = jit_fpcr_changed,
    .fpsr_sync = jit_fpsr_sync,
    .fpsr_changed = jit_fpsr_changed,
};

/* ---- instruction operations ---- */

/* ERET clears the local monitor (Arm ARM B2.9.4). */
static void accel_jit_eret(struct arm64_cpu *c)
{
    c->ops->clear_excl(c);
    arm64_eret(c);
}

/* SCTLR_EL1.nTWI and nTWE: EL0 may wait, or traps. */
static int accel_jit_hint(struct arm64_cpu *c, enum a64_hint h)
{
    uint64_t allow = h == A64_HINT_WFI ? BIT64(16) : h == A64_HINT_WFE ? BIT64(18) : 0;

    if (allow && c->el == 0 && !(c->sys.sctlr_el1 & allow) && !(h == A64_HINT_WFE && atomic_load(&c->event))) {
        arm64_exception(c, ARM64_EC_WFX, 0x1e00000u | (h == A64_HINT_WFE), 0);
        return A64_TRAPPED;
    }
    return jit_hint(c, h);
}

static int accel_jit_call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm16)
{
    if (kind == A64_CALL_HVC || kind == A64_CALL_SMC)
        accel_jit_count(c, ACCEL_JIT_CALL);
    return arm64_call(c, kind, imm16);
}

static struct a64_ops accel_jit_a64_ops = {
    .sysreg_read = arm64_sysreg_read,
    .sysreg_write = arm64_sysreg_write,
    .pstate_write = arm64_pstate_write,
    .undef = arm64_undef,
    .exception = arm64_exception,
    .call = accel_jit_call,
    .eret = accel_jit_eret,
    .hint = accel_jit_hint,
    .fp_access = arm64_fp_access,
};

const struct a64_ops *accel_jit_ops(void)
{
    return &accel_jit_a64_ops;
}

void accel_jit_bind(struct accel_jit *a)
{
    a->mem_ops = (struct jit_mem_ops){
        .translate = accel_jit_translate,
        .align_fault = accel_jit_align_fault,
        .ram_page = accel_jit_ram_page,
        .page_flags = accel_jit_page_flags,
        .mmio_read = accel_jit_mmio_read,
        .mmio_write = accel_jit_mmio_write,
        .fetch_abort = accel_jit_fetch_abort,
        .atomic_fault = accel_jit_atomic_fault,
        .pc_align_fault = accel_jit_pc_align,
        .take_interrupt = accel_jit_interrupt,
        .wait = accel_jit_wait,
        .wait_event = accel_jit_wait_event,
        .wake = accel_jit_send_event,
        .sysreg_plain = arm64_sysreg_plain,
        .sysreg_const = arm64_sysreg_const,
        .opaque = a,
    };
    jit_fill_ops(&accel_jit_a64_ops);
    arm64_set_hooks(&accel_jit_hooks);
    a->cfg.mem->invalidate = accel_jit_invalidate;
    a->cfg.mem->invalidate_opaque = a;
    a->cfg.mem->rom_switched = accel_jit_rom_switched;
    a->cfg.mem->rom_opaque = a;
}
