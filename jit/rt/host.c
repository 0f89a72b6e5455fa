/* The JIT's surroundings in a program with a C library (host.h). */
#include "jit/rt/host.h"

#include <errno.h>
#include <linux/futex.h>
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

void jit_host_unmap(void *p, size_t size)
{
    if (p)
        munmap(p, size);
}

static uint8_t *jit_host_view(int fd, size_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

int jit_host_code_map(struct jit_host_code *c, size_t size, struct err *e)
{
    int fd = memfd_create("pipit-jit", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        return err_set(e, code, "cannot create the code cache: %s", strerror(code));
    }
    c->rw = jit_host_view(fd, size, PROT_READ | PROT_WRITE);
    c->rx = jit_host_view(fd, size, PROT_READ | PROT_EXEC);
    close(fd);
    if (!c->rw || !c->rx) {
        jit_host_code_unmap(c, size);
        return err_set(e, ENOMEM, "no room for a code cache of %zu MiB (executable memory may be forbidden)",
                       size >> 20);
    }
    return 0;
}

void jit_host_code_unmap(struct jit_host_code *c, size_t size)
{
    jit_host_unmap(c->rw, size);
    jit_host_unmap(c->rx, size);
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
