/* binfmt_misc (Documentation/admin-guide/binfmt-misc.rst), see register.h. */
#include "vmm/user/register.h"

#include <errno.h>
#include <linux/fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/abi.h"
#include "vmm/user/path.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define FOLDER "/proc/sys/fs/binfmt_misc"
#define ENTRY FOLDER "/pipit-aarch64"
#define SYSTEMD_FOLDER "/etc/binfmt.d"
#define SYSTEMD_FILE SYSTEMD_FOLDER "/pipit-aarch64.conf"

/* ELF, 64 bits, little-endian, version 1; any OSABI; an executable or a shared object; EM_AARCH64. */
#define MAGIC "\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00"
#define MASK "\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff"
#define FLAGS "POCF"

static bool exists(const char *path)
{
    return !sys_call(__NR_faccessat, AT_FDCWD, path, 0);
}

/* Writes the text as one write, which the kernel wants of a registration. */
static int write_file(const char *path, const char *text, uint64_t flags)
{
    long fd = sys_call(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC | flags, 0644), r;

    if (fd < 0)
        return (int)fd;
    r = sys_call(__NR_write, fd, text, strlen(text));
    sys_call(__NR_close, fd);
    return r < 0 ? (int)r : 0;
}

static int mount_folder(struct err *e)
{
    long r;

    if (exists(FOLDER "/register"))
        return 0;
    if (!exists(FOLDER))
        return err_set(e, ENOENT, "%s is not there: /proc is not mounted, or the kernel has no binfmt_misc", FOLDER);
    r = sys_call(__NR_mount, "binfmt_misc", FOLDER, "binfmt_misc", 0, NULL);
    if (r)
        return err_set(e, (int)-r, "binfmt_misc cannot be mounted on %s: %s", FOLDER, sys_error_text((int)-r));
    return 0;
}

/* Reads all of a small file as a string. */
static bool read_file(const char *path, char *buf, size_t size)
{
    long fd = sys_call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), n;

    if (fd < 0)
        return false;
    n = sys_call(__NR_read, fd, buf, size - 1);
    sys_call(__NR_close, fd);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool contains(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (; *text; text++) {
        if (!strncmp(text, word, n))
            return true;
    }
    return false;
}

/* Names the enabled entries of other emulators for arm64 programs. */
static void report_others(const char *what)
{
    struct dirent64 {
        uint64_t ino;
        int64_t off;
        uint16_t reclen;
        uint8_t type;
        char name[];
    };
    char list[4096] __attribute__((aligned(8))), path[512], text[1024];
    long fd = sys_call(__NR_openat, AT_FDCWD, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;

    if (fd < 0)
        return;
    while ((n = sys_call(__NR_getdents64, fd, list, sizeof(list))) > 0) {
        for (long at = 0; at < n;) {
            const struct dirent64 *d = (const struct dirent64 *)(list + at);
            at += d->reclen;
            snprintf(path, sizeof(path), FOLDER "/%s", d->name);
            if (!strcmp(path, ENTRY) || !read_file(path, text, sizeof(text)))
                continue;
            if (!strncmp(text, "enabled", 7) && contains(text, "0200b700"))
                sys_print(1, "%s is registered for arm64 programs, too: %s\n", d->name, what);
        }
    }
    sys_call(__NR_close, fd);
}

/* The line that both the kernel and systemd take. */
static int entry_line(char *line, size_t size, struct err *e)
{
    char self[USER_PATH_MAX];
    long n = sys_call(__NR_readlinkat, AT_FDCWD, "/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0)
        return err_set(e, (int)-n, "this program's own path cannot be read: %s", sys_error_text((int)-n));
    self[n] = '\0';
    if (strchr(self, ':'))
        return err_set(e, EINVAL, "this program's path, %s, has a colon, which binfmt_misc cannot take", self);
    if (snprintf(line, size, ":pipit-aarch64:M::" MAGIC ":" MASK ":%s:" FLAGS "\n", self) >= (int)size || n > 127)
        return err_set(e, ENAMETOOLONG, "this program's path, %s, is too long for binfmt_misc (127 bytes)", self);
    return 0;
}

static int register_now(const char *line, struct err *e)
{
    int r = mount_folder(e);

    if (r)
        return r;
    if (exists(ENTRY)) {
        r = write_file(ENTRY, "-1", 0);
        if (r)
            return err_set(e, -r, "the old entry cannot be removed: %s", sys_error_text(-r));
    }
    r = write_file(FOLDER "/register", line, 0);
    if (r)
        return err_set(e, -r, "the kernel does not take the entry: %s%s", sys_error_text(-r),
                       r == -EACCES || r == -EPERM ? " (this needs root)" : "");
    return 0;
}

int user_register(bool persistent, struct err *e)
{
    char line[USER_PATH_MAX + 512];
    int r = entry_line(line, sizeof(line), e);

    if (!r)
        r = register_now(line, e);
    if (r)
        return r;
    sys_print(1, "arm64 programs are now run by pipit-aarch64\n");
    report_others("it serves again after --unregister");
    if (!persistent)
        return 0;
    r = (int)sys_call(__NR_mkdirat, AT_FDCWD, SYSTEMD_FOLDER, 0755);
    if (!r || r == -EEXIST)
        r = write_file(SYSTEMD_FILE, line, O_CREAT | O_TRUNC);
    if (r)
        return err_set(e, -r, "%s cannot be written: %s", SYSTEMD_FILE, sys_error_text(-r));
    sys_print(1, "%s makes it so at each boot with systemd\n", SYSTEMD_FILE);
    return 0;
}

int user_unregister(struct err *e)
{
    bool entry = exists(ENTRY);
    long file = sys_call(__NR_unlinkat, AT_FDCWD, SYSTEMD_FILE, 0);
    int r = 0;

    if (entry)
        r = write_file(ENTRY, "-1", 0);
    if (r)
        return err_set(e, -r, "the entry cannot be removed: %s%s", sys_error_text(-r),
                       r == -EACCES || r == -EPERM ? " (this needs root)" : "");
    if (file && file != -ENOENT)
        return err_set(e, (int)-file, "%s cannot be removed: %s", SYSTEMD_FILE, sys_error_text((int)-file));
    if (!entry && file)
        return err_set(e, ENOENT, "pipit-aarch64 is not registered");
    sys_print(1, "arm64 programs are not run by pipit-aarch64 any more\n");
    report_others("it serves from now on");
    return 0;
}
