/*
 * pipit-aarch64: runs one arm64 Linux program on this host. Reads the options, loads the program, and becomes it.
 *
 * Started by the kernel's binfmt_misc (AT_EXECFN is then the program's own name), the arguments are the program's path,
 * with flag P its argv[0], and its arguments; there are no options, but environment variables count. A set-user-id
 * program (AT_SECURE) does not listen to these either.
 */
#include <elf.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/err.h"
#include "vmm/user/clock.h"
#include "vmm/user/cpu.h"
#include "vmm/user/executor.h"
#include "vmm/user/load.h"
#include "vmm/user/options.h"
#include "vmm/user/path.h"
#include "vmm/user/proc.h"
#include "vmm/user/signal.h"
#include "vmm/user/space.h"
#include "vmm/user/stack.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/start.h"
#include "vmm/user/sys/sys.h"

#define STATUS_USAGE 1 /* as the program whose name we also have */
#define STATUS_CANNOT_RUN 126
#define STATUS_NOT_FOUND 127
#define AT_EXECFD_NONE UINT64_MAX
#define FLAG_ARGV0 1u /* AT_FLAGS_PRESERVE_ARGV0: binfmt_misc's flag P */

struct user_options user_options;

/* What the kernel left, and what is made of it. */
struct start {
    const char **argv, **envp;
    const uint64_t *auxv;
    const char *path; /* the program */
    const char *argv0;
    const char **arguments; /* argv of the guest, [0] to be set to argv0 */
};

static const char **environment; /* the guest's, where -E or -U changed it */
static size_t environment_room;

/* ---- options ---- */

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
        sys_die(STATUS_USAGE, "there is no CPU model \"%s\" (-cpu help lists them)", v);
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
            sys_die(STATUS_CANNOT_RUN, "out of memory for the environment");
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
        sys_die(STATUS_USAGE, "-E wants NAME=VALUE, not \"%s\"", v);
    change_environment(v, true);
}

static void unset_variable(const char *v)
{
    if (strchr(v, '='))
        sys_die(STATUS_USAGE, "-U wants the name of a variable, not \"%s\"", v);
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

static uint64_t passed_fd = AT_EXECFD_NONE;
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

static void print_version(const char *v)
{
    (void)v;
    sys_print(1, "pipit-aarch64 version " PIPIT_VERSION "\n");
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
    {"strace", NULL, "QEMU_STRACE", set_strace, NULL, "print system calls on stderr"},
    {&USER_OPTION_EXECFD[1], "fd", NULL, set_fd, NULL, NULL},
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

static const char *variable_value(const char **envp, const char *name)
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
        const char *v = o->variable ? variable_value(envp, o->variable) : NULL;
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
            sys_die(STATUS_USAGE, "there is no option \"%s\" (-help lists them)", p[-1]);
        if (o->argument && !*p)
            sys_die(STATUS_USAGE, "option -%s wants an argument (%s)", o->name, o->argument);
        o->set(o->argument ? *p++ : NULL);
    }
    return p;
}

/* ---- start ---- */

