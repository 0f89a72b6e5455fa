/* The firmware configuration device. All numbers in its own structures are big-endian; the items' bytes are theirs. */
#include "devices/fw_cfg.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/util.h"

enum { FW_CFG_DATA = 0x00, FW_CFG_SELECTOR = 0x08, FW_CFG_DMA = 0x10, FW_CFG_DMA_LOW = 0x14 };

enum { FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20 };

#define FW_CFG_ID_TRADITIONAL 0x1
#define FW_CFG_ID_DMA 0x2
#define FW_CFG_DMA_SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG" */

#define FW_CFG_DMA_ERROR 0x01
#define FW_CFG_DMA_READ 0x02
#define FW_CFG_DMA_SKIP 0x04
#define FW_CFG_DMA_SELECT 0x08 /* the item in the upper half */
#define FW_CFG_DMA_WRITE 0x10

struct fw_cfg_dma {
    uint32_t control, length;
    uint64_t address;
};
_Static_assert(sizeof(struct fw_cfg_dma) == 16, "as the guest lays it out");

struct fw_cfg_file {
    uint32_t size;
    uint16_t select, reserved;
    char name[FW_CFG_NAME_SIZE];
};
_Static_assert(sizeof(struct fw_cfg_file) == 64, "as the guest reads it");

struct fw_cfg {
    struct device dev;
    struct mem *mem;
    struct fw_cfg_item *item; /* by key where it has a file too */
    unsigned n;
    struct {
        uint32_t count;
        struct fw_cfg_file file[FW_CFG_MAX_FILES]; /* by name */
    } dir;
    uint16_t key;
    uint32_t at; /* bytes of the item that were read, or more */
    uint32_t dma_high;
};

static struct fw_cfg *fw_cfg_of(struct device *d)
{
    return container_of(d, struct fw_cfg, dev);
}

static const struct fw_cfg_item *fw_cfg_selected(const struct fw_cfg *f)
{
    for (unsigned i = 0; i < f->n; i++)
        if (f->item[i].key == f->key)
            return &f->item[i];
    return NULL;
}

static void fw_cfg_select(struct fw_cfg *f, uint16_t key)
{
    f->key = key;
    f->at = 0;
}

static void fw_cfg_skip(struct fw_cfg *f, uint32_t len)
{
    f->at = len > UINT32_MAX - f->at ? UINT32_MAX : f->at + len;
}

/* The item's next bytes, and zeroes behind its end. */
static void fw_cfg_copy(struct fw_cfg *f, uint8_t *to, uint32_t len)
{
    const struct fw_cfg_item *i = fw_cfg_selected(f);
    uint32_t have = i && f->at < i->len ? MIN(len, i->len - f->at) : 0;

    if (have)
        memcpy(to, (const uint8_t *)i->data + f->at, have);
    memset(to + have, 0, len - have);
    fw_cfg_skip(f, len);
}

/* ---- DMA ---- */

static bool fw_cfg_transfer(struct fw_cfg *f, uint32_t control, uint32_t len, gpa_t to)
{
    uint8_t *p;

    if (control & FW_CFG_DMA_SELECT)
        fw_cfg_select(f, (uint16_t)(control >> 16));
    if (control & FW_CFG_DMA_READ) {
        p = len ? mem_write_begin(f->mem, to, len) : NULL;
        if (len && !p)
            return false;
        if (p) {
            fw_cfg_copy(f, p, len);
            mem_write_end(f->mem, to, len);
        }
        return true;
    }
    if (control & FW_CFG_DMA_WRITE) /* no item may be */
        return false;
    if (control & FW_CFG_DMA_SKIP)
        fw_cfg_skip(f, len);
    return true;
}

static void fw_cfg_dma(struct fw_cfg *f, gpa_t at)
{
    struct fw_cfg_dma d;
    uint32_t answer;

    if (mem_read(f->mem, at, &d, sizeof(d)) < 0)
        return; /* there is no place for an answer */
    answer = fw_cfg_transfer(f, be32toh(d.control), be32toh(d.length), GPA(be64toh(d.address))) ? 0 : FW_CFG_DMA_ERROR;
    answer = htobe32(answer);
    mem_write(f->mem, at, &answer, sizeof(answer));
}

/* ---- the device ---- */

static uint64_t fw_cfg_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct fw_cfg *f = fw_cfg_of(d);
    uint8_t bytes[8] = {0};
    uint64_t v;

    (void)cpu;
    if (off < FW_CFG_SELECTOR) {
        fw_cfg_copy(f, bytes, size);
        return le64_get(bytes);
    }
    if (off < FW_CFG_DMA)
        return 0;
    v = htobe64(FW_CFG_DMA_SIGNATURE);
    return v >> ((off - FW_CFG_DMA) * 8); /* the bus cuts it to size */
}

