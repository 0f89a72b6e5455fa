/* Executable ranges: a sorted array of disjoint, non-adjacent ranges, see space.h. */
#include "vmm/user/space.h"

#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/executor.h"
#include "vmm/user/saved.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"

struct exec_range {
    uint64_t lo, hi;
};

static struct exec_range *ranges;
static size_t count, room;
static struct sys_lock lock;
_Atomic uint32_t user_space_epoch;

/* Index of the first range that ends above addr. */
static size_t find(uint64_t addr)
{
    size_t lo = 0, hi = count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (ranges[mid].hi <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Replaces ranges [first, last) by `n` others; false where there is no memory for that. */
static bool splice(size_t first, size_t last, const struct exec_range *with, size_t n)
{
    if (!sys_grow((void **)&ranges, &room, count - (last - first) + n, sizeof(ranges[0])))
        return false;
    memmove(&ranges[first + n], &ranges[last], (count - last) * sizeof(ranges[0]));
    if (n)
        memcpy(&ranges[first], with, n * sizeof(ranges[0]));
    count = count - (last - first) + n;
    return true;
}

void user_space_exec_add(uint64_t start, uint64_t len)
{
    struct exec_range r = {start, start + len};

    if (!len)
        return;
    sys_lock(&lock);
    size_t first = find(start), last;
    if (first > 0 && ranges[first - 1].hi == start)
        first--;
    for (last = first; last < count && ranges[last].lo <= r.hi; last++) {
        r.lo = MIN(r.lo, ranges[last].lo);
        r.hi = MAX(r.hi, ranges[last].hi);
    }
    bool ok = splice(first, last, &r, 1);
    sys_unlock(&lock);
    if (!ok)
        sys_die(126, "out of memory for the map of executable pages");
}

/* The ranges of [start, end) out of the array; true where there were any. Under the lock. */
static bool cut(uint64_t start, uint64_t end)
{
    struct exec_range left[2];
    size_t n = 0, first = find(start), last;

    for (last = first; last < count && ranges[last].lo < end; last++) {
        if (ranges[last].lo < start)
            left[n++] = (struct exec_range){ranges[last].lo, start};
        if (ranges[last].hi > end)
            left[n++] = (struct exec_range){end, ranges[last].hi};
    }
    if (last == first)
        return false;
    if (!splice(first, last, left, n))
        sys_die(126, "out of memory for the map of executable pages");
    atomic_fetch_add(&user_space_epoch, 1);
    return true;
}

void user_space_exec_remove(uint64_t start, uint64_t len)
{
    sys_lock(&lock);
    bool changed = cut(start, start + len);
    sys_unlock(&lock);
    if (changed) {
        user_saved_unmapped(start, len);
        user_executor_invalidate(start, len);
    }
}

bool user_space_unmap_begin(uint64_t start, uint64_t len)
{
    sys_lock(&lock);
    size_t i = find(start);
    if ((i < count && ranges[i].lo < start + len) || user_space_view_any(start, len))
        return true;
    sys_unlock(&lock);
    return false;
}

void user_space_unmap_end(uint64_t start, uint64_t len)
{
    if (len) {
        user_space_view_cut(start, len);
        if (cut(start, start + len)) {
            user_saved_unmapped(start, len);
            user_executor_invalidate(start, len);
        }
    }
    sys_unlock(&lock);
}

void user_space_exec_changed(uint64_t start, uint64_t len)
{
    sys_lock(&lock);
    size_t i = find(start);
    bool code = i < count && ranges[i].lo < start + len;
    sys_unlock(&lock);
    if (code)
        user_executor_invalidate(start, len);
}

bool user_space_exec_find(uint64_t addr, uint64_t *lo, uint64_t *hi)
{
    sys_lock(&lock);
    size_t i = find(addr);
    bool found = i < count && ranges[i].lo <= addr;
    if (found) {
        *lo = ranges[i].lo;
        *hi = ranges[i].hi;
    }
    sys_unlock(&lock);
    return found;
}

void user_space_lock(void)
{
    sys_lock(&lock);
}

void user_space_unlock(void)
{
    sys_unlock(&lock);
}
