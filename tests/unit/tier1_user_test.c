/*
 * Tier 1 in user mode against the interpreter: random short blocks on memory of this process, some of which is
 * read-only, some not there, with addresses at the ends of pages and tagged ones. All state must agree afterwards:
 * registers, flags, vectors, FPSR, memory, and the fault if there was one, with its exact address. Where an instruction
 * with several accesses faulted, the architecture leaves open which of its registers or how much of its memory was
 * written; its base register must be as before. Then once more with the blocks that were made, saved and restored.
 *
 * Arguments: cases a row (default 60) and a seed. A failure prints the seed, the instructions and the first difference.
 */
#include "jit/rt/rt.h"
#include "jit/tier1/t1.h"
#include "tests/check.h"
#include "tests/lib/blocks.h"
#include "tests/lib/user_env.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#define PAGE 4096u
#define RAM_SIZE 0x10000u
#define RAM_BASE UINT64_C(0x200000000000)
#define NONE_OFF 0x4000u /* a page without access */
#define READ_OFF 0x8000u /* a page that is only read */
#define CODE_OFF 0xf000u /* the last page, only read; the one behind it is not there */

static uint8_t *ram; /* what is at RAM_BASE, all of it writable */
static uint8_t ram_image[RAM_SIZE];

struct outcome {
    struct arm64_cpu cpu;
    uint8_t ram[RAM_SIZE];
    struct user_env_event end;
};

static bool executable(uint64_t va)
{
    return va - RAM_BASE - CODE_OFF < PAGE;
}

static bool make_ram(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    uint8_t *at = (uint8_t *)(uintptr_t)RAM_BASE;

    if (fd < 0 || ftruncate(fd, RAM_SIZE))
        return false;
    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return ram != MAP_FAILED &&
           mmap(at, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) == at &&
           !mprotect(at + NONE_OFF, PAGE, PROT_NONE) && !mprotect(at + READ_OFF, PAGE, PROT_READ) &&
           !mprotect(at + CODE_OFF, PAGE, PROT_READ);
}

/* Mostly near the end of a page, where the next one may be another kind; one in eight has a tag. Not where the code is:
 * a branch to it may never end. */
static uint64_t random_address(void)
{
    uint64_t r = blocks_rnd(), va;

    do {
        va = RAM_BASE + blocks_rnd() % (RAM_SIZE + 8);
        if (r >> 61 < 5)
            va = (va & ~UINT64_C(0xfff)) + blocks_rnd() % 64 - 32;
        else
            va &= ~UINT64_C(7);
    } while (va - RAM_BASE - CODE_OFF < PAGE / 2);
    return r >> 58 & 7 ? va : va | blocks_rnd() << 56;
}

static void random_state(struct arm64_cpu *c, bool plain_fpcr)
{
    for (unsigned r = 0; r < 32; r++)
        c->x[r] = blocks_rnd() & 1 ? blocks_interesting() : random_address();
    if (blocks_rnd() & 3)
        c->x[31] &= ~UINT64_C(15);
    for (unsigned r = 0; r < 32; r++) {
        c->v[r].d[0] = blocks_interesting();
        c->v[r].d[1] = blocks_interesting();
    }
    c->flags = 0;
    arm64_set_nzcv(c, (uint32_t)blocks_rnd());
    c->fpcr = plain_fpcr ? 0 : (uint32_t)blocks_rnd() & 0x07c80000u;
    c->fpsr = 0;
    c->pc = RAM_BASE + CODE_OFF + (blocks_rnd() % 64) * 4;
}

