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
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/trace.h"

static char exe[USER_PATH_MAX];
static uint64_t vdso;

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

    vdso = m->program->vdso;
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

/* The number that *p begins with, moving *p behind it; 0 where there is none. */
static uint64_t take_number(const char **p)
{
    uint64_t n = 0;

    for (; **p >= '0' && **p <= '9' && n < INT32_MAX; (*p)++)
        n = n * 10 + (uint64_t)(**p - '0');
    return n;
}

static bool take_word(const char **p, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*p, word, n))
        return false;
    *p += n;
    return true;
}

/* What follows "/proc/self/", or another name of this process's folder; NULL: something else. */
static const char *own_entry(const char *path)
{
    const char *p = path;

    if (!take_word(&p, "/proc/"))
        return NULL;
    if (!take_word(&p, "self/") && !take_word(&p, "thread-self/")) {
        if (take_number(&p) != (uint64_t)sys_call(__NR_getpid) || *p++ != '/')
            return NULL;
    }
    if (take_word(&p, "task/")) {
        uint64_t tid = take_number(&p);
        if (!tid || *p++ != '/' || sys_call(__NR_tgkill, sys_call(__NR_getpid), tid, 0))
            return NULL;
    }
    return p;
}

const char *user_proc_exe(const char *path)
{
    const char *entry = path[0] == '/' && path[1] == 'p' ? own_entry(path) : NULL;

    return entry && !strcmp(entry, "exe") ? exe : NULL;
}

/* The number that follows "/proc/", with *p behind it and the slash; 0: none. */
static uint64_t take_process(const char **p)
{
    uint64_t pid = 0;

    if (take_word(p, "/proc/"))
        pid = take_number(p);
    return pid && *(*p)++ == '/' ? pid : 0;
}

const char *user_proc_exe_of(const char *path, char buf[USER_PATH_MAX])
{
    struct user_tracee other = {.tid = (int32_t)take_process(&path)};

    if (!other.tid || strcmp(path, "exe") || user_tracer_is_ours(other.tid) != 1 ||
        user_tracee_read(&other, (uint64_t)(uintptr_t)exe, buf, USER_PATH_MAX))
        return NULL;
    return memchr(buf, '\0', USER_PATH_MAX) && buf[0] ? buf : NULL;
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
    if (pid && take_word(&p, "task/")) {
        take_number(&p);
        if (*p++ != '/')
            return 0;
    }
    return pid && !strcmp(p, "mem") ? (int32_t)pid : 0;
}

/* ---- contents ---- */

struct output {
    int fd;
    void (*mapping)(void *opaque, const struct user_proc_mapping *m); /* instead of lines */
    void *opaque;
    size_t len;
    bool hidden; /* smaps: the mapping that the lines are about is not shown */
    char buf[4096];
};

static void flush(struct output *o)
{
    sys_write_all(o->fd, o->buf, o->len);
    o->len = 0;
}

static void put(struct output *o, const char *text, size_t n)
{
    while (n) {
        size_t part = MIN(n, sizeof(o->buf) - o->len);
        memcpy(o->buf + o->len, text, part);
        o->len += part;
        text += part;
        n -= part;
        if (o->len == sizeof(o->buf))
            flush(o);
    }
}

/* Calls `line` for each line of a file, its newline included; longer ones than the buffer come in pieces. */
static int for_each_line(const char *path, void (*line)(struct output *o, const char *text, size_t n), struct output *o)
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

static uint64_t take_hex(const char **p, const char *end)
{
    uint64_t v = 0;

    for (; *p < end; (*p)++) {
        char c = **p;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            break;
    }
    return v;
}

static bool ends_with(const char *text, size_t n, const char *word)
{
    size_t w = strlen(word);

    return n >= w && !memcmp(text + n - w, word, w);
}

/* `rest` is what follows the addresses: " rwxp offset device inode   name". */
static void call_mapping(struct output *o, uint64_t lo, uint64_t hi, const char *rest, size_t n)
{
    struct user_proc_mapping m = {.start = lo, .end = hi, .name = ""};
    const char *p = rest + 6, *end = rest + n;
    char name[USER_PATH_MAX];

    m.read = rest[1] == 'r';
    m.write = rest[2] == 'w';
    m.exec = rest[3] == 'x';
    m.offset = take_hex(&p, end);
    for (p++; p < end && *p != ' '; p++) /* device */
        ;
    p++;
    m.inode = take_number(&p);
    while (p < end && *p == ' ')
        p++;
    size_t len = MIN((size_t)(end - p), sizeof(name));
    if (len && p[len - 1] == '\n') {
        memcpy(name, p, len - 1);
        name[len - 1] = '\0';
        m.name = name;
    }
    if (lo == vdso && hi - lo == SYS_PAGE)
        m.name = "[vdso]";
    o->mapping(o->opaque, &m);
}

