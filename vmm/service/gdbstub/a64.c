/* AArch64's registers for GDB, see a64.h. */
#include "vmm/service/gdbstub/a64.h"

#include <stdarg.h>
#include <stdio.h>

size_t a64_gdb_size(const struct a64_gdb *g, unsigned n)
{
    if (n == A64_GDB_CPSR || n == A64_GDB_FPSR || n == A64_GDB_FPCR)
        return 4;
    if (n >= A64_GDB_V0 && n < A64_GDB_FPSR)
        return 16;
    return n < A64_GDB_SYSTEM + g->nsystem ? 8 : 0;
}

bool a64_gdb_read(const struct a64_gdb *g, struct arm64_cpu *c, unsigned n, uint8_t value[A64_GDB_REG_MAX])
{
    uint64_t v;

    if (n <= A64_GDB_SP) {
        v = c->x[n];
    } else if (n >= A64_GDB_V0 && n < A64_GDB_FPSR) {
        memcpy(value, c->v[n - A64_GDB_V0].b, 16);
        return true;
    } else {
        switch (n) {
        case A64_GDB_PC: v = c->pc; break;
        case A64_GDB_CPSR: v = arm64_pstate(c); break;
        case A64_GDB_FPSR: v = c->fpsr; break;
        case A64_GDB_FPCR: v = c->fpcr; break;
        case A64_GDB_TPIDR: v = c->sys.tpidr_el0; break;
        default:
            if (n - A64_GDB_SYSTEM >= g->nsystem || !g->read_system(c, g->system[n - A64_GDB_SYSTEM].enc, &v))
                return false;
        }
    }
    memcpy(value, &v, 8);
    return true;
}

bool a64_gdb_write(const struct a64_gdb *g, struct arm64_cpu *c, unsigned n, const uint8_t value[A64_GDB_REG_MAX])
{
    uint64_t v;
    uint32_t w;

    memcpy(&v, value, 8);
    w = (uint32_t)v;
    if (n <= A64_GDB_SP) {
        c->x[n] = v;
    } else if (n >= A64_GDB_V0 && n < A64_GDB_FPSR) {
        memcpy(c->v[n - A64_GDB_V0].b, value, 16);
    } else {
        switch (n) {
        case A64_GDB_PC: c->pc = v; break;
        case A64_GDB_CPSR:
            arm64_set_nzcv(c, w);
            c->pstate_misc = (c->pstate_misc & ~g->cpsr_write) | (w & g->cpsr_write);
            break;
        case A64_GDB_FPSR: c->fpsr = w & g->fpsr_write; break;
        case A64_GDB_FPCR: c->fpcr = w & g->fpcr_write; break;
        case A64_GDB_TPIDR: c->sys.tpidr_el0 = v; break;
        default: return false;
        }
    }
    return true;
}

/* ---- the description ---- */

struct text {
    char *buf;
    size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(t->buf + t->len, t->size - t->len, fmt, ap);
    va_end(ap);
    t->len = MIN(t->len + (size_t)n, t->size - 1);
}

static void put_reg(struct text *t, const char *name, unsigned bits, const char *rest)
{
    put(t, "<reg name=\"%s\" bitsize=\"%u\"%s/>\n", name, bits, rest);
}

static void put_core(struct text *t)
{
    char name[8];

    put(t, "<feature name=\"org.gnu.gdb.aarch64.core\">\n"
           "<flags id=\"cpsr_flags\" size=\"4\">"
           "<field name=\"SP\" start=\"0\" end=\"0\"/><field name=\"EL\" start=\"2\" end=\"3\"/>"
           "<field name=\"nRW\" start=\"4\" end=\"4\"/><field name=\"F\" start=\"6\" end=\"6\"/>"
           "<field name=\"I\" start=\"7\" end=\"7\"/><field name=\"A\" start=\"8\" end=\"8\"/>"
           "<field name=\"D\" start=\"9\" end=\"9\"/><field name=\"BTYPE\" start=\"10\" end=\"11\"/>"
           "<field name=\"SSBS\" start=\"12\" end=\"12\"/><field name=\"IL\" start=\"20\" end=\"20\"/>"
           "<field name=\"SS\" start=\"21\" end=\"21\"/><field name=\"PAN\" start=\"22\" end=\"22\"/>"
           "<field name=\"UAO\" start=\"23\" end=\"23\"/><field name=\"DIT\" start=\"24\" end=\"24\"/>"
           "<field name=\"V\" start=\"28\" end=\"28\"/><field name=\"C\" start=\"29\" end=\"29\"/>"
           "<field name=\"Z\" start=\"30\" end=\"30\"/><field name=\"N\" start=\"31\" end=\"31\"/></flags>\n");
    for (unsigned n = 0; n < 31; n++) {
        snprintf(name, sizeof(name), "x%u", n);
        put_reg(t, name, 64, "");
    }
    put_reg(t, "sp", 64, " type=\"data_ptr\"");
    put_reg(t, "pc", 64, " type=\"code_ptr\"");
    put_reg(t, "cpsr", 32, " type=\"cpsr_flags\"");
    put(t, "</feature>\n");
}

