/*
 * The A64 decoder: finds the row of a word.
 *
 * Look-up goes by bits 31..21. A bucket that still holds many rows is divided by bits 15..10. What is left is a short
 * list of rows, most fixed bits first, compared one after the other. The lists are constant: tools/gen/a64_index.c
 * makes them from the rows when pipit is built, because a program that runs for a millisecond has no time for it.
 */
#include "jit/a64/decode.h"

#include "jit/a64/index.h"

#include <gen/a64_index.inc>

enum a64_row a64_decode(uint32_t insn)
{
    uint16_t b = a64_tops[insn >> A64_TOP_SHIFT];

    if (b & A64_DIVIDED)
        b = a64_subs[b & ~A64_DIVIDED][insn >> A64_SUB_SHIFT & (A64_SUB_COUNT - 1)];
    for (const struct a64_entry *p = &a64_pool[b];; p++) {
        if ((insn & p->mask) == p->value && (!p->checked || a64_rows[p->row].valid(insn)))
            return (enum a64_row)p->row;
    }
}
