/*
 * Arguments of -strace: the words of syscalls.def's last column, and what each prints.
 *
 *   d u x o p      numbers: signed, unsigned, hexadecimal, octal, an address
 *   fd at          a descriptor; one that may be AT_FDCWD
 *   s S            a string; one that the call writes (the result is its length)
 *   w r            a buffer of as many bytes as the next argument says; one of as many as the result says
 *   F:SET E:SET    flags; one of a set of numbers (strace_names.c)
 *   open fcntl     open's flags, and the mode where they create; fcntl's command and argument
 *   sv ev          a vector of strings; the environment
 *   and structures: small letters are read before the call, capitals after it
 */
#include <errno.h>
#include <linux/fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/abi.h"
#include "vmm/user/access.h"
#include "vmm/user/path.h"
#include "vmm/user/strace_text.h"
#include "vmm/user/sys/call.h"

#define STRING_MAX 32 /* as strace -s */
#define VECTOR_MAX 16

static void put_pointer(struct strace_text *o, uint64_t v)
{
    if (v)
        strace_put(o, "%#lx", (unsigned long)v);
    else
        strace_put(o, "NULL");
}

/* ---- strings ---- */

static void put_escaped(struct strace_text *o, const uint8_t *p, size_t n)
{
    static const char named[] = "\tt\nn\vv\ff\rr\"\"\\\\";

    strace_put(o, "\"");
    for (size_t i = 0; i < n; i++) {
        const char *e = NULL;
        for (const char *q = named; *q && !e; q += 2)
            e = (uint8_t)*q == p[i] ? q : NULL;
        bool digit = i + 1 < n && p[i + 1] >= '0' && p[i + 1] <= '9';
        if (e)
            strace_put(o, "\\%c", e[1]);
        else if (p[i] >= ' ' && p[i] < 0x7f)
            strace_put(o, "%c", p[i]);
        else
            strace_put(o, digit ? "\\%03o" : "\\%o", p[i]);
    }
    strace_put(o, "\"");
}

static void put_buffer(struct strace_text *o, uint64_t va, uint64_t len)
{
    uint8_t bytes[STRING_MAX];
    size_t n = MIN(len, sizeof(bytes));

    if (!va || user_copy_in(bytes, va, n)) {
        put_pointer(o, va);
        return;
    }
    put_escaped(o, bytes, n);
    if (len > n)
        strace_put(o, "...");
}

/* Strings that are paths are shown in full. */
static void put_string(struct strace_text *o, uint64_t va)
{
    char text[USER_PATH_MAX];
    long n = va ? user_copy_string(text, va, sizeof(text)) : -EFAULT;

    if (n == -ENAMETOOLONG)
        n = STRING_MAX;
    if (n < 0)
        put_pointer(o, va);
    else
        put_escaped(o, (const uint8_t *)text, (size_t)n);
}

static void put_vector(struct strace_text *o, uint64_t va)
{
    uint64_t p;

    if (!va) {
        put_pointer(o, va);
        return;
    }
    strace_put(o, "[");
    for (unsigned i = 0; !user_get64(va + i * 8, &p) && p; i++) {
        if (i)
            strace_put(o, ", ");
        if (i == VECTOR_MAX) {
            strace_put(o, "...");
            break;
        }
        put_string(o, p);
    }
    strace_put(o, "]");
}

static void put_environment(struct strace_text *o, uint64_t va)
{
    uint64_t p, n = 0;

    put_pointer(o, va);
    while (va && !user_get64(va + n * 8, &p) && p)
        n++;
    if (va)
        strace_put(o, " /* %lu vars */", (unsigned long)n);
}

/* ---- structures: what cannot be read is an address ---- */

/* Copies `size` bytes, or prints the address and says false. */
static bool take(struct strace_text *o, void *dst, uint64_t va, size_t size)
{
    if (va && !user_copy_in(dst, va, size))
        return true;
    put_pointer(o, va);
    return false;
}

static void put_timespec(struct strace_text *o, uint64_t va)
{
    int64_t t[2];

    if (take(o, t, va, sizeof(t)))
        strace_put(o, "{tv_sec=%ld, tv_nsec=%ld}", (long)t[0], (long)t[1]);
}

static void put_timeval(struct strace_text *o, uint64_t va)
{
    int64_t t[2];

    if (take(o, t, va, sizeof(t)))
        strace_put(o, "{tv_sec=%ld, tv_usec=%ld}", (long)t[0], (long)t[1]);
}

