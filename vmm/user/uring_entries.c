/*
 * Entries of a submission queue: what of them the two ABIs, or the guest's view of the file tree, have different. The
 * kernel reads an entry, and what it points to of these operations, before io_uring_enter returns
 * (IORING_FEAT_SUBMIT_STABLE), so that conversions and copies last till then only.
 *
 * The guest may write to its entries at any time. Each field is changed and put back by a compare and swap, so that
 * what another thread has written stays; no number of an entry is used here but to make other numbers for the kernel.
 *
 * All operations of 6.12 but these have the same operands on both: descriptors, addresses of the same structures
 * (iovec, msghdr, timespec, statx, sockaddr), flags of the same values (accept's, socket's and the msg ones included).
 */
#include <errno.h>
#include <linux/eventpoll.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/open_flags.h"
#include "vmm/user/own_fd.h"
#include "vmm/user/path.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/uring.h"

#define OP_INVALID 0xffu

struct user_uring_change {
    struct user_uring_change *next;
    uint64_t va, old, new;
    unsigned bytes;
    uint64_t data[]; /* what the kernel reads in place of the guest's own */
};

/* An entry at `va`, as it was read once. */
struct entry {
    uint64_t va;
    struct io_uring_sqe e;
    struct user_uring_change **changes;
};

/* *where becomes `new`, unless it is not `old` any more. */
static bool swap(uint64_t va, unsigned bytes, uint64_t old, uint64_t new)
{
    uint32_t e32 = (uint32_t)old;
    uint64_t e64 = old;
    uint8_t e8 = (uint8_t)old;

    switch (bytes) {
    case 1: return !user_cas8(va, &e8, (uint8_t) new) && e8 == (uint8_t)old;
    case 4: return !user_cas32(va, &e32, (uint32_t) new) && e32 == (uint32_t)old;
    default: return !user_cas64(va, &e64, new) && e64 == old;
    }
}

/* A change with room for this much data; NULL: out of memory. */
static struct user_uring_change *prepare(size_t data)
{
    return sys_alloc(sizeof(struct user_uring_change) + data);
}

static void apply(const struct entry *s, struct user_uring_change *c, size_t field, unsigned bytes, uint64_t old,
                  uint64_t new)
{
    c->va = s->va + field;
    c->bytes = bytes;
    c->old = old;
    c->new = new;
    if (!swap(c->va, bytes, old, new)) {
        sys_free(c);
        return;
    }
    c->next = *s->changes;
    *s->changes = c;
}

/* One number for another. The functions that convert return false where memory is out. */
static bool change(const struct entry *s, size_t field, unsigned bytes, uint64_t old, uint64_t new)
{
    struct user_uring_change *c;

    if (old == new)
        return true;
    c = prepare(0);
    if (!c)
        return false;
    apply(s, c, field, bytes, old, new);
    return true;
}

static void point(const struct entry *s, struct user_uring_change *c, size_t field, uint64_t old)
{
    apply(s, c, field, sizeof(uint64_t), old, (uint64_t)(uintptr_t)c->data);
}

#define CHANGE(s, field, new)                                                                                          \
    change(s, offsetof(struct io_uring_sqe, field), sizeof((s)->e.field), (uint32_t)(s)->e.field, (uint32_t)(new))

static bool convert_path(const struct entry *s, size_t field, uint64_t va)
{
    char buf[USER_PATH_MAX];
    struct user_uring_change *c;
    uint64_t path = user_path_argument(va, buf);
    size_t n;

    if (path == va)
        return true;
    n = strlen((const char *)(uintptr_t)path) + 1;
    c = prepare(n);
    if (!c)
        return false;
    memcpy(c->data, (const char *)(uintptr_t)path, n);
    point(s, c, field, va);
    return true;
}

static bool convert_openat2(const struct entry *s)
{
    struct user_uring_change *c;
    struct open_how h;

    /* What the kernel refuses it refuses by itself. */
    if (s->e.len < sizeof(h) || s->e.len > SYS_PAGE || user_copy_in(&h, s->e.off, sizeof(h)))
        return true;
    if (!h.resolve && !convert_path(s, offsetof(struct io_uring_sqe, addr), s->e.addr))
        return false;
    c = prepare(s->e.len);
    if (!c)
        return false;
    if (user_copy_in(c->data, s->e.off, s->e.len)) {
        sys_free(c);
        return true;
    }
    h.flags = user_open_flags_to_host(h.flags);
    memcpy(c->data, &h, sizeof(h));
    point(s, c, offsetof(struct io_uring_sqe, off), s->e.off);
    return true;
}

