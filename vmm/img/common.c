/* What the commands share: messages, opening, sizes, JSON. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/img/img.h"

static void say(const struct img *m, const char *fmt, va_list ap)
{
    fflush(stdout);
    fprintf(stderr, "%s: ", m->name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

int img_fail(const struct img *m, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(m, fmt, ap);
    va_end(ap);
    return 1;
}

int img_usage(const struct img *m, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(m, fmt, ap);
    va_end(ap);
    fprintf(stderr, "Try '%s %s --help' for more information\n", m->name, m->argv[0]);
    return 1;
}

int img_common_option(struct img *m, int c)
{
    switch (c) {
    case 'q': m->quiet = true; return 0;
    case 'U': m->no_lock = true; return 0;
    case 'p': m->progress = true; return 0;
    case 1001:
        if (!strcmp(optarg, "on"))
            m->backing = BLOCK_BACKING_ALL;
        else if (!strcmp(optarg, "near"))
            m->backing = BLOCK_BACKING_NEAR;
        else if (!strcmp(optarg, "off"))
            m->backing = BLOCK_BACKING_NONE;
        else
            return img_usage(m, "--backing takes on, near or off, not %s", optarg);
        return 0;
    case 1002:
        if (strcmp(optarg, "json") != 0 && strcmp(optarg, "human") != 0)
            return img_usage(m, "--output takes human or json, not %s", optarg);
        m->json = !strcmp(optarg, "json");
        return 0;
    case 1000: return img_usage(m, "--object is not supported: neither encryption nor remote images are");
    case 1003: m->image_opts = true; return 0;
    default: return img_usage(m, "an option is not known or lacks its argument");
    }
}

/* The nodes of a file on this host, of the formats that we have. */
static const char *file_of_options(struct img *m, struct options *o, const char **format)
{
    static const char *const ours[] = {"driver", "file.driver", "file.filename", "filename"};
    const char *driver = options_get(o, "driver"), *below = options_get(o, "file.driver");
    const char *path = options_get(o, "file.filename"), *plain = options_get(o, "filename"), *key;
    bool file = driver && (!strcmp(driver, "file") || !strcmp(driver, "host_device"));

    if ((key = options_unused(o))) {
        img_fail(m, "--image-opts: \"%s\" is not supported: %s, %s, %s and %s are", key, ours[0], ours[1], ours[2],
                 ours[3]);
        return NULL;
    }
    if (below && strcmp(below, "file") != 0 && strcmp(below, "host_device") != 0) {
        img_fail(m, "--image-opts: file.driver=%s is not supported: images are files of this host", below);
        return NULL;
    }
    if (!path == !plain || (plain && below)) {
        img_fail(m, "--image-opts wants driver=raw or driver=qcow2, and file.filename=FILE");
        return NULL;
    }
    if (driver)
        *format = file ? "raw" : driver;
    return path ? path : plain;
}

const char *img_file(struct img *m, const char *text, const char **format)
{
    struct err e = {0};

    if (!m->image_opts)
        return text;
    if (*format) {
        img_usage(m, "--image-opts and a format do not go together: the list has it, as driver=");
        return NULL;
    }
    if (m->nnamed == ARRAY_SIZE(m->named) || options_parse(&m->named[m->nnamed], text, NULL, &e) < 0) {
        img_fail(m, "--image-opts: %s", *e.msg ? e.msg : "too many images");
        return NULL;
    }
    return file_of_options(m, &m->named[m->nnamed++], format);
}

