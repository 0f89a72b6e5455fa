/*
 * The code cache: blocks, their links, and what happens when guest code changes.
 *
 * A block is known by the host address of its guest code (which stands for the physical address), its context and, in
 * user mode, its guest address; a machine's serves wherever the guest has that code. It never leaves its 4 KiB page, so
 * direct links within the page hold as long as the block itself was rightly entered; jumps to other pages go through
 * the jump cache, which TLB maintenance clears. A block whose guest code changed dies: a jump is written over the
 * five-byte no-op at its entry, first to the dispatcher and, when its successor is made, to that. Memory is given back
 * only when the whole cache is emptied, with all vCPUs outside.
 *
 * j->lock covers everything here, but that a machine's vCPUs look blocks up without it: a chain of the hash table leads
 * to ever smaller numbers, whoever changes it meanwhile, and who finds nothing looks again with the lock.
 */
#include "jit/rt/lockstep.h"
#include "jit/rt/rt.h"
#include "jit/rt/saved.h"

#include <errno.h>

#define JIT_DEFAULT_CODE_SIZE MIB(128)
#define JIT_MIN_CODE_SIZE MIB(1)

int jit_cache_init(struct jit *j, size_t size, bool user, struct err *e)
{
    int ret;

    j->size = MAX(size ? size : JIT_DEFAULT_CODE_SIZE, JIT_MIN_CODE_SIZE);
    j->max_blocks = (uint32_t)(j->size / 128);
    j->max_relocs = j->max_blocks * 8;
    ret = jit_host_code_map(&j->host, j->size, user, e);
    if (ret)
        return ret;
    j->rw = j->host.rw;
    j->rx = j->host.rx;
    j->block = jit_host_map(j->max_blocks * sizeof(*j->block));
    j->max_exits = j->max_blocks * 4;
    j->reloc = jit_host_map(j->max_relocs * sizeof(*j->reloc));
    j->exits = jit_host_map(j->max_exits * sizeof(*j->exits));
    j->max_hash_bits = JIT_HASH_BITS_FIRST;
    while (j->max_blocks >> j->max_hash_bits && j->max_hash_bits < JIT_HASH_BITS)
        j->max_hash_bits += 2;
    j->hash = jit_host_map(sizeof(*j->hash) << j->max_hash_bits);
    j->page = jit_host_map(sizeof(*j->page) * JIT_PAGES);
    j->page_hash = jit_host_map(sizeof(*j->page_hash) << JIT_PAGE_HASH_BITS);
    j->map = jit_host_map(j->size / JIT_MAP_RATIO);
    if (!j->block || !j->reloc || !j->exits || !j->hash || !j->page || !j->page_hash || !j->map) {
        jit_cache_free(j);
        return err_set(e, ENOMEM, "no room for the tables of a code cache of %zu MiB", j->size >> 20);
    }
    j->hash_bits = j->page_hash_bits = JIT_HASH_BITS_FIRST;
    j->nblocks = j->npages = 1;
    return 0;
}

void jit_cache_free(struct jit *j)
{
    jit_host_code_unmap(&j->host);
    jit_host_unmap(j->block, j->max_blocks * sizeof(*j->block));
    jit_host_unmap(j->reloc, j->max_relocs * sizeof(*j->reloc));
    jit_host_unmap(j->exits, j->max_exits * sizeof(*j->exits));
    jit_host_unmap((void *)j->hash, sizeof(*j->hash) << j->max_hash_bits);
    jit_host_unmap(j->page, sizeof(*j->page) * JIT_PAGES);
    jit_host_unmap(j->page_hash, sizeof(*j->page_hash) << JIT_PAGE_HASH_BITS);
    jit_host_unmap(j->map, j->size / JIT_MAP_RATIO);
}

/* ---- look-up ---- */

