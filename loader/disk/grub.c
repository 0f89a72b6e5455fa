/*
 * What GRUB would boot: its configuration is run, which builds a menu, and the default entry's commands are run, which
 * name a kernel. Where the default entry loads none (it starts firmware or another system), the first that does is
 * taken.
 */
#include "loader/disk/grub_int.h"

#include <stdlib.h>

#define GRUB_MAX_SUBMENUS 4

struct grub_item *grub_add_item(struct grub *g)
{
    if (g->nitems == GRUB_MAX_ITEMS) {
        g->over = true;
        return NULL;
    }
    return &g->items[g->nitems++];
}

/* Begins an empty menu. */
static bool grub_new_menu(struct grub *g)
{
    g->items = disk_alloc(g->d, GRUB_MAX_ITEMS * sizeof(*g->items));
    g->nitems = 0;
    return g->items != NULL;
}

/* Does `text` of `len` bytes, a part of the default, mean this item? */
static bool grub_item_is(const struct grub_item *i, unsigned number, const char *text, size_t len)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (len && end == text + len)
        return n == number;
    return (i->id && strlen(i->id) == len && !memcmp(i->id, text, len)) ||
           (strlen(i->title) == len && !memcmp(i->title, text, len));
}

static bool grub_choose(struct grub *g, const char *path, unsigned depth);

/* Runs what an item stands for; true where a kernel came out. */
static bool grub_take(struct grub *g, const struct grub_item *i, const char *rest, unsigned depth)
{
    struct fs *outer_fs = g->fs;
    const char *outer = g->file;
    bool ok;

    if (g->over)
        return false;
    g->now = (struct boot_entry){.title = NULL};
    g->fs = i->fs;
    g->file = i->file;
    if (i->bls) {
        ok = bls_entry_boot(g->d, i->fs, i->bls, grub_get, g, &g->now);
    } else if (i->sub) {
        struct grub_item *items = g->items;
        unsigned n = g->nitems;

        ok = depth < GRUB_MAX_SUBMENUS && grub_new_menu(g);
        if (ok) {
            grub_run(g, i->body.s, i->body.n);
            ok = grub_choose(g, rest, depth + 1);
        }
        g->items = items;
        g->nitems = n;
    } else {
        grub_run(g, i->body.s, i->body.n);
        ok = g->now.kernel.path != NULL;
    }
    if (ok && !g->now.from) {
        g->now.title = i->title;
        g->now.from = i->file;
        g->now.from_fs = i->fs;
    }
    g->fs = outer_fs;
    g->file = outer;
    return ok && !g->over;
}

/* Takes the item that the first part of `path` ("1>2", names instead of numbers) means, else the first that loads a
 * kernel. */
static bool grub_choose(struct grub *g, const char *path, unsigned depth)
{
    size_t len = strcspn(path, ">");
    const char *rest = path[len] ? path + len + 1 : path + len;

    for (unsigned i = 0; len && i < g->nitems; i++)
        if (grub_item_is(&g->items[i], i, path, len)) {
            if (grub_take(g, &g->items[i], rest, depth))
                return true;
            break;
        }
    for (unsigned i = 0; i < g->nitems; i++)
        if (grub_take(g, &g->items[i], "", depth))
            return true;
    return false;
}

bool grub_boot(struct disk *d, struct fs *fs, const char *path, const char *prefix, struct boot_entry *out)
{
    /* What GRUB 2.06 sets itself, as far as generated files ask. */
    static const char *const set[][2] = {
        {"grub_platform", "efi"},           {"feature_menuentry_id", "y"},  {"feature_platform_search_hint", "y"},
        {"feature_menuentry_options", "y"}, {"feature_timeout_style", "y"}, {"feature_default_font_path", "y"},
        {"feature_all_video_module", "y"},  {"feature_200_final", "y"},
    };
    struct grub *g = disk_alloc(d, sizeof(*g));
    const char *device =
        fs->part->number ? disk_printf(d, "hd0,%s%u", fs->part->gpt ? "gpt" : "msdos", fs->part->number) : "hd0";
    const char *full, *choice;

    if (!g || !device)
        return false;
    g->d = d;
    if (!grub_new_menu(g) || !(full = disk_printf(d, "(%s)%s", device, prefix)))
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(set); i++)
        grub_set(g, set[i][0], set[i][1]);
    grub_set(g, "root", device);
    grub_set(g, "prefix", full);
    full = disk_printf(d, "(%s)%s", device, path);
    if (!full)
        return false;
    g->fs = fs;
    g->file = path;
    grub_run_file(g, full);
    if (g->over)
        return false;
    choice = grub_get(g, "default");
    /* Commands outside any menu may have named a kernel, too. */
    if (!g->nitems && g->now.kernel.path) {
        g->now.from = path;
        g->now.from_fs = fs;
    } else if (!grub_choose(g, choice ? choice : "", 0)) {
        return false;
    }
    *out = g->now;
    return true;
}

const char *grub_env_get(struct fs *fs, const char *path, const char *name)
{
    char *text = fs_text(fs, path);
    size_t n = strlen(name);

    for (char *line = text; line && *line;) {
        size_t len = strcspn(line, "\n");

        if (len > n && !memcmp(line, name, n) && line[n] == '=')
            return disk_str(fs->disk, line + n + 1, len - n - 1);
        line += len + (line[len] == '\n');
    }
    return NULL;
}
