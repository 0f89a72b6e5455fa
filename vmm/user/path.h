/*
 * Paths of the guest: -L's prefix, in which absolute paths are looked up before the host's own tree, and its own
 * entries of /proc.
 */
#ifndef PIPIT_USER_PATH_H
#define PIPIT_USER_PATH_H

#include <stddef.h>
#include <stdint.h>

#define USER_PATH_MAX 4096

/* NULL or "/": none. The string must stay. */
void user_path_set_prefix(const char *prefix);
const char *user_path_prefix(void);

/* Where `path` lies for the host: in `buf` where it exists below the prefix, else `path` itself. */
const char *user_path_lookup(const char *path, char buf[USER_PATH_MAX]);
/* The same for a string of the guest's, which may also be its own /proc/self/exe; what is not changed stays the guest's
 * pointer, for the kernel to judge. */
uint64_t user_path_argument(uint64_t va, char buf[USER_PATH_MAX]);

#endif
