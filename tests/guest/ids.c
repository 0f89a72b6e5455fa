/*
 * Identification registers. What depends on the machine around the CPU, or on a choice that a model leaves open, is
 * masked: AArch32 (none here), EL2 and EL3, the GIC's system registers, granules, debug and performance counters.
 */
#include "tests/guest/guest.h"

#define SHOW(reg, mask) print(reg " %x\n", mrs(reg) & (mask))

int main(void)
{
    SHOW("midr_el1", ~0xful) /* without the revision */;
    SHOW("mpidr_el1", ~0ul);
    SHOW("ctr_el0", ~(3ul << 28)) /* without IDC and DIC */;
    SHOW("dczid_el0", ~0ul);
    SHOW("id_aa64pfr0_el1", 0x00ff0000ul);
    SHOW("id_aa64isar0_el1", ~0ul);
    SHOW("id_aa64mmfr0_el1", 0xfful);       /* physical size, ASID size */
    SHOW("id_aa64mmfr1_el1", 0x00f00000ul); /* PAN */
    SHOW("id_aa64mmfr2_el1", 0xf0ul);       /* UAO */
    SHOW("cntfrq_el0", ~0ul);
    SHOW("currentel", ~0ul);
    print("end\n");
    return 0;
}
