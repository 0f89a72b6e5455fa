/*
 * extlinux.conf, as Alpine and boards with U-Boot have it: labels with KERNEL or LINUX, INITRD and APPEND. The entry is
 * that with MENU DEFAULT, else the one that ONTIMEOUT or DEFAULT names, else the first. Keywords have no case.
 */
#include <strings.h>

#include "loader/disk/disk_int.h"

#define EXTLINUX_MAX 32

struct extlinux_entry {
    const char *label, *title, *kernel, *append;
    char *initrd;
};

struct extlinux {
    struct extlinux_entry entry[EXTLINUX_MAX];
    unsigned n;
    int chosen;       /* by MENU DEFAULT; -1: none */
    const char *name; /* by DEFAULT or ONTIMEOUT; NULL: none */
};

/* The value of a line whose first word is `key`, else NULL. */
static char *extlinux_value(char *line, const char *key)
{
    size_t n = strlen(key);

    if (strncasecmp(line, key, n) != 0 || (line[n] != ' ' && line[n] != '\t'))
        return NULL;
    return line + n + strspn(line + n, " \t");
}

static void extlinux_line(struct extlinux *x, char *line)
{
    struct extlinux_entry *e = x->n ? &x->entry[x->n - 1] : NULL;
    char *v, *menu;

    if ((v = extlinux_value(line, "label"))) {
        if (x->n < EXTLINUX_MAX)
            x->entry[x->n++] = (struct extlinux_entry){.label = v};
    } else if ((v = extlinux_value(line, "default")) || (v = extlinux_value(line, "ontimeout"))) {
        x->name = v;
    } else if (!e) {
        return;
    } else if ((v = extlinux_value(line, "kernel")) || (v = extlinux_value(line, "linux"))) {
        e->kernel = v;
    } else if ((v = extlinux_value(line, "initrd"))) {
        e->initrd = v;
    } else if ((v = extlinux_value(line, "append"))) {
        e->append = v;
    } else if ((menu = extlinux_value(line, "menu"))) {
        if (!strcasecmp(menu, "default"))
            x->chosen = (int)x->n - 1;
        else if ((v = extlinux_value(menu, "label")))
            e->title = v;
    }
}

static void extlinux_parse(struct extlinux *x, char *text)
{
    char *save;

    for (char *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        size_t n;

        line += strspn(line, " \t");
        n = strlen(line);
        while (n && strchr(" \t", line[n - 1]))
            line[--n] = '\0';
        if (*line && *line != '#')
            extlinux_line(x, line);
    }
}

/* A path of the file, relative to the file's own folder. */
static const char *extlinux_path(struct disk *d, const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');

    return path[0] == '/' ? path : disk_printf(d, "%.*s/%s", slash ? (int)(slash - file) : 0, file, path);
}

/* initrd=FILE among the kernel's words is the old way to say it. */
static char *extlinux_old_initrd(struct disk *d, const char *append)
{
    const char *p = append ? strstr(append, "initrd=") : NULL;

    if (!p || (p > append && p[-1] != ' '))
        return NULL;
    return disk_str(d, p + 7, strcspn(p + 7, " \t"));
}

static bool extlinux_take(struct disk *d, struct fs *fs, const char *file, const struct extlinux_entry *e,
                          struct boot_entry *out)
{
    struct boot_entry b = {.title = e->title ? e->title : e->label, .from = file, .from_fs = fs};
    const char *kernel = e->kernel ? extlinux_path(d, file, e->kernel) : NULL;
    char *initrd = e->initrd ? e->initrd : extlinux_old_initrd(d, e->append), *save;

    if (!kernel || !boot_set_kernel(&b, fs, kernel))
        return false;
    for (char *w = initrd ? strtok_r(initrd, ", \t", &save) : NULL; w; w = strtok_r(NULL, ", \t", &save)) {
        const char *path = extlinux_path(d, file, w);

        if (!path || !boot_add_initrd(&b, fs, path))
            return false;
    }
    b.cmdline = e->append ? e->append : "";
    *out = b;
    return true;
}

bool extlinux_boot(struct disk *d, struct fs *fs, const char *path, struct boot_entry *out)
{
    struct extlinux *x = disk_alloc(d, sizeof(*x));
    char *text = fs_text(fs, path);

    if (!x || !text)
        return false;
    x->chosen = -1;
    extlinux_parse(x, text);
    for (unsigned i = 0; x->chosen < 0 && x->name && i < x->n; i++)
        if (!strcmp(x->entry[i].label, x->name))
            x->chosen = (int)i;
    if (x->chosen >= 0 && extlinux_take(d, fs, path, &x->entry[x->chosen], out))
        return true;
    for (unsigned i = 0; i < x->n; i++)
        if (extlinux_take(d, fs, path, &x->entry[i], out))
            return true;
    return false;
}
