/*
 * What the debugger reads in pieces: the description of the registers, the auxiliary vector, the program's name, the
 * last signal (qXfer; this one can be written), and files as the program sees them (vFile): its own, its libraries,
 * /proc/PID/maps.
 */
#include <asm/byteorder.h>
#include <asm/stat.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/service/gdbstub/a64.h"
#include "vmm/user/access.h"
#include "vmm/user/cpu.h"
#include "vmm/user/debug_parts.h"
#include "vmm/user/own_fd.h"
#include "vmm/user/path.h"
#include "vmm/user/proc.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

/* ---- registers ---- */

#define ENC(op1, crn, crm, op2) (3u << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))

static const struct a64_gdb_sysreg system_registers[] = {
    {"TPIDRRO_EL0", ENC(3u, 13u, 0u, 3u)},     {"CTR_EL0", ENC(3u, 0u, 0u, 1u)},
    {"DCZID_EL0", ENC(3u, 0u, 0u, 7u)},        {"CNTFRQ_EL0", ENC(3u, 14u, 0u, 0u)},
    {"MIDR_EL1", ENC(0u, 0u, 0u, 0u)},         {"MPIDR_EL1", ENC(0u, 0u, 0u, 5u)},
    {"REVIDR_EL1", ENC(0u, 0u, 0u, 6u)},       {"ID_AA64PFR0_EL1", ENC(0u, 0u, 4u, 0u)},
    {"ID_AA64PFR1_EL1", ENC(0u, 0u, 4u, 1u)},  {"ID_AA64DFR0_EL1", ENC(0u, 0u, 5u, 0u)},
    {"ID_AA64ISAR0_EL1", ENC(0u, 0u, 6u, 0u)}, {"ID_AA64ISAR1_EL1", ENC(0u, 0u, 6u, 1u)},
    {"ID_AA64ISAR2_EL1", ENC(0u, 0u, 6u, 2u)}, {"ID_AA64MMFR0_EL1", ENC(0u, 0u, 7u, 0u)},
    {"ID_AA64MMFR2_EL1", ENC(0u, 0u, 7u, 2u)},
};

const struct a64_gdb user_debug_registers = {
    .cpsr_write = PSTATE_DIT | PSTATE_SSBS | PSTATE_BTYPE,
    .fpcr_write = USER_FPCR_MASK,
    .fpsr_write = USER_FPSR_MASK,
    .system = system_registers,
    .nsystem = ARRAY_SIZE(system_registers),
    .read_system = user_cpu_sysreg_const,
};

/* ---- qXfer ---- */

static uint8_t auxv[1024];
static size_t auxv_len;

void user_debug_set_auxv(uint64_t addr, size_t size)
{
    auxv_len = MIN(size, sizeof(auxv));
    if (user_copy_in(auxv, addr, auxv_len))
        auxv_len = 0;
}

/* "offset,length" of an object: the piece, behind "m", or "l" where it is the last. */
static void put_piece(struct rsp *r, const char *range, const void *object, size_t size)
{
    uint64_t offset, len;

    if (!rsp_take_range(&range, &offset, &len) || *range) {
        rsp_error(r, EINVAL);
        return;
    }
    rsp_begin(r);
    offset = MIN(offset, size);
    len = MIN(MIN(len, size - offset), rsp_room(r) - 1);
    rsp_text(r, offset + len < size ? "m" : "l");
    rsp_put(r, (const uint8_t *)object + offset, len);
    rsp_end(r);
}

/* "offset:bytes" of the last signal's siginfo: what the program is given when it goes on with that signal. */
static void write_siginfo(struct rsp *r, const char *p, struct user_thread *t)
{
    const char *end = r->in + r->in_len;
    uint64_t offset;

    if (!t->debug.info.signo || !rsp_take_number(&p, &offset) || !rsp_take(&p, ":") ||
        !range_within(offset, (uint64_t)(end - p), sizeof(t->debug.info))) {
        rsp_error(r, EINVAL);
        return;
    }
    memcpy((uint8_t *)&t->debug.info + offset, p, (size_t)(end - p));
    rsp_begin(r);
    rsp_number(r, (uint64_t)(end - p));
    rsp_end(r);
}

