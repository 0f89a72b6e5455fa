/* info, map, check: looking at images. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "vmm/img/img.h"

static uint64_t actual_size(struct block *b)
{
    struct stat st;
    int fd = block_raw_fd(block_is_qcow2(b) ? qcow2_file(b) : b);

    return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

/* ---- info ---- */

static const char *compression_name(unsigned type)
{
    return type == QCOW2_ZSTD ? "zstd" : "zlib";
}

static void json_snapshots(struct img_json *j, const struct qcow2_snapshots *s)
{
    img_json_open(j, "snapshots", '[');
    for (unsigned i = 0; i < s->n; i++) {
        const struct qcow2_snapshot *t = &s->list[i];
        img_json_open(j, NULL, '{');
        if (t->icount != UINT64_MAX)
            img_json_number(j, "icount", t->icount);
        img_json_number(j, "vm-clock-nsec", t->clock_nsec % 1000000000);
        img_json_text(j, "name", t->name);
        img_json_number(j, "date-sec", t->date_sec);
        img_json_number(j, "date-nsec", t->date_nsec);
        img_json_number(j, "vm-clock-sec", t->clock_nsec / 1000000000);
        img_json_text(j, "id", t->id);
        img_json_number(j, "vm-state-size", t->vm_state_size);
        img_json_close(j, '}');
    }
    img_json_close(j, ']');
}

static void json_specific(struct img_json *j, const struct qcow2_header *h)
{
    img_json_open(j, "format-specific", '{');
    img_json_text(j, "type", "qcow2");
    img_json_open(j, "data", '{');
    img_json_text(j, "compat", h->version < 3 ? "0.10" : "1.1");
    img_json_text(j, "compression-type", compression_name(h->compression));
    if (h->version >= 3)
        img_json_bool(j, "lazy-refcounts", h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS);
    img_json_number(j, "refcount-bits", BIT64(h->refcount_order));
    if (h->version >= 3) {
        img_json_bool(j, "corrupt", h->incompatible & QCOW2_INCOMPAT_CORRUPT);
        img_json_bool(j, "extended-l2", h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2);
    }
    img_json_close(j, '}');
    img_json_close(j, '}');
}

static void json_image(struct img_json *j, struct block *b, const char *path, const struct qcow2_snapshots *s)
{
    const struct qcow2_header *h = block_is_qcow2(b) ? qcow2_header(b) : NULL;

    img_json_open(j, NULL, '{');
    if (s->n)
        json_snapshots(j, s);
    if (h && *h->backing_format)
        img_json_text(j, "backing-filename-format", h->backing_format);
    img_json_number(j, "virtual-size", block_size(b));
    img_json_text(j, "filename", path);
    if (h)
        img_json_number(j, "cluster-size", BIT64(h->cluster_bits));
    img_json_text(j, "format", h ? "qcow2" : "raw");
    img_json_number(j, "actual-size", actual_size(b));
    if (h)
        json_specific(j, h);
    if (h && *h->backing) {
        char *full = qcow2_backing_path(path, h->backing);
        img_json_text(j, "full-backing-filename", full ? full : h->backing);
        img_json_text(j, "backing-filename", h->backing);
        free(full);
    }
    img_json_bool(j, "dirty-flag", h && h->incompatible & QCOW2_INCOMPAT_DIRTY);
    img_json_close(j, '}');
}

static void human_snapshots(const struct qcow2_snapshots *s)
{
    char size[32], date[32];
    struct tm tm;

    printf("Snapshot list:\n%-10s%-18s%7s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for (unsigned i = 0; i < s->n; i++) {
        const struct qcow2_snapshot *t = &s->list[i];
        time_t when = t->date_sec;
        uint64_t sec = t->clock_nsec / 1000000000;
        char clock[40], icount[24] = "";

        localtime_r(&when, &tm);
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
        snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(sec / 3600), (unsigned)(sec / 60 % 60),
                 (unsigned)(sec % 60), (unsigned)(t->clock_nsec / 1000000 % 1000));
        if (t->icount != UINT64_MAX)
            snprintf(icount, sizeof(icount), "%llu", (unsigned long long)t->icount);
        printf("%-9s %-16s %8s%20s%13s%11s\n", t->id, t->name, img_human(t->vm_state_size, size), date, clock, icount);
    }
}

void img_snapshot_list(struct block *b)
{
    struct qcow2_snapshots s;

    if (qcow2_snapshots_read(b, &s, NULL) < 0)
        return;
    if (s.n)
        human_snapshots(&s);
    qcow2_snapshots_free(&s);
}

