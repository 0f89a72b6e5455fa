/*
 * Exclusives are no compare-and-swap: a location that was written between the load and the store makes the store fail,
 * even where its value is the same again. One CPU reserves, the other writes A, B, A in many ways; then a lock-free
 * stack whose pop reads the next pointer between the two. aba.expect has the lines: other emulators fail here.
 */
#include "tests/guest/smp.h"

static volatile u64 word[8] __attribute__((aligned(4096)));
static volatile u64 step __attribute__((aligned(64)));
#define ALIAS 0x0000008000000000ul

static void (*volatile writer)(void);

static void write_plain(void)
{
    word[0] = 2;
    word[0] = 1;
}
static void write_same(void)
{
    word[0] = 1;
}
static void write_byte(void)
{
    *(volatile u8 *)word = 1;
}
static void write_pair(void)
{
    asm volatile("stp %1, %2, %0" : "=Q"(word[0]) : "r"(1ul), "r"(0ul) : "memory");
}
static void write_vector(void)
{
    asm volatile("fmov d0, %1\n str q0, %0" : "=Q"(word[0]) : "r"(1ul) : "memory");
}
static void write_release(void)
{
    store_release(&word[0], 1);
}
static void write_alias(void)
{
    st64(ALIAS, 1);
}
static void write_exclusive(void)
{
    add_exclusive(&word[0], 1);
    add_exclusive(&word[0], -1ul);
}
static void write_lse(void)
{
    u64 t;
    asm volatile(".arch_extension lse\n ldadd %2, %0, %1\n swp %2, %0, %1"
                 : "=&r"(t), "+Q"(word[0])
                 : "r"(1ul)
                 : "memory");
}
/* CPU 0 reserves, lets CPU 1 write, and tries to store. Returns what STXR said. */
static u32 reserve(void)
{
    u64 v;
    u32 fail;

    asm volatile("ldxr %0, %2\n"
                 "str %4, %3\n"
                 "1: ldar %0, %3\n"
                 "cmp %0, #2\n"
                 "b.ne 1b\n"
                 "stxr %w1, %5, %2"
                 : "=&r"(v), "=&r"(fail), "+Q"(word[0]), "+Q"(step)
                 : "r"(1ul), "r"(3ul)
                 : "memory", "cc");
    return fail;
}

static void job_handshake(u64 cpu)
{
    if (cpu == 1) {
        while (load_acquire(&step) != 1)
            ;
        writer();
        dmb();
        store_release(&step, 2);
    }
}

static u32 once(void (*w)(void))
{
    u32 fail;

    word[0] = 1;
    step = 0;
    writer = w;
    smp_begin(job_handshake);
    fail = reserve();
    smp_wait();
    return fail;
}

static void handshake(const char *name, void (*w)(void))
{
    u64 fails = 0;

    for (int i = 0; i < 20; i++)
        fails += once(w);
    print("%s: %d of 20 fail\n", name, fails);
}

/* ---- one CPU ---- */

static u32 stxr_after(int what)
{
    u64 v;
    u32 fail;

    switch (what) {
    case 0: asm volatile("ldxr %0, %2\n stxr %w1, %0, %2" : "=&r"(v), "=&r"(fail), "+Q"(word[0])::"memory"); break;
    case 1:
        asm volatile("ldxr %0, %2\n clrex\n stxr %w1, %0, %2" : "=&r"(v), "=&r"(fail), "+Q"(word[0])::"memory");
        break;
    case 2:
        asm volatile("ldxr %0, %2\n stxr %w1, %0, %2\n stxr %w1, %0, %2"
                     : "=&r"(v), "=&r"(fail), "+Q"(word[0])::"memory");
        break;
    default:
        asm volatile("ldxr %0, %2\n svc #1\n stxr %w1, %0, %2" : "=&r"(v), "=&r"(fail), "+Q"(word[0])::"memory");
        break;
    }
    return fail;
}

static int svc(struct frame *f)
{
    return f->esr >> 26 == 0x15;
}

/* ---- the stack ---- */

#define NODES 8 /* two for each of four CPUs */
#define POPS 10000

static struct node {
    volatile u64 next, owner;
    u64 pad[6];
} nodes[NODES];
static volatile u64 head __attribute__((aligned(4096)));
static volatile u64 corrupt __attribute__((aligned(64)));

static struct node *pop(void)
{
    u64 n, next;
    u32 fail;

    asm volatile("1: ldaxr %0, %3\n"
                 "cbz %0, 2f\n"
                 "ldr %1, [%0]\n"
                 "stxr %w2, %1, %3\n"
                 "cbnz %w2, 1b\n"
                 "2: clrex"
                 : "=&r"(n), "=&r"(next), "=&r"(fail), "+Q"(head)::"memory");
    return (struct node *)n;
}

static void push(struct node *n)
{
    u64 old, now;
    u32 fail;

    do {
        old = head;
        n->next = old;
        asm volatile("ldaxr %0, %2\n"
                     "mov %w1, #1\n"
                     "cmp %0, %3\n"
                     "b.ne 1f\n"
                     "stlxr %w1, %4, %2\n"
                     "1: clrex"
                     : "=&r"(now), "=&r"(fail), "+Q"(head)
                     : "r"(old), "r"(n)
                     : "memory", "cc");
    } while (fail);
}

static void job_stack(u64 cpu)
{
    for (u64 i = 0; i < POPS; i++) {
        struct node *a = pop(), *b = i & 1 ? pop() : 0;
        /* There are nodes enough for all. */
        if (!a || (i & 1 && !b))
            add_exclusive(&corrupt, 1);
        if (a && add_exclusive(&a->owner, cpu + 1) != 0)
            add_exclusive(&corrupt, 1);
        if (a)
            add_exclusive(&a->owner, -(cpu + 1));
        /* In the order that makes A, B, A of the head. */
        if (a)
            push(a);
        if (b)
            push(b);
    }
}

static void stack(void)
{
    u64 n = 0;

    for (int i = 0; i < NODES; i++)
        push(&nodes[i]);
    smp_run(job_stack);
    for (struct node *p = (struct node *)head; p && n < 100; p = (struct node *)p->next)
        n++;
    print("stack: %d nodes, %d corrupt\n", n, corrupt);
}

int main(void)
{
    u64 tries = 0;

    smp_start();
    pt_page(smp_root, ALIAS, (u64)word, PTE_NORMAL);
    trap_hook = svc;
    while (stxr_after(0) && tries < 1000)
        tries++;
    print("alone: %s\n", tries < 1000 ? "stored" : "never");
    print("clrex: %d\n", (u64)stxr_after(1));
    print("second: %d\n", (u64)stxr_after(2));
    print("exception: %d\n", (u64)stxr_after(3));
    handshake("plain", write_plain);
    handshake("same value", write_same);
    handshake("byte", write_byte);
    handshake("pair", write_pair);
    handshake("vector", write_vector);
    handshake("release", write_release);
    handshake("alias", write_alias);
    handshake("exclusive", write_exclusive);
    if (mrs("id_aa64isar0_el1") >> 20 & 15)
        handshake("atomic", write_lse);
    else
        print("atomic: 20 of 20 fail\n");
    stack();
    print("end\n");
    return 0;
}
