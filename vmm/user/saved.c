/* Saved translations, see saved.h. */
#include "vmm/user/saved.h"

#include <elf.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/stat.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/abi.h"
#include "vmm/user/debug.h"
#include "vmm/user/executor.h"
#include "vmm/user/options.h"
#include "vmm/user/saved_store.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/thread.h"

#define FILES_MAX 64
#define RANGES_MAX 128
#define RECORD_TYPICAL KIB(1)

/* All that a translation depends on beside the code, and what names the file. */
struct key {
    uint8_t build[24]; /* the linker's hash of this program */
    uint64_t host, model, page, size, unused;
};
_Static_assert(sizeof(struct key) == JIT_SAVED_KEY, "a key");

struct file {
    struct key key;
    uint64_t name;
    bool looked; /* for the image */
    struct jit_saved_image image;
    uint32_t count; /* blocks of the image as it was read or written last */
    uint32_t unsaved;
};

struct range {
    uint64_t lo, hi, offset;
    struct file *file;
};

static bool on;
static struct sys_lock lock; /* all of these; the JIT's lock may be held when it is taken, not the reverse */
static struct file *files;
static struct range *ranges;
static unsigned nfiles, nranges;
static _Atomic uint32_t publishing;

/* ---- keys ---- */

static struct key common;

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

/* The note that the linker's --build-id makes; false where there is none. */
static bool build_id(uint8_t out[24])
{
    const char *base = (const char *)&__ehdr_start;
    const Elf64_Phdr *ph = (const Elf64_Phdr *)(base + __ehdr_start.e_phoff);

    for (unsigned i = 0; i < __ehdr_start.e_phnum; i++) {
        const Elf64_Nhdr *n = (const Elf64_Nhdr *)(uintptr_t)ph[i].p_vaddr;
        if (ph[i].p_type != PT_NOTE || n->n_type != NT_GNU_BUILD_ID || n->n_descsz < 8 || n->n_descsz > 24)
            continue;
        memcpy(out, (const char *)(n + 1) + align_up(n->n_namesz, 4), n->n_descsz);
        return true;
    }
    return false;
}

void user_saved_init(const char *const *envp, bool secure)
{
    /* A debugger's breakpoints cut blocks, and must not be within any. */
    if (secure || user_options.tier == JIT_INTERP || user_options.tier == JIT_LOCKSTEP || user_debug_signals ||
        !build_id(common.build))
        return;
    user_saved_store_init(envp);
    common.model = jit_saved_hash(0, user_options.model->name, strlen(user_options.model->name));
    files = sys_alloc(FILES_MAX * sizeof(*files) + RANGES_MAX * sizeof(*ranges));
    ranges = files ? (struct range *)(files + FILES_MAX) : NULL;
    on = files;
}

void user_saved_lock(void)
{
    sys_lock(&lock);
}

void user_saved_unlock(void)
{
    sys_unlock(&lock);
}

/* ---- what is mapped where ---- */

/* Only ELF files: programs that translate by themselves keep code in other ones. */
static bool make_key(int fd, struct key *k)
{
    uint8_t page[SYS_PAGE] __attribute__((aligned(8)));
    struct statx st;
    long n;

    if (sys_call(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &st) ||
        (st.stx_mode & ABI_S_IFMT) != ABI_S_IFREG)
        return false;
    n = sys_call(__NR_pread64, fd, page, sizeof(page), 0);
    if (n < (long)sizeof(Elf64_Ehdr) || memcmp(page, ELFMAG, SELFMAG))
        return false;
    *k = common;
    k->page = jit_saved_hash(0, page, (size_t)n);
    k->size = st.stx_size;
    return true;
}

static const uint8_t *key_bytes(const struct file *f)
{
    return (const uint8_t *)&f->key;
}

/* With the lock. NULL: there are too many. */
static struct file *file_of(const struct key *k)
{
    for (unsigned i = 0; i < nfiles; i++)
        if (files[i].key.page == k->page && files[i].key.size == k->size)
            return &files[i];
    if (nfiles == FILES_MAX)
        return NULL;
    struct file *f = &files[nfiles++];
    f->key = *k;
    return f;
}

/* With the lock. Of a range that is cut in the middle the upper part is forgotten. */
static void cut(uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < nranges;) {
        struct range *r = &ranges[i];
        if (r->lo >= start && r->hi <= end) {
            *r = ranges[--nranges];
            continue;
        }
        if (r->lo < end && r->hi > start) {
            if (r->lo < start) {
                r->hi = start;
            } else {
                r->offset += end - r->lo;
                r->lo = end;
            }
        }
        i++;
    }
}

