/*
 * Look-up of the kernel in a child process. It opens the disk as the machine will, read-only and with the locks; then,
 * before it looks at a byte of what the guest's systems have written there, it enters the filter of the loop's threads,
 * which opens nothing, and it has little CPU time. It hands the files over in memory that both share, and its words in
 * a page, in which nothing is believed but text.
 */
#include "vmm/machine/disk_boot.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader/disk/disk.h"
#include "loader/loader.h"
#include "vmm/base/util.h"
#include "vmm/machine/disks.h"
#include "vmm/service/life/dirs.h"
#include "vmm/service/sandbox.h"

#define LOOKUP_CPU_SECONDS 60

/* Written by the child. */
struct lookup_answer {
    bool opened, done; /* the disk; all of it */
    struct err err;    /* code 0: found */
    struct disk_boot boot;
};

struct lookup {
    const char *advice;
    const struct vm_config *c;
    struct block *disk;
    int fd[2]; /* by enum disk_file */
    struct lookup_answer *answer;
};

/* ---- the child ---- */

static int lookup_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    struct lookup *l = opaque;

    return block_run(l->disk, BLOCK_READ, 0, off, len, buf);
}

static int lookup_put(void *opaque, enum disk_file which, const void *data, size_t len)
{
    const struct lookup *l = opaque;
    const uint8_t *p = data;

    while (len) {
        ssize_t n = write(l->fd[which], p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Before its first start a machine has no overlay, and one that finds no kernel needs none. */
static bool lookup_has_overlay(const char *name)
{
    char *state = life_state_path(), *path = NULL;
    bool there = state && asprintf(&path, "%s/%s", state, name) >= 0 && access(path, F_OK) == 0;

    free(state);
    free(path);
    return there;
}

/* An image as it was downloaded has no kernel that could be read. */
static int lookup_refuse_packed(const struct lookup *l, const char *path, struct err *e)
{
    static const struct {
        const char *magic, *name;
    } kinds[] = {{"\xfd"
                  "7zXZ",
                  "xz"},
                 {"\x1f\x8b\x08", "gzip"},
                 {"\x28\xb5\x2f\xfd", "zstd"},
                 {"BZh", "bzip2"},
                 {"PK\x03\x04", "zip"}};
    char first[512];

    if (block_size(l->disk) < sizeof(first) || block_run(l->disk, BLOCK_READ, 0, 0, sizeof(first), first) < 0)
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!memcmp(first, kinds[i].magic, strlen(kinds[i].magic)))
            return err_set(e, EINVAL, "%s is packed (%s), not a disk image yet: unpack it first", path, kinds[i].name);
    return 0;
}

static int lookup_run(struct lookup *l, struct err *e)
{
    const struct vm_config *c = l->c;
    const struct rlimit cpu = {LOOKUP_CPU_SECONDS, LOOKUP_CPU_SECONDS};
    struct vm_disk d = c->disk[0];
    struct block_engine *engine;
    struct disk_request rq;
    struct loop *loop;
    int r;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CPU, &cpu);
    if (!c->sandbox)
        sandbox_disable();
    d.read_only = true;
    d.snapshot = false;
    d.overlay = d.overlay && lookup_has_overlay(c->name);
    if ((r = loop_create(&loop, e)) < 0 || (r = disks_create_engine(&engine, loop, c, e)) < 0 ||
        (r = disks_open(&l->disk, engine, c, &d, e)) < 0 || (r = sandbox_enter(SANDBOX_LOOP, e)) < 0)
        return r;
    l->answer->opened = true;
    if ((r = lookup_refuse_packed(l, d.path, e)) < 0)
        return r;
    rq = (struct disk_request){
        .size = block_size(l->disk), .read = lookup_read, .put = lookup_put, .opaque = l, .max_file = c->memory};
    r = disk_find_boot(&l->answer->boot, &rq, e);
    return r < 0 ? (err_prefix(e, "%s", d.path), r) : 0;
}

/* ---- the parent ---- */

/* The page's text as text that a terminal can be given. */
static void lookup_clean(char *s, size_t size)
{
    s[size - 1] = '\0';
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (unsigned char)*s == 0x7f)
            *s = '?';
}

