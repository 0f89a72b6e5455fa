/*
 * Paths in a file system: components, "..", and symbolic links. An absolute link starts at the root of the file system
 * that it is in, so that nothing leads to the host's files.
 */
#include <errno.h>

#include "loader/disk/disk_int.h"

#define FS_MAX_LINKS 16
#define FS_MAX_DEPTH 32
#define FS_MAX_PATH 1024
#define FS_MAX_NAME 255

struct fs_trail {
    struct fs_node at[FS_MAX_DEPTH]; /* from the root to where we are, for ".." */
    unsigned n;
};

static int fs_step(struct fs *fs, struct fs_trail *t, const char *name, size_t len, struct fs_node *out)
{
    char text[FS_MAX_NAME + 1];

    if (len > FS_MAX_NAME)
        return -ENAMETOOLONG;
    memcpy(text, name, len);
    text[len] = '\0';
    if (!strcmp(text, ".") || !strcmp(text, "..")) {
        if (text[1] && t->n > 1)
            t->n--;
        *out = t->at[t->n - 1];
        return 0;
    }
    return fs->ops->lookup(fs, &t->at[t->n - 1], text, out);
}

/* The target of a link with what is left of the path behind it, in `path`. */
static int fs_follow(struct fs *fs, const struct fs_node *link, char *path, const char *rest)
{
    char target[FS_MAX_PATH];
    size_t left = strlen(rest);
    int n;

    if (link->size == 0 || link->size >= sizeof(target))
        return -ENAMETOOLONG;
    n = fs->ops->read(fs, link, 0, target, (size_t)link->size);
    if (n < 0)
        return n;
    if (memchr(target, '\0', (size_t)n) || (size_t)n + 1 + left >= FS_MAX_PATH)
        return -ENAMETOOLONG;
    memmove(path + n + 1, rest, left + 1);
    memcpy(path, target, (size_t)n);
    path[n] = '/';
    return 0;
}

int fs_walk(struct fs *fs, const char *path, struct fs_node *out)
{
    char text[FS_MAX_PATH];
    const char *p = text;
    unsigned links = 0;
    struct fs_trail t = {.n = 1};
    int r;

    if (strlen(path) >= sizeof(text))
        return -ENAMETOOLONG;
    strcpy(text, path);
    r = fs->ops->root(fs, &t.at[0]);
    if (r < 0)
        return r;
    for (;;) {
        struct fs_node node;
        size_t len;

        p += strspn(p, "/");
        len = strcspn(p, "/");
        if (!len) {
            *out = t.at[t.n - 1];
            return 0;
        }
        if (t.at[t.n - 1].type != FS_DIR)
            return -ENOTDIR;
        r = fs_step(fs, &t, p, len, &node);
        if (r < 0)
            return r;
        if (node.type == FS_LINK) {
            if (++links > FS_MAX_LINKS)
                return -ELOOP;
            r = fs_follow(fs, &node, text, p + len);
            if (r < 0)
                return r;
            if (text[0] == '/')
                t.n = 1;
            p = text;
            continue;
        }
        p += len;
        if (node.type == FS_DIR && node.id == t.at[t.n - 1].id && node.aux == t.at[t.n - 1].aux)
            continue; /* "." and "..", or a folder that claims to be in itself */
        if (t.n == FS_MAX_DEPTH)
            return -ENAMETOOLONG;
        t.at[t.n++] = node;
    }
}

static bool fs_is(struct fs *fs, const char *path, enum fs_type type)
{
    struct fs_node n;

    return fs_walk(fs, path, &n) == 0 && n.type == type;
}

bool fs_is_file(struct fs *fs, const char *path)
{
    return fs_is(fs, path, FS_FILE);
}

bool fs_is_dir(struct fs *fs, const char *path)
{
    return fs_is(fs, path, FS_DIR);
}

int fs_list(struct fs *fs, const char *path, fs_list_fn fn, void *opaque)
{
    struct fs_node n;
    int r = fs_walk(fs, path, &n);

    if (r < 0)
        return r;
    return n.type == FS_DIR ? fs->ops->list(fs, &n, fn, opaque) : -ENOTDIR;
}

char *fs_text(struct fs *fs, const char *path)
{
    struct fs_node n;
    char *text;

    if (fs_walk(fs, path, &n) < 0 || n.type != FS_FILE || n.size > FS_TEXT_MAX)
        return NULL;
    text = disk_alloc(fs->disk, (size_t)n.size + 1);
    if (!text || (n.size && fs->ops->read(fs, &n, 0, text, (size_t)n.size) < 0))
        return NULL;
    return text;
}
