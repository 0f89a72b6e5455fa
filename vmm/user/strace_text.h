/* What the parts of -strace share: a growing piece of a line, names, and the printers of arguments. */
#ifndef PIPIT_USER_STRACE_TEXT_H
#define PIPIT_USER_STRACE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strace_text {
    char buf[8192];
    size_t len;
};
__attribute__((format(printf, 2, 3))) void strace_put(struct strace_text *o, const char *fmt, ...);

/* ---- names (strace_names.c) ---- */

/* The flags of `value`, with | between; what has no name as a number. */
void strace_put_flags(struct strace_text *o, const char *set, uint64_t value);
/* The one name of the value, or a number. */
void strace_put_name(struct strace_text *o, const char *set, uint64_t value);
void strace_put_signal(struct strace_text *o, int sig);
void strace_put_open_flags(struct strace_text *o, uint32_t flags);

/* ---- arguments (strace_args.c) ---- */

struct strace_call {
    const uint64_t *a; /* the six arguments */
    int64_t ret;       /* valid when done */
    bool done;
};

/* Prints the argument(s) that `word` stands for, from a[i]; returns how many of them. */
unsigned strace_put_word(struct strace_text *o, const char *word, const struct strace_call *c, unsigned i);
/* Is the word printed only after the call? */
bool strace_word_is_output(const char *word);

#endif
