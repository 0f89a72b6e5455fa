/* What a log says of blocks that are entered (jit_trace), for machines and user mode. */
#ifndef PIPIT_JIT_TRACE_H
#define PIPIT_JIT_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#include "arch/arm64/cpu.h"

#define JIT_TRACE_MAX 1024 /* the text is shorter in any case */

/* The lines of an entered block: "Trace VCPU: PC" with `exec`, the registers behind it with `cpu`, under QEMU's names.
 * How long the text is. */
size_t jit_trace_text(char text[JIT_TRACE_MAX], const struct arm64_cpu *c, bool exec, bool cpu);

#endif
