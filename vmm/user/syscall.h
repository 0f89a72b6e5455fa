/*
 * System calls of the guest: one table (syscalls.def), one dispatcher.
 *
 * A handler gets the six argument registers and returns what goes into X0: a result or -errno. Two results are ours:
 * -SYS_RESTART (sys/gate.h): nothing has happened, a signal comes first and then the call is made again; and
 * -USER_NO_RESULT: X0 is as the handler left it.
 */
#ifndef PIPIT_USER_SYSCALL_H
#define PIPIT_USER_SYSCALL_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/user/sys/call.h"
#include "vmm/user/sys/gate.h"
#include "vmm/user/thread.h"

#define USER_NO_RESULT 0x70000002
#define USER_CALL_AGAIN 0x70000003 /* a tracer may have made another call of it */

#define USER_CALL_EXECVE 221u

typedef int64_t (*user_call_fn)(struct user_thread *t, const uint64_t a[6]);

enum user_call_class { USER_CALL_NONE, USER_CALL_PASS, USER_CALL_PATH, USER_CALL_CONVERT, USER_CALL_EMULATE };

struct user_call {
    const char *name; /* NULL: a number that is not taken */
    user_call_fn fn;
    const char *args; /* for -strace */
    int16_t host;     /* the host's number */
    uint8_t class;
};

#define USER_CALL_COUNT 463
extern const struct user_call user_calls[USER_CALL_COUNT];

/* The system call that the guest's registers ask for; PC is behind the SVC. */
void user_syscall(struct user_thread *t);

/* A system call of the host on behalf of the guest: what may block, and what a signal must not follow. */
#define user_host_call(t, nr, ...)                                                                                     \
    sys_gate(nr, (const uint64_t[6]){USER_HOST_ARGS(__VA_ARGS__, 0, 0, 0, 0, 0, 0)}, &(t)->gate)
#define USER_HOST_ARG(x) ((uint64_t)(x))
#define USER_HOST_ARGS(a, b, c, d, e, f, ...)                                                                          \
    USER_HOST_ARG(a), USER_HOST_ARG(b), USER_HOST_ARG(c), USER_HOST_ARG(d), USER_HOST_ARG(e), USER_HOST_ARG(f)

/* ---- handlers, beside those of signal.h and space.h ---- */
#define USER_CALL_DECLARE(name) int64_t user_call_##name(struct user_thread *t, const uint64_t a[6])

/* call_path.c */
USER_CALL_DECLARE(path0); /* the path is argument 0 */
USER_CALL_DECLARE(path1);
USER_CALL_DECLARE(path_readlinkat);

/* call_file.c */
USER_CALL_DECLARE(file_openat);
USER_CALL_DECLARE(file_openat2);
USER_CALL_DECLARE(file_open_by_handle_at);
USER_CALL_DECLARE(file_fcntl);
USER_CALL_DECLARE(file_pipe2);
USER_CALL_DECLARE(file_newfstatat);
USER_CALL_DECLARE(file_fstat);
USER_CALL_DECLARE(file_fanotify_init);
USER_CALL_DECLARE(file_mq_open);
USER_CALL_DECLARE(file_ioctl);
USER_CALL_DECLARE(file_semctl);

/* own_fd.c */
USER_CALL_DECLARE(file_close);
USER_CALL_DECLARE(file_close_range);
USER_CALL_DECLARE(file_dup3);

/* call_wait.c */
USER_CALL_DECLARE(file_epoll_ctl);
USER_CALL_DECLARE(file_epoll_pwait);
USER_CALL_DECLARE(file_epoll_pwait2);
USER_CALL_DECLARE(wait_ppoll);
USER_CALL_DECLARE(wait_pselect6);
USER_CALL_DECLARE(wait_io_pgetevents);

/* call_uring.c */
USER_CALL_DECLARE(uring_setup);
USER_CALL_DECLARE(uring_enter);
USER_CALL_DECLARE(uring_register);

/* call_child.c, call_ptrace.c */
USER_CALL_DECLARE(child_wait4);
USER_CALL_DECLARE(child_waitid);
USER_CALL_DECLARE(ptrace);
USER_CALL_DECLARE(trace_pwrite64);
USER_CALL_DECLARE(trace_process_vm_writev);

/* call_process.c, call_clone.c */
USER_CALL_DECLARE(process_clone);
USER_CALL_DECLARE(process_clone3);
USER_CALL_DECLARE(process_execve);
USER_CALL_DECLARE(process_execveat);
USER_CALL_DECLARE(process_exit);
USER_CALL_DECLARE(process_exit_group);
USER_CALL_DECLARE(process_uname);
USER_CALL_DECLARE(process_prctl);
USER_CALL_DECLARE(process_personality);
USER_CALL_DECLARE(process_pkey_alloc);
USER_CALL_DECLARE(process_pkey_free);
USER_CALL_DECLARE(process_restart_syscall);
USER_CALL_DECLARE(time_clock_gettime);
USER_CALL_DECLARE(time_gettimeofday);

#endif
