/* -strace: lines, see strace.h. What words stand for is in strace_args.c, names in strace_names.c. */
#include "vmm/user/strace.h"

#include <errno.h>
#include <linux/fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/strace_text.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"

bool user_strace_on;
const char *user_strace_file;

static struct sys_lock lock;
static struct user_thread *open_line; /* whose line has no end yet */
static long first_thread;             /* its lines have no number in front, as with strace -f */

void strace_put(struct strace_text *o, const char *fmt, ...)
{
    size_t left = sizeof(o->buf) - o->len;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(o->buf + o->len, left, fmt, ap);
    va_end(ap);
    o->len += n < (int)left ? (size_t)n : left - 1;
}

void user_log_write(const char *text, size_t len)
{
    long fd = 2;

    if (user_strace_file)
        fd = sys_call(__NR_openat, AT_FDCWD, user_strace_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    sys_write_all((int)fd, text, len);
    if (fd != 2)
        sys_call(__NR_close, fd);
}

static void print(const struct strace_text *o)
{
    user_log_write(o->buf, o->len);
}

/* The beginning of a line of this thread's; ends the line of another. */
static void begin_line(struct strace_text *o)
{
    long tid = sys_call(__NR_gettid);

    if (!first_thread)
        first_thread = tid;
    if (open_line)
        strace_put(o, " <unfinished ...>\n");
    open_line = NULL;
    if (tid != first_thread)
        strace_put(o, "[pid %5ld] ", tid);
}

/* Prints words from number *word on, arguments from *arg on, as far as they are known. */
static void put_arguments(struct strace_text *o, const struct user_call *call, const struct strace_call *c,
                          unsigned *word, unsigned *arg)
{
    const char *p = call->args;
    char text[24];

    for (unsigned n = 0; *p; n++) {
        size_t len = 0;
        while (p[len] && p[len] != ' ')
            len++;
        snprintf(text, sizeof(text), "%.*s", (int)len, p);
        p += len + (p[len] == ' ');
        if (n < *word)
            continue;
        if (!c->done && strace_word_is_output(text))
            return;
        if (*arg)
            strace_put(o, ", ");
        *arg += strace_put_word(o, text, c, *arg);
        *word = n + 1;
    }
}

static const char *name_of(const struct user_call *call, uint64_t nr, char buf[24])
{
    if (call->name)
        return call->name;
    snprintf(buf, 24, "syscall_%#lx", (unsigned long)nr);
    return buf;
}

void user_strace_enter(struct user_thread *t, const struct user_call *call, uint64_t nr, const uint64_t a[6])
{
    struct strace_call c = {.a = a};
    struct strace_text o = {.len = 0};
    char buf[24];

    sys_lock(&lock);
    begin_line(&o);
    strace_put(&o, "%s(", name_of(call, nr, buf));
    t->strace_word = t->strace_arg = 0;
    if (call->args)
        put_arguments(&o, call, &c, &t->strace_word, &t->strace_arg);
    print(&o);
    t->strace_column = (unsigned)o.len;
    open_line = t;
    sys_unlock(&lock);
}

static bool returns_address(const char *name)
{
    return !strcmp(name, "mmap") || !strcmp(name, "brk") || !strcmp(name, "mremap") || !strcmp(name, "shmat");
}

static void put_result(struct strace_text *o, const char *name, int64_t ret)
{
    if (ret == -SYS_RESTART)
        strace_put(o, "? ERESTARTSYS (To be restarted if SA_RESTART is set)");
    else if (ret == -USER_NO_RESULT)
        strace_put(o, "?");
    else if (sys_is_err(ret) && sys_error_name((int)-ret)[0])
        strace_put(o, "-1 %s (%s)", sys_error_name((int)-ret), sys_error_text((int)-ret));
    else if (returns_address(name))
        strace_put(o, "%#lx", (unsigned long)ret);
    else
        strace_put(o, "%ld%s", (long)ret,
                   !ret && (!strcmp(name, "ppoll") || !strcmp(name, "pselect6")) ? " (Timeout)" : "");
}

#define RESULT_COLUMN 39 /* as strace -a 40 */

static void end_line(struct user_thread *t, struct strace_text *o, const char *name, int64_t ret)
{
    int column = (int)(t->strace_column + o->len) + 1;

    strace_put(o, ")%*s= ", column < RESULT_COLUMN ? RESULT_COLUMN - column + 1 : 1, "");
    put_result(o, name, ret);
    strace_put(o, "\n");
    print(o);
    open_line = NULL;
}

void user_strace_leave(struct user_thread *t, const struct user_call *call, uint64_t nr, const uint64_t a[6],
                       int64_t ret)
{
    struct strace_call c = {.a = a, .ret = ret, .done = true};
    struct strace_text o = {.len = 0};
    char buf[24];
    const char *name = name_of(call, nr, buf);

    sys_lock(&lock);
    if (open_line != t) {
        begin_line(&o);
        strace_put(&o, "<... %s resumed>", name);
        t->strace_column = 0;
    }
    if (call->args)
        put_arguments(&o, call, &c, &t->strace_word, &t->strace_arg);
    end_line(t, &o, name, ret);
    sys_unlock(&lock);
}

void user_strace_finish(struct user_thread *t, const struct user_call *call)
{
    struct strace_text o = {.len = 0};

    sys_lock(&lock);
    end_line(t, &o, call->name, strcmp(call->name, "exit") && strcmp(call->name, "exit_group") ? 0 : -USER_NO_RESULT);
    sys_unlock(&lock);
}

static void put_code(struct strace_text *o, const struct abi_siginfo *i)
{
    const char *set = i->signo == ABI_SIGSEGV   ? "segv"
                      : i->signo == ABI_SIGBUS  ? "bus"
                      : i->signo == ABI_SIGCHLD ? "chld"
                      : i->signo == ABI_SIGILL  ? "ill"
                      : i->signo == ABI_SIGTRAP ? "trap"
                                                : "si";

    strace_put_name(o, i->code > 0 && i->code != ABI_SI_KERNEL ? set : "si", (uint64_t)(int64_t)i->code);
}

void user_strace_signal(const struct abi_siginfo *i)
{
    struct strace_text o = {.len = 0};
    bool fault = i->code > 0 && i->code != ABI_SI_KERNEL && i->signo != ABI_SIGCHLD;

    sys_lock(&lock);
    begin_line(&o);
    strace_put(&o, "--- ");
    strace_put_signal(&o, i->signo);
    strace_put(&o, " {si_signo=");
    strace_put_signal(&o, i->signo);
    strace_put(&o, ", si_code=");
    put_code(&o, i);
    if (fault)
        strace_put(&o, ", si_addr=%#lx", (unsigned long)i->addr);
    else if (i->code != ABI_SI_KERNEL)
        strace_put(&o, ", si_pid=%d, si_uid=%u", i->pid, i->uid);
    strace_put(&o, "} ---\n");
    print(&o);
    sys_unlock(&lock);
}

void user_strace_lock(void)
{
    sys_lock(&lock);
}

void user_strace_unlock(void)
{
    sys_unlock(&lock);
}
