/*
 * execve and execveat.
 *
 * Started by the kernel's binfmt_misc, the kernel finds us for every arm64 program, so that the guest's call is the
 * host's. Started by hand it may know nothing of arm64: then a file that is an arm64 program is given to this emulator
 * with the options it was started with, a script is resolved to its interpreter, and everything else is the host's.
 */
#include <errno.h>
#include <linux/binfmts.h>
#include <linux/fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/debug.h"
#include "vmm/user/elf.h"
#include "vmm/user/options.h"
#include "vmm/user/path.h"
#include "vmm/user/proc.h"
#include "vmm/user/saved.h"
#include "vmm/user/signal.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"

#define SCRIPT_DEPTH 5  /* as the kernel: interpreters of interpreters */
#define SCRIPT_HEAD 256 /* BINPRM_BUF_SIZE */
#define NAME_MAX_BY_FD (USER_PATH_MAX + 32)
#define STRINGS_MAX MIB(6) /* arguments and environment together, as the kernel at most (_STK_LIM / 4 * 3) */

struct exec {
    int dirfd;
    int flags;
    char path[USER_PATH_MAX];
    const char **argv; /* the guest's arguments; words of ours are put in front */
    size_t argc;
    uint64_t envp; /* the guest's own vector */
    char *script;  /* the text that words of a script's first line are in */
};

/* Copies the guest's vector of strings. 0 or -errno; the caller frees *list and *text. */
static int copy_vector(uint64_t va, const char ***list, size_t *count, char **text)
{
    uint64_t p;
    size_t n = 0, bytes = 0, at = 0, room;
    long len;

    *list = NULL;
    *text = NULL;
    for (;; n++) {
        if (va && user_get64(va + n * sizeof(p), &p))
            return -EFAULT;
        if (!va || !p)
            break;
        for (uint8_t c = 1; c; p++, bytes++) {
            if (user_get8(p, &c))
                return -EFAULT;
            if (bytes > STRINGS_MAX)
                return -E2BIG;
        }
    }
    room = bytes;
    *list = sys_alloc((n + 1) * sizeof(**list));
    *text = sys_alloc(bytes + 1);
    if (!*list || !*text)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (user_get64(va + i * sizeof(p), &p))
            return -EFAULT;
        len = user_copy_string(*text + at, p, room - at);
        if (len < 0) /* changed meanwhile */
            return len == -ENAMETOOLONG ? -E2BIG : (int)len;
        (*list)[i] = *text + at;
        at += (size_t)len + 1;
    }
    *count = n;
    return 0;
}

/* Puts `n` words before argv[from], which with all before it goes. */
static int prepend(struct exec *x, size_t from, const char *const *words, size_t n)
{
    size_t rest = x->argc - MIN(from, x->argc);
    const char **v = sys_alloc((n + rest + 1) * sizeof(*v));

    if (!v)
        return -ENOMEM;
    memcpy(v, words, n * sizeof(*v));
    memcpy(v + n, x->argv + (x->argc - rest), rest * sizeof(*v));
    sys_free(x->argv);
    x->argv = v;
    x->argc = n + rest;
    return 0;
}

enum kind { KIND_HOST, KIND_GUEST, KIND_SCRIPT };

