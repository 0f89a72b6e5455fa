/*
 * The packets of GDB's remote protocol (GDB manual, appendix E) and what they do to the stopped program. What a packet
 * names is looked up anew each time: threads may have gone.
 */
#include <errno.h>
#include <linux/fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/service/gdbstub/a64.h"
#include "vmm/service/gdbstub/signals.h"
#include "vmm/user/access.h"
#include "vmm/user/debug_parts.h"
#include "vmm/user/executor.h"
#include "vmm/user/options.h"
#include "vmm/user/proc.h"
#include "vmm/user/space.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define ADDRESS_MASK (BIT64(56) - 1)
#define ERROR_BAD 22   /* of the packet */
#define ERROR_FAULT 14 /* of memory */
#define ERROR_THREAD 3

/* The two are the same to us, and told apart in reports. */
#define BREAK_SOFTWARE 1u
#define BREAK_HARDWARE 2u

enum after { STAY, RESUME, GONE };

static void reply(const char *text)
{
    rsp_reply(&user_debug.rsp, text);
}

static void error(unsigned n)
{
    rsp_error(&user_debug.rsp, n);
}

static void put_thread(const struct user_thread *t)
{
    rsp_thread(&user_debug.rsp, user_debug.has & DEBUG_HAS_PROCESSES ? user_debug.pid : 0, t->tid);
}

/* ---- registers ---- */

/* The thread for g, p and the like, at rest; NULL: there is none any more, or it waits in the kernel for what does not
 * end (and has registers all the same, which are only `read`). */
static struct user_thread *general(bool read)
{
    struct user_thread *t = user_debug.general;

    if (!t || (!user_debug_settle(t) && !read))
        return NULL;
    user_executor_fp_sync(t->cpu);
    return t;
}

static void registers_changed(struct user_thread *t)
{
    user_executor_fp_changed(t->cpu);
    t->cpu->ops->clear_excl(t->cpu);
}

static void put_register(struct rsp *r, struct user_thread *t, unsigned n)
{
    uint8_t value[A64_GDB_REG_MAX];
    size_t size = a64_gdb_size(&user_debug_registers, n);

    if (a64_gdb_read(&user_debug_registers, t->cpu, n, value))
        rsp_hex(r, value, size);
    else
        for (size_t i = 0; i < size; i++)
            rsp_text(r, "xx");
}

static void read_registers(void)
{
    struct rsp *r = &user_debug.rsp;
    struct user_thread *t = general(true);

    if (!t) {
        error(ERROR_THREAD);
        return;
    }
    rsp_begin(r);
    for (unsigned n = 0; n < A64_GDB_SYSTEM; n++)
        put_register(r, t, n);
    rsp_end(r);
}

static bool take_register(const char **p, struct user_thread *t, unsigned n)
{
    uint8_t value[A64_GDB_REG_MAX] = {0};

    return rsp_take_hex(p, value, a64_gdb_size(&user_debug_registers, n)) &&
           a64_gdb_write(&user_debug_registers, t->cpu, n, value);
}

static void write_registers(const char *p)
{
    struct user_thread *t = general(false);
    bool ok = t;

    for (unsigned n = 0; ok && n < A64_GDB_SYSTEM && *p; n++)
        ok = take_register(&p, t, n);
    if (t)
        registers_changed(t);
    if (ok && !*p)
        reply("OK");
    else
        error(ERROR_BAD);
}

static void read_register(const char *p)
{
    struct rsp *r = &user_debug.rsp;
    struct user_thread *t = general(true);
    uint64_t n;

    if (!t || !rsp_take_number(&p, &n) || *p || n > UINT16_MAX || !a64_gdb_size(&user_debug_registers, (unsigned)n)) {
        error(ERROR_BAD);
        return;
    }
    rsp_begin(r);
    put_register(r, t, (unsigned)n);
    rsp_end(r);
}

