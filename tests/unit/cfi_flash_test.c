/* A bank of NOR flash: what a driver finds out, programs, erases and locks; the file behind it; hostile accesses. */
#include "devices/cfi_flash.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/core/bus.h"

#define BASE UINT64_C(0x4000000)
#define BUFFER 2048 /* bytes of a buffered program */
#define BOTH(c) ((uint32_t)(c) << 16 | (uint32_t)(c))
#define READY BOTH(0x80)

static struct mem *mem;
static struct mem_rom *rom;
static struct bus *bus;
static struct device *dev;
static int file; /* behind the bank, -1: none */
static unsigned switches, dropped;

static void on_switch(void *opaque, const struct mem_rom *r)
{
    (void)opaque;
    CHECK(r == rom);
    switches++;
}

static void on_invalidate(void *opaque, gpa_t a, uint64_t len)
{
    (void)opaque;
    (void)a;
    (void)len;
    dropped++;
}

static void put(uint64_t off, unsigned size, uint64_t v)
{
    CHECK_EQ(bus_write(bus, 0, GPA(BASE + off), size, v), 0);
}

static uint64_t get(uint64_t off, unsigned size)
{
    uint64_t v = 0;

    return bus_read(bus, 0, GPA(BASE + off), size, &v) == 0 ? v : UINT64_C(0xbadbadbadbad);
}

/* A command as drivers of two chips send it. */
static void cmd(uint64_t off, uint8_t c)
{
    put(off, 4, BOTH(c));
}

static void begin(bool with_file, bool read_only)
{
    struct cfi_flash_config c = {.fd = -1, .read_only = read_only};
    struct err e;

    CHECK_EQ(mem_create(&mem), 0);
    CHECK_EQ(mem_add_rom(mem, GPA(BASE), CFI_FLASH_SIZE, &rom, &e), 0);
    CHECK_EQ(bus_create(&bus), 0);
    mem->rom_switched = on_switch;
    mem->invalidate = on_invalidate;
    switches = dropped = 0;
    file = -1;
    if (with_file) {
        FILE *f = tmpfile();

        CHECK(f);
        file = dup(fileno(f));
        c.fd = dup(file);
        fclose(f);
    }
    c.mem = mem;
    c.rom = rom;
    CHECK_EQ(cfi_flash_create(&dev, &c), 0);
    CHECK_EQ(bus_attach(bus, dev, GPA(BASE)), 0);
}

static void end(void)
{
    bus_destroy(bus);
    mem_destroy(mem);
    if (file >= 0)
        close(file);
}

static uint32_t in_file(uint64_t off)
{
    uint8_t b[4] = {0};

    return pread(file, b, sizeof(b), (off_t)off) == 4 ? le32_get(b) : 0xbadbad;
}

/* ---- the tests ---- */

static void array_is_memory(void)
{
    begin(false, false);
    memcpy(rom->r.host + 0x1000, "firmware", 8);
    CHECK_EQ(get(0x1000, 8), UINT64_C(0x657261776d726966));
    CHECK_EQ(get(0x1003, 1), 'm');
    CHECK(mem_find_direct(mem, GPA(BASE + 0x1000), 8) == &rom->r);
    CHECK(!mem_find(mem, GPA(BASE + 0x1000), 8));
    CHECK(!mem_write_begin(mem, GPA(BASE), 8));
    CHECK_EQ(mem_ram_size(mem), 0);
    /* Past its end, and around the end of all addresses. */
    CHECK(!mem_find_direct(mem, GPA(BASE + CFI_FLASH_SIZE - 4), 8));
    CHECK(!mem_find_direct(mem, GPA(UINT64_MAX - 3), 8));
    end();
}

