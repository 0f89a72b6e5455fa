/*
 * System calls that change the address space. The host does them at the guest's own addresses; here the emulator's
 * pages are kept from the guest, and executable pages are noted (space.h).
 *
 * The emulator's pages are not there for the guest: unmapping a range leaves them, changing one ends with ENOMEM as
 * for any hole, and a fixed mapping over them is refused. Addresses of what is there may be tagged, always; where
 * something shall be, never.
 */
#include <errno.h>
#include <linux/mman.h>
#include <linux/personality.h>
#include <linux/shm.h>

#include "vmm/user/access.h"
#include "vmm/user/saved.h"
#include "vmm/user/space.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"

#define MAP_32BIT_HOST 0x40u /* means nothing on arm64 */

static bool read_implies_exec;

void user_space_set_read_implies_exec(bool on)
{
    read_implies_exec = on;
}

/* What the guest may execute. */
static bool executable(uint64_t prot)
{
    return (prot & PROT_EXEC) || (read_implies_exec && (prot & PROT_READ));
}

/* The length in whole pages; 0 where it wraps, which the kernel refuses. */
static uint64_t pages(uint64_t len)
{
    return len > UINT64_MAX - (SYS_PAGE - 1) ? 0 : align_up(len, SYS_PAGE);
}

/* Are any of these pages the emulator's? Of what is misaligned the kernel says so first. */
static bool ours(uint64_t addr, uint64_t len)
{
    return !(addr & (SYS_PAGE - 1)) && sys_owns(addr, len);
}

static void note(uint64_t addr, uint64_t len, uint64_t prot)
{
    if (executable(prot))
        user_space_exec_add(addr, pages(len));
    else
        user_space_exec_remove(addr, pages(len));
}

/* The same where something else may have been mapped before. */
static void note_mapped(uint64_t addr, uint64_t len, uint64_t prot)
{
    user_space_exec_changed(addr, pages(len));
    note(addr, len, prot);
}

int64_t user_space_mmap(struct user_thread *t, const uint64_t a[6])
{
    uint64_t flags = a[3] & ~(uint64_t)MAP_32BIT_HOST, prot = a[2];
    bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
    int64_t r;

    if (fixed && ours(a[0], pages(a[1])))
        return flags & MAP_FIXED_NOREPLACE ? -EEXIST : -ENOMEM;
    r = user_host_call(t, __NR_mmap, a[0], a[1], prot, flags, a[4], a[5]);
    if (sys_is_err(r) || r == -SYS_RESTART)
        return r;
    if (flags & MAP_SHARED) /* or MAP_SHARED_VALIDATE, which has that bit, too */
        user_space_view_add((uint64_t)r, pages(a[1]), user_space_object_of(flags & MAP_ANONYMOUS ? -1 : (int)a[4]),
                            flags & MAP_ANONYMOUS ? 0 : a[5]);
    else
        user_space_view_remove((uint64_t)r, pages(a[1]));
    note_mapped((uint64_t)r, a[1], prot);
    if (executable(prot) && !(flags & MAP_ANONYMOUS))
        user_saved_mapped((int)a[4], (uint64_t)r, pages(a[1]), a[5]);
    return r;
}

static int64_t unmap(struct user_thread *t, uint64_t start, uint64_t end)
{
    bool known = user_space_unmap_begin(start, end - start);
    int64_t r = user_host_call(t, __NR_munmap, start, end - start);

    if (known)
        user_space_unmap_end(start, r ? 0 : end - start);
    return r;
}

/* All but our pages of [addr, addr+len). */
int64_t user_space_munmap(struct user_thread *t, const uint64_t a[6])
{
    uint64_t len = pages(a[1]), at = user_untagged(a[0]), end = at + len, start, stop;
    int64_t r = 0;

    if (!len || end < at || end > USER_TASK_SIZE || (at & (SYS_PAGE - 1)))
        return user_host_call(t, __NR_munmap, at, a[1]);
    while (at < end && !r) {
        if (!sys_owned_next(at, &start, &stop) || start >= end)
            return unmap(t, at, end);
        if (start > at)
            r = unmap(t, at, start);
        at = stop;
    }
    return r;
}

int64_t user_space_mprotect(struct user_thread *t, const uint64_t a[6])
{
    uint64_t at = user_untagged(a[0]);
    int64_t r;

    if (ours(at, pages(a[1])))
        return -ENOMEM;
    r = user_host_call(t, __NR_mprotect, at, a[1], a[2]);
    if (!r && !(a[2] & (PROT_GROWSDOWN | PROT_GROWSUP)))
        note(at, a[1], a[2]);
    return r;
}

/* pkeys need FEAT_S1POE, which no model has: only "no key" is accepted, as plain mprotect. */
int64_t user_space_pkey_mprotect(struct user_thread *t, const uint64_t a[6])
{
    return (int)a[3] == -1 ? user_space_mprotect(t, a) : -EINVAL;
}