static _Atomic uint32_t *jit_bucket(struct jit *j, uint64_t pc, const uint8_t *host, uint32_t ctx)
{
    unsigned bits = atomic_load_explicit(&j->hash_bits, memory_order_relaxed);
    uint64_t h = (pc >> 2) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)(uintptr_t)host * UINT64_C(0xc2b2ae3d27d4eb4f);
    return &j->hash[(h >> 32 ^ ctx * 0x85ebca6bu) & ((1u << bits) - 1)];
}

static void jit_chain(struct jit *j, uint32_t n)
{
    struct jit_block *b = &j->block[n];
    _Atomic uint32_t *bucket = jit_bucket(j, b->pc, b->host, b->ctx);

    atomic_store_explicit(&b->hash_next, atomic_load_explicit(bucket, memory_order_relaxed), memory_order_relaxed);
    atomic_store_explicit(bucket, n, memory_order_release);
}

/* Makes the tables larger where blocks have become many. The size that a long-lived guest needs from the start would
 * cost a short one a page of memory for each block that it makes. */
static void jit_hash_grow(struct jit *j)
{
    if (j->nblocks >> j->hash_bits == 0 || j->hash_bits == j->max_hash_bits)
        return;
    for (uint32_t i = 0; i < 1u << j->hash_bits; i++)
        atomic_store_explicit(&j->hash[i], 0, memory_order_relaxed);
    j->hash_bits += 2;
    for (uint32_t i = 1; i < j->nblocks; i++)
        jit_chain(j, i);
}

/* What a block is known by of its guest address. */
static uint64_t jit_key(const struct jit *j, uint64_t pc)
{
    return j->space->user ? pc : pc & 0xfff;
}

static struct jit_block *jit_lookup(struct jit *j, uint64_t pc, const uint8_t *host, uint32_t ctx)
{
    uint32_t i = atomic_load_explicit(jit_bucket(j, pc, host, ctx), memory_order_acquire);

    while (i) {
        struct jit_block *b = &j->block[i];
        if (b->pc == pc && b->host == host && b->ctx == ctx && !atomic_load_explicit(&b->dead, memory_order_relaxed))
            return b;
        i = atomic_load_explicit(&b->hash_next, memory_order_acquire);
    }
    return NULL;
}

static uint32_t *jit_page_bucket(struct jit *j, const uint8_t *host_page)
{
    uint64_t h = (uint64_t)(uintptr_t)host_page * UINT64_C(0x9e3779b97f4a7c15);
    return &j->page_hash[h >> 40 & ((1u << j->page_hash_bits) - 1)];
}

static void jit_page_hash_grow(struct jit *j)
{
    if (j->npages >> j->page_hash_bits == 0 || j->page_hash_bits == JIT_PAGE_HASH_BITS)
        return;
    memset(j->page_hash, 0, sizeof(*j->page_hash) << j->page_hash_bits);
    j->page_hash_bits += 2;
    for (uint32_t i = 1; i < j->npages; i++) {
        uint32_t *bucket = jit_page_bucket(j, j->page[i].host);

        j->page[i].hash_next = *bucket;
        *bucket = i;
    }
}

static struct jit_page *jit_page_find(struct jit *j, const uint8_t *host_page, bool make)
{
    uint32_t *bucket;

    for (uint32_t i = *jit_page_bucket(j, host_page); i; i = j->page[i].hash_next)
        if (j->page[i].host == host_page)
            return &j->page[i];
    /* Where there is no room the caller empties the cache. */
    if (!make || j->npages == JIT_PAGES)
        return NULL;
    jit_page_hash_grow(j);
    bucket = jit_page_bucket(j, host_page);
    j->page[j->npages] = (struct jit_page){.host = host_page, .hash_next = *bucket};
    *bucket = j->npages;
    return &j->page[j->npages++];
}

static uint8_t *jit_entry_rw(struct jit *j, const struct jit_block *b)
{
    return j->rw + b->code;
}

static const uint8_t *jit_entry_rx(struct jit *j, const struct jit_block *b)
{
    return j->rx + b->code;
}

