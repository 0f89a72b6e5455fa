/* A pipe from the child to the caller's process: lines to print, and a NUL when the machine runs. */
#include "vmm/service/life/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/log.h"

static int detach_pipe = -1;

/* Prints the lines that come, in the name of the caller's process; true with the NUL. */
static bool relay(int fd)
{
    char line[1024];
    size_t n = 0;

    for (;;) {
        ssize_t got = read(fd, line + n, 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        if (line[n] == '\0')
            return true;
        if (line[n] == '\n' || n + 2 == sizeof(line)) {
            line[n] = '\0';
            log_error(NULL, "%s", line);
            n = 0;
        } else {
            n++;
        }
    }
}

static int wait_for(pid_t pid, int fd)
{
    int status;

    if (relay(fd))
        return 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    if (WIFSIGNALED(status)) {
        log_error(NULL, "the machine's process was ended by signal %d before the machine ran", WTERMSIG(status));
        return 128 + WTERMSIG(status);
    }
    return WEXITSTATUS(status);
}

static void leave_caller(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    /* The caller may have ended when there is something to tell it. */
    signal(SIGPIPE, SIG_IGN);
}

int detach_fork(int *status, struct err *e)
{
    int p[2];
    pid_t pid;

    if (pipe2(p, O_CLOEXEC) < 0)
        return err_set(e, errno, "the machine cannot be started in the background: %s", strerror(errno));
    pid = fork();
    if (pid < 0) {
        close(p[0]);
        close(p[1]);
        return err_set(e, errno, "the machine cannot be started in the background: %s", strerror(errno));
    }
    if (pid == 0) {
        close(p[0]);
        detach_pipe = p[1];
        leave_caller();
        return 0;
    }
    close(p[1]);
    *status = wait_for(pid, p[0]);
    close(p[0]);
    return 1;
}

bool detach_running(void)
{
    bool told = write(detach_pipe, "", 1) == 1;

    close(detach_pipe);
    detach_pipe = -1;
    return told;
}

void detach_say(const char *text)
{
    if (detach_pipe >= 0 && (write(detach_pipe, text, strlen(text)) < 0 || write(detach_pipe, "\n", 1) < 0))
        detach_pipe = -1; /* nobody listens */
}
