/* Building a machine and taking it apart. The order matters, and is written down once, in machine_create. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/machine/disks.h"
#include "vmm/machine/firmware.h"
#include "vmm/machine/machine.h"
#include "vmm/service/sandbox.h"

/* ---- networks ---- */

static int confine_net(struct err *e)
{
    return sandbox_enter(SANDBOX_NET, e);
}

static int confine_guestfwd(struct err *e)
{
    return sandbox_enter(SANDBOX_NET_GUESTFWD, e);
}

static int create_user_net(struct net_backend **out, const struct vm_net *n, struct err *e)
{
    struct net_user_config u = {
        .fwd = n->fwd,
        .nfwd = n->nfwd,
        .guestfwd = n->guestfwd,
        .nguestfwd = n->nguestfwd,
        .restricted = n->restricted,
        .no_ipv4 = n->no_ipv4,
        .ipv6 = n->ipv6,
        .hostname = n->hostname,
        .addrs = n->addrs,
        .domainname = n->domainname,
        .dnssearch = n->dnssearch[0] ? n->dnssearch : NULL,
        .confine = n->nguestfwd ? confine_guestfwd : confine_net,
    };

    memcpy(u.mac, n->mac, sizeof(u.mac));
    return net_user_prepare(out, &u, e);
}

static int create_tap(struct net_backend **out, const struct vm_net *n, struct err *e)
{
    const struct net_tap_config t = {
        .ifname = n->ifname,
        .bridge = n->bridge,
        .helper = n->helper,
        .fd = n->fd,
        .nfds = n->nfds,
        .queues = n->queues,
        .no_offload = n->no_offload,
    };

    return net_tap_open(out, &t, e);
}

static int create_net(struct net_backend **out, const struct vm_net *n, struct err *e)
{
    switch (n->kind) {
    case VM_NET_USER: return create_user_net(out, n, e);
    case VM_NET_TAP:
    case VM_NET_BRIDGE: return create_tap(out, n, e);
    case VM_NET_PASST:
        return n->socket ? net_stream_join(out, n->socket, "passt", e) : net_passt_start(out, n->fwd, n->nfwd, e);
    case VM_NET_STREAM: return n->socket ? net_stream_join(out, n->socket, NULL, e) : net_stream_take(out, n->fd[0], e);
    }
    return -EINVAL;
}

/* Forks: before any thread and before guest RAM is there to be shared. */
static int create_nets(struct machine *m, struct err *e)
{
    for (unsigned i = 0; i < m->cfg->nnets; i++) {
        int r = create_net(&m->net[i], &m->cfg->net[i], e);

        if (r < 0)
            return r;
    }
    return 0;
}

