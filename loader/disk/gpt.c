/*
 * GUID partition tables (UEFI 2.10, 5.3), on disks of 512-byte and 4096-byte sectors. A header or table whose CRC is
 * wrong is not believed; the backup at the end of the disk then takes its place.
 */
#include <stdio.h>
#include <stdlib.h>

#include "loader/disk/disk_int.h"

#define GPT_HEADER_SIZE 92
#define GPT_CRC 16
#define GPT_MY_LBA 24
#define GPT_ENTRIES_LBA 72
#define GPT_ENTRIES 80
#define GPT_ENTRY_SIZE 84
#define GPT_ENTRIES_CRC 88
#define GPT_MAX_TABLE KIB(256)

#define ENTRY_MIN_SIZE 128
#define ENTRY_FIRST 32
#define ENTRY_LAST 40

static const uint8_t gpt_esp[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                    0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};

/* CRC-32 of IEEE 802.3, bit by bit: a few kilobytes. */
static uint32_t gpt_crc(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;

    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* A sound table whose header is in this sector; malloc'ed entries, or NULL. */
static uint8_t *gpt_table(struct disk *d, uint64_t lba, unsigned sector, uint8_t *h)
{
    uint32_t size, n, entry;
    uint64_t first;
    uint8_t *table;

    if (lba > d->rq->size / sector || disk_read(d, lba * sector, h, 512) < 0 || memcmp(h, "EFI PART", 8) != 0)
        return NULL;
    size = le32_get(h + 12);
    uint32_t crc = le32_get(h + GPT_CRC);
    le32_put(h + GPT_CRC, 0);
    if (size < GPT_HEADER_SIZE || size > 512 || gpt_crc(h, size) != crc || le64_get(h + GPT_MY_LBA) != lba)
        return NULL;
    first = le64_get(h + GPT_ENTRIES_LBA);
    n = le32_get(h + GPT_ENTRIES);
    entry = le32_get(h + GPT_ENTRY_SIZE);
    if (entry < ENTRY_MIN_SIZE || entry % 8 || n == 0 || n > GPT_MAX_TABLE / entry || first > d->rq->size / sector)
        return NULL;
    table = malloc((size_t)n * entry);
    if (table && (disk_read(d, first * sector, table, (size_t)n * entry) < 0 ||
                  gpt_crc(table, (size_t)n * entry) != le32_get(h + GPT_ENTRIES_CRC))) {
        free(table);
        return NULL;
    }
    return table;
}

static void gpt_fill(struct disk *d, const uint8_t *h, const uint8_t *table, unsigned sector)
{
    static const uint8_t none[16];
    uint32_t n = le32_get(h + GPT_ENTRIES), entry = le32_get(h + GPT_ENTRY_SIZE);
    uint64_t sectors = d->rq->size / sector;

    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *t = table + (size_t)i * entry;
        uint64_t first = le64_get(t + ENTRY_FIRST), last = le64_get(t + ENTRY_LAST);
        struct disk_part *p;

        if (!memcmp(t, none, 16) || last < first || last >= sectors)
            continue;
        p = disk_add_part(d, i + 1, first * sector, (last - first + 1) * sector);
        if (!p)
            continue;
        p->gpt = true;
        p->esp = !memcmp(t, gpt_esp, 16);
        disk_guid(p->uuid, t + 16);
    }
}

bool gpt_read(struct disk *d)
{
    static const unsigned sizes[] = {512, 4096};
    uint8_t h[512];

    if (d->rq->size < 1024 || disk_read(d, 0, h, 512) < 0)
        return false;
    /* A table that somebody has since replaced by an MBR is still there, and not meant. */
    if (le16_get(h + 510) == 0xaa55 && !mbr_is_protective(h))
        return false;
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
        unsigned sector = sizes[i % 2];
        bool backup = i >= ARRAY_SIZE(sizes);
        uint64_t lba = backup ? d->rq->size / sector - 1 : 1;
        uint8_t *table;

        if (d->rq->size < 4 * (uint64_t)sector)
            continue;
        table = gpt_table(d, lba, sector, h);
        if (!table)
            continue;
        gpt_fill(d, h, table, sector);
        free(table);
        if (backup)
            snprintf(d->warning, sizeof(d->warning), "its partition table is damaged; the backup at its end was read");
        return true;
    }
    return false;
}
