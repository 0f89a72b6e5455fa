/* Options and environment variables: see args.h. */
#include "vmm/user/args.h"

#include <elf.h>
#include <linux/fcntl.h>
#include <linux/resource.h>
#include <stdio.h>
#include <string.h>

#include "arch/arm64/arm64.h"
#include "vmm/user/debug.h"
#include "vmm/user/log_code.h"
#include "vmm/user/options.h"
#include "vmm/user/path.h"
#include "vmm/user/register.h"
#include "vmm/user/stack.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define QEMU_VERSION "10.0.0" /* whose options these are; scripts compare it */
#define FLAG_ARGV0 1u         /* AT_FLAGS_PRESERVE_ARGV0: binfmt_misc's flag P */

struct user_options user_options = {.tier = JIT_TIER1};

static const char **environment; /* the guest's, where -E or -U changed it */
static size_t environment_room;

static void set_prefix(const char *v)
{
    user_path_set_prefix(v);
}

static void set_cpu(const char *v)
{
    const char *name;

    if (!strcmp(v, "help") || !strcmp(v, "?")) {
        for (unsigned i = 0; (name = arm64_model_name(i)); i++)
            sys_print(1, "  %s\n", name);
        sys_call(__NR_exit_group, 0);
    }
    user_options.model = arm64_model_find(v);
    if (!user_options.model)
        sys_die(USER_STATUS_USAGE, "there is no CPU model \"%s\" (-cpu help lists them)", v);
}

static void set_release(const char *v)
{
    user_options.release = v;
}

static void set_strace(const char *v)
{
    (void)v;
    user_strace_on = true;
}

static size_t name_length(const char *assignment)
{
    const char *eq = strchr(assignment, '=');

    return eq ? (size_t)(eq - assignment) : strlen(assignment);
}

/* Removes the variable, and adds the assignment if there is one. */
static void change_environment(const char *assignment, bool add)
{
    size_t n = name_length(assignment), kept = 0, count = 0;

    while (environment[count])
        count++;
    if (count + 2 > environment_room) {
        const char **copy = sys_alloc((count + 16) * sizeof(*copy));
        if (!copy)
            sys_die(USER_STATUS_CANNOT_RUN, "out of memory for the environment");
        memcpy(copy, environment, count * sizeof(*copy));
        environment = copy; /* the one before is the stack's, or small */
        environment_room = count + 16;
    }
    for (size_t i = 0; i < count; i++) {
        if (name_length(environment[i]) != n || strncmp(environment[i], assignment, n))
            environment[kept++] = environment[i];
    }
    if (add)
        environment[kept++] = assignment;
    environment[kept] = NULL;
}

/* Calls `one` for each piece of a list with commas, which are cut in place. */
static void for_each_piece(char *list, bool add)
{
    for (char *comma; list; list = comma) {
        comma = strchr(list, ',');
        if (comma)
            *comma++ = '\0';
        change_environment(list, add);
    }
}

static void set_variable(const char *v)
{
    if (!strchr(v, '='))
        sys_die(USER_STATUS_USAGE, "-E wants NAME=VALUE, not \"%s\"", v);
    change_environment(v, true);
}

static void unset_variable(const char *v)
{
    if (strchr(v, '='))
        sys_die(USER_STATUS_USAGE, "-U wants the name of a variable, not \"%s\"", v);
    change_environment(v, false);
}

static void set_variables(const char *v)
{
    for_each_piece((char *)(uintptr_t)v, true);
}

static void unset_variables(const char *v)
{
    for_each_piece((char *)(uintptr_t)v, false);
}

static uint64_t passed_fd = USER_NO_FD;
static void set_fd(const char *v)
{
    passed_fd = 0;
    for (; *v >= '0' && *v <= '9'; v++)
        passed_fd = passed_fd * 10 + (uint64_t)(*v - '0');
}

static const char *chosen_argv0;
static void set_argv0(const char *v)
{
    chosen_argv0 = v;
}

static void set_debug(const char *v)
{
    user_debug_set_place(v);
}

static void set_debug_fds(const char *v)
{
    user_debug_set_passed(v);
}

