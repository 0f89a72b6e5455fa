/* The JIT's surroundings in a program with a C library (host.h). */
#include "jit/rt/host.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *jit_host_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

#define LARGE_PAGE ((size_t)2 << 20)

void *jit_host_map_large(size_t *size)
{
    size_t room = (*size + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
    uint8_t *p = jit_host_map(room + LARGE_PAGE), *at;

    if (!p)
        return NULL;
    at = (uint8_t *)(((uintptr_t)p + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1));
    if (at > p)
        munmap(p, (size_t)(at - p));
    munmap(at + room, LARGE_PAGE - (size_t)(at - p));
    madvise(at, room, MADV_HUGEPAGE); /* a hint */
    *size = room;
    return at;
}

void jit_host_unmap(void *p, size_t size)
{
    if (p)
        munmap(p, size);
}

void jit_host_needed(const void *p, size_t size)
{
    madvise((void *)(uintptr_t)p, size, MADV_POPULATE_READ);
}

void jit_host_unused(const void *p, size_t size)
{
    madvise((void *)(uintptr_t)p, size, MADV_DONTNEED);
}

static uint8_t *jit_host_view(int fd, void *at, size_t size, int prot)
{
    void *p = mmap(at, size, prot, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static int jit_host_code_file(size_t size)
{
    int fd = memfd_create("pipit-jit", MFD_CLOEXEC), code;

    if (fd >= 0 && !ftruncate(fd, (off_t)size))
        return fd;
    code = errno;
    if (fd >= 0)
        close(fd);
    return -code;
}

int jit_host_code_map(struct jit_host_code *c, size_t size, bool forks, struct err *e)
{
    int fd;

    *c = (struct jit_host_code){.size = size};
    if (forks) {
        void *p =
            mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p != MAP_FAILED) {
            c->rw = c->rx = p;
            return 0;
        }
    }
    fd = jit_host_code_file(size);
    if (fd < 0)
        return err_set(e, -fd, "cannot create the code cache: %s", strerror(-fd));
    c->shared = true;
    c->rw = jit_host_view(fd, NULL, size, PROT_READ | PROT_WRITE);
    c->rx = jit_host_view(fd, NULL, size, PROT_READ | PROT_EXEC);
    close(fd);
    if (!c->rw || !c->rx) {
        jit_host_code_unmap(c);
        return err_set(e, ENOMEM, "no room for a code cache of %zu MiB (executable memory may be forbidden)",
                       size >> 20);
    }
    return 0;
}

int jit_host_code_fork(const struct jit_host_code *c, size_t keep)
{
    int fd = jit_host_code_file(c->size), ret = 0;

    if (fd < 0)
        return fd;
    if (pwrite(fd, c->rw, keep, 0) != (ssize_t)keep || !jit_host_view(fd, c->rw, c->size, PROT_READ | PROT_WRITE) ||
        !jit_host_view(fd, c->rx, c->size, PROT_READ | PROT_EXEC))
        ret = -ENOMEM;
    close(fd);
    return ret;
}

void jit_host_code_unmap(const struct jit_host_code *c)
{
    jit_host_unmap(c->rw, c->size);
    if (c->rx != c->rw)
        jit_host_unmap(c->rx, c->size);
}

void jit_host_code_needed(const struct jit_host_code *c, size_t from, size_t size)
{
    madvise(c->rw + from, size, MADV_POPULATE_WRITE);
    if (c->rx != c->rw)
        madvise(c->rx + from, size, MADV_POPULATE_READ);
}

void jit_host_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

void jit_host_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void jit_host_yield(void)
{
    sched_yield();
}
