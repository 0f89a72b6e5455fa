/*
 * What of /proc would tell of the emulator instead of the guest.
 *
 * The kernel itself is told of the guest's arguments, environment, auxiliary vector, code and stack (PR_SET_MM_MAP), so
 * that cmdline, environ, auxv and stat are right for everybody who looks. What is left is answered here when a
 * process asks about itself, or about another that runs here: exe is the guest's program, maps and smaps are without
 * our pages, fdinfo has arm64's open flags, and cpuinfo is that of the CPU model; status and stat have the guest's
 * signals for itself alone.
 */
#ifndef PIPIT_USER_PROC_H
#define PIPIT_USER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/user/load.h"
#include "vmm/user/path.h"

/* The program, by the descriptor that it was opened as and by the name it was called by. */
void user_proc_set_program(int fd, const char *path);

/* This program, as its link in /proc says. */
const char *user_proc_program(void);

struct user_proc_image {
    const struct user_program *program;
    uint64_t sp;               /* where the guest's stack begins */
    uint64_t argv, envp, auxv; /* addresses of the vectors on it */
    uint64_t auxv_size;        /* bytes */
};
/* Tells the kernel, and names the thread after the program. */
void user_proc_publish(const struct user_proc_image *m, bool set_name);

/* The program where `path` is the link to it of a process that runs here, as /proc/self/exe: its name, which may be in
 * `buf`; else NULL. */
const char *user_proc_exe(const char *path, char buf[USER_PATH_MAX]);

/* The process whose memory the descriptor is ("/proc/PID/mem", "/proc/PID/task/TID/mem"); 0: something else. */
int32_t user_proc_memory_of(int fd);

/* A descriptor with the contents of `path` as the guest is to see them, -errno, or USER_PROC_OTHER: an ordinary file.
 */
#define USER_PROC_OTHER (-4096)
int user_proc_open(const char *path, uint64_t host_flags);
/* May a path whose last part this is name such a file? */
bool user_proc_may_be(const char *last);

/* A mapping of the guest's; `name` may be "". */
struct user_proc_mapping {
    uint64_t start, end, offset, inode;
    bool read, write, exec;
    const char *name;
};
/* All of them, lowest first, without ours. 0 or -errno. */
int user_proc_for_each_mapping(void (*fn)(void *opaque, const struct user_proc_mapping *m), void *opaque);

#endif