/* Two in a row, between the three texts. */
static void put_timespec_pair(struct strace_text *o, uint64_t va, const char *open, const char *between,
                              const char *close)
{
    if (!va) {
        put_pointer(o, va);
        return;
    }
    strace_put(o, "%s", open);
    put_timespec(o, va);
    strace_put(o, "%s", between);
    put_timespec(o, va + 16);
    strace_put(o, "%s", close);
}

static void put_two_timespecs(struct strace_text *o, uint64_t va)
{
    put_timespec_pair(o, va, "[", ", ", "]");
}

static void put_itimerspec(struct strace_text *o, uint64_t va)
{
    put_timespec_pair(o, va, "{it_interval=", ", it_value=", "}");
}

static void put_sigset_value(struct strace_text *o, uint64_t set)
{
    bool invert = __builtin_popcountll(set) > 32;
    const char *sep = "";

    strace_put(o, invert ? "~[" : "[");
    for (int sig = 1; sig <= ABI_NSIG; sig++) {
        if (!(set & ABI_SIGBIT(sig)) == !invert)
            continue;
        struct strace_text name = {.len = 0};
        strace_put_signal(&name, sig);
        strace_put(o, "%s%s", sep, !strncmp(name.buf, "SIG", 3) ? name.buf + 3 : name.buf);
        sep = " ";
    }
    strace_put(o, "]");
}

static void put_sigset(struct strace_text *o, uint64_t va)
{
    uint64_t set;

    if (take(o, &set, va, sizeof(set)))
        put_sigset_value(o, set);
}

static void put_sigaction(struct strace_text *o, uint64_t va)
{
    struct abi_sigaction sa;

    if (!take(o, &sa, va, sizeof(sa)))
        return;
    strace_put(o, "{sa_handler=");
    if (sa.handler <= ABI_SIG_IGN)
        strace_put(o, sa.handler ? "SIG_IGN" : "SIG_DFL");
    else
        put_pointer(o, sa.handler);
    strace_put(o, ", sa_mask=");
    put_sigset_value(o, sa.mask);
    strace_put(o, ", sa_flags=");
    strace_put_flags(o, "sa", sa.flags);
    if (sa.flags & ABI_SA_RESTORER)
        strace_put(o, ", sa_restorer=%#lx", (unsigned long)sa.restorer);
    strace_put(o, "}");
}

static void put_sigaltstack(struct strace_text *o, uint64_t va)
{
    struct abi_stack s;

    if (!take(o, &s, va, sizeof(s)))
        return;
    strace_put(o, "{ss_sp=");
    put_pointer(o, s.sp);
    strace_put(o, ", ss_flags=");
    strace_put_flags(o, "ss", (uint32_t)s.flags);
    strace_put(o, ", ss_size=%lu}", (unsigned long)s.size);
}

static void put_siginfo(struct strace_text *o, uint64_t va)
{
    struct abi_siginfo i;

    if (!take(o, &i, va, sizeof(i)))
        return;
    strace_put(o, "{si_signo=");
    strace_put_signal(o, i.signo);
    strace_put(o, ", si_code=%d, si_pid=%d, si_uid=%u}", i.code, i.pid, i.uid);
}

static void put_stat(struct strace_text *o, uint64_t va)
{
    struct abi_stat s;

    if (!take(o, &s, va, sizeof(s)))
        return;
    strace_put(o, "{st_mode=");
    strace_put_name(o, "mode", s.mode & ABI_S_IFMT);
    strace_put(o, "|%#o, ", s.mode & 07777);
    if ((s.mode & ABI_S_IFMT) == 0020000 || (s.mode & ABI_S_IFMT) == 0060000)
        strace_put(o, "st_rdev=makedev(%#lx, %#lx), ...}", (unsigned long)bits64(s.rdev, 19, 8),
                   (unsigned long)((s.rdev & 0xff) | bits64(s.rdev, 31, 20) << 8));
    else
        strace_put(o, "st_size=%ld, ...}", (long)s.size);
}

static void put_uname(struct strace_text *o, uint64_t va)
{
    struct abi_utsname u;

    if (take(o, &u, va, sizeof(u)))
        strace_put(o, "{sysname=\"%.65s\", nodename=\"%.65s\", ...}", u.sysname, u.nodename);
}