static void human_image(struct block *b, const char *path, const struct qcow2_snapshots *s)
{
    const struct qcow2_header *h = block_is_qcow2(b) ? qcow2_header(b) : NULL;
    char text[32];

    printf("image: %s\nfile format: %s\n", path, h ? "qcow2" : "raw");
    printf("virtual size: %s (%llu bytes)\n", img_human(block_size(b), text), (unsigned long long)block_size(b));
    printf("disk size: %s\n", img_human(actual_size(b), text));
    if (!h)
        return;
    if (h->incompatible & QCOW2_INCOMPAT_DIRTY)
        printf("cleanly shut down: no\n");
    printf("cluster_size: %llu\n", (unsigned long long)BIT64(h->cluster_bits));
    if (*h->backing) {
        char *full = qcow2_backing_path(path, h->backing);
        printf("backing file: %s", h->backing);
        if (full && strcmp(full, h->backing) != 0)
            printf(" (actual path: %s)", full);
        printf("\n");
        if (*h->backing_format)
            printf("backing file format: %s\n", h->backing_format);
        free(full);
    }
    if (s->n)
        human_snapshots(s);
    printf("Format specific information:\n    compat: %s\n    compression type: %s\n", h->version < 3 ? "0.10" : "1.1",
           compression_name(h->compression));
    if (h->version >= 3)
        printf("    lazy refcounts: %s\n", h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS ? "true" : "false");
    printf("    refcount bits: %u\n", 1U << h->refcount_order);
    if (h->version >= 3)
        printf("    corrupt: %s\n    extended l2: %s\n", h->incompatible & QCOW2_INCOMPAT_CORRUPT ? "true" : "false",
               h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? "true" : "false");
}

/* One image and, with `chain`, those behind it. */
static int info_chain(struct img *m, struct block *b, const char *file, bool chain)
{
    struct img_json j = {.first = true};
    char *path = strdup(file);
    int status = 0;

    if (m->json && chain)
        img_json_open(&j, NULL, '[');
    for (bool more = false; b && path && status == 0; more = true) {
        struct qcow2_snapshots s = {0};
        struct err e = {0};

        if (block_is_qcow2(b) && qcow2_snapshots_read(b, &s, &e) < 0)
            status = img_fail(m, "%s", e.msg);
        if (m->json) {
            json_image(&j, b, path, &s);
        } else {
            if (more)
                printf("\n");
            human_image(b, path, &s);
        }
        qcow2_snapshots_free(&s);
        if (!chain || !qcow2_backing(b))
            break;
        char *next = qcow2_backing_path(path, qcow2_header(b)->backing);
        free(path);
        path = next;
        b = qcow2_backing(b);
    }
    if (m->json && chain)
        img_json_close(&j, ']');
    free(path);
    return status;
}

int img_info(struct img *m)
{
    static const struct option longs[] = {{"backing-chain", no_argument, NULL, 'b'}, IMG_LONG_COMMON};
    const char *format = NULL;
    bool chain = false;
    struct block *b;
    int c;

    while ((c = getopt_long(m->argc, m->argv, "f:U", longs, NULL)) >= 0) {
        if (c == 'f')
            format = optarg;
        else if (c == 'b')
            chain = true;
        else if (img_common_option(m, c))
            return 1;
    }
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    const char *path = img_file(m, m->argv[optind], &format);
    if (!path || img_open(m, &b, path, format, false, chain ? m->backing : BLOCK_BACKING_NONE))
        return 1;
    int status = info_chain(m, b, path, chain);
    block_close(b);
    return status;
}

/* ---- map ---- */

struct map_row {
    uint64_t start;
    struct block_extent x;
    unsigned depth;
};

static bool rows_join(const struct map_row *a, const struct map_row *b)
{
    return a->depth == b->depth && a->x.present == b->x.present && a->x.zero == b->x.zero && a->x.data == b->x.data &&
           a->x.located == b->x.located && (!a->x.located || a->x.offset + a->x.len == b->x.offset);
}

/* 1 after a message: without JSON there is no way to say that data lies nowhere in particular. */
static int map_print(const struct img *m, const struct map_row *r, const char *file, bool first)
{
    if (!m->json && r->x.data && !r->x.located)
        return img_fail(m, "%s has compressed clusters, which have no place of their own: use --output=json", file);
    if (!m->json) {
        if (r->x.data && !r->x.zero)
            printf("%#-16llx%#-16llx%#-16llx%s\n", (unsigned long long)r->start, (unsigned long long)r->x.len,
                   (unsigned long long)r->x.offset, file);
        return 0;
    }
    printf("%s{ \"start\": %llu, \"length\": %llu, \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           first ? "" : ",\n", (unsigned long long)r->start, (unsigned long long)r->x.len, r->depth,
           r->x.present ? "true" : "false", r->x.zero ? "true" : "false", r->x.data ? "true" : "false");
    if (r->x.located)
        printf(", \"offset\": %llu", (unsigned long long)r->x.offset);
    printf("}");
    return 0;
}

