/*
 * The soft TLB of a vCPU, and the slow paths of data accesses.
 *
 * An entry maps one 4 KiB page of guest-virtual space to RAM. Generated code compares a tag and adds the addend;
 * whatever does not match comes here: misses, page crossings, device memory, tagged addresses, pages with
 * translations. Entries belong to the current ASID or are global; a change of ASID drops the non-global ones.
 *
 * Threads: only the vCPU's own thread fills and drops entries; other threads only withdraw write tags.
 */
#include "jit/rt/rt.h"

#include "vmm/core/page.h"

#define JIT_SCTLR_M BIT64(0)
#define JIT_SCTLR_A BIT64(1)
#define JIT_SCTLR_SA BIT64(3)
#define JIT_SCTLR_SA0 BIT64(4)
#define JIT_SCTLR_DZE BIT64(14)
#define JIT_TCR_A1 BIT64(22)
#define JIT_TCR_AS BIT64(36)
#define JIT_FPCR_RMODE (BIT32(22) | BIT32(23))

/* Entries of all views have one row of numbers. */
static struct jit_tlb_entry *jit_entry(struct jit_vcpu *v, unsigned n)
{
    return &v->tlb[n / JIT_TLB_SIZE][n % JIT_TLB_SIZE];
}

/* Others look at it after they have changed a page's flags, and we at the flags after we have stored a write tag: one
 * of us sees the other. Only the vCPU's own thread writes it. */
static void jit_entry_writable(struct jit_vcpu *v, unsigned n, bool on)
{
    _Atomic uint64_t *word = &v->writable[n / 64];
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed), bit = BIT64(n % 64);

    if ((bool)(old & bit) != on)
        atomic_store_explicit(word, old ^ bit, on ? memory_order_seq_cst : memory_order_release);
}

static void jit_entry_drop(struct jit_vcpu *v, unsigned n)
{
    struct jit_tlb_entry *e = jit_entry(v, n);

    e->r = JIT_TLB_NONE;
    e->x = JIT_TLB_NONE;
    atomic_store_explicit(&e->w, JIT_TLB_NONE, memory_order_relaxed);
    jit_entry_writable(v, n, false);
}

static void jit_tlb_drop_entries(struct jit_vcpu *v)
{
    if (v->tlb_empty)
        return;
    v->tlb_empty = true;
    for (unsigned i = 0; i < JIT_TLB_ENTRIES; i++)
        jit_entry_drop(v, i);
    v->low_count = 0;
    v->high_ng = false;
    memset(v->large_2m, 0, sizeof(v->large_2m));
    memset(v->large_1g, 0, sizeof(v->large_1g));
}

/* Drops the entries of the lower half, a process's. A short-lived one has few, and the kernel's are worth keeping. */
static void jit_tlb_drop_low(struct jit_vcpu *v)
{
    if (v->low_count <= JIT_TLB_LOG) {
        for (unsigned i = 0; i < v->low_count; i++)
            jit_entry_drop(v, v->low[i]);
    } else {
        for (unsigned i = 0; i < JIT_TLB_ENTRIES; i++) {
            const struct jit_tlb_entry *e = jit_entry(v, i);
            uint64_t w = atomic_load_explicit(&e->w, memory_order_relaxed);
            if (!((e->r | w | e->x) >> 63))
                jit_entry_drop(v, i);
        }
    }
    v->low_count = 0;
    memset(v->large_2m[0], 0, sizeof(v->large_2m[0]));
    memset(v->large_1g[0], 0, sizeof(v->large_1g[0]));
}

/* Drops the entries that are not global, and perhaps others. */
static void jit_tlb_drop_ng(struct jit_vcpu *v)
{
    if (unlikely(v->high_ng))
        jit_tlb_drop_entries(v);
    else
        jit_tlb_drop_low(v);
}

static void jit_tlb_flush_all(struct jit_vcpu *v)
{
    atomic_store_explicit(&v->remapped, true, memory_order_relaxed);
    jit_tlb_drop_entries(v);
    memset(v->exec_2m, 0, sizeof(v->exec_2m));
    memset(v->exec_1g, 0, sizeof(v->exec_1g));
    v->exec_el1_ng = v->exec_el0_global = false;
    jit_jc_forget(v);
    atomic_store_explicit(&v->low_global, false, memory_order_release);
    jit_salt_select(v);
}

/* ---- context ---- */

static uint32_t jit_context(const struct arm64_cpu *c)
{
    unsigned fpen = c->sys.cpacr_el1 >> 20 & 3;
    uint32_t ctx = 0;

    if (c->el) {
        ctx |= JIT_CTX_EL1;
        if (c->pstate_misc & PSTATE_PAN)
            ctx |= JIT_CTX_PAN;
        if (c->pstate_misc & PSTATE_UAO)
            ctx |= JIT_CTX_UAO;
        if (c->spsel)
            ctx |= JIT_CTX_SPSEL;
        if (fpen & 1)
            ctx |= JIT_CTX_FP;
    } else if (fpen == 3) {
        ctx |= JIT_CTX_FP;
    }
    if (c->sys.sctlr_el1 & (c->el ? JIT_SCTLR_SA : JIT_SCTLR_SA0))
        ctx |= JIT_CTX_SPALIGN;
    if (c->el || (c->sys.sctlr_el1 & JIT_SCTLR_DZE))
        ctx |= JIT_CTX_ZVA;
    if (!(c->fpcr & ~JIT_FPCR_RMODE))
        ctx |= JIT_CTX_FPFAST;
    return ctx;
}

