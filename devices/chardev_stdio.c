/*
 * Standard input and output as a serial line.
 *
 * Output: writers append to a buffer and the loop thread writes it out in large pieces, so that a guest that prints
 * byte by byte costs few system calls. A descriptor that is not ready (a full pipe, a stopped terminal) is waited for
 * by the loop; meanwhile the buffer fills, chardev_write falls short, and the guest sees a busy transmitter. The
 * descriptor's flags are not touched, since it is shared with other processes: before each write poll() says whether
 * it takes data, and a write is no longer than what a pipe then takes at once.
 *
 * Input: bytes go through the escape filter into a queue, from there to the front end as it has room. From a terminal
 * we go on reading when the queue is full, and drop keys, so that Ctrl-A x always works; from a pipe or file we wait.
 *
 * Signals: SIGTSTP and SIGCONT handlers only tick an eventfd; the loop thread restores the terminal and stops the
 * process, or makes it raw again.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "devices/chardev_int.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define OUT_SIZE MIB(1)
#define OUT_PIECE 4096 /* PIPE_BUF: a pipe that polls writable takes this much */
#define ESCAPE_KEY 0x01
#define CLOSE_PATIENCE_MS 1000

struct stdio {
    struct chardev c;
    struct loop *loop;
    struct chardev_stdio_options opt;

    struct loop_fd *in_watch; /* NULL: not reading now */
    bool in_tty, in_eof, escaped;
    bool held; /* loop thread */
    struct chardev_queue in;

    pthread_mutex_t lock;                           /* what follows */
    bool out_posted, out_soon, out_dead, out_short; /* soon: out_later will post it */
    size_t out_start, out_end;
    uint8_t *out;

    struct loop_timer *out_later;
    struct loop_fd *out_watch; /* loop thread: waiting for the descriptor */
    int signal_efd;
    struct loop_fd *signal_watch;
};

/* The terminal, for exit and signal handlers. */
static struct termios tty_saved, tty_raw;
static atomic_bool tty_is_raw, tty_wanted;
static atomic_int tty_signal_efd = -1;
static atomic_bool tty_stop_asked;
static struct stdio *the_stdio;

static struct stdio *stdio_of(struct chardev *c)
{
    return container_of(c, struct stdio, c);
}

/* --- the terminal --- */

void chardev_restore_terminal(void)
{
    int saved = errno;
    if (atomic_exchange(&tty_is_raw, false))
        tcsetattr(STDIN_FILENO, TCSANOW, &tty_saved);
    errno = saved;
}

static void tty_make_raw(void)
{
    if (!atomic_load(&tty_wanted))
        return;
    atomic_store(&tty_is_raw, true);
    tcsetattr(STDIN_FILENO, TCSANOW, &tty_raw);
}

static void tty_on_signal(int sig)
{
    int saved = errno, fd = atomic_load(&tty_signal_efd);
    uint64_t one = 1;

    if (sig == SIGTSTP)
        atomic_store(&tty_stop_asked, true);
    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
        /* The counter is full: the loop will come round. */
    }
    errno = saved;
}

static void tty_serve_signal(void *opaque, int fd, unsigned events)
{
    uint64_t count;

    (void)opaque;
    (void)events;
    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    if (atomic_exchange(&tty_stop_asked, false)) {
        chardev_restore_terminal();
        kill(getpid(), SIGSTOP);
    }
    tty_make_raw();
}

/* --- output --- */

static void out_flush(struct stdio *s);

static void out_ready(void *opaque, int fd, unsigned events)
{
    struct stdio *s = opaque;

    (void)fd;
    (void)events;
    loop_fd_remove(s->out_watch);
    s->out_watch = NULL;
    out_flush(s);
}

static void out_fail(struct stdio *s, int err)
{
    if (!s->out_dead)
        log_error("console", "standard output is gone (%s), output is dropped from here", strerror(err));
    s->out_dead = true;
    s->out_start = s->out_end = 0;
}

