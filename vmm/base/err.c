/* Errors that a person will read: one sentence and an errno. */
#include "vmm/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int err_record(struct err *e, enum err_status status, int code, const char *fmt, va_list ap)
{
    /* Formatted aside, so that the old message may be one of the arguments. */
    char text[sizeof(e->msg)];

    if (!e)
        return -code;
    vsnprintf(text, sizeof(text), fmt, ap);
    memcpy(e->msg, text, sizeof(text));
    e->code = code;
    e->status = status;
    return -code;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    code = err_record(e, ERR_STATUS_NONE, code, fmt, ap);
    va_end(ap);
    return code;
}

int err_set_status(struct err *e, enum err_status status, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    code = err_record(e, status, code, fmt, ap);
    va_end(ap);
    return code;
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