void jit_context_update(struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;
    uint64_t ttbr = c->sys.tcr_el1 & JIT_TCR_A1 ? c->sys.ttbr1_el1 : c->sys.ttbr0_el1;
    uint16_t asid = (uint16_t)(c->sys.tcr_el1 & JIT_TCR_AS ? ttbr >> 48 : ttbr >> 48 & 0xff);
    uint64_t ttbr1 = c->sys.ttbr1_el1 & (BIT64(48) - 1);

    v->ctx = jit_context(c);
    v->view = !c->el ? JIT_VIEW_EL0 : v->ctx & JIT_CTX_PAN ? JIT_VIEW_EL1_PAN : JIT_VIEW_EL1;
    if (unlikely(c->sys.sctlr_el1 != v->sctlr || c->sys.tcr_el1 != v->tcr || c->sys.mair_el1 != v->mair)) {
        v->sctlr = c->sys.sctlr_el1;
        v->tcr = c->sys.tcr_el1;
        v->mair = c->sys.mair_el1;
        v->strict_align = v->sctlr & JIT_SCTLR_A;
        v->tbi[0] = (v->sctlr & JIT_SCTLR_M) && (v->tcr & BIT64(37));
        v->tbi[1] = (v->sctlr & JIT_SCTLR_M) && (v->tcr & BIT64(38));
        v->asid = asid;
        v->ttbr1 = ttbr1;
        jit_tlb_flush_all(v);
        return;
    }
    if (unlikely(asid != atomic_load_explicit(&v->asid, memory_order_relaxed))) {
        /* Who queues maintenance of this address space looks at it afterwards: one of us sees the other. */
        atomic_store(&v->asid, asid);
        atomic_store_explicit(&v->remapped, true, memory_order_relaxed);
        jit_tlb_drop_ng(v);
        if (v->exec_el1_ng)
            jit_salts_drop(v, true, true, 0);
        if (atomic_load(&v->tlbi_queued))
            jit_tlbi_apply(v);
    }
    if (unlikely(ttbr1 != v->ttbr1)) {
        v->ttbr1 = ttbr1;
        atomic_store_explicit(&v->remapped, true, memory_order_relaxed);
        jit_salts_drop(v, true, true, 0);
    }
    jit_salt_select(v);
}

/* ---- TLB maintenance ---- */

static void jit_tlb_drop_page(struct jit_vcpu *v, uint64_t va)
{
    unsigned half = va >> 63;

    if (jit_bloom_has(v->large_2m[half], sizeof(v->large_2m[half]), va >> 21) ||
        jit_bloom_has(v->large_1g[half], sizeof(v->large_1g[half]), va >> 30)) {
        if (half)
            jit_tlb_drop_entries(v);
        else
            jit_tlb_drop_low(v);
        return;
    }
    for (unsigned i = 0; i < JIT_VIEWS; i++)
        jit_entry_drop(v, i * JIT_TLB_SIZE + jit_tlb_index(va));
}

#define JIT_FLUSH_JC_PAGES 16 /* where more pages with code than this go, their address space's salt does */

static void jit_flush_pages(struct jit_vcpu *v, const struct jit_tlbi_request *r)
{
    bool high = r->va >> 63, drop = false;
    unsigned exec = 0;

    if (r->pages > 512) {
        jit_tlb_flush_all(v);
        return;
    }
    for (uint64_t i = 0; i < r->pages; i++) {
        uint64_t va = r->va + (i << 12);
        jit_tlb_drop_page(v, va);
        drop |= jit_bloom_has(v->exec_2m, sizeof(v->exec_2m), va >> 21) ||
                jit_bloom_has(v->exec_1g, sizeof(v->exec_1g), va >> 30);
        if (jit_bloom_has(v->exec_pages, sizeof(v->exec_pages), va >> 12) && ++exec <= JIT_FLUSH_JC_PAGES) {
            jit_jc_drop_page(v, false, va);
            if (high)
                jit_jc_drop_page(v, true, va);
        }
    }
    /* Code of the upper half that was looked up since the last ISB is in one of these. */
    if (!high || drop || exec)
        atomic_store_explicit(&v->remapped, true, memory_order_relaxed);
    if (drop || exec > JIT_FLUSH_JC_PAGES) {
        /* EL1's salts serve the upper half only. */
        if (high)
            jit_salts_drop(v, true, true, 0);
        /* A global page may be mapped for EL0 in every address space. */
        jit_salts_drop(v, false, high || v->exec_el0_global || r->kind == JIT_FLUSH_VAA, r->asid);
    }
}