static void fw_cfg_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct fw_cfg *f = fw_cfg_of(d);

    (void)cpu;
    if (off == FW_CFG_SELECTOR && size == 2) {
        fw_cfg_select(f, be16toh((uint16_t)val));
    } else if (off == FW_CFG_DMA && size == 8) {
        fw_cfg_dma(f, GPA(be64toh(val)));
    } else if (off == FW_CFG_DMA && size == 4) {
        f->dma_high = be32toh((uint32_t)val);
    } else if (off == FW_CFG_DMA_LOW && size == 4) {
        gpa_t at = GPA((uint64_t)f->dma_high << 32 | be32toh((uint32_t)val));

        f->dma_high = 0;
        fw_cfg_dma(f, at);
    }
}

static void fw_cfg_reset(struct device *d)
{
    struct fw_cfg *f = fw_cfg_of(d);

    fw_cfg_select(f, 0);
    f->dma_high = 0;
}

static void fw_cfg_save(struct device *d, struct state_writer *w)
{
    const struct fw_cfg *f = fw_cfg_of(d);

    state_put_u16(w, f->key);
    state_put_u32(w, f->at);
    state_put_u32(w, f->dma_high);
}

static int fw_cfg_load(struct device *d, struct state_reader *r)
{
    struct fw_cfg *f = fw_cfg_of(d);

    f->key = state_get_u16(r);
    f->at = state_get_u32(r);
    f->dma_high = state_get_u32(r);
    return 0;
}

static void fw_cfg_destroy(struct device *d)
{
    struct fw_cfg *f = fw_cfg_of(d);

    pthread_mutex_destroy(&d->lock);
    free(f->item);
    free(f);
}

static const struct device_ops fw_cfg_ops = {
    .read = fw_cfg_read,
    .write = fw_cfg_write,
    .reset = fw_cfg_reset,
    .save = fw_cfg_save,
    .load = fw_cfg_load,
    .destroy = fw_cfg_destroy,
};

static const struct device_desc fw_cfg_desc = {
    .name = "fw_cfg",
    .compatible = "qemu,fw-cfg-mmio",
    .size = FW_CFG_SIZE,
    .min_access = 1,
    .max_access = 8,
    .ops = &fw_cfg_ops,
};

/* ---- items ---- */

static void fw_cfg_add(struct fw_cfg *f, uint16_t key, const void *data, size_t len)
{
    f->item[f->n++] = (struct fw_cfg_item){.key = key, .data = data, .len = (uint32_t)len};
}

static int fw_cfg_compare_files(const void *a, const void *b)
{
    return strcmp(((const struct fw_cfg_item *)a)->file, ((const struct fw_cfg_item *)b)->file);
}

/* The files among f->item, which stand first, get their numbers and the directory its entries. */
static int fw_cfg_number_files(struct fw_cfg *f, unsigned files)
{
    if (files > FW_CFG_MAX_FILES)
        return -ENOSPC;
    qsort(f->item, files, sizeof(*f->item), fw_cfg_compare_files);
    for (unsigned i = 0; i < files; i++) {
        struct fw_cfg_item *it = &f->item[i];
        struct fw_cfg_file *e = &f->dir.file[i];
        size_t len = strlen(it->file);

        if (len == 0 || len >= sizeof(e->name) || (i && !strcmp(it->file, f->item[i - 1].file)))
            return -EINVAL;
        it->key = (uint16_t)(FW_CFG_FILE_FIRST + i);
        e->size = htobe32(it->len);
        e->select = htobe16(it->key);
        memcpy(e->name, it->file, len);
    }
    f->dir.count = htobe32(files);
    fw_cfg_add(f, FW_CFG_FILE_DIR, &f->dir, sizeof(f->dir.count) + files * sizeof(f->dir.file[0]));
    return 0;
}

int fw_cfg_create(struct device **out, struct mem *m, const struct fw_cfg_item *items, unsigned n)
{
    static const uint8_t features[4] = {FW_CFG_ID_TRADITIONAL | FW_CFG_ID_DMA};
    struct fw_cfg *f = calloc(1, sizeof(*f));
    int r = 0;

    if (!f || !(f->item = calloc(n + 3, sizeof(*items)))) {
        free(f);
        return -ENOMEM;
    }
    device_init(&f->dev, &fw_cfg_desc);
    f->mem = m;
    for (unsigned i = 0; i < n; i++)
        if (items[i].file)
            f->item[f->n++] = items[i];
    r = fw_cfg_number_files(f, f->n);
    for (unsigned i = 0; i < n; i++)
        if (!items[i].file)
            f->item[f->n++] = items[i];
    fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add(f, FW_CFG_ID, features, sizeof(features));
    if (r < 0) {
        fw_cfg_destroy(&f->dev);
        return r;
    }
    *out = &f->dev;
    return 0;
}
