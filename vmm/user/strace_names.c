/* Names for -strace: the table of strace_names.def, and signals. */
#include <linux/fcntl.h>
#include <string.h>

#include "vmm/user/abi.h"
#include "vmm/user/strace_text.h"

struct name {
    const char *set, *name;
    uint32_t value;
};

#define FLAG(set, name, value) {#set, #name, value},
static const struct name names[] = {
#include "vmm/user/strace_names.def"
};
#undef FLAG

static bool in_set(const struct name *n, const char *set)
{
    return !strcmp(n->set, set);
}

/* Sets in which zero has a name of its own. */
static const char *zero_name(const char *set)
{
    return !strcmp(set, "prot") ? "PROT_NONE" : !strcmp(set, "access") ? "F_OK" : "0";
}

void strace_put_flags(struct strace_text *o, const char *set, uint64_t value)
{
    const char *sep = "";

    if (!value) {
        strace_put(o, "%s", zero_name(set));
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct name *n = &names[i];
        if (!in_set(n, set) || !n->value || (value & n->value) != n->value)
            continue;
        strace_put(o, "%s%s", sep, n->name);
        sep = "|";
        value &= ~(uint64_t)n->value;
    }
    if (value)
        strace_put(o, "%s%#lx", sep, (unsigned long)value);
}

void strace_put_name(struct strace_text *o, const char *set, uint64_t value)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (in_set(&names[i], set) && names[i].value == (uint32_t)value) {
            strace_put(o, "%s", names[i].name);
            return;
        }
    }
    strace_put(o, value ? "%#lx" : "0", (unsigned long)value);
}

void strace_put_open_flags(struct strace_text *o, uint32_t flags)
{
    uint32_t rest = flags & ~(uint32_t)O_ACCMODE;

    strace_put(o, "%s",
               (flags & O_ACCMODE) == O_RDONLY   ? "O_RDONLY"
               : (flags & O_ACCMODE) == O_WRONLY ? "O_WRONLY"
               : (flags & O_ACCMODE) == O_RDWR   ? "O_RDWR"
                                                 : "O_ACCMODE");
    if (rest) {
        strace_put(o, "|");
        strace_put_flags(o, "open", rest);
    }
}

void strace_put_signal(struct strace_text *o, int sig)
{
    static const char *const signals[] = {
        "0",         "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
        "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
        "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
        "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS",
    };

    if (sig >= 0 && (size_t)sig < ARRAY_SIZE(signals))
        strace_put(o, "%s", signals[sig]);
    else if (sig == 32)
        strace_put(o, "SIGRTMIN");
    else if (sig > 32 && sig <= ABI_NSIG)
        strace_put(o, "SIGRT_%d", sig - 32);
    else
        strace_put(o, "%d", sig);
}
