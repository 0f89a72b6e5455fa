/*
 * The disassembler: expands the template of an instruction's row (the language is in decode.h). The text is that of
 * the GNU tools as far as templates can say it, aliases included.
 */
#include "jit/a64/disasm.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/util.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

void a64_dis_put(struct a64_dis *d, const char *fmt, ...)
{
    size_t room = d->len < d->size ? d->size - d->len : 0;
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(room ? d->buf + d->len : NULL, room, fmt, ap);
    va_end(ap);
    d->len += (size_t)MAX(n, 0);
}

uint64_t a64_dis_field(const struct a64_dis *d, const char *letters, size_t n, unsigned *width)
{
    uint64_t v = 0;
    unsigned w = 0;

    for (size_t k = 0; k < n; k++) {
        for (unsigned i = 0; i < 32; i++) {
            if (d->row->bits[i] == letters[k]) {
                v = v << 1 | (d->insn >> (31 - i) & 1);
                w++;
            }
        }
    }
    if (width)
        *width = w;
    return v;
}

unsigned a64_dis_get(const struct a64_dis *d, char letter)
{
    return (unsigned)a64_dis_field(d, &letter, 1, NULL);
}

void a64_dis_gpr(struct a64_dis *d, unsigned r, bool is64, bool sp)
{
    if (r < 31)
        a64_dis_put(d, "%c%u", is64 ? 'x' : 'w', r);
    else if (sp)
        a64_dis_put(d, "%s", is64 ? "sp" : "wsp");
    else
        a64_dis_put(d, "%s", is64 ? "xzr" : "wzr");
}

const char *a64_dis_cond(unsigned cond)
{
    static const char names[16][3] = {"eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc",
                                      "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"};
    return names[cond & 15];
}

/* A number, or field letters, at *s; moves *s behind it. */
static uint64_t operand(const struct a64_dis *d, const char **s)
{
    const char *p = *s;
    uint64_t v = 0;

    if (is_digit(*p)) {
        for (; is_digit(*p); p++)
            v = v * 10 + (uint64_t)(*p - '0');
    } else {
        while (is_letter(*p))
            p++;
        v = a64_dis_field(d, *s, (size_t)(p - *s), NULL);
    }
    *s = p;
    return v;
}

static bool predicate(const struct a64_dis *d, const char *name, size_t n)
{
    const struct a64_dis_pred *tables[] = {a64_dis_base_preds, a64_dis_simd_preds};

    for (unsigned t = 0; t < ARRAY_SIZE(tables); t++) {
        for (const struct a64_dis_pred *p = tables[t]; p->name; p++) {
            if (strlen(p->name) == n && !memcmp(p->name, name, n))
                return p->holds(d);
        }
    }
    return false;
}

/* The condition list of an alternative, *s behind its '?'; leaves *s behind the ':'. */
static bool conditions(const struct a64_dis *d, const char **s)
{
    bool all = true;
    const char *p = *s;

    for (;;) {
        if (*p == '@') {
            size_t n = strcspn(++p, "&:");
            all = all && predicate(d, p, n);
            p += n;
        } else {
            uint64_t a = operand(d, &p);
            bool differ = *p == '!';
            p += differ ? 2 : 1;
            all = all && (a == operand(d, &p)) != differ;
        }
        if (*p != '&')
            break;
        p++;
    }
    *s = p + (*p == ':');
    return all;
}

static void print_item(struct a64_dis *d, const char *list, const char *end, uint64_t index)
{
    for (; index && list < end; index--) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        list = comma ? comma + 1 : end;
    }
    const char *comma = memchr(list, ',', (size_t)(end - list));
    a64_dis_put(d, "%.*s", (int)((comma ? comma : end) - list), list);
}

static void print_function(struct a64_dis *d, const char *name, size_t n)
{
    const struct a64_dis_fn *tables[] = {a64_dis_base_fns, a64_dis_simd_fns};

    for (unsigned t = 0; t < ARRAY_SIZE(tables); t++) {
        for (const struct a64_dis_fn *f = tables[t]; f->name; f++) {
            if (strlen(f->name) == n && !memcmp(f->name, name, n)) {
                f->print(d);
                return;
            }
        }
    }
    a64_dis_put(d, "<%.*s?>", (int)n, name);
}