static bool as_qemu; /* started under that program's name */

static void print_version(const char *v)
{
    (void)v;
    if (as_qemu)
        sys_print(1, "qemu-aarch64 version " QEMU_VERSION " (pipit " PIPIT_VERSION ")\n");
    else
        sys_print(1, "pipit-aarch64 version " PIPIT_VERSION "\n");
    sys_call(__NR_exit_group, 0);
}

/* A number in the usual notations, with K, M or G behind it. */
static uint64_t number(const char *v, const char *option)
{
    uint64_t n = 0;
    unsigned base = 10, digit;
    const char *p = v;

    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
        base = 16;
        p += 2;
    }
    for (const char *start = p;; p++) {
        digit = *p >= '0' && *p <= '9'   ? (unsigned)(*p - '0')
                : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a' + 10)
                : *p >= 'A' && *p <= 'F' ? (unsigned)(*p - 'A' + 10)
                                         : 99;
        if (digit >= base || __builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, digit, &n)) {
            unsigned shift = *p == 'K' || *p == 'k'   ? 10
                             : *p == 'M' || *p == 'm' ? 20
                             : *p == 'G' || *p == 'g' ? 30
                                                      : 0;
            if (p == start || (*p && (!shift || p[1])) || n > UINT64_MAX >> shift)
                sys_die(USER_STATUS_USAGE, "-%s wants a number, not \"%s\"", option, v);
            return n << shift;
        }
    }
}

/* The stack is the process's own: its size is the limit that the kernel knows. */
static void set_stack(const char *v)
{
    uint64_t limit[2];

    if (sys_call(__NR_prlimit64, 0, RLIMIT_STACK, NULL, limit))
        return;
    limit[0] = number(v, "s");
    if (limit[0] < KIB(64) || sys_call(__NR_prlimit64, 0, RLIMIT_STACK, limit, NULL))
        sys_die(USER_STATUS_USAGE, "the stack cannot be limited to %s bytes", v);
}

static void set_page_size(const char *v)
{
    if (number(v, "p") != SYS_PAGE)
        sys_die(USER_STATUS_USAGE, "-p %s: pages are those of the host, of 4096 bytes", v);
}

static void set_base(const char *v)
{
    if (number(v, "B"))
        sys_die(USER_STATUS_USAGE, "-B %s: guest addresses are host addresses, the base is 0", v);
}

static void set_seed(const char *v)
{
    user_options.seeded = true;
    user_options.seed = number(v, "seed");
}

static void set_jit(const char *v)
{
    static const char mixed[] = "mixed=";

    if (!strcmp(v, "tier1"))
        user_options.tier = JIT_TIER1;
    else if (!strcmp(v, "interp"))
        user_options.tier = JIT_INTERP;
    else if (!strcmp(v, "lockstep"))
        user_options.tier = JIT_LOCKSTEP;
    else if (!strcmp(v, "mixed") || !strncmp(v, mixed, sizeof(mixed) - 1))
        user_options.tier = JIT_MIXED;
    else
        sys_die(USER_STATUS_USAGE, "-jit %s: there are \"tier1\", \"interp\", \"lockstep\" and \"mixed[=SEED]\"", v);
    if (strchr(v, '='))
        user_options.jit_seed = number(v + sizeof(mixed) - 1, "jit mixed");
}

static void set_one_insn(const char *v)
{
    (void)v;
    user_options.tier = JIT_INTERP;
}

static void set_perf_map(const char *v)
{
    (void)v;
    user_options.perf_map = true;
}

static void set_reserved(const char *v)
{
    if (number(v, "R"))
        sys_die(USER_STATUS_USAGE, "-R %s: guest addresses are host addresses, none are reserved; leave it out", v);
}

static void refuse_plugin(const char *v)
{
    sys_die(USER_STATUS_USAGE, "-plugin %s: plugins are for QEMU's translator; -perfmap and -strace are here", v);
}

static void refuse_trace(const char *v)
{
    sys_die(USER_STATUS_USAGE, "-trace %s: there are no trace events; -strace prints system calls", v);
}