static void jit_flush_one(struct jit_vcpu *v, const struct jit_tlbi_request *r)
{
    switch (r->kind) {
    case JIT_FLUSH_ASID:
        atomic_store_explicit(&v->remapped, true, memory_order_relaxed);
        if (r->asid == v->asid)
            jit_tlb_drop_ng(v);
        jit_salts_drop(v, false, false, r->asid);
        if (v->exec_el1_ng)
            jit_salts_drop(v, true, true, 0);
        break;
    case JIT_FLUSH_VA:
    case JIT_FLUSH_VAA: jit_flush_pages(v, r); break;
    default: jit_tlb_flush_all(v); break;
    }
}

/* Takes over what other vCPUs posted; on the vCPU's own thread, outside of generated code. */
void jit_tlbi_apply(struct jit_vcpu *v)
{
    struct jit_tlbi_request q[JIT_TLBI_QUEUE];
    unsigned n;

    jit_lock(&v->tlbi_lock);
    n = v->tlbi_count;
    if (n <= JIT_TLBI_QUEUE)
        memcpy(q, v->tlbi, n * sizeof(q[0]));
    v->tlbi_count = 0;
    if (n > JIT_TLBI_QUEUE) {
        jit_tlb_flush_all(v);
    } else {
        for (unsigned i = 0; i < n; i++)
            jit_flush_one(v, &q[i]);
        if (n)
            jit_salt_select(v);
    }
    /* Released only when done: whoever waits in a DSB looks at this without the lock. */
    atomic_store_explicit(&v->tlbi_queued, 0, memory_order_relaxed);
    atomic_store_explicit(&v->tlbi_pending, 0, memory_order_release);
    jit_unlock(&v->tlbi_lock);
}

/* Is the request about an address space that the vCPU is not in? What it remembers of that is code by salt, which it
 * will not look at before it enters it. */
static bool jit_tlbi_elsewhere(const struct jit_vcpu *o, const struct jit_tlbi_request *r)
{
    return (r->kind == JIT_FLUSH_ASID || (r->kind == JIT_FLUSH_VA && !(r->va >> 63) && !atomic_load(&o->low_global))) &&
           atomic_load(&o->asid) != r->asid;
}

static void jit_tlbi_add(struct jit_vcpu *o, struct jit_tlbi_request r)
{
    if (o->tlbi_count > JIT_TLBI_QUEUE / 2 && jit_tlbi_elsewhere(o, &r))
        r = (struct jit_tlbi_request){.kind = JIT_FLUSH_ASID, .asid = r.asid};
    for (unsigned i = 0; i < MIN(o->tlbi_count, (unsigned)JIT_TLBI_QUEUE); i++) {
        const struct jit_tlbi_request *q = &o->tlbi[i];
        if (q->kind == r.kind && q->asid == r.asid && q->va == r.va && q->pages == r.pages)
            return;
    }
    if (o->tlbi_count < JIT_TLBI_QUEUE)
        o->tlbi[o->tlbi_count++] = r;
    else
        o->tlbi_count = JIT_TLBI_QUEUE + 1;
}

/* Queues a request for another vCPU; true where it is in generated code, perhaps, which it is made to leave because it
 * may be using what goes. In one that is outside, or in another address space, the request is done before it matters.
 */
static bool jit_tlbi_queue(struct jit_vcpu *o, const struct jit_tlbi_request *r)
{
    bool urgent;

    jit_lock(&o->tlbi_lock);
    jit_tlbi_add(o, *r);
    atomic_store(&o->tlbi_queued, 1);
    urgent = !jit_tlbi_elsewhere(o, r);
    if (urgent)
        atomic_store(&o->tlbi_pending, 1);
    jit_unlock(&o->tlbi_lock);
    if (!urgent || !atomic_load(&o->in_guest))
        return false;
    atomic_fetch_or(&o->cpu.exit_request, ARM64_EXIT_SYNC);
    return true;
}

/* To all others. */
static void jit_tlbi_post(struct jit_vcpu *v, const struct jit_tlbi_request *r)
{
    for (struct jit_vcpu *o = v->jit->vcpus; o; o = o->next)
        if (o != v && jit_tlbi_queue(o, r))
            atomic_fetch_or(&v->dsb_work, JIT_DSB_TLBI);
}

void jit_tlbi(struct arm64_cpu *c, const struct jit_tlbi_request *r, bool broadcast)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    jit_flush_one(v, r);
    jit_salt_select(v);
    if (broadcast)
        jit_tlbi_post(v, r);
}

static bool jit_tlbi_done(struct jit *j)
{
    for (struct jit_vcpu *o = j->vcpus; o; o = o->next) {
        /* A vCPU that is outside applies its queue before it goes in. */
        if (atomic_load_explicit(&o->tlbi_pending, memory_order_seq_cst) &&
            atomic_load_explicit(&o->in_guest, memory_order_seq_cst))
            return false;
    }
    return true;
}

/* DSB: returns when every vCPU has done what TLBI asked of it. The caller is outside of guest code, so that nobody
 * waits for it meanwhile. */
void jit_tlbi_wait(struct jit_vcpu *v)
{
    while (!jit_tlbi_done(v->jit))
        jit_host_yield();
}

