/*
 * Disk images from the command line: what `pipit-img` (also started as `qemu-img`) does. A command is a function that
 * parses its own arguments and returns the exit status.
 */
#ifndef PIPIT_IMG_IMG_H
#define PIPIT_IMG_IMG_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/block/qcow2.h"
#include "vmm/base/options.h"

#define IMG_CHECK_FAILED 1
#define IMG_CHECK_CORRUPT 2
#define IMG_CHECK_LEAKS 3
#define IMG_CHECK_UNSUPPORTED 63

struct img {
    const char *name; /* the program's, for messages */
    struct loop *loop;
    struct block_engine *engine;
    enum block_backing backing;
    struct block_options source, target; /* how images are cached that are read, and that are written */
    bool quiet, progress, json, no_lock;
    bool image_opts;         /* images that exist are named by option lists */
    struct options named[2]; /* those lists */
    unsigned nnamed;
    double percent;        /* told last */
    uint64_t rate;         /* bytes a second; 0: no limit */
    uint64_t paced, began; /* bytes so far; since when, ns */
    int argc;
    char **argv; /* argv[0] is the command */
};

int img_main(int argc, char **argv);

/* ---- common.c ---- */
/* "NAME: sentence" on stderr; returns 1. */
__attribute__((format(printf, 2, 3))) int img_fail(const struct img *m, const char *fmt, ...);
/* A word about how to call the command; returns 1. */
__attribute__((format(printf, 2, 3))) int img_usage(const struct img *m, const char *fmt, ...);
/* Options that all commands know; 0 where `c` is one of them, else 1 after a message. */
int img_common_option(struct img *m, int c);
#define IMG_LONG_COMMON                                                                                                \
    {"help", no_argument, NULL, 'h'}, {"force-share", no_argument, NULL, 'U'},                                         \
        {"image-opts", no_argument, NULL, 1003}, {"object", required_argument, NULL, 1000},                            \
        {"backing", required_argument, NULL, 1001}, {"output", required_argument, NULL, 1002},                         \
    {                                                                                                                  \
        NULL, 0, NULL, 0                                                                                               \
    }
/* What a cache mode's name means: none, writeback, writethrough, directsync or unsafe; 1 after a message. */
int img_cache(const struct img *m, const char *text, struct block_options *o);
/* The file of the image that `text` names: `text` itself or, with --image-opts, what stands in that list, and then
 * *format, too. NULL after a message. */
const char *img_file(struct img *m, const char *text, const char **format);
/* At most so many bytes a second from here on (-r); 1 after a message. */
int img_rate(struct img *m, const char *text);
/* So many more are about to be copied: waits where that is too fast. */
void img_pace(struct img *m, uint64_t bytes);
/* A format's name, NULL: find out. */
int img_format(const struct img *m, const char *text, enum block_format *out);
/* Opens an image; reports failures. */
int img_open(struct img *m, struct block **out, const char *path, const char *format, bool writable,
             enum block_backing backing);
/* Like block_status, through the backing files: whose layer it is, and how deep. */
int img_status(struct block *b, uint64_t offset, uint64_t len, struct block_extent *x, struct block **layer,
               unsigned *depth);
bool img_is_zero(const uint8_t *p, size_t n);
/* A line on stdout with -p; every hundredth. */
void img_progress(struct img *m, uint64_t done, uint64_t total);
/* Bytes from text with a unit, or 1 after a message. */
int img_size(const struct img *m, const char *text, uint64_t *out);
/* The whole number in optarg, from `min` to `max`, or 1 after a message. */
int img_number(const struct img *m, const char *what, uint64_t min, uint64_t max, uint64_t *out);
/* "1.5 GiB" */
const char *img_human(uint64_t bytes, char buf[32]);

/* JSON on stdout, indented as users of qemu-img know it. */
struct img_json {
    unsigned depth;
    bool first;
};
void img_json_open(struct img_json *j, const char *key, char bracket);
void img_json_close(struct img_json *j, char bracket);
void img_json_text(struct img_json *j, const char *key, const char *value);
void img_json_number(struct img_json *j, const char *key, uint64_t value);
void img_json_bool(struct img_json *j, const char *key, bool value);

/* ---- create.c ---- */
struct img_new {
    enum block_format format;
    struct qcow2_create qcow2;
    char *backing, *backing_format;
    enum block_prealloc prealloc;
};
/* "off", "metadata", "falloc" or "full"; 1 after a message. */
int img_prealloc(const struct img *m, const char *text, enum block_prealloc *out);
void img_new_init(struct img_new *n);
void img_new_free(struct img_new *n);
/* A backing file and its format, where they are not NULL. */
void img_new_backing(struct img_new *n, const char *backing, const char *format);
/* `-o` options; 1 after a message. */
int img_new_options(struct img *m, struct img_new *n, const char *text);
/* Makes the file (cutting what was there) and opens it for writing. */
int img_new_open(struct img *m, const struct img_new *n, const char *path, struct block **out);

/* Reads are the snapshot's from then on: NAME or ID, snapshot.name=NAME, snapshot.id=ID. 1 after a message. */
int img_load_snapshot(struct img *m, struct block *b, const char *text);
/* "0.10" or "1.1", as a version of qcow2; 1 after a message. */
int img_compat(const struct img *m, const char *text, unsigned *version);
/* What -o takes, for -o help. */
void img_new_options_help(const struct img_new *n);
/* A table of the image's snapshots; nothing where it has none. */
void img_snapshot_list(struct block *b);

int img_amend(struct img *m);
int img_bench(struct img *m);
int img_create(struct img *m);
int img_measure(struct img *m);
int img_info(struct img *m);
int img_map(struct img *m);
int img_check(struct img *m);
int img_convert(struct img *m);
int img_dd(struct img *m);
int img_compare(struct img *m);
int img_resize(struct img *m);
int img_snapshot(struct img *m);
int img_rebase(struct img *m);
int img_commit(struct img *m);

#endif
