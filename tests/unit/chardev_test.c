/*
 * Character back ends. Standard input and output are replaced in child processes by pipes, files and a pseudo-terminal;
 * a child's exit status says how its half of the test went.
 */
#include "devices/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

/* --- the child's half: a console that collects input --- */

static struct loop *loop;
static struct chardev *chr;
static char input[8192];
static size_t input_len, input_room, input_want;
static unsigned breaks, escapes[5];
static bool writable_called;

static size_t fe_room(void *opaque)
{
    (void)opaque;
    return input_room;
}

static void fe_receive(void *opaque, const uint8_t *p, size_t len)
{
    (void)opaque;
    if (len > input_room || input_len + len > sizeof(input))
        _exit(90);
    memcpy(input + input_len, p, len);
    input_len += len;
    input_room -= len;
    if (input_want && input_len >= input_want)
        loop_stop(loop);
}

static void fe_brk(void *opaque)
{
    (void)opaque;
    breaks++;
}

static void fe_writable(void *opaque)
{
    (void)opaque;
    writable_called = true;
    loop_stop(loop);
}

static void on_escape(void *opaque, enum chardev_escape what)
{
    (void)opaque;
    escapes[what]++;
    if (what == CHARDEV_ESC_QUIT)
        loop_stop(loop);
}

static void stop_loop(void *opaque)
{
    (void)opaque;
    loop_stop(loop);
}

static void child_open(bool with_escapes, bool raw)
{
    const struct chardev_stdio_options o = {.escapes = with_escapes, .raw = raw, .on_escape = on_escape};
    const struct chardev_frontend f = {.room = fe_room, .receive = fe_receive, .brk = fe_brk, .writable = fe_writable};

    alarm(20);
    log_set_level(LOG_ERROR);
    if (loop_create(&loop, NULL) < 0 || chardev_open_stdio(&chr, loop, &o, NULL) < 0)
        _exit(91);
    chardev_set_frontend(chr, &f);
}

static void child_close(void)
{
    chardev_close(chr);
    loop_destroy(loop);
}

#define EXPECT(cond)                                                                                                   \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            dprintf(2, "  child: %s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                                   \
            _exit(92);                                                                                                 \
        }                                                                                                              \
    } while (0)

/* --- the parent's half --- */

struct child {
    pid_t pid;
    int in, out; /* our ends */
};

static void run_child(void (*fn)(void), int in, int out)
{
    dup2(in, 0);
    dup2(out, 1);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    fn();
    _exit(0);
}

