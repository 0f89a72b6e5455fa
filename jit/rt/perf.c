/* Records for perf(1), see perf.h. */
#include "jit/perf.h"

#include <elf.h>
#include <stdio.h>

#define JITDUMP_MAGIC 0x4a695444u
#define JITDUMP_VERSION 1
#define JIT_CODE_LOAD 0

size_t jit_perf_line(char *line, uint64_t pc, const void *code, uint32_t size)
{
    return (size_t)snprintf(line, JIT_PERF_LINE_MAX, "%lx %x arm64:%lx\n", (unsigned long)(uintptr_t)code, size,
                            (unsigned long)pc);
}

void jit_dump_begin(struct jit_dump_header *h, uint32_t pid, uint64_t time)
{
    *h = (struct jit_dump_header){
        .magic = JITDUMP_MAGIC,
        .version = JITDUMP_VERSION,
        .total_size = sizeof(*h),
        .elf_mach = EM_X86_64,
        .pid = pid,
        .timestamp = time,
    };
}

size_t jit_dump_add(struct jit_dump_load *r, uint64_t pc, const void *code, uint32_t size)
{
    size_t head = offsetof(struct jit_dump_load, name) +
                  (size_t)snprintf(r->name, sizeof(r->name), "arm64:%lx", (unsigned long)pc) + 1;

    r->id = JIT_CODE_LOAD;
    r->total_size = (uint32_t)(head + size);
    r->vma = r->code_addr = (uint64_t)(uintptr_t)code;
    r->code_size = size;
    return head;
}
