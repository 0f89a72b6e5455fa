/*
 * Entries of the boot loader specification (loader/entries/NAME.conf), and the file names that carry tries left:
 * NAME+LEFT[-DONE].conf. Sorted as systemd-boot does: entries without tries left last; then those with a sort-key
 * before the others, by sort-key and machine-id upwards and version downwards; then by file name downwards.
 */
#include <fnmatch.h>
#include <stdlib.h>

#include "loader/disk/disk_int.h"

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The order of a character that is no digit: '~', then the end, then letters, then the rest. */
static int version_rank(char c)
{
    if (c == '~')
        return -1;
    if (c == '\0' || digit(c))
        return 0;
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? (unsigned char)c : (unsigned char)c + 256;
}

int boot_version_compare(const char *a, const char *b)
{
    while (*a || *b) {
        size_t n, m;
        int r;

        while ((*a && !digit(*a)) || (*b && !digit(*b))) {
            r = version_rank(*a) - version_rank(*b);
            if (r)
                return r;
            a++;
            b++;
        }
        a += strspn(a, "0");
        b += strspn(b, "0");
        n = strspn(a, "0123456789");
        m = strspn(b, "0123456789");
        if (n != m)
            return n < m ? -1 : 1;
        r = memcmp(a, b, n);
        if (r)
            return r;
        a += n;
        b += m;
    }
    return 0;
}

struct bls_list {
    struct disk *d;
    struct fs *fs;
    const char *folder;
    struct bls_entry *entry;
    unsigned n;
};

/* Cuts "+LEFT-DONE" off a name; no tries left: the entry failed each time. */
static void bls_tries(char *id, bool *bad)
{
    char *plus = strrchr(id, '+');

    if (!plus || !digit(plus[1]))
        return;
    if (strspn(plus + 1, "0123456789-") != strlen(plus + 1))
        return;
    *bad = strtoul(plus + 1, NULL, 10) == 0;
    *plus = '\0';
}

