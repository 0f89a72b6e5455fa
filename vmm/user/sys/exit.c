/* The end of the process on an error of our own: one sentence. */
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#include <stdio.h>

static const char *program = "pipit-aarch64";

void sys_set_name(const char *name)
{
    program = name;
}

void sys_die(int status, const char *fmt, ...)
{
    char text[768];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    sys_print(2, "%s: %s\n", program, text);
    for (;;)
        sys_call(__NR_exit_group, status);
}
