/*
 * guestfwd: libslirp's process may neither start programs nor choose what it connects to. So it connects to a Unix
 * socket, one for each guestfwd of the command line, in a folder that becomes the root of what it can name; behind
 * them listens this relay, forked before the process gave up its rights. A connection gets a process of its own: the
 * command, or one that copies between it and a socket of the host, under the network's filter.
 *
 * The relay reads nothing of what is sent. It lives as long as the other end of `life`, which only libslirp's process
 * holds, and takes commands that still run with it.
 */
#include "devices/net/guestfwd.h"

#ifdef HAVE_SLIRP

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devices/net/net_user.h"
#include "vmm/base/log.h"

#define GUESTFWD_CONNECTIONS 64 /* at a time, of all together; more are closed at once */
#define GUESTFWD_BUFFER 65536
#define GUESTFWD_RESOLV_MAX 65536

struct relay {
    const struct net_user_config *cfg;
    struct guestfwd *g;
    int listener[NET_GUESTFWD_MAX];
    unsigned running;
    pid_t client; /* whose connections are taken */
    time_t complained;
};

/* --- the folder ------------------------------------------------------------------------------------------------- */

static void socket_path(char path[GUESTFWD_DIR_MAX + 16], const struct guestfwd *g, unsigned i)
{
    snprintf(path, GUESTFWD_DIR_MAX + 16, "%s/%u", g->dir, i);
}

static void folder_remove(const struct relay *r)
{
    char path[GUESTFWD_DIR_MAX + 32];

    for (unsigned i = 0; i < r->cfg->nguestfwd; i++) {
        socket_path(path, r->g, i);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/etc/resolv.conf", r->g->dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/etc", r->g->dir);
    rmdir(path);
    rmdir(r->g->dir);
}

/* What libslirp reads there; without one, there is no name server to forward to. */
static void copy_resolv_conf(const char *dir)
{
    static char text[GUESTFWD_RESOLV_MAX];
    char path[GUESTFWD_DIR_MAX + 32];
    int from = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC), to;
    ssize_t n = from < 0 ? -1 : read(from, text, sizeof(text));

    if (from >= 0)
        close(from);
    snprintf(path, sizeof(path), "%s/etc", dir);
    if (n < 0 || mkdir(path, 0700) < 0 || chmod(path, 0755) < 0) /* whatever the umask is */
        return;
    snprintf(path, sizeof(path), "%s/etc/resolv.conf", dir);
    to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (to < 0)
        return;
    if (fchmod(to, 0644) < 0 || write(to, text, (size_t)n) != n)
        unlink(path);
    close(to);
}

static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

    if (s < 0)
        return -errno;
    strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
    /* Open to all users: the folder is not, and a connection's process is looked at. */
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) == 0 && chmod(path, 0666) == 0 && listen(s, SOMAXCONN) == 0)
        return s;
    r = -errno;
    close(s);
    return r;
}

static int folder_make(struct relay *r, struct err *e)
{
    const char *tmp = getenv("XDG_RUNTIME_DIR");
    char path[GUESTFWD_DIR_MAX + 16];

    /* Longer ones do not leave room for a socket's name. */
    if (!tmp || tmp[0] != '/' || strlen(tmp) > GUESTFWD_DIR_MAX / 2 || access(tmp, W_OK) < 0)
        tmp = "/tmp";
    snprintf(r->g->dir, sizeof(r->g->dir), "%s/pipit-guestfwd-XXXXXX", tmp);
    if (!mkdtemp(r->g->dir))
        return err_set(e, errno, "guestfwd: no folder for its sockets in %s: %s", tmp, strerror(errno));
    /* Later the process that connects is nobody; others than root do not become anybody else. */
    if (geteuid() == 0 && chmod(r->g->dir, 0711) < 0)
        return err_set(e, errno, "guestfwd: %s: %s", r->g->dir, strerror(errno));
    copy_resolv_conf(r->g->dir);
    for (unsigned i = 0; i < r->cfg->nguestfwd; i++) {
        socket_path(path, r->g, i);
        r->listener[i] = listen_at(path);
        if (r->listener[i] < 0)
            return err_set(e, -r->listener[i], "guestfwd: no socket %s: %s", path, strerror(-r->listener[i]));
    }
    return 0;
}

/* --- a connection's process ------------------------------------------------------------------------------------- */

struct direction {
    int from, to;
    bool ended; /* from has no more, and to was told */
    size_t at, len;
    char data[GUESTFWD_BUFFER];
};

/* False when the connection is broken. */
static bool direction_read(struct direction *d)
{
    ssize_t n = recv(d->from, d->data, sizeof(d->data), MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        d->ended = true;
        shutdown(d->to, SHUT_WR);
    }
    d->at = 0;
    d->len = (size_t)n;
    return true;
}