/* A mapping is the guest's but for our pages; what is partly ours is shown without that part. */
static void put_mapping(struct output *o, const char *text, size_t n)
{
    static const char label[] = " r-xp 00000000 00:00 0                          [vdso]\n";
    const char *p = text, *rest;
    uint64_t lo = take_hex(&p, text + n), hi, start, end;
    char range[64];

    p++;
    hi = take_hex(&p, text + n);
    rest = p;
    n -= (size_t)(rest - text);
    o->hidden = true;
    /* The host's own helpers of user code: not for arm64 programs. */
    if (ends_with(rest, n, "[vdso]\n") || ends_with(rest, n, "[vvar]\n") || ends_with(rest, n, "[vsyscall]\n") ||
        ends_with(rest, n, "[vvar_vclock]\n"))
        return;
    while (lo < hi) {
        uint64_t stop = hi, next = hi;
        if (sys_owned_next(lo, &start, &end) && start < hi) {
            stop = MAX(start, lo);
            next = end;
        }
        if (stop > lo && o->mapping) {
            call_mapping(o, lo, stop, rest, n);
        } else if (stop > lo) {
            int len = snprintf(range, sizeof(range), "%08lx-%08lx", (unsigned long)lo, (unsigned long)stop);
            put(o, range, (size_t)len);
            if (lo == vdso && stop - lo == SYS_PAGE)
                put(o, label, strlen(label));
            else
                put(o, rest, n);
            o->hidden = false;
        }
        lo = next;
    }
}

static void maps_line(struct output *o, const char *text, size_t n)
{
    const char *p = text;

    take_hex(&p, text + n);
    if (p > text && p < text + n && *p == '-')
        put_mapping(o, text, n);
    else if (!o->hidden)
        put(o, text, n);
}

static void fdinfo_line(struct output *o, const char *text, size_t n)
{
    const char *p = text;
    uint64_t flags = 0;
    char line[64];

    if (!take_word(&p, "flags:\t")) {
        put(o, text, n);
        return;
    }
    for (; *p >= '0' && *p <= '7'; p++)
        flags = flags << 3 | (uint64_t)(*p - '0');
    put(o, line,
        (size_t)snprintf(line, sizeof(line), "flags:\t0%lo\n", (unsigned long)user_open_flags_to_guest(flags)));
}

static void put_cpuinfo(struct output *o)
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
        put(o, text, (size_t)n);
    }
}

int user_proc_open(const char *path, uint64_t host_flags)
{
    const char *entry = own_entry(path), *p = entry;
    bool cpuinfo = !strcmp(path, "/proc/cpuinfo");
    bool maps = entry && (!strcmp(entry, "maps") || !strcmp(entry, "smaps") || !strcmp(entry, "numa_maps"));
    bool fdinfo = entry && take_word(&p, "fdinfo/");
    struct output o = {.len = 0};
    int r = 0;

    if ((!cpuinfo && !maps && !fdinfo) || (host_flags & (O_ACCMODE | O_PATH | O_DIRECTORY)))
        return USER_PROC_OTHER;
    o.fd = (int)sys_call(__NR_memfd_create, entry ? entry : "cpuinfo", host_flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
    if (o.fd < 0)
        return o.fd;
    if (cpuinfo)
        put_cpuinfo(&o);
    else
        r = for_each_line(path, maps ? maps_line : fdinfo_line, &o);
    flush(&o);
    sys_call(__NR_lseek, o.fd, 0, 0);
    if (r < 0) {
        sys_call(__NR_close, o.fd);
        return r;
    }
    return o.fd;
}

int user_proc_for_each_mapping(void (*fn)(void *opaque, const struct user_proc_mapping *m), void *opaque)
{
    struct output o = {.fd = -1, .mapping = fn, .opaque = opaque};

    return for_each_line("/proc/self/maps", maps_line, &o);
}
