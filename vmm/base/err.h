/*
 * An error that a person will read. Functions that can fail at start-up take a `struct err *`, fill it with one
 * sentence that names the object, and return the negative errno.
 */
#ifndef PIPIT_BASE_ERR_H
#define PIPIT_BASE_ERR_H

/*
 * Causes that whoever started pipit may want to tell apart: the process's exit statuses (tools/pipit.1). Beside them
 * are 0, 1 and 2 for success, any other failure and usage, and 3 for a reset with --no-reboot.
 */
enum err_status {
    ERR_STATUS_NONE = 0,
    ERR_STATUS_FAILURE = 1,         /* no matter of usage, though it came up where usage is looked at */
    ERR_STATUS_KVM_ABSENT = 10,     /* no /dev/kvm */
    ERR_STATUS_KVM_PERMISSION = 11, /* /dev/kvm may not be opened by this user */
    ERR_STATUS_KVM_CAPABILITY = 12, /* KVM is there and lacks something */
    ERR_STATUS_ACCEL_ARCH = 13,     /* no accelerator here runs guests of this architecture */
    ERR_STATUS_CPUS = 14,           /* more vCPUs than allowed */
    ERR_STATUS_MEMORY = 15,         /* RAM that does not fit: into the host, or the guest's software into it */
    ERR_STATUS_KERNEL_32BIT = 16,   /* the kernel is for 32-bit processors */
    ERR_STATUS_KERNEL_DAMAGED = 17, /* the kernel is truncated or damaged */
    ERR_STATUS_KERNEL_ARCH = 18,    /* the kernel is of another architecture than the machine */
};

struct err {
    int code;      /* positive errno, 0 when nothing was set */
    int status;    /* enum err_status */
    char msg[512]; /* one sentence, no newline, no full stop */
};

/*
 * Records `code` (positive errno) and the formatted sentence; returns -code, so that `return err_set(...)` reads well.
 * A later call overwrites an earlier one. `e` may be NULL.
 */
__attribute__((format(printf, 3, 4))) int err_set(struct err *e, int code, const char *fmt, ...);

/* The same, with the exit status that the cause has; err_set leaves none. */
__attribute__((format(printf, 4, 5))) int err_set_status(struct err *e, enum err_status status, int code,
                                                         const char *fmt, ...);

/* Puts "prefix: " in front of what is recorded; returns -e->code (0 for a NULL `e`: pass the code on yourself then). */
__attribute__((format(printf, 2, 3))) int err_prefix(struct err *e, const char *fmt, ...);

#endif