static void put_fpu(struct text *t)
{
    static const struct {
        const char *id, *type;
        unsigned count;
    } vector[] = {
        {"v2d", "ieee_double", 2}, {"v2u", "uint64", 2},  {"v2i", "int64", 2},     {"v4f", "ieee_single", 4},
        {"v4u", "uint32", 4},      {"v4i", "int32", 4},   {"v8f", "ieee_half", 8}, {"v8u", "uint16", 8},
        {"v8i", "int16", 8},       {"v16u", "uint8", 16}, {"v16i", "int8", 16},    {"v1u", "uint128", 1},
        {"v1i", "int128", 1},
    };
    static const struct {
        const char *id, *field[3][2];
    } lanes[] = {
        {"vnd", {{"f", "v2d"}, {"u", "v2u"}, {"s", "v2i"}}},
        {"vns", {{"f", "v4f"}, {"u", "v4u"}, {"s", "v4i"}}},
        {"vnh", {{"f", "v8f"}, {"u", "v8u"}, {"s", "v8i"}}},
        {"vnb", {{"u", "v16u"}, {"s", "v16i"}}},
        {"vnq", {{"u", "v1u"}, {"s", "v1i"}}},
    };
    char name[8];

    put(t, "<feature name=\"org.gnu.gdb.aarch64.fpu\">\n");
    for (size_t i = 0; i < ARRAY_SIZE(vector); i++)
        put(t, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>\n", vector[i].id, vector[i].type, vector[i].count);
    for (size_t i = 0; i < ARRAY_SIZE(lanes); i++) {
        put(t, "<union id=\"%s\">", lanes[i].id);
        for (size_t k = 0; k < 3 && lanes[i].field[k][0]; k++)
            put(t, "<field name=\"%s\" type=\"%s\"/>", lanes[i].field[k][0], lanes[i].field[k][1]);
        put(t, "</union>\n");
    }
    put(t,
        "<union id=\"aarch64v\"><field name=\"d\" type=\"vnd\"/><field name=\"s\" type=\"vns\"/>"
        "<field name=\"h\" type=\"vnh\"/><field name=\"b\" type=\"vnb\"/><field name=\"q\" type=\"vnq\"/></union>\n");
    for (unsigned n = 0; n < 32; n++) {
        snprintf(name, sizeof(name), "v%u", n);
        put_reg(t, name, 128, " type=\"aarch64v\"");
    }
    put_reg(t, "fpsr", 32, "");
    put_reg(t, "fpcr", 32, "");
    put(t, "</feature>\n");
}

size_t a64_gdb_xml(const struct a64_gdb *g, char *text, size_t size)
{
    struct text t = {.buf = text, .size = size};

    put(&t, "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n"
            "<architecture>aarch64</architecture>\n<osabi>GNU/Linux</osabi>\n");
    put_core(&t);
    put_fpu(&t);
    put(&t, "<feature name=\"org.gnu.gdb.aarch64.tls\">\n");
    put_reg(&t, "tpidr", 64, " type=\"data_ptr\"");
    put(&t, "</feature>\n<feature name=\"org.pipit.aarch64.system\">\n");
    for (unsigned i = 0; i < g->nsystem; i++)
        put_reg(&t, g->system[i].name, 64, " group=\"system\" save-restore=\"no\"");
    put(&t, "</feature>\n</target>\n");
    return t.len < size - 1 ? t.len : 0;
}
