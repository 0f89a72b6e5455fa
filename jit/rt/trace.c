/* Lines about blocks that are entered, see trace.h. */
#include "jit/trace.h"

#include <stdio.h>

#include "vmm/base/util.h"

size_t jit_trace_text(char text[JIT_TRACE_MAX], const struct arm64_cpu *c, bool exec, bool cpu)
{
    uint32_t p = arm64_pstate(c);
    size_t n = 0;

#define PUT(...) n += (size_t)snprintf(text + n, JIT_TRACE_MAX - n, __VA_ARGS__)
    if (exec)
        PUT("Trace %u: %016lx\n", c->index, (unsigned long)c->pc);
    if (!cpu)
        return n;
    PUT("PC =%016lx", (unsigned long)c->pc);
    for (unsigned i = 0; i < 31; i++)
        PUT("%sX%02u=%016lx", i % 4 == 3 ? "\n" : " ", i, (unsigned long)c->x[i]);
    PUT("\nSP =%016lx PSTATE=%08x %c%c%c%c EL%u%c\n", (unsigned long)c->x[31], p, p & PSTATE_N ? 'N' : '-',
        p & PSTATE_Z ? 'Z' : '-', p & PSTATE_C ? 'C' : '-', p & PSTATE_V ? 'V' : '-', c->el, c->spsel ? 'h' : 't');
#undef PUT
    return n;
}