/* Writes until the buffer is empty (0) or the descriptor takes no more (-EAGAIN). Under the lock. */
static int out_drain(struct stdio *s, int timeout_ms)
{
    while (s->out_start < s->out_end) {
        struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
        int n = poll(&p, 1, timeout_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return -EAGAIN;
        ssize_t w = write(STDOUT_FILENO, s->out + s->out_start, MIN(s->out_end - s->out_start, (size_t)OUT_PIECE));
        if (w > 0) {
            s->out_start += (size_t)w;
        } else if (w < 0 && errno == EAGAIN) {
            if (timeout_ms == 0)
                return -EAGAIN;
        } else if (w == 0 || errno != EINTR) {
            out_fail(s, w == 0 ? EIO : errno);
        }
    }
    s->out_start = s->out_end = 0;
    return 0;
}

/* Loop thread. */
static void out_flush(struct stdio *s)
{
    bool tell = false;

    pthread_mutex_lock(&s->lock);
    s->out_posted = s->out_soon = false;
    if (!s->out_watch && out_drain(s, 0) == -EAGAIN) {
        /* A descriptor that cannot be watched is never short of room. */
        s->out_posted = loop_fd_add(s->loop, &s->out_watch, STDOUT_FILENO, LOOP_OUT, out_ready, s) == 0;
        if (!s->out_posted)
            out_fail(s, EIO);
    } else if (s->out_watch) {
        s->out_posted = true;
    }
    if (s->out_short && !s->held && s->out_end - s->out_start < OUT_SIZE / 2) {
        s->out_short = false;
        tell = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (tell)
        chardev_tell_writable(&s->c);
}

static void out_flush_posted(void *opaque)
{
    /* Closed meanwhile? */
    if (opaque == the_stdio)
        out_flush(opaque);
}

static void out_flush_later(void *opaque)
{
    out_flush(opaque);
}

/* A UART gives a byte at a time: what comes within so many ns of the first goes out together. Waking the loop for each
 * costs more than all else that the byte does. */
#define OUT_WAIT UINT64_C(1000000)

static uint64_t out_deadline(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec + OUT_WAIT;
}

static size_t stdio_write(struct chardev *c, const uint8_t *p, size_t len)
{
    struct stdio *s = stdio_of(c);
    bool post = false, later = false;

    pthread_mutex_lock(&s->lock);
    if (s->out_dead)
        goto out;
    if (s->out_start && len > OUT_SIZE - s->out_end) {
        memmove(s->out, s->out + s->out_start, s->out_end - s->out_start);
        s->out_end -= s->out_start;
        s->out_start = 0;
    }
    if (len > OUT_SIZE - s->out_end) {
        len = OUT_SIZE - s->out_end;
        s->out_short = true;
    }
    memcpy(s->out + s->out_end, p, len);
    s->out_end += len;
    if (s->out_end - s->out_start >= OUT_PIECE) {
        post = !s->out_posted;
        s->out_posted = true;
    } else {
        later = !s->out_posted && !s->out_soon;
        s->out_soon |= later;
    }
out:
    pthread_mutex_unlock(&s->lock);
    if (post)
        loop_post(s->loop, out_flush_posted, s);
    else if (later)
        loop_timer_set(s->out_later, out_deadline());
    return len;
}

/* The last words; also from atexit. */
static void out_finish(struct stdio *s)
{
    struct timespec until;

    /* A thread that is stuck in a write holds the lock. */
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_PATIENCE_MS / 1000;
    if (pthread_mutex_timedlock(&s->lock, &until)) {
        log_warn("console", "output is lost: nothing reads it");
        return;
    }
    if (out_drain(s, CLOSE_PATIENCE_MS) < 0)
        log_warn("console", "%zu bytes of output are lost: nothing reads them", s->out_end - s->out_start);
    s->out_start = s->out_end = 0;
    pthread_mutex_unlock(&s->lock);
}

/* --- input --- */

static void in_tell(struct stdio *s, enum chardev_escape what)
{
    if (s->opt.on_escape)
        s->opt.on_escape(s->opt.opaque, what);
}

/* The escape filter: one byte from the descriptor. */
static void in_byte(struct stdio *s, uint8_t b)
{
    if (!s->opt.escapes) {
        chardev_queue_put(&s->in, b);
        return;
    }
    if (!s->escaped) {
        s->escaped = b == ESCAPE_KEY;
        if (!s->escaped)
            chardev_queue_put(&s->in, b);
        return;
    }
    s->escaped = false;
    switch (b) {
    case 'x': in_tell(s, CHARDEV_ESC_QUIT); break;
    case 'h':
    case '?': in_tell(s, CHARDEV_ESC_HELP); break;
    case 'b':
        chardev_queue_put(&s->in, CHARDEV_BREAK);
        in_tell(s, CHARDEV_ESC_BREAK);
        break;
    case 'c': in_tell(s, CHARDEV_ESC_MONITOR); break;
    case 'p': in_tell(s, CHARDEV_ESC_PAUSE); break;
    case ESCAPE_KEY: chardev_queue_put(&s->in, ESCAPE_KEY); break;
    default: break;
    }
}

/* Queue to front end. */
static void in_deliver(struct stdio *s)
{
    if (!s->held)
        chardev_queue_deliver(&s->in, chardev_input(&s->c));
}

static void in_watch(struct stdio *s);

static void in_ready(void *opaque, int fd, unsigned events)
{
    struct stdio *s = opaque;
    uint8_t buf[512];
    size_t want = s->in_tty ? sizeof(buf) : MIN(sizeof(buf), (size_t)chardev_queue_room(&s->in));

    (void)events;
    ssize_t n = want ? read(fd, buf, want) : 0;
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (want && n <= 0)
        s->in_eof = true;
    for (ssize_t i = 0; i < n; i++)
        in_byte(s, buf[i]);
    in_deliver(s);
    in_watch(s);
}

/* Reads while there is a place to put it: a hang-up would be reported again and again otherwise. */
static void in_watch(struct stdio *s)
{
    bool want = !s->in_eof && (s->in_tty || chardev_queue_room(&s->in));

    if (want && !s->in_watch) {
        int rc = loop_fd_add(s->loop, &s->in_watch, STDIN_FILENO, LOOP_IN, in_ready, s);
        if (rc < 0) {
            /* A closed standard input is an empty one. */
            s->in_watch = NULL;
            s->in_eof = true;
        }
    } else if (!want && s->in_watch) {
        loop_fd_remove(s->in_watch);
        s->in_watch = NULL;
    }
}

static void in_resume_posted(void *opaque)
{
    struct stdio *s = opaque;
    if (s != the_stdio)
        return;
    in_deliver(s);
    in_watch(s);
}

static void stdio_resume(struct chardev *c)
{
    struct stdio *s = stdio_of(c);
    loop_post(s->loop, in_resume_posted, s);
}

static void stdio_hold(struct chardev *c, bool hold)
{
    struct stdio *s = stdio_of(c);

    s->held = hold;
    if (hold)
        return;
    in_deliver(s);
    in_watch(s);
    out_flush(s);
}

/* --- opening and closing --- */

static void stdio_at_exit(void)
{
    if (the_stdio)
        out_finish(the_stdio);
    chardev_restore_terminal();
}

static void stdio_close(struct chardev *c)
{
    struct stdio *s = stdio_of(c);

    out_finish(s);
    atomic_store(&tty_signal_efd, -1);
    atomic_store(&tty_wanted, false);
    chardev_restore_terminal();
    the_stdio = NULL;
    if (s->in_watch)
        loop_fd_remove(s->in_watch);
    if (s->out_watch)
        loop_fd_remove(s->out_watch);
    if (s->out_later)
        loop_timer_remove(s->out_later);
    if (s->signal_watch)
        loop_fd_remove(s->signal_watch);
    if (s->signal_efd >= 0)
        close(s->signal_efd);
    pthread_mutex_destroy(&s->lock);
    free(s->out);
    free(s);
}

static const struct chardev_ops stdio_ops = {
    .write = stdio_write, .resume = stdio_resume, .hold = stdio_hold, .close = stdio_close};

/* Raw mode, and the signals that concern it. */
static int stdio_open_tty(struct stdio *s)
{
    struct sigaction sa = {.sa_handler = tty_on_signal, .sa_flags = SA_RESTART};
    int rc;

    if (tcgetattr(STDIN_FILENO, &tty_saved) < 0)
        return -errno;
    s->signal_efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->signal_efd < 0)
        return -errno;
    rc = loop_fd_add(s->loop, &s->signal_watch, s->signal_efd, LOOP_IN, tty_serve_signal, s);
    if (rc < 0)
        return rc;
    tty_raw = tty_saved;
    cfmakeraw(&tty_raw);
    /* The guest's own terminal driver sends CR LF, but messages of ours on the same terminal do not. */
    tty_raw.c_oflag = tty_saved.c_oflag;
    tty_raw.c_cc[VMIN] = 1;
    tty_raw.c_cc[VTIME] = 0;
    atomic_store(&tty_signal_efd, s->signal_efd);
    atomic_store(&tty_wanted, true);
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTSTP, &sa, NULL);
    sigaction(SIGCONT, &sa, NULL);
    tty_make_raw();
    return 0;
}