/* Withdraws write tags of up to 64 entries from number `first` on. */
static void jit_entries_protect(struct jit_vcpu *v, unsigned first, uint64_t which, const uint8_t *host_page)
{
    for (; which; which &= which - 1) {
        struct jit_tlb_entry *e = jit_entry(v, first + (unsigned)__builtin_ctzll(which));
        uint64_t w = atomic_load_explicit(&e->w, memory_order_acquire);
        if (w != JIT_TLB_NONE &&
            w + atomic_load_explicit(&e->addend, memory_order_relaxed) == (uint64_t)(uintptr_t)host_page)
            atomic_store_explicit(&e->w, JIT_TLB_NONE, memory_order_seq_cst);
    }
}

/* Withdraws fast write access to a page of RAM from all vCPUs. */
static void jit_tlb_protect(struct jit *j, const uint8_t *host_page)
{
    for (struct jit_vcpu *v = j->vcpus; v; v = v->next)
        for (unsigned i = 0; i < ARRAY_SIZE(v->writable); i++)
            jit_entries_protect(v, i * 64, atomic_load_explicit(&v->writable[i], memory_order_seq_cst), host_page);
}

void jit_write_protect(struct jit *j)
{
    for (struct jit_vcpu *v = j->vcpus; v; v = v->next)
        for (unsigned k = 0; k < JIT_TLB_ENTRIES; k++)
            atomic_store_explicit(&jit_entry(v, k)->w, JIT_TLB_NONE, memory_order_relaxed);
}

void jit_drop_rom(struct arm64_cpu *c)
{
    const struct jit_tlbi_request all = {.kind = JIT_FLUSH_ALL};
    struct jit_vcpu *v = jit_vcpu_of(c);

    if (!atomic_exchange(&v->jit->rom_read, false))
        return;
    for (unsigned k = 0; k < JIT_VIEWS * JIT_TLB_SIZE; k++)
        (&v->tlb[0][0] + k)->r = JIT_TLB_NONE;
    jit_tlbi_post(v, &all);
}

void jit_loaded(struct arm64_cpu *c)
{
    const struct jit_tlbi_request all = {.kind = JIT_FLUSH_ALL};

    jit_reset(c);
    jit_tlbi(c, &all, false);
}

/* ---- filling ---- */

static uint64_t jit_untag(const struct jit_vcpu *v, uint64_t va)
{
    bool high = va >> 55 & 1;
    return v->tbi[high] ? (uint64_t)sext64(va, 56) : va;
}

/* One resolved page: host is NULL for device memory. */
struct jit_place {
    uint8_t *host; /* of va */
    atomic_uchar *flags;
    uint64_t pa;
    bool device; /* Device type: alignment matters */
};

static const uint8_t jit_perm[3][2] = {
    {ARM64_PERM_R0, ARM64_PERM_R1}, {ARM64_PERM_W0, ARM64_PERM_W1}, {ARM64_PERM_X0, ARM64_PERM_X1}};

/* Code that runs from ROM reads what lies beside it at full speed. A mapping that nothing runs from is its driver's,
 * who sends it commands: there each access asks what the ROM is at the moment. */
static void jit_tlb_fill_rom(struct jit_vcpu *v, struct jit_tlb_entry *e, uint64_t page, const struct jit_place *p,
                             bool read)
{
    const struct jit_mem_ops *ops = v->jit->mem;
    atomic_uchar *flags;

    if (!read || e->x == JIT_TLB_NONE)
        return;
    e->r = page;
    /* jit_drop_rom looks here after the ROM has become a device's: one of us sees the other. */
    atomic_store(&v->jit->rom_read, true);
    if (!ops->ram_page(ops->opaque, p->pa & ~UINT64_C(0xfff), &flags))
        e->r = JIT_TLB_NONE;
}

static void jit_tlb_fill(struct jit_vcpu *v, enum jit_view view, uint64_t va, const struct jit_xlat *x,
                         const struct jit_place *p)
{
    unsigned n = view * JIT_TLB_SIZE + jit_tlb_index(va);
    struct jit_tlb_entry *e = jit_entry(v, n);
    uint64_t page = va & ~UINT64_C(0xfff);
    unsigned el = view != JIT_VIEW_EL0;
    /* PAN takes data access at EL1 away from pages that EL0 can reach. */
    bool pan = view == JIT_VIEW_EL1_PAN && (x->perm & (ARM64_PERM_R0 | ARM64_PERM_W0));
    bool data = !x->device && !v->strict_align && !pan;
    bool rom = atomic_load_explicit(p->flags, memory_order_relaxed) & MEM_PAGE_ROM;

    v->tlb_empty = false;
    jit_entry_drop(v, n);
    atomic_store_explicit(&e->addend, (uint64_t)(uintptr_t)p->host - va, memory_order_relaxed);
    if (x->perm & jit_perm[2][el])
        e->x = page;
    if (rom)
        jit_tlb_fill_rom(v, e, page, p, data && (x->perm & jit_perm[0][el]));
    else if (data && (x->perm & jit_perm[0][el]))
        e->r = page;
    if (!rom && data && (x->perm & jit_perm[1][el])) {
        unsigned char f = atomic_load_explicit(p->flags, memory_order_relaxed);
        if ((f & (MEM_PAGE_WRITABLE | MEM_PAGE_DIRTY)) != (MEM_PAGE_WRITABLE | MEM_PAGE_DIRTY))
            atomic_fetch_or(p->flags, MEM_PAGE_WRITABLE | MEM_PAGE_DIRTY);
        jit_entry_writable(v, n, true);
        atomic_store_explicit(&e->w, page, memory_order_seq_cst);
        /* jit_tlb_protect sets the flag first and sweeps afterwards: one of us sees the other. */
        if (atomic_load_explicit(p->flags, memory_order_seq_cst) & MEM_PAGE_CODE)
            atomic_store_explicit(&e->w, JIT_TLB_NONE, memory_order_seq_cst);
    }
    if (!(va >> 63)) {
        if (v->low_count < JIT_TLB_LOG)
            v->low[v->low_count] = (uint16_t)n;
        v->low_count += v->low_count <= JIT_TLB_LOG;
    } else if (x->ng) {
        v->high_ng = true;
    }
    if (e->x != JIT_TLB_NONE) {
        v->exec_el1_ng |= el && x->ng && va >> 63;
        v->exec_el0_global |= !el && !x->ng && !(va >> 63);
    }
    if (x->page_bits > 12) {
        bool big = x->page_bits > 21;
        unsigned half = va >> 63;
        jit_bloom_add(big ? v->large_1g[half] : v->large_2m[half],
                      big ? sizeof(v->large_1g[half]) : sizeof(v->large_2m[half]), va >> (big ? 30 : 21));
        if (e->x != JIT_TLB_NONE)
            jit_bloom_add(big ? v->exec_1g : v->exec_2m, big ? sizeof(v->exec_1g) : sizeof(v->exec_2m),
                          va >> (big ? 30 : 21));
    }
}

