/* See accel_jit_perf.h; jit/perf.h has the formats. */
#include "vmm/machine/accel_jit_perf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "jit/perf.h"
#include "vmm/core/mem.h"

/* A folder may be everybody's: what somebody else has put there is not written to. */
static int perf_file(const char *name, struct err *e)
{
    int fd;

    unlink(name);
    fd = open(name, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? err_set(e, errno, "%s cannot be written: %s", name, strerror(errno)) : fd;
}

static uint64_t perf_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int perf_begin_dump(struct accel_jit_perf *p, const char *name, struct err *e)
{
    struct jit_dump_header h;

    jit_dump_begin(&h, (uint32_t)getpid(), perf_now());
    if (write(p->dump, &h, sizeof(h)) != sizeof(h))
        return err_set(e, EIO, "%s cannot be written", name);
    p->mark = mmap(NULL, MEM_PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, p->dump, 0);
    if (p->mark == MAP_FAILED) {
        p->mark = NULL;
        return err_set(e, errno, "%s cannot be mapped as code, by which perf finds it: %s", name, strerror(errno));
    }
    return 0;
}

int accel_jit_perf_open(struct accel_jit_perf *p, bool map, bool dump, struct err *e)
{
    char name[40];

    *p = (struct accel_jit_perf){.map = -1, .dump = -1};
    if (map) {
        snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)getpid());
        p->map = perf_file(name, e);
        if (p->map < 0)
            return p->map;
    }
    if (dump) {
        snprintf(name, sizeof(name), "jit-%d.dump", (int)getpid());
        p->dump = perf_file(name, e);
        if (p->dump < 0)
            return p->dump;
        return perf_begin_dump(p, name, e);
    }
    return 0;
}

void accel_jit_perf_close(struct accel_jit_perf *p)
{
    if (p->map >= 0)
        close(p->map);
    if (p->dump >= 0)
        close(p->dump);
    if (p->mark)
        munmap(p->mark, MEM_PAGE_SIZE);
}

void accel_jit_perf_add(struct accel_jit_perf *p, uint64_t pc, const void *code, uint32_t size)
{
    if (p->map >= 0) {
        char line[JIT_PERF_LINE_MAX];
        size_t n = jit_perf_line(line, pc, code, size);

        /* A full disk ends the listing, not the guest. */
        if (write(p->map, line, n) != (ssize_t)n) {
            close(p->map);
            p->map = -1;
        }
    }
    if (p->dump >= 0) {
        struct jit_dump_load r = {.timestamp = perf_now(), .code_index = p->count++};
        struct iovec part[] = {{&r, 0}, {(void *)(uintptr_t)code, size}};

        r.pid = (uint32_t)getpid();
        r.tid = (uint32_t)gettid();
        part[0].iov_len = jit_dump_add(&r, pc, code, size);
        if (writev(p->dump, part, 2) != (ssize_t)(part[0].iov_len + size)) {
            close(p->dump);
            p->dump = -1;
        }
    }
}