/* The file of the layer at `depth` below the image at `path`; malloc'ed. */
static char *layer_path(struct block *b, const char *path, unsigned depth)
{
    char *p = strdup(path);

    for (; p && depth && qcow2_backing(b); depth--, b = qcow2_backing(b)) {
        char *next = qcow2_backing_path(p, qcow2_header(b)->backing);
        free(p);
        p = next;
    }
    return p;
}

/* Of bytes [at, end). */
static int map_image(struct img *m, struct block *b, const char *path, uint64_t at, uint64_t end)
{
    struct map_row row = {0};
    bool have = false, first = true;
    int status = 0;

    printf("%s", m->json ? "[" : "Offset          Length          Mapped to       File\n");
    while (at <= end && status == 0) {
        struct map_row next = {.start = at};
        struct block *layer;
        if (at < end) {
            int rc = img_status(b, at, end - at, &next.x, &layer, &next.depth);
            if (rc < 0)
                return img_fail(m, "Failed to map '%s' at offset %llu: %s", path, (unsigned long long)at,
                                strerror(-rc));
            if (have && rows_join(&row, &next)) {
                row.x.len += next.x.len;
                at += next.x.len;
                continue;
            }
        }
        if (have) {
            char *file = m->json ? NULL : layer_path(b, path, row.depth);
            status = map_print(m, &row, file ? file : path, first);
            free(file);
            first = false;
        }
        if (at == end)
            break;
        row = next;
        have = true;
        at += next.x.len;
    }
    printf("%s", m->json ? "]\n" : "");
    return status;
}

int img_map(struct img *m)
{
    static const struct option longs[] = {
        {"start-offset", required_argument, NULL, 's'}, {"max-length", required_argument, NULL, 'l'}, IMG_LONG_COMMON};
    uint64_t start = 0, length = UINT64_MAX;
    const char *format = NULL;
    struct block *b;
    int c;

    while ((c = getopt_long(m->argc, m->argv, "f:s:l:U", longs, NULL)) >= 0) {
        if (c == 'f')
            format = optarg;
        else if (c == 's' || c == 'l' ? img_size(m, optarg, c == 's' ? &start : &length) : img_common_option(m, c))
            return 1;
    }
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    const char *path = img_file(m, m->argv[optind], &format);
    if (!path || img_open(m, &b, path, format, false, m->backing))
        return 1;
    uint64_t from = MIN(start, block_size(b)), end = from + MIN(length, block_size(b) - from);
    int status = map_image(m, b, path, from, end);
    block_close(b);
    return status;
}

/* ---- check ---- */

static void say_finding(const char *text, bool corruption)
{
    fprintf(stderr, "%s: %s\n", corruption ? "ERROR" : "Leaked cluster", text);
}

static void check_json(const char *path, const struct qcow2_check *k)
{
    struct img_json j = {.first = true};

    img_json_open(&j, NULL, '{');
    img_json_number(&j, "image-end-offset", k->image_end);
    img_json_number(&j, "total-clusters", k->total_clusters);
    img_json_number(&j, "check-errors", k->check_errors);
    if (k->corruptions - k->corruptions_fixed)
        img_json_number(&j, "corruptions", k->corruptions - k->corruptions_fixed);
    if (k->corruptions_fixed)
        img_json_number(&j, "corruptions-fixed", k->corruptions_fixed);
    if (k->leaks - k->leaks_fixed)
        img_json_number(&j, "leaks", k->leaks - k->leaks_fixed);
    if (k->leaks_fixed)
        img_json_number(&j, "leaks-fixed", k->leaks_fixed);
    if (k->allocated_clusters)
        img_json_number(&j, "allocated-clusters", k->allocated_clusters);
    if (k->fragmented_clusters)
        img_json_number(&j, "fragmented-clusters", k->fragmented_clusters);
    if (k->compressed_clusters)
        img_json_number(&j, "compressed-clusters", k->compressed_clusters);
    img_json_text(&j, "filename", path);
    img_json_text(&j, "format", "qcow2");
    img_json_close(&j, '}');
}

