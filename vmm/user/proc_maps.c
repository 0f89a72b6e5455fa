/*
 * maps, smaps and numa_maps without the emulator's pages, of this process and of others that run here.
 *
 * Another process is ours where its program is this one. What it runs is what is mapped where its auxiliary vector says
 * that the program headers are; its list of pages is at the same place of the image as ours. Who may not look into
 * its memory sees only those of its pages left out that can be told by their name.
 */
#include <asm/unistd.h>
#include <elf.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/uio.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/proc_text.h"
#include "vmm/user/stack.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static uint64_t own_vdso;

void user_proc_set_vdso(uint64_t addr)
{
    own_vdso = addr;
}

/* ---- a line ---- */

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

/* The beginning of a line, "start-end": what follows, or NULL where this is another kind of line. */
static const char *take_range(const char *text, size_t n, uint64_t *lo, uint64_t *hi)
{
    const char *p = text, *end = text + n;

    *lo = take_hex(&p, end);
    if (p == text || p == end || *p++ != '-')
        return NULL;
    *hi = take_hex(&p, end);
    return p < end && *p == ' ' ? p : NULL;
}

/* `rest` is what follows the addresses: " rwxp offset device inode   name\n". */
static void take_rest(const char *rest, size_t n, struct user_proc_mapping *m, char name[USER_PATH_MAX])
{
    const char *p = rest + MIN(n, (size_t)6), *end = rest + n;

    m->name = name;
    name[0] = '\0';
    if (n < 6)
        return;
    m->read = rest[1] == 'r';
    m->write = rest[2] == 'w';
    m->exec = rest[3] == 'x';
    m->offset = take_hex(&p, end);
    for (p++; p < end && *p != ' '; p++) /* device */
        ;
    p++;
    m->inode = p < end ? user_proc_take_number(&p) : 0;
    while (p < end && *p == ' ')
        p++;
    size_t len = p < end ? MIN((size_t)(end - p), (size_t)USER_PATH_MAX) : 0;
    if (len && p[len - 1] == '\n') {
        memcpy(name, p, len - 1);
        name[len - 1] = '\0';
    }
}

/* ---- another process ---- */

struct other {
    uint64_t phdr, image; /* addresses there */
    char emulator[USER_PATH_MAX];
    char *program; /* of USER_PATH_MAX bytes; NULL: it is not asked for */
};

static void entry_path(char out[64], uint64_t pid, const char *entry)
{
    snprintf(out, 64, "/proc/%u/%s", (unsigned)pid, entry);
}

bool user_proc_is_guest(uint64_t pid)
{
    struct statx mine, its;
    char path[64];

    entry_path(path, pid, "exe");
    return !sys_call(__NR_statx, AT_FDCWD, path, 0, STATX_INO, &its) &&
           !sys_call(__NR_statx, AT_FDCWD, "/proc/self/exe", 0, STATX_INO, &mine) && its.stx_ino == mine.stx_ino &&
           its.stx_dev_major == mine.stx_dev_major && its.stx_dev_minor == mine.stx_dev_minor;
}

/* An entry of its auxiliary vector, or 0. */
static uint64_t auxv_of(uint64_t pid, uint64_t type)
{
    uint64_t v[2 * 64 + 1] = {0};
    char path[64];
    long fd;

    entry_path(path, pid, "auxv");
    fd = sys_call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    sys_call(__NR_read, fd, v, sizeof(v) - sizeof(v[0]));
    sys_call(__NR_close, fd);
    return user_auxv_find(v, type, 0);
}

static void other_line(struct user_proc_text *o, const char *text, size_t n)
{
    struct other *other = o->opaque;
    struct user_proc_mapping m = {0};
    char name[USER_PATH_MAX];
    const char *rest = take_range(text, n, &m.start, &m.end);

    if (!rest)
        return;
    take_rest(rest, n - (size_t)(rest - text), &m, name);
    if (!other->image && !m.offset && !strcmp(name, other->emulator))
        other->image = m.start;
    if (other->program && other->phdr - m.start < m.end - m.start)
        memcpy(other->program, name, strlen(name) + 1);
}

static int look_at(uint64_t pid, struct other *other)
{
    struct user_proc_text o = {.fd = -1, .opaque = other};
    char path[64];
    long n;

    other->image = 0;
    other->phdr = auxv_of(pid, AT_PHDR);
    entry_path(path, pid, "exe");
    n = sys_call(__NR_readlinkat, AT_FDCWD, path, other->emulator, sizeof(other->emulator) - 1);
    if (n < 0)
        return (int)n;
    other->emulator[n] = '\0';
    entry_path(path, pid, "maps");
    return user_proc_for_each_line(path, other_line, &o);
}

long user_proc_program_of(uint64_t pid, char buf[USER_PATH_MAX])
{
    struct other other = {.program = buf};

    buf[0] = '\0';
    return look_at(pid, &other) || buf[0] != '/' ? -1 : (long)strlen(buf);
}

bool user_proc_image_of(uint64_t pid, int64_t *moved)
{
    struct other other = {0};

    if (look_at(pid, &other) || !other.image)
        return false;
    *moved = (int64_t)(other.image - (uint64_t)(uintptr_t)__ehdr_start);
    return true;
}

/* ---- which pages are whose ---- */

