/*
 * Memory slots, one a RAM region and one a ROM that is direct, and the dirty log. Of ROM only writes leave the guest;
 * while it is its device's, it has no slot, and each access does.
 *
 * While the log is on, KVM write-protects pages and notes which the guest writes; KVM_GET_DIRTY_LOG hands the notes
 * over and protects those pages again. dirty_sync moves them into mem's page flags, where devices' writes are noted
 * too, so that whoever copies memory looks at one place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/kvm/internal.h"

static int kvm_set_slot(struct kvm *k, unsigned i, bool log_dirty)
{
    const struct mem_region *r = &k->cfg.mem->region[i];
    struct kvm_userspace_memory_region slot = {
        .slot = i,
        .flags = log_dirty ? KVM_MEM_LOG_DIRTY_PAGES : 0,
        .guest_phys_addr = r->base.v,
        .memory_size = r->size,
        .userspace_addr = (uintptr_t)r->host,
    };

    return ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

static int kvm_set_rom_slot(struct kvm *k, const struct mem_rom *rom)
{
    struct kvm_userspace_memory_region slot = {
        .slot = MEM_MAX_REGIONS + (unsigned)(rom - k->cfg.mem->rom),
        .flags = KVM_MEM_READONLY,
        .guest_phys_addr = rom->r.base.v,
        .memory_size = atomic_load(&rom->direct) ? rom->r.size : 0,
        .userspace_addr = (uintptr_t)rom->r.host,
    };

    return ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

static void kvm_rom_switched(void *opaque, const struct mem_rom *rom)
{
    int r = kvm_set_rom_slot(opaque, rom);

    /* Every access is the device's then, which knows what to answer. */
    if (r < 0)
        log_warn("kvm", "KVM does not take the ROM at 0x%llx: %s", (unsigned long long)rom->r.base.v, strerror(-r));
}

static int kvm_create_roms(struct kvm *k, struct err *e)
{
    struct mem *m = k->cfg.mem;

    if (m->nroms && !kvm_check(k, KVM_CAP_READONLY_MEM))
        return err_set(e, ENOTSUP, "this host's KVM has no read-only memory, which firmware needs");
    for (unsigned i = 0; i < m->nroms; i++) {
        int r = kvm_set_rom_slot(k, &m->rom[i]);

        if (r < 0)
            return err_set_status(e, ERR_STATUS_MEMORY, -r, "KVM does not take the ROM at 0x%llx: %s",
                                  (unsigned long long)m->rom[i].r.base.v, strerror(-r));
    }
    m->rom_switched = kvm_rom_switched;
    m->rom_opaque = k;
    return 0;
}

int kvm_memory_create(struct kvm *k, struct err *e)
{
    const struct mem *m = k->cfg.mem;

    for (unsigned i = 0; i < m->nregions; i++) {
        int r = kvm_set_slot(k, i, false);

        if (r < 0)
            return err_set_status(e, ERR_STATUS_MEMORY, -r, "KVM does not take %llu MiB of RAM at 0x%llx: %s",
                                  (unsigned long long)(m->region[i].size >> 20),
                                  (unsigned long long)m->region[i].base.v, strerror(-r));
    }
    return kvm_create_roms(k, e);
}

static void kvm_free_bitmaps(struct kvm *k)
{
    for (unsigned i = 0; i < MEM_MAX_REGIONS; i++) {
        free(k->dirty[i]);
        k->dirty[i] = NULL;
    }
}

void kvm_memory_destroy(struct kvm *k)
{
    k->cfg.mem->rom_switched = NULL;
    kvm_free_bitmaps(k);
}

/* KVM counts pages of the host's size: on arm64 they may have 16 or 64 KiB. */
static unsigned kvm_page_bits(void)
{
    return (unsigned)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
}

/* Words of a region's bitmap: one bit a page. */
static size_t kvm_bitmap_words(const struct mem_region *r)
{
    return ((r->size >> kvm_page_bits()) + 63) / 64;
}

int kvm_dirty_log(struct accel *a, bool on)
{
    struct kvm *k = kvm_of(a);
    const struct mem *m = k->cfg.mem;
    int r = 0;

    for (unsigned i = 0; i < m->nregions && on && r == 0; i++) {
        if (!k->dirty[i])
            k->dirty[i] = calloc(kvm_bitmap_words(&m->region[i]), sizeof(uint64_t));
        r = k->dirty[i] ? kvm_set_slot(k, i, true) : -ENOMEM;
    }
    if (on && r == 0)
        return 0;
    for (unsigned i = 0; i < m->nregions; i++) {
        int off = kvm_set_slot(k, i, false);

        if (r == 0)
            r = off;
    }
    kvm_free_bitmaps(k);
    return r;
}

static void kvm_mark_dirty(const struct mem_region *r, const uint64_t *bitmap)
{
    size_t words = kvm_bitmap_words(r), each = (size_t)1 << (kvm_page_bits() - MEM_PAGE_BITS);

    for (size_t w = 0; w < words; w++)
        for (uint64_t bits = bitmap[w]; bits; bits &= bits - 1) {
            size_t page = (w * 64 + (unsigned)__builtin_ctzll(bits)) * each;

            for (size_t i = 0; i < each; i++)
                atomic_fetch_or_explicit(&r->flags[page + i], MEM_PAGE_DIRTY, memory_order_relaxed);
        }
}

int kvm_dirty_sync(struct accel *a)
{
    struct kvm *k = kvm_of(a);
    const struct mem *m = k->cfg.mem;

    for (unsigned i = 0; i < m->nregions; i++) {
        struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = k->dirty[i]};

        if (!k->dirty[i])
            return -EINVAL;
        if (ioctl(k->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
            return -errno;
        kvm_mark_dirty(&m->region[i], k->dirty[i]);
    }
    return 0;
}
