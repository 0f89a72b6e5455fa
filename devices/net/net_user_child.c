/*
 * The user network's own process: libslirp between the rings and the host's sockets.
 *
 * One thread, one poll loop. A turn: frames from the guest go into libslirp (a bounded number, so that sockets get
 * their turn), then poll, then libslirp reads and writes its sockets, and its answers go into the ring to the guest.
 *
 * Back-pressure. Towards the guest: while more than half of that ring is full, no socket is polled for reading, so the
 * host's kernel holds the data and TCP's windows close. What the guest sends is still taken, because its
 * acknowledgements drain libslirp's own buffers; a frame that finds the ring quite full is dropped, as on any wire.
 * From the guest: a full ring makes the parent hold the guest's queue.
 *
 * What this process may do once it runs: its sockets, poll, memory, and reading resolv.conf, which libslirp looks at
 * again when it changes. Seccomp cannot tell one path from another, so open for reading is allowed there, and Landlock
 * says what can be opened: resolv.conf and the directory it lives in (the file is replaced by renaming). When pipit is
 * run by root, the process becomes `nobody` first; where it cannot, the directory /etc (shadow) is left out, and a
 * replaced resolv.conf is noticed by the next run only. Where the kernel has no Landlock, that is said once.
 */
#include "devices/net/net_user.h"

#ifdef HAVE_SLIRP

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "devices/net/defrag.h"
#include "devices/net/guestfwd.h"
#include "devices/net/user_addrs.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define CHILD_TURN 256             /* frames from the guest before the sockets are looked at */
#define CHILD_TIMERS 4             /* libslirp 4.8 makes one */
#define CHILD_NOBODY 65534         /* the kernel's overflow user and group */
#define CHILD_GUESTFWD_PART 0x0204 /* where a guestfwd without an address is, as in QEMU */
#define CHILD_FILES_MAX 8192       /* open sockets, if the hard limit allows */

struct child_timer {
    bool used, armed;
    SlirpTimerId id;
    void *cb_opaque;
    int64_t expire_ms;
};

struct child {
    Slirp *slirp;
    struct net_ring in, out; /* from the guest, to the guest */
    struct child_timer timer[CHILD_TIMERS];
    struct pollfd *pfd; /* [0] is the parent's socket */
    unsigned npfd, cap;
    bool congested; /* sockets are not read in this turn */
    int sock;
    uint8_t frame[NET_FRAME_MAX];
    struct net_defrag defrag;
    struct user_addrs addrs;
};

/* --- libslirp's callbacks ------------------------------------------------------------------------------------------
 */

static int64_t child_now_ns(void *opaque)
{
    struct timespec ts;

    (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static ssize_t child_send_packet(const void *buf, size_t len, void *opaque)
{
    struct child *c = opaque;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

    net_ring_push(&c->out, &iov, 1); /* without room: dropped, see above */
    return (ssize_t)len;
}

static void child_guest_error(const char *msg, void *opaque)
{
    (void)opaque;
    log_guest("net", "%s", msg);
}

static void child_init_completed(Slirp *slirp, void *opaque)
{
    (void)slirp;
    (void)opaque;
}

static void *child_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    struct child *c = opaque;

    for (unsigned i = 0; i < CHILD_TIMERS; i++) {
        struct child_timer *t = &c->timer[i];
        if (!t->used) {
            *t = (struct child_timer){.used = true, .id = id, .cb_opaque = cb_opaque};
            return t;
        }
    }
    log_error("net", "libslirp asks for more than %d timers", CHILD_TIMERS);
    _exit(1);
}

static void child_timer_free(void *timer, void *opaque)
{
    (void)opaque;
    *(struct child_timer *)timer = (struct child_timer){0};
}

static void child_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    struct child_timer *t = timer;

    (void)opaque;
    t->armed = true;
    t->expire_ms = expire_ms;
}

