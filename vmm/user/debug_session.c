/*
 * Several processes at one connection: a program that forks, and what follows it through execve.
 *
 * The processes share a memory file. One of them has the turn: it alone reads the connection and may run; the others
 * wait, with all threads stopped. A packet that is about another process goes to it through the file, with the turn. So
 * a debugger can look at parent and child, and let go of either or run one of them at a time.
 */
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/debug_parts.h"
#include "vmm/user/own_fd.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define PROCESSES 16
#define THREADS 64u
#define SESSION_MAGIC UINT64_C(0x7069706974676462)

struct session {
    uint64_t magic;
    _Atomic uint32_t turn; /* a process; they sleep on it */
    _Atomic uint32_t over;
    _Atomic int32_t refused; /* a child for which there is no room */
    struct {
        _Atomic int32_t pid; /* 0: free */
        uint32_t threads;
        int32_t tid[THREADS]; /* as they were when its turn ended */
    } process[PROCESSES];
    /* What the debugger and the stub have agreed upon: for whom execve brings. */
    uint32_t has;
    bool no_ack;
    uint64_t pass;
    uint32_t len;
    bool packet_waits;
    char packet[RSP_PACKET_MAX + 1];
};
#define SESSION_SIZE ((sizeof(struct session) + SYS_PAGE - 1) & ~(size_t)(SYS_PAGE - 1))

static struct session *session;
static int file = -1;

static bool map_file(void)
{
    void *p = sys_map(SESSION_SIZE, SYS_PAGE, PROT_NONE);

    if (!p ||
        sys_is_err(sys_call(__NR_mmap, p, SESSION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0))) {
        if (p)
            sys_unmap(p, SESSION_SIZE);
        return false;
    }
    session = p;
    return true;
}

int user_debug_session_create(void)
{
    file = (int)sys_call(__NR_memfd_create, "pipit-debug", MFD_CLOEXEC);
    if (file < 0)
        return file;
    user_own_fd_add(&file);
    if (sys_call(__NR_ftruncate, file, SESSION_SIZE) || !map_file()) {
        user_own_fd_close(&file);
        return -ENOMEM;
    }
    session->magic = SESSION_MAGIC;
    session->turn = (uint32_t)user_debug.pid;
    user_debug_session_add(user_debug.pid);
    return 0;
}

int user_debug_session_join(int fd)
{
    struct {
        uint64_t magic;
    } head;

    file = fd;
    if (sys_call(__NR_pread64, fd, &head, sizeof(head), 0) != sizeof(head) || head.magic != SESSION_MAGIC ||
        !map_file())
        return -EINVAL;
    user_own_fd_add(&file);
    user_debug.has = session->has;
    user_debug.pass = session->pass;
    user_debug.rsp.no_ack = session->no_ack;
    return 0;
}

void user_debug_session_save(void)
{
    session->has = user_debug.has;
    session->pass = user_debug.pass;
    session->no_ack = user_debug.rsp.no_ack;
}

void user_debug_session_close(void)
{
    if (!session)
        return;
    sys_unmap(session, SESSION_SIZE);
    session = NULL;
    user_own_fd_close(&file);
}

/* ---- who takes part ---- */

static int find(int64_t pid)
{
    for (int i = 0; i < PROCESSES; i++) {
        if (session->process[i].pid == pid)
            return i;
    }
    return -1;
}

bool user_debug_session_has(int64_t pid)
{
    return pid > 0 && find(pid) >= 0;
}

bool user_debug_session_add(int64_t pid)
{
    for (int i = 0; i < PROCESSES; i++) {
        int32_t free = 0;
        if (atomic_compare_exchange_strong(&session->process[i].pid, &free, (int32_t)pid)) {
            session->process[i].tid[0] = (int32_t)pid;
            session->process[i].threads = 1;
            return true;
        }
    }
    atomic_store(&session->refused, (int32_t)pid);
    return false;
}

