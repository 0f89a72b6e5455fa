/*
 * The user network, parent side: a back end that hands frames to the process of net_user_child.c.
 *
 * Two rings in shared memory carry the frames, and one stream socket carries the rest: the child's status at start-up,
 * one byte for each wake-up (sent only when the ring says that the peer waits), and, by its end of file, the death of
 * either side. A socket, because "do not wait" can be said with each call there: the flags of a shared eventfd are
 * shared too, and a child that was taken over could make the loop thread hang in a read.
 *
 * The child parses what the guest sends with code that is not ours, so nothing it says is believed: the rings check
 * every number (ring.h), a turn of the loop handles a bounded number of bytes, and a broken ring or an end of file
 * leaves a network without traffic, not a machine without a process.
 */
#include "devices/net/net.h"

#include <errno.h>

#ifndef HAVE_SLIRP

int net_user_prepare(struct net_backend **out, const struct net_user_config *cfg, struct err *e)
{
    (void)out;
    (void)cfg;
    return err_set(e, ENOTSUP, "there is no user network: pipit was built without libslirp");
}

int net_user_start(struct net_backend *n, struct loop *l, struct err *e)
{
    (void)n;
    (void)l;
    return err_set(e, ENOTSUP, "there is no user network: pipit was built without libslirp");
}

#else

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devices/net/net_user.h"
#include "devices/net/ring.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define NET_USER_TURN (512u << 10) /* bytes given to the guest before the loop serves others */
#define NET_USER_START_MS 20000    /* for the child to be ready */
#define NET_USER_STOP_MS 1000      /* for the child to end by itself, and again after the signal */
#define NET_USER_STOP_STEP_MS 10   /* between two looks where there is no pidfd */

struct net_user {
    struct net_backend backend;
    struct loop_fd *watch;    /* of sock */
    struct loop_timer *again; /* goes on with a turn that was cut short */
    struct net_user_mem *mem;
    struct net_ring rx, tx; /* for the guest, from the guest */
    int sock;
    int pidfd; /* -1 where the host has none */
    pid_t pid;
    bool dead;        /* no more traffic; said once */
    bool started;     /* attached to a loop */
    bool rx_running;  /* in net_user_receive: the front end may call resume from there */
    bool tx_blocked;  /* send returned -EAGAIN */
    uint32_t pending; /* length of the frame that the front end had no room for, or 0 */
    uint8_t frame[NET_FRAME_MAX];
    uint8_t sent[NET_FRAME_MAX]; /* a frame from the guest whose checksum is made here */
};

static struct net_user *net_user_of(struct net_backend *n)
{
    return container_of(n, struct net_user, backend);
}

static void net_user_wake(struct net_user *u)
{
    /* When the socket is full there is a wake-up in it; when the child is gone, the end of file tells. */
    ssize_t r = send(u->sock, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)r;
}

static void net_user_die(struct net_user *u, const char *why)
{
    if (u->dead)
        return;
    u->dead = true;
    u->pending = 0;
    log_error("net", "the user network has stopped: %s; the guest's network is silent from now on", why);
    if (u->watch)
        loop_fd_remove(u->watch);
    u->watch = NULL;
    if (u->tx_blocked) {
        u->tx_blocked = false;
        if (u->backend.frontend.writable)
            u->backend.frontend.writable(u->backend.frontend.opaque, 0);
    }
    if (u->backend.frontend.link_down)
        u->backend.frontend.link_down(u->backend.frontend.opaque);
}

/* Gives frames to the guest until there are no more, the guest has no room, or the turn is over. */
static void net_user_receive(struct net_user *u)
{
    struct net_frontend *f = &u->backend.frontend;
    uint32_t given = 0;

    if (u->rx_running || u->dead || !u->started)
        return;
    u->rx_running = true;
    for (;;) {
        if (!u->pending) {
            int n = net_ring_pop(&u->rx, u->frame);
            if (n < 0)
                break;
            if (n == 0) {
                if (net_ring_idle(&u->rx) || u->rx.broken)
                    break;
                continue;
            }
            u->pending = (uint32_t)n;
        }
        if (given >= NET_USER_TURN) {
            loop_timer_set(u->again, 1); /* a time long past: at once, after the others' turns */
            break;
        }
        given += u->pending;
        if (f->receive && !f->receive(f->opaque, u->frame, u->pending))
            break; /* resume() continues here */
        u->pending = 0;
    }
    u->rx_running = false;
    if (u->rx.broken)
        net_user_die(u, "it wrote nonsense into the ring");
    else if (net_ring_drained(&u->rx))
        net_user_wake(u);
}