static void query_says_what_it_is(void)
{
    begin(false, false);
    cmd(0x55 * 4, 0x98);
    CHECK(!mem_find_direct(mem, GPA(BASE), 8));
    CHECK_EQ(get(0x10 * 4, 4), BOTH('Q'));
    CHECK_EQ(get(0x11 * 4, 4), BOTH('R'));
    CHECK_EQ(get(0x12 * 4, 2), 'Y');
    CHECK_EQ(get(0x12 * 4 + 2, 2), 'Y');
    CHECK_EQ(get(0x12 * 4 + 1, 1), 0);
    CHECK_EQ(get(0x13 * 4, 1), 1);
    CHECK_EQ(get(0x15 * 4, 1), 0x31);
    CHECK_EQ(get(0x27 * 4, 1), 25);
    CHECK_EQ(get(0x2a * 4, 1), 10);
    CHECK_EQ(get(0x2c * 4, 1), 1);
    CHECK_EQ((get(0x2d * 4, 1) + 1) * (get(0x30 * 4, 1) << 8) * 256 * 2, CFI_FLASH_SIZE);
    CHECK_EQ(get(0x31 * 4, 1), 'P');
    CHECK_EQ(get(0x33 * 4, 1), 'I');
    CHECK_EQ(get(0, 4), 0);
    CHECK_EQ(get(0x60 * 4, 4), 0);
    CHECK_EQ(get(CFI_FLASH_SIZE - 4, 4), 0);
    cmd(0, 0x90);
    CHECK_EQ(get(0, 4), BOTH(0x89));
    CHECK_EQ(get(4, 4), BOTH(0x18));
    CHECK_EQ(get(8, 4), 0);
    cmd(0, 0xff);
    CHECK_EQ(get(0x10 * 4, 4), 0);
    CHECK(mem_find_direct(mem, GPA(BASE), 8));
    CHECK_EQ(switches, 2);
    end();
}

static void words_are_programmed(void)
{
    begin(true, false);
    cmd(0x40000, 0x20);
    cmd(0x40000, 0xd0);
    CHECK_EQ(get(0x40000, 4), READY);
    cmd(0x40010, 0x40);
    put(0x40010, 4, 0x12345678);
    CHECK_EQ(get(0x40010, 4), READY);
    CHECK(!mem_find_direct(mem, GPA(BASE), 4));
    cmd(0, 0xff);
    CHECK_EQ(get(0x40010, 4), 0x12345678);
    CHECK_EQ(get(0x40014, 4), 0xffffffff);
    CHECK_EQ(get(0x3fffc, 4), 0);
    CHECK_EQ(in_file(0x40010), 0x12345678);
    CHECK_EQ(in_file(0x7fffc), 0xffffffff);
    /* Bits are only cleared, until the block is erased; a byte and a half word too. */
    cmd(0, 0x10);
    put(0x40010, 4, 0xff00ff00);
    cmd(0, 0x40);
    put(0x40017, 1, 0x5a);
    cmd(0, 0x40);
    put(0x40014, 2, 0x1234);
    cmd(0, 0xff);
    CHECK_EQ(get(0x40010, 4), 0x12005600);
    CHECK_EQ(get(0x40014, 4), 0x5aff1234);
    CHECK_EQ(in_file(0x40014), 0x5aff1234);
    cmd(0x4fffc, 0x20);
    cmd(0x4fffc, 0xd0);
    cmd(0, 0xff);
    CHECK_EQ(get(0x40010, 8), UINT64_MAX);
    CHECK_EQ(get(0x80000, 4), 0);
    end();
}

static void fill(uint64_t at, unsigned words)
{
    cmd(at, 0xe8);
    CHECK_EQ(get(at, 4), READY);
    put(at, 4, BOTH(words - 1));
    for (unsigned i = 0; i < words; i++)
        put(at + i * 4, 4, 0xabcd0000 + i);
}

static void buffers_are_programmed(void)
{
    begin(true, false);
    cmd(0, 0x20);
    cmd(0, 0xd0);
    fill(0x800, BUFFER / 4);
    cmd(0x800, 0xd0);
    CHECK_EQ(get(0, 4), READY);
    fill(0x1004, 3);
    cmd(0x1000, 0xd0);
    CHECK_EQ(get(0, 4), READY);
    cmd(0, 0xff);
    CHECK_EQ(get(0x800, 4), 0xabcd0000);
    CHECK_EQ(get(0x800 + BUFFER - 4, 4), 0xabcd0000 + BUFFER / 4 - 1);
    CHECK_EQ(get(0x1000, 4), 0xffffffff);
    CHECK_EQ(get(0x100c, 4), 0xabcd0002);
    CHECK_EQ(get(0x1010, 4), 0xffffffff);
    CHECK_EQ(in_file(0x100c), 0xabcd0002);
    end();
}