static void bls_line(struct bls_list *l, struct bls_entry *b, const char *key, char *value)
{
    static const struct {
        const char *name;
        size_t at;
    } keys[] = {
        {"title", offsetof(struct bls_entry, title)},       {"version", offsetof(struct bls_entry, version)},
        {"sort-key", offsetof(struct bls_entry, sort_key)}, {"machine-id", offsetof(struct bls_entry, machine_id)},
        {"linux", offsetof(struct bls_entry, kernel)},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        if (!strcmp(key, keys[i].name))
            *(const char **)((char *)b + keys[i].at) = value;
    if (!strcmp(key, "options"))
        b->options = b->options ? disk_printf(l->d, "%s %s", b->options, value) : value;
    if (!strcmp(key, "initrd"))
        for (char *save, *w = strtok_r(value, " \t", &save); w; w = strtok_r(NULL, " \t", &save))
            if (b->ninitrds < BOOT_MAX_INITRDS)
                b->initrd[b->ninitrds++] = w;
}

static void bls_parse(struct bls_list *l, struct bls_entry *b, char *text)
{
    for (char *line = text, *next; *line; line = next) {
        char *end = line + strcspn(line, "\n"), *value;

        next = *end ? end + 1 : end;
        *end = '\0';
        while (end > line && strchr(" \t\r", end[-1]))
            *--end = '\0';
        line += strspn(line, " \t");
        if (*line == '#')
            continue;
        value = line + strcspn(line, " \t");
        if (!*value)
            continue;
        *value++ = '\0';
        bls_line(l, b, line, value + strspn(value, " \t"));
    }
}

static int bls_found(void *opaque, const char *name)
{
    struct bls_list *l = opaque;
    struct bls_entry *b = &l->entry[l->n];
    size_t len = strlen(name);
    char *path, *text, *id;

    if (len <= 5 || strcmp(name + len - 5, ".conf") != 0)
        return 0;
    path = disk_printf(l->d, "%s/%s", l->folder, name);
    text = path ? fs_text(l->fs, path) : NULL;
    id = disk_str(l->d, name, len - 5);
    if (!text || !id)
        return 0;
    *b = (struct bls_entry){.id = id};
    bls_tries(id, &b->bad);
    bls_parse(l, b, text);
    if (b->kernel) /* others are EFI programs, or unified images */
        l->n++;
    return l->n == BLS_MAX_ENTRIES;
}

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static int bls_compare(const void *x, const void *y)
{
    const struct bls_entry *a = x, *b = y;
    int r;

    if (a->bad != b->bad)
        return a->bad ? 1 : -1;
    if (!a->sort_key != !b->sort_key)
        return a->sort_key ? -1 : 1;
    if (a->sort_key) {
        if ((r = strcmp(a->sort_key, b->sort_key)) != 0 ||
            (r = strcmp(or_empty(a->machine_id), or_empty(b->machine_id))) != 0 ||
            (r = boot_version_compare(or_empty(b->version), or_empty(a->version))) != 0)
            return r;
    }
    return boot_version_compare(b->id, a->id);
}

unsigned bls_read(struct disk *d, struct fs *fs, const char *folder, struct bls_entry *list)
{
    struct bls_list l = {.d = d, .fs = fs, .folder = folder, .entry = list};

    fs_list(fs, folder, bls_found, &l);
    qsort(list, l.n, sizeof(*list), bls_compare);
    return l.n;
}

bool bls_entry_boot(struct disk *d, struct fs *fs, const struct bls_entry *b,
                    const char *(*get)(void *opaque, const char *name), void *opaque, struct boot_entry *out)
{
    const char *kernel = grub_expand(d, b->kernel, get, opaque);

    out->title = b->title;
    if (!kernel || !boot_set_kernel(out, fs, kernel))
        return false;
    out->cmdline = grub_expand(d, or_empty(b->options), get, opaque);
    for (unsigned i = 0; i < b->ninitrds; i++) {
        const char *path = grub_expand(d, b->initrd[i], get, opaque);

        if (path && *path && !boot_add_initrd(out, fs, path))
            return false;
    }
    return out->cmdline != NULL;
}

/* ---- systemd-boot's choice ---- */

struct bls_env {
    struct fs *fs;
};

/* Fedora's entries leave the options to a variable of GRUB's, also where something else reads them. */
static const char *bls_env_get(void *opaque, const char *name)
{
    static const char *const paths[] = {"/grub2/grubenv", "/boot/grub2/grubenv", "/grub/grubenv", "/boot/grub/grubenv"};
    const struct bls_env *env = opaque;

    for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
        const char *v = grub_env_get(env->fs, paths[i], name);

        if (v)
            return v;
    }
    return NULL;
}

/* The pattern behind "default" in loader.conf; NULL: none. */
static const char *bls_default(struct disk *d, struct fs *fs, const char *root)
{
    const char *path = disk_printf(d, "%s/loader/loader.conf", root);
    char *text = path ? fs_text(fs, path) : NULL, *save;

    for (char *line = text ? strtok_r(text, "\r\n", &save) : NULL; line; line = strtok_r(NULL, "\r\n", &save)) {
        char *key = line + strspn(line, " \t"), *value = key + strcspn(key, " \t");

        if (!*value)
            continue;
        *value++ = '\0';
        if (!strcmp(key, "default"))
            return value + strspn(value, " \t");
    }
    return NULL;
}

bool bls_boot(struct disk *d, struct fs *fs, const char *root, struct boot_entry *out)
{
    struct bls_entry *list = disk_alloc(d, BLS_MAX_ENTRIES * sizeof(*list));
    const char *folder = disk_printf(d, "%s/loader/entries", root), *pattern;
    struct bls_env env = {fs};
    unsigned n;

    if (!list || !folder || !(n = bls_read(d, fs, folder, list)))
        return false;
    pattern = bls_default(d, fs, root);
    /* First those that the pattern takes, then all, in order. */
    for (unsigned i = pattern && strlen(pattern) < 256 ? 0 : n; i < 2 * n; i++) {
        const struct bls_entry *b = &list[i % n];
        struct boot_entry e = {.from = folder, .from_fs = fs};
        const char *name = disk_printf(d, "%s.conf", b->id);

        if (i < n && (!name || (fnmatch(pattern, b->id, 0) != 0 && fnmatch(pattern, name, 0) != 0)))
            continue;
        if (bls_entry_boot(d, fs, b, bls_env_get, &env, &e)) {
            *out = e;
            return true;
        }
    }
    return false;
}