void user_saved_mapped(int fd, uint64_t start, uint64_t len, uint64_t offset)
{
    struct key k;

    if (!on || !make_key(fd, &k))
        return;
    sys_lock(&lock);
    cut(start, start + len);
    struct file *f = nranges < RANGES_MAX && offset >> 34 == 0 && len >> 33 == 0 ? file_of(&k) : NULL;
    if (f)
        ranges[nranges++] = (struct range){.lo = start, .hi = start + len, .offset = offset, .file = f};
    sys_unlock(&lock);
}

void user_saved_unmapped(uint64_t start, uint64_t len)
{
    if (!on)
        return;
    sys_lock(&lock);
    cut(start, start + len);
    sys_unlock(&lock);
}

/* ---- reading ---- */

static void look(struct file *f)
{
    int dir = user_saved_store_open();
    const uint8_t *at = NULL;
    size_t size = 0;

    f->looked = true;
    f->key.host = jit_saved_host();
    f->name = jit_saved_hash(0, &f->key, sizeof(f->key));
    if (dir < 0) {
        on = dir != -ENOENT && dir != -EACCES && dir != -ENOTDIR;
        return;
    }
    at = user_saved_store_map(dir, f->name, &size);
    sys_call(__NR_close, dir);
    if (at && !jit_saved_open(at, size, key_bytes(f), &f->image))
        sys_unmap((void *)(uintptr_t)at, align_up(size, SYS_PAGE));
    f->count = f->image.count;
}

bool user_saved_find(void *opaque, uint64_t va, struct jit_saved_place *out)
{
    bool found = false;

    (void)opaque;
    if (!on)
        return false;
    sys_lock(&lock);
    for (unsigned i = nranges; i-- > 0 && !found;) {
        const struct range *r = &ranges[i];
        if (va - r->lo >= r->hi - r->lo)
            continue;
        if (!r->file->looked)
            look(r->file);
        *out = (struct jit_saved_place){
            .image = r->file->image, .where = (uint32_t)((va - r->lo + r->offset) >> 2), .unsaved = &r->file->unsaved};
        found = on;
    }
    sys_unlock(&lock);
    return found;
}

/* ---- writing ---- */

/* Copies the next range of the file, from number *i on. */
static bool next_range(const struct file *f, unsigned *i, struct range *r)
{
    bool found = false;

    sys_lock(&lock);
    while (*i < nranges && !found) {
        *r = ranges[(*i)++];
        found = r->file == f;
    }
    sys_unlock(&lock);
    return found;
}

static void write_image(int dir, struct file *f, uint8_t *room, size_t size, const struct jit_saved_image *old)
{
    struct jit_saved_writer w;
    struct range r;
    unsigned i = 0;

    jit_saved_begin(&w, room, size, old->count + f->unsaved);
    jit_saved_add_image(&w, old);
    while (next_range(f, &i, &r))
        user_executor_save(&w, r.lo, r.hi, r.offset);
    f->unsaved = 0;
    f->count = w.count;
    if (w.count > old->count)
        user_saved_store_write(dir, f->name, room, jit_saved_end(&w, key_bytes(f)));
}

/* What was read may have been replaced by other processes since: theirs is kept. */
static void publish_file(int dir, struct file *f)
{
    struct jit_saved_image old = {0};
    size_t size = 0, room;
    const uint8_t *at = user_saved_store_map(dir, f->name, &size);
    uint8_t *fresh;

    if (at)
        jit_saved_open(at, size, key_bytes(f), &old);
    room = align_up(old.size + (f->unsaved + 64) * RECORD_TYPICAL + (old.count + f->unsaved) * 8, SYS_PAGE);
    room = MIN(room, (size_t)USER_SAVED_IMAGE_MAX);
    fresh = sys_map(room, SYS_PAGE, PROT_READ | PROT_WRITE);
    if (fresh)
        write_image(dir, f, fresh, room, &old);
    sys_unmap(fresh, room);
    sys_unmap((void *)(uintptr_t)at, align_up(size, SYS_PAGE));
}

static bool due(const struct file *f, uint32_t least)
{
    return f->unsaved >= least && f->unsaved >= f->count / 16;
}

void user_saved_publish(const struct user_thread *t, uint32_t least)
{
    unsigned i = 0;
    int dir;

    if (!on || t->vfork || t->filters)
        return;
    while (i < nfiles && !due(&files[i], least))
        i++;
    if (i == nfiles || sys_call(__NR_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) || atomic_exchange(&publishing, 1))
        return;
    dir = user_saved_store_open();
    for (; dir >= 0 && i < nfiles; i++)
        if (due(&files[i], least))
            publish_file(dir, &files[i]);
    if (dir >= 0)
        sys_call(__NR_close, dir);
    atomic_store(&publishing, 0);
}