/* The program, to be read, which a descriptor of O_PATH cannot; stays open across exec. */
static long open_target(const struct exec *x)
{
    char link[32];
    long flags;

    if ((x->flags & AT_EMPTY_PATH) && !x->path[0]) {
        flags = sys_call(__NR_fcntl, x->dirfd, F_GETFL);
        if (flags < 0 || !(flags & O_PATH))
            return sys_call(__NR_dup, x->dirfd);
        snprintf(link, sizeof(link), "/proc/self/fd/%d", x->dirfd);
        return sys_call(__NR_openat, AT_FDCWD, link, O_RDONLY | O_NONBLOCK, 0);
    }
    flags = O_RDONLY | O_NONBLOCK | (x->flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
    return sys_call(__NR_openat, x->dirfd, x->path, flags, 0);
}

/* The name that a program gets which is found from a descriptor. */
static void name_by_descriptor(const struct exec *x, char *out, size_t size)
{
    if (x->dirfd != AT_FDCWD && x->path[0] != '/')
        snprintf(out, size, "/dev/fd/%d%s%s", x->dirfd, x->path[0] ? "/" : "", x->path);
    else
        snprintf(out, size, "%s", x->path);
}

/* What the file is, by its first bytes. KIND_HOST also for what cannot be read: the host says why. */
static enum kind classify(const struct exec *x, char head[SCRIPT_HEAD + 1])
{
    Elf64_Ehdr eh;
    long fd = open_target(x), n;

    if (fd < 0)
        return KIND_HOST;
    memset(head, 0, SCRIPT_HEAD + 1);
    n = sys_call(__NR_pread64, fd, head, SCRIPT_HEAD, 0);
    sys_call(__NR_close, fd);
    if (n >= 2 && head[0] == '#' && head[1] == '!')
        return KIND_SCRIPT;
    if (n < (long)sizeof(eh))
        return KIND_HOST;
    memcpy(&eh, head, sizeof(eh));
    return elf_check_header(&eh, sizeof(eh), "", NULL) ? KIND_HOST : KIND_GUEST;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "#! interpreter [one argument]": becomes the path, with the words in front of the script's own name. */
static int resolve_script(struct exec *x, char *head)
{
    char *end = strchr(head, '\n'), *p = head + 2, *interp, *arg;
    const char *words[3];
    size_t n = 0;

    if (!end)
        end = head + strlen(head);
    while (end > p && is_blank(end[-1]))
        end--;
    *end = '\0';
    while (is_blank(*p))
        p++;
    if (!*p)
        return -ENOEXEC;
    /* Its interpreter could not open it (BINPRM_FLAGS_PATH_INACCESSIBLE). */
    if (x->dirfd != AT_FDCWD && x->path[0] != '/' && sys_call(__NR_fcntl, x->dirfd, F_GETFD) & FD_CLOEXEC)
        return -ENOENT;
    interp = p;
    while (*p && !is_blank(*p))
        p++;
    arg = p;
    while (is_blank(*arg))
        arg++;
    char *text = sys_alloc(SCRIPT_HEAD + 1 + NAME_MAX_BY_FD);
    if (!text)
        return -ENOMEM;
    bool has_arg = *arg;
    *p = '\0';
    name_by_descriptor(x, text, NAME_MAX_BY_FD); /* the script, by the name it was called by */
    char *more = text + strlen(text) + 1;
    strcpy(more, interp);
    words[n++] = more;
    if (has_arg) {
        more += strlen(more) + 1;
        strcpy(more, arg);
        words[n++] = more;
    }
    words[n++] = text;
    int r = prepend(x, 1, words, n);
    strcpy(x->path, interp);
    x->dirfd = AT_FDCWD;
    x->flags = 0;
    x->script = text; /* a script that is another's interpreter leaves its text to the end of the process image */
    return r;
}

static int64_t host_exec(struct user_thread *t, const struct exec *x, const char *path)
{
    int64_t r;

    if (user_strace_on)
        user_strace_finish(t, &user_calls[(uint32_t)t->cpu->x[8]]);
    user_signal_export(t, false);
    if (path)
        r = user_host_call(t, __NR_execveat, AT_FDCWD, path, x->argv, x->envp, 0);
    else
        r = user_host_call(t, __NR_execveat, x->dirfd, x->path, x->argv, x->envp, x->flags);
    user_signal_export(t, true);
    return r;
}

/* May this process execute the file? The emulator only reads it. */
static int64_t may_execute(const struct exec *x)
{
    return sys_call(__NR_faccessat2, x->dirfd, x->path, 1 /* X_OK */, AT_EACCESS | x->flags);
}

/* Gives the program to a new instance of this emulator: its options, the name that the program shall see, its path. */
static int64_t exec_guest(struct user_thread *t, struct exec *x)
{
    const char *words[64];
    char path[NAME_MAX_BY_FD], number[16], descriptors[24];
    bool by_fd = x->dirfd != AT_FDCWD && x->path[0] != '/';
    long fd = -1;
    size_t n = 0;
    int64_t r = may_execute(x);

    if (r)
        return r;
    for (; user_options.self[n] && n < ARRAY_SIZE(words) - 8; n++)
        words[n] = user_options.self[n];
    words[n++] = "-0";
    words[n++] = x->argc ? x->argv[0] : ""; /* as the kernel, which knows no empty list either */
    name_by_descriptor(x, path, sizeof(path));
    if (by_fd) {
        /* The descriptor may close on exec, and a memory file has no name: an open one is passed on. */
        fd = open_target(x);
        if (fd < 0)
            return fd;
        snprintf(number, sizeof(number), "%d", (int)fd);
        words[n++] = USER_OPTION_EXECFD;
        words[n++] = number;
    }
    if (unlikely(user_debug_on) && user_debug_exec_words(t, descriptors, sizeof(descriptors))) {
        words[n++] = USER_OPTION_DEBUG;
        words[n++] = descriptors;
    }
    words[n++] = path;
    r = prepend(x, 1, words, n);
    if (!r)
        r = host_exec(t, x, "/proc/self/exe");
    if (fd >= 0)
        sys_call(__NR_close, fd);
    return r;
}

static int64_t exec_by_hand(struct user_thread *t, struct exec *x)
{
    char head[SCRIPT_HEAD + 1];

    for (unsigned depth = 0; depth <= SCRIPT_DEPTH; depth++) {
        int64_t r;
        switch (classify(x, head)) {
        case KIND_HOST: r = may_execute(x); return r ? r : host_exec(t, x, NULL);
        case KIND_GUEST: return exec_guest(t, x);
        case KIND_SCRIPT:
            r = may_execute(x);
            if (!r)
                r = resolve_script(x, head);
            if (r)
                return r;
        }
    }
    return -ELOOP;
}

static int64_t exec(struct user_thread *t, int dirfd, uint64_t path, uint64_t argv, uint64_t envp, int flags)
{
    struct exec x = {.dirfd = dirfd, .flags = flags, .envp = envp};
    char *text = NULL, program[USER_PATH_MAX];
    long n = user_copy_string(x.path, path, sizeof(x.path));
    const char *self = n < 0 ? NULL : user_proc_exe(x.path, program);
    int64_t r;

    user_saved_publish(t, USER_SAVED_LAST);
    /* The debugger comes along only where we start the program. */
    if (user_options.by_binfmt && (likely(!user_debug_on) || !user_debug_follows_exec(t))) {
        user_signal_export(t, false);
        r = user_host_call(t, __NR_execveat, dirfd, self ? (uint64_t)(uintptr_t)self : path, argv, envp, flags);
        user_signal_export(t, true);
        return r;
    }
    if (n < 0)
        return n;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if (self)
        strcpy(x.path, self);
    r = copy_vector(argv, &x.argv, &x.argc, &text);
    if (!r)
        r = exec_by_hand(t, &x);
    sys_free(x.argv);
    sys_free(x.script);
    sys_free(text);
    return r;
}

static int64_t exec_staged(struct user_thread *t, int dirfd, uint64_t path, uint64_t argv, uint64_t envp, int flags)
{
    int64_t r;

    if (likely(!user_debug_on))
        return exec(t, dirfd, path, argv, envp, flags);
    if (!user_debug_exec_stage(t))
        return -SYS_RESTART;
    r = exec(t, dirfd, path, argv, envp, flags);
    user_debug_exec_failed(t);
    return r;
}

int64_t user_call_process_execve(struct user_thread *t, const uint64_t a[6])
{
    return exec_staged(t, AT_FDCWD, a[0], a[1], a[2], 0);
}

int64_t user_call_process_execveat(struct user_thread *t, const uint64_t a[6])
{
    return exec_staged(t, (int)a[0], a[1], a[2], a[3], (int)a[4]);
}
