#include "tests/lib/text_fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct text_fs_one {
    struct fs fs;
    struct text_fs *all;
};

static struct text_fs *all_of(struct fs *fs)
{
    return container_of(fs, struct text_fs_one, fs)->all;
}

static void node_of(const struct text_fs *t, unsigned i, struct fs_node *out)
{
    *out = (struct fs_node){.type = t->node[i].type, .id = i, .size = t->node[i].len};
}

static int text_root(struct fs *fs, struct fs_node *out)
{
    node_of(all_of(fs), 0, out);
    return 0;
}

static int text_lookup(struct fs *fs, const struct fs_node *dir, const char *name, struct fs_node *out)
{
    const struct text_fs *t = all_of(fs);
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", t->node[dir->id].path, name);
    for (unsigned i = 1; i < t->n; i++)
        if (!strcmp(t->node[i].path, path)) {
            node_of(t, i, out);
            return 0;
        }
    return -ENOENT;
}

static int text_list(struct fs *fs, const struct fs_node *dir, fs_list_fn fn, void *opaque)
{
    const struct text_fs *t = all_of(fs);
    size_t n = strlen(t->node[dir->id].path);
    int r = 0;

    for (unsigned i = 1; i < t->n && r == 0; i++) {
        const char *p = t->node[i].path;

        if (!strncmp(p, t->node[dir->id].path, n) && p[n] == '/' && !strchr(p + n + 1, '/'))
            r = fn(opaque, p + n + 1);
    }
    return r;
}

static int text_read(struct fs *fs, const struct fs_node *file, uint64_t off, void *buf, size_t len)
{
    const struct text_fs *t = all_of(fs);

    if (off >= file->size)
        return 0;
    len = MIN(len, (size_t)(file->size - off));
    memcpy(buf, t->node[file->id].text + off, len);
    return (int)len;
}

static void text_close(struct fs *fs)
{
    free(container_of(fs, struct text_fs_one, fs));
}

static const struct fs_ops text_ops = {text_root, text_lookup, text_list, text_read, text_close};

void text_fs_init(struct text_fs *t)
{
    struct text_fs_one *one = calloc(1, sizeof(*one));
    struct disk_part *p;

    if (!one)
        abort();
    memset(t, 0, sizeof(*t));
    t->rq.size = MIB(1);
    disk_init(&t->disk, &t->rq);
    p = disk_add_part(&t->disk, 1, 0, MIB(1));
    p->gpt = true;
    p->fs = t->fs = &one->fs;
    one->all = t;
    one->fs = (struct fs){.ops = &text_ops, .disk = &t->disk, .part = p, .uuid = "1234-ABCD", .label = "boot"};
    t->node[0].type = FS_DIR;
    t->n = 1;
}

static unsigned node_add(struct text_fs *t, const char *path, size_t len, enum fs_type type)
{
    for (unsigned i = 0; i < t->n; i++)
        if (strlen(t->node[i].path) == len && !strncmp(t->node[i].path, path, len))
            return i;
    if (t->n == TEXT_FS_MAX || len >= sizeof(t->node[0].path))
        abort();
    memcpy(t->node[t->n].path, path, len);
    t->node[t->n].type = type;
    return t->n++;
}

void text_fs_add(struct text_fs *t, const char *path, const char *text, size_t len)
{
    unsigned i;

    for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/'))
        node_add(t, path, (size_t)(p - path), FS_DIR);
    i = node_add(t, path, strlen(path), FS_FILE);
    t->node[i].text = text;
    t->node[i].len = len;
}

void text_fs_link(struct text_fs *t, const char *path, const char *target)
{
    text_fs_add(t, path, target, strlen(target));
    t->node[t->n - 1].type = FS_LINK;
}

void text_fs_free(struct text_fs *t)
{
    disk_free(&t->disk);
}
