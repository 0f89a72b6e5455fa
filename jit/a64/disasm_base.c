/*
 * Operands and aliases of base instructions that templates cannot say by themselves.
 */
#include <inttypes.h>

#include "jit/a64/disasm.h"
#include "vmm/base/util.h"

static const char shift_names[4][4] = {"lsl", "lsr", "asr", "ror"};

static bool is64(const struct a64_dis *d)
{
    return a64_dis_get(d, 'z');
}

static void put_rd_rn(struct a64_dis *d, const char *mnemonic, bool rd64, bool rn64)
{
    a64_dis_put(d, "%s ", mnemonic);
    a64_dis_gpr(d, a64_rd(d->insn), rd64, false);
    a64_dis_put(d, ", ");
    a64_dis_gpr(d, a64_rn(d->insn), rn64, false);
}

/* ---- moves ---- */

/* MOV to or from SP is ADD of zero. */
static bool mov_sp(const struct a64_dis *d)
{
    return !a64_dis_get(d, 'h') && !a64_dis_get(d, 'i') && (a64_rd(d->insn) == 31 || a64_rn(d->insn) == 31);
}

static uint64_t bitmask_of(const struct a64_dis *d)
{
    uint64_t wmask = 0, tmask;
    a64_bitmask(a64_dis_get(d, 'N'), a64_dis_get(d, 'k'), a64_dis_get(d, 'r'), true, is64(d) ? 64 : 32, &wmask, &tmask);
    return wmask;
}

/* Can MOVZ or MOVN make this value? ORR is called MOV where they cannot, or not into SP. */
static bool move_wide_makes(uint64_t v, bool sf)
{
    uint64_t all = sf ? UINT64_MAX : UINT32_MAX;

    for (unsigned shift = 0; shift < (sf ? 64u : 32u); shift += 16) {
        uint64_t field = UINT64_C(0xffff) << shift;
        if (!(v & ~field) || !(~v & all & ~field))
            return true;
    }
    return false;
}

static bool mov_bitmask(const struct a64_dis *d)
{
    return a64_rn(d->insn) == 31 && (a64_rd(d->insn) == 31 || !move_wide_makes(bitmask_of(d), is64(d)));
}

static bool mov_wide(const struct a64_dis *d)
{
    return a64_dis_get(d, 'i') || !a64_dis_get(d, 'h');
}

static bool mov_inverted(const struct a64_dis *d)
{
    return mov_wide(d) && (is64(d) || a64_dis_get(d, 'i') != 0xffff);
}

static uint64_t imm16_shifted(const struct a64_dis *d)
{
    return (uint64_t)a64_dis_get(d, 'i') << (16 * a64_dis_get(d, 'h'));
}

static void put_movz(struct a64_dis *d)
{
    a64_dis_put(d, "#0x%" PRIx64, imm16_shifted(d));
}

static void put_movn(struct a64_dis *d)
{
    a64_dis_put(d, "#0x%" PRIx64, ~imm16_shifted(d) & (is64(d) ? UINT64_MAX : UINT32_MAX));
}

static void put_hw(struct a64_dis *d)
{
    if (a64_dis_get(d, 'h'))
        a64_dis_put(d, ", lsl #%u", 16 * a64_dis_get(d, 'h'));
}

static void put_lsl12(struct a64_dis *d)
{
    if (a64_dis_get(d, 'h'))
        a64_dis_put(d, ", lsl #12");
}

static void put_bitmask(struct a64_dis *d)
{
    a64_dis_put(d, "#0x%" PRIx64, bitmask_of(d));
}

static int64_t adr_offset(const struct a64_dis *d)
{
    return sext64(a64_dis_get(d, 'i') << 2 | a64_dis_get(d, 'j'), 21);
}

static void put_adr(struct a64_dis *d)
{
    a64_dis_put(d, "0x%" PRIx64, d->pc + (uint64_t)adr_offset(d));
}

static void put_adrp(struct a64_dis *d)
{
    a64_dis_put(d, "0x%" PRIx64, (d->pc & ~UINT64_C(0xfff)) + ((uint64_t)adr_offset(d) << 12));
}

/* ---- bit fields ---- */

