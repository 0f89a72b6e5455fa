/*
 * io_uring of the guest. The rings are the host's; entries of the submission queue lie in memory that the guest shares
 * with the kernel, so what the two ABIs have different in them (open flags, epoll's events) is converted there when
 * they are submitted, and put back afterwards. Nothing is mapped here: a ring is seen where the guest itself has mapped
 * it.
 *
 * A ring is known by its file's inode, whatever descriptor it is reached by, or by a number of ours where it has no
 * descriptor (IORING_SETUP_REGISTERED_FD_ONLY).
 */
#ifndef PIPIT_USER_URING_H
#define PIPIT_USER_URING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/user/space.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/thread.h"

/* What is newer than the oldest headers that this is built with (include/uapi/linux/io_uring.h, 6.12 and, where it
 * says so, later). */
#define USER_URING_SETUP_NO_MMAP BIT32(14)
#define USER_URING_SETUP_REGISTERED_FD_ONLY BIT32(15)
#define USER_URING_SETUP_NO_SQARRAY BIT32(16)
#define USER_URING_SETUP_KNOWN (BIT32(19) - 1) /* up to CQE_MIXED, 6.18: what is newer changes the queue's form */
#define USER_URING_ENTER_EXT_ARG_REG BIT32(6)  /* 6.13 */
#define USER_URING_REGISTER_USE_REGISTERED_RING BIT32(31)
#define USER_URING_REGISTER_RESIZE_RINGS 33u /* 6.13 */
#define USER_URING_OP_EPOLL_WAIT 59u         /* 6.15 */
#define USER_URING_OP_PIPE 62u               /* 6.16 */
#define USER_URING_REGISTERED 16u            /* IO_RINGFD_REG_MAX: how many rings a thread may register */

struct user_uring {
    struct user_space_object object;
    struct sys_lock lock; /* held while entries of the queue are converted: one submission at a time */
    unsigned users;
    uint32_t flags, entries;
    uint32_t head, tail, array;       /* offsets in the ring; array 0: there is none */
    uint64_t ring_memory, sqe_memory; /* NO_MMAP: where the guest has them, else where they were last seen */
};

/* Notes a ring that the host has made: its descriptor, or the thread's registered index, and the parameters as the
 * kernel filled them in. False: out of memory. */
bool user_uring_add(struct user_thread *t, int fd, const struct io_uring_params *p);
/* With NO_MMAP: where the guest has the rings' memory. */
uint64_t user_uring_rings_address(const struct io_uring_params *p);
/* The rings that the thread has registered, by index; NULL: out of memory. */
struct user_space_object *user_uring_registered(struct user_thread *t);
/* The ring, until user_uring_put(); NULL: not one that was made here. */
struct user_uring *user_uring_get(struct user_thread *t, uint32_t fd, bool registered);
void user_uring_put(struct user_uring *ring);
/* Where [offset, offset+len) of the ring, or of its entries, is in the guest's memory; 0: it is not. */
uint64_t user_uring_memory(struct user_uring *ring, bool entries, uint64_t len);
/* Around fork; in the child no ring is in use any more. */
void user_uring_lock(void);
void user_uring_unlock(bool child);

/* ---- uring_entries.c ---- */

struct user_uring_change;

/*
 * Converts the first `count` entries that wait in the queue. Returns how many there are, at most `count`; -ENOMEM:
 * nothing is converted. *changes is to be given to user_uring_put_back() once the kernel has taken the entries.
 */
int64_t user_uring_convert(struct user_uring *ring, uint32_t count, struct user_uring_change **changes);
void user_uring_put_back(struct user_uring_change *changes);

#endif