static void write_register(const char *p)
{
    struct user_thread *t = general(false);
    uint64_t n;
    bool ok = t && rsp_take_number(&p, &n) && rsp_take(&p, "=") && n <= UINT16_MAX &&
              a64_gdb_size(&user_debug_registers, (unsigned)n) && take_register(&p, t, (unsigned)n);

    if (t)
        registers_changed(t);
    if (ok)
        reply("OK");
    else
        error(ERROR_BAD);
}

/* ---- memory ---- */

/* What the program may not touch itself goes through the kernel, which asks for no rights of the pages. */
static bool by_file(uint64_t va, void *bytes, size_t n, bool write)
{
    long fd = sys_call(__NR_openat, AT_FDCWD, "/proc/self/mem", (write ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0), r;

    if (fd < 0)
        return false;
    r = sys_call(write ? __NR_pwrite64 : __NR_pread64, fd, bytes, n, va);
    sys_call(__NR_close, fd);
    return r == (long)n;
}

static bool is_guest(uint64_t va, uint64_t n)
{
    return range_within(va, n, USER_TASK_SIZE) && !sys_owns(va, n);
}

/* How many of the n bytes at va there are, which are now in `to`. */
static size_t read_memory(uint64_t va, uint8_t *to, size_t n)
{
    size_t done = 0;

    while (done < n) {
        size_t part = MIN(n - done, SYS_PAGE - ((va + done) & (SYS_PAGE - 1)));
        if (!is_guest(va + done, part) ||
            (user_copy_in(to + done, va + done, part) && !by_file(va + done, to + done, part, false)))
            break;
        done += part;
    }
    return done;
}

static bool write_memory(uint64_t va, uint8_t *from, size_t n)
{
    for (size_t done = 0, part; done < n; done += part) {
        part = MIN(n - done, SYS_PAGE - ((va + done) & (SYS_PAGE - 1)));
        if (!is_guest(va + done, part) ||
            (user_copy_out(va + done, from + done, part) && !by_file(va + done, from + done, part, true)))
            return false;
        user_space_exec_changed(va + done, part);
    }
    return true;
}

static uint8_t bytes[RSP_PACKET_MAX];

static void memory_read(const char *p)
{
    struct rsp *r = &user_debug.rsp;
    uint64_t va, n;
    size_t got;

    if (!rsp_take_range(&p, &va, &n) || *p) {
        error(ERROR_BAD);
        return;
    }
    got = read_memory(va & ADDRESS_MASK, bytes, MIN(n, sizeof(bytes) / 2));
    if (n && !got) {
        error(ERROR_FAULT);
        return;
    }
    rsp_begin(r);
    rsp_hex(r, bytes, got);
    rsp_end(r);
}

static void memory_write(const char *p, bool binary)
{
    const struct rsp *r = &user_debug.rsp;
    uint64_t va, n;
    bool ok = rsp_take_range(&p, &va, &n) && rsp_take(&p, ":") && n <= sizeof(bytes);

    if (ok && binary) {
        ok = (size_t)(r->in + r->in_len - p) == n;
        if (ok)
            memcpy(bytes, p, n);
    } else if (ok) {
        ok = rsp_take_hex(&p, bytes, n) && !*p;
    }
    if (!ok)
        error(ERROR_BAD);
    else if (!write_memory(va & ADDRESS_MASK, bytes, n))
        error(ERROR_FAULT);
    else
        reply("OK");
}

/* ---- breakpoints and watchpoints ---- */

static void change_point(const char *p, bool set)
{
    static const unsigned kinds[] = {
        [2] = JIT_WATCH(JIT_DEBUG_WRITE),
        [3] = JIT_WATCH(JIT_DEBUG_READ),
        [4] = JIT_WATCH(JIT_DEBUG_READ) | JIT_WATCH(JIT_DEBUG_WRITE),
    };
    uint64_t type, addr, len;
    int r;

    if (!rsp_take_number(&p, &type) || !rsp_take(&p, ",") || !rsp_take_range(&p, &addr, &len)) {
        error(ERROR_BAD);
        return;
    }
    if (type >= ARRAY_SIZE(kinds)) {
        reply("");
        return;
    }
    addr &= ADDRESS_MASK;
    if (type < 2 ? (addr & 3) != 0 : !len || len > UINT32_MAX || addr + len < addr)
        r = -EINVAL;
    else if (type < 2)
        r = user_executor_break(addr, type ? BREAK_HARDWARE : BREAK_SOFTWARE, set);
    else
        r = user_executor_watch(addr, len, kinds[type], set);
    if (r)
        error((unsigned)-r);
    else
        reply("OK");
}

/* ---- threads ---- */

/* Does the packet speak of another process that takes part? Then it is its turn, and the packet its to answer. */
static bool goes_elsewhere(int64_t pid)
{
    return pid > 0 && pid != user_debug.pid && user_debug_session_has(pid);
}

static bool find_thread(const struct rsp_thread *id, struct user_thread **t)
{
    *t = NULL;
    if (id->has_process && id->process > 0 && id->process != user_debug.pid)
        return false;
    if (id->thread <= 0)
        return true;
    *t = user_debug_thread(id->thread);
    return *t;
}

static void set_thread(const char *p)
{
    bool resume = *p == 'c', other = *p == 'g';
    struct rsp_thread id;
    struct user_thread *t;

    p++;
    if ((!resume && !other) || !rsp_take_thread(&p, &id) || *p || !find_thread(&id, &t)) {
        error(ERROR_BAD);
        return;
    }
    if (resume)
        user_debug.resumed = t;
    else
        user_debug.general = t ? t : user_debug.event;
    reply("OK");
}

static void is_alive(const char *p)
{
    struct rsp_thread id;
    struct user_thread *t;

    if (rsp_take_thread(&p, &id) && find_thread(&id, &t) && t)
        reply("OK");
    else
        error(ERROR_THREAD);
}

static void list_other(void *opaque, int64_t pid, int64_t tid)
{
    struct rsp *r = opaque;

    if (!(user_debug.has & DEBUG_HAS_PROCESSES) || rsp_room(r) < 64)
        return;
    rsp_text(r, ",");
    rsp_thread(r, pid, tid);
}

static void list_threads(bool first)
{
    struct rsp *r = &user_debug.rsp;
    unsigned n = 0;

    if (first)
        user_debug.list_at = user_debug_next(NULL);
    if (!user_debug.list_at) {
        reply("l");
        return;
    }
    rsp_begin(r);
    rsp_text(r, "m");
    for (; user_debug.list_at && n < 200; n++) {
        rsp_text(r, n ? "," : "");
        put_thread(user_debug.list_at);
        user_debug.list_at = user_debug_next(user_debug.list_at);
    }
    if (first)
        user_debug_session_others(list_other, r);
    rsp_end(r);
}

static void thread_words(const char *p)
{
    struct rsp *r = &user_debug.rsp;
    struct rsp_thread id;
    struct user_thread *t;
    char path[64], name[32];
    long fd, n = 0;

    if (!rsp_take_thread(&p, &id) || !find_thread(&id, &t) || !t) {
        error(ERROR_THREAD);
        return;
    }
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", t->tid);
    fd = sys_call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
        n = sys_call(__NR_read, fd, name, sizeof(name));
        sys_call(__NR_close, fd);
    }
    if (n > 0 && name[n - 1] == '\n')
        n--;
    rsp_begin(r);
    rsp_hex(r, name, n > 0 ? (size_t)n : 0);
    rsp_end(r);
}