/* The poll list is made anew in each turn, and the loop runs on when anything happened: nothing to do for these. */
static void child_poll_fd(int fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

static void child_notify(void *opaque)
{
    (void)opaque;
}

/* libslirp keeps the pointer. */
static const SlirpCb child_callbacks = {
    .send_packet = child_send_packet,
    .guest_error = child_guest_error,
    .clock_get_ns = child_now_ns,
    .timer_free = child_timer_free,
    .timer_mod = child_timer_mod,
    .register_poll_fd = child_poll_fd,
    .unregister_poll_fd = child_poll_fd,
    .notify = child_notify,
    .init_completed = child_init_completed,
    .timer_new_opaque = child_timer_new,
};

/* --- the loop ------------------------------------------------------------------------------------------------------
 */

static void child_wake(struct child *c)
{
    bool fed = net_ring_fed(&c->out), drained = net_ring_drained(&c->in);

    if (fed || drained) {
        ssize_t r = send(c->sock, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)r; /* a full socket holds a wake-up; a closed one is seen by poll */
    }
}

/* Takes frames from the guest; true when there may be more. */
static bool child_take_frames(struct child *c)
{
    for (unsigned i = 0; i < CHILD_TURN; i++) {
        int n = net_ring_pop(&c->in, c->frame);
        const uint8_t *whole;
        uint32_t whole_len;

        if (n < 0)
            _exit(1);
        if (n == 0)
            return false;
        whole_len = (uint32_t)n;
        whole = net_defrag(&c->defrag, c->frame, &whole_len, child_now_ns(NULL) / 1000000);
        if (whole)
            slirp_input(c->slirp, whole, (int)whole_len);
    }
    return true;
}

static int child_add_poll(int fd, int events, void *opaque)
{
    struct child *c = opaque;
    short want = 0;

    if (c->npfd == c->cap) {
        unsigned cap = c->cap * 2;
        struct pollfd *p = realloc(c->pfd, cap * sizeof(*p));
        if (!p) {
            log_error("net", "out of memory");
            _exit(1);
        }
        c->pfd = p;
        c->cap = cap;
    }
    if ((events & SLIRP_POLL_IN) && !c->congested)
        want |= POLLIN;
    if ((events & SLIRP_POLL_PRI) && !c->congested)
        want |= POLLPRI;
    if (events & SLIRP_POLL_OUT)
        want |= POLLOUT;
    /* A negative descriptor is skipped: with no events wanted, an error that nobody handles now would end every poll
     * at once. */
    c->pfd[c->npfd] = (struct pollfd){.fd = want ? fd : -1, .events = want};
    return (int)c->npfd++;
}

static int child_get_revents(int idx, void *opaque)
{
    struct child *c = opaque;
    short r;
    int events = 0;

    if (idx < 0 || (unsigned)idx >= c->npfd || c->pfd[idx].fd < 0)
        return 0;
    r = c->pfd[idx].revents;
    if (r & POLLIN)
        events |= SLIRP_POLL_IN;
    if (r & POLLOUT)
        events |= SLIRP_POLL_OUT;
    if (r & POLLPRI)
        events |= SLIRP_POLL_PRI;
    if (r & POLLERR)
        events |= SLIRP_POLL_ERR;
    if (r & POLLHUP)
        events |= SLIRP_POLL_HUP;
    return events;
}

/* Milliseconds until the next timer, at most `timeout`. */
static uint32_t child_timeout(const struct child *c, uint32_t timeout)
{
    int64_t now = child_now_ns(NULL) / 1000000;

    for (unsigned i = 0; i < CHILD_TIMERS; i++)
        if (c->timer[i].armed) {
            int64_t left = MAX(c->timer[i].expire_ms - now, (int64_t)0);
            timeout = (uint32_t)MIN(left, (int64_t)timeout);
        }
    return timeout;
}

static void child_run_timers(struct child *c)
{
    int64_t now = child_now_ns(NULL) / 1000000;

    for (unsigned i = 0; i < CHILD_TIMERS; i++) {
        struct child_timer *t = &c->timer[i];
        if (t->armed && t->expire_ms <= now) {
            t->armed = false; /* before the call, which may arm it again */
            slirp_handle_timer(c->slirp, t->id, t->cb_opaque);
        }
    }
}

/* Wake-ups of the parent; its end is ours. */
static void child_hear_parent(struct child *c)
{
    uint8_t bytes[64];
    ssize_t r = recv(c->sock, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
        _exit(0);
}

static _Noreturn void child_loop(struct child *c)
{
    for (;;) {
        bool more = child_take_frames(c);
        uint32_t timeout = UINT32_MAX;
        int r;

        child_wake(c);
        c->congested = net_ring_congested(&c->out);
        c->npfd = 1;
        c->pfd[0] = (struct pollfd){.fd = c->sock, .events = POLLIN};
        slirp_pollfds_fill(c->slirp, &timeout, child_add_poll, c);
        timeout = child_timeout(c, timeout);
        if (more || !net_ring_idle(&c->in))
            timeout = 0;
        r = poll(c->pfd, c->npfd, timeout > INT_MAX ? -1 : (int)timeout);
        if (r > 0 && c->pfd[0].revents)
            child_hear_parent(c);
        slirp_pollfds_poll(c->slirp, r < 0, child_get_revents, c);
        child_run_timers(c);
        child_wake(c);
        if (c->out.broken)
            _exit(1);
    }
}

/* --- start ---------------------------------------------------------------------------------------------------------
 */

static int child_make_slirp(struct child *c, const struct net_user_config *cfg, struct err *e)
{
    const struct user_addrs *a = &c->addrs;
    SlirpConfig sc = {
        .version = 4,
        .restricted = cfg->restricted,
        .in_enabled = !cfg->no_ipv4,
        .vnetwork = a->net,
        .vnetmask = a->mask,
        .vhost = a->host,
        .vdhcp_start = a->dhcpstart,
        .vnameserver = a->dns,
        .in6_enabled = cfg->ipv6,
        .vprefix_addr6 = a->prefix6,
        .vprefix_len = USER_ADDRS_PREFIX6,
        .vhost6 = a->host6,
        .vnameserver6 = a->dns6,
        .vhostname = cfg->hostname,
        .vdomainname = cfg->domainname,
        .vdnssearch = (const char **)(uintptr_t)cfg->dnssearch, /* only read */
    };

    c->slirp = slirp_new(&sc, &child_callbacks, c);
    if (!c->slirp)
        return err_set(e, ENOMEM, "libslirp %s cannot be started", slirp_version_string());
    return 0;
}

/* Text and port to a socket address of the text's family; its length, or 0. */
static socklen_t child_sockaddr(struct sockaddr_storage *ss, const char *text, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    memset(ss, 0, sizeof(*ss));
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(ss, &in, sizeof(in));
        return sizeof(in);
    }
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
        memcpy(ss, &in6, sizeof(in6));
        return sizeof(in6);
    }
    return 0;
}

