/*
 * Structures and constants of the arm64 Linux ABI (6.12) that user mode builds, reads or converts. Those that x86-64
 * has in the same form are taken from the kernel's headers where they are used; here is what differs, and the signal
 * structures, which both have in common but which the kernel's headers define under names that libc's know otherwise.
 */
#ifndef PIPIT_USER_ABI_H
#define PIPIT_USER_ABI_H

#include <stdint.h>

#include "vmm/base/util.h"

/* ---- signals: numbers, siginfo and sigaction are the same on both ---- */

#define ABI_NSIG 64
#define ABI_SIGBIT(sig) BIT64((sig)-1)
#define ABI_SIGQUIT 3
#define ABI_SIGILL 4
#define ABI_SIGTRAP 5
#define ABI_SIGABRT 6
#define ABI_SIGBUS 7
#define ABI_SIGFPE 8
#define ABI_SIGKILL 9
#define ABI_SIGSEGV 11
#define ABI_SIGCHLD 17
#define ABI_SIGCONT 18
#define ABI_SIGSTOP 19
#define ABI_SIGTSTP 20
#define ABI_SIGTTIN 21
#define ABI_SIGTTOU 22
#define ABI_SIGURG 23
#define ABI_SIGXCPU 24
#define ABI_SIGXFSZ 25
#define ABI_SIGWINCH 28
#define ABI_SIGSYS 31

#define ABI_SIG_DFL 0
#define ABI_SIG_IGN 1

#define ABI_SA_NOCLDSTOP 0x1u
#define ABI_SA_NOCLDWAIT 0x2u
#define ABI_SA_SIGINFO 0x4u
#define ABI_SA_EXPOSE_TAGBITS 0x800u
#define ABI_SA_RESTORER 0x04000000u
#define ABI_SA_ONSTACK 0x08000000u
#define ABI_SA_RESTART 0x10000000u
#define ABI_SA_NODEFER 0x40000000u
#define ABI_SA_RESETHAND 0x80000000u
/* What the arm64 kernel keeps of sa_flags; SA_UNSUPPORTED is always cleared. */
#define ABI_SA_KNOWN                                                                                                   \
    (ABI_SA_NOCLDSTOP | ABI_SA_NOCLDWAIT | ABI_SA_SIGINFO | ABI_SA_EXPOSE_TAGBITS | ABI_SA_RESTORER | ABI_SA_ONSTACK | \
     ABI_SA_RESTART | ABI_SA_NODEFER | ABI_SA_RESETHAND)

struct abi_sigaction {
    uint64_t handler, flags, restorer, mask;
};

#define ABI_SI_USER 0
#define ABI_SI_KERNEL 0x80
#define ABI_SI_TKILL (-6)
#define ABI_ILL_ILLOPC 1
#define ABI_SEGV_MAPERR 1
#define ABI_SEGV_ACCERR 2
#define ABI_BUS_ADRALN 1
#define ABI_TRAP_BRKPT 1
#define ABI_TRAP_HWBKPT 4
#define ABI_SYS_SECCOMP 1
#define ABI_AUDIT_ARCH 0xc00000b7u /* AUDIT_ARCH_AARCH64 */

struct abi_siginfo {
    int32_t signo, error, code, pad;
    union {
        uint64_t addr; /* faults */
        struct {       /* kill, SIGCHLD: pid and uid come first */
            int32_t pid;
            uint32_t uid;
        };
        struct { /* SIGSYS */
            uint64_t addr;
            uint32_t nr, arch;
        } call;
        uint64_t rest[14];
    };
};
_Static_assert(sizeof(struct abi_siginfo) == 128, "siginfo");

#define ABI_SS_ONSTACK 1
#define ABI_SS_DISABLE 2
#define ABI_SS_AUTODISARM BIT32(31)

struct abi_stack {
    uint64_t sp;
    int32_t flags, pad;
    uint64_t size;
};
#define ABI_MINSIGSTKSZ 5120 /* arm64's; AT_MINSIGSTKSZ tells the true size */

/* ---- the arm64 signal frame (arch/arm64/include/uapi/asm/sigcontext.h) ---- */

struct abi_sigcontext {
    uint64_t fault_address, regs[31], sp, pc, pstate;
    uint8_t reserved[4096] __attribute__((aligned(16)));
};