/* Is the place of one in the lower half that is global to be looked up again? Others take the lower half's entries for
 * those of our address space until they are told; one who changed this place before that knows nothing of us. */
static bool jit_first_low_global(struct jit_vcpu *v, uint64_t va, const struct jit_xlat *x)
{
    if (likely(x->ng || jit_untag(v, va) >> 63) || atomic_load_explicit(&v->low_global, memory_order_relaxed))
        return false;
    atomic_store(&v->low_global, true);
    return true;
}

/* Resolves va for one kind of access (0 read, 1 write, 2 fetch), filling the TLB; A64_TRAPPED after an abort. */
static int jit_resolve(struct jit_vcpu *v, uint64_t va, unsigned acc, enum jit_view view, struct jit_place *p)
{
    const struct jit_mem_ops *ops = v->jit->mem;
    struct jit_xlat x;
    uint8_t *page;

    do {
        if (ops->translate(&v->cpu, va, acc, view != JIT_VIEW_EL0, &x))
            return A64_TRAPPED;
    } while (jit_first_low_global(v, va, &x));
    page = ops->ram_page(ops->opaque, x.pa & ~UINT64_C(0xfff), &p->flags);
    if (page && acc == 1 && (atomic_load_explicit(p->flags, memory_order_relaxed) & MEM_PAGE_ROM))
        page = NULL;
    p->pa = x.pa;
    p->device = x.device;
    p->host = page ? page + (x.pa & 0xfff) : NULL;
    /* Also where no entry will be filled, or not a writable one. */
    if (page && acc == 1 && !(atomic_load_explicit(p->flags, memory_order_relaxed) & MEM_PAGE_DIRTY))
        atomic_fetch_or(p->flags, MEM_PAGE_DIRTY);
    if (page)
        jit_tlb_fill(v, view, jit_untag(v, va), &x, p);
    return 0;
}

static enum jit_view jit_access_view(const struct jit_vcpu *v, unsigned flags)
{
    if ((flags & A64_MEM_UNPRIV) && v->cpu.el && !(v->cpu.pstate_misc & PSTATE_UAO))
        return JIT_VIEW_EL0;
    return v->view;
}

/* A data access within one page. The hit path serves the interpreter and tagged addresses. */
static int jit_place_of(struct jit_vcpu *v, uint64_t va, unsigned acc, enum jit_view view, struct jit_place *p)
{
    uint64_t u = jit_untag(v, va);
    struct jit_tlb_entry *e = &v->tlb[view][jit_tlb_index(u)];
    uint64_t tag = acc ? atomic_load_explicit(&e->w, memory_order_relaxed) : e->r;

    if (likely(tag == (u & ~UINT64_C(0xfff)))) {
        p->host = (uint8_t *)(uintptr_t)(u + atomic_load_explicit(&e->addend, memory_order_relaxed));
        p->flags = NULL; /* nothing to look after: write tags are withheld from pages with translations */
        p->device = false;
        return 0;
    }
    return jit_resolve(v, va, acc, view, p);
}

const uint8_t *jit_fetch_ptr(struct jit_vcpu *v, uint64_t pc)
{
    struct jit_tlb_entry *e = &v->tlb[v->view][jit_tlb_index(pc)];
    struct jit_place p;

    if (likely(e->x == (pc & ~UINT64_C(0xfff))))
        return (const uint8_t *)(uintptr_t)(pc + atomic_load_explicit(&e->addend, memory_order_relaxed));
    if (jit_resolve(v, pc, 2, v->view, &p))
        return NULL;
    if (!p.host) {
        /* Instruction fetch from device memory: let the bus refuse it as an external abort. */
        v->jit->mem->fetch_abort(&v->cpu, pc);
        return NULL;
    }
    return p.host;
}