/* The guest's side of a published port; 0, or an error with a sentence. */
static int child_guest_side(const struct child *c, const struct net_user_config *cfg, const struct net_hostfwd *f,
                            const char *host, bool v6, unsigned i, struct sockaddr_storage *gs, struct err *e)
{
    char guest[INET6_ADDRSTRLEN] = "0.0.0.0"; /* whoever has the first lease */
    socklen_t len;

    if (v6 ? !cfg->ipv6 : cfg->no_ipv4)
        return err_set(e, EINVAL, "port %u on %s: IPv%d is off in the guest's network", f->host_port, host, v6 ? 6 : 4);
    if (v6)
        inet_ntop(AF_INET6, &c->addrs.guest6, guest, sizeof(guest));
    len = child_sockaddr(gs, f->guest_addr[0] ? f->guest_addr : guest, (uint16_t)(f->guest_port + i));
    if (len && gs->ss_family == (v6 ? AF_INET6 : AF_INET))
        return (int)len;
    return err_set(e, EINVAL, "port %u on %s: \"%s\" is not an IPv%d address of the guest", f->host_port, host,
                   f->guest_addr, v6 ? 6 : 4);
}

static int child_publish_error(int code, bool udp, const char *host, unsigned port, struct err *e)
{
    switch (code) {
    case EADDRINUSE: return err_set(e, code, "%s port %u on %s is in use", udp ? "UDP" : "TCP", port, host);
    case EADDRNOTAVAIL: return err_set(e, code, "port %u: %s is not an address of this host", port, host);
    case EACCES:
        return err_set(e, code, "port %u on %s: ports below net.ipv4.ip_unprivileged_port_start need privilege", port,
                       host);
    case EMFILE: return err_set(e, code, "port %u on %s: more ports than a process may have files open", port, host);
    default: return err_set(e, code, "port %u on %s cannot be published: %s", port, host, strerror(code));
    }
}