/* The names of the forms that SBFM and UBFM share, signed first. */
static void put_bitfield(struct a64_dis *d, bool sign)
{
    unsigned r = a64_dis_get(d, 'r'), s = a64_dis_get(d, 'k'), size = is64(d) ? 64 : 32;
    bool sf = is64(d);

    if (!sign && s != size - 1 && s + 1 == r) {
        put_rd_rn(d, "lsl", sf, sf);
        a64_dis_put(d, ", #%u", size - 1 - s);
    } else if (s == size - 1) {
        put_rd_rn(d, sign ? "asr" : "lsr", sf, sf);
        a64_dis_put(d, ", #%u", r);
    } else if (s < r) {
        put_rd_rn(d, sign ? "sbfiz" : "ubfiz", sf, sf);
        a64_dis_put(d, ", #%u, #%u", size - r, s + 1);
    } else if (r == 0 && (sign || !sf) && (s == 7 || s == 15)) {
        put_rd_rn(d, sign ? (s == 7 ? "sxtb" : "sxth") : (s == 7 ? "uxtb" : "uxth"), sf, false);
    } else if (r == 0 && s == 31 && sign) {
        put_rd_rn(d, "sxtw", sf, false);
    } else {
        put_rd_rn(d, sign ? "sbfx" : "ubfx", sf, sf);
        a64_dis_put(d, ", #%u, #%u", r, s - r + 1);
    }
}

static void put_sbfm(struct a64_dis *d)
{
    put_bitfield(d, true);
}

static void put_ubfm(struct a64_dis *d)
{
    put_bitfield(d, false);
}

static void put_bfm(struct a64_dis *d)
{
    unsigned r = a64_dis_get(d, 'r'), s = a64_dis_get(d, 'k'), size = is64(d) ? 64 : 32;
    bool sf = is64(d);

    if (s >= r) {
        put_rd_rn(d, "bfxil", sf, sf);
        a64_dis_put(d, ", #%u, #%u", r, s - r + 1);
    } else if (a64_rn(d->insn) == 31) {
        a64_dis_put(d, "bfc ");
        a64_dis_gpr(d, a64_rd(d->insn), sf, false);
        a64_dis_put(d, ", #%u, #%u", size - r, s + 1);
    } else {
        put_rd_rn(d, "bfi", sf, sf);
        a64_dis_put(d, ", #%u, #%u", size - r, s + 1);
    }
}

/* ---- register operands ---- */

static void put_shift(struct a64_dis *d)
{
    unsigned y = a64_dis_get(d, 'y'), i = a64_dis_get(d, 'i');
    if (y || i)
        a64_dis_put(d, ", %s #%u", shift_names[y], i);
}

static const char extend_names[8][5] = {"uxtb", "uxth", "uxtw", "uxtx", "sxtb", "sxth", "sxtw", "sxtx"};

/* The extended register of ADD and the like; with SP the neutral extension is written LSL, or nothing. */
static void put_extend(struct a64_dis *d)
{
    unsigned option = a64_dis_get(d, 'o'), amount = a64_dis_get(d, 'e');
    bool keeps_flags = !(d->insn & BIT32(29));
    bool sp = a64_rn(d->insn) == 31 || (keeps_flags && a64_rd(d->insn) == 31);
    const char *name = extend_names[option];

    a64_dis_gpr(d, a64_rm(d->insn), is64(d) && (option & 3) == 3, false);
    if (sp && option == (is64(d) ? 3 : 2)) {
        if (!amount)
            return;
        name = "lsl";
    }
    a64_dis_put(d, ", %s", name);
    if (amount)
        a64_dis_put(d, " #%u", amount);
}

/* The offset register of a load or store: bits 15:13 option, 12 scaled, 31:30 size (of SIMD with opc<1> too). */
static void put_offset(struct a64_dis *d)
{
    unsigned option = d->insn >> 13 & 7, size = d->insn >> 30;
    bool scaled = d->insn & BIT32(12);

    if (d->insn & BIT32(26) && d->insn & BIT32(23))
        size = 4;
    a64_dis_gpr(d, a64_rm(d->insn), option & 1, false);
    if (option == 3) {
        if (scaled)
            a64_dis_put(d, ", lsl #%u", size);
        return;
    }
    a64_dis_put(d, ", %s", extend_names[option]);
    if (scaled)
        a64_dis_put(d, " #%u", size);
}

