/* Partition tables of PCs: four entries in the first sector, and a chain of tables in an extended partition. */
#include <stdio.h>

#include "loader/disk/disk_int.h"

#define MBR_SIGNATURE 510
#define MBR_DISK_ID 440
#define MBR_ENTRY(i) (446 + 16 * (i))
#define MBR_FIRST_LOGICAL 5
#define MBR_MAX_LOGICAL 60
#define MBR_PROTECTIVE 0xee
#define MBR_ESP 0xef

struct mbr_entry {
    uint8_t flag, type;
    uint32_t start, size; /* sectors of 512 bytes */
};

static struct mbr_entry mbr_entry(const uint8_t *sector, unsigned i)
{
    const uint8_t *p = sector + MBR_ENTRY(i);

    return (struct mbr_entry){p[0], p[4], le32_get(p + 8), le32_get(p + 12)};
}

static bool mbr_is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

bool mbr_is_protective(const uint8_t sector[512])
{
    for (unsigned i = 0; i < 4; i++)
        if (mbr_entry(sector, i).type == MBR_PROTECTIVE)
            return true;
    return false;
}

static void mbr_add(struct disk *d, unsigned number, uint64_t start, const struct mbr_entry *m, uint32_t id)
{
    struct disk_part *p = disk_add_part(d, number, start * 512, (uint64_t)m->size * 512);

    if (!p)
        return;
    p->esp = m->type == MBR_ESP;
    snprintf(p->uuid, sizeof(p->uuid), "%08x-%02x", id, number);
}

/* Each table of the chain has a partition, relative to itself, and the next table, relative to the first. */
static void mbr_read_logical(struct disk *d, uint64_t first, uint32_t id)
{
    uint64_t at = first;

    for (unsigned n = 0; n < MBR_MAX_LOGICAL; n++) {
        uint8_t s[512];
        struct mbr_entry part, next;

        if (disk_read(d, at * 512, s, sizeof(s)) < 0 || le16_get(s + MBR_SIGNATURE) != 0xaa55)
            return;
        part = mbr_entry(s, 0);
        next = mbr_entry(s, 1);
        if (part.type && part.size)
            mbr_add(d, MBR_FIRST_LOGICAL + n, at + part.start, &part, id);
        if (!mbr_is_extended(next.type) || !next.start)
            return;
        at = first + next.start;
    }
}

bool mbr_read(struct disk *d)
{
    uint64_t sectors = d->rq->size / 512;
    unsigned used = 0;
    uint8_t s[512];
    uint32_t id;

    if (d->rq->size < 1024 || disk_read(d, 0, s, sizeof(s)) < 0 || le16_get(s + MBR_SIGNATURE) != 0xaa55 ||
        mbr_is_protective(s))
        return false;
    /* Boot sectors of file systems carry the signature, too, and have code where the entries would be. */
    for (unsigned i = 0; i < 4; i++) {
        struct mbr_entry m = mbr_entry(s, i);

        if ((m.flag & 0x7f) || (m.type && (m.start == 0 || m.start >= sectors)))
            return false;
        used += m.type && m.size;
    }
    if (!used)
        return false;
    id = le32_get(s + MBR_DISK_ID);
    for (unsigned i = 0; i < 4; i++) {
        struct mbr_entry m = mbr_entry(s, i);

        if (m.type && !mbr_is_extended(m.type))
            mbr_add(d, i + 1, m.start, &m, id);
    }
    for (unsigned i = 0; i < 4; i++) {
        struct mbr_entry m = mbr_entry(s, i);

        if (mbr_is_extended(m.type)) {
            mbr_read_logical(d, m.start, id);
            break;
        }
    }
    return true;
}
