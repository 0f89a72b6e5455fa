/* pipit console: a terminal, or any input and output, on the console of a running machine. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "devices/chardev.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/service/life/commands.h"

#define ESCAPE_KEY 0x01

static struct termios saved;
static bool is_raw;

static void restore(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    is_raw = false;
}

static void on_signal(int sig)
{
    restore();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void make_raw(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct termios raw;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
        signal(signals[i], on_signal);
    raw = saved;
    cfmakeraw(&raw);
    raw.c_oflag = saved.c_oflag;
    is_raw = true;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static bool write_all(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);

        /* The guest takes no input. Keys are dropped, so that Ctrl-A x works; whatever is no terminal waits. */
        if (w < 0 && errno == EAGAIN && is_raw)
            return true;
        if (w < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static void say(const char *text)
{
    write_all(STDERR_FILENO, (const uint8_t *)text, strlen(text));
}

/* One key behind Ctrl-A; what goes to the machine is put into `out`. False: leave. */
static bool command_key(uint8_t key, uint8_t *out, size_t *n)
{
    switch (key) {
    case 'x':
    case 'd': return false;
    case 'b':
        out[(*n)++] = CHARDEV_HUB_ESCAPE;
        out[(*n)++] = 'b';
        break;
    case ESCAPE_KEY: out[(*n)++] = ESCAPE_KEY; break;
    case 'h':
    case '?':
        say("\r\nCtrl-A x  leave the console; the machine goes on\r\nCtrl-A b  send a break\r\nCtrl-A h  this help\r\n"
            "Ctrl-A Ctrl-A  send Ctrl-A\r\n");
        break;
    default: break;
    }
    return true;
}

/* Input to the machine. False: leave. */
static bool pass_keys(int fd, bool *escaped, bool *eof)
{
    uint8_t in[256], out[2 * sizeof(in)];
    ssize_t got = read(STDIN_FILENO, in, sizeof(in));
    size_t n = 0;
    bool stay = true;

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    *eof = got <= 0;
    for (ssize_t i = 0; i < got && stay; i++) {
        if (*escaped) {
            *escaped = false;
            stay = command_key(in[i], out, &n);
        } else if (in[i] == ESCAPE_KEY && is_raw) {
            *escaped = true;
        } else {
            if (in[i] == CHARDEV_HUB_ESCAPE)
                out[n++] = CHARDEV_HUB_ESCAPE;
            out[n++] = in[i];
        }
    }
    return write_all(fd, out, n) && stay;
}

static int serve(int fd)
{
    bool escaped = false, eof = false;
    uint8_t buf[4096];

    for (;;) {
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = eof ? -1 : STDIN_FILENO, .events = POLLIN}};

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (p[0].revents) {
            ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

            if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                say("\r\npipit: the machine has ended\r\n");
                return 0;
            }
            if (n > 0 && !write_all(STDOUT_FILENO, buf, (size_t)n))
                return 1;
        }
        if (p[1].revents && !pass_keys(fd, &escaped, &eof))
            return 0;
    }
}

int life_console(int argc, char **argv)
{
    struct err e = {0};
    char line[64];
    int fd, status;

    if (argc != 1 || argv[0][0] == '-')
        return life_usage("console NAME");
    fd = life_ask(argv[0], "console", line, &e);
    if (fd < 0)
        return life_fail(&e);
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(line, "ok reads"))
        log_info(NULL, "another console types; this one reads until that has left");
    if (isatty(STDIN_FILENO))
        log_info(NULL, "Ctrl-A x leaves the console, Ctrl-A h helps");
    make_raw();
    status = serve(fd);
    restore();
    close(fd);
    return status;
}
