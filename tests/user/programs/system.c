/*
 * System calls by number and by structure, of all rooms of the kernel: what another emulator of user programs does not
 * have or does otherwise (io_uring, aio, landlock, userfaultfd, memfd_secret, keyctl, perf, fanotify, the new mount
 * calls, process memory, futex_waitv, clone3 and namespaces) beside what differs between the ABIs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fanotify.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/loop.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *error(long r)
{
    return r < 0 ? strerror(errno) : "ok";
}

static void ipc(void)
{
    struct semid_ds ds;
    union {
        int val;
        struct semid_ds *buf;
    } arg = {.val = 5};
    int id = semget(IPC_PRIVATE, 3, 0600), r = semctl(id, 1, SETVAL, arg);
    struct sembuf op = {.sem_num = 1, .sem_op = -2};

    r |= semop(id, &op, 1);
    printf("sem %d value %d", r, semctl(id, 1, GETVAL));
    arg.buf = &ds;
    r = semctl(id, 0, IPC_STAT, arg);
    printf(" stat %d nsems %d mode %o otime %d ctime %d\n", r, (int)ds.sem_nsems, ds.sem_perm.mode, ds.sem_otime > 0,
           ds.sem_ctime > 0);
    ds.sem_perm.mode = 0640;
    r = semctl(id, 0, IPC_SET, arg);
    r |= semctl(id, 0, IPC_STAT, arg);
    printf("sem set %d mode %o\n", r, ds.sem_perm.mode);
    semctl(id, 0, IPC_RMID);

    struct shmid_ds sds;
    id = shmget(IPC_PRIVATE, 8192, 0600);
    char *p = shmat(id, NULL, 0);
    strcpy(p, "shared");
    r = shmctl(id, IPC_STAT, &sds);
    printf("shm %d size %d attached %d\n", r, (int)sds.shm_segsz, (int)sds.shm_nattch);
    char *q = shmat(id, NULL, SHM_RDONLY);
    printf("shm %s", q);
    printf(", detach %d", shmdt(p));
    printf(" %d\n", shmdt(q));
    shmctl(id, IPC_RMID, NULL);

    struct {
        long type;
        char text[16];
    } m = {3, "message"}, back = {0, ""};
    struct msqid_ds mds;
    id = msgget(IPC_PRIVATE, 0600);
    r = msgsnd(id, &m, sizeof(m.text), 0);
    r |= msgctl(id, IPC_STAT, &mds);
    printf("msg %d count %d", r, (int)mds.msg_qnum);
    r = (int)msgrcv(id, &back, sizeof(back.text), 3, 0);
    printf(" received %d %s\n", r, back.text);
    msgctl(id, IPC_RMID, NULL);
}

static void memory(void)
{
    char *p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char core[8];

    strcpy(p, "text");
    char *q = mremap(p, 4 * 4096, 64 * 4096, MREMAP_MAYMOVE);
    printf("mremap %d %s\n", q != MAP_FAILED, q);
    printf("dontneed %d", madvise(q, 4096, MADV_DONTNEED));
    printf(" %d\n", q[0]);
    printf("mincore %d", mincore(q, 2 * 4096, core));
    printf(" %d\n", core[0] & 1);
    printf("mprotect odd %s\n", error(mprotect(q + 1, 4096, PROT_READ)));
    printf("mprotect hole %s\n", error(mprotect((void *)0x100000, 4096, PROT_READ)));
    printf("munmap odd %s\n", error(munmap(q + 5, 4096)));
    printf("munmap huge %s\n", error(munmap(q, ~0ul << 12)));
    printf("munmap more than there is %s\n", error(munmap(NULL, ~0ul >> 1 & ~0xffful)));
    printf("mlock %s\n", error(mlock(q, 4096)));
    printf("msync %s\n", error(msync(q, 4096, MS_SYNC)));
    printf("mmap zero %s\n",
           error(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0));
    printf("pkey %d\n", (int)syscall(SYS_pkey_mprotect, q, 4096, PROT_READ, -1));
    int mode = -1;
    printf("get_mempolicy %s", error(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0)));
    printf(" %d\n", mode);
    char from[] = "another's memory", to[sizeof(from)] = "";
    struct iovec local = {to, sizeof(to)}, remote = {from, sizeof(from)};
    printf("process_vm_readv %zd", process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
    printf(" %s\n", to);
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    struct iovec advice = {q, 4096};
    printf("process_madvise %ld\n", syscall(SYS_process_madvise, pidfd, &advice, 1, MADV_COLD, 0));
    int secret = (int)syscall(SYS_memfd_secret, 0);
    printf("memfd_secret %s\n", error(secret));
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API};
    printf("userfaultfd %s", error(uffd < 0 ? -1 : 0));
    printf(" %s\n", error(ioctl(uffd, UFFDIO_API, &api)));
    printf("membarrier %d\n", (syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) & MEMBARRIER_CMD_GLOBAL) != 0);
    struct {
        uint64_t off, len;
    } range = {0, 4096};
    uint64_t stat[5] = {0};
    int fd = open("/bin/sh", O_RDONLY);
    printf("cachestat %s\n", error(syscall(451, fd, &range, stat, 0)));
    char *sealed = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long r = syscall(462, sealed, 4096, 0);
    printf("mseal %s, then munmap %s\n", error(r), r ? "-" : error(munmap(sealed, 4096)));
}

static void async(void)
{
    struct io_uring_params params = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params);

    printf("io_uring %s\n", error(ring < 0 ? -1 : 0));
    if (ring >= 0) {
        size_t sq_size = params.sq_off.array + params.sq_entries * 4,
               cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
        char *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
        char *cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
        struct io_uring_sqe *sqe =
            mmap(NULL, 4 * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
        char text[] = "written by the ring\n";
        memset(sqe, 0, sizeof(*sqe));
        sqe->opcode = IORING_OP_WRITE;
        sqe->fd = 1;
        sqe->addr = (uintptr_t)text;
        sqe->len = sizeof(text) - 1;
        sqe->off = (uint64_t)-1;
        sqe->user_data = 77;
        *(uint32_t *)(sq + params.sq_off.array) = 0;
        __atomic_store_n((uint32_t *)(sq + params.sq_off.tail), 1, __ATOMIC_RELEASE);
        long n = syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
        struct io_uring_cqe *cqe = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
        printf("entered %ld result %d data %d\n", n, cqe->res, (int)cqe->user_data);
    }
    aio_context_t ctx = 0;
    struct iocb cb = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_nbytes = 4}, *list = &cb;
    struct io_event ev = {0};
    char buf[8] = "";
    cb.aio_fildes = (uint32_t)open("/proc/self/comm", O_RDONLY);
    cb.aio_fildes = (uint32_t)open("/bin/sh", O_RDONLY);
    cb.aio_buf = (uintptr_t)buf;
    cb.aio_data = 5;
    long r = syscall(SYS_io_setup, 2, &ctx);
    printf("aio %ld", r);
    printf(" %ld", syscall(SYS_io_submit, ctx, 1, &list));
    printf(" %ld", syscall(SYS_io_getevents, ctx, 1, 1, &ev, NULL));
    printf(" %d %d %d\n", (int)ev.res, (int)ev.data, !memcmp(buf, "\177ELF", 4));
}

static void security(void)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs =
                                             LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG};
    int status;

    printf("landlock version %d\n", syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0);
    pid_t pid = fork();
    if (!pid) {
        int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        long r = syscall(SYS_landlock_restrict_self, fd, 0);
        int denied = open("/tmp/pipit-landlock", O_CREAT | O_WRONLY, 0600) < 0 && errno == EACCES;
        _exit(r ? 1 : denied ? 42 : 2);
    }
    waitpid(pid, &status, 0);
    printf("landlocked %d\n", WEXITSTATUS(status));
    printf("keyctl %s\n", error(syscall(SYS_keyctl, 0, -3, 0) < 0 ? -1 : 0));
    int fan = (int)syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY | O_LARGEFILE);
    printf("fanotify %s", error(fan < 0 ? -1 : 0));
    printf(" %s\n", error(syscall(SYS_fanotify_mark, fan, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "/tmp")));
    printf("capget %s\n", error(syscall(SYS_capget, NULL, NULL)));
    struct perf_event_attr pe = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(pe), .config = PERF_COUNT_SW_TASK_CLOCK};
    int pfd = (int)syscall(SYS_perf_event_open, &pe, 0, -1, -1, 0);
    uint64_t n = 0;
    printf("perf %s", error(pfd < 0 ? -1 : 0));
    printf(" %d\n", read(pfd, &n, sizeof(n)) == sizeof(n) && n > 0);
    union {
        char room[128];
        struct {
            uint32_t type, key, value, max;
        };
    } map = {.type = 2, .key = 4, .value = 8, .max = 4};
    printf("bpf %s\n", error(syscall(SYS_bpf, 0, &map, sizeof(map)) < 0 ? -1 : 0));
}

static int cloned(void *arg)
{
    return *(int *)arg + 1;
}

static void processes(void)
{
    int status, value = 11;
    char *stack = malloc(65536), name[32] = "";
    struct clone_args args = {.exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

    if (!pid)
        _exit(33);
    waitpid(pid, &status, 0);
    printf("clone3 %d\n", WEXITSTATUS(status));
    pid = clone(cloned, stack + 65536, SIGCHLD, &value);
    waitpid(pid, &status, 0);
    printf("clone %d\n", WEXITSTATUS(status));
    pid = clone(cloned, stack + 65536, CLONE_VM | SIGCHLD, &value);
    waitpid(pid, &status, 0);
    printf("clone with memory %d\n", WEXITSTATUS(status));
    pid = clone(cloned, stack + 65536, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID | SIGCHLD, &value);
    printf("clone with namespaces %s", error(pid < 0 ? -1 : 0));
    if (pid > 0) {
        waitpid(pid, &status, 0);
        printf(" %d", WEXITSTATUS(status));
    }
    printf("\n");
    pid = fork();
    if (!pid) {
        long r = unshare(CLONE_NEWNS | CLONE_NEWNET);
        r |= sethostname("x", 0) && errno == EINVAL;
        _exit(r ? 1 : 7);
    }
    siginfo_t si = {0};
    int r = waitid(P_PID, (id_t)pid, &si, WEXITED);
    printf("waitid %d code %d status %d pid %d\n", r, si.si_code, si.si_status, si.si_pid == pid);
    r = prctl(PR_SET_NAME, "given name");
    r |= prctl(PR_GET_NAME, name);
    printf("name %d %s\n", r, name);
    uint32_t words[2] = {1, 2};
    struct futex_waitv w[2] = {{.val = 1, .uaddr = (uintptr_t)&words[0], .flags = FUTEX_32},
                               {.val = 5, .uaddr = (uintptr_t)&words[1], .flags = FUTEX_32}};
    printf("futex_waitv %s\n", error(syscall(SYS_futex_waitv, w, 2, 0, NULL, CLOCK_MONOTONIC)));
    struct timespec ts = {.tv_nsec = 1000000};
    printf("futex %s\n", error(syscall(SYS_futex, &words[0], FUTEX_WAIT, 1, &ts, NULL, 0)));
    void *head = NULL;
    size_t len = 0;
    r = (int)syscall(SYS_get_robust_list, 0, &head, &len);
    printf("robust list %d %d %zu\n", r, head != NULL, len);
    cpu_set_t cpus;
    printf("affinity %d", sched_getaffinity(0, sizeof(cpus), &cpus));
    printf(" %d\n", CPU_COUNT(&cpus) > 0);
    struct rlimit rl;
    r = getrlimit(RLIMIT_NOFILE, &rl);
    printf("rlimit %d %d\n", r, rl.rlim_cur > 0);
    struct rusage ru;
    printf("rusage %d\n", getrusage(RUSAGE_CHILDREN, &ru));
    struct sysinfo info;
    printf("sysinfo %d", sysinfo(&info));
    printf(" %d\n", info.totalram > 0 && info.mem_unit > 0);
    struct tms tms;
    printf("times %d\n", times(&tms) != (clock_t)-1);
    printf("personality %x\n", (unsigned)personality(0xffffffff) & 0xff);
    struct utsname u;
    printf("uname %d", uname(&u));
    printf(" %s\n", u.sysname);
    unsigned cpu = 99, node = 99;
    r = getcpu(&cpu, &node);
    printf("getcpu %d %d %u\n", r, cpu < 1024, node);
    timer_t timer;
    struct sigevent se = {.sigev_notify = SIGEV_NONE};
    struct itimerspec it = {.it_value.tv_sec = 100}, now;
    r = timer_create(CLOCK_MONOTONIC, &se, &timer) | timer_settime(timer, 0, &it, NULL);
    r |= timer_gettime(timer, &now);
    printf("timer %d %d\n", r, now.it_value.tv_sec >= 98);
    printf("unknown %s\n", error(syscall(2000)));
}

static void network_and_mounts(void)
{
    int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct {
        struct nlmsghdr h;
        char body[16];
    } req = {
        .h = {.nlmsg_len = sizeof(req), .nlmsg_type = 18 /* RTM_GETLINK */, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    char answer[8192];

    printf("netlink %zd", send(nl, &req, sizeof(req), 0));
    ssize_t n = recv(nl, answer, sizeof(answer), 0);
    printf(" answer %d type %d\n", n > 0, ((struct nlmsghdr *)answer)->nlmsg_type);
    int nf = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    printf("netfilter %s\n", error(nf < 0 ? -1 : 0));
    int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    printf("fsopen %s", error(fs < 0 ? -1 : 0));
    printf(" %s", error(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "1M", 0)));
    printf(" %s", error(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)));
    int mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
    printf(" %s\n", error(mnt < 0 ? -1 : 0));
    struct mount_attr ma = {.attr_set = MOUNT_ATTR_RDONLY};
    printf("mount_setattr %s\n", error(syscall(SYS_mount_setattr, mnt, "", AT_EMPTY_PATH, &ma, sizeof(ma))));
    int ctl = open("/dev/loop-control", O_RDWR);
    int free_one = ctl < 0 ? -1 : ioctl(ctl, LOOP_CTL_GET_FREE);
    char path[64];
    snprintf(path, sizeof(path), "/dev/loop%d", free_one);
    int loop = free_one < 0 ? -1 : open(path, O_RDWR), back = memfd_create("disk", 0);
    struct loop_info li = {.lo_offset = 512};
    if (loop < 0 || ftruncate(back, 1 << 20) || ioctl(loop, LOOP_SET_FD, back)) {
        printf("loop: none here\n");
        return;
    }
    strcpy(li.lo_name, "a name");
    printf("loop set %s", error(ioctl(loop, LOOP_SET_STATUS, &li)));
    memset(&li, 0, sizeof(li));
    printf(", get %s", error(ioctl(loop, LOOP_GET_STATUS, &li)));
    printf(" %d %s\n", li.lo_offset, li.lo_name);
    ioctl(loop, LOOP_CLR_FD, 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    ipc();
    memory();
    async();
    security();
    processes();
    network_and_mounts();
    return 0;
}