static void set_filter(const char *v)
{
    if (!user_log_filter(v))
        sys_die(USER_STATUS_USAGE, "-dfilter wants ranges like 0x1000..0x1fff,0x4000+0x200, not \"%s\"", v);
}

static void set_jitdump(const char *v)
{
    (void)v;
    user_options.jitdump = true;
}

static void set_translations(const char *v)
{
    user_options.translations = v;
    if (v[0] != '/' && strcmp(v, "off"))
        sys_die(USER_STATUS_USAGE, "-translations wants a folder's path from the root, or \"off\", not \"%s\"", v);
}

static const struct {
    const char *name;
    bool *set;
    const char *help;
} log_items[] = {
    {"in_asm", &user_options.log_code, "each block of the program's code when it is translated"},
    {"exec", &user_options.log_exec, "each block that is entered by look-up; with nochain, each that is executed"},
    {"cpu", &user_options.log_cpu, "the registers there"},
    {"nochain", &user_options.nochain, "blocks are not linked: slow, and exec and cpu see all of them"},
    {"strace", &user_strace_on, "system calls, as -strace"},
    {"translations", &user_options.report, "how many blocks were translated, and found translated"},
};

__attribute__((noreturn)) static void print_log_items(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(log_items); i++)
        sys_print(1, "%-13s %s\n", log_items[i].name, log_items[i].help);
    for (;;)
        sys_call(__NR_exit_group, 0);
}

static void set_log(const char *list)
{
    if (!strcmp(list, "help") || !strcmp(list, "?"))
        print_log_items();
    for (const char *v = list, *end; *v; v = *end ? end + 1 : end) {
        bool known = false;

        end = strchr(v, ',');
        end = end ? end : v + strlen(v);
        for (size_t i = 0; i < ARRAY_SIZE(log_items); i++) {
            if (strlen(log_items[i].name) != (size_t)(end - v) || strncmp(v, log_items[i].name, (size_t)(end - v)))
                continue;
            known = *log_items[i].set = true;
        }
        if (!known)
            sys_die(USER_STATUS_USAGE, "-d %s: there is no \"%.*s\"; \"-d help\" lists what can be logged", list,
                    (int)(end - v), v);
    }
}

static void set_log_file(const char *v)
{
    user_strace_file = v;
}

static bool persistent;
static void set_persistent(const char *v)
{
    (void)v;
    persistent = true;
}

static enum { REGISTER_NOT, REGISTER, UNREGISTER } registering;
static void set_register(const char *v)
{
    (void)v;
    registering = REGISTER;
}

static void set_unregister(const char *v)
{
    (void)v;
    registering = UNREGISTER;
}

__attribute__((noreturn)) static void do_register(void)
{
    struct err e = {0};

    if ((registering == REGISTER ? user_register(persistent, &e) : user_unregister(&e)) < 0)
        sys_die(USER_STATUS_CANNOT_RUN, "%s", e.msg);
    for (;;)
        sys_call(__NR_exit_group, 0);
}

static void print_help(const char *v);

struct option {
    const char *name, *argument; /* argument NULL: takes none */
    const char *variable;
    void (*set)(const char *value);
    void (*set_from_variable)(const char *value); /* NULL: set */
    const char *help;
};

