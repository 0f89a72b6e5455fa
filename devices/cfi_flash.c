/*
 * NOR flash with the Common Flash Interface and Intel's command set (Intel StrataFlash P30 data sheet, chapters on
 * device operations and command set; JESD68.01 for the query table).
 *
 * A write is a command, or belongs to the one before. Commands go to both chips at once: each sees one 16-bit half of
 * the bus, and the lower byte of what it sees is the command; a driver writes the same to both, and one half is
 * looked at. Answers (status, identifier, query) stand in both halves.
 *
 * There is nothing to wait for: a command is done when the guest's write returns, and the status always says ready.
 * As in the chip, programming only clears bits, and a block is erased to ones. Blocks are unlocked at reset, as on
 * QEMU's board, since there are drivers that never unlock any.
 */
#include "devices/cfi_flash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/util.h"

enum {
    CFI_CMD_PROGRAM_ALT = 0x10,
    CFI_CMD_ERASE = 0x20,
    CFI_CMD_PROGRAM = 0x40,
    CFI_CMD_CLEAR_STATUS = 0x50,
    CFI_CMD_LOCK = 0x60,
    CFI_CMD_READ_STATUS = 0x70,
    CFI_CMD_READ_ID = 0x90,
    CFI_CMD_QUERY = 0x98,
    CFI_CMD_SUSPEND = 0xb0,
    CFI_CMD_CONFIRM = 0xd0, /* also resumes */
    CFI_CMD_BUFFER = 0xe8,
    CFI_CMD_READ_ARRAY = 0xff,
    /* Behind CFI_CMD_LOCK. */
    CFI_LOCK_SET = 0x01,
    CFI_LOCK_CONFIG = 0x03, /* read configuration register: a matter of the bus's timing */
    CFI_LOCK_DOWN = 0x2f,
    CFI_LOCK_CLEAR = 0xd0,
};

#define CFI_SR_READY 0x80
#define CFI_SR_ERASE 0x20   /* failed */
#define CFI_SR_PROGRAM 0x10 /* failed; with CFI_SR_ERASE: the commands made no sense */
#define CFI_SR_LOCKED 0x02  /* the block was locked */

#define CFI_ID_MAKER 0x89 /* Intel */
#define CFI_ID_CHIP 0x18
#define CFI_BLOCK_LOCKED 0x1
#define CFI_BLOCK_LOCKED_DOWN 0x2

#define CFI_BLOCKS (CFI_FLASH_SIZE / CFI_FLASH_BLOCK)
/* What a buffered program takes: 2^10 bytes for each chip. */
#define CFI_BUFFER_WORDS 512
#define CFI_BUFFER_SIZE (CFI_BUFFER_WORDS * CFI_FLASH_WIDTH)

/* What a read gives. */
enum cfi_reading { CFI_READ_ARRAY, CFI_READ_STATUS, CFI_READ_ID, CFI_READ_QUERY, CFI_READINGS };
/* What the next write is. */
enum cfi_step {
    CFI_STEP_COMMAND,
    CFI_STEP_PROGRAM,
    CFI_STEP_ERASE,
    CFI_STEP_LOCK,
    CFI_STEP_COUNT,
    CFI_STEP_DATA,
    CFI_STEP_BUFFER_CONFIRM,
    CFI_STEPS
};

struct cfi_flash {
    struct device dev;
    struct cfi_flash_config cfg;
    uint8_t reading, step; /* the two enums above */
    uint8_t status;
    uint8_t lock[CFI_BLOCKS];
    bool failed; /* the file has refused a write, which was said */
    struct {
        uint32_t left;   /* words to come */
        uint32_t base;   /* offset in the bank */
        uint32_t lo, hi; /* of buf: what was written */
        bool bad;        /* words in more than one buffer's range */
        uint8_t buf[CFI_BUFFER_SIZE];
    } buffer;
};