static void run_one(struct user_env_thread *t, const struct arm64_cpu *init, struct outcome *o)
{
    struct arm64_cpu *c = t->cpu;

    memcpy(ram, ram_image, RAM_SIZE);
    memcpy(c->x, init->x, sizeof(c->x));
    memcpy(c->v, init->v, sizeof(c->v));
    c->pc = init->pc;
    c->flags = init->flags;
    c->fpcr = init->fpcr;
    c->sys.tpidr_el0 = 0;
    jit_fpsr_sync(c);
    c->fpsr = 0;
    c->ops->clear_excl(c);
    user_env_run(t);
    jit_fpsr_sync(c);
    memset(o, 0, sizeof(*o));
    memcpy(o->cpu.x, c->x, sizeof(c->x));
    memcpy(o->cpu.v, c->v, sizeof(c->v));
    arm64_set_nzcv(&o->cpu, arm64_nzcv(c));
    o->cpu.fpsr = c->fpsr;
    o->cpu.sys.tpidr_el0 = c->sys.tpidr_el0;
    memcpy(o->ram, ram, RAM_SIZE);
    o->end = t->event;
}

/* Does the row make several accesses? */
static bool several(const struct a64_row_info *row)
{
    static const char *const names[] = {"ldp", "ldnp", "stp", "stnp", "ld1", "ld2",
                                        "ld3", "ld4",  "st1", "st2",  "st3", "st4"};

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (!strncmp(row->name, names[i], strlen(names[i])))
            return true;
    return false;
}

/* Both ended with the same fault: takes out of `o` what the faulting instruction may have done. */
static void forget_partial(struct outcome *o, const struct outcome *from, uint32_t insn)
{
    const struct a64_row_info *row = &a64_rows[a64_decode(insn)];
    unsigned d = a64_rd(insn), a = a64_ra(insn), n = a64_rn(insn);
    int64_t off = (int64_t)(o->end.fault.addr << 8 >> 8) - (int64_t)RAM_BASE;

    if (!several(row))
        return;
    if (row->name[0] == 's') {
        for (int64_t i = MAX(off - 64, 0); i < MIN(off + 64, (int64_t)RAM_SIZE); i++)
            o->ram[i] = from->ram[i];
        return;
    }
    for (unsigned k = 0; row->simd && k < 4; k++)
        o->cpu.v[(d + k) & 31] = from->cpu.v[(d + k) & 31];
    if (row->simd)
        o->cpu.v[a] = from->cpu.v[a];
    if (!row->simd && d != n && d != 31)
        o->cpu.x[d] = from->cpu.x[d];
    if (!row->simd && a != n && a != 31)
        o->cpu.x[a] = from->cpu.x[a];
}

static void show_difference(const struct outcome *a, const struct outcome *b)
{
    for (unsigned r = 0; r < 32; r++) {
        if (a->cpu.x[r] != b->cpu.x[r])
            printf("  x%u: interpreter %016" PRIx64 ", tier 1 %016" PRIx64 "\n", r, a->cpu.x[r], b->cpu.x[r]);
        if (memcmp(&a->cpu.v[r], &b->cpu.v[r], 16))
            printf("  v%u: interpreter %016" PRIx64 "_%016" PRIx64 ", tier 1 %016" PRIx64 "_%016" PRIx64 "\n", r,
                   a->cpu.v[r].d[1], a->cpu.v[r].d[0], b->cpu.v[r].d[1], b->cpu.v[r].d[0]);
    }
    if (a->cpu.flags != b->cpu.flags)
        printf("  flags: interpreter %08x, tier 1 %08x\n", arm64_nzcv(&a->cpu), arm64_nzcv(&b->cpu));
    if (a->cpu.fpsr != b->cpu.fpsr)
        printf("  fpsr: interpreter %08x, tier 1 %08x\n", a->cpu.fpsr, b->cpu.fpsr);
    for (unsigned i = 0; i < 2; i++) {
        const struct user_env_event *e = i ? &b->end : &a->end;
        printf("  %s ended with %u %x %x pc %" PRIx64 ", fault %d/%d at %" PRIx64 "%s%s\n",
               i ? "tier 1" : "interpreter", e->kind, e->a, e->b, e->pc, e->fault.signo, e->fault.code, e->fault.addr,
               e->fault.write ? " write" : "", e->fault.fetch ? " fetch" : "");
    }
    for (unsigned i = 0; i < RAM_SIZE; i++) {
        if (a->ram[i] != b->ram[i]) {
            printf("  memory at %x: interpreter %02x, tier 1 %02x\n", i, a->ram[i], b->ram[i]);
            break;
        }
    }
}