int chardev_open_stdio(struct chardev **out, struct loop *l, const struct chardev_stdio_options *o, struct err *e)
{
    static bool registered;
    struct stdio *s;
    int rc;

    if (the_stdio)
        return err_set(e, EBUSY, "the terminal is in use by another console");
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(e, ENOMEM, "no memory for the console");
    s->c.ops = &stdio_ops;
    s->loop = l;
    s->opt = *o;
    s->signal_efd = -1;
    s->in_tty = isatty(STDIN_FILENO);
    pthread_mutex_init(&s->lock, NULL);
    s->out = malloc(OUT_SIZE);
    if (!s->out) {
        rc = -ENOMEM;
        goto fail;
    }
    rc = loop_timer_add(l, &s->out_later, out_flush_later, s);
    if (rc < 0)
        goto fail;
    signal(SIGPIPE, SIG_IGN);
    if (!registered && atexit(stdio_at_exit) == 0)
        registered = true;
    the_stdio = s;
    if (s->in_tty && o->raw) {
        rc = stdio_open_tty(s);
        if (rc < 0)
            goto fail;
    }
    /* Reading begins with the loop, when the front end is there. */
    loop_post(l, in_resume_posted, s);
    *out = &s->c;
    return 0;

fail:
    stdio_close(&s->c);
    return err_set(e, -rc, "the terminal cannot be set up: %s", strerror(-rc));
}
