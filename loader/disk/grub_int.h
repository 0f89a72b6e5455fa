/* The parts of the GRUB interpreter: the language (grub_lang.c), its commands (grub_cmd.c), the menu (grub.c). */
#ifndef PIPIT_LOADER_DISK_GRUB_INT_H
#define PIPIT_LOADER_DISK_GRUB_INT_H

#include "loader/disk/disk_int.h"

#define GRUB_MAX_WORDS 256
#define GRUB_WORD_SIZE 4096
#define GRUB_MAX_ITEMS 512

struct grub_span {
    const char *s;
    size_t n;
};

struct grub_words {
    const char *v[GRUB_MAX_WORDS + 1]; /* NULL behind the last */
    unsigned n;
};

struct grub_var {
    struct grub_var *next;
    const char *name, *value;
};

struct grub_function {
    struct grub_function *next;
    const char *name;
    struct grub_span body;
};

/* A menu entry or submenu. */
struct grub_item {
    const char *title, *id;
    bool sub;
    struct grub_span body;
    const struct bls_entry *bls; /* NULL: `body` is run */
    struct fs *fs;               /* of the file that has it */
    const char *file;
};

struct grub {
    struct disk *d;
    struct grub_var *vars;
    struct grub_function *functions;
    struct grub_item *items; /* of the menu being built */
    unsigned nitems;
    struct fs *fs; /* the script being run */
    const char *file;
    const struct grub_words *args; /* of the function being run */
    struct boot_entry now;         /* what linux and initrd said */
    unsigned steps, depth;
    bool over; /* a bound was reached: everything ends */
};

/* grub_lang.c */
/* Runs a script's text; its status, 0 for success. */
int grub_run(struct grub *g, const char *text, size_t len);
const char *grub_get(void *opaque, const char *name); /* `opaque` is the interpreter; NULL where unset */
void grub_set(struct grub *g, const char *name, const char *value);
void grub_unset(struct grub *g, const char *name);

/* grub_cmd.c: a command that is none of the language's own; its status, or GRUB_UNKNOWN */
#define GRUB_UNKNOWN 127
int grub_command(struct grub *g, const struct grub_words *w);
/* Runs the file at a path that GRUB understands. */
int grub_run_file(struct grub *g, const char *path);

/* grub.c */
struct grub_item *grub_add_item(struct grub *g);

#endif