static void net_user_again(void *opaque)
{
    net_user_receive(opaque);
}

static void net_user_event(void *opaque, int fd, unsigned events)
{
    struct net_user *u = opaque;
    uint8_t bytes[64];
    ssize_t r;

    (void)events;
    r = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR)) {
        net_user_receive(u); /* what it had sent before */
        net_user_die(u, "its process has ended");
        return;
    }
    if (u->tx_blocked) {
        u->tx_blocked = false;
        if (u->backend.frontend.writable)
            u->backend.frontend.writable(u->backend.frontend.opaque, 0);
    }
    net_user_receive(u);
}

/*
 * The frame in one piece, with the checksum that the guest left to be made: the ones' complement of the sum of what is
 * behind csum_start, where the checksum's place holds the pseudo header's (virtio 1.2, 5.1.6.2). A long TCP segment
 * stays as it is: libslirp takes segments of any length.
 */
static size_t net_user_complete(uint8_t *frame, const struct net_hdr *hdr, const struct iovec *iov, unsigned niov)
{
    size_t len = 0, at = hdr->csum_start;
    uint64_t sum = 0;
    uint16_t v;

    for (unsigned i = 0; i < niov; i++) {
        memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    for (; len - at >= 4; at += 4)
        sum += le32_get(frame + at);
    for (unsigned shift = 0; at < len; at++, shift += 8)
        sum += (uint64_t)frame[at] << shift;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    v = (uint16_t)~sum;
    le16_put(frame + hdr->csum_start + hdr->csum_offset, v ? v : 0xffff); /* 0 is UDP's word for none */
    return len;
}

static int net_user_send(struct net_backend *n, unsigned queue, const struct net_hdr *hdr, const struct iovec *iov,
                         unsigned niov)
{
    struct net_user *u = net_user_of(n);
    int r;

    struct iovec whole = {.iov_base = u->sent};

    (void)queue;
    if (u->dead)
        return 0;
    if (hdr->flags & NET_HDR_F_NEEDS_CSUM) {
        whole.iov_len = net_user_complete(u->sent, hdr, iov, niov);
        iov = &whole;
        niov = 1;
    }
    r = net_ring_push(&u->tx, iov, niov);
    if (r == -EPROTO) {
        net_user_die(u, "it wrote nonsense into the ring");
        return 0;
    }
    if (r == -EAGAIN)
        u->tx_blocked = true;
    if (net_ring_fed(&u->tx))
        net_user_wake(u);
    return r;
}

static void net_user_resume(struct net_backend *n, unsigned queue)
{
    (void)queue;
    net_user_receive(net_user_of(n));
}

/* Waits for the child's end, at most `ms`. */
static bool net_user_reap(struct net_user *u, int ms)
{
    struct pollfd p = {.fd = u->pidfd, .events = POLLIN};
    struct timespec step = {.tv_nsec = NET_USER_STOP_STEP_MS * 1000000L};

    if (u->pidfd >= 0) {
        while (poll(&p, 1, ms) < 0 && errno == EINTR)
            ;
        ms = 0;
    }
    for (;;) {
        pid_t r = waitpid(u->pid, NULL, WNOHANG);
        if (r == u->pid || (r < 0 && errno == ECHILD))
            return true;
        if (ms <= 0)
            return false;
        nanosleep(&step, NULL);
        ms -= NET_USER_STOP_STEP_MS;
    }
}

/* The child ends when the socket does. One that does not is killed through its pidfd: the threads that come here may
 * not signal arbitrary processes (sandbox.h). Without a pidfd, our own end is what kills it (PR_SET_PDEATHSIG). */
static void net_user_stop_child(struct net_user *u)
{
    close(u->sock);
    if (!net_user_reap(u, NET_USER_STOP_MS) && u->pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, u->pidfd, SIGKILL, NULL, 0);
        net_user_reap(u, NET_USER_STOP_MS);
    }
    if (u->pidfd >= 0)
        close(u->pidfd);
}

static void net_user_destroy(struct net_backend *n)
{
    struct net_user *u = net_user_of(n);

    u->dead = true;
    if (u->watch)
        loop_fd_remove(u->watch);
    if (u->again)
        loop_timer_remove(u->again);
    net_user_stop_child(u);
    munmap(u->mem, sizeof(*u->mem));
    free(u);
}