/* ---- accesses ---- */

/* To or from guest memory, up to 16 bytes. What it means that others access the same place is the guest's business, so
 * the thread sanitizer has nothing to see here. */
__attribute__((no_sanitize_thread)) static void jit_copy(void *dst, const void *src, unsigned size)
{
    switch (size) {
    case 1: *(uint8_t *)dst = *(const volatile uint8_t *)src; break;
    case 2: {
        uint16_t t;
        memcpy(&t, src, 2);
        memcpy(dst, &t, 2);
        break;
    }
    case 4: {
        uint32_t t;
        memcpy(&t, src, 4);
        memcpy(dst, &t, 4);
        break;
    }
    case 8: {
        uint64_t t;
        memcpy(&t, src, 8);
        memcpy(dst, &t, 8);
        break;
    }
    case 16: __builtin_memcpy(dst, src, 16); break;
    default:
        for (unsigned i = 0; i < size; i++)
            ((uint8_t *)dst)[i] = ((const volatile uint8_t *)src)[i];
        break;
    }
}

void jit_written(struct jit_vcpu *v, const uint8_t *host, unsigned size, const atomic_uchar *flags)
{
    if (likely(!flags))
        return;
    /* Who translates sets the flag, and reads the instructions afterwards: one of us sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(flags, memory_order_relaxed) & MEM_PAGE_CODE)
        jit_invalidate(v->jit, host, size);
}

/* Alignment rules (Arm ARM B2.8): a64 data accesses may be unaligned in Normal memory unless SCTLR.A. */
static bool jit_misaligned(const struct jit_vcpu *v, uint64_t va, unsigned size, unsigned flags, bool device)
{
    unsigned unit = flags & A64_MEM_PAIR ? size / 2 : size;

    if (flags & A64_MEM_ALIGNED)
        return va & (size - 1);
    return (v->strict_align || device) && (va & (unit - 1));
}

static int jit_align_fault(struct jit_vcpu *v, uint64_t va, bool write)
{
    v->jit->mem->align_fault(&v->cpu, va, write);
    return A64_TRAPPED;
}

/* Device memory in pieces of at most 8 bytes; size is 1, 2, 4, 8 or 16 (or what a page crossing left over). */
static int jit_mmio(struct jit_vcpu *v, uint64_t va, uint64_t pa, unsigned size, uint8_t *buf, bool write)
{
    for (unsigned done = 0; done < size;) {
        unsigned n = MIN(size - done, 8u);
        uint64_t val = 0;

        while (!is_pow2(n) || ((pa + done) & (n - 1)))
            n = n > 4 ? 4 : n > 2 ? 2 : 1;
        if (write) {
            memcpy(&val, buf + done, n);
            if (v->jit->mem->mmio_write(&v->cpu, va + done, pa + done, n, val))
                return A64_TRAPPED;
        } else {
            if (v->jit->mem->mmio_read(&v->cpu, va + done, pa + done, n, &val))
                return A64_TRAPPED;
            memcpy(buf + done, &val, n);
        }
        done += n;
    }
    return 0;
}

/* An access that crosses a page: both pages are resolved before anything is read or written. */
static int jit_access_split(struct jit_vcpu *v, uint64_t va, unsigned size, uint8_t *buf, bool write,
                            enum jit_view view)
{
    unsigned first = 4096 - (unsigned)(va & 0xfff);
    struct jit_place p[2];

    for (unsigned i = 0; i < 2; i++) {
        uint64_t a = i ? va + first : va;
        if (jit_place_of(v, a, write, view, &p[i]))
            return A64_TRAPPED;
        if (p[i].device)
            return jit_align_fault(v, a, write);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *part = i ? buf + first : buf;
        unsigned n = i ? size - first : first;
        if (!p[i].host) {
            if (jit_mmio(v, i ? va + first : va, p[i].pa, n, part, write))
                return A64_TRAPPED;
        } else if (write) {
            jit_copy(p[i].host, part, n);
            jit_written(v, p[i].host, n, p[i].flags);
        } else {
            jit_copy(part, p[i].host, n);
        }
    }
    return 0;
}

int jit_load(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    enum jit_view view = jit_access_view(v, flags);
    struct jit_place p;

    if (unlikely(jit_misaligned(v, va, size, flags, false)))
        return jit_align_fault(v, va, false);
    if (unlikely((va & 0xfff) + size > 4096))
        return jit_access_split(v, va, size, dst, false, view);
    if (jit_place_of(v, va, 0, view, &p))
        return A64_TRAPPED;
    if (unlikely(p.device) && jit_misaligned(v, va, size, flags, true))
        return jit_align_fault(v, va, false);
    if (unlikely(!p.host))
        return jit_mmio(v, va, p.pa, size, dst, false);
    jit_copy(dst, p.host, size);
    return 0;
}

int jit_store(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    enum jit_view view = jit_access_view(v, flags);
    struct jit_place p;
    uint8_t buf[16];

    if (unlikely(jit_misaligned(v, va, size, flags, false)))
        return jit_align_fault(v, va, true);
    if (unlikely((va & 0xfff) + size > 4096)) {
        memcpy(buf, src, size);
        return jit_access_split(v, va, size, buf, true, view);
    }
    if (jit_place_of(v, va, 1, view, &p))
        return A64_TRAPPED;
    if (unlikely(p.device) && jit_misaligned(v, va, size, flags, true))
        return jit_align_fault(v, va, true);
    if (unlikely(!p.host)) {
        memcpy(buf, src, size);
        return jit_mmio(v, va, p.pa, size, buf, true);
    }
    /* Store-release and plain stores alike: x86 keeps stores in order; STLR's later loads wait in the caller. */
    jit_copy(p.host, src, size);
    jit_written(v, p.host, size, p.flags);
    if (flags & A64_MEM_RELEASE)
        atomic_thread_fence(memory_order_seq_cst);
    return 0;
}

int jit_check(struct arm64_cpu *c, uint64_t va, bool write, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    struct jit_place p;

    return jit_place_of(v, va, write, jit_access_view(v, flags), &p);
}

const uint8_t *jit_readable(struct arm64_cpu *c, uint64_t va)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    uint64_t u = jit_untag(v, va);
    const struct jit_tlb_entry *e = &v->tlb[v->view][jit_tlb_index(u)];

    if (e->r != (u & ~UINT64_C(0xfff)))
        return NULL;
    return (const uint8_t *)(uintptr_t)(u + atomic_load_explicit(&e->addend, memory_order_relaxed));
}