/* Replaces a no-op by a jump; other vCPUs may be running through it, so it is one aligned store. */
static void jit_redirect(uint8_t *at, const uint8_t *target_rw)
{
    int32_t d = (int32_t)(target_rw - (at + 5));
    uint64_t word;

    memcpy(&word, at, 8);
    word = (word & ~UINT64_C(0xffffffffff)) | 0xe9 | (uint64_t)(uint32_t)d << 8;
    __atomic_store_n((uint64_t *)(void *)at, word, __ATOMIC_RELEASE);
}

/* ---- making blocks ---- */

/* Sends those who still enter dead blocks with the same key to their successor. */
static void jit_forward_dead(struct jit *j, const struct jit_block *b)
{
    _Atomic uint32_t *link = jit_bucket(j, b->pc, b->host, b->ctx);

    while (*link) {
        struct jit_block *o = &j->block[*link];
        if (o->dead && o->pc == b->pc && o->host == b->host && o->ctx == b->ctx) {
            jit_redirect(jit_entry_rw(j, o), jit_entry_rw(j, b));
            atomic_store_explicit(link, o->hash_next, memory_order_release);
        } else {
            link = &o->hash_next;
        }
    }
}

/* Where saved translations of b may be: j->saved; false: nowhere, or nobody wants any. */
static bool jit_saved_look(struct jit *j, struct jit_block *b)
{
    if (j->user)
        return j->user->saved && j->user->saved(j->user->opaque, b->pc, &j->saved);
    if (!j->image.at && !j->saves)
        return false;
    b->words = jit_saved_where(j, b);
    j->saved.where = b->words;
    j->saved.image = j->image;
    return true;
}

/* Makes b's code at j->rw + b->code, from a saved translation where there is one. */
static bool jit_make_code(struct jit *j, struct jit_vcpu *v, struct jit_block *b)
{
    struct x64_emit e = {.base = j->rw + b->code, .p = j->rw + b->code, .end = j->rw + b->code + JIT_BLOCK_ROOM / 2};

    j->saved = (struct jit_saved_place){0};
    if (jit_saved_look(j, b) && jit_saved_restore(j, b)) {
        j->taken++;
        return true;
    }
    enum jit_phase was = jit_phase(v, JIT_PHASE_TRANSLATE);
    bool made = jit_tier1_translate(j, v, b, &e);

    jit_phase(v, was);
    if (!made)
        return false;
    b->code_size = (uint16_t)(e.p - e.base);
    j->made++;
    j->made_insns += b->ninsns;
    j->made_bytes += b->code_size;
    if (unlikely(v->stats)) {
        v->stats->made++;
        v->stats->size[31 - __builtin_clz(b->ninsns)]++;
    }
    if (j->saved.unsaved)
        ++*j->saved.unsaved;
    return true;
}

static void jit_tell(struct jit *j, const struct jit_block *b, uint64_t pc)
{
    if (j->tell)
        j->tell(j->tell_opaque, pc, b->ninsns, jit_entry_rx(j, b), b->code_size);
}

void jit_user_tell(struct jit *j)
{
    jit_lock(&j->lock);
    for (uint32_t i = 1; i < j->nblocks; i++) {
        if (!j->block[i].dead)
            jit_tell(j, &j->block[i], j->block[i].pc);
    }
    jit_unlock(&j->lock);
}

#define JIT_CODE_AHEAD KIB(256)

/* Room for the next block, without faults. */
static void jit_code_ahead(struct jit *j)
{
    size_t n = MIN(JIT_CODE_AHEAD, j->size - j->code_ready);

    if (likely(j->code_next + JIT_BLOCK_ROOM / 2 <= j->code_ready) || j->space->user || !n)
        return;
    jit_host_code_needed(&j->host, j->code_ready, n);
    j->code_ready += (uint32_t)n;
}

/* Translates the block at pc; NULL when the cache is full. */
static struct jit_block *jit_make(struct jit *j, struct jit_vcpu *v, uint64_t pc, const uint8_t *host)
{
    const uint8_t *host_page = (const uint8_t *)((uintptr_t)host & ~(uintptr_t)0xfff);
    struct jit_page *page = jit_page_find(j, host_page, true);
    uint32_t n = j->nblocks;
    struct jit_block *b = &j->block[n];