static bool spawn(struct child *c, void (*fn)(void))
{
    int in[2], out[2];

    fflush(NULL);
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return false;
    c->pid = fork();
    if (c->pid == 0)
        run_child(fn, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    c->in = in[1];
    c->out = out[0];
    return c->pid > 0;
}

static int reap(struct child *c)
{
    int status;

    if (waitpid(c->pid, &status, 0) != c->pid)
        return -1;
    if (c->in >= 0)
        close(c->in);
    if (c->out >= 0)
        close(c->out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Reads until the end or `want` bytes. */
static size_t read_all(int fd, char *buf, size_t want)
{
    size_t n = 0;
    ssize_t r;

    while (n < want && (r = read(fd, buf + n, want - n)) > 0)
        n += (size_t)r;
    return n;
}

/* --- tests --- */

static void child_escapes(void)
{
    child_open(true, true);
    input_room = sizeof(input);
    loop_run(loop);
    EXPECT(escapes[CHARDEV_ESC_QUIT] == 1);
    EXPECT(escapes[CHARDEV_ESC_HELP] == 1);
    EXPECT(escapes[CHARDEV_ESC_MONITOR] == 1);
    EXPECT(escapes[CHARDEV_ESC_BREAK] == 1);
    EXPECT(escapes[CHARDEV_ESC_PAUSE] == 2);
    EXPECT(breaks == 1);
    EXPECT(input_len == 4 && !memcmp(input,
                                     "ab\x01"
                                     "c",
                                     4));
    child_close();
}

static void test_escapes(void)
{
    struct child c;

    CHECK(spawn(&c, child_escapes));
    const char *s = "a\x01hb\x01\x01"
                    "c\x01"
                    "b\x01"
                    "c\x01p\x01q\x01p\x01x";
    CHECK_EQ(write(c.in, s, strlen(s)), strlen(s));
    CHECK_EQ(reap(&c), 0);
}

/* While held, keys and breaks wait and escapes are heard; afterwards everything comes in order. */
static void child_held(void)
{
    child_open(true, true);
    input_room = sizeof(input);
    chardev_hold(chr, true);
    loop_run(loop);
    EXPECT(escapes[CHARDEV_ESC_QUIT] == 1 && escapes[CHARDEV_ESC_PAUSE] == 1);
    EXPECT(input_len == 0 && breaks == 0);
    chardev_resume(chr); /* a front end that has room again changes nothing */
    loop_post(loop, stop_loop, NULL);
    loop_run(loop);
    EXPECT(input_len == 0 && breaks == 0);
    chardev_hold(chr, false);
    EXPECT(input_len == 4 && !memcmp(input, "abcd", 4) && breaks == 1);
    child_close();
}

static void test_held(void)
{
    struct child c;
    const char *s = "ab\x01pc\x01"
                    "bd\x01x";

    CHECK(spawn(&c, child_held));
    CHECK_EQ(write(c.in, s, strlen(s)), strlen(s));
    CHECK_EQ(reap(&c), 0);
}

/* The end of the input is not the end of the machine, nor a busy loop. */
static void child_idle_after_eof(void)
{
    struct timespec cpu;

    child_open(true, true);
    input_room = sizeof(input);
    struct loop_timer *t;
    struct timespec now;
    EXPECT(loop_timer_add(loop, &t, stop_loop, NULL) == 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    loop_timer_set(t, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + 400000000);
    loop_run(loop);
    EXPECT(input_len == 3);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    EXPECT(cpu.tv_sec == 0 && cpu.tv_nsec < 300000000);
    loop_timer_remove(t);
    child_close();
}

static void test_end_of_input(void)
{
    struct child c;

    CHECK(spawn(&c, child_idle_after_eof));
    CHECK_EQ(write(c.in, "abc", 3), 3);
    close(c.in);
    c.in = -1;
    CHECK_EQ(reap(&c), 0);
}

static void take_more(void *opaque)
{
    (void)opaque;
    input_room = MIN(sizeof(input) - input_len, (size_t)7);
    chardev_resume(chr);
    if (input_len < input_want)
        loop_post(loop, take_more, NULL);
}

static void child_slow_guest(void)
{
    child_open(false, true);
    input_want = 8000;
    loop_post(loop, take_more, NULL);
    loop_run(loop);
    for (size_t i = 0; i < 8000; i++)
        EXPECT(input[i] == (char)('a' + i % 23));
    child_close();
}

/* A guest that takes seven bytes at a time gets all of them. */
static void test_slow_guest_loses_nothing(void)
{
    struct child c;
    char text[8000];

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 23);
    CHECK(spawn(&c, child_slow_guest));
    CHECK_EQ(write(c.in, text, sizeof(text)), sizeof(text));
    CHECK_EQ(reap(&c), 0);
}

static size_t written;

/* More than the buffer holds, as room comes. */
static void put_more(void *opaque)
{
    static const size_t total = MIB(3);
    uint8_t buf[1000];

    (void)opaque;
    while (written < total) {
        size_t n = MIN(sizeof(buf), total - written);
        for (size_t i = 0; i < n; i++)
            buf[i] = (uint8_t)((written + i) * 7 + ((written + i) >> 9));
        size_t took = chardev_write(chr, buf, n);
        written += took;
        if (took < n)
            return;
    }
    loop_stop(loop);
}

static void child_output(void)
{
    child_open(true, true);
    loop_post(loop, put_more, NULL);
    for (;;) {
        loop_run(loop);
        if (!writable_called)
            break;
        writable_called = false;
        put_more(NULL);
    }
    child_close();
}

static void check_output(void (*child)(void))
{
    static char got[MIB(3) + 1];
    struct child c;

    CHECK(spawn(&c, child));
    usleep(100000); /* the pipe fills, then the buffer */
    CHECK_EQ(read_all(c.out, got, sizeof(got)), MIB(3));
    CHECK_EQ(reap(&c), 0);
    for (size_t i = 0; i < MIB(3); i++)
        CHECK_EQ((uint8_t)got[i], (uint8_t)(i * 7 + (i >> 9)));
}

static void test_output_to_a_slow_pipe(void)
{
    check_output(child_output);
}

static void child_output_nonblocking(void)
{
    if (fcntl(1, F_SETFL, O_NONBLOCK) < 0)
        _exit(93);
    child_output();
}

static void test_output_to_a_nonblocking_pipe(void)
{
    check_output(child_output_nonblocking);
}

static void child_last_words(void)
{
    child_open(true, true);
    EXPECT(chardev_write(chr, (const uint8_t *)"last words", 10) == 10);
    exit(0);
}

/* What is in the buffer is written even where nobody closes the console. */
static void test_output_at_exit(void)
{
    struct child c;
    char got[16];

    CHECK(spawn(&c, child_last_words));
    CHECK_EQ(read_all(c.out, got, sizeof(got)), 10);
    CHECK(!memcmp(got, "last words", 10));
    CHECK_EQ(reap(&c), 0);
}

static void child_reader_gone(void)
{
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    child_open(true, true);
    char go;
    (void)!read(0, &go, 1);
    for (unsigned i = 0; i < 500; i++)
        EXPECT(chardev_write(chr, (const uint8_t *)input, 1000) == 1000);
    loop_post(loop, stop_loop, NULL);
    loop_run(loop);
    for (unsigned i = 0; i < 5000; i++)
        EXPECT(chardev_write(chr, (const uint8_t *)input, 1000) == 1000); /* dropped */
    child_close();
}

static void test_reader_went_away(void)
{
    struct child c;

    CHECK(spawn(&c, child_reader_gone));
    close(c.out);
    c.out = -1;
    CHECK_EQ(write(c.in, "g", 1), 1);
    CHECK_EQ(reap(&c), 0);
}

static void child_from_file(void)
{
    child_open(true, true);
    input_room = sizeof(input);
    input_want = 6;
    loop_run(loop);
    EXPECT(!memcmp(input, "script", 6));
    chardev_write(chr, (const uint8_t *)"result", 6);
    child_close();
}

static void test_files_as_stdin_and_stdout(void)
{
    char in_path[] = "/tmp/pipit-in-XXXXXX", out_path[] = "/tmp/pipit-out-XXXXXX", got[16];
    int in = mkstemp(in_path), out = mkstemp(out_path);

    CHECK(in >= 0 && out >= 0);
    unlink(in_path);
    unlink(out_path);
    CHECK_EQ(write(in, "script", 6), 6);
    CHECK_EQ(lseek(in, 0, SEEK_SET), 0);
    fflush(NULL);
    struct child c = {.pid = fork(), .in = in, .out = out};
    if (c.pid == 0)
        run_child(child_from_file, in, out);
    c.out = dup(out);
    CHECK_EQ(reap(&c), 0);
    CHECK_EQ(lseek(out, 0, SEEK_SET), 0);
    CHECK_EQ(read_all(out, got, sizeof(got)), 6);
    CHECK(!memcmp(got, "result", 6));
}

static int pty_open(int *slave)
{
    int m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (m < 0 || grantpt(m) < 0 || unlockpt(m) < 0)
        return -1;
    *slave = open(ptsname(m), O_RDWR | O_NOCTTY | O_CLOEXEC);
    return *slave < 0 ? -1 : m;
}

static bool pty_is_raw(int fd)
{
    struct termios t;
    return tcgetattr(fd, &t) == 0 && !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static bool pty_wait_raw(int fd, bool raw)
{
    for (unsigned ms = 0; pty_is_raw(fd) != raw; ms++) {
        if (ms == 5000)
            return false;
        usleep(1000);
    }
    return true;
}

static void child_tty(void)
{
    child_open(true, true);
    input_room = 2; /* a guest that stops reading */
    loop_run(loop);
    EXPECT(input_len == 2);
    child_close();
}

static void child_tty_exits(void)
{
    child_open(true, true);
    input_room = sizeof(input);
    input_want = 1;
    loop_run(loop);
    exit(0);
}

static void test_terminal(void)
{
    int slave, master = pty_open(&slave);

    CHECK(master >= 0);
    fflush(NULL);
    struct child c = {.pid = fork(), .in = -1, .out = -1};
    if (c.pid == 0)
        run_child(child_tty, slave, slave);
    CHECK(pty_wait_raw(slave, true));
    /* Keys that the guest does not take must not keep Ctrl-A x from working. */
    char keys[4000];
    memset(keys, 'k', sizeof(keys));
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(write(master, keys, sizeof(keys)), sizeof(keys));
        usleep(20000);
    }
    CHECK_EQ(write(master, "\x01x", 2), 2);
    CHECK_EQ(reap(&c), 0);
    CHECK(!pty_is_raw(slave));

    /* exit() without a close restores it too. */
    fflush(NULL);
    c = (struct child){.pid = fork(), .in = -1, .out = -1};
    if (c.pid == 0)
        run_child(child_tty_exits, slave, slave);
    CHECK(pty_wait_raw(slave, true));
    CHECK_EQ(write(master, "q", 1), 1);
    CHECK_EQ(reap(&c), 0);
    CHECK(!pty_is_raw(slave));
    close(slave);
    close(master);
}

static void test_terminal_stop_and_continue(void)
{
    int slave, status, master = pty_open(&slave);

    CHECK(master >= 0);
    fflush(NULL);
    struct child c = {.pid = fork(), .in = -1, .out = -1};
    if (c.pid == 0)
        run_child(child_tty, slave, slave);
    CHECK(pty_wait_raw(slave, true));
    CHECK_EQ(kill(c.pid, SIGTSTP), 0);
    CHECK_EQ(waitpid(c.pid, &status, WUNTRACED), c.pid);
    CHECK(WIFSTOPPED(status));
    CHECK(!pty_is_raw(slave));
    CHECK_EQ(kill(c.pid, SIGCONT), 0);
    CHECK(pty_wait_raw(slave, true));
    CHECK_EQ(write(master, "ab\x01x", 4), 4);
    CHECK_EQ(reap(&c), 0);
    CHECK(!pty_is_raw(slave));
    close(slave);
    close(master);
}

static void test_file_and_null(void)
{
    char path[] = "/tmp/pipit-chr-XXXXXX", got[8];
    struct err e = {0};
    struct chardev *f;
    int fd = mkstemp(path);

    CHECK(fd >= 0);
    CHECK_EQ(chardev_open_file(&f, path, &e), 0);
    CHECK_EQ(chardev_write(f, (const uint8_t *)"abc", 3), 3);
    chardev_resume(f);
    chardev_close(f);
    CHECK_EQ(read_all(fd, got, sizeof(got)), 3);
    close(fd);
    unlink(path);
    CHECK_EQ(chardev_open_file(&f, "/nonexistent/x", &e), -ENOENT);
    CHECK(strstr(e.msg, "/nonexistent/x"));
    CHECK_EQ(chardev_open_null(&f), 0);
    CHECK_EQ(chardev_write(f, (const uint8_t *)"abc", 3), 3);
    chardev_close(f);
    chardev_close(NULL);
    chardev_restore_terminal();
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    RUN(test_escapes);
    RUN(test_held);
    RUN(test_end_of_input);
    RUN(test_slow_guest_loses_nothing);
    RUN(test_output_to_a_slow_pipe);
    RUN(test_output_to_a_nonblocking_pipe);
    RUN(test_output_at_exit);
    RUN(test_reader_went_away);
    RUN(test_files_as_stdin_and_stdout);
    RUN(test_terminal);
    RUN(test_terminal_stop_and_continue);
    RUN(test_file_and_null);
    return check_done();
}
