/* Errors that a person will read: one sentence and an errno. */
#include "vmm/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
    /* Formatted aside, so that the old message may be one of the arguments. */
    char text[sizeof(e->msg)];
    va_list ap;

    if (!e)
        return -code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    memcpy(e->msg, text, sizeof(text));
    e->code = code;
    return -code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    char old[sizeof(e->msg)];
    va_list ap;
    size_t n;

    if (!e)
        return 0;
    memcpy(old, e->msg, sizeof(old));
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    n = strlen(e->msg);
    /* Cut off at the end of msg: the beginning says what matters. */
    for (const char *p = ": "; *p && n + 1 < sizeof(e->msg); p++)
        e->msg[n++] = *p;
    for (const char *p = old; *p && n + 1 < sizeof(e->msg); p++)
        e->msg[n++] = *p;
    e->msg[n] = '\0';
    return -e->code;
}