/* ---- reports ---- */

static void put_expedited(struct rsp *r, struct user_thread *t)
{
    static const uint8_t regs[] = {A64_GDB_X29, A64_GDB_SP, A64_GDB_PC};

    for (size_t i = 0; i < sizeof(regs); i++) {
        rsp_hex(r, &regs[i], 1);
        rsp_text(r, ":");
        put_register(r, t, regs[i]);
        rsp_text(r, ";");
    }
}

static void put_watch(struct rsp *r, const char *word, uint64_t addr)
{
    rsp_text(r, word);
    rsp_text(r, ":");
    rsp_number(r, addr);
    rsp_text(r, ";");
}

static void put_reason(struct rsp *r, const struct user_thread *t)
{
    switch (t->debug.why) {
    case DEBUG_BREAK:
        if ((user_executor_break_kinds(t->debug.addr) & BREAK_SOFTWARE) && (user_debug.has & DEBUG_HAS_SWBREAK))
            rsp_text(r, "swbreak:;");
        else if (user_debug.has & DEBUG_HAS_HWBREAK)
            rsp_text(r, "hwbreak:;");
        break;
    case DEBUG_READ: put_watch(r, "rwatch", t->debug.addr); break;
    case DEBUG_WRITE: put_watch(r, "watch", t->debug.addr); break;
    case DEBUG_FORK:
        rsp_text(r, "fork:");
        rsp_thread(r, t->debug.child, t->debug.child);
        rsp_text(r, ";");
        break;
    case DEBUG_EXEC: {
        const char *path = user_proc_program();
        rsp_text(r, "exec:");
        rsp_hex(r, path, strlen(path));
        rsp_text(r, ";");
        break;
    }
    default: break;
    }
}

