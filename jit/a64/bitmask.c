/* Immediates of logical instructions and bit fields. */
#include "jit/a64/decode.h"

#include "vmm/base/util.h"

static uint64_t ones(unsigned n)
{
    return n ? UINT64_MAX >> (64 - n) : 0;
}

static uint64_t replicate(uint64_t elem, unsigned esize)
{
    for (; esize < 64; esize *= 2)
        elem |= elem << esize;
    return elem;
}

bool a64_bitmask(unsigned n, unsigned imms, unsigned immr, bool immediate, unsigned datasize, uint64_t *wmask,
                 uint64_t *tmask)
{
    unsigned size_bits = n << 6 | (~imms & 63);
    if (size_bits < 2)
        return false;
    unsigned len = 31 - (unsigned)__builtin_clz(size_bits), esize = 1u << len, levels = esize - 1;
    if (esize > datasize || (immediate && (imms & levels) == levels))
        return false;
    unsigned s = imms & levels, r = immr & levels, d = (s - r) & levels;
    uint64_t welem = ones(s + 1);
    if (r)
        welem = (welem >> r | welem << (esize - r)) & ones(esize);
    *wmask = replicate(welem, esize) & ones(datasize);
    *tmask = replicate(ones(d + 1), esize) & ones(datasize);
    return true;
}
