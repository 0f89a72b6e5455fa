/* What a process finds out about itself in /proc, and what becomes of it by execve. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char exe[PATH_MAX];
extern char **environ;

static ssize_t slurp(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t r;

    if (fd < 0)
        return -1;
    while ((r = read(fd, buf + n, size - n - 1)) > 0)
        n += (size_t)r;
    close(fd);
    buf[n] = '\0';
    return (ssize_t)n;
}

static int mapped(const char *maps, const void *p, const char *perms, const char *name)
{
    for (const char *line = maps; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        unsigned long lo, hi;
        char got[8], label[512] = "";
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %511[^\n]", &lo, &hi, got, label) >= 3 && (uintptr_t)p >= lo &&
            (uintptr_t)p < hi)
            return !strcmp(got, perms) && (!name || !strcmp(label, name));
    }
    return -1;
}

static void looking(char **argv)
{
    static char text[1 << 20], path[PATH_MAX];
    struct stat a, b;
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
    int local;
    char *heap = malloc(10), *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    printf("exe %d\n", n > 0 && (size_t)n == strlen(exe) && !memcmp(path, exe, (size_t)n));
    printf("exe cut %zd\n", readlink("/proc/self/exe", path, 3));
    snprintf(path, sizeof(path), "/proc/%d/exe", getpid());
    printf("by number %d\n", readlink(path, text, sizeof(text)) == n);
    printf("by thread %d", readlink("/proc/thread-self/exe", text, sizeof(text)) == n);
    slurp("/proc/thread-self/maps", text, sizeof(text));
    printf(" %d %d\n", strstr(text, exe) != NULL, strstr(text, "pipit-aarch64") != NULL);
    slurp("/proc/thread-self/stat", text, sizeof(text));
    printf("name in stat %d\n", !strncmp(strchr(text, '(') + 1, basename(exe), 15));
    int r = stat("/proc/self/exe", &a);
    r |= stat(exe, &b);
    printf("stat %d %d\n", r, a.st_ino == b.st_ino);
    int fd = open("/proc/self/exe", O_RDONLY);
    r = fstat(fd, &a);
    printf("open %d %d\n", r, a.st_ino == b.st_ino);
    close(fd);
    n = slurp("/proc/self/cmdline", text, sizeof(text));
    size_t len = 0;
    for (char **v = argv; *v; v++) {
        printf("cmdline %d\n", !strcmp(text + len, *v));
        len += strlen(*v) + 1;
    }
    printf("cmdline length %d\n", (size_t)n == len);
    slurp("/proc/self/comm", text, sizeof(text));
    printf("comm %d\n", !strncmp(text, basename(exe), 15));
    n = slurp("/proc/self/environ", text, sizeof(text));
    printf("environ %d\n", n > 0 && !strcmp(text, environ[0]));
    n = slurp("/proc/self/auxv", text, sizeof(text));
    int same = n > 0 && n % 16 == 0;
    for (uint64_t *v = (uint64_t *)text; n > 0 && v[0]; v += 2) {
        if (v[0] == AT_PAGESZ || v[0] == AT_PHDR || v[0] == AT_ENTRY || v[0] == AT_RANDOM)
            same = same && getauxval(v[0]) == v[1];
    }
    printf("auxv %d\n", same);
    slurp("/proc/self/maps", text, sizeof(text));
    printf("maps: code %d, data %d, heap %d, stack %d, page %d, vdso %d\n", mapped(text, looking, "r-xp", exe),
           mapped(text, &environ, "rw-p", NULL), mapped(text, heap, "rw-p", "[heap]"),
           mapped(text, &local, "rw-p", "[stack]"), mapped(text, page, "r--p", NULL),
           mapped(text, (void *)getauxval(AT_SYSINFO_EHDR), "r-xp", "[vdso]"));
    printf("emulator %d\n", strstr(text, "pipit-aarch64") || strstr(text, "qemu"));
    /* Everything that is shown can be read as it says. */
    unsigned long lo, hi;
    int lines = 0, wrong = 0, p[2];
    if (pipe(p))
        return;
    for (char *line = text; line && *line; line = strchr(line, '\n') + 1, lines++) {
        char perms[8], dump[1];
        if (sscanf(line, "%lx-%lx %7s", &lo, &hi, perms) != 3 || strstr(line, "[v"))
            continue;
        if (write(p[1], (void *)lo, 1) != (perms[0] == 'r' ? 1 : -1))
            wrong++;
        else if (perms[0] == 'r' && read(p[0], dump, 1) != 1)
            wrong++;
    }
    printf("lines %d wrong %d\n", lines > 4, wrong);
    n = slurp("/proc/self/smaps", text, sizeof(text));
    printf("smaps %d emulator %d\n", n > 1000, strstr(text, "pipit-aarch64") != NULL);
    slurp("/proc/self/status", text, sizeof(text));
    printf("threads %d\n", strstr(text, "Threads:\t1\n") != NULL);
    fd = open(".", O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    slurp(path, text, sizeof(text));
    unsigned flags = 0;
    sscanf(strstr(text, "flags:"), "flags: %o", &flags);
    printf("fdinfo directory %d, position %d\n", (flags & O_DIRECTORY) != 0, strstr(text, "pos:") != NULL);
    int tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY);
    printf("task %d\n", tasks >= 0);
    free(heap);
    /* The same files by way of a directory. */
    static char direct[65536], relative[65536];
    for (int i = 0; i < 3; i++) {
        const char *from = (const char *[]){"/", "/proc", "/proc/self"}[i];
        const char *what = (const char *[]){"proc/cpuinfo", "cpuinfo", "auxv"}[i];
        snprintf(path, sizeof(path), "%s/%s", from, what);
        slurp(path, direct, sizeof(direct));
        int dir = open(from, O_RDONLY | O_DIRECTORY), in = openat(dir, what, O_RDONLY);
        ssize_t n = read(in, relative, sizeof(relative) - 1);
        relative[n > 0 ? n : 0] = '\0';
        /* The clock rate that a host tells changes from look to look. */
        printf("%s in %s %d\n", what, from, n > 0 && !strncmp(direct, relative, 30));
        close(in);
        close(dir);
    }
}

