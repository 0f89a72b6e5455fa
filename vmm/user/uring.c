/* Which rings there are and where their memory is: see uring.h. */
#include "vmm/user/uring.h"

#include <stdatomic.h>
#include <string.h>

#include "vmm/user/sys/sys.h"

/*
 * The rings that were used last come first. What has become of a ring is not followed, as it may live on in a
 * descriptor, a mapping or a thread's registered ones; those not used for longest give way to new ones.
 */
#define RINGS_MOST 1024
static struct user_uring *rings[RINGS_MOST];
static _Atomic size_t count;
static struct sys_lock lock;

/* params.sq_off.user_addr and cq_off.user_addr, which older headers have as resv2. */
static uint64_t user_address(const struct io_uring_params *p, size_t offsets_end)
{
    uint64_t va;

    memcpy(&va, (const char *)p + offsets_end - sizeof(va), sizeof(va));
    return va;
}

uint64_t user_uring_rings_address(const struct io_uring_params *p)
{
    return user_address(p, offsetof(struct io_uring_params, cq_off) + sizeof(p->cq_off));
}

/* Moves ring i to the front. Under the lock. */
static struct user_uring *touch(size_t i)
{
    struct user_uring *r = rings[i];

    memmove(&rings[1], &rings[0], i * sizeof(rings[0]));
    rings[0] = r;
    return r;
}

static bool same(const struct user_space_object *a, const struct user_space_object *b)
{
    return a->device == b->device && a->number == b->number;
}

/* The index to put a new ring at: a new one, or that of the last in the list that nobody uses. Under the lock. */
static size_t place(const struct user_space_object *object)
{
    size_t i;

    /* An inode's number that is used again. */
    for (i = 0; i < count; i++) {
        if (!rings[i]->users && same(&rings[i]->object, object))
            break;
    }
    if (i == count && count < RINGS_MOST) {
        rings[count] = NULL;
        return count++;
    }
    for (i = i < count ? i : count - 1; rings[i]->users && i; i--)
        ;
    return i;
}

static bool insert(const struct user_uring *new)
{
    struct user_uring *r = sys_alloc(sizeof(*r));
    size_t i;

    if (!r)
        return false;
    *r = *new;
    sys_lock(&lock);
    i = place(&r->object);
    if (rings[i] && rings[i]->users) { /* all at once */
        sys_unlock(&lock);
        sys_free(r);
        return false;
    }
    sys_free(rings[i]);
    rings[i] = r;
    touch(i);
    sys_unlock(&lock);
    return true;
}

struct user_space_object *user_uring_registered(struct user_thread *t)
{
    if (!t->rings)
        t->rings = sys_alloc(USER_URING_REGISTERED * sizeof(*t->rings));
    return t->rings;
}

bool user_uring_add(struct user_thread *t, int fd, const struct io_uring_params *p)
{
    bool index = p->flags & USER_URING_SETUP_REGISTERED_FD_ONLY;
    struct user_uring r = {.object = user_space_object_of(index ? -1 : fd),
                           .flags = p->flags,
                           .entries = p->sq_entries,
                           .head = p->sq_off.head,
                           .tail = p->sq_off.tail,
                           .array = p->flags & USER_URING_SETUP_NO_SQARRAY ? 0 : p->sq_off.array};

    if (r.flags & USER_URING_SETUP_NO_MMAP) {
        r.ring_memory = user_uring_rings_address(p);
        r.sqe_memory = user_address(p, offsetof(struct io_uring_params, sq_off) + sizeof(p->sq_off));
    }
    if (index) {
        if ((uint32_t)fd >= USER_URING_REGISTERED || !user_uring_registered(t))
            return false;
        t->rings[fd] = r.object;
    }
    return insert(&r);
}

struct user_uring *user_uring_get(struct user_thread *t, uint32_t fd, bool index)
{
    struct user_space_object object;
    struct user_uring *r = NULL;

    if (index && (fd >= USER_URING_REGISTERED || !t->rings))
        return NULL;
    if (!count)
        return NULL;
    object = index ? t->rings[fd] : user_space_object_of((int)fd);
    sys_lock(&lock);
    for (size_t i = 0; i < count && !r; i++) {
        if (same(&rings[i]->object, &object))
            r = touch(i);
    }
    if (r)
        r->users++;
    sys_unlock(&lock);
    return r;
}

void user_uring_put(struct user_uring *ring)
{
    sys_lock(&lock);
    ring->users--;
    sys_unlock(&lock);
}

uint64_t user_uring_memory(struct user_uring *ring, bool entries, uint64_t len)
{
    uint64_t *at = entries ? &ring->sqe_memory : &ring->ring_memory;

    if (ring->flags & USER_URING_SETUP_NO_MMAP)
        return sys_owns(*at, len) ? 0 : *at; /* the guest has unmapped it */
    if (entries)
        return *at = user_space_view_where(&ring->object, IORING_OFF_SQES, len, *at);
    /* With IORING_FEAT_SINGLE_MMAP, which all kernels since 5.4 have, the two rings are one. */
    *at = user_space_view_where(&ring->object, IORING_OFF_SQ_RING, len, *at);
    if (!*at)
        *at = user_space_view_where(&ring->object, IORING_OFF_CQ_RING, len, *at);
    return *at;
}

void user_uring_lock(void)
{
    sys_lock(&lock);
}

void user_uring_unlock(bool child)
{
    for (size_t i = 0; child && i < count; i++) {
        rings[i]->users = 0;
        rings[i]->lock = (struct sys_lock){0};
    }
    sys_unlock(&lock);
}