static bool same_event(const struct user_env_event *a, const struct user_env_event *b)
{
    return a->kind == b->kind && a->a == b->a && a->b == b->b && a->pc == b->pc && a->fault.addr == b->fault.addr &&
           a->fault.signo == b->fault.signo && a->fault.code == b->fault.code && a->fault.write == b->fault.write &&
           a->fault.fetch == b->fault.fetch;
}

static unsigned cases_per_row = 60;
static unsigned failures_shown;
static unsigned long faults[2][2]; /* by write, by permission */

/* ---- saved translations ---- */

static struct jit_saved_place place; /* for RAM_BASE + CODE_OFF */
static uint32_t unsaved;
static uint8_t image[1u << 20] __attribute__((aligned(8)));

static bool saved(uint64_t va, struct jit_saved_place *out)
{
    *out = place;
    out->where = (uint32_t)(va - RAM_BASE - CODE_OFF) / 4;
    return true;
}

/* Saves what t has of the code page, so that the next one to run restores it. */
static bool save(struct user_env_thread *t)
{
    static const uint8_t key[JIT_SAVED_KEY] = {1}, other[JIT_SAVED_KEY] = {2};
    struct jit_saved_writer w;
    size_t size;

    memset(image, 0, 4096);
    jit_saved_begin(&w, image, sizeof(image), 4);
    jit_saved_add_blocks(&w, t->jit, RAM_BASE + CODE_OFF, RAM_BASE + CODE_OFF + PAGE, 0);
    size = jit_saved_end(&w, key);
    return jit_saved_open(image, size, key, &place.image) &&
           !jit_saved_open(image, size, other, &(struct jit_saved_image){0}) &&
           !jit_saved_open(image, size - 8, key, &(struct jit_saved_image){0});
}

/* Blocks with places where tags were seen are not saved. */
static void forget_tags(struct jit *j)
{
    memset(j->masked, 0, sizeof(j->masked));
    j->nmasked = 0;
}

static bool agree(const struct outcome *oi, struct outcome *ot, const uint32_t *code, uint64_t start)
{
    if (oi->end.kind == USER_ENV_FAULT && !oi->end.fault.fetch && same_event(&oi->end, &ot->end)) {
        faults[oi->end.fault.write][oi->end.fault.code == 2]++;
        forget_partial(ot, oi, code[(oi->end.pc - start) / 4]);
    }
    return same_event(&oi->end, &ot->end) && !memcmp(&oi->cpu, &ot->cpu, sizeof(oi->cpu)) &&
           !memcmp(oi->ram, ot->ram, RAM_SIZE);
}