bool user_debug_xfer(struct rsp *r, const char *p, struct user_thread *t)
{
    static char xml[A64_GDB_XML_MAX];
    uint64_t pid;

    if (rsp_take(&p, "features:read:target.xml:")) {
        put_piece(r, p, xml, xml[0] ? strlen(xml) : a64_gdb_xml(&user_debug_registers, xml, sizeof(xml)));
    } else if (rsp_take(&p, "auxv:read::")) {
        put_piece(r, p, auxv, auxv_len);
    } else if (rsp_take(&p, "siginfo:read::") && t) {
        put_piece(r, p, &t->debug.info, t->debug.info.signo ? sizeof(t->debug.info) : 0);
    } else if (rsp_take(&p, "siginfo:write::") && t) {
        write_siginfo(r, p, t);
    } else if (rsp_take(&p, "exec-file:read:")) {
        const char *exe = user_proc_program();
        rsp_take_number(&p, &pid);
        if (rsp_take(&p, ":"))
            put_piece(r, p, exe, strlen(exe));
        else
            rsp_error(r, EINVAL);
    } else {
        return false;
    }
    return true;
}

/* ---- vFile ---- */

#define FILES 16
static int files[FILES]; /* number plus one; 0: free */

/* GDB's numbers (include/gdb/fileio.h); what it has none for is 9999. */
static unsigned gdb_errno(long r)
{
    switch (-r) {
    case EPERM:
    case ENOENT:
    case EINTR:
    case EBADF:
    case EACCES:
    case EFAULT:
    case EBUSY:
    case EEXIST:
    case ENODEV:
    case ENOTDIR:
    case EISDIR:
    case EINVAL:
    case ENFILE:
    case EMFILE:
    case EFBIG:
    case ENOSPC:
    case ESPIPE:
    case EROFS: return (unsigned)-r;
    case ENAMETOOLONG: return 91;
    default: return 9999;
    }
}

static void file_result(struct rsp *r, long value)
{
    rsp_begin(r);
    rsp_text(r, "F");
    if (value < 0) {
        rsp_text(r, "-1,");
        rsp_number(r, gdb_errno(value));
    } else {
        rsp_number(r, (uint64_t)value);
    }
    rsp_end(r);
}

/* A result with bytes behind it. */
static void file_bytes(struct rsp *r, const void *bytes, size_t n)
{
    rsp_begin(r);
    rsp_text(r, "F");
    rsp_number(r, n);
    rsp_text(r, ";");
    rsp_put(r, bytes, n);
    rsp_end(r);
}

static long open_seen(const char *path)
{
    char buf[USER_PATH_MAX], program[USER_PATH_MAX];
    const char *exe = user_proc_exe(path, program);
    int fd = exe ? USER_PROC_OTHER : user_proc_open(path, O_RDONLY | O_CLOEXEC);

    if (fd != USER_PROC_OTHER)
        return fd;
    return sys_call(__NR_openat, AT_FDCWD, exe ? exe : user_path_lookup(path, buf), O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                    0);
}

static void file_open(struct rsp *r, const char *p)
{
    char path[USER_PATH_MAX];
    uint64_t flags, mode;
    unsigned i = 0;
    long fd;

    if (!rsp_take_string(&p, path, sizeof(path)) || !rsp_take(&p, ",") || !rsp_take_range(&p, &flags, &mode)) {
        file_result(r, -EINVAL);
        return;
    }
    while (i < FILES && files[i])
        i++;
    if (flags) /* to be read, and no more */
        fd = -EACCES;
    else
        fd = i < FILES ? open_seen(path) : -EMFILE;
    if (fd >= 0) {
        /* Not a number that the program could meet. */
        long high = sys_call(__NR_fcntl, fd, F_DUPFD_CLOEXEC, user_debug_link);
        if (!sys_is_err(high)) {
            sys_call(__NR_close, fd);
            fd = high;
        }
        files[i] = (int)fd + 1;
        fd = i;
    }
    file_result(r, fd);
}

/* The descriptor behind a number of the debugger's; -1. */
static int file_of(const char **p, unsigned *slot)
{
    uint64_t n;

    if (!rsp_take_number(p, &n) || n >= FILES || !files[n])
        return -1;
    *slot = (unsigned)n;
    return files[n] - 1;
}

