/*
 * An ELF core file as fs/binfmt_elf.c writes it: program headers for one note segment and for each mapping, the notes
 * (of the thread that ended it all, then of the others), and the contents of private and anonymous memory. Of other
 * file mappings the first page is kept, by which debuggers know the file.
 *
 * The list of mappings is read twice, for headers and for contents, into no memory of ours: what changes between is cut
 * or filled with zeroes.
 */
#include "vmm/user/core.h"

#include <elf.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/executor.h"
#include "vmm/user/path.h"
#include "vmm/user/proc.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

/* ---- notes (include/uapi/linux/elfcore.h, arch/arm64's elf_gregset_t) ---- */

struct prstatus {
    int32_t signo, code, error;
    int16_t cursig, pad0;
    uint64_t pending, held;
    int32_t pid, ppid, pgrp, sid;
    int64_t times[8];
    uint64_t x[31], sp, pc, pstate;
    int32_t fp_valid, pad1;
};
_Static_assert(sizeof(struct prstatus) == 392, "prstatus");

struct prpsinfo {
    char state, sname, zombie, nice;
    uint64_t flags;
    uint32_t uid, gid;
    int32_t pid, ppid, pgrp, sid;
    char fname[16], args[80];
};
_Static_assert(sizeof(struct prpsinfo) == 136, "prpsinfo");

struct fpregs {
    uint64_t v[32][2];
    uint32_t fpsr, fpcr, reserved[2];
};

#define NT_FILE_MAX KIB(256)

struct writer {
    int fd;
    uint64_t at, limit;
    bool failed;
    const struct abi_siginfo *info;
    /* of the mappings */
    unsigned count;
    uint64_t offset; /* where the next mapping's contents go */
    bool headers;    /* PT_LOAD headers are being written, else contents */
    /* of the note of files */
    uint8_t *files;
    size_t files_len, names_len, files_count;
};

static void put(struct writer *w, const void *p, size_t len)
{
    while (len && !w->failed) {
        size_t part = MIN(len, w->limit - w->at);
        long n = part ? sys_call(__NR_pwrite64, w->fd, p, part, w->at) : -EFBIG;
        if (n == -EINTR)
            continue;
        if (n <= 0) {
            w->failed = true;
            break;
        }
        p = (const uint8_t *)p + n;
        len -= (size_t)n;
        w->at += (uint64_t)n;
    }
}

static size_t note_size(size_t name, size_t desc)
{
    return sizeof(Elf64_Nhdr) + align_up(name, 4) + align_up(desc, 4);
}

static void put_note(struct writer *w, const char *name, uint32_t type, const void *desc, size_t len)
{
    static const uint8_t zero[8];
    Elf64_Nhdr h = {.n_namesz = (uint32_t)strlen(name) + 1, .n_descsz = (uint32_t)len, .n_type = type};

    put(w, &h, sizeof(h));
    put(w, name, h.n_namesz);
    put(w, zero, align_up(h.n_namesz, 4) - h.n_namesz);
    put(w, desc, len);
    put(w, zero, align_up(len, 4) - len);
}

static void put_thread(struct writer *w, struct user_thread *t, bool first)
{
    const struct arm64_cpu *c = t->cpu;
    struct prstatus s = {.held = t->mask, .pid = t->tid, .sp = c->x[31], .pc = c->pc, .fp_valid = 1};
    struct fpregs fp = {.fpsr = c->fpsr, .fpcr = c->fpcr};

    if (first) {
        s.signo = w->info->signo;
        s.code = w->info->code;
        s.cursig = (int16_t)w->info->signo;
    }
    s.ppid = (int32_t)sys_call(__NR_getppid);
    s.pgrp = (int32_t)sys_call(__NR_getpgid, 0);
    s.sid = (int32_t)sys_call(__NR_getsid, 0);
    memcpy(s.x, c->x, sizeof(s.x));
    s.pstate = arm64_nzcv(c) | c->pstate_misc;
    memcpy(fp.v, c->v, sizeof(fp.v));
    put_note(w, "CORE", NT_PRSTATUS, &s, sizeof(s));
    if (first)
        put_note(w, "CORE", NT_SIGINFO, w->info, sizeof(*w->info));
    put_note(w, "CORE", NT_FPREGSET, &fp, sizeof(fp));
    put_note(w, "LINUX", NT_ARM_TLS, &c->sys.tpidr_el0, sizeof(c->sys.tpidr_el0));
}

static size_t thread_notes_size(bool first)
{
    return note_size(5, sizeof(struct prstatus)) + (first ? note_size(5, sizeof(struct abi_siginfo)) : 0) +
           note_size(5, sizeof(struct fpregs)) + note_size(6, 8);
}