static bool one_case(struct user_env_thread *ti, struct user_env_thread *tt, struct user_env_thread *ts, unsigned row,
                     bool plain_fpcr)
{
    static struct outcome oi, ot, os;
    struct arm64_cpu init;
    uint64_t seed = blocks_state();
    uint32_t code[BLOCKS_MAX + BLOCKS_LOOP + 4];
    unsigned n, off, counter;

    memset(&init, 0, sizeof(init));
    random_state(&init, plain_fpcr);
    off = (unsigned)(init.pc - RAM_BASE);
    n = blocks_make(code, row);
    counter = blocks_rnd() % 4 ? 31 : blocks_loop(code, n);
    if (counter < 31) {
        init.x[counter] = 1 + blocks_rnd() % 5;
        n += BLOCKS_LOOP;
    }
    for (unsigned i = n; i < n + 4; i++)
        code[i] = 0xd4000001u; /* svc #0 */
    memcpy(ram_image + off, code, (n + 4) * 4);
    run_one(ti, &init, &oi);
    jit_user_invalidate(tt->jit, RAM_BASE + CODE_OFF, PAGE);
    place = (struct jit_saved_place){.unsaved = &unsaved};
    run_one(tt, &init, &ot);
    bool same = agree(&oi, &ot, code, init.pc), restored = save(tt);
    if (restored) {
        jit_user_invalidate(ts->jit, RAM_BASE + CODE_OFF, PAGE);
        run_one(ts, &init, &os);
        restored = agree(&oi, &os, code, init.pc);
    }
    memset(ram_image + off, 0, (n + 4) * 4);
    if (same && restored)
        return true;
    if (failures_shown++ < 5) {
        printf("  seed %" PRIu64 ", row %s, fpcr %08x, pc %" PRIx64 ":\n", seed, a64_rows[row].name, init.fpcr,
               init.pc);
        blocks_print(code, n, init.pc);
        show_difference(&oi, same ? &os : &ot);
    }
    return false;
}

static void test_tier1_against_interpreter(void)
{
    struct jit *ji = user_env_jit(JIT_INTERP, 0), *jt = user_env_jit(JIT_TIER1, 4u << 20);
    struct jit *js = user_env_jit(JIT_TIER1, 4u << 20);
    struct user_env_thread *ti = ji ? user_env_thread(ji) : NULL, *tt = jt ? user_env_thread(jt) : NULL;
    struct user_env_thread *ts = js ? user_env_thread(js) : NULL;
    unsigned long cases = 0, bad = 0;
    unsigned rows = 0, tags = 0;
    const struct t1_host_features have = t1_have;
    uint64_t made, taken;

    CHECK(ti && tt && ts && make_ram());
    user_env.saved = saved;
    for (unsigned i = 0; i < CODE_OFF; i += 8) {
        uint64_t v = blocks_interesting();
        memcpy(ram_image + i, &v, 8);
    }
    for (unsigned row = 1; row < A64_ROW_COUNT; row++) {
        if (blocks_excluded(row))
            continue;
        rows++;
        for (unsigned k = 0; k < cases_per_row; k++, cases++) {
            /* One in five as on a host with SSE only. */
            t1_have = k % 5 ? have : (struct t1_host_features){0};
            if (k < cases_per_row / 2) {
                forget_tags(jt);
                forget_tags(js);
            }
            bad += !one_case(ti, tt, ts, row, k % 4 != 0);
            tags = MAX(tags, jt->nmasked);
        }
    }
    printf("  %u rows, %lu cases, %lu differences; faults: reads %lu not there, %lu forbidden, writes %lu, %lu; "
           "%u places with tags\n",
           rows, cases, bad, faults[0][0], faults[0][1], faults[1][0], faults[1][1], tags);
    t1_have = have;
    jit_saved_counts(js, &made, &taken);
    printf("  %" PRIu64 " blocks restored, %" PRIu64 " translated instead\n", taken, made);
    CHECK(taken > cases / 4);
    CHECK_EQ(bad, 0);
    CHECK(faults[0][0] && faults[0][1] && faults[1][0] && faults[1][1] && tags);
    user_env_thread_end(ti);
    user_env_thread_end(tt);
    user_env_thread_end(ts);
    jit_destroy(js);
    jit_destroy(ji);
    jit_destroy(jt);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cases_per_row = (unsigned)strtoul(argv[1], NULL, 10);
    blocks_seed(argc > 2 ? strtoull(argv[2], NULL, 10) : 88172645463325252u);
    if (CHECK_SANITIZED) {
        printf("skip test_tier1_against_interpreter: the sanitizer has memory of its own at the addresses where the "
               "cases have theirs, or nothing\n");
        return 0;
    }
    user_env.executable = executable;
    user_env_init();
    RUN(test_tier1_against_interpreter);
    return check_done();
}