static void file_close(struct rsp *r, const char *p)
{
    unsigned i;
    int fd = file_of(&p, &i);

    if (fd >= 0) {
        sys_call(__NR_close, fd);
        files[i] = 0;
    }
    file_result(r, fd < 0 ? -EBADF : 0);
}

static void file_pread(struct rsp *r, const char *p)
{
    static uint8_t bytes[RSP_PACKET_MAX];
    uint64_t n, offset;
    unsigned i;
    int fd = file_of(&p, &i);
    long got;

    if (fd < 0 || !rsp_take(&p, ",") || !rsp_take_range(&p, &n, &offset)) {
        file_result(r, -EBADF);
        return;
    }
    got = sys_call(__NR_pread64, fd, bytes, MIN(n, sizeof(bytes) - 32), offset);
    if (got < 0)
        file_result(r, got);
    else
        file_bytes(r, bytes, (size_t)got);
}

/* struct fio_stat, big-endian. */
struct file_stat {
    __be32 dev, ino, mode, nlink, uid, gid, rdev;
    __be64 size, blksize, blocks;
    __be32 atime, mtime, ctime;
} __attribute__((packed));

static void file_fstat(struct rsp *r, const char *p)
{
    struct file_stat s = {0};
    struct stat st;
    unsigned i;
    int fd = file_of(&p, &i);
    long e = fd < 0 ? -EBADF : sys_call(__NR_fstat, fd, &st);

    _Static_assert(sizeof(s) == 64, "fio_stat");
    if (e) {
        file_result(r, e);
        return;
    }
    s.dev = __cpu_to_be32((uint32_t)st.st_dev);
    s.ino = __cpu_to_be32((uint32_t)st.st_ino);
    s.mode = __cpu_to_be32(st.st_mode);
    s.nlink = __cpu_to_be32((uint32_t)st.st_nlink);
    s.uid = __cpu_to_be32(st.st_uid);
    s.gid = __cpu_to_be32(st.st_gid);
    s.rdev = __cpu_to_be32((uint32_t)st.st_rdev);
    s.size = __cpu_to_be64((uint64_t)st.st_size);
    s.blksize = __cpu_to_be64((uint64_t)st.st_blksize);
    s.blocks = __cpu_to_be64((uint64_t)st.st_blocks);
    s.atime = __cpu_to_be32((uint32_t)st.st_atime);
    s.mtime = __cpu_to_be32((uint32_t)st.st_mtime);
    s.ctime = __cpu_to_be32((uint32_t)st.st_ctime);
    file_bytes(r, &s, sizeof(s));
}

static void file_readlink(struct rsp *r, const char *p)
{
    char path[USER_PATH_MAX], buf[USER_PATH_MAX], target[USER_PATH_MAX];
    const char *exe;
    long n;

    if (!rsp_take_string(&p, path, sizeof(path))) {
        file_result(r, -EINVAL);
        return;
    }
    exe = user_proc_exe(path, target);
    if (exe) {
        file_bytes(r, exe, strlen(exe));
        return;
    }
    n = sys_call(__NR_readlinkat, AT_FDCWD, user_path_lookup(path, buf), target, sizeof(target));
    if (n < 0)
        file_result(r, n);
    else
        file_bytes(r, target, (size_t)n);
}

bool user_debug_file(struct rsp *r, const char *p)
{
    if (rsp_take(&p, "setfs:")) /* all processes here see the same files */
        file_result(r, 0);
    else if (rsp_take(&p, "open:"))
        file_open(r, p);
    else if (rsp_take(&p, "close:"))
        file_close(r, p);
    else if (rsp_take(&p, "pread:"))
        file_pread(r, p);
    else if (rsp_take(&p, "fstat:"))
        file_fstat(r, p);
    else if (rsp_take(&p, "readlink:"))
        file_readlink(r, p);
    else
        return false;
    return true;
}

void user_debug_files_close(void)
{
    for (unsigned i = 0; i < FILES; i++) {
        if (files[i])
            sys_call(__NR_close, files[i] - 1);
        files[i] = 0;
    }
}
