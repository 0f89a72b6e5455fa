/*
 * Interrupt lines into the in-kernel controller, and doorbells out of the guest.
 *
 * An edge triggered line is an eventfd that KVM turns into a pulse (irqfd): its rise is one write, from any thread, and
 * all else does nothing. A level line is a KVM_IRQ_LINE for each change. Without irqfd an edge is two of those.
 *
 * KVM delivers an irqfd's edge from a work queue, a little later. Whoever reads the interrupt controller's state, or
 * resets it, first has that work done: taking an irqfd away waits for it, and it is given back at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/kvm/internal.h"

int kvm_irq_create(struct kvm *k, struct err *e)
{
    unsigned n = kvm_arch_lines();

    k->line = calloc(n, sizeof(struct kvm_line));
    if (!k->line)
        return err_set(e, ENOMEM, "out of memory");
    for (unsigned i = 0; i < n; i++)
        k->line[i] = (struct kvm_line){.kvm = k, .fd = -1};
    return 0;
}

void kvm_irq_destroy(struct kvm *k)
{
    for (unsigned i = 0; k->line && i < kvm_arch_lines(); i++)
        if (k->line[i].fd >= 0)
            close(k->line[i].fd); /* which takes it from KVM, too */
    free(k->line);
}

/* Only a wrong number fails here, and irq_line has checked it. */
static void kvm_set_level(struct kvm *k, unsigned num, bool level)
{
    struct kvm_irq_level l = {.irq = kvm_arch_line_irq(num), .level = level};

    if (ioctl(k->vm_fd, KVM_IRQ_LINE, &l) < 0)
        log_guest("kvm", "interrupt line %u: %s", num, strerror(errno));
}

static void kvm_line_set(void *opaque, unsigned num, bool level)
{
    struct kvm_line *l = opaque;
    uint64_t one = 1;

    if (!l->edge) {
        kvm_set_level(l->kvm, num, level);
        return;
    }
    if (atomic_exchange(&l->level, level) || !level)
        return;
    if (l->fd >= 0) {
        atomic_store(&l->raised, true);
        /* EAGAIN: edges beyond counting wait already. */
        while (write(l->fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    } else {
        kvm_set_level(l->kvm, num, true);
        kvm_set_level(l->kvm, num, false);
    }
}

static int kvm_irqfd(const struct kvm *k, unsigned num, int fd, uint32_t flags)
{
    struct kvm_irqfd q = {.fd = (uint32_t)fd, .gsi = kvm_arch_line_gsi(num), .flags = flags};

    return ioctl(k->vm_fd, KVM_IRQFD, &q) < 0 ? -errno : 0;
}

int kvm_irq_flush(struct kvm *k)
{
    int r = 0;

    for (unsigned i = 0; i < kvm_arch_lines() && r == 0; i++) {
        struct kvm_line *l = &k->line[i];

        if (!atomic_exchange(&l->raised, false))
            continue;
        r = kvm_irqfd(k, i, l->fd, KVM_IRQFD_FLAG_DEASSIGN);
        if (r == 0)
            r = kvm_irqfd(k, i, l->fd, 0);
    }
    return r;
}

/* The line's irqfd, or -errno. */
static int kvm_make_irqfd(const struct kvm *k, unsigned num)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r;

    if (fd < 0)
        return -errno;
    r = kvm_irqfd(k, num, fd, 0);
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

int kvm_irq_line(struct accel *a, unsigned num, bool edge, struct irq_line *out, struct err *e)
{
    struct kvm *k = kvm_of(a);
    struct kvm_line *l;
    int fd;

    if (num >= kvm_arch_lines())
        return err_set(e, EINVAL, "interrupt line %u: the controller has %u", num, kvm_arch_lines());
    l = &k->line[num];
    l->edge = edge;
    if (edge && l->fd < 0 && (k->has & KVM_OPT_IRQFD)) {
        fd = kvm_make_irqfd(k, num);
        if (fd < 0)
            return err_set(e, -fd, "interrupt line %u gets no irqfd: %s", num, strerror(-fd));
        l->fd = fd;
    }
    *out = (struct irq_line){.set = kvm_line_set, .opaque = l, .num = num, .edge = edge};
    return 0;
}

static int kvm_ioeventfd(struct kvm *k, int fd, gpa_t addr, uint32_t value, uint32_t flags)
{
    struct kvm_ioeventfd io = {
        .datamatch = value,
        .addr = addr.v,
        .len = sizeof(value),
        .fd = fd,
        .flags = KVM_IOEVENTFD_FLAG_DATAMATCH | flags,
    };

    return ioctl(k->vm_fd, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

int kvm_doorbell_add(struct accel *a, int fd, gpa_t addr, uint32_t value)
{
    struct kvm *k = kvm_of(a);

    if (!(k->has & KVM_OPT_IOEVENTFD))
        return -ENOTSUP;
    return kvm_ioeventfd(k, fd, addr, value, 0);
}

void kvm_doorbell_remove(struct accel *a, int fd, gpa_t addr, uint32_t value)
{
    kvm_ioeventfd(kvm_of(a), fd, addr, value, KVM_IOEVENTFD_FLAG_DEASSIGN);
}