static void put_rlimit(struct strace_text *o, uint64_t va)
{
    uint64_t l[2];

    if (!take(o, l, va, sizeof(l)))
        return;
    for (unsigned i = 0; i < 2; i++) {
        strace_put(o, i ? ", rlim_max=" : "{rlim_cur=");
        if (l[i] == UINT64_MAX)
            strace_put(o, "RLIM64_INFINITY");
        else
            strace_put(o, l[i] && l[i] % 1024 == 0 ? "%lu*1024" : "%lu",
                       (unsigned long)(l[i] && l[i] % 1024 == 0 ? l[i] / 1024 : l[i]));
    }
    strace_put(o, "}");
}

static void put_iovec(struct strace_text *o, uint64_t va, uint64_t count, int64_t bytes)
{
    uint64_t v[2], left = bytes < 0 ? 0 : (uint64_t)bytes;

    if (!va) {
        put_pointer(o, va);
        return;
    }
    strace_put(o, "[");
    for (uint64_t i = 0; i < count; i++) {
        if (i == VECTOR_MAX || user_copy_in(v, va + i * sizeof(v), sizeof(v))) {
            strace_put(o, "%s...", i ? ", " : "");
            break;
        }
        uint64_t shown = MIN(v[1], left);
        strace_put(o, "%s{iov_base=", i ? ", " : "");
        put_buffer(o, v[0], shown);
        strace_put(o, ", iov_len=%lu}", (unsigned long)v[1]);
        left -= shown;
    }
    strace_put(o, "]");
}

static void put_poll(struct strace_text *o, uint64_t va, uint64_t count)
{
    struct {
        int32_t fd;
        int16_t events, revents;
    } p;

    if (!va) {
        put_pointer(o, va);
        return;
    }
    strace_put(o, "[");
    for (uint64_t i = 0; i < count; i++) {
        if (i == VECTOR_MAX || user_copy_in(&p, va + i * sizeof(p), sizeof(p))) {
            strace_put(o, "%s...", i ? ", " : "");
            break;
        }
        strace_put(o, "%s{fd=%d", i ? ", " : "", p.fd);
        if (p.fd >= 0) { /* else it is not looked at */
            strace_put(o, ", events=");
            strace_put_flags(o, "poll", (uint16_t)p.events);
        }
        strace_put(o, "}");
    }
    strace_put(o, "]");
}

static void put_address(struct strace_text *o, uint64_t va, uint64_t len)
{
    uint8_t a[128] = {0};
    uint16_t family;

    if (len < 2 || !take(o, a, va, MIN(len, sizeof(a) - 1))) {
        if (len < 2)
            put_pointer(o, va);
        return;
    }
    family = le16_get(a);
    strace_put(o, "{sa_family=");
    strace_put_name(o, "domain", family);
    switch (family) {
    case 1: /* AF_UNIX */
        strace_put(o, ", sun_path=%s", len > 2 && !a[2] ? "@" : "");
        put_escaped(o, a + 2 + (len > 2 && !a[2]), strlen((char *)a + 2 + (len > 2 && !a[2])));
        break;
    case 2: /* AF_INET */
        strace_put(o, ", sin_port=htons(%u), sin_addr=inet_addr(\"%u.%u.%u.%u\")", a[2] << 8 | a[3], a[4], a[5], a[6],
                   a[7]);
        break;
    case 16: /* AF_NETLINK */
        strace_put(o, ", nl_pid=%d, nl_groups=%08x", (int)le32_get(a + 4), le32_get(a + 8));
        break;
    default:
        strace_put(o, ", sa_data=");
        put_escaped(o, a + 2, MIN(len, sizeof(a) - 1) - 2);
        break;
    }
    strace_put(o, "}");
}

static void put_pipe(struct strace_text *o, uint64_t va)
{
    int32_t fd[2];

    if (take(o, fd, va, sizeof(fd)))
        strace_put(o, "[%d, %d]", fd[0], fd[1]);
}

static void put_u32(struct strace_text *o, uint64_t va)
{
    uint32_t v;

    if (take(o, &v, va, sizeof(v)))
        strace_put(o, "[%u]", v);
}

