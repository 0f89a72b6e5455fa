/* A file system of a few texts, for what reads boot loaders' files. */
#ifndef PIPIT_TESTS_LIB_TEXT_FS_H
#define PIPIT_TESTS_LIB_TEXT_FS_H

#include "loader/disk/disk_int.h"

#define TEXT_FS_MAX 64

struct text_fs {
    struct disk disk;
    struct disk_request rq;
    struct fs *fs; /* of partition 1, with UUID "1234-ABCD" */
    struct {
        char path[128];
        const char *text;
        size_t len;
        enum fs_type type;
    } node[TEXT_FS_MAX];
    unsigned n;
};

void text_fs_init(struct text_fs *t);
/* With the folders on the way. Neither text is copied. */
void text_fs_add(struct text_fs *t, const char *path, const char *text, size_t len);
void text_fs_link(struct text_fs *t, const char *path, const char *target);
void text_fs_free(struct text_fs *t);

#endif
