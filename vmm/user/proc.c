/* The guest's own entries of /proc: see proc.h. Contents are made when a file is opened, into a memory file. */
#include "vmm/user/proc.h"

#include <asm/unistd.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/cpu.h"
#include "vmm/user/open_flags.h"
#include "vmm/user/options.h"
#include "vmm/user/proc_text.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/trace.h"

static char exe[USER_PATH_MAX];

/* ---- the program ---- */

void user_proc_set_program(int fd, const char *path)
{
    char link[64];
    long n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = sys_call(__NR_readlinkat, AT_FDCWD, link, exe, sizeof(exe) - 1);
    if (n > 0) {
        exe[n] = '\0';
        return;
    }
    /* No /proc: the name, made absolute. */
    n = path[0] == '/' ? 0 : sys_call(__NR_getcwd, exe, sizeof(exe));
    if (n < 0)
        n = 0;
    snprintf(exe + (n ? n - 1 : 0), sizeof(exe) - (size_t)n, "%s%s", n ? "/" : "", path);
}

const char *user_proc_program(void)
{
    return exe;
}

/* The strings that a vector of pointers ends with, as the kernel keeps them: from the first to behind the last. */
static void string_range(uint64_t vector, __u64 *start, __u64 *end)
{
    const char *const *v = (const char *const *)(uintptr_t)vector;
    uint64_t lo = UINT64_MAX, hi = 0;

    for (; *v; v++) {
        lo = MIN(lo, (uint64_t)(uintptr_t)*v);
        hi = MAX(hi, (uint64_t)(uintptr_t)*v + strlen(*v) + 1);
    }
    *start = hi ? lo : 0;
    *end = hi;
}

void user_proc_publish(const struct user_proc_image *m, bool set_name)
{
    struct prctl_mm_map map = {.exe_fd = (uint32_t)-1};
    const char *slash = strrchr(exe, '/');
    uint64_t brk = (uint64_t)sys_call(__NR_brk, 0);

    user_proc_set_vdso(m->program->vdso);
    map.start_code = m->program->lo;
    map.end_code = m->program->hi;
    map.start_data = m->program->lo;
    map.end_data = m->program->hi;
    map.start_brk = brk;
    map.brk = brk;
    map.start_stack = m->sp;
    string_range(m->argv, &map.arg_start, &map.arg_end);
    string_range(m->envp, &map.env_start, &map.env_end);
    if (!map.arg_end)
        map.arg_start = map.arg_end = m->sp;
    if (!map.env_end)
        map.env_start = map.env_end = map.arg_end;
    map.auxv = (__u64 *)(uintptr_t)m->auxv;
    map.auxv_size = (uint32_t)m->auxv_size;
    /* Kernels without CONFIG_CHECKPOINT_RESTORE refuse: they go on telling what execve told them. */
    sys_call(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
    if (set_name)
        sys_call(__NR_prctl, PR_SET_NAME, slash ? slash + 1 : exe, 0, 0, 0);
}

/* ---- names ---- */

uint64_t user_proc_take_number(const char **p)
{
    uint64_t n = 0;

    for (; **p >= '0' && **p <= '9' && n < INT32_MAX; (*p)++)
        n = n * 10 + (uint64_t)(**p - '0');
    return n;
}

bool user_proc_take_word(const char **p, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*p, word, n))
        return false;
    *p += n;
    return true;
}

/* False: not in the folder of a process that runs here. */
static bool parse(const char *path, struct user_proc_name *name)
{
    const char *p = path;

    *name = (struct user_proc_name){0};
    if (!user_proc_take_word(&p, "/proc/"))
        return false;
    if (user_proc_take_word(&p, "thread-self/")) {
        name->tid = (uint64_t)sys_call(__NR_gettid);
    } else if (!user_proc_take_word(&p, "self/")) {
        name->pid = user_proc_take_number(&p);
        if (!name->pid || *p++ != '/')
            return false;
        if (name->pid == (uint64_t)sys_call(__NR_getpid))
            name->pid = 0;
    }
    if (user_proc_take_word(&p, "task/")) {
        name->tid = user_proc_take_number(&p);
        if (!name->tid || *p++ != '/')
            return false;
    }
    name->entry = p;
    return true;
}