struct abi_ucontext {
    uint64_t flags, link;
    struct abi_stack stack;
    uint64_t sigmask;
    uint8_t unused[120];
    struct abi_sigcontext mcontext __attribute__((aligned(16)));
};

struct abi_rt_sigframe {
    struct abi_siginfo info;
    struct abi_ucontext uc;
};
_Static_assert(offsetof(struct abi_ucontext, mcontext) == 176, "ucontext");
_Static_assert(sizeof(struct abi_rt_sigframe) == 4688, "rt_sigframe");

struct abi_context_head {
    uint32_t magic, size;
};
#define ABI_FPSIMD_MAGIC 0x46508001u
struct abi_fpsimd_context {
    struct abi_context_head head;
    uint32_t fpsr, fpcr;
    uint64_t v[32][2];
};
#define ABI_ESR_MAGIC 0x45535201u
struct abi_esr_context {
    struct abi_context_head head;
    uint64_t esr;
};
#define ABI_EXTRA_MAGIC 0x45585401u

/* Below the frame, what the frame pointer of the handler points to. */
struct abi_frame_record {
    uint64_t fp, lr;
};

/* What signal delivery takes from the stack at most: the frame, the record, and alignment. */
#define ABI_SIGFRAME_SIZE (sizeof(struct abi_rt_sigframe) + sizeof(struct abi_frame_record) + 16)

/* ---- files ---- */

/* open flags: the others are the same on both. */
#define ABI_O_DIRECTORY 040000u
#define ABI_O_NOFOLLOW 0100000u
#define ABI_O_DIRECT 0200000u
#define ABI_O_LARGEFILE 0400000u

/* The kind in a mode (stat(2)); the kernel's headers leave these to libc's. */
#define ABI_S_IFMT 0170000u
#define ABI_S_IFDIR 0040000u
#define ABI_S_IFREG 0100000u

struct abi_stat {
    uint64_t dev, ino;
    uint32_t mode, nlink, uid, gid;
    uint64_t rdev, pad1;
    int64_t size;
    int32_t blksize, pad2;
    int64_t blocks;
    int64_t atime;
    uint64_t atime_nsec;
    int64_t mtime;
    uint64_t mtime_nsec;
    int64_t ctime;
    uint64_t ctime_nsec;
    uint32_t unused[2];
};
_Static_assert(sizeof(struct abi_stat) == 128, "stat");

struct abi_epoll_event {
    uint32_t events, pad;
    uint64_t data;
};

struct abi_ipc_perm {
    int32_t key;
    uint32_t uid, gid, cuid, cgid, mode;
    uint16_t seq, pad;
    uint64_t unused[2];
};

struct abi_semid_ds {
    uint8_t perm[48];
    int64_t otime, ctime;
    uint64_t nsems, unused[2];
};

/* The old loop device's status, whose device numbers are 32 bits wide here and 64 on x86-64. */
struct abi_loop_info {
    int32_t number;
    uint32_t device;
    uint64_t inode;
    uint32_t rdevice;
    int32_t offset, encrypt_type, encrypt_key_size, flags;
    char name[64];
    uint8_t encrypt_key[32];
    uint64_t init[2];
    char reserved[4];
};

struct abi_utsname {
    char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};

/* ---- clone ---- */

#define ABI_CLONE_VM 0x100u
#define ABI_CLONE_FS 0x200u
#define ABI_CLONE_FILES 0x400u
#define ABI_CLONE_SIGHAND 0x800u
#define ABI_CLONE_PIDFD 0x1000u
#define ABI_CLONE_PTRACE 0x2000u
#define ABI_CLONE_VFORK 0x4000u
#define ABI_CLONE_PARENT 0x8000u
#define ABI_CLONE_THREAD 0x10000u
#define ABI_CLONE_SETTLS 0x80000u
#define ABI_CLONE_PARENT_SETTID 0x100000u
#define ABI_CLONE_CHILD_CLEARTID 0x200000u
#define ABI_CLONE_CHILD_SETTID 0x1000000u
#define ABI_CLONE_NEWPID 0x20000000u
#define ABI_CLONE_CLEAR_SIGHAND BIT64(32)
#define ABI_CLONE_INTO_CGROUP BIT64(33)

struct abi_clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

#endif
