/* The folders of this user, and names in them. Other users may own /tmp's entries and plant links: nothing is followed
 * that is not known to be ours. */
#include "vmm/service/life/dirs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/util.h"

static bool name_char(char c)
{
    return isascii(c) && (isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-');
}

int life_name_check(const char *name, struct err *e)
{
    size_t n = 0;

    while (name_char(name[n]))
        n++;
    if (name[n] || n == 0 || n > LIFE_NAME_MAX || !isalnum((unsigned char)name[0]))
        return err_set(
            e, EINVAL,
            "--name %.80s: a name begins with a letter or digit, and has letters, digits, '_', '.' and '-', at "
            "most %d",
            name, LIFE_NAME_MAX);
    return 0;
}

void life_name_from_file(char *out, const char *path)
{
    static const char *const endings[] = {".qcow2", ".img", ".raw"};
    const char *base = strrchr(path, '/');
    size_t len, n = 0;

    base = base ? base + 1 : path;
    len = strlen(base);
    for (unsigned i = 0; i < ARRAY_SIZE(endings); i++) {
        size_t end = strlen(endings[i]);

        if (len > end && !strcmp(base + len - end, endings[i])) {
            len -= end;
            break;
        }
    }
    for (size_t i = 0; i < len && n < LIFE_NAME_MAX; i++) {
        char c = name_char(base[i]) ? base[i] : '-';

        if (n || isalnum((unsigned char)c))
            out[n++] = c;
    }
    out[n] = '\0';
    if (!n)
        strcpy(out, "vm");
}

/* ---- folders ---- */

/* What is open as `fd`: a folder of ours alone? `parts` may be readable by others: what lies above our own folder. */
static int check_dir(int fd, const char *where, const char *name, bool above, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_set(e, errno, "%s/%s: %s", where, name, strerror(errno));
    if (st.st_uid != geteuid())
        return err_set(e, EPERM, "%s/%s belongs to another user: it is not used", where, name);
    if (!above && (st.st_mode & 077))
        return err_set(e, EPERM, "%s/%s can be entered by other users (mode %03o): it is not used; chmod 700 it", where,
                       name, st.st_mode & 0777);
    return 0;
}

int life_dir_at(int parent, const char *name, bool make, const char *where, struct err *e)
{
    int fd, r;

    if (make && mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return err_set(e, errno, "the folder %s/%s cannot be made: %s", where, name, strerror(errno));
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, ENOENT, "there is no %s/%s", where, name);
    if (fd < 0)
        return err_set(e, errno == ENOTDIR || errno == ELOOP ? EPERM : errno, "%s/%s is not used: %s", where, name,
                       errno == ENOTDIR || errno == ELOOP ? "it is no folder" : strerror(errno));
    r = check_dir(fd, where, name, false, e);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* Opens `name` below `path`. */
static int dir_below(const char *path, const char *name, bool make, struct err *e)
{
    int parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;

    if (parent < 0)
        return err_set(e, errno, "%s cannot be opened: %s", path, strerror(errno));
    fd = life_dir_at(parent, name, make, path, e);
    close(parent);
    return fd;
}

/* Is `path` a folder that is there and ours, in which ours may be made? */
static bool is_own_dir(const char *path)
{
    int fd = path && path[0] == '/' ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool good = fd >= 0 && check_dir(fd, path, "", true, NULL) == 0;

    if (fd >= 0)
        close(fd);
    return good;
}

int life_runtime_dir(bool make, struct err *e)
{
    char path[64];

    if (is_own_dir(getenv("XDG_RUNTIME_DIR")))
        return dir_below(getenv("XDG_RUNTIME_DIR"), "pipit", make, e);
    snprintf(path, sizeof(path), "/run/user/%u", (unsigned)geteuid());
    if (is_own_dir(path))
        return dir_below(path, "pipit", make, e);
    snprintf(path, sizeof(path), "pipit-%u", (unsigned)geteuid());
    return dir_below("/tmp", path, make, e);
}

/* Makes each missing part of an absolute path. */
static int make_parts(char *path, struct err *e)
{
    for (char *p = path + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char c = *p;
        *p = '\0';
        int r = mkdir(path, 0700) < 0 && errno != EEXIST
                    ? err_set(e, errno, "the folder %s cannot be made: %s", path, strerror(errno))
                    : 0;
        *p = c;
        if (r < 0 || !c)
            return r;
    }
}

/* What the state folder lies in. */
static char *state_parent(void)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;

    if (xdg && xdg[0] == '/')
        return strdup(xdg);
    if (!home || home[0] != '/') {
        const struct passwd *pw = getpwuid(geteuid());
        home = pw && pw->pw_dir[0] == '/' ? pw->pw_dir : NULL;
    }
    if (!home || asprintf(&path, "%s/.local/state", home) < 0)
        return NULL;
    return path;
}

char *life_state_path(void)
{
    char *parent = state_parent(), *path = NULL;

    if (parent && asprintf(&path, "%s/pipit", parent) < 0)
        path = NULL;
    free(parent);
    return path;
}

int life_state_dir(bool make, struct err *e)
{
    char *parent = state_parent();
    int r = 0;

    if (!parent)
        return err_set(e, ENOENT, "this user has no home for what lasts: set XDG_STATE_HOME");
    if (make)
        r = make_parts(parent, e);
    if (r == 0)
        r = dir_below(parent, "pipit", make, e);
    free(parent);
    return r;
}