    if (!page || n + 1 >= j->max_blocks || j->size - j->code_next < JIT_BLOCK_ROOM ||
        j->max_relocs - j->nrelocs < JIT_BLOCK_MAX_RELOCS || j->max_exits - j->nexits < JIT_BLOCK_MAX_EXITS ||
        j->size / JIT_MAP_RATIO - j->nmap < JIT_MAP_MAX)
        return NULL;
    j->space->page_add(v, page);
    jit_hash_grow(j);
    jit_code_ahead(j);

    *b = (struct jit_block){.pc = jit_key(j, pc),
                            .host = host,
                            .ctx = v->ctx,
                            .reloc = j->nrelocs,
                            .map = j->nmap,
                            .exit = j->exits + j->nexits};
    b->code = (uint32_t)align_up(j->code_next + sizeof(struct jit_block_header), JIT_ENTRY_ALIGN);
    struct jit_block_header h = {.pc = b->pc, .block = n, .magic = 0x70697069};
    memcpy(j->rw + b->code - sizeof(h), &h, sizeof(h));
    if (!jit_make_code(j, v, b))
        return NULL;
    j->code_next = b->code + b->code_size;
    __atomic_store_n(&j->nblocks, n + 1, __ATOMIC_RELEASE); /* looked at without the lock when an access faults */
    j->nrelocs = MAX(j->nrelocs, b->reloc + b->nrelocs);
    j->nexits = MAX(j->nexits, (uint32_t)(b->exit - j->exits) + b->nexits);
    jit_tell(j, b, pc);
    jit_forward_dead(j, b);
    jit_chain(j, n);
    b->page_next = page->blocks;
    page->blocks = n;
    return b;
}

/* The block that there is; NULL where there is none. */
static struct jit_block *jit_known(struct jit *j, struct jit_vcpu *v, uint64_t pc, const uint8_t *host)
{
    struct jit_block *b = jit_lookup(j, jit_key(j, pc), host, v->ctx);

    if (unlikely(v->stats) && b)
        v->stats->found++;
    return b;
}

/* With j->lock. */
static struct jit_block *jit_get(struct jit *j, struct jit_vcpu *v, uint64_t pc, const uint8_t *host)
{
    struct jit_block *b = jit_known(j, v, pc, host);

    if (!b) {
        b = jit_make(j, v, pc, host);
        if (!b)
            v->attention |= JIT_ATTN_FLUSH;
    }
    return b;
}

/* Exceptions and returns mostly find their code as generated branches do. It may be a dead block, which comes back
 * with JIT_EXIT_LOOKUP: that must use jit_find. So must who finds an empty entry, which looks like an odd address in
 * machines and like 0 in user mode: its code takes the address from a register that only generated branches set. */
const uint8_t *jit_find_again(struct jit_vcpu *v)
{
    unsigned which = jit_jc_of(v->ctx);
    bool user = v->jit->space->user;
    uint64_t tag = v->cpu.pc ^ v->salt[which];
    unsigned first = jit_jc_index(v->cpu.pc, user);
    const struct jit_jc_entry *jc = &v->jc[which][first];

    if (jc->tag != tag)
        jc = &v->jc[which][jit_jc_second(first, tag, user)];
    if (jc->tag == tag && jc->code != jit_jc_miss(v->jit) && !(v->cpu.pstate_misc & PSTATE_IL))
        return jc->code;
    return jit_find(v);
}

/* Looks up the instruction at cpu.pc and takes j->lock, with no change of mappings in between; NULL, without the lock,
 * when an exception was taken. */
static const uint8_t *jit_fetch_locked(struct jit_vcpu *v)
{
    struct jit *j = v->jit;

    for (;;) {
        uint32_t changes = atomic_load(&j->changes);
        const uint8_t *host = j->space->fetch(v);

        if (!host)
            return NULL;
        jit_lock(&j->lock);
        if (likely(changes == atomic_load(&j->changes)))
            return host;
        jit_unlock(&j->lock);
    }
}