static void put_prfop(struct a64_dis *d)
{
    static const char types[3][4] = {"pld", "pli", "pst"};
    unsigned op = a64_rd(d->insn), type = op >> 3, level = op >> 1 & 3;

    if (type == 3 || level == 3)
        a64_dis_put(d, "#0x%02x", op);
    else
        a64_dis_put(d, "%sl%u%s", types[type], level + 1, op & 1 ? "strm" : "keep");
}

/* AL and NV have no inverse, so CSET and its kin cannot be written with them. */
static bool cond_invertible(const struct a64_dis *d)
{
    return a64_dis_get(d, 'c') < 14;
}

/* ---- system ---- */

static void put_barrier(struct a64_dis *d)
{
    static const char names[16][6] = {"", "oshld", "oshst", "osh", "", "nshld", "nshst", "nsh",
                                      "", "ishld", "ishst", "ish", "", "ld",    "st",    "sy"};
    unsigned crm = a64_dis_get(d, 'i');

    if (names[crm][0])
        a64_dis_put(d, "%s", names[crm]);
    else
        a64_dis_put(d, "#0x%02x", crm);
}

static void put_hint(struct a64_dis *d)
{
    static const char *const names[64] = {
        [0] = "nop",        [6] = "dgh",        [7] = "xpaclri",  [8] = "pacia1716",  [10] = "pacib1716",
        [12] = "autia1716", [14] = "autib1716", [16] = "esb",     [17] = "psb csync", [18] = "tsb csync",
        [20] = "csdb",      [24] = "paciaz",    [25] = "paciasp", [26] = "pacibz",    [27] = "pacibsp",
        [28] = "autiaz",    [29] = "autiasp",   [30] = "autibz",  [31] = "autibsp",   [32] = "bti",
        [34] = "bti c",     [36] = "bti j",     [38] = "bti jc",
    };
    unsigned i = a64_dis_get(d, 'i');

    if (i < ARRAY_SIZE(names) && names[i])
        a64_dis_put(d, "%s", names[i]);
    else
        a64_dis_put(d, "hint #0x%x", i);
}

static uint32_t enc_of(const struct a64_dis *d)
{
    return d->insn >> 5 & 0xffff;
}

static void put_sysreg(struct a64_dis *d)
{
    uint32_t enc = enc_of(d);
    const char *name = a64_dis_sysreg(enc);

    if (name)
        a64_dis_put(d, "%s", name);
    else
        a64_dis_put(d, "s%u_%u_c%u_c%u_%u", enc >> 14, enc >> 11 & 7, enc >> 7 & 15, enc >> 3 & 15, enc & 7);
}

static void put_sys(struct a64_dis *d)
{
    uint32_t enc = enc_of(d);
    bool reg = true;
    const char *name = a64_dis_sys(enc, &reg);

    if (name)
        a64_dis_put(d, "%s", name);
    else
        a64_dis_put(d, "sys #%u, C%u, C%u, #%u", enc >> 11 & 7, enc >> 7 & 15, enc >> 3 & 15, enc & 7);
    if (name ? reg : a64_rd(d->insn) != 31) {
        a64_dis_put(d, ", ");
        a64_dis_gpr(d, a64_rd(d->insn), true, false);
    }
}

const struct a64_dis_fn a64_dis_base_fns[] = {
    {"adr", put_adr},
    {"adrp", put_adrp},
    {"lsl12", put_lsl12},
    {"hw", put_hw},
    {"movz", put_movz},
    {"movn", put_movn},
    {"bitmask", put_bitmask},
    {"sbfm", put_sbfm},
    {"ubfm", put_ubfm},
    {"bfm", put_bfm},
    {"shift", put_shift},
    {"extend", put_extend},
    {"offset", put_offset},
    {"prfop", put_prfop},
    {"barrier", put_barrier},
    {"hint", put_hint},
    {"sysreg", put_sysreg},
    {"sys", put_sys},
    {NULL, NULL},
};

const struct a64_dis_pred a64_dis_base_preds[] = {
    {"mov_sp", mov_sp},        {"mov_bitmask", mov_bitmask},
    {"mov_wide", mov_wide},    {"mov_inverted", mov_inverted},
    {"cond", cond_invertible}, {NULL, NULL},
};