/* Each is an error that the status tells until it is cleared, and nothing has changed. */
static void nonsense_is_refused(void)
{
    begin(false, false);
    cmd(0, 0x20);
    cmd(0, 0xd0);
    /* Erasing without confirmation. */
    cmd(0, 0x20);
    cmd(0, 0xff);
    CHECK_EQ(get(0, 4), BOTH(0xb0));
    cmd(0, 0x50);
    CHECK_EQ(get(0, 4), READY);
    /* Too many words; the next write is a command. */
    cmd(0, 0xe8);
    put(0, 4, BOTH(BUFFER / 4));
    cmd(0, 0x70);
    CHECK_EQ(get(0, 4), BOTH(0xb0));
    cmd(0, 0x50);
    /* Words of two buffers. */
    cmd(0, 0xe8);
    put(0, 4, BOTH(1));
    put(BUFFER - 4, 4, 0);
    put(BUFFER, 4, 0);
    cmd(0, 0xd0);
    CHECK_EQ(get(0, 4), BOTH(0xb0));
    cmd(0, 0x50);
    /* Confirmed elsewhere, or not at all. */
    fill(0, 2);
    cmd(0x40000, 0xd0);
    CHECK_EQ(get(0, 4), BOTH(0xb0));
    cmd(0, 0x50);
    fill(0, 2);
    cmd(0, 0xff);
    CHECK_EQ(get(0, 4), BOTH(0xb0));
    cmd(0, 0x50);
    cmd(0, 0x60);
    cmd(0, 0x77);
    CHECK_EQ(get(0, 4), BOTH(0xb0));
    cmd(0, 0xff);
    CHECK_EQ(get(0, 8), UINT64_MAX);
    CHECK_EQ(get(BUFFER, 8), UINT64_MAX);
    end();
}

static void locks_hold(void)
{
    begin(false, false);
    cmd(0x40000, 0x60);
    cmd(0x40000, 0x01);
    cmd(0, 0x90);
    CHECK_EQ(get(0x40008, 4), BOTH(1));
    CHECK_EQ(get(0x80008, 4), 0);
    cmd(0x40000, 0x20);
    cmd(0x40000, 0xd0);
    CHECK_EQ(get(0, 4), BOTH(0xa2));
    cmd(0, 0x50);
    cmd(0x40000, 0x60);
    cmd(0x40000, 0xd0);
    cmd(0x40000, 0x20);
    cmd(0x40000, 0xd0);
    CHECK_EQ(get(0, 4), READY);
    cmd(0x40000, 0x60);
    cmd(0x40000, 0x2f);
    cmd(0x40000, 0x60);
    cmd(0x40000, 0xd0);
    cmd(0x40000, 0x40);
    put(0x40000, 4, 0);
    CHECK_EQ(get(0, 4), BOTH(0x92));
    dev->desc->ops->reset(dev);
    CHECK_EQ(get(0x40000, 4), 0xffffffff);
    cmd(0x40000, 0x40);
    put(0x40000, 4, 0);
    CHECK_EQ(get(0, 4), READY);
    end();
}

static void read_only_stays(void)
{
    begin(false, true);
    cmd(0, 0x60);
    cmd(0, 0xd0);
    cmd(0, 0x90);
    CHECK_EQ(get(8, 4), BOTH(3));
    cmd(0, 0x20);
    cmd(0, 0xd0);
    CHECK_EQ(get(0, 4), BOTH(0xa2));
    cmd(0, 0x40);
    put(0, 4, 0xff);
    CHECK_EQ(get(0, 4), BOTH(0xb2));
    cmd(0, 0xff);
    CHECK_EQ(get(0, 4), 0);
    end();
}