struct owned_list {
    uint64_t count, range[(SYS_OWNED_TABLE / 8 - 1) / 2][2];
};

struct maps {
    const struct owned_list *other; /* NULL: this process */
    const char *emulator;           /* the name of the image where the list could not be had */
    uint64_t vdso;
    bool hidden; /* the mapping that lines of smaps are about is not shown */
    void (*fn)(void *opaque, const struct user_proc_mapping *m);
    void *opaque;
};

static bool owned_next(const struct maps *s, uint64_t addr, uint64_t *start, uint64_t *end)
{
    if (!s->other)
        return sys_owned_next(addr, start, end);
    for (uint64_t i = 0; i < MIN(s->other->count, ARRAY_SIZE(s->other->range)); i++) {
        *start = s->other->range[i][0];
        *end = s->other->range[i][1];
        if (*end > addr && *start < *end)
            return true;
    }
    return false;
}

/* The host's own helpers of user code are not for arm64 programs. */
static bool is_hidden(const struct maps *s, const char *rest, size_t n)
{
    static const char *const names[] = {"[vdso]\n", "[vvar]\n", "[vsyscall]\n", "[vvar_vclock]\n",
                                        "/memfd:pipit-jit (deleted)\n"};
    char name[USER_PATH_MAX];
    struct user_proc_mapping m;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (ends_with(rest, n, names[i]))
            return true;
    }
    if (!s->emulator)
        return false;
    take_rest(rest, n, &m, name);
    return !strcmp(name, s->emulator);
}

static void show(struct user_proc_text *o, uint64_t lo, uint64_t hi, const char *rest, size_t n)
{
    static const char label[] = " r-xp 00000000 00:00 0                          [vdso]\n";
    const struct maps *s = o->opaque;
    bool vdso = lo == s->vdso && hi - lo == SYS_PAGE;
    struct user_proc_mapping m = {0};
    char text[USER_PATH_MAX];

    if (s->fn) {
        take_rest(rest, n, &m, text);
        m.start = lo;
        m.end = hi;
        if (vdso)
            m.name = "[vdso]";
        s->fn(s->opaque, &m);
        return;
    }
    user_proc_put(o, text, (size_t)snprintf(text, sizeof(text), "%08lx-%08lx", (unsigned long)lo, (unsigned long)hi));
    user_proc_put(o, vdso ? label : rest, vdso ? strlen(label) : n);
}

/* A mapping is the guest's but for our pages; what is partly ours is shown without that part. */
static void maps_line(struct user_proc_text *o, const char *text, size_t n)
{
    struct maps *s = o->opaque;
    uint64_t lo, hi, start, end;
    const char *rest = take_range(text, n, &lo, &hi);

    if (!rest) {
        if (!s->hidden)
            user_proc_put(o, text, n);
        return;
    }
    n -= (size_t)(rest - text);
    s->hidden = true;
    if (is_hidden(s, rest, n))
        return;
    while (lo < hi) {
        uint64_t stop = hi, next = hi;
        if (owned_next(s, lo, &start, &end) && start < hi) {
            stop = MAX(start, lo);
            next = end;
        }
        if (stop > lo) {
            show(o, lo, stop, rest, n);
            s->hidden = false;
        }
        lo = next;
    }
}

/* numa_maps: one address a line, the mapping's first. */
static void numa_line(struct user_proc_text *o, const char *text, size_t n)
{
    const struct maps *s = o->opaque;
    const char *p = text;
    uint64_t lo = take_hex(&p, text + n), start, end;

    if (!(owned_next(s, lo, &start, &end) && start <= lo) && !is_hidden(s, p, (size_t)(text + n - p)))
        user_proc_put(o, text, n);
}

int user_proc_maps(struct user_proc_text *o, const char *path, const struct user_proc_name *name)
{
    struct maps s = {.vdso = own_vdso};
    struct owned_list *list = NULL;
    struct other other = {0};
    int r;

    if (name->pid) {
        list = sys_alloc(sizeof(*list));
        if (!list)
            return -ENOMEM;
        r = look_at(name->pid, &other);
        if (r) {
            sys_free(list);
            return r;
        }
        struct iovec local = {list, sizeof(*list)};
        struct iovec remote = {
            (void *)(other.image + ((uint64_t)(uintptr_t)sys_owned_table() - (uint64_t)(uintptr_t)__ehdr_start)),
            sizeof(*list)};
        if (sys_call(__NR_process_vm_readv, name->pid, &local, 1, &remote, 1, 0) != (long)sizeof(*list))
            list->count = 0;
        s = (struct maps){.other = list, .emulator = other.emulator, .vdso = auxv_of(name->pid, AT_SYSINFO_EHDR)};
    }
    o->opaque = &s;
    r = user_proc_for_each_line(path, !strcmp(name->entry, "numa_maps") ? numa_line : maps_line, o);
    sys_free(list);
    return r;
}

int user_proc_for_each_mapping(void (*fn)(void *opaque, const struct user_proc_mapping *m), void *opaque)
{
    struct maps s = {.vdso = own_vdso, .fn = fn, .opaque = opaque};
    struct user_proc_text o = {.fd = -1, .opaque = &s};

    return user_proc_for_each_line("/proc/self/maps", maps_line, &o);
}
