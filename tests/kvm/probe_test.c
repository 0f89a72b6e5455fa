/*
 * Hosts on which KVM cannot be used: each cause has its sentence and its exit status. The hosts are made of this one,
 * in processes of the test's own: without /dev/kvm, with another file in its place, as a user who may not open it, and
 * with a seccomp filter that denies a capability.
 */
#include <errno.h>
#include <grp.h>
#include <linux/kvm.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/kvm/kvm.h"

struct answer {
    int r;
    struct err e;
};

/* What `make` left of the host says to kvm_probe. False where the host could not be made. */
static bool ask(bool (*make)(void), struct answer *a)
{
    int fds[2], status;
    pid_t child;
    bool got;

    if (pipe(fds) < 0)
        return false;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        memset(a, 0, sizeof(*a));
        if (!make())
            _exit(1);
        a->r = kvm_probe(&a->e);
        _exit(write(fds[1], a, sizeof(*a)) == (ssize_t)sizeof(*a) ? 0 : 1);
    }
    close(fds[1]);
    got = read(fds[0], a, sizeof(*a)) == (ssize_t)sizeof(*a);
    close(fds[0]);
    waitpid(child, &status, 0);
    if (got)
        printf("  %s\n", a->r < 0 ? a->e.msg : "usable");
    return got;
}

static bool as_it_is(void)
{
    return true;
}

static bool own_mounts(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool without_dev(void)
{
    return own_mounts() && mount("none", "/dev", "tmpfs", 0, NULL) == 0;
}

static bool null_instead(void)
{
    return own_mounts() && mount("/dev/null", "/dev/kvm", NULL, MS_BIND, NULL) == 0;
}

static bool nobody(void)
{
    return setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
}

#define KVM_GROUP 8 /* "mail", where groups have names */

/* A /dev/kvm of a group that this user is not in. */
static bool not_in_group(void)
{
    return own_mounts() && mount("none", "/dev", "tmpfs", 0, NULL) == 0 &&
           mknod("/dev/kvm", S_IFCHR | 0660, 10 << 8 | 232) == 0 && chown("/dev/kvm", 0, KVM_GROUP) == 0 &&
           chmod("/dev/kvm", 0660) == 0 && nobody();
}

/* The ioctl gives an error where its argument is `value`. */
static bool deny(unsigned long request, unsigned value)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

    return ctx &&
           seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(ioctl), 2, SCMP_A1(SCMP_CMP_EQ, request, 0),
                            SCMP_A2(SCMP_CMP_EQ, value, 0)) == 0 &&
           seccomp_load(ctx) == 0;
}

static bool without_immediate_exit(void)
{
    return deny(KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT);
}

static bool without_version(void)
{
    return deny(KVM_GET_API_VERSION, 0);
}

static bool needs_root(const char *what)
{
    if (geteuid() == 0)
        return false;
    printf("skip %s: wants to be root\n", what);
    return true;
}

static void this_host(void)
{
    struct answer a;

    CHECK(ask(as_it_is, &a));
    CHECK(a.r == 0 || a.e.status >= ERR_STATUS_KVM_ABSENT);
}

static void no_device(void)
{
    struct answer a;

    if (needs_root("no_device"))
        return;
    CHECK(ask(without_dev, &a));
    CHECK(a.r < 0);
    CHECK_EQ(a.e.status, ERR_STATUS_KVM_ABSENT);
    CHECK(strstr(a.e.msg, "/dev/kvm"));
}

static void another_device(void)
{
    struct answer a;

    if (needs_root("another_device"))
        return;
    if (access("/dev/kvm", F_OK) != 0) {
        printf("skip another_device: no /dev/kvm to lay it over\n");
        return;
    }
    CHECK(ask(null_instead, &a));
    CHECK(a.r < 0);
    CHECK_EQ(a.e.status, ERR_STATUS_KVM_ABSENT);
}

static void no_permission(void)
{
    const struct group *g = getgrgid(KVM_GROUP);
    char want[80];
    struct answer a;

    if (needs_root("no_permission"))
        return;
    CHECK(ask(not_in_group, &a));
    CHECK(a.r < 0);
    CHECK_EQ(a.e.status, ERR_STATUS_KVM_PERMISSION);
    if (g)
        snprintf(want, sizeof(want), "the group %s may", g->gr_name);
    else
        snprintf(want, sizeof(want), "the group %d may", KVM_GROUP);
    CHECK(strstr(a.e.msg, want));
}

static void missing_capability(void)
{
    struct answer a;
    struct err e;

    if (kvm_probe(&e) < 0) {
        printf("skip missing_capability: %s\n", e.msg);
        return;
    }
    CHECK(ask(without_immediate_exit, &a));
    CHECK(a.r < 0);
    CHECK_EQ(a.e.status, ERR_STATUS_KVM_CAPABILITY);
    CHECK(strstr(a.e.msg, "KVM_CAP_IMMEDIATE_EXIT"));
    CHECK(ask(without_version, &a));
    CHECK(a.r < 0);
    CHECK_EQ(a.e.status, ERR_STATUS_KVM_ABSENT);
}

int main(void)
{
    RUN(this_host);
    RUN(no_device);
    RUN(another_device);
    RUN(no_permission);
    RUN(missing_capability);
    return check_done();
}