int img_rate(struct img *m, const char *text)
{
    if (text_to_size(text, 1, &m->rate) < 0 || m->rate == 0)
        return img_usage(m, "Invalid rate limit '%s': bytes a second, or with k, M or G behind, are wanted", text);
    return 0;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void img_pace(struct img *m, uint64_t bytes)
{
    if (!m->rate)
        return;
    if (!m->began)
        m->began = now_ns();
    uint64_t due = m->began + (uint64_t)((double)m->paced * 1e9 / (double)m->rate), now = now_ns();
    m->paced += bytes;
    if (due > now) {
        struct timespec t = {(time_t)((due - now) / 1000000000), (long)((due - now) % 1000000000)};
        nanosleep(&t, NULL);
    }
}

int img_cache(const struct img *m, const char *text, struct block_options *o)
{
    static const struct {
        const char *name;
        bool direct, writeback, unsafe;
    } modes[] = {
        {"none", true, true, false},        {"writeback", false, true, false}, {"writethrough", false, false, false},
        {"directsync", true, false, false}, {"unsafe", false, true, true},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++)
        if (!strcmp(text, modes[i].name)) {
            o->direct = modes[i].direct;
            o->writeback = modes[i].writeback;
            o->ignore_flush = modes[i].unsafe;
            return 0;
        }
    return img_usage(m, "Invalid cache option '%s': none, writeback, writethrough, directsync and unsafe are known",
                     text);
}

int img_format(const struct img *m, const char *text, enum block_format *out)
{
    struct err e;
    int f = text ? block_format_parse(text, &e) : BLOCK_FORMAT_PROBE;

    if (f < 0)
        return img_fail(m, "Unknown file format '%s': raw and qcow2 are supported", text);
    *out = (enum block_format)f;
    return 0;
}

int img_open(struct img *m, struct block **out, const char *path, const char *format, bool writable,
             enum block_backing backing)
{
    struct qcow2_options o = {.block = writable ? m->target : m->source, .backing = backing};
    enum block_format f = BLOCK_FORMAT_PROBE;
    struct err e = {0};

    o.block.read_only = !writable;
    o.block.may_be_empty = true;
    o.block.no_lock = m->no_lock;
    if (img_format(m, format, &f))
        return 1;
    if (block_open(out, m->engine, path, f, &o, &e) < 0)
        return img_fail(m, "Could not open '%s': %s", path, e.msg);
    return 0;
}

int img_status(struct block *b, uint64_t offset, uint64_t len, struct block_extent *x, struct block **layer,
               unsigned *depth)
{
    *depth = 0;
    for (;;) {
        int rc = block_status(b, offset, len, x);
        if (rc < 0)
            return rc;
        *layer = b;
        struct block *backing = qcow2_backing(b);
        if (x->present || !backing || offset >= block_size(backing))
            return 0;
        len = MIN(x->len, block_size(backing) - offset);
        b = backing;
        ++*depth;
    }
}

bool img_is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

void img_progress(struct img *m, uint64_t done, uint64_t total)
{
    double percent = total ? 100.0 * (double)done / (double)total : 100.0;

    if (!m->progress || (done && done != total && percent < m->percent + 1))
        return;
    m->percent = percent;
    printf("    (%3.2f/100%%)\r%s", percent, done == total ? "\n" : "");
    fflush(stdout);
}

int img_size(const struct img *m, const char *text, uint64_t *out)
{
    if (text_to_size(text, 1, out) < 0 || *out > INT64_MAX)
        return img_fail(m, "Invalid image size '%s': a number, or one with k, M, G or T behind it, is wanted", text);
    return 0;
}

int img_number(const struct img *m, const char *what, uint64_t min, uint64_t max, uint64_t *out)
{
    if (text_to_u64(optarg, out) < 0 || *out < min || *out > max)
        return img_usage(m, "Invalid %s '%s': a number from %llu to %llu is wanted", what, optarg,
                         (unsigned long long)min, (unsigned long long)max);
    return 0;
}

const char *img_human(uint64_t bytes, char buf[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    unsigned u = 0;

    while (v >= 1000 && u + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        u++;
    }
    snprintf(buf, 32, "%.3g %s", v, units[u]);
    return buf;
}

/* ---- JSON ---- */

static void json_key(struct img_json *j, const char *key)
{
    if (j->depth)
        printf("%s\n%*s", j->first ? "" : ",", (int)j->depth * 4, "");
    j->first = false;
    if (key)
        printf("\"%s\": ", key);
}

void img_json_open(struct img_json *j, const char *key, char bracket)
{
    json_key(j, key);
    putchar(bracket);
    j->depth++;
    j->first = true;
}

void img_json_close(struct img_json *j, char bracket)
{
    j->depth--;
    printf("\n%*s%c%s", (int)j->depth * 4, "", bracket, j->depth ? "" : "\n");
    j->first = false;
}

void img_json_text(struct img_json *j, const char *key, const char *value)
{
    json_key(j, key);
    putchar('"');
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        if (*p == '"' || *p == '\\')
            printf("\\%c", *p);
        else if (*p < ' ')
            printf("\\u%04x", *p);
        else
            putchar(*p);
    }
    putchar('"');
}

void img_json_number(struct img_json *j, const char *key, uint64_t value)
{
    json_key(j, key);
    printf("%llu", (unsigned long long)value);
}

void img_json_bool(struct img_json *j, const char *key, bool value)
{
    json_key(j, key);
    printf("%s", value ? "true" : "false");
}
