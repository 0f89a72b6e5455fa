/*
 * What the JIT needs of its host (jit/rt/host.h), without a C library. All of it is memory of our own, which the guest
 * neither sees nor unmaps.
 */
#include "jit/rt/host.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <linux/mman.h>

#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define PAGES(size) (((size) + SYS_PAGE - 1) & ~(size_t)(SYS_PAGE - 1))

void *jit_host_map(size_t size)
{
    return sys_map(PAGES(size), SYS_PAGE, PROT_READ | PROT_WRITE);
}

void jit_host_unmap(void *p, size_t size)
{
    sys_unmap(p, PAGES(size));
}

void jit_host_needed(const void *p, size_t size)
{
    sys_call(__NR_madvise, p, PAGES(size), MADV_POPULATE_READ);
}

void jit_host_unused(const void *p, size_t size)
{
    sys_call(__NR_madvise, p, PAGES(size), MADV_DONTNEED);
}

static int code_file(size_t size)
{
    int fd = (int)sys_call(__NR_memfd_create, "pipit-jit", MFD_CLOEXEC);
    long r;

    if (fd < 0)
        return fd;
    r = sys_call(__NR_ftruncate, fd, size);
    if (!r)
        return fd;
    sys_call(__NR_close, fd);
    return (int)r;
}

/* Puts a view of the file in the place of our pages at `at`. */
static bool view(int fd, void *at, size_t size, int prot)
{
    return at && !sys_is_err(sys_call(__NR_mmap, at, size, prot, MAP_SHARED | MAP_FIXED, fd, 0));
}

int jit_host_code_map(struct jit_host_code *c, size_t size, bool forks, struct err *e)
{
    int fd;

    *c = (struct jit_host_code){.size = size};
    c->rw = sys_map(size, SYS_PAGE, PROT_READ | PROT_WRITE);
    if (!c->rw)
        return err_set(e, ENOMEM, "no room for a code cache of %zu MiB: the address space is not enough", size >> 20);
    if (forks && !sys_call(__NR_mprotect, c->rw, size, PROT_READ | PROT_WRITE | PROT_EXEC)) {
        c->rx = c->rw;
        return 0;
    }
    /* Pages that are writable and executable are forbidden: two views. */
    c->shared = true;
    c->rx = sys_map(size, SYS_PAGE, PROT_NONE);
    fd = code_file(size);
    if (fd >= 0 && view(fd, c->rw, size, PROT_READ | PROT_WRITE) && view(fd, c->rx, size, PROT_READ | PROT_EXEC)) {
        sys_call(__NR_close, fd);
        return 0;
    }
    if (fd >= 0)
        sys_call(__NR_close, fd);
    jit_host_code_unmap(c);
    return err_set(e, ENOMEM, "no room for a code cache of %zu MiB, or executable memory is forbidden", size >> 20);
}

int jit_host_code_fork(const struct jit_host_code *c, size_t keep)
{
    int fd = code_file(c->size), ret = 0;

    if (fd < 0)
        return fd;
    if (sys_call(__NR_pwrite64, fd, c->rw, keep, 0) != (long)keep ||
        !view(fd, c->rw, c->size, PROT_READ | PROT_WRITE) || !view(fd, c->rx, c->size, PROT_READ | PROT_EXEC))
        ret = -ENOMEM;
    sys_call(__NR_close, fd);
    return ret;
}

void jit_host_code_unmap(const struct jit_host_code *c)
{
    sys_unmap(c->rw, c->size);
    if (c->rx != c->rw)
        sys_unmap(c->rx, c->size);
}

void jit_host_code_needed(const struct jit_host_code *c, size_t from, size_t size)
{
    sys_call(__NR_madvise, c->rw + from, size, MADV_POPULATE_WRITE);
    if (c->rx != c->rw)
        sys_call(__NR_madvise, c->rx + from, size, MADV_POPULATE_READ);
}

/* Not private futexes: a vfork child shares the memory, and is another process. */
void jit_host_wait(_Atomic uint32_t *word, uint32_t value)
{
    sys_call(__NR_futex, word, FUTEX_WAIT, value, NULL);
}

void jit_host_wake(_Atomic uint32_t *word)
{
    sys_call(__NR_futex, word, FUTEX_WAKE, 1);
}

void jit_host_yield(void)
{
    sys_call(__NR_sched_yield);
}