/* By the chip's 16-bit word, from 0x10 on (JESD68.01, tables 3 to 6; the data sheet's "query" tables). */
#define CFI_QUERY_FIRST 0x10
static const uint8_t cfi_query[] = {
    [0x10 - CFI_QUERY_FIRST] = 'Q',  'R',  'Y',              /**/
    [0x13 - CFI_QUERY_FIRST] = 0x01, 0x00, 0x31, 0x00,       /* Intel's command set, its table below */
    [0x17 - CFI_QUERY_FIRST] = 0x00, 0x00, 0x00, 0x00,       /* no other */
    [0x1b - CFI_QUERY_FIRST] = 0x17, 0x20, 0x85, 0x95,       /* supply: 1.7 to 2.0 V, 8.5 to 9.5 V */
    [0x1f - CFI_QUERY_FIRST] = 0x04, 0x06, 0x05, 0x00,       /* 2^n us a word, a buffer; 2^n ms a block */
    [0x23 - CFI_QUERY_FIRST] = 0x04, 0x04, 0x04, 0x00,       /* and 2^n times that at most */
    [0x27 - CFI_QUERY_FIRST] = 0x19, 0x01, 0x00,             /* 2^25 bytes; 16 bits wide */
    [0x2a - CFI_QUERY_FIRST] = 0x0a, 0x00, 0x01,             /* 2^10 bytes of buffer; all blocks alike: */
    [0x2d - CFI_QUERY_FIRST] = 0xff, 0x00, 0x00, 0x02,       /* 256 of 0x200 times 256 bytes */
    [0x31 - CFI_QUERY_FIRST] = 'P',  'R',  'I',  '1',  '0',  /**/
    [0x36 - CFI_QUERY_FIRST] = 0x20, 0x00, 0x00, 0x00, 0x00, /* blocks are locked one by one, at once */
    [0x3b - CFI_QUERY_FIRST] = 0x03, 0x00, 0x18, 0x00, 0x00, /* lock and lock-down bits; 1.8 V */
};
_Static_assert(CFI_BLOCKS == 256 && CFI_FLASH_BLOCK == 2 * 0x200 * 256 && CFI_BUFFER_SIZE == 2 << 10 &&
                   CFI_FLASH_SIZE == 2 << 25,
               "the query table says what the bank is");

static struct cfi_flash *cfi_of(struct device *d)
{
    return container_of(d, struct cfi_flash, dev);
}

static uint8_t *cfi_bytes(const struct cfi_flash *f)
{
    return f->cfg.rom->r.host;
}

/* Where reads come from, from here on. */
static void cfi_set_reading(struct cfi_flash *f, enum cfi_reading what)
{
    f->reading = (uint8_t)what;
    mem_rom_set_direct(f->cfg.mem, f->cfg.rom, what == CFI_READ_ARRAY);
}

/* ---- reading ---- */

/* What one chip has on its half of the bus. */
static uint16_t cfi_answer(const struct cfi_flash *f, uint64_t off)
{
    uint64_t word = off / CFI_FLASH_WIDTH, in_block = word % (CFI_FLASH_BLOCK / CFI_FLASH_WIDTH);

    switch (f->reading) {
    case CFI_READ_ID:
        if (in_block == 2)
            return f->cfg.read_only ? CFI_BLOCK_LOCKED | CFI_BLOCK_LOCKED_DOWN : f->lock[off / CFI_FLASH_BLOCK];
        return word == 0 ? CFI_ID_MAKER : word == 1 ? CFI_ID_CHIP : 0;
    case CFI_READ_QUERY:
        word -= CFI_QUERY_FIRST; /* below it: past any table */
        return word < sizeof(cfi_query) ? cfi_query[word] : 0;
    default: return f->status;
    }
}

static uint64_t cfi_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    const struct cfi_flash *f = cfi_of(d);
    uint32_t v;

    (void)cpu;
    if (f->reading == CFI_READ_ARRAY) {
        v = 0;
        memcpy(&v, cfi_bytes(f) + off, size);
        return v;
    }
    v = cfi_answer(f, off);
    v |= v << 16;
    return v >> (off % CFI_FLASH_WIDTH * 8); /* the bus cuts it to size */
}

/* ---- changing ---- */

