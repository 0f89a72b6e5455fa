/*
 * Formatted output without a C library: vsnprintf's integers, strings and characters, and lines written to a
 * descriptor in one call. No floating point, no locale.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

struct out {
    char *buf;
    size_t size, len; /* len counts what did not fit, too */
};

static void put(struct out *o, char c)
{
    if (o->len < o->size)
        o->buf[o->len] = c;
    o->len++;
}

static void put_padding(struct out *o, int n, char c)
{
    while (n-- > 0)
        put(o, c);
}

struct spec {
    bool left, zero, plus, space, alt, upper;
    int width, precision; /* precision -1: none given */
    unsigned size;        /* of the integer argument, in bytes */
    char conv;
};

/* Reads the letters between % and the conversion. */
static const char *parse_spec(const char *p, struct spec *s, va_list *ap)
{
    *s = (struct spec){.precision = -1, .size = sizeof(int)};
    for (;; p++) {
        if (*p == '-')
            s->left = true;
        else if (*p == '0')
            s->zero = true;
        else if (*p == '+')
            s->plus = true;
        else if (*p == ' ')
            s->space = true;
        else if (*p == '#')
            s->alt = true;
        else
            break;
    }
    if (*p == '*') {
        s->width = va_arg(*ap, int);
        if (s->width < 0) {
            s->left = true;
            s->width = -s->width;
        }
        p++;
    } else {
        for (; *p >= '0' && *p <= '9'; p++)
            s->width = s->width * 10 + (*p - '0');
    }
    if (*p == '.') {
        s->precision = 0;
        if (*++p == '*') {
            s->precision = va_arg(*ap, int);
            p++;
        } else {
            for (; *p >= '0' && *p <= '9'; p++)
                s->precision = s->precision * 10 + (*p - '0');
        }
    }
    for (;; p++) {
        if (*p == 'l' || *p == 'j' || *p == 'z' || *p == 't')
            s->size = sizeof(long);
        else if (*p == 'h')
            s->size = s->size == sizeof(short) ? 1 : sizeof(short);
        else
            break;
    }
    s->conv = *p;
    return p;
}

static void put_number(struct out *o, const struct spec *s, unsigned long v, bool negative, unsigned base)
{
    const char *digits = s->upper ? "0123456789ABCDEF" : "0123456789abcdef";
    const char *prefix = "";
    char text[24];
    int n = 0, zeros, pad;
    char sign = negative ? '-' : s->plus ? '+' : s->space ? ' ' : 0;

    if (s->alt && v && base == 16)
        prefix = s->upper ? "0X" : "0x";
    else if (s->alt && base == 8)
        prefix = "0";
    for (unsigned long r = v; r || (!n && s->precision != 0); r /= base)
        text[n++] = digits[r % base];
    zeros = s->precision > n ? s->precision - n : 0;
    pad = s->width - n - zeros - (sign != 0) - (int)strlen(prefix);
    if (!s->left && !(s->zero && s->precision < 0)) {
        put_padding(o, pad, ' ');
        pad = 0;
    }
    if (sign)
        put(o, sign);
    while (*prefix)
        put(o, *prefix++);
    if (!s->left) {
        put_padding(o, pad, '0');
        pad = 0;
    }
    put_padding(o, zeros, '0');
    while (n)
        put(o, text[--n]);
    put_padding(o, pad, ' ');
}

static void put_text(struct out *o, const struct spec *s, const char *text)
{
    size_t n = strnlen(text, s->precision < 0 ? SIZE_MAX : (size_t)s->precision);

    if (!s->left)
        put_padding(o, s->width - (int)n, ' ');
    for (size_t i = 0; i < n; i++)
        put(o, text[i]);
    if (s->left)
        put_padding(o, s->width - (int)n, ' ');
}

static void put_integer(struct out *o, const struct spec *s, long v)
{
    if (s->conv == 'd' || s->conv == 'i') {
        v = s->size == 1 ? (signed char)v : s->size == sizeof(short) ? (short)v : s->size == sizeof(int) ? (int)v : v;
        put_number(o, s, v < 0 ? 0 - (unsigned long)v : (unsigned long)v, v < 0, 10);
        return;
    }
    unsigned long u = (unsigned long)v;
    if (s->size < sizeof(long))
        u &= (1UL << 8 * s->size) - 1;
    put_number(o, s, u, false, s->conv == 'u' ? 10 : s->conv == 'o' ? 8 : 16);
}

static void put_conversion(struct out *o, struct spec *s, va_list *ap)
{
    char text[2] = {0};

    switch (s->conv) {
    case 'c':
        text[0] = (char)va_arg(*ap, int);
        put_text(o, s, text);
        break;
    case 's': {
        const char *t = va_arg(*ap, const char *);
        put_text(o, s, t ? t : "(null)");
        break;
    }
    case 'p':
        s->alt = true;
        put_number(o, s, (unsigned long)va_arg(*ap, void *), false, 16);
        break;
    case 'X': s->upper = true; __attribute__((fallthrough));
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x': put_integer(o, s, s->size == sizeof(long) ? va_arg(*ap, long) : va_arg(*ap, int)); break;
    default: put(o, s->conv); break;
    }
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
{
    struct out o = {.buf = buf, .size = size};
    struct spec s;
    va_list ap;

    va_copy(ap, args);
    for (const char *p = fmt; *p; p++) {
        if (*p != '%') {
            put(&o, *p);
            continue;
        }
        p = parse_spec(p + 1, &s, &ap);
        if (!s.conv)
            break;
        put_conversion(&o, &s, &ap);
    }
    va_end(ap);
    if (size)
        buf[o.len < size ? o.len : size - 1] = '\0';
    return o.len > INT_MAX ? INT_MAX : (int)o.len;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    return n;
}

void sys_write_all(int fd, const char *text, size_t len)
{
    while (len) {
        long n = sys_call(__NR_write, fd, text, len);
        if (n == -4 /* EINTR */)
            continue;
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

void sys_vprint(int fd, const char *fmt, va_list ap)
{
    char line[1024];
    int n = vsnprintf(line, sizeof(line), fmt, ap);

    sys_write_all(fd, line, n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

void sys_print(int fd, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    sys_vprint(fd, fmt, ap);
    va_end(ap);
}