static void make_report(struct user_thread *t)
{
    struct rsp *r = &user_debug.rsp;
    uint8_t sig = ABI_SIGTRAP;

    rsp_begin(r);
    if (t->debug.why == DEBUG_NONE_LEFT) {
        rsp_text(r, "N");
        rsp_end(r);
        return;
    }
    if (t->debug.why == DEBUG_SIGNAL)
        sig = (uint8_t)gdb_signal_from_linux((unsigned)t->debug.info.signo);
    else if (t->debug.why == DEBUG_INTERRUPT)
        sig = 2; /* GDB_SIGNAL_INT */
    rsp_text(r, "T");
    rsp_hex(r, &sig, 1);
    put_reason(r, t);
    put_expedited(r, t);
    rsp_text(r, "thread:");
    put_thread(t);
    rsp_text(r, ";");
    rsp_end(r);
}

static void send(void)
{
    user_debug_link_send(user_debug.rsp.out, user_debug.rsp.out_len);
}

void user_debug_report(struct user_thread *t)
{
    /* The debugger asks by itself for how things stand in the beginning. */
    if (t->debug.why == DEBUG_START)
        return;
    make_report(t);
    send();
}

/* ---- going on ---- */

struct action {
    char kind; /* c, s, r; 0: none */
    int signal;
    uint64_t range[2];
};

/* One action of vCont with its thread. 0, or -EINVAL. */
static int take_action(const char **p, struct action *a, struct rsp_thread *id)
{
    uint64_t sig = 0;

    *a = (struct action){.kind = **p};
    *id = (struct rsp_thread){.thread = RSP_ALL};
    if (!**p)
        return -EINVAL;
    (*p)++;
    switch (a->kind) {
    case 'c':
    case 's': break;
    case 'C':
    case 'S':
        if (!rsp_take_number(p, &sig) || sig > 255)
            return -EINVAL;
        a->kind = a->kind == 'C' ? 'c' : 's';
        a->signal = (int)gdb_signal_to_linux((unsigned)sig);
        break;
    case 'r':
        if (!rsp_take_range(p, &a->range[0], &a->range[1]))
            return -EINVAL;
        break;
    default: return -EINVAL;
    }
    if (rsp_take(p, ":") && !rsp_take_thread(p, id))
        return -EINVAL;
    return **p == ';' || !**p ? 0 : -EINVAL;
}

static bool concerns(const struct rsp_thread *id, int64_t tid)
{
    if (id->has_process && id->process > 0 && id->process != user_debug.pid)
        return false;
    return id->thread <= 0 || id->thread == tid;
}

