/* -d in_asm, see log_code.h. */
#include "vmm/user/log_code.h"

#include <stdio.h>

#include "jit/a64/decode.h"
#include "jit/trace.h"
#include "vmm/base/util.h"
#include "vmm/service/gdbstub/rsp.h"
#include "vmm/user/access.h"
#include "vmm/user/options.h"
#include "vmm/user/strace.h"

#define LINE_MAX 160u /* "0x0000000000000000:  00000000  " and an instruction */

#define FILTERS 32
static struct {
    uint64_t first, last;
} filter[FILTERS];
static unsigned filters;

static bool take_number(const char **p, uint64_t *v)
{
    rsp_take(p, "0x");
    return rsp_take_number(p, v);
}

bool user_log_filter(const char *p)
{
    uint64_t a, b;

    do {
        if (filters == FILTERS || !take_number(&p, &a))
            return false;
        bool range = rsp_take(&p, ".."), up = !range && rsp_take(&p, "+"), down = !range && !up && rsp_take(&p, "-");
        if (!(range || up || down) || !take_number(&p, &b) || (!range && !b))
            return false;
        b = up ? a + b - 1 : down ? a - b + 1 : b;
        filter[filters].first = MIN(a, b);
        filter[filters++].last = MAX(a, b);
    } while (rsp_take(&p, ","));
    return !*p;
}

static bool is_wanted(uint64_t pc)
{
    for (unsigned i = 0; i < filters; i++) {
        if (pc >= filter[i].first && pc <= filter[i].last)
            return true;
    }
    return !filters;
}

void user_log_code(uint64_t pc, unsigned insns)
{
    static char text[8192]; /* blocks that are longer come in pieces */
    size_t n = (size_t)snprintf(text, sizeof(text), "----------------\nIN:\n");
    char line[LINE_MAX];
    uint32_t insn;

    if (!is_wanted(pc))
        return;
    for (; insns && !user_get32(pc, &insn); insns--, pc += 4) {
        a64_disasm(line, sizeof(line), insn, pc);
        if (sizeof(text) - n < LINE_MAX + 40) {
            user_log_write(text, n);
            n = 0;
        }
        n += (size_t)snprintf(text + n, sizeof(text) - n, "0x%016lx:  %08x  %s\n", (unsigned long)pc, insn, line);
    }
    text[n++] = '\n';
    user_log_write(text, n);
}

void user_log_entered(void *opaque, const struct arm64_cpu *c)
{
    char text[JIT_TRACE_MAX];

    (void)opaque;
    if (is_wanted(c->pc))
        user_log_write(text, jit_trace_text(text, c, user_options.log_exec, user_options.log_cpu));
}
