/* The command table of pipit-img. */
#include <stdio.h>

#include "vmm/base/log.h"
#include "vmm/img/img.h"

static const struct {
    const char *name;
    int (*run)(struct img *m);
    const char *args, *what;
} commands[] = {
    {"amend", img_amend, "[-f FMT] -o OPTIONS [-p] [-q] FILE", "change options of an image"},
    {"bench", img_bench,
     "[-c COUNT] [-d DEPTH] [-f FMT] [-i io_uring|threads] [-o OFFSET] [-s SIZE] [-S STEP | --random] [-t CACHE]\n"
     "           [-w [--flush-interval=N [--no-drain]] [--pattern=BYTE]] [-q] [-U] FILE",
     "send requests, and say how long they take"},
    {"check", img_check, "[-f FMT] [-r leaks|all] [--output=json] [-T CACHE] FILE", "look for damage, and repair it"},
    {"commit", img_commit, "[-f FMT] [-b BASE] [-d] [-p] [-r RATE] [-t CACHE] FILE",
     "write what an overlay has into its backing file"},
    {"compare", img_compare, "[-f FMT] [-F FMT] [-s] [-p] [-T CACHE] FILE1 FILE2",
     "do two images have the same content?"},
    {"convert", img_convert,
     "[-f FMT] [-O FMT] [-c] [-o OPTIONS] [-l SNAPSHOT] [-B BACKING -F FMT] [-n [--target-is-zero]] [-p]\n"
     "           [-m REQUESTS] [-r RATE] [-S SIZE] [-t CACHE] [-T CACHE] [-W] FILE OUTPUT",
     "copy an image into another format"},
    {"create", img_create, "[-f FMT] [-b BACKING -F FMT] [-o OPTIONS] [-q] FILE [SIZE]", "make an image"},
    {"dd", img_dd, "[-f FMT] [-O FMT] [bs=SIZE] [count=N] [skip=N] if=FILE of=OUTPUT", "copy a stretch of an image"},
    {"info", img_info, "[-f FMT] [--output=json] [--backing-chain] [-U] FILE", "say what an image is"},
    {"map", img_map, "[-f FMT] [--output=json] [-s OFFSET] [-l LENGTH] [-U] FILE",
     "say which parts have data, and where"},
    {"measure", img_measure, "[-f FMT] [-O FMT] [-o OPTIONS] [-l SNAPSHOT] [--output=json] FILE | --size SIZE",
     "say how large an image will be"},
    {"rebase", img_rebase, "[-f FMT] [-u] -b BACKING [-F FMT] [-p] [-t CACHE] [-T CACHE] FILE",
     "give an overlay another backing file"},
    {"resize", img_resize, "[-f FMT] [--shrink] [--preallocation=HOW] FILE [+|-]SIZE", "change the size of the disk"},
    {"snapshot", img_snapshot, "[-l | -c NAME | -a NAME | -d NAME] FILE", "list, make, apply and delete snapshots"},
};

static void help(const char *name)
{
    printf("usage: %s COMMAND [OPTION...]\n\n", name);
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
        printf("  %-9s%s\n           %s\n", commands[i].name, commands[i].what, commands[i].args);
    printf("\n"
           "Formats are raw and qcow2; without -f, an image that begins like qcow2 is, anything else is raw.\n"
           "--backing=on|near|off says which backing files an image may name: any, those in its own folder whose\n"
           "format it records (so for pipit-img), or none. Started as qemu-img: any.\n"
           "--image-opts: FILE is a list, driver=FMT,file.filename=FILE. -o help lists the options of new images.\n"
           "\n"
           "Supported formats: raw qcow2\n"
           "\n"
           "  %s create -f qcow2 -b debian.qcow2 -F qcow2 mine.qcow2      an overlay\n"
           "  %s convert -c -O qcow2 disk.img disk.qcow2                  a small file of a disk\n"
           "  %s resize mine.qcow2 +10G\n",
           name, name, name);
}

int img_main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    struct img m = {.name = slash ? slash + 1 : argv[0], .source = {.writeback = true}, .target = {.writeback = true}};
    bool qemu = !strcmp(m.name, "qemu-img");
    struct err e = {0};
    unsigned i;

    if (argc < 2) {
        fprintf(stderr, "%s: Not enough arguments\nTry '%s --help' for more information\n", m.name, m.name);
        return 1;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        help(m.name);
        return 0;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        printf("%s version %s%s\n", m.name, qemu ? "7.2.0 (pipit " PIPIT_VERSION ")" : PIPIT_VERSION, "");
        for (unsigned t = QCOW2_ZLIB; t <= QCOW2_ZSTD; t++)
            if (qcow2_compression_missing(t))
                printf("without %s\n", qcow2_compression_missing(t));
        return 0;
    }
    for (i = 0; i < ARRAY_SIZE(commands) && strcmp(argv[1], commands[i].name) != 0; i++)
        ;
    if (i == ARRAY_SIZE(commands)) {
        fprintf(stderr, "%s: Command not found: %s\nTry '%s --help' for more information\n", m.name, argv[1], m.name);
        return 1;
    }
    if (argc > 2 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
        printf("usage: %s %s %s\n%s\n", m.name, commands[i].name, commands[i].args, commands[i].what);
        return 0;
    }
    log_set_name(m.name);
    m.backing = qemu ? BLOCK_BACKING_ALL : BLOCK_BACKING_NEAR;
    m.argc = argc - 1;
    m.argv = argv + 1;
    if (loop_create(&m.loop, &e) < 0 || block_engine_create(&m.engine, m.loop, false, &e) < 0)
        return img_fail(&m, "%s", e.msg);
    int status = commands[i].run(&m);
    while (m.nnamed)
        options_free(&m.named[--m.nnamed]);
    block_engine_destroy(m.engine);
    loop_destroy(m.loop);
    if (fflush(stdout) != 0 && status == 0)
        status = img_fail(&m, "cannot write the output");
    return status;
}