static void apply(struct user_thread *t, const struct action *a)
{
    t->debug.held = !a->kind;
    t->debug.step = a->kind == 's' || a->kind == 'r';
    t->debug.range[0] = a->range[0];
    t->debug.range[1] = a->range[1];
    t->debug.signal = a->signal;
}

/* The first action that concerns a thread is its own. */
static struct action action_for(const char *p, int64_t tid)
{
    struct rsp_thread id;
    struct action a;

    while (rsp_take(&p, ";") && !take_action(&p, &a, &id)) {
        if (concerns(&id, tid))
            return a;
    }
    return (struct action){0};
}

static enum after resume_each(const char *p)
{
    struct rsp_thread id;
    struct action a;
    bool any = false;

    for (const char *q = p; *q;) {
        if (!rsp_take(&q, ";") || take_action(&q, &a, &id)) {
            error(ERROR_BAD);
            return STAY;
        }
        any = any || !id.has_process || id.process <= 0 || id.process == user_debug.pid;
    }
    if (!any) {
        error(ERROR_THREAD);
        return STAY;
    }
    for (struct user_thread *t = user_thread_next(NULL); t; t = user_thread_next(t)) {
        a = action_for(p, t->tid ? t->tid : RSP_ALL); /* one that has not begun has no number yet */
        if (!t->debug.off)
            apply(t, &a);
    }
    return RESUME;
}

/* c, s, C and S: for debuggers without vCont. */
static enum after resume_old(const char *p)
{
    struct user_thread *t = user_debug.resumed ? user_debug.resumed : user_debug.event;
    const struct action go = {.kind = 'c'};
    struct action own = {.kind = (char)(*p | 0x20)};
    bool with_signal = *p < 'a', ok = t;
    uint64_t sig = 0, pc;

    p++;
    if (with_signal) {
        ok = ok && rsp_take_number(&p, &sig) && sig <= 255;
        own.signal = (int)gdb_signal_to_linux((unsigned)sig);
        rsp_take(&p, ";");
    }
    if (ok && *p) {
        ok = rsp_take_number(&p, &pc) && !*p;
        if (ok)
            t->cpu->pc = pc;
    }
    if (!ok) {
        error(ERROR_BAD);
        return STAY;
    }
    for (struct user_thread *o = user_debug_next(NULL); o; o = user_debug_next(o))
        apply(o, o == t ? &own : user_debug.resumed ? &(struct action){0} : &go);
    return RESUME;
}

/* ---- the process ---- */

/* `all`: not this process alone. */
static enum after detach(bool all)
{
    reply("OK");
    send();
    user_debug_session_leave(all);
    user_debug_end();
    return GONE;
}

__attribute__((noreturn)) static void kill_process(bool answer)
{
    if (answer) {
        reply("OK");
        send();
    }
    user_debug_session_leave(false);
    for (;;)
        sys_call(__NR_kill, user_debug.pid, ABI_SIGKILL);
}

/* ---- "monitor" ---- */

static size_t monitor_help(char *text, size_t size);

static size_t monitor_version(char *text, size_t size)
{
    return (size_t)snprintf(text, size, "pipit-aarch64 %s, process %d, %s\n", PIPIT_VERSION, user_debug.pid,
                            user_options.tier == JIT_INTERP ? "interpreted" : "translated");
}

static size_t monitor_translations(char *text, size_t size)
{
    uint64_t made, taken;

    user_executor_counts(&made, &taken);
    return (size_t)snprintf(text, size, "blocks: %lu translated, %lu saved ones used\n", (unsigned long)made,
                            (unsigned long)taken);
}

static size_t monitor_forget(char *text, size_t size)
{
    user_executor_invalidate(0, USER_TASK_SIZE);
    return (size_t)snprintf(text, size, "code is translated anew from here on\n");
}

__attribute__((noreturn)) static size_t monitor_exit(char *text, size_t size)
{
    (void)text, (void)size;
    kill_process(true);
}

