/*
 * What the JIT needs of the program that it lives in: memory, memory for code, and a place to sleep. host.c provides
 * these where there is a C library; a freestanding program brings functions of its own.
 *
 * Locks and one-time initialisation are built on these here, so that both kinds of program run the same code.
 */
#ifndef PIPIT_JIT_RT_HOST_H
#define PIPIT_JIT_RT_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

/* Zeroed memory, aligned to a page, that takes no room before it is touched; NULL where there is none. */
void *jit_host_map(size_t size);
void jit_host_unmap(void *p, size_t size);
/* The same in the host's large pages, where it has them, for what is read all over and all the time; `size` becomes a
 * multiple of theirs. Not in the freestanding program. */
void *jit_host_map_large(size_t *size);

/* Whole pages of a mapped file will be read now, or not again soon: hints. */
void jit_host_needed(const void *p, size_t size);
void jit_host_unused(const void *p, size_t size);

/*
 * Memory for code, written at rw and executed at rx: two views, so that no page is writable and executable. -errno.
 *
 * A program that forks asks for memory that a child has a copy of (`forks`). Only one mapping is private to a process,
 * so that is writable and executable, and rx is rw. Where the host forbids such, it gets the two views: `shared`, and
 * the child must call jit_host_code_fork, which gives it two of its own in their place, with `keep` bytes copied.
 */
struct jit_host_code {
    uint8_t *rw, *rx;
    size_t size;
    bool shared;
};
int jit_host_code_map(struct jit_host_code *c, size_t size, bool forks, struct err *e);
int jit_host_code_fork(const struct jit_host_code *c, size_t keep);
void jit_host_code_unmap(const struct jit_host_code *c);
/* A hint: whole pages at [from, from + size) will be written and executed now. Their first use costs two faults each
 * otherwise. */
void jit_host_code_needed(const struct jit_host_code *c, size_t from, size_t size);

/* Sleeps while *word is `value`; may return early. Wakes one sleeper. Within one address space. */
void jit_host_wait(_Atomic uint32_t *word, uint32_t value);
void jit_host_wake(_Atomic uint32_t *word);
/* Lets another thread have the processor. */
void jit_host_yield(void);

/* ---- locks ---- */

/* 0 free, 1 taken, 2 taken and somebody may sleep (futex(7), Drepper: "Futexes are tricky"). Zero is a free lock. */
struct jit_lock {
    _Atomic uint32_t state;
};

/* How often one looks before one sleeps: some microseconds, in which a block is translated. Sleeping and being woken
 * takes longer. */
#define JIT_LOCK_SPINS 100

static inline bool jit_lock_try(struct jit_lock *l)
{
    uint32_t was = 0;

    return !atomic_load_explicit(&l->state, memory_order_relaxed) &&
           atomic_compare_exchange_strong_explicit(&l->state, &was, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void jit_lock(struct jit_lock *l)
{
    for (unsigned i = 0; i < JIT_LOCK_SPINS; i++) {
        if (jit_lock_try(l))
            return;
        __builtin_ia32_pause();
    }
    while (atomic_exchange_explicit(&l->state, 2, memory_order_acquire))
        jit_host_wait(&l->state, 2);
}

static inline void jit_unlock(struct jit_lock *l)
{
    if (atomic_exchange_explicit(&l->state, 0, memory_order_release) == 2)
        jit_host_wake(&l->state);
}

#endif