static void put_epoll_event(struct strace_text *o, uint64_t va)
{
    struct abi_epoll_event e;

    if (!take(o, &e, va, sizeof(e)))
        return;
    strace_put(o, "{events=");
    strace_put_flags(o, "epollev", e.events);
    strace_put(o, e.data ? ", data=0x%lx}" : ", data=%lx}", (unsigned long)e.data);
}

static void put_wait_status(struct strace_text *o, uint64_t va)
{
    uint32_t s;

    if (!take(o, &s, va, sizeof(s)))
        return;
    if ((s & 0x7f) == 0) {
        strace_put(o, "[{WIFEXITED(s) && WEXITSTATUS(s) == %u}]", s >> 8 & 0xff);
    } else if ((s & 0xff) == 0x7f) {
        strace_put(o, "[{WIFSTOPPED(s) && WSTOPSIG(s) == ");
        strace_put_signal(o, (int)(s >> 8 & 0xff));
        strace_put(o, "}]");
    } else {
        strace_put(o, "[{WIFSIGNALED(s) && WTERMSIG(s) == ");
        strace_put_signal(o, (int)(s & 0x7f));
        strace_put(o, s & 0x80 ? " && WCOREDUMP(s)}]" : "}]");
    }
}

/* A number with a few flags on top: socket's type, clone's exit signal, futex's operation. */
static void put_composite(struct strace_text *o, const char *names, uint64_t value, uint64_t mask, const char *flags)
{
    strace_put_name(o, names, value & mask);
    if (value & ~mask) {
        strace_put(o, "|");
        strace_put_flags(o, flags, value & ~mask);
    }
}

static void put_clone_flags(struct strace_text *o, uint64_t v)
{
    if ((v & ~UINT64_C(0xff)) || !(v & 0xff))
        strace_put_flags(o, "clone", v & ~UINT64_C(0xff));
    if (v & 0xff) {
        strace_put(o, v & ~UINT64_C(0xff) ? "|" : "");
        strace_put_signal(o, (int)(v & 0xff));
    }
}

/* ---- words ---- */

static bool is(const char *word, const char *other)
{
    return !strcmp(word, other);
}

bool strace_word_is_output(const char *word)
{
    static const char *const outputs[] = {"S",   "r",  "st", "TS", "TV", "SS", "SA",  "si",   "SST",
                                          "rem", "IT", "IO", "SK", "RL", "WS", "uts", "pipe", "U32"};

    for (size_t i = 0; i < ARRAY_SIZE(outputs); i++) {
        if (is(word, outputs[i]))
            return true;
    }
    return false;
}

struct reader {
    const char *word;
    void (*put)(struct strace_text *o, uint64_t va);
};
static const struct reader readers[] = {
    {"s", put_string},        {"sv", put_vector},       {"ev", put_environment},
    {"p", put_pointer},       {"ts", put_timespec},     {"TS", put_timespec},
    {"tv", put_timeval},      {"TV", put_timeval},      {"ts2", put_two_timespecs},
    {"it", put_itimerspec},   {"IT", put_itimerspec},   {"ss", put_sigset},
    {"SS", put_sigset},       {"sa", put_sigaction},    {"SA", put_sigaction},
    {"sst", put_sigaltstack}, {"SST", put_sigaltstack}, {"si", put_siginfo},
    {"st", put_stat},         {"uts", put_uname},       {"rl", put_rlimit},
    {"RL", put_rlimit},       {"pipe", put_pipe},       {"U32", put_u32},
    {"ee", put_epoll_event},  {"WS", put_wait_status},  {"cloneflags", put_clone_flags},
};

/* The protocol, whose names depend on the domain (two arguments before). */
static void put_protocol(struct strace_text *o, uint32_t domain, uint32_t v)
{
    if (domain == 2 || domain == 10) /* AF_INET, AF_INET6 */
        strace_put_name(o, "ipproto", v);
    else if (domain == 16) /* AF_NETLINK */
        strace_put_name(o, "netlink", v);
    else
        strace_put(o, "%u", v);
}

