/*
 * The ELF loader, after Linux's fs/binfmt_elf.c. A position-independent program goes to a random place in a window of
 * its own, low enough to leave the kernel's heap above it all its room; interpreters go where the kernel puts mappings.
 * The whole extent is reserved first, so that no segment can land on
 * something else, and what lies between segments is given back.
 */
#include "vmm/user/load.h"

#include <errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/personality.h>
#include <linux/stat.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/abi.h"
#include "vmm/user/access.h"
#include "vmm/user/elf.h"
#include "vmm/user/path.h"
#include "vmm/user/saved.h"
#include "vmm/user/space.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/vdso.h"

/* Programs lie in [PIE_BASE, PIE_BASE + 2^PIE_BITS pages); x86-64 has its heap from 0x555555554000 on. */
#define PIE_BASE UINT64_C(0x2aaaaaaaa000)
#define PIE_BITS 28

struct image {
    int fd;
    const char *name;
    Elf64_Ehdr eh;
    Elf64_Phdr *ph;
    struct elf_layout layout;
    uint64_t bias;
};

static const char *reason(long err)
{
    switch (-err) {
    case ENOMEM: return "the address space or memory is not enough";
    case EEXIST: return "something else is mapped there";
    case EPERM: return "the addresses are too low for this user (vm.mmap_min_addr)";
    case EACCES: return "the file system forbids it (noexec)";
    case ENODEV: return "the file system cannot map files";
    default: return sys_error_text((int)-err);
    }
}

/* Reads exactly len bytes at off; a short file is an error of the file's. */
static int read_at(const struct image *m, void *buf, size_t len, uint64_t off, struct err *e)
{
    for (size_t done = 0; done < len;) {
        long n = sys_call(__NR_pread64, m->fd, (char *)buf + done, len - done, off + done);
        if (n == -EINTR)
            continue;
        if (n < 0)
            return err_set(e, (int)-n, "%s cannot be read: %s", m->name, sys_error_text((int)-n));
        if (n == 0)
            return err_set(e, ENOEXEC, "%s is cut off: it ends before byte %lu", m->name, (unsigned long)(off + len));
        done += (size_t)n;
    }
    return 0;
}

static int read_headers(struct image *m, struct err *e)
{
    long n = sys_call(__NR_pread64, m->fd, &m->eh, sizeof(m->eh), 0);
    int r;

    if (n < 0)
        return err_set(e, (int)-n, "%s cannot be read: %s", m->name, sys_error_text((int)-n));
    r = elf_check_header(&m->eh, (size_t)n, m->name, e);
    if (r)
        return r;
    m->ph = sys_alloc(m->eh.e_phnum * sizeof(*m->ph));
    if (!m->ph)
        return err_set(e, ENOMEM, "out of memory for the program headers of %s", m->name);
    if (m->eh.e_phoff > INT64_MAX - m->eh.e_phnum * sizeof(*m->ph))
        return err_set(e, ENOEXEC, "%s has program headers at an offset that no file has", m->name);
    r = read_at(m, m->ph, m->eh.e_phnum * sizeof(*m->ph), m->eh.e_phoff, e);
    if (r)
        return r;
    return elf_check_segments(&m->eh, m->ph, m->eh.e_phnum, USER_TASK_SIZE, m->name, &m->layout, e);
}

/* ---- placing ---- */

static uint64_t random_pages(unsigned bits)
{
    uint64_t v = 0;

    if (sys_call(__NR_personality, 0xffffffff) & ADDR_NO_RANDOMIZE)
        return 0;
    sys_call(__NR_getrandom, &v, sizeof(v), 0);
    return (v & (BIT64(bits) - 1)) * SYS_PAGE;
}