static const struct option options[] = {
    {"h", NULL, NULL, print_help, NULL, "print this and exit"},
    {"help", NULL, NULL, print_help, NULL, NULL},
    {"L", "path", "QEMU_LD_PREFIX", set_prefix, NULL, "look up absolute paths below `path` first"},
    {"cpu", "model", "QEMU_CPU", set_cpu, NULL, "CPU model; `-cpu help` lists them"},
    {"E", "name=value", "QEMU_SET_ENV", set_variable, set_variables, "set a variable of the program's environment"},
    {"U", "name", "QEMU_UNSET_ENV", unset_variable, unset_variables, "unset one"},
    {"0", "argv0", "QEMU_ARGV0", set_argv0, NULL, "what the program gets as its own name"},
    {"r", "release", "QEMU_UNAME", set_release, NULL, "the kernel release that uname tells"},
    {"s", "size", "QEMU_STACK_SIZE", set_stack, NULL, "how large the stack may grow"},
    {"seed", "number", "QEMU_RAND_SEED", set_seed, NULL, "the same AT_RANDOM each time"},
    {"p", "size", NULL, set_page_size, NULL, "the page size: 4096"},
    {"B", "base", NULL, set_base, NULL, "the guest's base address: 0"},
    {"jit", "TIER", "PIPIT_JIT", set_jit, NULL,
     "tier1: translate (default); interp: interpret; lockstep: both, and compare; mixed[=SEED]: both at random"},
    {"one-insn-per-tb", NULL, "QEMU_ONE_INSN_PER_TB", set_one_insn, NULL, "one instruction at a time: -jit interp"},
    {"singlestep", NULL, "QEMU_SINGLESTEP", set_one_insn, NULL, NULL},
    {"perfmap", NULL, "QEMU_PERFMAP", set_perf_map, NULL, "name translated code to perf: /tmp/perf-PID.map"},
    {"jitdump", NULL, "QEMU_JITDUMP", set_jitdump, NULL, "the same with its code: jit-PID.dump, for perf inject --jit"},
    {"R", "size", "QEMU_RESERVED_VA", set_reserved, NULL, "address space to reserve: 0"},
    {"plugin", "file", "QEMU_PLUGIN", refuse_plugin, NULL, NULL},
    {"trace", "events", "QEMU_TRACE", refuse_trace, NULL, NULL},
    {"dfilter", "ranges", "QEMU_DFILTER", set_filter, NULL, "log code of these alone: START..END, START+SIZE, ..."},
    {"translations", "path|off", "PIPIT_TRANSLATIONS", set_translations, NULL, "where translations are kept for later"},
    {"d", "what", "QEMU_LOG", set_log, NULL, "log: in_asm, strace, translations; \"help\" lists them"},
    {"D", "file", "QEMU_LOG_FILENAME", set_log_file, NULL, "where -strace and -d in_asm print"},
    {"strace", NULL, "QEMU_STRACE", set_strace, NULL, "print system calls on stderr"},
    {"g", "port|path", "QEMU_GDB", set_debug, NULL,
     "wait for gdb there (a port of 127.0.0.1, a socket) before it begins"},
    {&USER_OPTION_DEBUG[1], "fds", NULL, set_debug_fds, NULL, NULL},
    {&USER_OPTION_EXECFD[1], "fd", NULL, set_fd, NULL, NULL},
    {"register", NULL, NULL, set_register, NULL, "run arm64 programs by this one: binfmt_misc"},
    {"persistent", NULL, NULL, set_persistent, NULL, "with -register: at each boot, too"},
    {"unregister", NULL, NULL, set_unregister, NULL, "take -register back"},
    {"version", NULL, NULL, print_version, NULL, "print the version and exit"},
};

static void print_help(const char *v)
{
    (void)v;
    sys_print(1, "usage: pipit-aarch64 [options] program [arguments...]\n"
                 "Runs an arm64 Linux program.\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        const struct option *o = &options[i];
        char left[64];
        if (!o->help)
            continue;
        snprintf(left, sizeof(left), "-%s %s", o->name, o->argument ? o->argument : "");
        sys_print(1, "  %-16s %-16s %s\n", left, o->variable ? o->variable : "", o->help);
    }
    sys_call(__NR_exit_group, 0);
}

const char *user_args_variable(const char *const *envp, const char *name)
{
    size_t n = strlen(name);

    for (; *envp; envp++) {
        if (!strncmp(*envp, name, n) && (*envp)[n] == '=')
            return *envp + n + 1;
    }
    return NULL;
}

static void read_variables(const char **envp)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        const struct option *o = &options[i];
        const char *v = o->variable ? user_args_variable(envp, o->variable) : NULL;
        if (v)
            (o->set_from_variable ? o->set_from_variable : o->set)(v);
    }
}