static void put_process(struct writer *w)
{
    struct prpsinfo p = {.sname = 'R', .pid = (int32_t)sys_call(__NR_getpid)};
    long fd = sys_call(__NR_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);

    p.uid = (uint32_t)sys_call(__NR_getuid);
    p.gid = (uint32_t)sys_call(__NR_getgid);
    sys_call(__NR_prctl, PR_GET_NAME, p.fname, 0, 0, 0);
    if (fd >= 0) {
        long n = sys_call(__NR_read, fd, p.args, sizeof(p.args) - 1);
        for (long i = 0; i + 1 < n; i++)
            p.args[i] = p.args[i] ? p.args[i] : ' ';
        sys_call(__NR_close, fd);
    }
    put_note(w, "CORE", NT_PRPSINFO, &p, sizeof(p));
}

static size_t read_auxv(uint64_t *auxv, size_t size)
{
    long fd = sys_call(__NR_openat, AT_FDCWD, "/proc/self/auxv", O_RDONLY | O_CLOEXEC, 0), n;

    if (fd < 0)
        return 0;
    n = sys_call(__NR_read, fd, auxv, size);
    sys_call(__NR_close, fd);
    return n > 0 ? (size_t)n : 0;
}

/* ---- mappings ---- */

static size_t dumped(const struct user_proc_mapping *m)
{
    if (!m->read)
        return 0;
    return m->write || !m->inode ? m->end - m->start : SYS_PAGE;
}

static void count_mapping(void *opaque, const struct user_proc_mapping *m)
{
    struct writer *w = opaque;
    size_t n = strlen(m->name);

    w->count++;
    if (!m->inode || w->files_len + 24 + n + 1 > NT_FILE_MAX / 2)
        return;
    uint64_t row[3] = {m->start, m->end, m->offset / SYS_PAGE};
    memcpy(w->files + 16 + w->files_count * sizeof(row), row, sizeof(row));
    memcpy(w->files + NT_FILE_MAX / 2 + w->names_len, m->name, n + 1);
    w->files_count++;
    w->files_len += sizeof(row);
    w->names_len += n + 1;
}

static void put_mapping(void *opaque, const struct user_proc_mapping *m)
{
    struct writer *w = opaque;

    if (!w->count)
        return; /* newer than the count */
    w->count--;
    if (w->headers) {
        Elf64_Phdr ph = {.p_type = PT_LOAD,
                         .p_flags = (m->read ? PF_R : 0u) | (m->write ? PF_W : 0u) | (m->exec ? PF_X : 0u),
                         .p_offset = w->offset,
                         .p_vaddr = m->start,
                         .p_filesz = dumped(m),
                         .p_memsz = m->end - m->start,
                         .p_align = SYS_PAGE};
        put(w, &ph, sizeof(ph));
        w->offset += ph.p_filesz;
        return;
    }
    /* Page by page: what cannot be read, or is behind a file's end, is a hole. */
    uint64_t base = w->at;
    for (uint64_t off = 0; off < dumped(m) && !w->failed; off += SYS_PAGE) {
        if (base + off >= w->limit) {
            w->failed = true;
            break;
        }
        sys_call(__NR_pwrite64, w->fd, m->start + off, MIN(SYS_PAGE, w->limit - base - off), base + off);
    }
    w->at = base + dumped(m);
}

/* ---- the file ---- */

/* core_pattern(5): the path; false: a program takes core files, or none are to be made. */
static void expand(const char *pattern, int sig, char *path, size_t size)
{
    char name[16] = "";
    size_t n = 0;

    sys_call(__NR_prctl, PR_GET_NAME, name, 0, 0, 0);
    for (const char *p = pattern; *p && *p != '\n' && n + 32 < size; p++) {
        if (*p != '%') {
            path[n++] = *p;
            continue;
        }
        switch (*++p) {
        case '\0': p--; break;
        case '%': path[n++] = '%'; break;
        case 'p':
        case 'P': n += (size_t)snprintf(path + n, size - n, "%ld", sys_call(__NR_getpid)); break;
        case 'i':
        case 'I': n += (size_t)snprintf(path + n, size - n, "%ld", sys_call(__NR_gettid)); break;
        case 'u': n += (size_t)snprintf(path + n, size - n, "%ld", sys_call(__NR_getuid)); break;
        case 'g': n += (size_t)snprintf(path + n, size - n, "%ld", sys_call(__NR_getgid)); break;
        case 's': n += (size_t)snprintf(path + n, size - n, "%d", sig); break;
        case 'e': n += (size_t)snprintf(path + n, size - n, "%s", name); break;
        case 't': n += (size_t)snprintf(path + n, size - n, "%ld", sys_call(__NR_time, NULL)); break;
        default: break;
        }
    }
    path[n] = '\0';
}