static int start_nets(struct machine *m, struct err *e)
{
    for (unsigned i = 0; i < m->cfg->nnets; i++) {
        int r = m->net[i]->ops->start(m->net[i], m->loop, e);

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- memory ---- */

static int create_memory(struct machine *m, struct err *e)
{
    static const enum mem_huge huge[] = {[VM_HUGE_PAGES_MADVISE] = MEM_HUGE_MADVISE,
                                         [VM_HUGE_PAGES_HUGETLB] = MEM_HUGE_HUGETLB,
                                         [VM_HUGE_PAGES_OFF] = MEM_HUGE_OFF};
    const struct mem_options opt = {.huge = huge[m->cfg->huge_pages]};
    struct sysinfo si;
    int r;

    /* RAM is populated lazily, so the host would only find out later: by killing us. */
    if (sysinfo(&si) == 0) {
        uint64_t most = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;

        if (m->cfg->memory > most)
            return err_set_status(e, ERR_STATUS_MEMORY, ENOMEM,
                                  "%llu MiB of memory: this host has %llu MiB, swap included",
                                  (unsigned long long)(m->cfg->memory >> 20), (unsigned long long)(most >> 20));
    }
    r = mem_create(&m->mem);
    if (r < 0)
        return err_set(e, -r, "out of memory");
    return m->board->add_ram(m, &opt, e);
}

/* ---- processors ---- */

static int create_vcpus(struct machine *m, struct err *e)
{
    const struct accel_ops *ops = m->accel->ops;

    m->vcpu = calloc(m->cfg->cpus, sizeof(struct vcpu *));
    if (!m->vcpu)
        return err_set(e, ENOMEM, "out of memory");
    for (unsigned i = 0; i < m->cfg->cpus; i++) {
        int r = ops->vcpu_create(m->accel, i, &m->vcpu[i], e);

        if (r < 0)
            return r;
    }
    return ops->complete ? ops->complete(m->accel, e) : 0;
}

static void destroy_vcpus(struct machine *m)
{
    for (unsigned i = 0; m->vcpu && i < m->cfg->cpus; i++)
        if (m->vcpu[i])
            m->accel->ops->vcpu_destroy(m->vcpu[i]);
    free(m->vcpu);
}

/* ---- disks ---- */

static int create_disks(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    int r;

    if (!c->ndisks)
        return 0;
    r = disks_create_engine(&m->engine, m->loop, c, e);
    for (unsigned i = 0; r >= 0 && i < c->ndisks; i++)
        r = disks_open(&m->disk[i], m->engine, c, &c->disk[i], e);
    return r;
}

/* ---- serial back ends ---- */

static int open_backend(struct machine *m, const struct vm_chardev *c, const struct machine_events *ev,
                        struct chardev **out, struct err *e)
{
    const struct chardev_stdio_options o = {
        .escapes = c->escapes,
        .raw = true,
        .on_escape = ev->on_escape,
        .opaque = ev->opaque,
    };
    int r;

    switch (c->kind) {
    case VM_CHARDEV_STDIO: return chardev_open_stdio(out, m->loop, &o, e);
    case VM_CHARDEV_FILE: return chardev_open_file(out, c->path, e);
    case VM_CHARDEV_NULL: break;
    }
    r = chardev_open_null(out);
    return r < 0 ? err_set(e, -r, "out of memory") : 0;
}

static int open_chardev(struct machine *m, unsigned i, const struct machine_events *ev, struct err *e)
{
    const struct vm_chardev *c = &m->cfg->chardev[i];
    struct chardev *inner;
    int log = -1, r;

    if (!c->hub)
        return open_backend(m, c, ev, &m->chardev[i], e);
    /* What guests print may be secret. */
    if (c->log && (log = open(c->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600)) < 0)
        return err_set(e, errno, "the console's log %s cannot be opened: %s", c->log, strerror(errno));
    r = open_backend(m, c, ev, &inner, e);
    if (r == 0)
        return chardev_open_hub(&m->chardev[i], m->loop, inner, log, e);
    if (log >= 0)
        close(log);
    return r;
}

static int create_chardevs(struct machine *m, const struct machine_events *ev, struct err *e)
{
    int r;

    for (unsigned i = 0; i < m->cfg->nchardevs; i++) {
        r = open_chardev(m, i, ev, e);
        if (r < 0)
            return r;
    }
    r = chardev_open_null(&m->nowhere);
    return r < 0 ? err_set(e, -r, "out of memory") : 0;
}

/* ---- the whole ---- */

static void block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int create_plumbing(struct machine *m, struct err *e)
{
    int r = loop_create(&m->loop, e);

    if (r < 0)
        return r;
    r = bus_create(&m->bus);
    if (r == 0 && m->board->arch == VM_ARCH_X86)
        r = bus_create(&m->pio);
    return r < 0 ? err_set(e, -r, "out of memory") : 0;
}

int machine_create(struct machine *m, const struct vm_config *cfg, const struct machine_events *ev, struct err *e)
{
    int r;

    memset(m, 0, sizeof(*m));
    m->cfg = cfg;
    m->events = *ev;
    m->board = board_find(cfg->machine);
    clock_init(&m->clock);

    if ((r = create_nets(m, e)) < 0)
        goto fail;
    if ((r = create_plumbing(m, e)) < 0 || (r = create_memory(m, e)) < 0 || (r = m->board->create_accel(m, e)) < 0 ||
        (r = create_vcpus(m, e)) < 0 || (r = m->board->load(m, e)) < 0)
        goto fail;
    /* Not before: a kernel may be a FIFO that nobody writes to, and waiting for it ends as any program's wait. */
    block_signals();
    if (!cfg->no_reboot && (r = machine_keep_images(m, e)) < 0)
        goto fail;
    loader_file_forget();
    /* The terminal comes last of the back ends: what fails before it prints its sentence on a sane one. */
    if ((r = create_disks(m, e)) < 0 || (r = create_chardevs(m, ev, e)) < 0)
        goto fail;
    if ((r = m->board->attach_devices(m, e)) < 0 || (r = start_nets(m, e)) < 0)
        goto fail;
    if ((r = m->accel->ops->vcpu_set_entry(m->vcpu[0], &m->boot.entry, e)) < 0)
        goto fail;
    return 0;

fail:
    machine_destroy(m);
    return r;
}

void machine_close_chardevs(struct machine *m)
{
    for (unsigned i = 0; i < VM_MAX_CHARDEVS; i++) {
        if (m->chardev[i])
            chardev_close(m->chardev[i]);
        m->chardev[i] = NULL;
    }
    if (m->nowhere)
        chardev_close(m->nowhere);
    m->nowhere = NULL;
}

void machine_destroy(struct machine *m)
{
    /* Requests in flight point into guest RAM and at the devices. */
    for (unsigned i = 0; i < VM_MAX_SLOTS; i++)
        if (m->disk[i])
            block_drain(m->disk[i]);
    bus_destroy(m->bus);
    bus_destroy(m->pio);
    machine_close_chardevs(m);
    for (unsigned i = 0; i < VM_MAX_SLOTS; i++)
        if (m->disk[i])
            block_close(m->disk[i]);
    if (m->engine)
        block_engine_destroy(m->engine);
    destroy_vcpus(m);
    if (m->accel)
        m->accel->ops->destroy(m->accel);
    for (unsigned i = 0; i < VM_MAX_SLOTS; i++)
        if (m->net[i])
            m->net[i]->ops->destroy(m->net[i]);
    machine_forget_images(m);
    firmware_close(m->firmware);
    free(m->boot.dtb);
    mem_destroy(m->mem);
    loop_destroy(m->loop);
    memset(m, 0, sizeof(*m));
}

int machine_reset(struct machine *m, struct err *e)
{
    const struct accel_ops *ops = m->accel->ops;
    int r;

    bus_reset(m->bus);
    if (m->pio)
        bus_reset(m->pio);
    if ((r = ops->reset(m->accel, e)) < 0)
        return r;
    for (unsigned i = 0; i < m->cfg->cpus; i++)
        if ((r = ops->vcpu_reset(m->vcpu[i], e)) < 0)
            return r;
    if ((r = machine_restore_images(m, e)) < 0 || (r = m->board->reload(m, e)) < 0)
        return r;
    return ops->vcpu_set_entry(m->vcpu[0], &m->boot.entry, e);
}

void machine_pause(struct machine *m)
{
    if (m->accel->ops->pause)
        m->accel->ops->pause(m->accel);
    clock_pause(&m->clock);
    for (unsigned i = 0; i < m->cfg->nchardevs; i++)
        chardev_hold(m->chardev[i], true);
    bus_pause(m->bus);
    if (m->pio)
        bus_pause(m->pio);
}

void machine_resume(struct machine *m)
{
    clock_resume(&m->clock);
    if (m->accel->ops->resume)
        m->accel->ops->resume(m->accel);
    bus_resume(m->bus);
    if (m->pio)
        bus_resume(m->pio);
    for (unsigned i = 0; i < m->cfg->nchardevs; i++)
        chardev_hold(m->chardev[i], false);
}

int machine_dump_dtb(const struct vm_config *cfg, struct err *e)
{
    struct machine m = {.cfg = cfg, .board = board_find(cfg->machine)};
    FILE *f;
    int r;

    if ((r = create_memory(&m, e)) < 0 || (r = m.board->load(&m, e)) < 0)
        goto out;
    f = fopen(cfg->dump_dtb, "we");
    if (!f) {
        r = err_set(e, errno, "%s cannot be written: %s", cfg->dump_dtb, strerror(errno));
        goto out;
    }
    r = fwrite(m.boot.dtb, 1, m.boot.dtb_size, f) == m.boot.dtb_size ? 0 : -errno;
    if (fclose(f) != 0)
        r = -errno;
    if (r < 0)
        err_set(e, -r, "%s cannot be written: %s", cfg->dump_dtb, strerror(-r));
out:
    machine_destroy(&m);
    return r;
}
