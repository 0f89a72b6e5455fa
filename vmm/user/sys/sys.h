/*
 * What user mode has in place of a C library, beside raw calls (call.h) and locks (lock.h): output, memory of our own,
 * and the end of the process. The functions of <string.h>, vsnprintf and qsort are there under their own names.
 */
#ifndef PIPIT_USER_SYS_SYS_H
#define PIPIT_USER_SYS_SYS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYS_PAGE 4096u

/* ---- output: unbuffered, one write where the host takes it whole ---- */
void sys_write_all(int fd, const char *text, size_t len);
__attribute__((format(printf, 2, 3))) void sys_print(int fd, const char *fmt, ...);
void sys_vprint(int fd, const char *fmt, va_list ap);

/* One sentence on stderr behind the program's name, then exit_group(status). */
__attribute__((noreturn, format(printf, 2, 3))) void sys_die(int status, const char *fmt, ...);
/* The name that sentences begin with; the string must stay. */
void sys_set_name(const char *name);

/* "ENOENT" ("" where there is none) and "No such file or directory", for a positive errno. */
const char *sys_error_name(int nr);
const char *sys_error_text(int nr);

/* ---- memory ---- */

/*
 * Pages of our own: mapped where the host likes, zeroed, and known as ours, so that the guest can neither see nor
 * unmap them. `size` is a multiple of SYS_PAGE, `align` a power of two of at least that. NULL: the host has no more.
 */
void *sys_map(size_t size, size_t align, int prot);
void sys_unmap(void *p, size_t size);

/* A small heap in such pages; zeroed, 16-byte aligned. NULL: out of memory. */
void *sys_alloc(size_t size);
void sys_free(void *p);
/* Grows *array (elements of `size` bytes, *room of them) to at least `want`; false: out of memory, nothing changed. */
bool sys_grow(void **array, size_t *room, size_t want, size_t size);

/* Is any byte of [addr, addr+len) ours? Beside sys_map's pages: the program's image. */
bool sys_owns(uint64_t addr, uint64_t len);
/* The first range of ours that ends above `addr`: false where there is none. Ranges do not touch each other. */
bool sys_owned_next(uint64_t addr, uint64_t *start, uint64_t *end);
/* The list itself, for the same program in another process, which finds it at the same place of the image: the number
 * of ranges, and the start and end of each, in 64-bit words. */
#define SYS_OWNED_TABLE 65544
const void *sys_owned_table(void);
/* Before the first call of anything above. */
void sys_memory_init(void);
/* Around fork: so that the child does not inherit the locks of a thread that it has not got. */
void sys_memory_lock(void);
void sys_memory_unlock(void);

#endif