static size_t read_line(const char *path, char *buf, size_t size)
{
    long fd = sys_call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), n = 0;

    if (fd >= 0) {
        n = sys_call(__NR_read, fd, buf, size - 1);
        sys_call(__NR_close, fd);
    }
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static int open_core(int sig, bool *here)
{
    char pattern[256], uses_pid[8], path[USER_PATH_MAX];
    bool pid;

    if (!read_line("/proc/sys/kernel/core_pattern", pattern, sizeof(pattern)) || strchr("|@", pattern[0]))
        strcpy(pattern, "core.%p");
    else if (pattern[0] == '\n')
        return -ENOENT;
    else
        *here = !strchr(pattern, '/');
    pid = !strchr(pattern, '%') && read_line("/proc/sys/kernel/core_uses_pid", uses_pid, sizeof(uses_pid)) &&
          uses_pid[0] != '0';
    expand(pattern, sig, path, sizeof(path) - 32);
    if (pid)
        snprintf(path + strlen(path), 32, ".%ld", sys_call(__NR_getpid));
    sys_call(__NR_unlinkat, AT_FDCWD, path, 0);
    return (int)sys_call(__NR_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void write_core(struct writer *w, struct user_thread *t)
{
    uint64_t auxv[128];
    size_t auxv_len = read_auxv(auxv, sizeof(auxv)), notes, files_len;
    unsigned others = user_thread_count() - 1;
    Elf64_Ehdr eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                     .e_type = ET_CORE,
                     .e_machine = EM_AARCH64,
                     .e_version = EV_CURRENT,
                     .e_phoff = sizeof(eh),
                     .e_ehsize = sizeof(eh),
                     .e_phentsize = sizeof(Elf64_Phdr)};

    user_proc_for_each_mapping(count_mapping, w);
    eh.e_phnum = (uint16_t)MIN(w->count + 1, 0xfffeu);
    w->count = eh.e_phnum - 1u;
    unsigned count = w->count;
    ((uint64_t *)w->files)[0] = w->files_count;
    ((uint64_t *)w->files)[1] = SYS_PAGE;
    memmove(w->files + 16 + w->files_len, w->files + NT_FILE_MAX / 2, w->names_len);
    files_len = 16 + w->files_len + w->names_len;

    notes = thread_notes_size(true) + others * thread_notes_size(false) + note_size(5, sizeof(struct prpsinfo)) +
            note_size(5, auxv_len) + note_size(5, files_len);
    Elf64_Phdr note = {
        .p_type = PT_NOTE, .p_offset = sizeof(eh) + eh.e_phnum * sizeof(Elf64_Phdr), .p_filesz = notes, .p_align = 4};
    put(w, &eh, sizeof(eh));
    put(w, &note, sizeof(note));
    w->offset = align_up(note.p_offset + notes, SYS_PAGE);
    w->headers = true;
    user_proc_for_each_mapping(put_mapping, w);
    w->at = note.p_offset;
    put_thread(w, t, true);
    put_process(w);
    put_note(w, "CORE", NT_AUXV, auxv, auxv_len);
    put_note(w, "CORE", NT_FILE, w->files, files_len);
    for (struct user_thread *o = user_thread_next(NULL); o && others; o = user_thread_next(o)) {
        if (o == t)
            continue;
        put_thread(w, o, false);
        others--;
    }
    w->at = align_up(note.p_offset + notes, SYS_PAGE);
    w->headers = false;
    w->count = count;
    user_proc_for_each_mapping(put_mapping, w);
    if (!w->failed)
        sys_call(__NR_ftruncate, w->fd, w->at); /* a hole at the end is a part of it */
}

enum user_core_file user_core_dump(struct user_thread *t, const struct abi_siginfo *info)
{
    struct rlimit limit = {0};
    struct writer w = {.info = info};
    bool here = false;

    if (!(USER_CORE_SIGNALS & ABI_SIGBIT(info->signo)) || sys_call(__NR_prlimit64, 0, RLIMIT_CORE, NULL, &limit) ||
        limit.rlim_cur < SYS_PAGE || sys_call(__NR_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0) != 1)
        return USER_CORE_NONE;
    w.limit = limit.rlim_cur;
    w.files = sys_alloc(NT_FILE_MAX);
    w.fd = w.files ? open_core(info->signo, &here) : -ENOMEM;
    if (w.fd >= 0) {
        user_executor_fp_sync(t->cpu);
        write_core(&w, t);
        sys_call(__NR_close, w.fd);
    }
    sys_free(w.files);
    return w.fd < 0 ? USER_CORE_NONE : here ? USER_CORE_WRITTEN_HERE : USER_CORE_WRITTEN;
}