/* The block's code, which generated branches find from now on. */
static const uint8_t *jit_found(struct jit_vcpu *v, const struct jit_block *b)
{
    const uint8_t *code = jit_entry_rx(v->jit, b);

    if (jit_may_link(v->jit, v->cpu.pc))
        v->jit->space->jc_insert(v, v->cpu.pc, code);
    return code;
}

const uint8_t *jit_find(struct jit_vcpu *v)
{
    struct jit *j = v->jit;
    const uint8_t *host, *code;
    struct jit_block *b;

    if (!j->space->user) {
        host = j->space->fetch(v);
        if (!host)
            return NULL;
        b = jit_known(j, v, v->cpu.pc, host);
        if (b)
            return jit_found(v, b);
        jit_lock(&j->lock);
    } else {
        host = jit_fetch_locked(v);
        if (!host)
            return NULL;
    }
    b = jit_get(j, v, v->cpu.pc, host);
    code = b ? jit_found(v, b) : NULL;
    jit_unlock(&j->lock);
    return code;
}

const uint8_t *jit_link(struct jit_vcpu *v)
{
    struct jit *j = v->jit;
    struct jit_block_header h;
    struct jit_block *from, *to;
    const uint8_t *host, *code = NULL;
    uint64_t target;

    jit_lock(&j->lock);
    memcpy(&h, v->link_entry - sizeof(h), sizeof(h));
    from = &j->block[h.block];
    const struct jit_exit *x = &from->exit[v->link_exit];
    target = from->pc + (uint64_t)((int64_t)x->target * 4);
    v->cpu.pc = v->page + target;
    host = from->host + (int64_t)x->target * 4;
    if ((target ^ from->pc) >> 12 || j->nbreaks) {
        jit_unlock(&j->lock);
        host = jit_fetch_locked(v);
        if (!host)
            return NULL;
    }
    to = jit_get(j, v, v->cpu.pc, host);
    if (to) {
        code = jit_entry_rx(j, to);
        /* The displacement is aligned to four bytes, so running vCPUs see the old or the new target. */
        uint8_t *at = jit_entry_rw(j, from) + x->patch;
        if (jit_may_link(j, v->cpu.pc))
            __atomic_store_n((int32_t *)(void *)at, (int32_t)(jit_entry_rw(j, to) - (at + 4)), __ATOMIC_RELEASE);
    }
    jit_unlock(&j->lock);
    return code;
}

/* ---- blocks elsewhere ---- */

void jit_block_move(const struct jit *j, const struct jit_block *b, uint64_t from, uint64_t pc, uint32_t from_at,
                    uint32_t at, uint8_t *code)
{
    for (unsigned i = 0; i < b->nrelocs; i++) {
        const struct jit_reloc *r = &j->reloc[b->reloc + i];
        uint8_t *field = code + r->offset;

        if (r->kind == JIT_RELOC_GUEST_PC)
            le64_put(field, le64_get(field) + pc - from);
        else
            le32_put(field, le32_get(field) - (at - from_at));
    }
}

void jit_block_relocate(const struct jit *j, const struct jit_block *b, uint64_t pc, uint32_t at, uint8_t *code)
{
    memcpy(code, jit_entry_rw((struct jit *)j, b), b->code_size);
    jit_block_move(j, b, b->pc, pc, b->code, at, code);
    for (unsigned i = 0; i < b->nexits; i++)
        le32_put(code + b->exit[i].patch, (uint32_t)b->exit[i].stub - (b->exit[i].patch + 4u));
}

/* ---- guest code that changes ---- */

