/*
 * Inside proc*.c: files of /proc that are made from the host's, line by line.
 */
#ifndef PIPIT_USER_PROC_TEXT_H
#define PIPIT_USER_PROC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/user/path.h"
#include "vmm/user/proc.h"

/* Which process and thread a name is about, and what follows "/proc/PID/" or "/proc/PID/task/TID/" in it. */
struct user_proc_name {
    uint64_t pid, tid; /* pid 0: this one; tid 0: none is named */
    const char *entry;
};

/* What is written, and what is kept from line to line. */
struct user_proc_text {
    int fd;
    size_t len;
    char buf[4096];
    void *opaque;
};
void user_proc_put(struct user_proc_text *o, const char *text, size_t n);
void user_proc_flush(struct user_proc_text *o);

typedef void (*user_proc_line_fn)(struct user_proc_text *o, const char *text, size_t n);
/* Calls `line` for each line of a file, its newline included; longer ones than a buffer come in pieces. 0 or -errno. */
int user_proc_for_each_line(const char *path, user_proc_line_fn line, struct user_proc_text *o);

/* The number or word that *p begins with, moving *p behind it; 0 or false where there is none. */
uint64_t user_proc_take_number(const char **p);
bool user_proc_take_word(const char **p, const char *word);

/* ---- proc_maps.c ---- */

/* maps, smaps and numa_maps. 0 or -errno. */
int user_proc_maps(struct user_proc_text *o, const char *path, const struct user_proc_name *name);
/* Does another process run in this emulator, too? */
bool user_proc_is_guest(uint64_t pid);
/* The program that it runs, as the link to it says: its length in `buf`, or -1. */
long user_proc_program_of(uint64_t pid, char buf[USER_PATH_MAX]);
/* Where its image is, less where ours is. False: it cannot be told. */
bool user_proc_image_of(uint64_t pid, int64_t *moved);
/* Where this process's vDSO is. */
void user_proc_set_vdso(uint64_t addr);

/* ---- proc_status.c: with the signals as the guest's thread has them ---- */
void user_proc_status_line(struct user_proc_text *o, const char *text, size_t n);
void user_proc_stat_line(struct user_proc_text *o, const char *text, size_t n);

#endif