/* The `i`th port of a range. */
static int child_publish(struct child *c, const struct net_user_config *cfg, const struct net_hostfwd *f, unsigned i,
                         struct err *e)
{
    const char *host = f->host_addr[0] ? f->host_addr : "127.0.0.1";
    uint16_t port = (uint16_t)(f->host_port + i);
    struct sockaddr_storage hs, gs;
    socklen_t hlen = child_sockaddr(&hs, host, port);
    bool v6 = hlen && hs.ss_family == AF_INET6;
    int glen;

    if (!hlen)
        return err_set(e, EINVAL, "port %u: \"%s\" is not an address of the host", port, host);
    glen = child_guest_side(c, cfg, f, host, v6, i, &gs, e);
    if (glen < 0)
        return glen;
    errno = 0;
    if (slirp_add_hostxfwd(c->slirp, (struct sockaddr *)&hs, hlen, (struct sockaddr *)&gs, (socklen_t)glen,
                           (f->udp ? SLIRP_HOSTFWD_UDP : 0) | (v6 ? SLIRP_HOSTFWD_V6ONLY : 0)) == 0)
        return 0;
    return child_publish_error(errno ? errno : EINVAL, f->udp, host, port, e);
}

static int child_publish_all(struct child *c, const struct net_user_config *cfg, struct err *e)
{
    for (unsigned i = 0; i < cfg->nfwd; i++) {
        unsigned n = cfg->fwd[i].count ? cfg->fwd[i].count : 1;

        for (unsigned j = 0; j < n; j++) {
            int r = child_publish(c, cfg, &cfg->fwd[i], j, e);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Others than root need a user namespace of their own for that, and give its rights up at once. */
static bool child_enter_root(const char *dir)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    bool root = geteuid() == 0, done;
    int code;

    if (!root && unshare(CLONE_NEWUSER) < 0)
        return false;
    done = chroot(dir) == 0 && chdir("/") == 0;
    code = errno;
    if (!root)
        syscall(SYS_capset, &h, none);
    errno = code;
    return done;
}

/* The relay, whose folder becomes our root: with Unix sockets allowed (guestfwd's filter), only those in it can be
 * named. */
static int child_guestfwd(struct child *c, const struct net_user_config *cfg, struct err *e)
{
    struct guestfwd g = {.life = -1};
    char path[GUESTFWD_DIR_MAX + 16];
    bool rooted;
    int r = guestfwd_start(&g, cfg, e);

    if (r < 0)
        return r;
    rooted = child_enter_root(g.dir);
    if (!rooted)
        log_info("net",
                 "guestfwd: no root of its own here (%s): the user network's process can connect to the Unix "
                 "sockets that you can",
                 strerror(errno));
    for (unsigned i = 0; i < cfg->nguestfwd; i++) {
        const struct net_guestfwd *f = &cfg->guestfwd[i];
        struct in_addr addr = {0};

        if (f->addr[0])
            inet_pton(AF_INET, f->addr, &addr);
        else
            addr.s_addr = c->addrs.net.s_addr | (htonl(CHILD_GUESTFWD_PART) & ~c->addrs.mask.s_addr);
        snprintf(path, sizeof(path), "%s/%u", rooted ? "" : g.dir, i);
        if (slirp_add_unix(c->slirp, path, &addr, f->port) < 0)
            return err_set(e, EINVAL,
                           "guestfwd %s:%u: the address is not in the guest's network, is the host's or the name "
                           "server's, or is given twice",
                           f->addr[0] ? f->addr : "", f->port);
    }
    return 0;
}

/* libslirp listens with a backlog of one: of many connections that come at once, the host's kernel would let most wait
 * for the peer's retransmissions, and forget some. Its listening sockets are all that is open above ours. */
static void child_raise_backlogs(int sock)
{
    int end = fcntl(sock, F_DUPFD_CLOEXEC, NET_USER_CHILD_FD + 1); /* the first free one */

    for (int fd = NET_USER_CHILD_FD + 1; fd < end; fd++) {
        int listening = 0;
        socklen_t len = sizeof(listening);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening)
            listen(fd, SOMAXCONN);
    }
    if (end >= 0)
        close(end);
}

/* Own session, default signals, the parent's death is ours; no descriptor but 0..2 and the socket. */
static int child_detach(int sock, int parent_pid)
{
    struct rlimit rl;
    sigset_t none;

    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    prctl(PR_SET_NAME, "pipit-net");
    log_set_fd(STDERR_FILENO); /* a log file's descriptor is closed below, and its number may be the socket's */
    if (sock != NET_USER_CHILD_FD) {
        dup2(sock, NET_USER_CHILD_FD);
        sock = NET_USER_CHILD_FD;
    }
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = MAX(rl.rlim_cur, MIN(rl.rlim_max, (rlim_t)CHILD_FILES_MAX));
        setrlimit(RLIMIT_NOFILE, &rl);
    }
    if (close_range(NET_USER_CHILD_FD + 1, ~0u, 0) < 0)
        for (int fd = NET_USER_CHILD_FD + 1; fd < (int)MIN(rl.rlim_cur, (rlim_t)65536); fd++)
            close(fd);
    fcntl(sock, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent_pid)
        _exit(0);
    return sock;
}

