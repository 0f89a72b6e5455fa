/*
 * Between the files of the gdb stub: debug.c stops threads and knows what they report, debug_packet.c answers packets,
 * debug_object.c what of these is read in pieces (qXfer, vFile), debug_session.c is about several processes and execve,
 * debug_link.c is the connection.
 */
#ifndef PIPIT_USER_DEBUG_PARTS_H
#define PIPIT_USER_DEBUG_PARTS_H

#include "vmm/service/gdbstub/rsp.h"
#include "vmm/user/debug.h"

enum user_debug_why {
    DEBUG_NOTHING,
    DEBUG_START, /* the program has not begun */
    DEBUG_BREAK,
    DEBUG_READ,
    DEBUG_WRITE,
    DEBUG_STEP,
    DEBUG_SIGNAL,
    DEBUG_INTERRUPT,
    DEBUG_FORK,
    DEBUG_EXEC,
    DEBUG_NONE_LEFT, /* the only thread that was resumed has ended */
};

/* What the debugger understands, as it said in qSupported. */
#define DEBUG_HAS_PROCESSES 0x1u
#define DEBUG_HAS_FORK 0x2u
#define DEBUG_HAS_EXEC 0x4u
#define DEBUG_HAS_SWBREAK 0x8u
#define DEBUG_HAS_HWBREAK 0x10u
#define DEBUG_HAS_NONE_LEFT 0x20u

struct debug {
    struct rsp rsp;
    _Atomic uint32_t stopped;                      /* a thread serves the debugger, all others stay */
    _Atomic uint32_t resumes;                      /* so far; stopped threads sleep on it */
    _Atomic bool bytes_wait;                       /* the debugger sent something while the program ran */
    uint32_t has;                                  /* DEBUG_HAS_* */
    uint64_t pass;                                 /* signals that are not reported */
    struct user_thread *event, *general, *resumed; /* who reported; what Hg and Hc chose (NULL: any) */
    struct user_thread *list_at;                   /* qsThreadInfo */
    int32_t pid;
};
extern struct debug user_debug;

/* ---- debug.c ---- */
/* While the program is stopped: the thread with this number, or NULL. */
struct user_thread *user_debug_thread(int64_t tid);
/* The next one that is debugged; NULL: the first. */
struct user_thread *user_debug_next(struct user_thread *t);
/* Waits till t is at rest, interrupting its system call; false: it is in one that does not end. */
bool user_debug_settle(struct user_thread *t);
/* No debugger any more: threads go on by themselves when the caller lets them. */
void user_debug_end(void);

/* ---- debug_packet.c ---- */
/* Tells what t has to report. */
void user_debug_report(struct user_thread *t);
/* Serves the debugger until it lets the program go on, or goes. */
void user_debug_serve(struct user_thread *t);

/* ---- debug_object.c: true where the packet was answered ---- */
bool user_debug_xfer(struct rsp *r, const char *p, struct user_thread *t);
bool user_debug_file(struct rsp *r, const char *p);
void user_debug_files_close(void);
void user_debug_set_auxv(uint64_t addr, size_t size);
/* The registers. */
struct a64_gdb;
extern const struct a64_gdb user_debug_registers;

/* ---- debug_session.c ---- */
/* Another process gets the turn, with the packet in rsp; returns when it is ours again. False: the session is over. */
bool user_debug_hand_over(int64_t pid);
/* Did the turn come with a packet? Then it is in rsp. */
bool user_debug_session_packet(void);
bool user_debug_session_has(int64_t pid);
/* Calls fn for each thread of the other processes. */
void user_debug_session_others(void (*fn)(void *opaque, int64_t pid, int64_t tid), void *opaque);
int user_debug_session_create(void);
/* Takes part in the session of the descriptor's file. 0 or -errno. */
int user_debug_session_join(int fd);
/* A child, held until its turn comes; false: there is no room, and it goes its own way. */
bool user_debug_session_add(int64_t pid);
/* Waits for the turn; false: the session is over. */
bool user_debug_session_wait(void);
/* This process takes part no more: the turn goes to another one, or the session is over (`all`: for everybody). */
void user_debug_session_leave(bool all);
void user_debug_session_close(void);
/* Whether the descriptors stay across execve. */
void user_debug_exec_keep(bool keep);
void user_debug_session_save(void);

/* ---- debug_link.c ---- */
extern int user_debug_link;
/* Waits for a debugger at the place, and returns with user_debug_link; ends the process with a sentence where it cannot
 * be. */
void user_debug_link_open(const char *place);
int user_debug_link_get(void); /* a byte; -1: the connection is over */
bool user_debug_link_has_bytes(void);
void user_debug_link_send(const char *bytes, size_t n);
/* From now on, or not, bytes that come wake a thread of this process (user_debug_poked). */
void user_debug_link_watch(bool on);
void user_debug_link_close(void);

#endif
