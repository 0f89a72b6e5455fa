/*
 * GRUB's commands, as far as they decide what is booted. Those that load modules, set up terminals or write to the
 * disk do nothing and succeed; what is not known fails, as it would in a GRUB without that module.
 */
#include <stdlib.h>
#include <strings.h>

#include "loader/disk/grub_int.h"

/* ---- devices and paths ---- */

/* "hd0,gpt1", "hd0,msdos5", "hd0": whatever the disk is called, it is ours. */
static struct fs *device_fs(struct grub *g, const char *name, size_t len)
{
    const char *comma = memchr(name, ',', len);
    unsigned number = 0;

    if (comma) {
        const char *p = comma + 1;

        while (p < name + len && *p >= 'a' && *p <= 'z')
            p++;
        for (; p < name + len && *p >= '0' && *p <= '9' && number < 1000; p++)
            number = number * 10 + (unsigned)(*p - '0');
    }
    for (unsigned i = 0; i < g->d->nparts; i++)
        if (g->d->part[i].number == number)
            return g->d->part[i].fs;
    return NULL;
}

static const char *device_name(struct grub *g, const struct fs *fs)
{
    const struct disk_part *p = fs->part;

    return p->number ? disk_printf(g->d, "hd0,%s%u", p->gpt ? "gpt" : "msdos", p->number) : "hd0";
}

/* Splits "(device)/path", or "/path" on $root; NULL where there is no such file system. */
static struct fs *path_split(struct grub *g, const char *text, const char **path)
{
    const char *root = grub_get(g, "root"), *close;

    *path = text;
    if (text[0] != '(')
        return root ? device_fs(g, root, strlen(root)) : NULL;
    close = strchr(text, ')');
    if (!close)
        return NULL;
    *path = close + 1;
    return device_fs(g, text + 1, (size_t)(close - text - 1));
}

int grub_run_file(struct grub *g, const char *path)
{
    struct fs *outer_fs = g->fs, *fs;
    const char *outer = g->file, *file;
    char *text;
    int r;

    fs = path_split(g, path, &file);
    text = fs ? fs_text(fs, file) : NULL;
    if (!text)
        return 1;
    g->fs = fs;
    g->file = file;
    r = grub_run(g, text, strlen(text));
    g->fs = outer_fs;
    g->file = outer;
    return r;
}

/* ---- test ---- */

struct test {
    struct grub *g;
    const char *const *v;
    unsigned n, i;
};

static bool test_or(struct test *t, unsigned depth);

static bool test_file(struct grub *g, char op, const char *path)
{
    struct fs *fs = path_split(g, path, &path);
    struct fs_node n;

    if (!fs || fs_walk(fs, path, &n) < 0)
        return false;
    return op == 'e' || (op == 'd' ? n.type == FS_DIR : n.type == FS_FILE && (op == 'f' || n.size));
}