static void find_program(struct start *s)
{
    const char *execfn = (const char *)user_auxv_find(s->auxv, AT_EXECFN, 0);
    bool secure = user_auxv_find(s->auxv, AT_SECURE, 0);
    const char **p;

    user_options.by_binfmt = user_auxv_find(s->auxv, AT_EXECFD, AT_EXECFD_NONE) != AT_EXECFD_NONE ||
                             (user_auxv_find(s->auxv, AT_FLAGS, 0) & FLAG_ARGV0) ||
                             (execfn && s->argv[0] && s->argv[1] && !strcmp(execfn, s->argv[1]));
    if (!secure)
        read_variables(s->envp);
    if (user_options.by_binfmt) {
        p = s->argv + 1;
    } else {
        p = read_options(s->argv);
    }
    if (!*p)
        sys_die(STATUS_USAGE, "no program is named (-help tells the usage)");
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

/* What an instance for another program is started with: our name and the options as they came, without those that
 * concern this program alone. */
static void remember_options(const struct start *s)
{
    size_t n = (size_t)(s->arguments - s->argv), kept = 0;
    const char **self = sys_alloc((n + 1) * sizeof(*self));

    if (!self)
        sys_die(STATUS_CANNOT_RUN, "out of memory");
    for (size_t i = 0; i < n; i++) {
        if (i && (!strcmp(s->argv[i], "-0") || !strcmp(s->argv[i], "--0") || !strcmp(s->argv[i], USER_OPTION_EXECFD)))
            i++;
        else
            self[kept++] = s->argv[i];
    }
    user_options.self = self;
}

static int open_program(const struct start *s)
{
    uint64_t execfd = user_auxv_find(s->auxv, AT_EXECFD, passed_fd);
    long fd, r;
    struct statx st;

    if (execfd != AT_EXECFD_NONE)
        return (int)execfd;
    fd = sys_call(__NR_openat, AT_FDCWD, s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd == -ENOENT || fd == -ENOTDIR)
        sys_die(STATUS_NOT_FOUND, "%s: %s", s->path, sys_error_text((int)-fd));
    if (fd < 0)
        sys_die(STATUS_CANNOT_RUN, "%s cannot be opened: %s", s->path, sys_error_text((int)-fd));
    r = sys_call(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &st);
    if (!r && (st.stx_mode & ABI_S_IFMT) != ABI_S_IFREG)
        sys_die(STATUS_CANNOT_RUN, "%s is %s, not a program", s->path,
                (st.stx_mode & ABI_S_IFMT) == ABI_S_IFDIR ? "a directory" : "not a file");
    if (!user_options.by_binfmt) {
        r = sys_call(__NR_faccessat2, AT_FDCWD, s->path, 1 /* X_OK */, AT_EACCESS);
        if (r == -ENOSYS)
            r = sys_call(__NR_faccessat, AT_FDCWD, s->path, 1);
        if (r)
            sys_die(STATUS_CANNOT_RUN, "%s may not be executed: %s", s->path, sys_error_text((int)-r));
    }
    return (int)fd;
}

/* On the thread's own stack: the process's belongs to the guest from here on. */
static void become(struct user_thread *t, uint64_t *stack)
{
    struct start s = {.argv = (const char **)(stack + 1)};
    struct user_program program;
    struct err e = {0};
    int fd;

    s.envp = s.argv + stack[0] + 1;
    s.auxv = (const uint64_t *)s.envp;
    while (*s.auxv)
        s.auxv++;
    s.auxv++;
    environment = s.envp;
    find_program(&s);
    remember_options(&s);
    user_clock_init(user_auxv_find(s.auxv, AT_SYSINFO_EHDR, 0));
    fd = open_program(&s);
    if (user_load(fd, s.path, &program, &e) < 0)
        sys_die(e.code == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN, "%s", e.msg);
    user_proc_set_program(fd, s.path);
    sys_call(__NR_close, fd);

    t->sighand = user_sighand_create();
    if (!t->sighand)
        sys_die(STATUS_CANNOT_RUN, "out of memory");
    sys_call(__NR_rt_sigprocmask, 0, NULL, &t->mask, sizeof(t->mask));
    user_signal_stack_set(t);
    user_thread_link(t);
    s.arguments[0] = s.argv0;
    user_cpu_init(t->cpu, user_options.model);
    struct user_stack_layout l = user_stack_build(&(struct user_stack){.top = (uint64_t)(uintptr_t)stack,
                                                                       .argv = s.arguments,
                                                                       .envp = environment,
                                                                       .execfn = s.path,
                                                                       .host_auxv = s.auxv,
                                                                       .program = &program,
                                                                       .model = user_options.model});
    user_proc_publish(
        &(struct user_proc_image){
            .program = &program, .sp = l.sp, .argv = l.argv, .envp = l.envp, .auxv = l.auxv, .auxv_size = l.auxv_size},
        !user_options.by_binfmt);
    t->cpu->x[31] = l.sp;
    t->cpu->pc = program.start;
    user_thread_run(t);
}

void user_start(uint64_t *stack)
{
    struct user_thread *t;

    user_executor_init();
    user_options.model = arm64_model_find("max");
    t = user_thread_create(NULL, user_options.model);
    if (!t)
        sys_die(STATUS_CANNOT_RUN, "the first thread cannot be made: the address space or memory is not enough");
    user_thread_enter(t, become, stack);
}
