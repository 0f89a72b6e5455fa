/* Which command is which; and those that end machines, or start ssh. */
#include "vmm/service/life/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/options.h"
#include "vmm/base/util.h"
#include "vmm/service/life/entry.h"
#include "vmm/service/life/overlay.h"

#define STOP_SECONDS 60 /* for a guest to power off */
#define QUIT_SECONDS 10 /* for a process to end */

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} life_commands[] = {
    {"ps", life_ps}, {"pause", life_pause},     {"resume", life_resume}, {"stop", life_stop},
    {"rm", life_rm}, {"console", life_console}, {"ssh", life_ssh},
};

bool life_command_known(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(life_commands); i++)
        if (!strcmp(name, life_commands[i].name))
            return true;
    return false;
}

void life_print_help(void)
{
    puts("Machines that were started with a name (pipit run --name, --detach).\n"
         "\n"
         "  pipit ps [--json]                  those that run, and those that left something: stopped, or crashed\n"
         "  pipit pause NAME, pipit resume NAME\n"
         "                                     stops the machine where it is, and lets it go on\n"
         "  pipit stop NAME [--timeout N]      has the guest power off: by the ACPI power button on x86-64, else by\n"
         "                                     SysRq on the serial line, which syncs file systems and makes them\n"
         "                                     read-only, and does not stop services; after N seconds (default 60)\n"
         "                                     the machine is ended\n"
         "  pipit rm [--force] NAME...         forgets machines and removes their disks; --force ends those that run\n"
         "  pipit console NAME                 what is on the console, and keys to it: one types, others read;\n"
         "                                     Ctrl-A x leaves it, Ctrl-A h helps\n"
         "  pipit ssh [USER@]NAME [-- WORD...] ssh to the port that --publish leads to the guest's port 22");
}

int life_command(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            life_print_help();
            return fflush(stdout) == 0 ? 0 : 1;
        }
    for (unsigned i = 0; i < ARRAY_SIZE(life_commands); i++)
        if (!strcmp(argv[0], life_commands[i].name))
            return life_commands[i].run(argc - 1, argv + 1);
    return 2;
}

int life_fail(const struct err *e)
{
    log_error(NULL, "%s", e->msg);
    return 1;
}

int life_usage(const char *text)
{
    log_error(NULL, "usage: pipit %s", text);
    return 2;
}

/* ---- asking ---- */

int life_ask(const char *name, const char *command, char line[64], struct err *e)
{
    char text[64];
    size_t n = 0;
    int fd = entry_connect(name, e);

    if (fd < 0)
        return fd;
    snprintf(text, sizeof(text), "%s\n", command);
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        goto silent;
    /* Byte by byte: a console's output follows. */
    while (n < 63 && recv(fd, line + n, 1, 0) == 1 && line[n] != '\n')
        n++;
    line[n] = '\0';
    if (!strncmp(line, "ok", 2))
        return fd;
    if (!strncmp(line, "error ", 6)) {
        close(fd);
        return err_set(e, EPROTO, "machine %s refuses: %s", name, line + 6);
    }
silent:
    close(fd);
    return err_set(e, ETIMEDOUT, "machine %s does not answer", name);
}

/* One name, and nothing to wait for. */
static int tell(int argc, char **argv, const char *command, const char *usage)
{
    struct err e = {0};
    char line[64];
    int fd;

    if (argc != 1 || argv[0][0] == '-')
        return life_usage(usage);
    fd = life_ask(argv[0], command, line, &e);
    if (fd < 0)
        return life_fail(&e);
    close(fd);
    return 0;
}

int life_pause(int argc, char **argv)
{
    return tell(argc, argv, "pause", "pause NAME");
}

int life_resume(int argc, char **argv)
{
    return tell(argc, argv, "resume", "resume NAME");
}

/* ---- ending ---- */

static bool runs(const char *name)
{
    struct entry_view v;

    return entry_look(&v, name, NULL) == 0 && v.holder;
}

/* Waits until the name is free; false after some seconds. */
static bool wait_gone(const char *name, unsigned seconds)
{
    const struct timespec pause = {.tv_nsec = 20000000};

    for (unsigned i = 0; i < seconds * 50; i++) {
        if (!runs(name))
            return true;
        nanosleep(&pause, NULL);
    }
    return !runs(name);
}

/* Asks the process to end, and sees to it. */
static int end_machine(const char *name, struct err *e)
{
    char line[64];
    int fd = life_ask(name, "quit", line, e);

    if (fd >= 0) {
        bool gone = wait_gone(name, QUIT_SECONDS);

        close(fd);
        if (gone)
            return 0;
    }
    if (runs(name)) {
        int r = entry_kill(name, e);

        if (r < 0)
            return r;
    }
    return wait_gone(name, QUIT_SECONDS) ? 0 : err_set(e, EBUSY, "machine %s does not end", name);
}

static int parse_timeout(const char *v, uint64_t *seconds)
{
    return text_to_u64(v, seconds) < 0 || *seconds > 86400 ? -EINVAL : 0;
}

/* NAME and one option with a value, in any order. */
static int parse_stop(int argc, char **argv, const char **name, uint64_t *seconds)
{
    int r = 0;

    for (int i = 0; i < argc && r == 0; i++) {
        const char *word = argv[i];

        if (!strcmp(word, "--timeout") && i + 1 < argc)
            r = parse_timeout(argv[++i], seconds);
        else if (!strncmp(word, "--timeout=", 10))
            r = parse_timeout(word + 10, seconds);
        else if (word[0] == '-' || *name)
            r = -EINVAL;
        else
            *name = word;
    }
    return r < 0 || !*name ? -EINVAL : 0;
}