/* `before` is the argument two places to the left. */
static bool put_number(struct strace_text *o, const char *word, uint64_t v, uint64_t before)
{
    if (is(word, "d") || is(word, "fd"))
        strace_put(o, "%d", (int)v);
    else if (is(word, "u"))
        strace_put(o, "%lu", (unsigned long)v);
    else if (is(word, "x"))
        strace_put(o, v ? "%#lx" : "0", (unsigned long)v);
    else if (is(word, "o"))
        strace_put(o, v ? "%#o" : "000", (uint32_t)v);
    else if (is(word, "at") && (int)v == AT_FDCWD)
        strace_put(o, "AT_FDCWD");
    else if (is(word, "at"))
        strace_put(o, "%d", (int)v);
    else if (is(word, "sig"))
        strace_put_signal(o, (int)v);
    else if (is(word, "openfl"))
        strace_put_flags(o, "open", (uint32_t)v);
    else if (is(word, "sockfl"))
        strace_put_flags(o, "sock", (uint32_t)v);
    else if (is(word, "proto"))
        put_protocol(o, (uint32_t)before, (uint32_t)v);
    else if (is(word, "socktype"))
        put_composite(o, "socktype", (uint32_t)v, 0xf, "sock");
    else if (is(word, "futex"))
        put_composite(o, "futex", (uint32_t)v, 0x7f, "futexfl");
    else if (word[0] == 'F' && word[1] == ':')
        strace_put_flags(o, word + 2, v);
    else if (word[0] == 'E' && word[1] == ':')
        strace_put_name(o, word + 2, (uint32_t)v);
    else
        return false;
    return true;
}

static bool failed(const struct strace_call *c)
{
    return sys_is_err(c->ret) || c->ret < 0;
}

/* Those that look at other arguments or at the result. */
static bool put_related(struct strace_text *o, const char *word, const struct strace_call *c, unsigned i)
{
    uint64_t v = c->a[i], next = i < 5 ? c->a[i + 1] : 0;
    uint32_t len;

    if (is(word, "w"))
        put_buffer(o, v, next);
    else if (is(word, "r"))
        put_buffer(o, v, (uint64_t)c->ret);
    else if (is(word, "S"))
        put_buffer(o, v, (uint64_t)c->ret - 1);
    else if (is(word, "io"))
        put_iovec(o, v, next, INT64_MAX);
    else if (is(word, "IO"))
        put_iovec(o, v, next, c->ret);
    else if (is(word, "pf"))
        put_poll(o, v, next);
    else if (is(word, "sk"))
        put_address(o, v, next);
    else if (is(word, "SK"))
        put_address(o, v, next && !user_get32(next, &len) ? len : 0);
    else
        return false;
    return true;
}

/* The command, and its argument where it has one. */
static unsigned put_fcntl(struct strace_text *o, uint32_t cmd, uint64_t arg)
{
    strace_put_name(o, "fcntl", cmd);
    switch (cmd) {
    case F_GETFD:
    case F_GETFL:
    case F_GETOWN:
    case F_GETSIG:
    case F_GETLEASE:
    case F_GETPIPE_SZ:
    case F_GET_SEALS: return 2;
    case F_SETFD:
        strace_put(o, ", ");
        strace_put_flags(o, "fdflags", arg);
        return 2;
    case F_SETFL:
        strace_put(o, ", ");
        strace_put_open_flags(o, (uint32_t)arg);
        return 2;
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: strace_put(o, ", %d", (int)arg); return 2;
    default: strace_put(o, ", %#lx", (unsigned long)arg); return 2;
    }
}

unsigned strace_put_word(struct strace_text *o, const char *word, const struct strace_call *c, unsigned i)
{
    uint64_t v = c->a[i];

    if (is(word, "open")) {
        strace_put_open_flags(o, (uint32_t)v);
        if (!(v & (O_CREAT | 020000000)) || i == 5)
            return 1;
        strace_put(o, ", %#o", (uint32_t)c->a[i + 1]);
        return 2;
    }
    if (is(word, "fcntl"))
        return put_fcntl(o, (uint32_t)v, c->a[i + 1]);
    if (is(word, "rem")) { /* written only where a signal ended the sleep */
        if (c->ret == -EINTR)
            put_timespec(o, v);
        else
            put_pointer(o, v);
        return 1;
    }
    if (c->done && failed(c) && strace_word_is_output(word)) {
        put_pointer(o, v);
        return 1;
    }
    if (put_number(o, word, v, i > 1 ? c->a[i - 2] : 0) || put_related(o, word, c, i))
        return 1;
    for (size_t n = 0; n < ARRAY_SIZE(readers); n++) {
        if (is(word, readers[n].word)) {
            readers[n].put(o, v);
            return 1;
        }
    }
    put_pointer(o, v);
    return 1;
}
