/* Starting a helper, and listening to what it says. */
#include "devices/net/net_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILD_NO_PROGRAM 127
#define CHILD_STEP_MS 5
#define CHILD_BUFFER (4 << 20) /* bytes from the child that we have yet to read */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* In the child. */
_Noreturn static void child_exec(char *const argv[], int sock, int err)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;

    /* Away from the places that they are to have. */
    sock = fcntl(sock, F_DUPFD, 10);
    err = fcntl(err, F_DUPFD, 10);
    if (null < 0 || sock < 0 || err < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(err, 2) < 0 ||
        dup2(sock, NET_CHILD_FD) < 0)
        _exit(CHILD_NO_PROGRAM);
    if (syscall(SYS_close_range, NET_CHILD_FD + 1, ~0u, 0) < 0)
        for (int i = NET_CHILD_FD + 1; i < 1024; i++)
            close(i);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(argv[0], argv);
    _exit(CHILD_NO_PROGRAM);
}

/* Keeps the last whole line of what comes from fd, which says so much only to be understood; false at its end. */
static bool child_listen(int fd, char *line, size_t size, size_t *len, bool *ended)
{
    char buf[256];
    ssize_t n = read(fd, buf, sizeof(buf));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    for (ssize_t i = 0; i < n; i++) {
        char c = buf[i];

        if (c == '\n') {
            *ended = *len > 0 || *ended;
            continue;
        }
        if (*ended)
            *len = 0;
        *ended = false;
        if (*len + 1 < size)
            line[(*len)++] = c >= ' ' && c < 127 ? c : '?';
    }
    line[*len] = '\0';
    return n > 0;
}

/* Until the program ends, or leaves a process of its own in the background. */
static int child_wait(pid_t pid, int err, char *said, size_t size, int ms)
{
    int64_t until = now_ms() + ms;
    size_t len = 0;
    bool ended = false, open = true;
    int status;

    for (;;) {
        struct pollfd p = {.fd = open ? err : -1, .events = POLLIN};

        if (poll(&p, 1, open ? CHILD_STEP_MS * 4 : CHILD_STEP_MS) > 0 && open)
            open = child_listen(err, said, size, &len, &ended);
        pid_t r = waitpid(pid, &status, WNOHANG);
        if (r == pid) {
            /* What it said last. */
            fcntl(err, F_SETFL, O_NONBLOCK);
            for (int i = 0; open && i < 64; i++) {
                struct pollfd last = {.fd = err, .events = POLLIN};

                open = poll(&last, 1, 0) > 0 && child_listen(err, said, size, &len, &ended);
            }
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (r < 0 && errno != EINTR)
            return -errno;
        if (now_ms() > until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -ETIMEDOUT;
        }
    }
}

int net_child_run(char *const argv[], int *sock, char *said, size_t size, int ms, struct err *e)
{
    int sv[2], err[2], r;
    sigset_t all, mask;
    pid_t pid;

    *said = '\0';
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return err_set(e, errno, "no socket for %s: %s", argv[0], strerror(errno));
    if (pipe2(err, O_CLOEXEC) < 0) {
        r = err_set(e, errno, "no pipe for %s: %s", argv[0], strerror(errno));
        goto close_sockets;
    }
    /* Frames for which there is no room are lost, and TCP learns of that seconds later. Without privilege it is as much
     * as net.core.wmem_max. */
    if (setsockopt(sv[1], SOL_SOCKET, SO_SNDBUFFORCE, &(int){CHILD_BUFFER}, sizeof(int)))
        setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &(int){CHILD_BUFFER}, sizeof(int));
    /* Our handlers must not run in the child. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    pid = fork();
    if (pid == 0) {
        for (int s = 1; s < NSIG; s++)
            signal(s, SIG_DFL);
        child_exec(argv, sv[1], err[1]);
    }
    r = errno;
    sigprocmask(SIG_SETMASK, &mask, NULL);
    close(sv[1]);
    close(err[1]);
    if (pid < 0) {
        r = err_set(e, r, "no process for %s: %s", argv[0], strerror(r));
        goto close_ours;
    }
    r = child_wait(pid, err[0], said, size, ms);
    close(err[0]);
    if (r == CHILD_NO_PROGRAM && !*said)
        r = err_set(e, ENOENT, "there is no program %s", argv[0]);
    else if (r < 0)
        err_set(e, -r, "%s did not end: %s", argv[0], strerror(-r));
    if (r < 0)
        close(sv[0]);
    else
        *sock = sv[0];
    return r;

close_ours:
    close(err[0]);
    close(sv[0]);
    return r;
close_sockets:
    close(sv[0]);
    close(sv[1]);
    return r;
}