int jit_zero_block(struct arm64_cpu *c, uint64_t va)
{
    static const uint8_t zero[JIT_ZVA_SIZE];
    struct jit_vcpu *v = jit_vcpu_of(c);
    struct jit_place p;

    /* A fault reports the address in the register (FAR_EL1); the block is in the same page. */
    if (jit_place_of(v, va, 1, v->view, &p))
        return A64_TRAPPED;
    /* An implementation may refuse Device memory (Arm ARM, DC ZVA); RAM that is only mapped so, as all is with the MMU
     * off, is zeroed. */
    if (!p.host)
        return jit_align_fault(v, va, true);
    p.host -= va & (JIT_ZVA_SIZE - 1);
    for (unsigned i = 0; i < sizeof(zero); i += 16)
        jit_copy(p.host + i, zero, 16);
    jit_written(v, p.host, sizeof(zero), p.flags);
    return 0;
}

int jit_atomic_ptr(struct jit_vcpu *v, uint64_t va, unsigned size, unsigned flags, uint8_t **host,
                   atomic_uchar **pflags)
{
    enum jit_view view = jit_access_view(v, flags);
    struct jit_place p;

    if (va & (size - 1))
        return jit_align_fault(v, va, true);
    if (jit_place_of(v, va, 1, view, &p))
        return A64_TRAPPED;
    if (!p.host) {
        /* Atomics are for memory (Arm ARM B2.2): an unsupported exclusive or atomic on a device. */
        v->jit->mem->atomic_fault(&v->cpu, va);
        return A64_TRAPPED;
    }
    *host = p.host;
    *pflags = p.flags;
    return 0;
}

/* ---- called by generated code ---- */

static unsigned jit_mem_flags(uint32_t info)
{
    return (info & JIT_MEM_UNPRIV ? A64_MEM_UNPRIV : 0) | (info & JIT_MEM_ALIGNED ? A64_MEM_ALIGNED : 0) |
           (info & JIT_MEM_PAIR ? A64_MEM_PAIR : 0);
}

/* The addend for all that tier 1 has yet to access around va, now that the page is in the TLB; zero: not to be had. */
static uint64_t jit_share(const struct jit_vcpu *v, uint64_t va, uint32_t info)
{
    uint64_t first = va - (info >> JIT_MEM_BELOW_SHIFT & JIT_MEM_REACH_MASK) * 8;
    uint64_t last = va + (info >> JIT_MEM_ABOVE_SHIFT & JIT_MEM_REACH_MASK) * 8 - 1;
    const struct jit_tlb_entry *e = &v->tlb[v->view][jit_tlb_index(first)];
    uint64_t tag = info & JIT_MEM_STORE ? atomic_load_explicit(&e->w, memory_order_relaxed) : e->r;

    return tag == (first & ~UINT64_C(0xfff)) && tag == (last & ~UINT64_C(0xfff))
               ? atomic_load_explicit(&e->addend, memory_order_relaxed)
               : 0;
}