static bool convert_epoll_ctl(const struct entry *s)
{
    struct abi_epoll_event g;
    struct epoll_event h;
    struct user_uring_change *c;

    if (s->e.len == EPOLL_CTL_DEL || user_copy_in(&g, s->e.addr, sizeof(g)))
        return true;
    c = prepare(sizeof(h));
    if (!c)
        return false;
    h.events = g.events;
    h.data = g.data;
    memcpy(c->data, &h, sizeof(h));
    point(s, c, offsetof(struct io_uring_sqe, addr), s->e.addr);
    return true;
}

/* As madvise (space_calls.c): our pages are not there. The kernel does it later, when the code that goes is gone. */
static bool convert_madvise(const struct entry *s)
{
    uint64_t at = user_untagged(s->e.addr), len = s->e.off ? s->e.off : s->e.len;

    if (len > USER_TASK_SIZE || at > USER_TASK_SIZE - len)
        return true;
    if (sys_owns(at, len))
        return change(s, offsetof(struct io_uring_sqe, addr), sizeof(s->e.addr), s->e.addr, 0);
    at = align_down(at, SYS_PAGE);
    user_space_exec_changed(at, align_up(len, SYS_PAGE));
    return true;
}

#define CONVERTED                                                                                                      \
    (BIT64(IORING_OP_OPENAT) | BIT64(IORING_OP_OPENAT2) | BIT64(USER_URING_OP_PIPE) | BIT64(IORING_OP_EPOLL_CTL) |     \
     BIT64(USER_URING_OP_EPOLL_WAIT) | BIT64(IORING_OP_STATX) | BIT64(IORING_OP_GETXATTR) | BIT64(IORING_OP_MADVISE) | \
     BIT64(IORING_OP_CLOSE))

static bool convert_entry(uint64_t va, struct user_uring_change **changes)
{
    struct entry s = {.va = va, .changes = changes};
    uint8_t op;

    /* Most are not read whole. */
    if (user_get8(va, &op) || op >= 64 || !(CONVERTED & BIT64(op)) || user_copy_in(&s.e, va, sizeof(s.e)))
        return true;
    switch (s.e.opcode) {
    case IORING_OP_OPENAT:
        return CHANGE(&s, open_flags, user_open_flags_to_host(s.e.open_flags)) &&
               convert_path(&s, offsetof(struct io_uring_sqe, addr), s.e.addr);
    case IORING_OP_OPENAT2: return convert_openat2(&s);
    case USER_URING_OP_PIPE: return CHANGE(&s, open_flags, user_open_flags_to_host(s.e.open_flags));
    case IORING_OP_EPOLL_CTL: return convert_epoll_ctl(&s);
    /* The kernel would write packed events at a time of its own. Kernels without this operation say so. */
    case USER_URING_OP_EPOLL_WAIT: return CHANGE(&s, opcode, OP_INVALID);
    case IORING_OP_STATX: return convert_path(&s, offsetof(struct io_uring_sqe, addr), s.e.addr);
    case IORING_OP_GETXATTR: return convert_path(&s, offsetof(struct io_uring_sqe, addr3), s.e.addr3);
    case IORING_OP_MADVISE: return convert_madvise(&s);
    case IORING_OP_CLOSE: return s.e.file_index || !user_own_fd_is((uint32_t)s.e.fd) || CHANGE(&s, fd, -1);
    default: return true;
    }
}

void user_uring_put_back(struct user_uring_change *c)
{
    while (c) {
        struct user_uring_change *next = c->next;
        swap(c->va, c->bytes, c->new, c->old);
        sys_free(c);
        c = next;
    }
}

int64_t user_uring_convert(struct user_uring *ring, uint32_t count, struct user_uring_change **changes)
{
    unsigned stride = ring->flags & IORING_SETUP_SQE128 ? 128 : 64;
    uint64_t size = MAX(MAX(ring->head, ring->tail), ring->array) + UINT64_C(4) * (ring->array ? ring->entries : 1);
    uint64_t at = user_uring_memory(ring, false, size),
             sqes = user_uring_memory(ring, true, (uint64_t)ring->entries * stride);
    uint32_t head, tail, index, n;

    *changes = NULL;
    /* A ring that is not mapped here has no entries of this process. */
    if (!at || !sqes || user_get32(at + ring->head, &head) || user_get32(at + ring->tail, &tail))
        return count;
    n = MIN(MIN(tail - head, ring->entries), count);
    for (uint32_t i = 0; i < n; i++) {
        index = (head + i) & (ring->entries - 1);
        if (ring->array && user_get32(at + ring->array + UINT64_C(4) * index, &index))
            break;
        if (index < ring->entries && !convert_entry(sqes + (uint64_t)index * stride, changes)) {
            user_uring_put_back(*changes);
            *changes = NULL;
            return -ENOMEM;
        }
    }
    return n;
}
