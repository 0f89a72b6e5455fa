/*
 * Sector by sector: 16 that the format leaves to others, the volume descriptor, its terminator, the path table in both
 * byte orders, the root folder, and the files one behind another. Where the format has a number in both byte orders,
 * both are written. Times are constants.
 */
#include "loader/iso9660.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/base/util.h"

enum { ISO_DESCRIPTOR = 16, ISO_TERMINATOR, ISO_PATHS_LE, ISO_PATHS_BE, ISO_ROOT, ISO_FILES };

#define ISO_PATHS_SIZE 10 /* bytes of a path table that has the root alone */
#define ISO_RECORD 33     /* bytes of a directory record in front of its name */
#define ISO_NAME_MAX 12   /* "FILENAM_.;1", and room for its NUL */
#define ISO_FLAG_FOLDER 0x02
#define ISO_MIN_SECTORS 32 /* some readers look at 24 before they take it for what it is */

static void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}

/* 7.2.3 and 7.3.3: little-endian, then big-endian. */
static void put_both16(uint8_t *p, uint16_t v)
{
    le16_put(p, v);
    put_be16(p + 2, v);
}

static void put_both32(uint8_t *p, uint32_t v)
{
    le32_put(p, v);
    put_be32(p + 4, v);
}

static void put_text(uint8_t *p, size_t n, const char *text)
{
    memset(p, ' ', n);
    memcpy(p, text, MIN(strlen(text), n));
}

/* ---- directory records ---- */

/* RRIP 4.1.1: mode, links, owner and group. */
static size_t put_px(uint8_t *p, uint32_t mode, uint32_t links)
{
    memcpy(p, "PX\x24\x01", 4);
    put_both32(p + 4, mode);
    put_both32(p + 12, links);
    put_both32(p + 20, 0);
    put_both32(p + 28, 0);
    return 36;
}

/* RRIP 4.1.4: the name. */
static size_t put_nm(uint8_t *p, const char *name)
{
    size_t n = strlen(name);

    memcpy(p, "NM", 2);
    p[2] = (uint8_t)(5 + n);
    p[3] = 1;
    p[4] = 0;
    memcpy(p + 5, name, n);
    return 5 + n;
}

/* SUSP 5.3 and 5.5, which the root's own record begins with: extensions are used, and it is these. */
static size_t put_susp(uint8_t *p)
{
    static const uint8_t sp[7] = {'S', 'P', 7, 1, 0xbe, 0xef, 0};
    static const uint8_t er[8] = {'E', 'R', 18, 1, 10, 0, 0, 1};

    memcpy(p, sp, sizeof(sp));
    memcpy(p + 7, er, sizeof(er));
    memcpy(p + 15, "RRIP_1991A", 10);
    return 25;
}

struct iso_record {
    const char *name; /* of ISO 9660 */
    size_t name_len;
    uint32_t sector, len;
    bool folder, first;
    const char *rock_ridge; /* NULL: a record without extensions, or of the folder itself */
    bool plain;             /* the descriptor's copy of the root's record: no extensions */
};

/* 9.1; returns its length. */
static size_t put_record(uint8_t *p, const struct iso_record *r)
{
    static const uint8_t date[7] = {80, 1, 1, 0, 0, 0, 0}; /* 1980 */
    size_t n = align_up(ISO_RECORD + r->name_len, 2);

    put_both32(p + 2, r->sector);
    put_both32(p + 10, r->len);
    memcpy(p + 18, date, sizeof(date));
    p[25] = r->folder ? ISO_FLAG_FOLDER : 0;
    put_both16(p + 28, 1);
    p[32] = (uint8_t)r->name_len;
    memcpy(p + ISO_RECORD, r->name, r->name_len);
    if (r->first)
        n += put_susp(p + n);
    if (!r->plain)
        n += put_px(p + n, r->folder ? S_IFDIR | 0500 : S_IFREG | 0400, r->folder ? 2 : 1);
    if (r->rock_ridge)
        n += put_nm(p + n, r->rock_ridge);
    n = align_up(n, 2);
    p[0] = (uint8_t)n;
    return n;
}

/* ---- names ---- */

/* "user-data" becomes "USER_DAT.;1": the name for readers without Rock Ridge. */
static void make_name(char out[ISO_NAME_MAX], const char *name)
{
    size_t n = 0;

    for (; name[n] && n < 8; n++)
        out[n] = (char)(name[n] >= 'a' && name[n] <= 'z' ? name[n] - 'a' + 'A' : name[n] == '-' ? '_' : name[n]);
    memcpy(out + n, ".;1", 4);
}