const char *user_proc_exe(const char *path, char buf[USER_PATH_MAX])
{
    struct user_proc_name name;
    long n;

    if (!parse(path, &name) || strcmp(name.entry, "exe") != 0)
        return NULL;
    if (!name.pid)
        return exe;
    if (!user_proc_is_guest(name.pid))
        return NULL;
    n = user_proc_program_of(name.pid, buf);
    return n < 0 ? NULL : buf;
}

/* The number that follows "/proc/", with *p behind it and the slash; 0: none. */
static uint64_t take_process(const char **p)
{
    uint64_t pid = 0;

    if (user_proc_take_word(p, "/proc/"))
        pid = user_proc_take_number(p);
    return pid && *(*p)++ == '/' ? pid : 0;
}

int32_t user_proc_memory_of(int fd)
{
    char link[32], path[64];
    const char *p = path;
    uint64_t pid;
    long n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = sys_call(__NR_readlinkat, AT_FDCWD, link, path, sizeof(path) - 1);
    if (n <= 0)
        return 0;
    path[n] = '\0';
    pid = take_process(&p);
    if (pid && user_proc_take_word(&p, "task/")) {
        user_proc_take_number(&p);
        if (*p++ != '/')
            return 0;
    }
    return pid && !strcmp(p, "mem") ? (int32_t)pid : 0;
}

/* ---- lines ---- */

void user_proc_flush(struct user_proc_text *o)
{
    sys_write_all(o->fd, o->buf, o->len);
    o->len = 0;
}

void user_proc_put(struct user_proc_text *o, const char *text, size_t n)
{
    while (n) {
        size_t part = MIN(n, sizeof(o->buf) - o->len);
        memcpy(o->buf + o->len, text, part);
        o->len += part;
        text += part;
        n -= part;
        if (o->len == sizeof(o->buf))
            user_proc_flush(o);
    }
}

int user_proc_for_each_line(const char *path, user_proc_line_fn line, struct user_proc_text *o)
{
    char buf[8192];
    size_t have = 0;
    long fd = sys_call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), n;

    if (fd < 0)
        return (int)fd;
    while ((n = sys_call(__NR_read, fd, buf + have, sizeof(buf) - have)) > 0 || have) {
        size_t start = 0;
        have += n > 0 ? (size_t)n : 0;
        for (char *end; (end = memchr(buf + start, '\n', have - start));) {
            size_t len = (size_t)(end - buf) + 1 - start;
            line(o, buf + start, len);
            start += len;
        }
        if (start == 0 && (have == sizeof(buf) || n <= 0)) {
            line(o, buf, have);
            start = have;
        }
        memmove(buf, buf + start, have - start);
        have -= start;
    }
    sys_call(__NR_close, fd);
    return 0;
}

/* ---- contents ---- */

static void fdinfo_line(struct user_proc_text *o, const char *text, size_t n)
{
    const char *p = text;
    uint64_t flags = 0;
    char line[64];

    if (!user_proc_take_word(&p, "flags:\t")) {
        user_proc_put(o, text, n);
        return;
    }
    for (; *p >= '0' && *p <= '7'; p++)
        flags = flags << 3 | (uint64_t)(*p - '0');
    user_proc_put(
        o, line,
        (size_t)snprintf(line, sizeof(line), "flags:\t0%lo\n", (unsigned long)user_open_flags_to_guest(flags)));
}

