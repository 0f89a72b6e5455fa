/*
 * pipit-aarch64: runs one arm64 Linux program on this host. Reads the options, loads the program, and becomes it.
 */
#include <elf.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/err.h"
#include "vmm/user/args.h"
#include "vmm/user/clock.h"
#include "vmm/user/cpu.h"
#include "vmm/user/debug.h"
#include "vmm/user/executor.h"
#include "vmm/user/load.h"
#include "vmm/user/options.h"
#include "vmm/user/proc.h"
#include "vmm/user/saved.h"
#include "vmm/user/signal.h"
#include "vmm/user/stack.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/start.h"
#include "vmm/user/sys/sys.h"

static int open_program(const struct user_args *s)
{
    long fd;
    int r;

    if (s->fd >= 0)
        return (int)s->fd;
    fd = sys_call(__NR_openat, AT_FDCWD, s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd == -ENOENT || fd == -ENOTDIR)
        sys_die(USER_STATUS_NOT_FOUND, "%s: %s", s->path, sys_error_text((int)-fd));
    if (fd < 0)
        sys_die(USER_STATUS_CANNOT_RUN, "%s cannot be opened: %s", s->path, sys_error_text((int)-fd));
    /* The kernel has asked where it gave us the program, by a name that may be another's here. */
    r = user_load_allowed(s->path, (int)fd);
    if (r && !(user_options.by_binfmt && r != -EISDIR && r != -ENOEXEC))
        sys_die(USER_STATUS_CANNOT_RUN, "%s %s", s->path, user_load_refusal(r));
    return (int)fd;
}

/* On the thread's own stack: the process's belongs to the guest from here on. */
static void become(struct user_thread *t, uint64_t *stack)
{
    struct user_args s;
    struct user_program program;
    struct err e = {0};
    int fd;

    user_args_read(&s, stack);
    user_clock_init(user_auxv_find(s.auxv, AT_SYSINFO_EHDR, 0));
    user_saved_init(s.envp, user_auxv_find(s.auxv, AT_SECURE, 0));
    fd = open_program(&s);
    if (user_load(fd, s.path, &program, &e) < 0)
        sys_die(e.code == ENOENT ? USER_STATUS_NOT_FOUND : USER_STATUS_CANNOT_RUN, "%s", e.msg);
    user_proc_set_program(fd, s.path);
    sys_call(__NR_close, fd);

    if (user_executor_init(&e) < 0)
        sys_die(USER_STATUS_CANNOT_RUN, "%s", e.msg);
    t->sighand = user_sighand_create();
    if (!t->sighand || user_executor_thread_create(t))
        sys_die(USER_STATUS_CANNOT_RUN, "out of memory");
    sys_call(__NR_rt_sigprocmask, 0, NULL, &t->mask, sizeof(t->mask));
    user_signal_stack_set(t);
    user_thread_link(t);
    user_cpu_init(t->cpu, user_options.model);
    struct user_stack_layout l = user_stack_build(&(struct user_stack){.top = (uint64_t)(uintptr_t)stack,
                                                                       .argv = s.arguments,
                                                                       .envp = s.envp,
                                                                       .execfn = s.path,
                                                                       .host_auxv = s.auxv,
                                                                       .program = &program,
                                                                       .model = user_options.model,
                                                                       .seeded = user_options.seeded,
                                                                       .seed = user_options.seed});
    if (!l.sp)
        sys_die(USER_STATUS_CANNOT_RUN, "the stack is too small for the program's arguments and environment");
    user_proc_publish(
        &(struct user_proc_image){
            .program = &program, .sp = l.sp, .argv = l.argv, .envp = l.envp, .auxv = l.auxv, .auxv_size = l.auxv_size},
        !user_options.by_binfmt);
    t->cpu->x[31] = l.sp;
    t->cpu->pc = program.start;
    t->tid = (int32_t)sys_call(__NR_gettid);
    user_trace_exec(t);
    user_debug_start(t, l.auxv, l.auxv_size);
    user_thread_run(t);
}

void user_start(uint64_t *stack)
{
    struct user_thread *t;

    t = user_thread_create(NULL);
    if (!t)
        sys_die(USER_STATUS_CANNOT_RUN, "the first thread cannot be made: the address space or memory is not enough");
    user_thread_enter(t, become, stack);
}
