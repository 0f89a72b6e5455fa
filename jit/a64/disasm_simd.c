/*
 * Operands and aliases of FP and SIMD instructions that templates cannot say by themselves.
 */
#include "jit/a64/disasm.h"

const struct a64_dis_fn a64_dis_simd_fns[] = {
    {NULL, NULL},
};

const struct a64_dis_pred a64_dis_simd_preds[] = {
    {NULL, NULL},
};