static void check_human(const struct qcow2_check *k)
{
    uint64_t bad = k->corruptions - k->corruptions_fixed, leaks = k->leaks - k->leaks_fixed;
    double allocated = (double)k->allocated_clusters;

    if (k->corruptions_fixed || k->leaks_fixed)
        printf("The following inconsistencies were found and repaired:\n\n    %llu leaked clusters\n    %llu "
               "corruptions\n\nDouble checking the fixed image now...\n",
               (unsigned long long)k->leaks_fixed, (unsigned long long)k->corruptions_fixed);
    if (!bad && !leaks && !k->check_errors)
        printf("No errors were found on the image.\n");
    if (bad)
        printf("\n%llu errors were found on the image.\nData may be corrupted, or further writes to the image may "
               "corrupt it.\n",
               (unsigned long long)bad);
    if (leaks)
        printf("\n%llu leaked clusters were found on the image.\nThis means waste of disk space, but no harm to "
               "data.\n",
               (unsigned long long)leaks);
    if (k->check_errors)
        printf("\n%llu internal errors have occurred during the check.\n", (unsigned long long)k->check_errors);
    if (k->total_clusters && k->allocated_clusters)
        printf("%llu/%llu = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
               (unsigned long long)k->allocated_clusters, (unsigned long long)k->total_clusters,
               allocated * 100 / (double)k->total_clusters, (double)k->fragmented_clusters * 100 / allocated,
               (double)k->compressed_clusters * 100 / allocated);
    printf("Image end offset: %llu\n", (unsigned long long)k->image_end);
}

int img_check(struct img *m)
{
    static const struct option longs[] = {{"repair", required_argument, NULL, 'r'}, IMG_LONG_COMMON};
    const char *format = NULL, *repair = NULL;
    struct qcow2_check k, after;
    struct err e = {0};
    struct block *b;
    int c;

    while ((c = getopt_long(m->argc, m->argv, "f:r:T:qU", longs, NULL)) >= 0) {
        if (c == 'T') {
            if (img_cache(m, optarg, &m->source))
                return 1;
        } else if (c == 'f')
            format = optarg;
        else if (c == 'r')
            repair = optarg;
        else if (img_common_option(m, c))
            return 1;
    }
    if (repair && strcmp(repair, "leaks") != 0 && strcmp(repair, "all") != 0)
        return img_usage(m, "-r takes leaks or all, not %s", repair);
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    const char *path = img_file(m, m->argv[optind], &format);
    if (!path)
        return 1;
    enum block_format f = BLOCK_FORMAT_PROBE;
    if (img_format(m, format, &f))
        return 1;
    if (f == BLOCK_FORMAT_PROBE) {
        int p = block_probe(path, &e);
        if (p < 0)
            return img_fail(m, "Could not open '%s': %s", path, e.msg);
        f = (enum block_format)p;
    }
    if (f == BLOCK_FORMAT_RAW) {
        img_fail(m, "This image format does not support checks");
        return IMG_CHECK_UNSUPPORTED;
    }
    const struct qcow2_options o = {
        .block = {.read_only = !repair, .writeback = true, .direct = m->source.direct, .no_lock = m->no_lock},
        .backing = BLOCK_BACKING_NONE,
        .repairing = true,
    };
    if (qcow2_open(&b, m->engine, path, &o, &e) < 0)
        return img_fail(m, "Could not open '%s': %s", path, e.msg);
    bool all = repair && !strcmp(repair, "all");
    int rc = qcow2_check(b, &k, repair, all, m->quiet || m->json ? NULL : say_finding, &e);
    if (rc == 0 && (k.corruptions_fixed || k.leaks_fixed)) {
        rc = qcow2_check(b, &after, false, false, m->quiet || m->json ? NULL : say_finding, &e);
        if (rc == 0) {
            k.corruptions_fixed = k.corruptions - MIN(after.corruptions, k.corruptions);
            k.leaks_fixed = k.leaks - MIN(after.leaks, k.leaks);
            k.image_end = after.image_end;
        }
    }
    block_close(b);
    if (rc < 0)
        return img_fail(m, "Check failed: %s", e.msg);
    if (m->json)
        check_json(path, &k);
    else if (!m->quiet)
        check_human(&k);
    if (k.check_errors)
        return IMG_CHECK_FAILED;
    if (k.corruptions > k.corruptions_fixed)
        return IMG_CHECK_CORRUPT;
    return k.leaks > k.leaks_fixed ? IMG_CHECK_LEAKS : 0;
}
