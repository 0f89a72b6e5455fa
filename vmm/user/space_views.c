/*
 * Shared memory that may be mapped more than once: which views there are, so that IC IVAU by the address of one drops
 * the translations that were made through another. Mappings with MAP_SHARED are noted, with what they show, as disjoint
 * ranges in the order of their addresses. (A private mapping may show what is written to its file, or not: mmap(2).)
 */
#include "vmm/user/space.h"

#include <linux/fcntl.h>
#include <linux/stat.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/executor.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

struct view {
    uint64_t lo, hi;
    struct user_space_object object;
    uint64_t offset; /* of lo in the object */
};

/* All under user_space_lock(); the count is also looked at without. */
static struct view *views;
static size_t room;
static _Atomic size_t count;

static size_t find(uint64_t addr)
{
    size_t lo = 0, hi = count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (views[mid].hi <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool same(const struct user_space_object *a, const struct user_space_object *b)
{
    return a->device == b->device && a->number == b->number;
}

/* Replaces views [first, last) by `n` others. */
static bool splice(size_t first, size_t last, const struct view *with, size_t n)
{
    if (!sys_grow((void **)&views, &room, count - (last - first) + n, sizeof(views[0])))
        return false;
    memmove(&views[first + n], &views[last], (count - last) * sizeof(views[0]));
    memcpy(&views[first], with, n * sizeof(views[0]));
    count = count - (last - first) + n;
    return true;
}

/* What [start, end) shows from now on: `v`, or with NULL nothing that is shared. Under the lock. */
static void replace(uint64_t start, uint64_t end, const struct view *v)
{
    struct view with[3];
    size_t n = 0, first = find(start), last;

    if (first < count && views[first].lo < start) {
        with[n] = views[first];
        with[n++].hi = start;
    }
    if (v)
        with[n++] = *v;
    for (last = first; last < count && views[last].lo < end; last++) {
        if (views[last].hi <= end)
            continue;
        with[n] = views[last];
        with[n].offset += end - views[last].lo;
        with[n++].lo = end;
    }
    if (!splice(first, last, with, n))
        sys_die(126, "out of memory for the map of shared memory");
}

void user_space_view_add(uint64_t start, uint64_t len, struct user_space_object object, uint64_t offset)
{
    struct view v = {.lo = start, .hi = start + len, .object = object, .offset = offset};

    if (!len)
        return;
    user_space_lock();
    replace(start, start + len, &v);
    user_space_unlock();
}

void user_space_view_cut(uint64_t start, uint64_t len)
{
    if (count)
        replace(start, start + len, NULL);
}

bool user_space_view_any(uint64_t start, uint64_t len)
{
    size_t i = find(start);

    return i < count && views[i].lo < start + len;
}

void user_space_view_remove(uint64_t start, uint64_t len)
{
    if (!len || !count)
        return;
    user_space_lock();
    user_space_view_cut(start, len);
    user_space_unlock();
}

bool user_space_view_find(uint64_t addr, struct user_space_object *object, uint64_t *offset)
{
    bool found;

    if (!count)
        return false;
    user_space_lock();
    size_t i = find(addr);
    found = i < count && views[i].lo <= addr;
    if (found) {
        *object = views[i].object;
        *offset = views[i].offset + (addr - views[i].lo);
    }
    user_space_unlock();
    return found;
}

/* Where that is in the view, or 0. */
static uint64_t shown(const struct view *v, const struct user_space_object *object, uint64_t offset, uint64_t len)
{
    uint64_t size = v->hi - v->lo;

    if (!same(&v->object, object) || offset < v->offset || offset - v->offset > size ||
        len > size - (offset - v->offset))
        return 0;
    return v->lo + (offset - v->offset);
}

uint64_t user_space_view_where(const struct user_space_object *object, uint64_t offset, uint64_t len, uint64_t hint)
{
    uint64_t at = 0;

    user_space_lock();
    size_t i = find(hint);
    if (i < count)
        at = shown(&views[i], object, offset, len);
    for (i = 0; i < count && !at; i++)
        at = shown(&views[i], object, offset, len);
    user_space_unlock();
    return at;
}

struct user_space_object user_space_object_of(int fd)
{
    static _Atomic uint64_t anonymous;
    struct statx st;

    if (fd < 0)
        return (struct user_space_object){USER_SPACE_ANONYMOUS, ++anonymous};
    if (sys_call(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_INO, &st))
        return (struct user_space_object){USER_SPACE_ANONYMOUS, ++anonymous};
    return (struct user_space_object){(uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor, st.stx_ino};
}

/* The first view from *at on that shows some of [offset, offset+len): where in the address space that is. *at moves
 * behind the view, so that others may be added and removed in between. */
static bool next_alias(uint64_t *at, const struct user_space_object *object, uint64_t offset, uint64_t len,
                       uint64_t *start, uint64_t *end)
{
    bool found = false;

    user_space_lock();
    for (size_t i = find(*at); i < count && !found; i++) {
        const struct view *v = &views[i];
        uint64_t size = v->hi - v->lo;
        if (!same(&v->object, object) || v->offset >= offset + len || offset >= v->offset + size)
            continue;
        *start = v->lo + (MAX(offset, v->offset) - v->offset);
        *end = v->lo + (MIN(offset + len, v->offset + size) - v->offset);
        *at = v->hi;
        found = true;
    }
    user_space_unlock();
    return found;
}

void user_space_code_written(uint64_t addr, uint64_t len)
{
    struct user_space_object object;
    uint64_t offset, at = 0, start, end;

    user_executor_invalidate(addr, len);
    if (!user_space_view_find(addr, &object, &offset))
        return;
    while (next_alias(&at, &object, offset, len, &start, &end))
        if (start != addr)
            user_executor_invalidate(start, end - start);
}

bool user_space_view_segment(uint64_t addr, uint64_t at, uint64_t *start, uint64_t *end)
{
    bool found = false;

    user_space_lock();
    for (size_t i = find(at); i < count && !found; i++) {
        const struct view *v = &views[i];
        found = v->object.device == USER_SPACE_SEGMENT && v->lo - v->offset == addr;
        if (found) {
            *start = v->lo;
            *end = v->hi;
        }
    }
    user_space_unlock();
    return found;
}