static long reserve_at(uint64_t addr, uint64_t len, int flags)
{
    return sys_call(__NR_mmap, addr, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

/* Reserves the extent of a position-independent image and sets the bias. */
static long reserve_anywhere(struct image *m, uint64_t len, bool window)
{
    const struct elf_layout *l = &m->layout;
    long p = -EEXIST;

    for (unsigned tries = 0; window && tries < 16 && p == -EEXIST; tries++)
        p = reserve_at(align_up(PIE_BASE + random_pages(PIE_BITS), l->align) + (l->lo & (l->align - 1)), len,
                       MAP_FIXED_NOREPLACE);
    if (!sys_is_err(p) || (window && p != -EEXIST))
        return p;
    /* Where the kernel likes, with room to align. */
    uint64_t slack = l->align - SYS_PAGE;
    if (len > UINT64_MAX - slack)
        return -ENOMEM;
    p = reserve_at(0, len + slack, 0);
    if (sys_is_err(p) || !slack)
        return p;
    uint64_t start = (uint64_t)p, at = align_up(start - (l->lo & (l->align - 1)), l->align) + (l->lo & (l->align - 1));
    if (at > start)
        sys_call(__NR_munmap, start, at - start);
    if (at + len < start + len + slack)
        sys_call(__NR_munmap, at + len, start + slack - at);
    return (long)at;
}

/* A file that ends before its segments do would end the program by SIGBUS, sometime. */
static int check_size(const struct image *m, struct err *e)
{
    struct statx st;

    if (sys_call(__NR_statx, m->fd, "", AT_EMPTY_PATH, STATX_SIZE, &st))
        return 0;
    for (unsigned i = 0; i < m->eh.e_phnum; i++) {
        const Elf64_Phdr *p = &m->ph[i];
        if (p->p_type == PT_LOAD && p->p_filesz && p->p_offset + p->p_filesz > align_up(st.stx_size, SYS_PAGE))
            return err_set(e, ENOEXEC, "%s is cut off: it ends after %lu bytes, within a segment", m->name,
                           (unsigned long)st.stx_size);
    }
    return 0;
}

static int place(struct image *m, bool window, struct err *e)
{
    const struct elf_layout *l = &m->layout;
    uint64_t len = l->hi - l->lo;
    long p;

    if (l->fixed)
        p = reserve_at(l->lo, len, MAP_FIXED_NOREPLACE);
    else
        p = reserve_anywhere(m, len, window);
    if (sys_is_err(p))
        return err_set(e, (int)-p, "%s cannot be loaded into %#lx bytes at %#lx: %s", m->name, (unsigned long)len,
                       (unsigned long)(l->fixed ? l->lo : 0), reason(p));
    m->bias = (uint64_t)p - l->lo;
    return 0;
}

/* ---- mapping ---- */

static int protection(const Elf64_Phdr *p)
{
    return (p->p_flags & PF_R ? PROT_READ : 0) | (p->p_flags & PF_W ? PROT_WRITE : 0) |
           (p->p_flags & PF_X ? PROT_EXEC : 0);
}

static int map_segment(const struct image *m, const Elf64_Phdr *p, struct err *e)
{
    uint64_t at = m->bias + p->p_vaddr, start = align_down(at, SYS_PAGE), file_end = at + p->p_filesz;
    uint64_t end = align_up(at + p->p_memsz, SYS_PAGE), file_pages = align_up(file_end, SYS_PAGE);
    int prot = protection(p);
    long r = 0;

    if (!p->p_memsz)
        return 0;
    if (p->p_filesz) {
        r = sys_call(__NR_mmap, start, file_pages - start, prot, MAP_PRIVATE | MAP_FIXED, m->fd,
                     align_down(p->p_offset, SYS_PAGE));
        /* The rest of the last page is the file's: all of it must be zero, the loader's first heap is there. */
        if (!sys_is_err(r) && p->p_memsz > p->p_filesz && (prot & PROT_WRITE) &&
            user_clear(file_end, file_pages - file_end))
            return err_set(e, ENOEXEC, "%s is cut off: a segment's last page is not in the file", m->name);
    } else {
        file_pages = start;
    }
    if (!sys_is_err(r) && end > file_pages)
        r = sys_call(__NR_mmap, file_pages, end - file_pages, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (sys_is_err(r))
        return err_set(e, (int)-r, "a segment of %s cannot be mapped: %s", m->name, reason(r));
    if (prot & PROT_EXEC)
        user_space_exec_add(start, end - start);
    if ((prot & PROT_EXEC) && p->p_filesz)
        user_saved_mapped(m->fd, start, file_pages - start, align_down(p->p_offset, SYS_PAGE));
    return 0;
}

/* Unmaps what of the reservation no segment took. */
static void free_gaps(const struct image *m)
{
    uint64_t at = m->layout.lo, stop;

    while (at < m->layout.hi) {
        uint64_t next = m->layout.hi;
        stop = 0;
        for (unsigned i = 0; i < m->eh.e_phnum; i++) {
            const Elf64_Phdr *p = &m->ph[i];
            if (p->p_type != PT_LOAD || !p->p_memsz)
                continue;
            uint64_t start = align_down(p->p_vaddr, SYS_PAGE), end = align_up(p->p_vaddr + p->p_memsz, SYS_PAGE);
            if (start <= at && end > at)
                stop = MAX(stop, end);
            else if (start > at)
                next = MIN(next, start);
        }
        if (!stop) {
            sys_call(__NR_munmap, m->bias + at, next - at);
            stop = next;
        }
        at = stop;
    }
}

static int map_image(struct image *m, bool window, struct err *e)
{
    int r = check_size(m, e);

    if (!r)
        r = place(m, window, e);
    for (unsigned i = 0; !r && i < m->eh.e_phnum; i++) {
        if (m->ph[i].p_type == PT_LOAD)
            r = map_segment(m, &m->ph[i], e);
    }
    if (!r)
        free_gaps(m);
    return r;
}

/* ---- what may be executed ---- */

int user_load_allowed(const char *path, int fd)
{
    struct statx st;
    long r = sys_call(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &st);

    if (!r && (st.stx_mode & ABI_S_IFMT) != ABI_S_IFREG)
        return (st.stx_mode & ABI_S_IFMT) == ABI_S_IFDIR ? -EISDIR : -ENOEXEC;
    r = sys_call(__NR_faccessat2, AT_FDCWD, path, 1 /* X_OK */, AT_EACCESS);
    if (r == -ENOSYS || r == -EPERM) /* older sandboxes forbid what they do not know */
        r = sys_call(__NR_faccessat, AT_FDCWD, path, 1);
    return (int)r;
}

const char *user_load_refusal(int r)
{
    switch (-r) {
    case EISDIR: return "is a directory, not a program";
    case ENOEXEC: return "is not a file, not a program";
    case EACCES: return "may not be executed: Permission denied";
    default: return sys_error_text(-r);
    }
}

/* ---- the interpreter ---- */

static int open_interpreter(const struct image *m, char path[ELF_INTERP_MAX], struct err *e)
{
    char buf[USER_PATH_MAX];
    const char *found;
    long fd;
    int r = read_at(m, path, m->layout.interp_len, m->layout.interp_off, e);

    if (r)
        return r;
    if (path[m->layout.interp_len - 1])
        return err_set(e, ENOEXEC, "the interpreter's name in %s has no end", m->name);
    if (!path[0])
        return err_set(e, ENOEXEC, "%s names an interpreter without a name", m->name);
    found = user_path_lookup(path, buf);
    fd = sys_call(__NR_openat, AT_FDCWD, found, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return err_set(e, ENOENT,
                       "%s needs the interpreter %s, which is not there; -L names a folder with an arm64 root", m->name,
                       path);
    if (fd < 0)
        return err_set(e, (int)-fd, "the interpreter %s of %s cannot be opened: %s", path, m->name,
                       sys_error_text((int)-fd));
    r = user_load_allowed(found, (int)fd);
    if (r) {
        sys_call(__NR_close, fd);
        return err_set(e, -r, "the interpreter %s of %s %s", path, m->name, user_load_refusal(r));
    }
    return (int)fd;
}

static int load_interpreter(const struct image *m, struct user_program *out, struct err *e)
{
    static char path[ELF_INTERP_MAX];
    struct image i = {.name = path};
    int r = open_interpreter(m, path, e);

    if (r < 0)
        return r;
    i.fd = r;
    r = read_headers(&i, e);
    if (!r)
        r = map_image(&i, false, e);
    out->base = i.layout.fixed ? 0 : i.bias;
    out->start = i.bias + i.layout.entry;
    sys_free(i.ph);
    sys_call(__NR_close, i.fd);
    return r;
}

int user_load(int fd, const char *name, struct user_program *out, struct err *e)
{
    struct image m = {.fd = fd, .name = name};
    int r = read_headers(&m, e);

    *out = (struct user_program){0};
    if (!r)
        r = map_image(&m, true, e);
    if (!r) {
        out->entry = out->start = m.bias + m.layout.entry;
        out->lo = m.bias + m.layout.lo;
        out->hi = m.bias + m.layout.hi;
        out->phdr = m.layout.phdr ? m.bias + m.layout.phdr : 0;
        out->phnum = m.eh.e_phnum;
        out->stack_exec = m.layout.stack_exec;
        if (m.layout.interp_len)
            r = load_interpreter(&m, out, e);
    }
    if (!r)
        r = user_vdso_map(&out->vdso, e);
    sys_free(m.ph);
    return r;
}