void user_debug_session_others(void (*fn)(void *opaque, int64_t pid, int64_t tid), void *opaque)
{
    for (int i = 0; i < PROCESSES; i++) {
        int32_t pid = session->process[i].pid;
        for (uint32_t k = 0; pid && pid != user_debug.pid && k < MIN(session->process[i].threads, THREADS); k++)
            fn(opaque, pid, session->process[i].tid[k]);
    }
}

/* ---- turns ---- */

static void wake(void)
{
    sys_call(__NR_futex, &session->turn, FUTEX_WAKE, INT32_MAX);
}

static bool is_gone(uint32_t pid)
{
    return sys_call(__NR_kill, pid, 0) == -ESRCH;
}

/* The turn of a process that has died goes to the first one that has not. */
static void pass_over(uint32_t dead)
{
    int i = find(dead);

    if (i >= 0)
        session->process[i].pid = 0;
    for (i = 0; i < PROCESSES; i++) {
        uint32_t pid = (uint32_t)session->process[i].pid;
        if (pid && !is_gone(pid)) {
            atomic_compare_exchange_strong(&session->turn, &dead, pid);
            wake();
            return;
        }
    }
}

bool user_debug_session_wait(void)
{
    static const int64_t second[2] = {1, 0};
    uint32_t turn;

    while ((turn = atomic_load(&session->turn)) != (uint32_t)user_debug.pid) {
        if (atomic_load(&session->over) || atomic_load(&session->refused) == user_debug.pid)
            return false;
        if (is_gone(turn))
            pass_over(turn);
        else
            sys_call(__NR_futex, &session->turn, FUTEX_WAIT, turn, second);
    }
    if (atomic_load(&session->over))
        return false;
    user_debug.has = session->has;
    user_debug.pass = session->pass;
    user_debug.rsp.no_ack = session->no_ack;
    return true;
}

static bool take_packet(void)
{
    struct rsp *r = &user_debug.rsp;

    if (!session->packet_waits)
        return false;
    session->packet_waits = false;
    r->in_len = MIN(session->len, (uint32_t)RSP_PACKET_MAX);
    memcpy(r->in, session->packet, r->in_len);
    r->in[r->in_len] = '\0';
    return true;
}

bool user_debug_session_packet(void)
{
    return session && take_packet();
}

bool user_debug_hand_over(int64_t pid)
{
    const struct rsp *r = &user_debug.rsp;
    int own = find(user_debug.pid);
    uint32_t n = 0;

    user_debug_session_save();
    for (struct user_thread *t = user_debug_next(NULL); t && own >= 0 && n < THREADS; t = user_debug_next(t))
        session->process[own].tid[n++] = t->tid;
    if (own >= 0)
        session->process[own].threads = n;
    session->len = (uint32_t)r->in_len;
    memcpy(session->packet, r->in, r->in_len);
    session->packet_waits = true;
    atomic_store(&session->turn, (uint32_t)pid);
    wake();
    return user_debug_session_wait();
}

void user_debug_session_leave(bool all)
{
    int own = session ? find(user_debug.pid) : -1;

    if (!session)
        return;
    user_debug_session_save();
    if (own >= 0)
        session->process[own].pid = 0;
    if (all)
        atomic_store(&session->over, 1);
    session->packet_waits = false;
    for (int i = 0; i < PROCESSES; i++) {
        if (session->process[i].pid) {
            atomic_store(&session->turn, (uint32_t)session->process[i].pid);
            break;
        }
    }
    wake();
}

/* ---- execve ---- */

void user_debug_exec_keep(bool keep)
{
    sys_call(__NR_fcntl, user_debug_link, F_SETFD, keep ? 0 : FD_CLOEXEC);
    sys_call(__NR_fcntl, file, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

bool user_debug_follows_exec(const struct user_thread *t)
{
    return !t->debug.off && (user_debug.has & DEBUG_HAS_EXEC);
}

bool user_debug_exec_words(struct user_thread *t, char *words, size_t size)
{
    if (!user_debug_follows_exec(t))
        return false;
    user_debug_session_save();
    snprintf(words, size, "%x,%x", (unsigned)user_debug_link, (unsigned)file);
    user_debug_exec_keep(true);
    return true;
}
