/*
 * pipit: the program. Chooses the command line by the name it was started under and by its first word, and runs the
 * machine that comes out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/options.h"
#include "vmm/base/uptime.h"
#include "vmm/base/util.h"
#include "vmm/machine/args.h"
#include "vmm/machine/machine.h"
#include "vmm/service/life/commands.h"
#include "vmm/service/life/detach.h"

typedef int (*args_fn)(struct vm_config *c, int argc, char **argv, struct err *e);

/* Where messages go from here on, and under which name. */
static int open_log(const struct vm_config *c, const char *program, struct err *e)
{
    static char name[96];
    int fd;

    log_set_level((enum log_level)c->log_level);
    if (c->name) {
        snprintf(name, sizeof(name), "%s[%s]", program, c->name);
        log_set_name(name);
    }
    if (!c->log_file)
        return 0;
    fd = open(c->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_set(e, errno, "log file %s cannot be opened: %s", c->log_file, strerror(errno));
    log_set_fd(fd);
    /* What a sandbox or a sanitizer says last, too. */
    if (c->detach)
        dup2(fd, STDERR_FILENO);
    return 0;
}

static int run(args_fn parse, const char *program, int argc, char **argv, int usage_status)
{
    static struct vm_config c;
    struct err e = {0};
    int r, status;

    config_init(&c);
    r = parse(&c, argc, argv, &e);
    if (r == ARGS_DONE) {
        status = fflush(stdout) == 0 ? MACHINE_EXIT_OK : MACHINE_EXIT_FAILURE;
        goto out;
    }
    if (r >= 0)
        r = config_validate(&c, &e);
    if (r < 0) {
        log_error(NULL, "%s", e.msg);
        status = e.status && c.status_causes ? e.status : usage_status;
        goto out;
    }
    if (c.detach && (r = detach_fork(&status, &e)) != 0) {
        if (r < 0) {
            log_error(NULL, "%s", e.msg);
            status = MACHINE_EXIT_FAILURE;
        } else if (status == MACHINE_EXIT_OK && c.listed) {
            puts(c.name);
        }
        goto out;
    }
    if (open_log(&c, program, &e) < 0) {
        log_error(NULL, "%s", e.msg);
        detach_say(e.msg);
        status = MACHINE_EXIT_FAILURE;
        goto out;
    }
    status = machine_main(&c);
out:
    config_free(&c);
    return status;
}

static int help(int argc, char **argv)
{
    if (argc == 0)
        args_print_help();
    else if (!strcmp(argv[0], "run"))
        args_print_help_run();
    else if (!strcmp(argv[0], "qemu"))
        args_print_help_qemu();
    else if (life_command_known(argv[0]))
        life_print_help();
    else {
        log_error(NULL, "there is no command \"%s\" to explain (pipit --help lists them)", argv[0]);
        return MACHINE_EXIT_USAGE;
    }
    return fflush(stdout) == 0 ? MACHINE_EXIT_OK : MACHINE_EXIT_FAILURE;
}

/* The descriptors 0 to 2 must be taken: a disk opened as number 2 would get the log. */
static bool fill_std_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

int main(int argc, char **argv)
{
    static const char *const commands[] = {"run", "ps",   "pause", "resume", "stop",      "rm", "console",
                                           "ssh", "qemu", "help",  "--help", "--version", NULL};
    static const struct {
        const char *name;
        args_fn parse;
    } names[] = {{"qemu-system-aarch64", args_qemu_aarch64}, {"qemu-system-x86_64", args_qemu_x86_64}};
    const char *self = argc > 0 ? argv[0] : "pipit", *near;
    const char *base = strrchr(self, '/');

    uptime_mark_exec();
    base = base ? base + 1 : self;
    if (!fill_std_fds()) {
        log_error(NULL, "/dev/null cannot be opened: %s", strerror(errno));
        return MACHINE_EXIT_FAILURE;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(base, names[i].name)) {
            log_set_name(names[i].name);
            return run(names[i].parse, names[i].name, argc - 1, argv + 1, 1);
        }
    if (argc < 2) {
        args_print_help();
        return MACHINE_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "run"))
        return run(args_run, "pipit", argc - 2, argv + 2, MACHINE_EXIT_USAGE);
    if (!strcmp(argv[1], "qemu"))
        return run(args_qemu, "pipit", argc - 2, argv + 2, 1);
    if (life_command_known(argv[1]))
        return life_command(argc - 1, argv + 1);
    if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return help(argc - 2, argv + 2);
    if (!strcmp(argv[1], "--version")) {
        args_print_version();
        return MACHINE_EXIT_OK;
    }
    near = text_nearest(argv[1], commands);
    log_error(NULL, "\"%s\" is no command%s%s (pipit --help lists them)", argv[1], near ? "; did you mean " : "",
              near ? near : "");
    return MACHINE_EXIT_USAGE;
}