static int lookup_wait(const struct lookup *l, pid_t child, struct err *e)
{
    struct lookup_answer *a = l->answer;
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, errno, "the process that looks for a kernel is lost: %s", strerror(errno));
    if (!a->done)
        return err_set(e, EIO, "%s: the process that looked for a kernel in it ended by %s %d", l->c->disk[0].path,
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    lookup_clean(a->err.msg, sizeof(a->err.msg));
    lookup_clean(a->boot.kernel, sizeof(a->boot.kernel));
    lookup_clean(a->boot.initrd, sizeof(a->boot.initrd));
    lookup_clean(a->boot.cmdline, sizeof(a->boot.cmdline));
    lookup_clean(a->boot.where, sizeof(a->boot.where));
    lookup_clean(a->boot.warning, sizeof(a->boot.warning));
    if (!a->err.code)
        return 0;
    *e = a->err;
    if (a->opened && e->code == ENOENT && !e->status)
        return err_set(e, ENOENT, "%s. %s", a->err.msg, l->advice);
    return -(e->code > 0 && e->code < 4096 ? e->code : EIO);
}

static int lookup_fork(struct lookup *l, struct err *e)
{
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child < 0)
        return err_set(e, errno, "no process to look for a kernel: %s", strerror(errno));
    if (child == 0) {
        lookup_run(l, &l->answer->err);
        l->answer->done = true;
        _exit(0);
    }
    return lookup_wait(l, child, e);
}

/* Gives the loader a file under the name that messages have for it: IMAGE:PATH. */
static const char *lookup_provide(struct vm_config *c, int *fd, const char *path)
{
    char name[2 * DISK_NAME_SIZE];
    const char *s;

    snprintf(name, sizeof(name), "%s:%s", c->disk[0].path, path);
    s = config_str(c, name);
    loader_file_provide(s, *fd);
    *fd = -1;
    return s;
}

static void lookup_take(struct vm_config *c, struct lookup *l, bool cmdline_given)
{
    const struct disk_boot *b = &l->answer->boot;
    char note[1024];
    bool initrd = b->initrd[0] && !c->initrd;

    snprintf(note, sizeof(note), "boots %s: %s%s%s, as %s says", c->disk[0].path, b->kernel, initrd ? ", " : "",
             initrd ? b->initrd : "", b->where);
    c->boot_note = config_str(c, note);
    if (b->warning[0])
        c->boot_warning = config_str(c, b->warning);
    c->kernel = lookup_provide(c, &l->fd[DISK_KERNEL], b->kernel);
    if (initrd)
        c->initrd = lookup_provide(c, &l->fd[DISK_INITRD], b->initrd);
    if (!cmdline_given)
        c->cmdline = config_str(c, b->cmdline);
}

int disk_boot_find(struct vm_config *c, bool cmdline_given, const char *advice, struct err *e)
{
    struct lookup l = {.c = c, .advice = advice, .fd = {-1, -1}};
    int r;

    l.answer = mmap(NULL, sizeof(*l.answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    l.fd[DISK_KERNEL] = memfd_create("kernel", MFD_CLOEXEC);
    l.fd[DISK_INITRD] = memfd_create("initrd", MFD_CLOEXEC);
    if (l.answer == MAP_FAILED || l.fd[0] < 0 || l.fd[1] < 0) {
        r = err_set(e, errno, "no memory to look for a kernel: %s", strerror(errno));
        goto out;
    }
    r = lookup_fork(&l, e);
    if (r == 0)
        lookup_take(c, &l, cmdline_given);
    else if (!e->status)
        e->status = ERR_STATUS_FAILURE;
out:
    if (l.answer != MAP_FAILED)
        munmap(l.answer, sizeof(*l.answer));
    for (unsigned i = 0; i < ARRAY_SIZE(l.fd); i++)
        if (l.fd[i] >= 0)
            close(l.fd[i]);
    return r;
}

static bool has_console(const char *cmdline, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = cmdline; (p = strstr(p, "console=")) != NULL; p += 8)
        if ((p == cmdline || p[-1] == ' ') && !strncmp(p + 8, name, n) && (!p[8 + n] || strchr(" ,", p[8 + n])))
            return true;
    return false;
}

void disk_boot_console(struct vm_config *c, const char *name, const char *words)
{
    char note[1200];

    if (has_console(c->cmdline, name))
        return;
    config_cmdline_append(c, words);
    snprintf(note, sizeof(note), "%s, with %s", c->boot_note, words);
    c->boot_note = config_str(c, note);
}