static bool direction_write(struct direction *d)
{
    ssize_t n = send(d->to, d->data + d->at, d->len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    d->at += (size_t)n;
    d->len -= (size_t)n;
    return true;
}

static void copy_both_ways(int guest, int host)
{
    static struct direction out, in;
    struct direction *d[2] = {&out, &in};

    out.from = in.to = guest;
    in.from = out.to = host;
    for (;;) {
        struct pollfd p[2] = {{.fd = guest}, {.fd = host}};

        for (int i = 0; i < 2; i++) {
            p[i].events |= d[i]->ended || d[i]->len ? 0 : POLLIN;
            p[!i].events |= d[i]->len ? POLLOUT : 0;
        }
        /* One whose direction has ended would say so again and again. */
        for (int i = 0; i < 2; i++)
            p[i].fd = p[i].events ? p[i].fd : -1;
        if (out.ended && in.ended && !out.len && !in.len)
            return;
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return;
        for (int i = 0; i < 2; i++) {
            if ((p[!i].revents & (POLLOUT | POLLERR | POLLHUP)) && d[i]->len && !direction_write(d[i]))
                return;
            if ((p[i].revents & (POLLIN | POLLERR | POLLHUP)) && !d[i]->ended && !d[i]->len && !direction_read(d[i]))
                return;
        }
    }
}

static int connect_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
    if (s >= 0 && connect(s, (struct sockaddr *)&a, sizeof(a)) < 0) {
        close(s);
        s = -1;
    }
    return s;
}

static int connect_tcp(const char *host, uint16_t port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    char service[8];
    int s = -1;

    snprintf(service, sizeof(service), "%u", port);
    if (getaddrinfo(host, service, &hints, &list) != 0) {
        errno = EHOSTUNREACH;
        return -1;
    }
    for (const struct addrinfo *a = list; a && s < 0; a = a->ai_next) {
        s = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (s >= 0 && connect(s, a->ai_addr, a->ai_addrlen) < 0) {
            int code = errno;

            close(s);
            s = -1;
            errno = code;
        }
    }
    freeaddrinfo(list);
    return s;
}

static _Noreturn void run_command(const char *command, int s)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(s, STDIN_FILENO);
    dup2(s, STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static _Noreturn void serve(const struct relay *r, const struct net_guestfwd *f, int s, bool may_complain)
{
    struct err e = {0};
    int host;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (f->kind == NET_GUESTFWD_CMD)
        run_command(f->target, s);
    host = f->kind == NET_GUESTFWD_UNIX ? connect_unix(f->target) : connect_tcp(f->target, f->target_port);
    if (host < 0) {
        if (may_complain)
            log_warn("net", "guestfwd: the guest is refused at port %u: %s: %s", f->port, f->target, strerror(errno));
        _exit(1);
    }
    close(r->g->life);
    if (r->cfg->confine(&e) < 0)
        _exit(1);
    copy_both_ways(s, host);
    _exit(0);
}

/* --- the relay -------------------------------------------------------------------------------------------------- */

static void take(struct relay *r, unsigned i)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    int s = accept4(r->listener[i], NULL, NULL, SOCK_CLOEXEC);
    bool may_complain = time(NULL) != r->complained;
    pid_t pid;

    if (s < 0)
        return;
    if (getsockopt(s, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid != r->client ||
        r->running >= GUESTFWD_CONNECTIONS)
        goto out;
    pid = fork();
    if (pid == 0)
        serve(r, &r->cfg->guestfwd[i], s, may_complain);
    r->running += pid > 0;
    r->complained = time(NULL);
out:
    close(s);
}

static _Noreturn void relay_run(struct relay *r, int life)
{
    struct pollfd p[NET_GUESTFWD_MAX + 1];
    unsigned n = r->cfg->nguestfwd;

    prctl(PR_SET_NAME, "pipit-guestfwd");
    prctl(PR_SET_PDEATHSIG, 0); /* the folder has to go first */
    for (unsigned i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = r->listener[i], .events = POLLIN};
    p[n] = (struct pollfd){.fd = life, .events = POLLIN};
    for (;;) {
        if (poll(p, n + 1, -1) < 0 && errno != EINTR)
            break;
        if (p[n].revents)
            break;
        while (r->running && waitpid(-1, NULL, WNOHANG) > 0)
            r->running--;
        for (unsigned i = 0; i < n; i++)
            if (p[i].revents)
                take(r, i);
    }
    folder_remove(r);
    _exit(0);
}

int guestfwd_start(struct guestfwd *g, const struct net_user_config *cfg, struct err *e)
{
    struct relay r = {.cfg = cfg, .g = g, .client = getpid()};
    int life[2], code;
    pid_t pid;

    memset(r.listener, -1, sizeof(r.listener));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, life) < 0)
        return err_set(e, errno, "guestfwd: %s", strerror(errno));
    code = folder_make(&r, e);
    if (code < 0)
        goto fail;
    pid = fork();
    if (pid == 0) {
        close(life[0]);
        close(NET_USER_CHILD_FD);
        g->life = life[1];
        relay_run(&r, life[1]);
    }
    if (pid < 0) {
        code = err_set(e, errno, "guestfwd: no process for it: %s", strerror(errno));
        goto fail;
    }
    close(life[1]);
    for (unsigned i = 0; i < cfg->nguestfwd; i++)
        close(r.listener[i]);
    g->life = life[0];
    return 0;

fail:
    close(life[0]);
    close(life[1]);
    if (g->dir[0])
        folder_remove(&r);
    return code;
}

#endif