static void jit_kill(struct jit *j, struct jit_block *b)
{
    b->dead = true;
    atomic_fetch_add_explicit(&j->kills, 1, memory_order_relaxed);
    for (struct jit_vcpu *v = j->space->user ? NULL : j->vcpus; v; v = v->next)
        atomic_store_explicit(&v->remapped, true, memory_order_relaxed);
    jit_redirect(jit_entry_rw(j, b), jit_entry_rw(j, b) + b->dead_tail);
    if (b->loop)
        jit_redirect(jit_entry_rw(j, b) + b->loop, jit_entry_rw(j, b) + b->dead_tail + JIT_DEAD_TAIL);
}

/* Is b's guest code what it was made from? */
static bool jit_is_current(const struct jit *j, const struct jit_block *b)
{
    uint32_t insn[JIT_BLOCK_MAX_INSNS];

    j->space->read(b->host, insn, b->ninsns);
    return !memcmp(insn, j->map + b->map, b->ninsns * sizeof(*insn));
}

/* Blocks of the page with code in [host, end) die; with no end, those that are not current. */
static void jit_page_invalidate(struct jit *j, struct jit_page *page, const uint8_t *host, const uint8_t *end)
{
    uint32_t *link = &page->blocks;

    while (*link) {
        struct jit_block *b = &j->block[*link];
        if (end ? b->host < end && host < b->host + b->ninsns * 4 : !jit_is_current(j, b)) {
            jit_kill(j, b);
            *link = b->page_next;
        } else {
            link = &b->page_next;
        }
    }
    if (!page->blocks)
        j->space->page_drop(j, page);
}

void jit_invalidate(struct jit *j, const uint8_t *host, uint64_t len)
{
    const uint8_t *end = host + len;
    const uint8_t *first = (const uint8_t *)((uintptr_t)host & ~(uintptr_t)0xfff);

    jit_lock(&j->lock);
    if (len >> 12 < j->npages) {
        for (const uint8_t *p = first; p < end; p += 4096) {
            struct jit_page *page = jit_page_find(j, p, false);
            if (page)
                jit_page_invalidate(j, page, host, end);
        }
    } else {
        for (uint32_t i = 1; i < j->npages; i++)
            if (j->page[i].host >= first && j->page[i].host < end)
                jit_page_invalidate(j, &j->page[i], host, end);
    }
    jit_unlock(&j->lock);
}

static void jit_page_check(struct jit *j, uint32_t i)
{
    if (j->page[i].blocks)
        jit_page_invalidate(j, &j->page[i], NULL, NULL);
}

void jit_cache_check(struct jit *j)
{
    jit_lock(&j->lock);
    for (uint32_t i = 1; i < j->npages; i++)
        jit_page_check(j, i);
    jit_unlock(&j->lock);
}

void jit_cache_recheck(struct jit_vcpu *v)
{
    struct jit *j = v->jit;

    jit_lock(&j->lock);
    if (v->nrecheck > JIT_RECHECK) {
        for (uint32_t i = 1; i < j->npages; i++)
            jit_page_check(j, i);
    } else {
        for (unsigned i = 0; i < v->nrecheck; i++)
            if (v->recheck[i] < j->npages) /* or the cache was emptied since */
                jit_page_check(j, v->recheck[i]);
    }
    v->nrecheck = 0;
    jit_unlock(&j->lock);
}

void jit_cache_empty(struct jit *j)
{
    for (uint32_t i = 1; i < j->npages; i++)
        j->space->page_drop(j, &j->page[i]);
    memset(j->page_hash, 0, sizeof(*j->page_hash) << j->page_hash_bits);
    memset((void *)j->hash, 0, sizeof(*j->hash) << j->hash_bits);
    j->nblocks = j->npages = 1;
    j->nrelocs = 0;
    j->nexits = 0;
    j->nmap = 0;
    j->code_next = j->code_start;
    j->flushes++;
    /* Not here: a vCPU outside may be busy with its jump cache, in jit_tlbi_apply. */
    for (struct jit_vcpu *v = j->vcpus; v; v = v->next)
        atomic_store(&v->jc_stale, 1);
}

void jit_cache_flush(struct jit *j)
{
    jit_lock(&j->lock);
    jit_cache_empty(j);
    jit_unlock(&j->lock);
}