static uint32_t jit_mem_access(struct jit_vcpu *v, uint64_t va, uint32_t info)
{
    unsigned shift = info & JIT_MEM_SIZE, size = 1u << shift, total = info & JIT_MEM_PAIR ? size * 2 : size;
    unsigned flags = jit_mem_flags(info);
    uint64_t val;

    /* A pair of Q registers: two accesses, and the first may have been done when the second traps, as on hardware. */
    if (total == 32) {
        for (unsigned i = 0; i < 32; i += 16) {
            if (info & JIT_MEM_STORE ? jit_store(&v->cpu, va + i, 16, v->slow + i, flags & ~A64_MEM_PAIR)
                                     : jit_load(&v->cpu, va + i, 16, v->slow + i, flags & ~A64_MEM_PAIR))
                return 1;
        }
        return 0;
    }
    if (info & JIT_MEM_STORE) {
        /* Aligned stores are releases: STLR. */
        return (uint32_t)jit_store(&v->cpu, va, total, v->slow,
                                   info & JIT_MEM_ALIGNED ? flags | A64_MEM_RELEASE : flags);
    }
    memset(v->slow, 0, 16);
    if (jit_load(&v->cpu, va, total, v->slow, flags))
        return 1;
    if (!(info & JIT_MEM_PAIR)) {
        if (info & (JIT_MEM_SIGN | JIT_MEM_SIGN32)) {
            val = (uint64_t)sext64(le64_get(v->slow), 8u << shift);
            le64_put(v->slow, info & JIT_MEM_SIGN32 ? (uint32_t)val : val);
        }
    } else if (shift == 2) {
        /* Two words: widened to two registers. */
        uint32_t lo = le32_get(v->slow), hi = le32_get(v->slow + 4);
        bool sign = info & JIT_MEM_SIGN;
        le64_put(v->slow, sign ? (uint64_t)(int32_t)lo : lo);
        le64_put(v->slow + 8, sign ? (uint64_t)(int32_t)hi : hi);
    }
    return 0;
}

uint32_t jit_helper_mem(struct jit_vcpu *v, uint64_t va, uint32_t info)
{
    if (jit_mem_access(v, va, info))
        return 1;
    if (info >> JIT_MEM_ABOVE_SHIFT)
        v->share = jit_share(v, va, info);
    return 0;
}

/* ---- what the code cache asks ---- */

#define JIT_EC_ILLEGAL 0x0e /* ESR_EL1.EC */

/* With PSTATE.IL set, by an illegal exception return, an instruction that could be fetched raises an Illegal Execution
 * state exception (Arm ARM D1.3.3, D1.4.3). Only ERET sets it, and ERET always comes back to the run loop. */
static bool jit_illegal_state(struct arm64_cpu *c)
{
    if (likely(!(c->pstate_misc & PSTATE_IL)))
        return false;
    c->ops->exception(c, JIT_EC_ILLEGAL, 0, 0);
    return true;
}

static const uint8_t *jit_fetch(struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;
    const uint8_t *host;

    /* Branch targets lose an ignored top byte (Arm ARM, AArch64.BranchAddr). */
    if (v->tbi[c->pc >> 55 & 1])
        c->pc = (uint64_t)sext64(c->pc, 56);
    if (c->pc & 3) {
        v->jit->mem->pc_align_fault(c);
        return NULL;
    }
    host = jit_fetch_ptr(v, c->pc);
    return host && !jit_illegal_state(c) ? host : NULL;
}

static unsigned jit_read(const uint8_t *host, uint32_t *insn, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        insn[i] = jit_insn(host + i * 4);
    return n;
}

static uint64_t jit_plain(struct jit_vcpu *v, uint64_t va, bool write, unsigned flags)
{
    struct jit_place p;

    if (v->strict_align || jit_place_of(v, va, write, jit_access_view(v, flags), &p) || p.device)
        return 0;
    return (uint64_t)(uintptr_t)p.host;
}

/*
 * The guest is told that written code needs no IC (CTR_EL0.DIC), but a DSB. A store may go to a page that had no
 * translations when its place was looked up, an instruction or a whole block before, and has some from another vCPU
 * now. So the others' next DSB looks at the page again, and what they store after that goes by new look-ups.
 */
static void jit_recheck_post(struct jit_vcpu *v, uint32_t page)
{
    for (struct jit_vcpu *o = v->jit->vcpus; o; o = o->next) {
        if (o == v)
            continue;
        if (o->nrecheck < JIT_RECHECK)
            o->recheck[o->nrecheck++] = page;
        else
            o->nrecheck = JIT_RECHECK + 1;
        atomic_fetch_or(&o->dsb_work, JIT_DSB_RECHECK); /* before we read the page */
    }
}

static void jit_page_add(struct jit_vcpu *v, struct jit_page *p)
{
    struct jit *j = v->jit;

    if (!p->flags)
        p->flags = j->mem->page_flags(j->mem->opaque, p->host);
    /* The flag first, then the sweep, then the reading: a store that comes later takes the slow path. No sweep for what
     * only devices have written, as most of files: jit_tlb_fill sets the flag WRITABLE before the write tag. */
    if ((atomic_fetch_or(p->flags, MEM_PAGE_CODE) & (MEM_PAGE_CODE | MEM_PAGE_WRITABLE)) == MEM_PAGE_WRITABLE) {
        jit_tlb_protect(j, p->host);
        jit_recheck_post(v, (uint32_t)(p - j->page));
    }
}

static void jit_page_drop(struct jit *j, struct jit_page *p)
{
    (void)j;
    if (p->flags) /* or there was no room for its first block */
        atomic_fetch_and(p->flags, (unsigned char)~MEM_PAGE_CODE);
}

const struct jit_space jit_machine_space = {
    .fetch = jit_fetch,
    .read = jit_read,
    .plain = jit_plain,
    .context_update = jit_context_update,
    .jc_insert = jit_jc_insert,
    .jc_clear = jit_jc_clear,
    .page_add = jit_page_add,
    .page_drop = jit_page_drop,
};
