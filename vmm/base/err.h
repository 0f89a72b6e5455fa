/*
 * An error that a person will read. Functions that can fail at start-up take a `struct err *`, fill it with one
 * sentence that names the object, and return the negative errno.
 */
#ifndef PIPIT_BASE_ERR_H
#define PIPIT_BASE_ERR_H

struct err {
    int code;      /* positive errno, 0 when nothing was set */
    char msg[512]; /* one sentence, no newline, no full stop */
};

/*
 * Records `code` (positive errno) and the formatted sentence; returns -code, so that `return err_set(...)` reads well.
 * A later call overwrites an earlier one. `e` may be NULL.
 */
__attribute__((format(printf, 3, 4))) int err_set(struct err *e, int code, const char *fmt, ...);

/* Puts "prefix: " in front of what is recorded; returns -e->code (0 for a NULL `e`: pass the code on yourself then). */
__attribute__((format(printf, 2, 3))) int err_prefix(struct err *e, const char *fmt, ...);

#endif