static void print_kind(struct a64_dis *d, char kind, uint64_t v)
{
    bool z = a64_dis_get(d, 'z');

    switch (kind) {
    case 'x': a64_dis_gpr(d, v & 31, true, false); break;
    case 'w': a64_dis_gpr(d, v & 31, false, false); break;
    case 'r': a64_dis_gpr(d, v & 31, z, false); break;
    case 'X': a64_dis_gpr(d, v & 31, true, true); break;
    case 'W': a64_dis_gpr(d, v & 31, false, true); break;
    case 'R': a64_dis_gpr(d, v & 31, z, true); break;
    case 'l': a64_dis_gpr(d, v & 31, a64_dis_get(d, 'S') == 3, false); break;
    case 'b':
    case 'h':
    case 's':
    case 'd':
    case 'q':
    case 'v': a64_dis_put(d, "%c%u", kind, (unsigned)(v & 31)); break;
    case 'u': a64_dis_put(d, "%" PRIu64, v); break;
    case '#': a64_dis_put(d, "#%" PRIu64, v); break;
    case '-': a64_dis_put(d, "#%" PRId64, (int64_t)v); break;
    case '0': a64_dis_put(d, "#0x%" PRIx64, v); break;
    case 'c': a64_dis_put(d, "%s", a64_dis_cond((unsigned)v)); break;
    case 'C': a64_dis_put(d, "%s", a64_dis_cond((unsigned)v ^ 1)); break;
    case 'p': a64_dis_put(d, "0x%" PRIx64, d->pc + v * 4); break;
    default: a64_dis_put(d, "<%c?>", kind); break;
    }
}

/* One directive, [s, end) between the angle brackets. */
static void directive(struct a64_dis *d, const char *s, const char *end)
{
    bool optional = *s == ',';
    unsigned width;

    if (*s == '$') {
        print_function(d, s + 1, (size_t)(end - s - 1));
        return;
    }
    if (*s == '?') {
        s++;
        uint64_t index = operand(d, &s);
        print_item(d, s + 1, end, index);
        return;
    }
    s += optional;
    char kind = *s++;
    const char *letters = s;
    while (is_letter(*s))
        s++;
    uint64_t v = a64_dis_field(d, letters, (size_t)(s - letters), &width);
    if ((kind == '-' || kind == 'p') && width)
        v = (uint64_t)sext64(v, width);
    while (s < end) {
        char op = *s++;
        uint64_t n = operand(d, &s);
        switch (op) {
        case '*': v *= n; break;
        case '+': v += n; break;
        case '/': v = n ? v / n : 0; break;
        case '^': v <<= n & 63; break;
        default: v = n - v; break;
        }
    }
    if (optional && v == 0)
        return;
    if (optional)
        a64_dis_put(d, ", ");
    print_kind(d, kind, v);
}

static void expand(struct a64_dis *d, const char *s)
{
    for (;;) {
        if (*s != '?')
            break;
        s++;
        if (conditions(d, &s))
            break;
        s += strcspn(s, "|");
        if (!*s)
            return;
        s++;
    }
    while (*s && *s != '|') {
        if (*s == '<') {
            const char *end = s + strcspn(s, ">");
            directive(d, s + 1, end);
            s = end + (*end == '>');
        } else {
            size_t n = strcspn(s, "<|");
            a64_dis_put(d, "%.*s", (int)n, s);
            s += n;
        }
    }
}

int a64_disasm(char *buf, size_t size, uint32_t insn, uint64_t pc)
{
    enum a64_row row = a64_decode(insn);
    struct a64_dis d = {.buf = buf, .size = size, .insn = insn, .pc = pc, .row = &a64_rows[row]};

    if (size)
        buf[0] = 0;
    if (row == A64_UNALLOCATED)
        a64_dis_put(&d, ".inst 0x%08x ; undefined", insn);
    else
        expand(&d, d.row->syntax);
    char *space = size ? strchr(buf, ' ') : NULL;
    if (space && !memchr(buf, '\t', (size_t)(space - buf)))
        *space = '\t';
    return (int)d.len;
}
