/*
 * The interpreter's step: decode, the checks that come before every instruction, dispatch. The rows themselves are in
 * the other files of this folder, by class.
 */
#include "jit/interp/interp.h"

#include "jit/interp/regs.h"

static enum a64_next exec_unallocated(struct arm64_cpu *c, uint32_t insn)
{
    (void)insn;
    c->ops->undef(c);
    return A64_JUMP;
}

const a64_exec_fn a64_exec[A64_ROW_COUNT] = {
    [A64_UNALLOCATED] = exec_unallocated,
#define INSN(name, bits, feat, syntax) [A64_##name] = a64_exec_##name,
#define INSN_IF(name, bits, feat, syntax) [A64_##name] = a64_exec_##name,
#include "jit/a64/insn_base.def"
#include "jit/a64/insn_simd.def"
#undef INSN
#undef INSN_IF
};

enum a64_next a64_interp_step(struct arm64_cpu *c, uint32_t insn)
{
    enum a64_row row = a64_decode(insn);
    const struct a64_row_info *info = &a64_rows[row];

    if (info->feature != ARM64_FEAT_BASE && !arm64_has(c, info->feature)) {
        c->ops->undef(c);
        return A64_JUMP;
    }
    if (info->simd && c->ops->fp_access(c))
        return A64_JUMP;
    enum a64_next next = a64_exec[row](c, insn);
    if (next == A64_NEXT)
        c->pc += 4;
    return next;
}
