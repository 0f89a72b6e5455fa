/* The run-time entry of a machine, from its configuration. */
#include "vmm/machine/run_life.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/service/life/detach.h"

/* Whatever the process prints from here on, also what a sandbox or a sanitizer says last, goes to the log. */
static int log_in_background(struct run_life *l, const struct vm_config *c, struct err *e)
{
    int fd;

    if (c->log_file || !c->listed)
        return 0;
    fd = entry_open_log(&l->entry, e);
    if (fd < 0)
        return fd;
    dup2(fd, STDERR_FILENO);
    close(fd);
    return 0;
}

int run_life_begin(struct run_life *l, const struct vm_config *c, struct err *e)
{
    int r;

    l->entry = (struct entry){.top = -1, .dir = -1, .lock = -1};
    l->control = NULL;
    if (c->listed && (r = entry_claim(&l->entry, c->name, e)) < 0)
        return r;
    r = c->detach ? log_in_background(l, c, e) : 0;
    if (r < 0)
        entry_release(&l->entry);
    return r;
}

/* Line ends would begin other keys. */
static void put(FILE *f, const char *key, const char *value)
{
    if (value && !strchr(value, '\n'))
        fprintf(f, "%s=%s\n", key, value);
}

#define SSH_PORT 22

/* Where the host leads to the guest's port of ssh. */
static void put_ssh(FILE *f, const struct vm_config *c)
{
    for (unsigned i = 0; i < c->nnets; i++)
        for (unsigned j = 0; j < c->net[i].nfwd; j++) {
            const struct net_hostfwd *w = &c->net[i].fwd[j];
            const char *at = w->host_addr[0] && strcmp(w->host_addr, "0.0.0.0") != 0 ? w->host_addr : "127.0.0.1";

            if (w->udp || w->guest_port > SSH_PORT || SSH_PORT - w->guest_port >= MAX((int)w->count, 1))
                continue;
            fprintf(f, "ssh_port=%u\n", w->host_port + SSH_PORT - w->guest_port);
            put(f, "ssh_address", strcmp(at, "::") != 0 ? at : "::1");
            return;
        }
}

static int write_info(struct run_life *l, const struct vm_config *c, struct err *e)
{
    char *text = NULL, *path;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    int r;

    if (!f)
        return err_set(e, ENOMEM, "out of memory");
    fprintf(f, "pid=%ld\nstarted=%lld\ncpus=%u\nmemory=%llu\nmachine=%s\n", (long)getpid(), (long long)time(NULL),
            c->cpus, (unsigned long long)c->memory, board_find(c->machine)->name);
    put(f, "kernel", c->kernel);
    if (c->ndisks && !c->disk[0].seed)
        put(f, "disk", c->disk[0].path);
    put_ssh(f, c);
    path = c->log_file ? realpath(c->log_file, NULL) : NULL;
    put(f, "log", path);
    free(path);
    if (fclose(f) != 0) {
        free(text);
        return err_set(e, ENOMEM, "out of memory");
    }
    r = entry_write_info(&l->entry, text, e);
    free(text);
    return r;
}

int run_life_open(struct run_life *l, struct machine *m, const struct control_ops *ops, struct err *e)
{
    const struct vm_config *c = m->cfg;
    int fd, r;

    if (!c->listed)
        return 0;
    r = write_info(l, c, e);
    if (r < 0)
        return r;
    fd = entry_listen(&l->entry, e);
    return fd < 0 ? fd : control_open(&l->control, m->loop, fd, m->chardev[c->serial], ops, e);
}

int run_life_running(const struct vm_config *c, struct err *e)
{
    return !c->detach || detach_running() ? 0
                                          : err_set(e, ECANCELED, "whoever started the machine did not wait for it");
}

void run_life_close(struct run_life *l)
{
    control_close(l->control);
    l->control = NULL;
}

void run_life_end(struct run_life *l)
{
    entry_release(&l->entry);
}