static bool test_compare(const char *a, const char *op, const char *b, bool *result)
{
    static const char *const ops[] = {"-eq", "-ne", "-lt", "-le", "-gt", "-ge"};
    long x = strtol(a, NULL, 0), y = strtol(b, NULL, 0);
    const bool results[] = {x == y, x != y, x<y, x <= y, x> y, x >= y};

    if (!strcmp(op, "=") || !strcmp(op, "==")) {
        *result = !strcmp(a, b);
        return true;
    }
    if (!strcmp(op, "!=")) {
        *result = strcmp(a, b) != 0;
        return true;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        if (!strcmp(op, ops[i])) {
            *result = results[i];
            return true;
        }
    return false;
}

static bool test_primary(struct test *t, unsigned depth)
{
    const char *w;
    bool result;

    if (t->i >= t->n || depth > 16)
        return false;
    w = t->v[t->i];
    if (t->i + 2 < t->n && test_compare(w, t->v[t->i + 1], t->v[t->i + 2], &result)) {
        t->i += 3;
        return result;
    }
    t->i++;
    if (!strcmp(w, "!"))
        return !test_primary(t, depth + 1);
    if (!strcmp(w, "(")) {
        result = test_or(t, depth + 1);
        t->i++;
        return result;
    }
    if (w[0] == '-' && w[1] && !w[2] && t->i < t->n && strchr("nzdefs", w[1])) {
        const char *arg = t->v[t->i++];

        return w[1] == 'n' ? *arg : w[1] == 'z' ? !*arg : test_file(t->g, w[1], arg);
    }
    return *w;
}

static bool test_and(struct test *t, unsigned depth)
{
    bool result = test_primary(t, depth);

    while (t->i < t->n && strcmp(t->v[t->i], "-o") != 0 && strcmp(t->v[t->i], ")") != 0) {
        t->i += !strcmp(t->v[t->i], "-a");
        result = test_primary(t, depth) && result;
    }
    return result;
}

static bool test_or(struct test *t, unsigned depth)
{
    bool result = test_and(t, depth);

    while (t->i < t->n && !strcmp(t->v[t->i], "-o")) {
        t->i++;
        result = test_and(t, depth) || result;
    }
    return result;
}

static int cmd_test(struct grub *g, const struct grub_words *w)
{
    struct test t = {g, w->v + 1, w->n - 1, 0};

    if (!strcmp(w->v[0], "[") && t.n && !strcmp(t.v[t.n - 1], "]"))
        t.n--;
    return !test_or(&t, 0);
}

/* ---- variables ---- */

static int cmd_set(struct grub *g, const struct grub_words *w)
{
    const char *equals = w->n > 1 ? strchr(w->v[1], '=') : NULL;
    const char *name = equals ? disk_str(g->d, w->v[1], (size_t)(equals - w->v[1])) : NULL;

    if (name)
        grub_set(g, name, equals + 1);
    return 0;
}

static int cmd_unset(struct grub *g, const struct grub_words *w)
{
    for (unsigned i = 1; i < w->n; i++)
        grub_unset(g, w->v[i]);
    return 0;
}

/* What is meant for one boot is taken back by GRUB when it has read it. The disk is not written here: it would stay. */
static bool is_for_once(const char *name)
{
    static const char *const names[] = {"next_entry", "boot_once", "recordfail"};

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

static int cmd_load_env(struct grub *g, const struct grub_words *w)
{
    const char *prefix = grub_get(g, "prefix"), *path = NULL;
    struct fs *fs;
    char *text;

    for (unsigned i = 1; i < w->n; i++)
        if ((!strcmp(w->v[i], "-f") || !strcmp(w->v[i], "--file")) && i + 1 < w->n)
            path = w->v[++i];
    if (!path)
        path = disk_printf(g->d, "%s/grubenv", prefix ? prefix : "");
    fs = path ? path_split(g, path, &path) : NULL;
    text = fs ? fs_text(fs, path) : NULL;
    if (!text)
        return 1;
    for (char *line = text, *next; *line; line = next) {
        char *end = line + strcspn(line, "\n"), *equals;

        next = *end ? end + 1 : end;
        *end = '\0';
        equals = strchr(line, '=');
        if (*line == '#' || !equals)
            continue;
        *equals = '\0';
        if (!is_for_once(line))
            grub_set(g, line, equals + 1);
    }
    return 0;
}

/* ---- search ---- */

enum search_by { BY_UUID, BY_LABEL, BY_FILE };

static int search(struct grub *g, enum search_by by, const char *name, const char *variable)
{
    for (unsigned i = 0; i < g->d->nparts; i++) {
        struct fs *fs = g->d->part[i].fs;
        const char *device;

        if (!fs || (by == BY_UUID && strcasecmp(fs->uuid, name) != 0) ||
            (by == BY_LABEL && strcmp(fs->label, name) != 0) || (by == BY_FILE && !fs_is_file(fs, name)))
            continue;
        device = device_name(g, fs);
        if (!device)
            return 1;
        grub_set(g, variable, device);
        return 0;
    }
    return 1;
}

/* search [--fs-uuid|--label|--file] [--set[=VARIABLE]] [--hint...] NAME */
static int cmd_search(struct grub *g, const struct grub_words *w)
{
    const char *variable = "root", *plain[2] = {NULL, NULL};
    enum search_by by = BY_FILE;
    bool set = false;
    unsigned n = 0;

    for (unsigned i = 1; i < w->n; i++) {
        const char *a = w->v[i];

        if (!strcmp(a, "--fs-uuid") || !strcmp(a, "-u"))
            by = BY_UUID;
        else if (!strcmp(a, "--label") || !strcmp(a, "-l") || !strcmp(a, "--fs-label"))
            by = BY_LABEL;
        else if (!strcmp(a, "--file") || !strcmp(a, "-f"))
            by = BY_FILE;
        else if (!strncmp(a, "--set=", 6))
            variable = a + 6;
        else if (!strcmp(a, "--set") || !strcmp(a, "-s"))
            set = true;
        else if (!strcmp(a, "--hint"))
            i++;
        else if (a[0] != '-' && n < 2)
            plain[n++] = a;
    }
    if (set && n == 2)
        variable = plain[0];
    return n ? search(g, by, plain[n - 1], variable) : 1;
}

/* search.fs_uuid NAME [VARIABLE [HINT...]], and its sisters */
static int search_dotted(struct grub *g, enum search_by by, const struct grub_words *w)
{
    return w->n > 1 ? search(g, by, w->v[1], w->n > 2 ? w->v[2] : "root") : 1;
}

static int cmd_search_uuid(struct grub *g, const struct grub_words *w)
{
    return search_dotted(g, BY_UUID, w);
}

static int cmd_search_label(struct grub *g, const struct grub_words *w)
{
    return search_dotted(g, BY_LABEL, w);
}

static int cmd_search_file(struct grub *g, const struct grub_words *w)
{
    return search_dotted(g, BY_FILE, w);
}

/* ---- files ---- */

static int cmd_source(struct grub *g, const struct grub_words *w)
{
    return w->n > 1 ? grub_run_file(g, w->v[1]) : 1;
}

static int cmd_normal(struct grub *g, const struct grub_words *w)
{
    const char *prefix = grub_get(g, "prefix"), *path;

    if (w->n > 1)
        return grub_run_file(g, w->v[1]);
    path = disk_printf(g->d, "%s/grub.cfg", prefix ? prefix : "");
    return path ? grub_run_file(g, path) : 1;
}

/* GRUB tells the kernel, too, what it was loaded from. */
static int cmd_linux(struct grub *g, const struct grub_words *w)
{
    const char *path;
    struct fs *fs;
    char *text;
    size_t n;

    if (w->n < 2 || !(fs = path_split(g, w->v[1], &path)))
        return 1;
    text = disk_alloc(g->d, DISK_CMDLINE_SIZE);
    if (!text)
        return 1;
    n = 0;
    for (unsigned i = 1; i < w->n; i++) {
        const char *before = i == 1 ? "BOOT_IMAGE=" : " ";
        size_t len = strlen(before) + strlen(w->v[i]);

        if (len >= DISK_CMDLINE_SIZE - n)
            return 1;
        strcpy(text + n, before);
        strcat(text + n, w->v[i]);
        n += len;
    }
    if (!boot_set_kernel(&g->now, fs, path))
        return 1;
    g->now.cmdline = text;
    g->now.ninitrds = 0;
    return 0;
}

static int cmd_initrd(struct grub *g, const struct grub_words *w)
{
    int r = 0;

    g->now.ninitrds = 0;
    for (unsigned i = 1; i < w->n; i++) {
        const char *path;
        struct fs *fs = path_split(g, w->v[i], &path);

        if (!fs || !boot_add_initrd(&g->now, fs, path))
            r = 1;
    }
    return r;
}

/* Fedora's: the entries of the boot loader specification become the menu's. */
static int cmd_blscfg(struct grub *g, const struct grub_words *w)
{
    static const char *const folders[] = {"/loader/entries", "/boot/loader/entries"};
    const char *root = grub_get(g, "boot");
    struct bls_entry *list;
    struct fs *fs;

    (void)w;
    if (!root)
        root = grub_get(g, "root");
    fs = root ? device_fs(g, root, strlen(root)) : NULL;
    list = fs ? disk_alloc(g->d, BLS_MAX_ENTRIES * sizeof(*list)) : NULL;
    for (unsigned f = 0; list && f < ARRAY_SIZE(folders); f++) {
        unsigned n = bls_read(g->d, fs, folders[f], list);

        for (unsigned i = 0; i < n; i++) {
            struct grub_item *item = grub_add_item(g);

            if (!item)
                return 1;
            *item = (struct grub_item){.title = list[i].title ? list[i].title : list[i].id,
                                       .id = list[i].id,
                                       .bls = &list[i],
                                       .fs = fs,
                                       .file = folders[f]};
        }
        if (n)
            return 0;
    }
    return 1;
}

static int cmd_nothing(struct grub *g, const struct grub_words *w)
{
    (void)g, (void)w;
    return 0;
}

int grub_command(struct grub *g, const struct grub_words *w)
{
    static const struct {
        const char *name;
        int (*run)(struct grub *g, const struct grub_words *w);
    } commands[] = {
        {"[", cmd_test},
        {"test", cmd_test},
        {"set", cmd_set},
        {"unset", cmd_unset},
        {"load_env", cmd_load_env},
        {"search", cmd_search},
        {"search.fs_uuid", cmd_search_uuid},
        {"search.fs_label", cmd_search_label},
        {"search.file", cmd_search_file},
        {"configfile", cmd_source},
        {"source", cmd_source},
        {".", cmd_source},
        {"normal", cmd_normal},
        {"linux", cmd_linux},
        {"linux16", cmd_linux},
        {"linuxefi", cmd_linux},
        {"initrd", cmd_initrd},
        {"initrd16", cmd_initrd},
        {"initrdefi", cmd_initrd},
        {"blscfg", cmd_blscfg},
        {"true", cmd_nothing},
        {"export", cmd_nothing},
        {"insmod", cmd_nothing},
        {"echo", cmd_nothing},
        {"save_env", cmd_nothing},
        {"terminal_input", cmd_nothing},
        {"terminal_output", cmd_nothing},
        {"serial", cmd_nothing},
        {"devicetree", cmd_nothing},
        {"boot", cmd_nothing},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
        if (!strcmp(w->v[0], commands[i].name))
            return commands[i].run(g, w);
    return GRUB_UNKNOWN;
}