int64_t user_space_mremap(struct user_thread *t, const uint64_t a[6])
{
    uint64_t from = user_untagged(a[0]), old = from, old_len = pages(a[1]), new_len = pages(a[2]), lo, hi;
    uint64_t gone = old_len, offset;
    struct user_space_object object;
    bool exec = user_space_exec_find(old, &lo, &hi), shared = user_space_view_find(old, &object, &offset), known;
    int64_t r;

    if (ours(old, old_len ? old_len : 1))
        return -EFAULT;
    if ((a[3] & MREMAP_FIXED) && ours(a[4], new_len))
        return -ENOMEM;
    known = user_space_unmap_begin(old, old_len);
    r = user_host_call(t, __NR_mremap, from, a[1], a[2], a[3], a[4]);
    if (sys_is_err(r) || r == -SYS_RESTART || (a[3] & MREMAP_DONTUNMAP)) {
        gone = 0;
    } else if ((uint64_t)r == old) {
        gone = old_len - MIN(old_len, new_len);
        old += old_len - gone;
    }
    if (known)
        user_space_unmap_end(old, gone);
    if (sys_is_err(r) || r == -SYS_RESTART)
        return r;
    if (a[3] & MREMAP_DONTUNMAP)
        user_space_exec_changed(old, old_len);
    if (shared)
        user_space_view_add((uint64_t)r, new_len, object, offset);
    else
        user_space_view_remove((uint64_t)r, new_len);
    if ((uint64_t)r == from)
        note((uint64_t)r, new_len, exec ? PROT_EXEC : 0);
    else
        note_mapped((uint64_t)r, new_len, exec ? PROT_EXEC : 0);
    return r;
}

/* Of a shared mapping: what it shows at [addr, addr+size) changes, and nothing else. */
int64_t user_space_remap_file_pages(struct user_thread *t, const uint64_t a[6])
{
    struct user_space_object object;
    uint64_t start = align_down(a[0], SYS_PAGE), offset;
    bool shared = user_space_view_find(start, &object, &offset);
    int64_t r;

    if (ours(start, pages(a[1])))
        return -EINVAL;
    r = user_host_call(t, __NR_remap_file_pages, a[0], a[1], a[2], a[3], a[4]);
    if (r)
        return r;
    if (shared)
        user_space_view_add(start, align_down(a[1], SYS_PAGE), object, a[3] * SYS_PAGE);
    user_space_exec_changed(start, align_down(a[1], SYS_PAGE));
    return 0;
}

int64_t user_space_madvise(struct user_thread *t, const uint64_t a[6])
{
    uint64_t len = pages(a[1]), at = user_untagged(a[0]);
    int64_t r;

    if (ours(at, len))
        return -ENOMEM;
    r = user_host_call(t, __NR_madvise, at, a[1], a[2]);
    /* What changes contents: code that was there is not any more. */
    if (!r && (a[2] == MADV_DONTNEED || a[2] == MADV_DONTNEED_LOCKED || a[2] == MADV_FREE || a[2] == MADV_REMOVE))
        user_space_exec_changed(at, len);
    return r;
}

static void note_segment(uint64_t at, const uint64_t a[6], uint64_t size)
{
    user_space_view_add(at, pages(size), (struct user_space_object){USER_SPACE_SEGMENT, (uint32_t)a[0]}, 0);
    note_mapped(at, size, a[2] & SHM_EXEC ? PROT_EXEC : PROT_READ);
}

int64_t user_space_shmat(struct user_thread *t, const uint64_t a[6])
{
    struct shmid64_ds ds;
    int64_t r;

    if (sys_call(__NR_shmctl, a[0], IPC_STAT, &ds))
        ds.shm_segsz = 0; /* shmat says why */
    if ((a[2] & SHM_REMAP) && sys_owns(a[1], pages(ds.shm_segsz)))
        return -EINVAL;
    r = user_host_call(t, __NR_shmat, a[0], a[1], a[2]);
    if (!sys_is_err(r) && r != -SYS_RESTART && ds.shm_segsz)
        note_segment((uint64_t)r, a, ds.shm_segsz);
    return r;
}

/* What is left of the segment that shmat put there goes. */
int64_t user_space_shmdt(struct user_thread *t, const uint64_t a[6])
{
    int64_t r = user_host_call(t, __NR_shmdt, a[0]);
    uint64_t start, end = 0;

    while (!r && user_space_view_segment(a[0], end, &start, &end)) {
        user_space_view_remove(start, end - start);
        user_space_exec_remove(start, end - start);
    }
    return r;
}

int64_t user_call_process_personality(struct user_thread *t, const uint64_t a[6])
{
    int64_t r = user_host_call(t, __NR_personality, a[0]);

    if (r >= 0 && (uint32_t)a[0] != UINT32_MAX)
        user_space_set_read_implies_exec(a[0] & READ_IMPLIES_EXEC);
    return r;
}