static const struct net_backend_ops net_user_ops = {
    .name = "user",
    .start = net_user_start,
    .send = net_user_send,
    .resume = net_user_resume,
    .destroy = net_user_destroy,
};

/* Reads the child's status. The text is the child's: only its first line is taken, and it has an end. */
static int net_user_read_status(int sock, struct err *e)
{
    struct net_user_status st;
    struct pollfd p = {.fd = sock, .events = POLLIN};
    size_t have = 0;

    while (have < sizeof(st)) {
        ssize_t r;
        int n = poll(&p, 1, NET_USER_START_MS);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return err_set(e, ETIMEDOUT, "the user network's process does not answer");
        r = recv(sock, (char *)&st + have, sizeof(st) - have, MSG_DONTWAIT);
        if (r < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (r <= 0)
            return err_set(e, EPIPE, "the user network's process ended before it was ready");
        have += (size_t)r;
    }
    st.msg[sizeof(st.msg) - 1] = 0;
    if (st.code)
        return err_set(e, st.code > 0 && st.code < 4096 ? st.code : EINVAL, "%s", st.msg);
    return 0;
}

/* May libslirp send echo requests? It takes a ping socket, or a raw one where it is privileged enough. */
static void net_user_check_ping(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);

    if (fd < 0)
        fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    if (fd >= 0) {
        close(fd);
        return;
    }
    log_info("net",
             "the guest can ping its gateway only: net.ipv4.ping_group_range does not hold group %u; to allow "
             "it: sysctl -w net.ipv4.ping_group_range='0 2147483647'",
             (unsigned)getegid());
}

int net_user_prepare(struct net_backend **out, const struct net_user_config *cfg, struct err *e)
{
    struct net_user *u;
    sigset_t all, mask;
    int sv[2], r;
    pid_t parent = getpid();

    if (!cfg->confine)
        return err_set(e, EINVAL, "the user network was given no seccomp filter");
    if (!cfg->restricted)
        net_user_check_ping();
    u = calloc(1, sizeof(*u));
    if (!u)
        return err_set(e, ENOMEM, "out of memory");
    u->backend.ops = &net_user_ops;
    /* libslirp wants no IPv6 packet longer than its MTU, and never sends one of any kind. */
    u->backend.takes = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_ECN;
    u->backend.gives = NET_OFFLOAD_CSUM;
    u->mem = mmap(NULL, sizeof(*u->mem), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (u->mem == MAP_FAILED) {
        r = err_set(e, errno, "no shared memory for the user network: %s", strerror(errno));
        goto free_u;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
        r = err_set(e, errno, "no socket for the user network: %s", strerror(errno));
        goto unmap;
    }
    u->sock = sv[0];
    /* The parent's handlers must not run in the child: signals wait until it has dropped them. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    u->pid = fork();
    if (u->pid == 0) {
        close(sv[0]);
        net_user_child(cfg, u->mem, sv[1], parent);
    }
    r = u->pid < 0 ? errno : 0;
    sigprocmask(SIG_SETMASK, &mask, NULL);
    close(sv[1]);
    if (u->pid < 0) {
        r = err_set(e, r, "no process for the user network: %s", strerror(r));
        close(sv[0]);
        goto unmap;
    }
    u->pidfd = (int)syscall(SYS_pidfd_open, u->pid, 0);
    r = net_user_read_status(u->sock, e);
    if (r) {
        net_user_stop_child(u);
        goto unmap;
    }
    net_ring_init(&u->rx, &u->mem->to_guest);
    net_ring_init(&u->tx, &u->mem->from_guest);
    *out = &u->backend;
    return 0;

unmap:
    munmap(u->mem, sizeof(*u->mem));
free_u:
    free(u);
    return r;
}

int net_user_start(struct net_backend *n, struct loop *l, struct err *e)
{
    struct net_user *u = net_user_of(n);
    int r = loop_timer_add(l, &u->again, net_user_again, u);

    if (!r)
        r = loop_fd_add(l, &u->watch, u->sock, LOOP_IN, net_user_event, u);
    if (r)
        return err_set(e, -r, "the user network cannot be watched: %s", strerror(-r));
    u->started = true;
    net_user_receive(u); /* announces that this side waits for frames from here on */
    return 0;
}

#endif