/* Root becomes nobody, and keeps of its privileges the raw socket that libslirp pings with. */
static void child_drop_root(int parent_pid)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {{0}};

    if (geteuid() != 0)
        return;
    prctl(PR_SET_KEEPCAPS, 1);
    if (setgroups(0, NULL) == 0 && setresgid(CHILD_NOBODY, CHILD_NOBODY, CHILD_NOBODY) == 0) {
        int r = setresuid(CHILD_NOBODY, CHILD_NOBODY, CHILD_NOBODY);
        (void)r; /* child_landlock looks at the result */
    }
    d[0].effective = d[0].permitted = 1u << CAP_NET_RAW;
    syscall(SYS_capset, &h, d);
    /* A change of the user takes this back. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent_pid)
        _exit(0);
}

static void child_landlock_allow(int ruleset, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = open(path, O_PATH | O_CLOEXEC)};

    if (rule.parent_fd < 0)
        return;
    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

/* Of all files, leaves resolv.conf and (see the head of this file) its directory, for reading. */
static void child_landlock(void)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
    char real[PATH_MAX], *slash;
    int ruleset;

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0) {
        log_info("net", "this kernel has no Landlock: the user network's process can read the files that you can");
        return;
    }
    if (realpath("/etc/resolv.conf", real)) {
        child_landlock_allow(ruleset, real, LANDLOCK_ACCESS_FS_READ_FILE);
        slash = strrchr(real, '/');
        if (slash && slash != real) {
            *slash = 0;
            if (strcmp(real, "/etc") != 0 || geteuid() != 0)
                child_landlock_allow(ruleset, real, LANDLOCK_ACCESS_FS_READ_FILE);
        }
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        log_info("net", "Landlock is refused here (%s): the user network's process can read the files that you can",
                 strerror(errno));
    close(ruleset);
}

static int child_prepare(struct child *c, const struct net_user_config *cfg, int parent_pid, struct err *e)
{
    int r;

    if ((r = user_addrs_parse(&c->addrs, cfg, e)) < 0 || (r = child_make_slirp(c, cfg, e)) < 0 ||
        (r = child_publish_all(c, cfg, e)) < 0)
        return r;
    child_raise_backlogs(c->sock);
    if (cfg->nguestfwd && (r = child_guestfwd(c, cfg, e)) < 0)
        return r;
    c->cap = 64;
    c->pfd = malloc(c->cap * sizeof(*c->pfd));
    if (!c->pfd)
        return err_set(e, ENOMEM, "out of memory");
    child_drop_root(parent_pid);
    child_landlock();
    return cfg->confine(e);
}

_Noreturn void net_user_child(const struct net_user_config *cfg, struct net_user_mem *mem, int sock, int parent_pid)
{
    static struct child child;
    struct child *c = &child;
    struct net_user_status st = {0};
    struct err e = {0};
    size_t sent = 0;

    c->sock = child_detach(sock, parent_pid);
    net_ring_init(&c->in, &mem->from_guest);
    net_ring_init(&c->out, &mem->to_guest);
    if (child_prepare(c, cfg, parent_pid, &e) < 0) {
        st.code = e.code;
        memcpy(st.msg, e.msg, MIN(sizeof(st.msg), sizeof(e.msg)));
    }
    while (sent < sizeof(st)) {
        ssize_t r = send(c->sock, (char *)&st + sent, sizeof(st) - sent, MSG_NOSIGNAL);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            _exit(1);
        sent += (size_t)r;
    }
    if (st.code)
        _exit(1);
    child_loop(c);
}

#endif