static bool name_is_good(const char *name)
{
    return *name && strlen(name) <= ISO9660_MAX_NAME &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

struct iso_entry {
    char name[ISO_NAME_MAX];
    const struct iso9660_file *file;
    uint32_t sector;
};

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct iso_entry *)a)->name, ((const struct iso_entry *)b)->name);
}

/* Fills `entry` in the order of names, which records must have; -EINVAL where two are the same. */
static int order_files(struct iso_entry *entry, const struct iso9660_file *file, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!name_is_good(file[i].name) || file[i].len > UINT32_MAX - ISO9660_SECTOR)
            return -EINVAL;
        make_name(entry[i].name, file[i].name);
        entry[i].file = &file[i];
    }
    qsort(entry, n, sizeof(*entry), compare_entries);
    for (unsigned i = 1; i < n; i++)
        if (!compare_entries(&entry[i - 1], &entry[i]))
            return -EINVAL;
    return 0;
}

/* ---- the image ---- */

/* 8.4 and 8.3. */
static void put_descriptors(uint8_t *image, const char *label, uint32_t sectors)
{
    const struct iso_record root = {
        .name = "", .name_len = 1, .sector = ISO_ROOT, .len = ISO9660_SECTOR, .folder = true, .plain = true};
    uint8_t *p = image + ISO_DESCRIPTOR * ISO9660_SECTOR;

    memcpy(p,
           "\x01"
           "CD001\x01",
           7);
    put_text(p + 8, 32, "");
    put_text(p + 40, 32, label);
    put_both32(p + 80, sectors);
    put_both16(p + 120, 1); /* volumes, and which of them this is */
    put_both16(p + 124, 1);
    put_both16(p + 128, ISO9660_SECTOR);
    put_both32(p + 132, ISO_PATHS_SIZE);
    le32_put(p + 140, ISO_PATHS_LE);
    put_be32(p + 148, ISO_PATHS_BE);
    put_record(p + 156, &root);
    put_text(p + 190, 813 - 190, ""); /* who made it, and three files that say more */
    for (unsigned at = 813; at < 881; at += 17)
        memset(p + at, '0', 16); /* no time of making, changing, ending and beginning */
    p[881] = 1;

    memcpy(image + ISO_TERMINATOR * ISO9660_SECTOR,
           "\xff"
           "CD001\x01",
           7);
}

/* 9.4. */
static void put_paths(uint8_t *image)
{
    uint8_t *le = image + ISO_PATHS_LE * ISO9660_SECTOR, *be = image + ISO_PATHS_BE * ISO9660_SECTOR;

    le[0] = be[0] = 1; /* bytes of the root's name */
    le32_put(le + 2, ISO_ROOT);
    put_be32(be + 2, ISO_ROOT);
    le16_put(le + 6, 1); /* its parent: itself */
    put_be16(be + 6, 1);
}

static void put_root(uint8_t *image, const struct iso_entry *entry, unsigned n)
{
    struct iso_record r = {
        .name = "", .name_len = 1, .sector = ISO_ROOT, .len = ISO9660_SECTOR, .folder = true, .first = true};
    uint8_t *p = image + ISO_ROOT * ISO9660_SECTOR;

    p += put_record(p, &r);
    r.name = "\x01"; /* the parent */
    r.first = false;
    p += put_record(p, &r);
    for (unsigned i = 0; i < n; i++) {
        const struct iso9660_file *f = entry[i].file;

        r = (struct iso_record){.name = entry[i].name,
                                .name_len = strlen(entry[i].name),
                                .sector = entry[i].sector,
                                .len = (uint32_t)f->len,
                                .rock_ridge = f->name};
        p += put_record(p, &r);
        memcpy(image + (size_t)entry[i].sector * ISO9660_SECTOR, f->data, f->len);
    }
}

int iso9660_make(const char *label, const struct iso9660_file *file, unsigned n, uint8_t **image, size_t *len)
{
    struct iso_entry entry[ISO9660_MAX_FILES];
    uint64_t sectors = ISO_FILES;

    if (n > ISO9660_MAX_FILES || strlen(label) > 32 || order_files(entry, file, n) < 0)
        return -EINVAL;
    for (unsigned i = 0; i < n; i++) {
        entry[i].sector = (uint32_t)sectors;
        sectors += align_up(entry[i].file->len, ISO9660_SECTOR) / ISO9660_SECTOR;
    }
    if (sectors > UINT32_MAX)
        return -EINVAL;
    sectors = MAX(sectors, (uint64_t)ISO_MIN_SECTORS);
    *len = sectors * ISO9660_SECTOR;
    *image = calloc(sectors, ISO9660_SECTOR);
    if (!*image)
        return -ENOMEM;
    put_descriptors(*image, label, (uint32_t)sectors);
    put_paths(*image);
    put_root(*image, entry, n);
    return 0;
}