/* What the file does not take is not in the bank either. */
static void full_disk_is_an_error(void)
{
    const struct rlimit small = {4096, RLIM_INFINITY};

    begin(true, false);
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    cmd(0x40000, 0x20);
    cmd(0x40000, 0xd0);
    CHECK_EQ(get(0, 4), BOTH(0xa0));
    cmd(0, 0x50);
    memset(rom->r.host, 0xff, 0x2000);
    cmd(0, 0x40);
    put(0x1000, 4, 0);
    CHECK_EQ(get(0, 4), BOTH(0x90));
    cmd(0, 0x50);
    cmd(0, 0x40);
    put(0xffc, 4, 0);
    CHECK_EQ(get(0, 4), READY);
    cmd(0, 0xff);
    CHECK_EQ(get(0x1000, 4), 0xffffffff);
    CHECK_EQ(get(0xffc, 4), 0);
    CHECK_EQ(get(0x40000, 4), 0);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}), 0);
    end();
}

static void code_is_dropped(void)
{
    begin(false, false);
    atomic_fetch_or(&rom->r.flags[0x40], MEM_PAGE_CODE);
    cmd(0, 0x40);
    put(0x40000, 4, 0);
    CHECK_EQ(dropped, 1);
    cmd(0, 0x40);
    put(0x41000, 4, 0);
    CHECK_EQ(dropped, 1);
    cmd(0x40000, 0x20);
    cmd(0x40000, 0xd0);
    CHECK_EQ(dropped, 2);
    CHECK(atomic_load(&rom->r.flags[0x41]) & MEM_PAGE_ROM);
    end();
}

static void state_is_kept(void)
{
    FILE *f = tmpfile();
    struct state_writer *w;
    struct state_reader *r;
    uint32_t version;

    begin(true, false);
    memset(rom->r.host + 0x7000, 0x77, 100);
    cmd(0x40000, 0x60);
    cmd(0x40000, 0x01);
    fill(0x800, 2);
    CHECK_EQ(state_writer_open(&w, fileno(f)), 0);
    state_begin(w, "flash", 1);
    dev->desc->ops->save(dev, w);
    state_end(w);
    CHECK_EQ(state_writer_finish(w), 0);
    end();

    begin(true, false);
    memset(rom->r.host + 0x9000, 0x99, 100);
    rewind(f);
    CHECK_EQ(state_reader_open(&r, fileno(f)), 0);
    CHECK_EQ(state_enter(r, "flash", &version), 0);
    CHECK_EQ(dev->desc->ops->load(dev, r), 0);
    CHECK_EQ(state_leave(r), 0);
    state_reader_finish(r);
    CHECK_EQ(get(0, 4), READY);
    cmd(0x800, 0xd0);
    cmd(0, 0xff);
    CHECK_EQ(get(0x7000, 4), 0x77777777);
    CHECK_EQ(get(0x9000, 4), 0);
    CHECK_EQ(in_file(0x7000), 0x77777777);
    cmd(0, 0x90);
    CHECK_EQ(get(0x40008, 4), BOTH(1));
    end();
    fclose(f);
}

/* Any bytes at any place, in any width: the bank answers, and nothing beyond it changes. */
static void random_accesses(void)
{
    static const uint8_t cmds[] = {0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xb0, 0xd0, 0xe8, 0xff, 0x01, 0x2f};
    uint64_t x = 88172645463325252u;

    begin(false, false);
    for (unsigned i = 0; i < 300000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        unsigned size = 1u << (x & 3);
        uint64_t off = (x >> 8) % (x & 0x10 ? CFI_FLASH_SIZE : 8192) & ~(uint64_t)(size - 1);
        uint64_t v = x & 0x20 ? BOTH(cmds[(x >> 40) % sizeof(cmds)]) : x >> 32;

        if (x & 0x40)
            put(off, size, v);
        else
            get(off, size);
    }
    dev->desc->ops->reset(dev);
    CHECK(mem_find_direct(mem, GPA(BASE), 4));
    end();
}

int main(void)
{
    RUN(array_is_memory);
    RUN(query_says_what_it_is);
    RUN(words_are_programmed);
    RUN(buffers_are_programmed);
    RUN(nonsense_is_refused);
    RUN(locks_hold);
    RUN(read_only_stays);
    RUN(full_disk_is_an_error);
    RUN(code_is_dropped);
    RUN(state_is_kept);
    RUN(random_accesses);
    return check_done();
}
