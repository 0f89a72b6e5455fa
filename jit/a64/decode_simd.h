/*
 * Predicates of the INSN_IF rows of insn_simd.def: `static bool a64_if_NAME(uint32_t insn)`. For decode.c only.
 */
#ifndef PIPIT_JIT_A64_DECODE_SIMD_H
#define PIPIT_JIT_A64_DECODE_SIMD_H

#include "jit/a64/decode.h"

#endif