static void put_cpuinfo(struct user_proc_text *o)
{
    const struct arm64_model *m = user_options.model;
    uint64_t cpus[128] = {0};
    char text[1024];
    int n;

    sys_call(__NR_sched_getaffinity, 0, sizeof(cpus), cpus);
    for (unsigned i = 0; i < 64 * ARRAY_SIZE(cpus); i++) {
        if (!(cpus[i / 64] & BIT64(i % 64)))
            continue;
        n = snprintf(text, sizeof(text), "processor\t: %u\nBogoMIPS\t: 2000.00\nFeatures\t:", i);
        n += user_hwcap_names(m, text + n, sizeof(text) - (size_t)n);
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "\nCPU implementer\t: 0x%02x\nCPU architecture: 8\nCPU variant\t: 0x%x\nCPU part\t: 0x%03x\n"
                      "CPU revision\t: %u\n\n",
                      (unsigned)bits64(m->midr, 31, 24), (unsigned)bits64(m->midr, 23, 20),
                      (unsigned)bits64(m->midr, 15, 4), (unsigned)bits64(m->midr, 3, 0));
        user_proc_put(o, text, (size_t)n);
    }
}

typedef int (*make_fn)(struct user_proc_text *o, const char *path, const struct user_proc_name *name);

static int make_cpuinfo(struct user_proc_text *o, const char *path, const struct user_proc_name *name)
{
    long r = sys_call(__NR_faccessat, AT_FDCWD, path, 4 /* R_OK: it is not there with subset=pid */);

    (void)name;
    if (!r)
        put_cpuinfo(o);
    return (int)r;
}

static int make_fdinfo(struct user_proc_text *o, const char *path, const struct user_proc_name *name)
{
    (void)name;
    return user_proc_for_each_line(path, fdinfo_line, o);
}

static int make_status(struct user_proc_text *o, const char *path, const struct user_proc_name *name)
{
    return user_proc_for_each_line(path, !strcmp(name->entry, "stat") ? user_proc_stat_line : user_proc_status_line, o);
}

/* The files of a process that are made; those of its folder fdinfo, whose names are numbers, beside them. */
static const struct {
    const char *entry;
    make_fn make;
} made[] = {
    {"maps", user_proc_maps}, {"smaps", user_proc_maps}, {"numa_maps", user_proc_maps},
    {"status", make_status},  {"stat", make_status},
};

static make_fn made_as(const char *entry)
{
    for (size_t i = 0; i < ARRAY_SIZE(made); i++)
        if (!strcmp(entry, made[i].entry))
            return made[i].make;
    return NULL;
}

static make_fn maker(const char *path, struct user_proc_name *name)
{
    const char *e;
    make_fn make;

    if (!parse(path, name))
        return !strcmp(path, "/proc/cpuinfo") ? make_cpuinfo : NULL;
    e = name->entry;
    make = user_proc_take_word(&e, "fdinfo/") ? make_fdinfo : made_as(e);
    return make && (!name->pid || user_proc_is_guest(name->pid)) ? make : NULL;
}

bool user_proc_may_be(const char *last)
{
    const char *p = last;

    user_proc_take_number(&p);
    return (p > last && !*p) || made_as(last) || !strcmp(last, "cpuinfo");
}

int user_proc_open(const char *path, uint64_t host_flags)
{
    struct user_proc_name name;
    struct user_proc_text o = {.opaque = &name};
    make_fn make = host_flags & (O_ACCMODE | O_PATH | O_DIRECTORY) ? NULL : maker(path, &name);
    int r;

    if (!make)
        return USER_PROC_OTHER;
    o.fd = (int)sys_call(__NR_memfd_create, make == make_cpuinfo ? "cpuinfo" : name.entry,
                         host_flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
    if (o.fd < 0)
        return o.fd;
    r = make(&o, path, &name);
    user_proc_flush(&o);
    sys_call(__NR_lseek, o.fd, 0, 0);
    if (r < 0) {
        sys_call(__NR_close, o.fd);
        return r;
    }
    return o.fd;
}
