/*
 * Log lines. Each is formatted whole and leaves in one write, so that lines of several threads do not mix; no lock is
 * held meanwhile. Nothing here allocates: a vCPU thread may log under its seccomp filter (write is allowed there).
 */
#include "vmm/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024
#define LOG_WINDOW_NS UINT64_C(10000000000)
#define LOG_WINDOW_LINES 10

static _Atomic int log_level = LOG_INFO;
static _Atomic int log_fd = STDERR_FILENO;
static const char *_Atomic log_name = "pipit";

void log_set_level(enum log_level level)
{
    atomic_store(&log_level, (int)level);
}

void log_set_name(const char *name)
{
    atomic_store(&log_name, name);
}

void log_set_fd(int fd)
{
    atomic_store(&log_fd, fd);
}

static void log_line(enum log_level level, const char *obj, const char *fmt, va_list ap)
{
    static const char *const level_text[] = {"error: ", "warning: ", "", ""};
    int saved_errno = errno;
    char line[LOG_LINE_MAX];
    size_t n, done = 0;
    int k;

    k = snprintf(line, sizeof(line), "%s: %s%s%s", atomic_load(&log_name), level_text[level], obj ? obj : "",
                 obj ? ": " : "");
    n = k < 0 ? 0 : (size_t)k < sizeof(line) ? (size_t)k : sizeof(line) - 1;
    k = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
    if (k > 0)
        n = (size_t)k < sizeof(line) - n ? n + (size_t)k : sizeof(line) - 1;
    /* Names and paths may hold anything: a line stays one line, and sends no control codes to a terminal. */
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    if (n == sizeof(line))
        n--;
    line[n++] = '\n';
    while (done < n) {
        ssize_t w = write(atomic_load(&log_fd), line + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            break;
        done += (size_t)w;
    }
    errno = saved_errno;
}

void log_print(enum log_level level, const char *obj, const char *fmt, ...)
{
    va_list ap;

    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
        return;
    va_start(ap, fmt);
    log_line(level, obj, fmt, ap);
    va_end(ap);
}

static void log_say_missed(const char *obj, uint32_t missed)
{
    log_print(LOG_WARN, obj, "%u more such lines left out", missed);
}

void log_print_limited(struct log_ratelimit *rl, const char *obj, const char *fmt, ...)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct timespec ts;
    uint64_t now;
    uint32_t missed = 0;
    bool print;
    va_list ap;

    if (atomic_load_explicit(&log_level, memory_order_relaxed) < LOG_WARN)
        return;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;

    pthread_mutex_lock(&lock);
    if (now - rl->window_start_ns >= LOG_WINDOW_NS || rl->window_start_ns == 0) {
        missed = rl->missed;
        *rl = (struct log_ratelimit){.window_start_ns = now};
    }
    print = rl->printed < LOG_WINDOW_LINES;
    if (print)
        rl->printed++;
    else
        rl->missed++;
    pthread_mutex_unlock(&lock);

    if (missed)
        log_say_missed(obj, missed);
    if (!print)
        return;
    va_start(ap, fmt);
    log_line(LOG_WARN, obj, fmt, ap);
    va_end(ap);
}