static void make(const char *path, const char *text, int mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        printf("write %s\n", strerror(errno));
    fchmod(fd, (mode_t)mode);
    close(fd);
}

/* Runs a program by each way there is; prints how it ended. */
static void run(const char *what, int (*way)(void))
{
    int status;

    fflush(stdout);
    pid_t pid = fork();
    if (!pid)
        _exit(way() ? 100 + (errno == ENOENT    ? 1
                             : errno == EACCES  ? 2
                             : errno == ENOEXEC ? 3
                             : errno == ELOOP   ? 4
                                                : 5)
                    : 99);
    waitpid(pid, &status, 0);
    printf("%s: %s %d\n", what, WIFEXITED(status) ? "exit" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static char *const words[] = {"another name", "child", "a b", "", NULL};
static char *const some_env[] = {"ONLY=this", NULL};

static int by_path(void)
{
    return execve(exe, words, some_env);
}
static int by_link(void)
{
    return execve("/proc/self/exe", words, some_env);
}
static int by_descriptor(void)
{
    return fexecve(open(exe, O_RDONLY), words, some_env);
}
static int by_closing_descriptor(void)
{
    return fexecve(open(exe, O_RDONLY | O_CLOEXEC), words, some_env);
}
static int by_folder(void)
{
    char copy[PATH_MAX];
    strcpy(copy, exe);
    return (int)syscall(SYS_execveat, open(dirname(copy), O_RDONLY | O_DIRECTORY), strrchr(exe, '/') + 1, words,
                        some_env, 0);
}
static int by_memory(void)
{
    int from = open(exe, O_RDONLY), to = memfd_create("program", MFD_CLOEXEC);
    while (sendfile(to, from, NULL, 1 << 20) > 0)
        ;
    return fexecve(to, words, some_env);
}
static int by_script(void)
{
    return execve("./script", words, some_env);
}
static int by_nested(void)
{
    return execve("./nested", words, some_env);
}
static int by_endless(void)
{
    return execve("./endless", words, some_env);
}
static int host_script(void)
{
    return execve("./host", words, some_env);
}
static int nothing(void)
{
    return execve("./nothing", words, some_env);
}
static int no_interpreter(void)
{
    return execve("./lost", words, some_env);
}
static int not_executable(void)
{
    return execve("./plain", words, some_env);
}
static int not_a_program(void)
{
    return execve("./text", words, some_env);
}
static int a_folder(void)
{
    return execve("/tmp", words, some_env);
}
static int no_vector(void)
{
    return (int)syscall(SYS_execve, exe, (char **)8, some_env);
}
static int ignoring(void)
{
    signal(SIGSEGV, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, exit);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGBUS);
    sigprocmask(SIG_SETMASK, &set, NULL);
    char *const args[] = {"signals", "dispositions", NULL};
    return execv(exe, args);
}

static int child(int argc, char **argv)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    printf("child of %d \"%s\" \"%s\"", argc, basename(argv[0]), argc > 2 ? argv[argc - 2] : "");
    printf(" env %s %d", environ[0] ? environ[0] : "-", environ[0] && !environ[1]);
    printf(" exe %d\n", n > 0);
    fflush(stdout);
    return 50 + argc;
}

static int dispositions(void)
{
    struct sigaction sa;
    sigset_t set;

    sigprocmask(SIG_BLOCK, NULL, &set);
    for (int i = 0; i < 4; i++) {
        int sig = (int[]){SIGSEGV, SIGUSR1, SIGUSR2, SIGBUS}[i];
        sigaction(sig, NULL, &sa);
        printf("signal %d: %s blocked %d\n", sig, sa.sa_handler == SIG_IGN ? "ignored" : "default",
               sigismember(&set, sig));
    }
    printf("hangup blocked %d\n", sigismember(&set, SIGHUP));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/pipit-self-XXXXXX", text[PATH_MAX + 32];

    if (argc > 1 && strstr(argv[1], "child"))
        return child(argc, argv);
    if (argc > 1 && !strcmp(argv[1], "dispositions"))
        return dispositions();
    if (!realpath(argv[0], exe))
        return 1;
    looking(argv);
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    snprintf(text, sizeof(text), "#! %s   child of a script \nrest\n", exe);
    make("script", text, 0755);
    make("nested", "#!./script more words\n", 0755);
    make("endless", "#!./endless\n", 0755);
    make("host", "#!/bin/sh\necho \"host script $0 $2\"; exit 12\n", 0755);
    make("lost", "#!/nowhere/to/be/found\n", 0755);
    make("plain", "#!/bin/sh\n", 0644);
    make("text", "just text\n", 0755);
    run("path", by_path);
    run("link", by_link);
    run("descriptor", by_descriptor);
    run("closing descriptor", by_closing_descriptor);
    run("folder", by_folder);
    run("memory", by_memory);
    run("script", by_script);
    run("nested", by_nested);
    run("endless", by_endless);
    run("host's script", host_script);
    run("nothing", nothing);
    run("no interpreter", no_interpreter);
    run("not executable", not_executable);
    run("not a program", not_a_program);
    run("a folder", a_folder);
    run("no vector", no_vector);
    run("signals", ignoring);
    for (int i = 0; i < 7; i++)
        unlink((char *[]){"script", "nested", "endless", "host", "lost", "plain", "text"}[i]);
    return chdir("/") | rmdir(dir);
}