static int cfi_file_write(struct cfi_flash *f, const uint8_t *p, uint64_t off, size_t len)
{
    if (f->cfg.fd < 0)
        return 0;
    while (len) {
        ssize_t n = pwrite(f->cfg.fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (!f->failed)
                log_error("flash", "what the guest's firmware keeps cannot be written: %s",
                          n < 0 ? strerror(errno) : "the file takes no more");
            f->failed = true;
            return -EIO;
        }
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* Takes `len` bytes to `off`, in the file and then in the bank; `error`: what the status says where it cannot. */
static void cfi_put(struct cfi_flash *f, uint64_t off, const uint8_t *p, size_t len, uint8_t error)
{
    if (cfi_file_write(f, p, off, len) < 0) {
        f->status |= error;
        return;
    }
    memcpy(cfi_bytes(f) + off, p, len);
    mem_rom_changed(f->cfg.mem, f->cfg.rom, off, len);
}

/* May the block at `off` be changed? */
static bool cfi_unlocked(struct cfi_flash *f, uint64_t off, uint8_t error)
{
    if (!f->cfg.read_only && !f->lock[off / CFI_FLASH_BLOCK])
        return true;
    f->status |= error | CFI_SR_LOCKED;
    return false;
}

static void cfi_program(struct cfi_flash *f, uint64_t off, const uint8_t *p, size_t len)
{
    uint8_t was[CFI_BUFFER_SIZE];

    if (!cfi_unlocked(f, off, CFI_SR_PROGRAM))
        return;
    memcpy(was, cfi_bytes(f) + off, len);
    for (size_t i = 0; i < len; i++)
        was[i] &= p[i];
    cfi_put(f, off, was, len, CFI_SR_PROGRAM);
}

static void cfi_erase(struct cfi_flash *f, uint64_t off)
{
    static const uint8_t ones[4096] = {[0 ... 4095] = 0xff};
    uint64_t block = align_down(off, CFI_FLASH_BLOCK);

    if (!cfi_unlocked(f, off, CFI_SR_ERASE))
        return;
    for (uint64_t at = 0; at < CFI_FLASH_BLOCK && !(f->status & CFI_SR_ERASE); at += sizeof(ones))
        cfi_put(f, block + at, ones, sizeof(ones), CFI_SR_ERASE);
}

static void cfi_lock(struct cfi_flash *f, uint64_t off, uint8_t how)
{
    uint8_t *lock = &f->lock[off / CFI_FLASH_BLOCK];

    switch (how) {
    case CFI_LOCK_SET: *lock |= CFI_BLOCK_LOCKED; break;
    case CFI_LOCK_DOWN: *lock |= CFI_BLOCK_LOCKED | CFI_BLOCK_LOCKED_DOWN; break;
    case CFI_LOCK_CLEAR:
        /* Locked down: until the next reset. */
        if (!(*lock & CFI_BLOCK_LOCKED_DOWN))
            *lock = 0;
        break;
    case CFI_LOCK_CONFIG: break;
    default: f->status |= CFI_SR_ERASE | CFI_SR_PROGRAM; break;
    }
}

/* ---- commands ---- */

static void cfi_command(struct cfi_flash *f, uint8_t cmd)
{
    enum cfi_step step = CFI_STEP_COMMAND;
    enum cfi_reading reading = CFI_READ_STATUS;

    switch (cmd) {
    case CFI_CMD_PROGRAM:
    case CFI_CMD_PROGRAM_ALT: step = CFI_STEP_PROGRAM; break;
    case CFI_CMD_ERASE: step = CFI_STEP_ERASE; break;
    case CFI_CMD_LOCK: step = CFI_STEP_LOCK; break;
    case CFI_CMD_BUFFER: step = CFI_STEP_COUNT; break;
    case CFI_CMD_CLEAR_STATUS:
        f->status = CFI_SR_READY;
        reading = (enum cfi_reading)f->reading;
        break;
    case CFI_CMD_READ_STATUS:
    case CFI_CMD_SUSPEND: /* nothing is on its way */
    case CFI_CMD_CONFIRM: break;
    case CFI_CMD_READ_ID: reading = CFI_READ_ID; break;
    case CFI_CMD_QUERY: reading = CFI_READ_QUERY; break;
    /* Drivers that look for a chip send other makers' commands, and want to see the array if they mean nothing. */
    default: reading = CFI_READ_ARRAY; break;
    }
    f->step = (uint8_t)step;
    cfi_set_reading(f, reading);
}

static void cfi_buffer_begin(struct cfi_flash *f, uint32_t words)
{
    if (words > CFI_BUFFER_WORDS) {
        f->status |= CFI_SR_ERASE | CFI_SR_PROGRAM;
        f->step = CFI_STEP_COMMAND;
        return;
    }
    memset(&f->buffer, 0xff, sizeof(f->buffer));
    f->buffer.left = words;
    f->buffer.base = 0;
    f->buffer.bad = false;
    f->buffer.lo = CFI_BUFFER_SIZE;
    f->buffer.hi = 0;
    f->step = CFI_STEP_DATA;
}

static void cfi_buffer_data(struct cfi_flash *f, uint32_t off, const uint8_t *p, unsigned size)
{
    uint32_t base = align_down(off, CFI_BUFFER_SIZE), at = off - base;

    if (f->buffer.hi == 0)
        f->buffer.base = base;
    f->buffer.bad |= f->buffer.base != base;
    memcpy(f->buffer.buf + at, p, size); /* a bus access does not cross a word */
    f->buffer.lo = MIN(f->buffer.lo, at);
    f->buffer.hi = MAX(f->buffer.hi, at + size);
    if (--f->buffer.left == 0)
        f->step = CFI_STEP_BUFFER_CONFIRM;
}

/* The block that the confirming write names must be the buffer's. */
static void cfi_buffer_confirm(struct cfi_flash *f, uint64_t off, uint8_t cmd)
{
    if (cmd != CFI_CMD_CONFIRM || f->buffer.bad || off / CFI_FLASH_BLOCK != f->buffer.base / CFI_FLASH_BLOCK)
        f->status |= CFI_SR_ERASE | CFI_SR_PROGRAM;
    else
        cfi_program(f, f->buffer.base + f->buffer.lo, f->buffer.buf + f->buffer.lo, f->buffer.hi - f->buffer.lo);
}

static void cfi_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct cfi_flash *f = cfi_of(d);
    uint8_t data[4], cmd = (uint8_t)val;

    (void)cpu;
    le32_put(data, (uint32_t)val);
    switch ((enum cfi_step)f->step) {
    case CFI_STEP_PROGRAM:
        cfi_program(f, off, data, size);
        f->step = CFI_STEP_COMMAND;
        break;
    case CFI_STEP_ERASE:
        if (cmd == CFI_CMD_CONFIRM)
            cfi_erase(f, off);
        else
            f->status |= CFI_SR_ERASE | CFI_SR_PROGRAM;
        f->step = CFI_STEP_COMMAND;
        break;
    case CFI_STEP_LOCK:
        cfi_lock(f, off, cmd);
        f->step = CFI_STEP_COMMAND;
        break;
    case CFI_STEP_COUNT: cfi_buffer_begin(f, (uint32_t)(val & 0xffff) + 1); break;
    case CFI_STEP_DATA: cfi_buffer_data(f, (uint32_t)off, data, size); break;
    case CFI_STEP_BUFFER_CONFIRM:
        cfi_buffer_confirm(f, off, cmd);
        f->step = CFI_STEP_COMMAND;
        break;
    default: cfi_command(f, cmd); break;
    }
}

/* ---- the rest of a device ---- */

static void cfi_reset(struct device *d)
{
    struct cfi_flash *f = cfi_of(d);

    f->step = CFI_STEP_COMMAND;
    f->status = CFI_SR_READY;
    memset(f->lock, 0, sizeof(f->lock));
    cfi_set_reading(f, CFI_READ_ARRAY);
}

static bool cfi_page_blank(const uint8_t *p)
{
    return p[0] == 0 && !memcmp(p, p + 1, MEM_PAGE_SIZE - 1);
}

/* What a bank holds is part of the machine, unless it came from a file that nobody writes. Pages of zeroes are left
 * out; a number that no page has ends the list. */
static void cfi_save(struct device *d, struct state_writer *w)
{
    struct cfi_flash *f = cfi_of(d);

    state_put_u8(w, f->reading);
    state_put_u8(w, f->step);
    state_put_u8(w, f->status);
    state_put(w, f->lock, sizeof(f->lock));
    state_put_u32(w, f->buffer.left);
    state_put_u32(w, f->buffer.base);
    state_put_u32(w, f->buffer.lo);
    state_put_u32(w, f->buffer.hi);
    state_put_u8(w, f->buffer.bad);
    state_put(w, f->buffer.buf, sizeof(f->buffer.buf));
    for (uint32_t i = 0; !f->cfg.read_only && i < CFI_FLASH_SIZE / MEM_PAGE_SIZE; i++) {
        const uint8_t *p = cfi_bytes(f) + i * MEM_PAGE_SIZE;

        if (cfi_page_blank(p))
            continue;
        state_put_u32(w, i);
        state_put(w, p, MEM_PAGE_SIZE);
    }
    state_put_u32(w, UINT32_MAX);
}

/* The pages of a stream, into the file too. */
static int cfi_load_pages(struct cfi_flash *f, struct state_reader *r)
{
    uint8_t page[MEM_PAGE_SIZE];

    for (uint32_t at = 0;; at++) {
        uint32_t next = state_get_u32(r);

        if (next != UINT32_MAX && (f->cfg.read_only || next < at || next >= CFI_FLASH_SIZE / MEM_PAGE_SIZE))
            return -EINVAL;
        if (f->cfg.read_only)
            return 0;
        memset(page, 0, sizeof(page));
        for (; at < MIN(next, (uint32_t)(CFI_FLASH_SIZE / MEM_PAGE_SIZE)); at++)
            if (!cfi_page_blank(cfi_bytes(f) + at * MEM_PAGE_SIZE))
                cfi_put(f, at * MEM_PAGE_SIZE, page, sizeof(page), CFI_SR_PROGRAM);
        if (next == UINT32_MAX)
            return 0;
        state_get(r, page, sizeof(page));
        cfi_put(f, at * MEM_PAGE_SIZE, page, sizeof(page), CFI_SR_PROGRAM);
    }
}

static int cfi_load(struct device *d, struct state_reader *r)
{
    struct cfi_flash *f = cfi_of(d);
    uint8_t reading = state_get_u8(r);

    f->step = state_get_u8(r);
    f->status = state_get_u8(r);
    state_get(r, f->lock, sizeof(f->lock));
    f->buffer.left = state_get_u32(r);
    f->buffer.base = state_get_u32(r);
    f->buffer.lo = state_get_u32(r);
    f->buffer.hi = state_get_u32(r);
    f->buffer.bad = state_get_u8(r);
    state_get(r, f->buffer.buf, sizeof(f->buffer.buf));
    if (reading >= CFI_READINGS || f->step >= CFI_STEPS || f->buffer.left > CFI_BUFFER_WORDS ||
        (f->step == CFI_STEP_DATA && !f->buffer.left) || f->buffer.base % CFI_BUFFER_SIZE ||
        f->buffer.base >= CFI_FLASH_SIZE || f->buffer.lo > CFI_BUFFER_SIZE || f->buffer.hi > CFI_BUFFER_SIZE ||
        (f->step == CFI_STEP_BUFFER_CONFIRM && f->buffer.lo >= f->buffer.hi)) {
        cfi_reset(d);
        return -EINVAL;
    }
    cfi_set_reading(f, (enum cfi_reading)reading);
    return cfi_load_pages(f, r);
}

static void cfi_destroy(struct device *d)
{
    struct cfi_flash *f = cfi_of(d);

    if (f->cfg.fd >= 0)
        close(f->cfg.fd);
    pthread_mutex_destroy(&d->lock);
    free(f);
}

static const struct device_ops cfi_ops = {
    .read = cfi_read,
    .write = cfi_write,
    .reset = cfi_reset,
    .save = cfi_save,
    .load = cfi_load,
    .destroy = cfi_destroy,
};

static const struct device_desc cfi_desc = {
    .name = "flash",
    .compatible = "cfi-flash",
    .size = CFI_FLASH_SIZE,
    .min_access = 1,
    .max_access = CFI_FLASH_WIDTH,
    .ops = &cfi_ops,
};

int cfi_flash_create(struct device **out, const struct cfi_flash_config *cfg)
{
    struct cfi_flash *f = calloc(1, sizeof(*f));

    if (!f)
        return -ENOMEM;
    device_init(&f->dev, &cfi_desc);
    f->cfg = *cfg;
    f->status = CFI_SR_READY;
    *out = &f->dev;
    return 0;
}