/* The words before the program. Returns where the program is. */
static const char **read_options(const char **argv)
{
    const char **p = argv + 1;

    while (*p && (*p)[0] == '-' && (*p)[1]) {
        const char *word = *p++;
        const struct option *o = options;
        word += word[1] == '-' ? 2 : 1;
        if (!*word) /* "--" */
            break;
        while (o < options + ARRAY_SIZE(options) && strcmp(o->name, word))
            o++;
        if (o == options + ARRAY_SIZE(options))
            sys_die(USER_STATUS_USAGE, "there is no option \"%s\" (-help lists them)", p[-1]);
        if (o->argument && !*p)
            sys_die(USER_STATUS_USAGE, "option -%s wants an argument (%s)", o->name, o->argument);
        o->set(o->argument ? *p++ : NULL);
    }
    return p;
}

/* ---- all of it ---- */

static void find_program(struct user_args *s)
{
    const char *execfn = (const char *)user_auxv_find(s->auxv, AT_EXECFN, 0);
    bool secure = user_auxv_find(s->auxv, AT_SECURE, 0);
    const char *base = s->argv[0] ? strrchr(s->argv[0], '/') : NULL;
    const char **p;

    base = base ? base + 1 : s->argv[0] ? s->argv[0] : "";
    as_qemu = !strcmp(base, "qemu-aarch64") || !strcmp(base, "qemu-aarch64-static");
    if (as_qemu)
        sys_set_name(base);
    user_options.by_binfmt = user_auxv_find(s->auxv, AT_EXECFD, USER_NO_FD) != USER_NO_FD ||
                             (user_auxv_find(s->auxv, AT_FLAGS, 0) & FLAG_ARGV0) ||
                             (execfn && s->argv[0] && s->argv[1] && !strcmp(execfn, s->argv[1]));
    if (!secure)
        read_variables(environment);
    if (user_options.by_binfmt) {
        p = s->argv + 1;
    } else {
        p = read_options(s->argv);
        if (registering != REGISTER_NOT)
            do_register();
        if (persistent)
            sys_die(USER_STATUS_USAGE, "-persistent goes with -register");
    }
    user_debug_prepare(secure);
    if (!*p)
        sys_die(USER_STATUS_USAGE, "no program is named (-help tells the usage)");
    s->path = *p;
    if (user_auxv_find(s->auxv, AT_FLAGS, 0) & FLAG_ARGV0) {
        if (p[1])
            p++; /* binfmt_misc puts the program's argv[0] behind its path */
        s->argv0 = *p;
    }
    s->arguments = p;
    if (chosen_argv0)
        s->argv0 = chosen_argv0;
    else if (!s->argv0)
        s->argv0 = s->path;
}

/* An option with an argument that goes no further. */
static bool concerns_program(const char *word)
{
    return !strcmp(word, "-0") || !strcmp(word, "--0") || !strcmp(word, "-g") || !strcmp(word, "--g") ||
           !strcmp(word, USER_OPTION_EXECFD) || !strcmp(word, USER_OPTION_DEBUG);
}

/* What an instance for another program is started with: our name and the options as they came, without those that
 * concern this program alone. */
static void remember_options(const struct user_args *s)
{
    size_t n = (size_t)(s->arguments - s->argv), kept = 0;
    const char **self = sys_alloc((n + 1) * sizeof(*self));

    if (!self)
        sys_die(USER_STATUS_CANNOT_RUN, "out of memory");
    for (size_t i = 0; i < n; i++) {
        if (i && concerns_program(s->argv[i]))
            i++;
        else
            self[kept++] = s->argv[i];
    }
    user_options.self = self;
}

void user_args_read(struct user_args *s, uint64_t *stack)
{
    *s = (struct user_args){.argv = (const char **)(stack + 1)};
    environment = s->argv + stack[0] + 1;
    s->auxv = (const uint64_t *)environment;
    while (*s->auxv)
        s->auxv++;
    s->auxv++;
    user_options.model = arm64_model_find("max");
    find_program(s);
    remember_options(s);
    s->fd = (int64_t)user_auxv_find(s->auxv, AT_EXECFD, passed_fd);
    s->arguments[0] = s->argv0;
    s->envp = environment;
}