static const struct {
    const char *word;
    size_t (*fn)(char *text, size_t size); /* the length of what it answers */
    const char *help;
} monitor_commands[] = {
    {"exit", monitor_exit, "kill the program"},
    {"forget", monitor_forget, "drop all translations"},
    {"help", monitor_help, "this list"},
    {"translations", monitor_translations, "how many blocks were translated, and found translated"},
    {"version", monitor_version, "which emulator this is"},
};

static size_t monitor_help(char *text, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(monitor_commands); i++)
        n += (size_t)snprintf(text + n, size - n, "%-13s %s\n", monitor_commands[i].word, monitor_commands[i].help);
    return n;
}

/* "qRcmd,": words in hexadecimal; the answer is printed as it is. */
static void monitor(const char *p)
{
    struct rsp *r = &user_debug.rsp;
    char word[32], text[1024];
    size_t n = 0;
    bool found = false;

    if (!rsp_take_string(&p, word, sizeof(word)) || *p)
        word[0] = '\0';
    for (size_t i = 0; !found && i < ARRAY_SIZE(monitor_commands); i++) {
        found = !strcmp(word, monitor_commands[i].word);
        if (found)
            n = monitor_commands[i].fn(text, sizeof(text));
    }
    if (!found)
        n = (size_t)snprintf(text, sizeof(text), "there is no such command; \"monitor help\" lists them\n");
    rsp_begin(r);
    rsp_hex(r, text, n);
    rsp_end(r);
}

/* ---- general queries ---- */

static void supported(const char *p)
{
    static const struct {
        const char *word;
        uint32_t bit;
    } words[] = {
        {"multiprocess+", DEBUG_HAS_PROCESSES}, {"fork-events+", DEBUG_HAS_FORK}, {"exec-events+", DEBUG_HAS_EXEC},
        {"swbreak+", DEBUG_HAS_SWBREAK},        {"hwbreak+", DEBUG_HAS_HWBREAK},  {"no-resumed+", DEBUG_HAS_NONE_LEFT},
    };
    struct rsp *r = &user_debug.rsp;

    user_debug.has = 0;
    while (*p) {
        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
            const char *q = p;
            if (rsp_take(&q, words[i].word) && (*q == ';' || !*q))
                user_debug.has |= words[i].bit;
        }
        while (*p && *p++ != ';')
            ;
    }
    rsp_begin(r);
    rsp_text(r, "PacketSize=");
    rsp_number(r, RSP_PACKET_MAX);
    rsp_text(
        r, ";QStartNoAckMode+;QPassSignals+;vContSupported+;multiprocess+;fork-events+;exec-events+;swbreak+;hwbreak+;"
           "no-resumed+;qXfer:features:read+;qXfer:auxv:read+;qXfer:exec-file:read+;qXfer:siginfo:read+;qXfer:siginfo:"
           "write+");
    rsp_end(r);
}

static void pass_signals(const char *p)
{
    uint64_t pass = 0, sig;

    while (rsp_take_number(&p, &sig)) {
        unsigned nr = sig > 255 ? 0 : gdb_signal_to_linux((unsigned)sig);
        if (nr)
            pass |= ABI_SIGBIT(nr);
        rsp_take(&p, ";");
    }
    user_debug.pass = pass;
    reply("OK");
}

static void query(const char *p)
{
    struct rsp *r = &user_debug.rsp;

    if (rsp_take(&p, "qSupported")) {
        rsp_take(&p, ":");
        supported(p);
    } else if (rsp_take(&p, "QStartNoAckMode")) {
        reply("OK");
        send();
        r->no_ack = true;
        r->out_len = 0;
    } else if (rsp_take(&p, "QPassSignals:")) {
        pass_signals(p);
    } else if (rsp_take(&p, "qfThreadInfo")) {
        list_threads(true);
    } else if (rsp_take(&p, "qsThreadInfo")) {
        list_threads(false);
    } else if (rsp_take(&p, "qThreadExtraInfo,")) {
        thread_words(p);
    } else if (rsp_take(&p, "qRcmd,")) {
        monitor(p);
    } else if (rsp_take(&p, "qAttached")) {
        reply("0"); /* it was started to be debugged, and ends with the debugger */
    } else if (rsp_take(&p, "qSymbol::")) {
        reply("OK");
    } else if (!strcmp(p, "qC")) {
        rsp_begin(r);
        rsp_text(r, "QC");
        put_thread(user_debug.event);
        rsp_end(r);
    } else if (!rsp_take(&p, "qXfer:") || !user_debug_xfer(r, p, user_debug.general)) {
        reply("");
    }
}

