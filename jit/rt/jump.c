/*
 * The jump cache of a machine's vCPU: what code a guest address means, by address space and context. rt.h has its
 * form; generated code looks here, and comes to jit_find with what it does not find.
 */
#include "jit/rt/rt.h"

static struct jit_jc_entry jit_jc_none(const struct jit *j)
{
    return (struct jit_jc_entry){.tag = JIT_JC_NONE, .code = jit_jc_miss(j)};
}

void jit_jc_clear(struct jit_vcpu *v)
{
    const struct jit_jc_entry none = jit_jc_none(v->jit);

    for (unsigned i = 0; i < ARRAY_SIZE(v->jc[0]); i++)
        v->jc[0][i] = v->jc[1][i] = none;
    memset(v->salts, 0, sizeof(v->salts));
    memset(v->exec_pages, 0, sizeof(v->exec_pages));
    atomic_store_explicit(&v->remapped, true, memory_order_relaxed); /* exec_pages does not have what goes on */
    v->salt_next = 1;
}

void jit_jc_forget(struct jit_vcpu *v)
{
    if (!v->salt_next) {
        jit_jc_clear(v); /* memory as it was mapped is no empty entry */
        return;
    }
    memset(v->salts, 0, sizeof(v->salts));
    memset(v->exec_pages, 0, sizeof(v->exec_pages));
}

void jit_salts_drop(struct jit_vcpu *v, bool el1, bool any_asid, uint16_t asid)
{
    for (unsigned i = 0; i < JIT_SALTS; i++) {
        struct jit_salt *s = &v->salts[i];
        if (s->id && (bool)(s->ctx & JIT_CTX_EL1) == el1 && (any_asid || s->asid == asid))
            s->id = 0;
    }
}

void jit_salt_select(struct jit_vcpu *v)
{
    bool el1 = v->ctx & JIT_CTX_EL1;
    uint16_t asid = el1 ? 0 : v->asid;
    struct jit_salt *s = &v->salts[(asid * 31u ^ v->ctx * 7u) % JIT_SALTS];

    if (!s->id || s->ctx != v->ctx || s->asid != asid) {
        if (v->salt_next > JIT_SALT_MAX)
            jit_jc_clear(v);
        *s = (struct jit_salt){.ctx = v->ctx, .asid = asid, .id = (uint16_t)v->salt_next++};
    }
    v->salt[el1] = (uint64_t)s->id << JIT_SALT_SHIFT;
}

void jit_jc_insert(struct jit_vcpu *v, uint64_t pc, const uint8_t *code)
{
    bool el1 = v->ctx & JIT_CTX_EL1;

    /* The kernel's salt does not know ASIDs, so it serves only the half that is global in practice; a change of
     * TTBR1's tables drops it. */
    if (el1 && !(pc >> 63))
        return;
    jit_jc_put(v->jc[el1], (struct jit_jc_entry){.tag = pc ^ v->salt[el1], .code = code}, jit_jc_index(pc, false),
               false);
    jit_bloom_add(v->exec_pages, sizeof(v->exec_pages), pc >> 12);
}

/* Those of one page, from e on: salts only change bits that are the entry's index. */
static void jit_jc_drop_row(const struct jit *j, struct jit_jc_entry *e, uint64_t va)
{
    for (unsigned i = 0; i < JIT_JC_PAGE; i++)
        if ((e[i].tag ^ va) >> (JIT_JC_BITS + 2) == 0)
            e[i] = jit_jc_none(j);
}

void jit_jc_drop_page(struct jit_vcpu *v, bool el1, uint64_t va)
{
    unsigned first = jit_jc_index(va & ~UINT64_C(0xfff), false);

    _Static_assert(JIT_JC_SIZE >= JIT_JC_PAGE, "the entries of a page are in a row");
    jit_jc_drop_row(v->jit, &v->jc[el1][first], va);
    jit_jc_drop_row(v->jit, &v->jc[el1][jit_jc_second(first, va, false)], va);
}