int life_stop(int argc, char **argv)
{
    const char *name = NULL;
    uint64_t seconds = STOP_SECONDS;
    struct err e = {0};
    char line[64];
    int fd;

    if (parse_stop(argc, argv, &name, &seconds) < 0)
        return life_usage("stop NAME [--timeout SECONDS]");
    fd = seconds ? life_ask(name, "stop", line, &e) : -1;
    if (seconds && fd < 0 && !runs(name))
        return life_fail(&e);
    if (fd >= 0) {
        if (!strcmp(line, "ok acpi"))
            log_info(NULL, "%s: its power button is pressed", name);
        else
            log_info(NULL, "%s: asked by SysRq to sync, go read-only and power off; services are not stopped", name);
        bool gone = wait_gone(name, (unsigned)seconds);

        close(fd);
        if (gone)
            return 0;
        log_warn(NULL, "%s: the guest has not powered off in %llu s; ending the machine", name,
                 (unsigned long long)seconds);
    } else if (seconds) {
        log_warn(NULL, "%s; ending it", e.msg);
    } else if (!runs(name)) {
        err_set(&e, ENOENT, "there is no machine %s running (pipit ps)", name);
        return life_fail(&e);
    }
    return end_machine(name, &e) < 0 ? life_fail(&e) : 0;
}

static bool has_state(const char *name)
{
    int top = life_state_dir(false, NULL), dir = top < 0 ? -1 : life_dir_at(top, name, false, "", NULL);

    if (dir >= 0)
        close(dir);
    if (top >= 0)
        close(top);
    return dir >= 0;
}

/* With the name claimed, nobody starts what is being removed. */
static int remove_machine(const char *name, bool force, struct err *e)
{
    struct entry_view v;
    struct entry n;
    int r = entry_look(&v, name, e);

    if (r < 0)
        return r;
    if (v.holder && !force)
        return err_set(e, EBUSY, "machine %s is running: pipit stop %s first, or --force", name, name);
    if (!v.there && !has_state(name))
        return err_set(e, ENOENT, "there is no machine %s (pipit ps)", name);
    if (v.holder && (r = end_machine(name, e)) < 0)
        return r;
    r = entry_claim(&n, name, e);
    if (r < 0)
        return r;
    r = life_state_remove(name, e);
    entry_release(&n);
    return r;
}

int life_rm(int argc, char **argv)
{
    struct err e = {0};
    bool force = false;
    int names = 0, status = 0;

    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--force") || !strcmp(argv[i], "-f"))
            force = true;
        else if (argv[i][0] == '-')
            return life_usage("rm [--force] NAME...");
        else
            names++;
    }
    if (!names)
        return life_usage("rm [--force] NAME...");
    for (int i = 0; i < argc; i++)
        if (argv[i][0] != '-' && remove_machine(argv[i], force, &e) < 0)
            status = life_fail(&e);
    return status;
}

/* ---- ssh ---- */

/* Where the guest's host key is remembered: with the machine's disk, or with its entry. */
static char *known_hosts(const char *name)
{
    char *state = life_state_path(), *path = NULL;

    if (state && has_state(name) && asprintf(&path, "UserKnownHostsFile=%s/%s/known_hosts", state, name) < 0)
        path = NULL;
    free(state);
    return path ? path : strdup("UserKnownHostsFile=/dev/null");
}

int life_ssh(int argc, char **argv)
{
    char *words[32 + 16], alias[LIFE_NAME_MAX + 32], port[8], address[64], *at, *hosts;
    struct entry_view v;
    struct err e = {0};
    int n = 0, first = argc > 1 && !strcmp(argv[1], "--") ? 2 : 1;
    const char *name;

    if (argc < 1 || argv[0][0] == '-' || (first == 1 && argc > 1))
        return life_usage("ssh [USER@]NAME [-- WORD...]");
    if (argc - first > 32)
        return life_usage("ssh [USER@]NAME [-- WORD...], 32 words at most");
    at = strrchr(argv[0], '@');
    name = at ? at + 1 : argv[0];
    if (entry_look(&v, name, &e) < 0)
        return life_fail(&e);
    if (!v.holder)
        err_set(&e, ENOENT, "there is no machine %s running (pipit ps)", name);
    else if (!entry_info(&v, "ssh_port", port, sizeof(port)) ||
             !entry_info(&v, "ssh_address", address, sizeof(address)))
        err_set(&e, ENOENT, "no port of this host leads to port 22 of machine %s: start it with --publish 2222:22",
                name);
    if (e.code)
        return life_fail(&e);
    hosts = known_hosts(name);
    if (!hosts)
        return 1;
    snprintf(alias, sizeof(alias), "HostKeyAlias=pipit-%s", name);
    words[n++] = "ssh";
    words[n++] = "-p";
    words[n++] = port;
    words[n++] = "-o";
    words[n++] = alias;
    words[n++] = "-o";
    words[n++] = hosts;
    words[n++] = "-o";
    words[n++] = "StrictHostKeyChecking=accept-new";
    if (at && at > argv[0]) {
        *at = '\0';
        words[n++] = "-l";
        words[n++] = argv[0];
    }
    words[n++] = address;
    for (int i = first; i < argc; i++)
        words[n++] = argv[i];
    words[n] = NULL;
    execvp("ssh", words);
    err_set(&e, errno, "ssh cannot be started: %s", strerror(errno));
    free(hosts);
    return life_fail(&e);
}