/* ---- the loop ---- */

/* The process that a packet is for, where it names one; else 0. */
static int64_t names_process(const char *p)
{
    struct rsp_thread id = {0};
    uint64_t pid;

    if (rsp_take(&p, "Hg") || rsp_take(&p, "Hc") || rsp_take(&p, "T") || rsp_take(&p, "qThreadExtraInfo,"))
        return rsp_take_thread(&p, &id) && id.has_process ? id.process : 0;
    if (rsp_take(&p, "D;") || rsp_take(&p, "vKill;"))
        return rsp_take_number(&p, &pid) && pid <= INT32_MAX ? (int64_t)pid : 0;
    if (rsp_take(&p, "vCont;")) {
        struct action a;
        if (!take_action(&p, &a, &id) && id.has_process)
            return id.process;
    }
    return 0;
}

static enum after answer(const char *p)
{
    switch (*p) {
    case '?': make_report(user_debug.event); return STAY;
    case 'g': read_registers(); return STAY;
    case 'G': write_registers(p + 1); return STAY;
    case 'p': read_register(p + 1); return STAY;
    case 'P': write_register(p + 1); return STAY;
    case 'm': memory_read(p + 1); return STAY;
    case 'M': memory_write(p + 1, false); return STAY;
    case 'X': memory_write(p + 1, true); return STAY;
    case 'Z': change_point(p + 1, true); return STAY;
    case 'z': change_point(p + 1, false); return STAY;
    case 'H': set_thread(p + 1); return STAY;
    case 'T': is_alive(p + 1); return STAY;
    case 'c':
    case 's':
    case 'C':
    case 'S': return resume_old(p);
    case 'D': return detach(p[1] != ';');
    case 'k': kill_process(false);
    case 'q':
    case 'Q': query(p); return STAY;
    default: break;
    }
    if (rsp_take(&p, "vCont?"))
        reply("vCont;c;C;s;S;r");
    else if (rsp_take(&p, "vCont"))
        return resume_each(p);
    else if (rsp_take(&p, "vKill;"))
        kill_process(true);
    else if (!rsp_take(&p, "vFile:") || !user_debug_file(&user_debug.rsp, p))
        reply("");
    return STAY;
}

/* A packet that is in rsp. */
static enum after packet(void)
{
    struct rsp *r = &user_debug.rsp;

    while (goes_elsewhere(names_process(r->in))) {
        if (!user_debug_hand_over(names_process(r->in))) {
            user_debug_end();
            return GONE;
        }
        if (!user_debug_session_packet())
            return STAY;
    }
    enum after a = answer(r->in);
    if (a == STAY && r->out_len)
        send();
    return a;
}

void user_debug_serve(struct user_thread *t)
{
    struct rsp *r = &user_debug.rsp;
    enum after a = STAY;
    int byte;

    (void)t;
    if (user_debug_session_packet())
        a = packet();
    while (a == STAY) {
        byte = user_debug_link_get();
        if (byte < 0) {
            user_debug_session_leave(true);
            user_debug_end();
            return;
        }
        switch (rsp_feed(r, (uint8_t)byte)) {
        case RSP_PACKET:
            if (!r->no_ack)
                user_debug_link_send("+", 1);
            a = packet();
            break;
        case RSP_REFUSED: user_debug_link_send("-", 1); break;
        case RSP_AGAIN: send(); break;
        default: break; /* a break while the program is stopped says nothing new */
        }
    }
}
