/* The temporary signal mask of a call that waits (call_wait.c). */
#ifndef PIPIT_USER_WAIT_MASK_H
#define PIPIT_USER_WAIT_MASK_H

#include <stdbool.h>
#include <stdint.h>

struct user_thread;

struct user_wait_mask {
    bool given;
    uint64_t guest, host; /* as the guest asked for; as the kernel gets it */
};

/* Reads the mask at va (0: none). 0 or -errno. */
int user_wait_mask_take(struct user_wait_mask *m, uint64_t va, uint64_t size);
/* The kernel's argument: where the mask is, or 0. */
uint64_t user_wait_mask_host(const struct user_wait_mask *m);
/* The wait begins: a signal that we hold and that the mask lets through ends it before that. */
bool user_wait_mask_interrupts(struct user_thread *t, const struct user_wait_mask *m);
/* The wait's result `r`, which it returns: where a signal ended it, its handler runs under the mask. */
int64_t user_wait_mask_end(struct user_thread *t, const struct user_wait_mask *m, int64_t r);

#endif
