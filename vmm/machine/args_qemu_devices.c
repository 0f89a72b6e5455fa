/* QEMU's command line, second half: drives, networks, serial lines, and the devices that join them to the board. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/machine/args_qemu.h"

/* ---- names ---- */

static struct qemu_id *id_find(struct qemu_args *a, enum qemu_id_kind kind, const char *id)
{
    for (unsigned i = 0; i < a->nids; i++)
        if (a->id[i].kind == kind && !strcmp(a->id[i].id, id))
            return &a->id[i];
    return NULL;
}

/* Files `id` (NULL: without a name). */
static int id_add(struct qemu_args *a, enum qemu_id_kind kind, const char *id, unsigned index, const char *what,
                  struct err *e)
{
    if (id && *id && id_find(a, kind, id))
        return err_set(e, EEXIST, "%s: the id \"%s\" is taken", what, id);
    if (a->nids == QEMU_MAX_IDS)
        return err_set(e, ENOSPC, "%s: too many devices and back ends", what);
    a->id[a->nids++] = (struct qemu_id){.kind = kind, .id = config_str(a->c, id ? id : ""), .index = index};
    return 0;
}

/* The back end that a device names; each serves one device. */
static int id_claim(struct qemu_args *a, enum qemu_id_kind kind, const char *id, const char *what, struct err *e)
{
    struct qemu_id *i = id_find(a, kind, id);

    if (!i)
        return err_set(e, ENOENT, "%s: there is no back end with the id \"%s\"", what, id);
    if (i->used)
        return err_set(e, EBUSY, "%s: the back end \"%s\" has a device already", what, id);
    i->used = true;
    return (int)i->index;
}

/* ---- drives ---- */

/* The `n`th drive of the command line. */
static struct qemu_id *drive_by_number(struct qemu_args *a, unsigned n)
{
    for (unsigned i = 0; i < a->nids; i++)
        if (a->id[i].kind == QEMU_ID_DRIVE && n-- == 0)
            return &a->id[i];
    return NULL;
}

static int drive_bool_off(struct options *o, const char *key, struct err *e)
{
    bool v = false;
    int r = options_get_bool(o, "-drive", key, &v, e);

    return r < 0 ? r : v ? err_set(e, EINVAL, "-drive %s=on is not supported", key) : 0;
}

/* A property of which one value is what happens anyway. */
static int drive_only(struct options *o, const char *key, const char *one, struct err *e)
{
    const char *s = options_get(o, key);

    if (!s || !strcmp(s, one))
        return 0;
    return err_set(e, EINVAL, "-drive %s=%s is not supported; %s is", key, s, one);
}

/* unmap or on; ignore or off. QEMU's default is to ignore, ours to give the room back. */
static int drive_discard(struct vm_disk *d, struct options *o, struct err *e)
{
    const char *s = options_get(o, "discard");

    if (s && strcmp(s, "unmap") != 0 && strcmp(s, "on") != 0 && strcmp(s, "ignore") != 0 && strcmp(s, "off") != 0)
        return err_set(e, EINVAL, "-drive discard=%s: unmap and ignore are known", s);
    d->no_discard = s && (!strcmp(s, "ignore") || !strcmp(s, "off"));
    return 0;
}

/* cache.direct=, cache.writeback= and cache.no-flush=: as the modes that they make up. */
static int drive_cache_parts(struct vm_disk *d, struct options *o, struct err *e)
{
    bool direct = false, writeback = true, no_flush = false;
    int r;

    if (!options_find(o, "cache.direct") && !options_find(o, "cache.writeback") && !options_find(o, "cache.no-flush"))
        return 0;
    if (options_find(o, "cache"))
        return err_set(e, EINVAL, "-drive file=%s: cache= says what cache.direct= and its like do", d->path);
    if ((r = options_get_bool(o, "-drive", "cache.direct", &direct, e)) < 0 ||
        (r = options_get_bool(o, "-drive", "cache.writeback", &writeback, e)) < 0 ||
        (r = options_get_bool(o, "-drive", "cache.no-flush", &no_flush, e)) < 0)
        return r;
    if (no_flush && (direct || !writeback))
        return err_set(e, EINVAL, "-drive file=%s: cache.no-flush=on goes with cache.direct=off and cache.writeback=on",
                       d->path);
    d->cache = no_flush    ? VM_CACHE_UNSAFE
               : direct    ? (writeback ? VM_CACHE_NONE : VM_CACHE_DIRECTSYNC)
               : writeback ? VM_CACHE_WRITEBACK
                           : VM_CACHE_WRITETHROUGH;
    return 0;
}

static int drive_aio(struct qemu_args *a, const struct vm_disk *d, struct options *o, struct err *e)
{
    const char *s = options_get(o, "aio");

    if (!s)
        return 0;
    if (!strcmp(s, "native")) {
        /* The kernel's asynchronous direct I/O, which is what io_uring does there: where the host allows it. */
        if (d->cache != VM_CACHE_NONE && d->cache != VM_CACHE_DIRECTSYNC)
            return err_set(e, EINVAL, "-drive file=%s: aio=native wants cache=none or cache=directsync", d->path);
        return 0;
    }
    if (!strcmp(s, "io_uring"))
        a->c->block_engine = VM_BLOCK_IO_URING;
    else if (!strcmp(s, "threads"))
        a->c->block_engine = VM_BLOCK_THREADS;
    else
        return err_set(e, EINVAL, "-drive aio=%s is not supported; io_uring, native and threads are", s);
    return 0;
}

static int drive_fill(struct qemu_args *a, struct vm_disk *d, struct options *o, struct err *e)
{
    const char *s;
    int r;

    const char *below = options_get(o, "file.driver"), *driver = options_get(o, "driver");
    s = options_get(o, "file.filename");
    if (!s)
        s = options_get(o, "file");
    if (!s || !*s)
        return err_set(e, EINVAL, "-drive names no file");
    d->path = config_str(a->c, s);
    if (below && strcmp(below, "file") != 0 && strcmp(below, "host_device") != 0)
        return err_set(e, EINVAL, "-drive file.driver=%s is not supported; file and host_device are", below);
    s = options_get(o, "format");
    if (!s)
        s = driver;
    if (s && (r = block_format_parse(s, e)) < 0)
        return err_set(e, EINVAL, "-drive file=%s: format=%s is not supported; raw and qcow2 are", d->path, s);
    d->format = s ? (enum block_format)r : BLOCK_FORMAT_PROBE;
    d->backing = BLOCK_BACKING_ALL; /* as users of this command line know it */
    s = options_get(o, "cache");
    if (s && config_cache_parse(s, &d->cache) < 0)
        return err_set(e, EINVAL, "-drive file=%s: cache=%s is no cache mode", d->path, s);
    s = options_get(o, "serial");
    if (s)
        d->serial = config_str(a->c, s);
    if ((r = options_get_bool(o, "-drive", "readonly", &d->read_only, e)) < 0 ||
        (r = options_get_bool(o, "-drive", "read-only", &d->read_only, e)) < 0)
        return r;
    s = options_get(o, "media");
    if (s && !strcmp(s, "cdrom"))
        d->read_only = true;
    else if (s && strcmp(s, "disk") != 0)
        return err_set(e, EINVAL, "-drive media=%s is not known", s);
    a->snapshot_said[d - a->c->disk] = options_get(o, "snapshot") != NULL;
    if ((r = options_get_bool(o, "-drive", "snapshot", &d->snapshot, e)) < 0 ||
        (r = drive_bool_off(o, "copy-on-read", e)) < 0 || (r = drive_discard(d, o, e)) < 0 ||
        (r = drive_cache_parts(d, o, e)) < 0 || (r = drive_only(o, "detect-zeroes", "off", e)) < 0 ||
        (r = config_disk_errors(d, o, "-drive", e)) < 0)
        return r;
    return drive_aio(a, d, o, e);
}

/* if= and index=: is the drive a device by itself? */
static int drive_interface(struct options *o, unsigned position, bool *device, struct err *e)
{
    const char *s = options_get(o, "if");
    uint64_t n;

    *device = !s || !strcmp(s, "virtio");
    if (s && !*device && strcmp(s, "none") != 0)
        return err_set(e, EINVAL, "-drive if=%s is not supported; virtio, none and pflash are", s);
    s = options_get(o, "index");
    if (s && (text_to_u64(s, &n) < 0 || n != position))
        return err_set(e, EINVAL, "-drive index=%s: drives are numbered in the order in which they are given", s);
    return 0;
}

/* if=pflash: firmware, or where it keeps its variables. */
static int flash_add(struct qemu_args *a, const struct vm_flash *f, int unit, struct err *e)
{
    if (unit < 0)
        unit = a->flash_given[0];
    if (unit > 1 || a->flash_given[unit])
        return err_set(e, EINVAL, "flash %s: the board has two banks, and this one is taken", f->path);
    a->flash_given[unit] = true;
    *(unit ? &a->c->firmware.vars : &a->c->firmware.code) = *f;
    a->c->firmware.used = true;
    return 0;
}

static int drive_flash(struct qemu_args *a, struct options *o, struct err *e)
{
    const char *s = options_get(o, "file"), *unit = options_get(o, "unit"), *index = options_get(o, "index");
    struct vm_flash f = {.path = s ? config_str(a->c, s) : NULL};
    uint64_t n = 0;
    int r;

    if (!s || !*s)
        return err_set(e, EINVAL, "-drive if=pflash names no file");
    s = options_get(o, "format");
    if (s && strcmp(s, "raw") != 0)
        return err_set(e, EINVAL, "-drive if=pflash,file=%s: format=%s is not supported; raw is", f.path, s);
    if ((r = options_get_bool(o, "-drive", "readonly", &f.read_only, e)) < 0 ||
        (r = options_get_bool(o, "-drive", "read-only", &f.read_only, e)) < 0 ||
        (r = options_get_bool(o, "-drive", "snapshot", &f.snapshot, e)) < 0)
        return r;
    unit = unit ? unit : index;
    if (unit && (text_to_u64(unit, &n) < 0 || n > 1))
        return err_set(e, EINVAL, "-drive if=pflash,file=%s: the board has flash units 0 and 1, not %s", f.path, unit);
    options_find(o, "cache"); /* the file is written as the guest writes */
    if ((r = flash_add(a, &f, unit ? (int)n : -1, e)) < 0 ||
        (r = id_add(a, QEMU_ID_DRIVE, options_get(o, "id"), 0, "-drive", e)) < 0)
        return r;
    a->id[a->nids - 1].used = a->id[a->nids - 1].joined = true;
    return qemu_options_done(o, "-drive", e);
}

int qemu_pflash(struct qemu_args *a, const char *v, struct err *e)
{
    const struct vm_flash f = {.path = config_str(a->c, v)};

    return flash_add(a, &f, -1, e);
}

static int drive_add(struct qemu_args *a, struct options *o, struct err *e)
{
    const char *interface = options_get(o, "if");
    struct vm_disk *d;
    bool device;
    int index, r;

    if (interface && !strcmp(interface, "pflash"))
        return drive_flash(a, o, e);
    index = config_add_disk(a->c, &d, e);
    if (index < 0)
        return index;
    if ((r = drive_fill(a, d, o, e)) < 0 || (r = drive_interface(o, (unsigned)index, &device, e)) < 0 ||
        (r = id_add(a, QEMU_ID_DRIVE, options_get(o, "id"), (unsigned)index, "-drive", e)) < 0)
        return r;
    /* The second pass makes a device of a drive that is claimed here and now. */
    a->id[a->nids - 1].used = device;
    return qemu_options_done(o, "-drive", e);
}

int qemu_drive(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    int r = options_parse(&o, v, NULL, e);

    if (r < 0)
        return r;
    r = drive_add(a, &o, e);
    options_free(&o);
    return r;
}

int qemu_hda(struct qemu_args *a, const char *v, struct err *e)
{
    struct vm_disk *d;
    int r = config_add_disk(a->c, &d, e);

    if (r < 0)
        return r;
    d->path = config_str(a->c, v);
    d->backing = BLOCK_BACKING_ALL;
    r = id_add(a, QEMU_ID_DRIVE, NULL, (unsigned)r, "-hda", e);
    if (r == 0)
        a->id[a->nids - 1].used = true;
    return r;
}

int qemu_cdrom(struct qemu_args *a, const char *v, struct err *e)
{
    int r = qemu_hda(a, v, e);

    if (r == 0)
        a->c->disk[a->c->ndisks - 1].read_only = true;
    return r;
}

int qemu_drive_device(struct qemu_args *a, const char *v, struct err *e)
{
    struct qemu_id *d = drive_by_number(a, a->drives_seen++);

    (void)v;
    if (!d || !d->used || d->joined)
        return 0;
    return config_add_device(a->c, VM_DEVICE_BLK, d->index, e);
}

/* ---- networks ---- */

/* The options of a network of the type that they name. */
static int net_options(struct qemu_args *a, struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const char *type = options_get(o, "type");

    if (!type)
        return err_set(e, EINVAL, "%s without a type is not supported; user, tap, bridge, stream and socket are types",
                       what);
    return !strcmp(type, "user") ? config_net_user(a->c, n, o, what, e)
                                 : config_net_host_qemu(a->c, n, o, type, what, e);
}

static bool net_help(struct qemu_args *a, const char *v)
{
    if (strcmp(v, "help") != 0 && strcmp(v, "?") != 0)
        return false;
    puts("Available netdev backend types:\nuser\ntap\nbridge\nstream\nsocket");
    a->done = true;
    return true;
}

int qemu_netdev(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    struct vm_net *n;
    const char *id;
    int index, r;

    a->net_given = true;
    if (net_help(a, v))
        return 0;
    r = options_parse(&o, v, "type", e);
    if (r < 0)
        return r;
    id = options_get(&o, "id");
    if (!id || !*id) {
        r = err_set(e, EINVAL, "-netdev %s has no id", v);
        goto out;
    }
    index = r = config_add_net(a->c, &n, e);
    if (r < 0 || (r = net_options(a, n, &o, "-netdev", e)) < 0 || (r = qemu_options_done(&o, "-netdev", e)) < 0)
        goto out;
    r = id_add(a, QEMU_ID_NETDEV, id, (unsigned)index, "-netdev", e);
out:
    options_free(&o);
    return r;
}

static int net_mac(struct vm_net *n, const char *s, const char *what, struct err *e)
{
    if (!s)
        return 0;
    if (text_to_mac(s, n->mac) < 0)
        return err_set(e, EINVAL, "%s: \"%s\" is not a MAC address like 52:54:00:12:34:56", what, s);
    n->mac_set = true;
    return 0;
}

/* model= of -nic and -net nic: only virtio is there. */
static int net_model(const char *s, const char *what, struct err *e)
{
    if (!s || !strncmp(s, "virtio", 6))
        return 0;
    return err_set(e, EINVAL, "%s: model=%s is not supported; virtio is", what, s);
}

static int nic_add(struct qemu_args *a, struct options *o, struct err *e)
{
    struct vm_net *n;
    int index, r;

    r = net_model(options_get(o, "model"), "-nic", e);
    if (r < 0)
        return r;
    index = config_add_net(a->c, &n, e);
    if (index < 0)
        return index;
    options_find(o, "id");
    if ((r = net_options(a, n, o, "-nic", e)) < 0 || (r = net_mac(n, options_get(o, "mac"), "-nic", e)) < 0 ||
        (r = qemu_options_done(o, "-nic", e)) < 0)
        return r;
    return config_add_device(a->c, VM_DEVICE_NET, (unsigned)index, e);
}

int qemu_nic(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    int r;

    a->net_given = true;
    if (!strcmp(v, "none") || net_help(a, v))
        return 0;
    r = options_parse(&o, v, "type", e);
    if (r < 0)
        return r;
    r = nic_add(a, &o, e);
    options_free(&o);
    return r;
}

/* -net user: the first pass. */
int qemu_net(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    struct vm_net *n;
    const char *type;
    int r;

    a->net_given = true;
    if (net_help(a, v))
        return 0;
    r = options_parse(&o, v, "type", e);
    if (r < 0)
        return r;
    type = options_get(&o, "type");
    if (type && (!strcmp(type, "none") || !strcmp(type, "nic")))
        goto out;
    r = config_add_net(a->c, &n, e);
    if (r < 0)
        goto out;
    options_find(&o, "id");
    options_find(&o, "name");
    r = id_add(a, QEMU_ID_NETDEV, NULL, (unsigned)r, "-net", e);
    if (r < 0)
        goto out;
    a->id[a->nids - 1].legacy = true;
    if ((r = net_options(a, n, &o, "-net", e)) == 0)
        r = qemu_options_done(&o, "-net", e);
out:
    options_free(&o);
    return r;
}

static struct qemu_id *legacy_net(struct qemu_args *a)
{
    for (unsigned i = 0; i < a->nids; i++)
        if (a->id[i].kind == QEMU_ID_NETDEV && a->id[i].legacy && !a->id[i].used)
            return &a->id[i];
    return NULL;
}

static int net_nic(struct qemu_args *a, struct options *o, struct err *e)
{
    const char *id = options_get(o, "netdev");
    struct qemu_id *legacy;
    int index, r;

    if ((r = net_model(options_get(o, "model"), "-net nic", e)) < 0)
        return r;
    options_find(o, "id");
    options_find(o, "name");
    if (id) {
        index = id_claim(a, QEMU_ID_NETDEV, id, "-net nic", e);
        if (index < 0)
            return index;
    } else {
        legacy = legacy_net(a);
        if (!legacy)
            return err_set(e, EINVAL, "-net nic has no network to join; add -net user");
        legacy->used = true;
        index = (int)legacy->index;
    }
    if ((r = net_mac(&a->c->net[index], options_get(o, "macaddr"), "-net nic", e)) < 0 ||
        (r = qemu_options_done(o, "-net nic", e)) < 0)
        return r;
    return config_add_device(a->c, VM_DEVICE_NET, (unsigned)index, e);
}

/* -net nic: the second pass. */
int qemu_net_device(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    const char *type;
    int r = options_parse(&o, v, "type", e);

    if (r < 0)
        return r;
    type = options_get(&o, "type");
    if (type && !strcmp(type, "nic"))
        r = net_nic(a, &o, e);
    options_free(&o);
    return r;
}

/* ---- serial lines ---- */

static int add_chardev(struct qemu_args *a, enum vm_chardev_kind kind, const char *path, bool escapes, struct err *e)
{
    int i = config_add_chardev(a->c, kind, e);

    if (i < 0)
        return i;
    a->c->chardev[i].path = path ? config_str(a->c, path) : NULL;
    /* Without them a terminal in raw mode could not be left. */
    a->c->chardev[i].escapes = escapes || (kind == VM_CHARDEV_STDIO && isatty(STDIN_FILENO));
    return i;
}

int qemu_chardev(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    const char *type, *id, *path;
    bool mux = false, signals = true;
    int r = options_parse(&o, v, "backend", e);

    if (r < 0)
        return r;
    type = options_get(&o, "backend");
    id = options_get(&o, "id");
    path = options_get(&o, "path");
    if ((r = options_get_bool(&o, "-chardev", "mux", &mux, e)) < 0 ||
        (r = options_get_bool(&o, "-chardev", "signal", &signals, e)) < 0)
        goto out;
    if (!id || !*id)
        r = err_set(e, EINVAL, "-chardev %s has no id", v);
    else if (type && !strcmp(type, "stdio"))
        r = add_chardev(a, VM_CHARDEV_STDIO, NULL, mux, e);
    else if (type && !strcmp(type, "null"))
        r = add_chardev(a, VM_CHARDEV_NULL, NULL, false, e);
    else if (type && !strcmp(type, "file"))
        r = path ? add_chardev(a, VM_CHARDEV_FILE, path, false, e) : err_set(e, EINVAL, "-chardev %s has no path", v);
    else
        r = err_set(e, EINVAL, "-chardev %s is not supported; stdio, file and null are", type ? type : v);
    if (r >= 0)
        r = id_add(a, QEMU_ID_CHARDEV, id, (unsigned)r, "-chardev", e);
    if (r == 0)
        r = qemu_options_done(&o, "-chardev", e);
out:
    options_free(&o);
    return r;
}

int qemu_serial(struct qemu_args *a, const char *v, struct err *e)
{
    int r;

    a->serial_given = true;
    if (a->nserials++ > 0)
        return !strcmp(v, "none") || !strcmp(v, "null")
                   ? 0
                   : err_set(e, EINVAL, "-serial %s: this board has one serial line, and it is taken", v);
    if (!strcmp(v, "none"))
        return 0;
    if (!strcmp(v, "stdio") || !strcmp(v, "mon:stdio"))
        r = add_chardev(a, VM_CHARDEV_STDIO, NULL, v[0] == 'm', e);
    else if (!strcmp(v, "null"))
        r = add_chardev(a, VM_CHARDEV_NULL, NULL, false, e);
    else if (!strncmp(v, "file:", 5) && v[5])
        r = add_chardev(a, VM_CHARDEV_FILE, v + 5, false, e);
    else if (!strncmp(v, "chardev:", 8))
        r = id_claim(a, QEMU_ID_CHARDEV, v + 8, "-serial", e);
    else
        r = err_set(e, EINVAL,
                    "-serial %s is not supported; stdio, mon:stdio, file:FILE, null, none and chardev:ID are", v);
    if (r < 0)
        return r;
    a->c->serial = r;
    return 0;
}

/* ---- objects ---- */

int qemu_object(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    const char *type, *id, *file;
    int r = options_parse(&o, v, "qom-type", e);

    if (r < 0)
        return r;
    type = options_get(&o, "qom-type");
    id = options_get(&o, "id");
    file = options_get(&o, "filename");
    if (!type || (strcmp(type, "rng-random") != 0 && strcmp(type, "rng-builtin") != 0))
        r = err_set(e, EINVAL, "-object %s is not supported; rng-random and rng-builtin are", type ? type : v);
    else if (!id || !*id)
        r = err_set(e, EINVAL, "-object %s has no id", type);
    else if (file && strcmp(file, "/dev/urandom") != 0 && strcmp(file, "/dev/random") != 0)
        r = err_set(e, EINVAL, "-object %s: filename=%s is not supported; the host's generator is always used", type,
                    file);
    else
        r = id_add(a, QEMU_ID_RNG, id, 0, "-object", e);
    if (r == 0)
        r = qemu_options_done(&o, "-object", e);
    options_free(&o);
    return r;
}

/* ---- devices ---- */

struct qemu_driver {
    const char *name; /* without -pci, -device */
    bool transport;   /* has those forms */
    int (*make)(struct qemu_args *a, const char *name, struct options *o, struct err *e);
};

/* Gives the device that was added last the slot of bus=virtio-mmio-bus.N. */
static int device_bus(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    static const char mmio[] = "virtio-mmio-bus.";
    const char *bus = options_get(o, "bus");
    uint64_t n;

    if (!bus)
        return 0;
    if (strncmp(bus, mmio, sizeof(mmio) - 1) != 0 || text_to_u64(bus + sizeof(mmio) - 1, &n) < 0 || n >= VM_MAX_SLOTS)
        return err_set(e, EINVAL, "-device %s: bus=%s is not there; virtio-mmio-bus.0 to virtio-mmio-bus.%d are", name,
                       bus, VM_MAX_SLOTS - 1);
    a->c->device[a->c->ndevices - 1].slot = (int)n;
    return 0;
}

static int add_device(struct qemu_args *a, const char *name, enum vm_device_kind kind, int index, struct options *o,
                      struct err *e)
{
    int r = config_add_device(a->c, kind, (unsigned)index, e);

    return r < 0 ? r : device_bus(a, name, o, e);
}

/* bootindex= of the device that was added last: the order in which firmware tries them. */
static int device_boot(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    struct vm_config *c = a->c;
    const char *s = options_get(o, "bootindex");
    uint64_t n;

    if (!s)
        return 0;
    if (text_to_u64(s, &n) < 0 || n > INT_MAX)
        return err_set(e, EINVAL, "-device %s: bootindex=%s is not a number", name, s);
    for (unsigned i = 0; i < c->ndevices; i++)
        if (c->device[i].boot == (int)n)
            return err_set(e, EINVAL, "-device %s: bootindex=%s is taken", name, s);
    c->device[c->ndevices - 1].boot = (int)n;
    return 0;
}

static int make_blk(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    const char *id = options_get(o, "drive"), *serial = options_get(o, "serial");
    int index;

    if (!id)
        return err_set(e, EINVAL, "-device %s names no drive=", name);
    index = id_claim(a, QEMU_ID_DRIVE, id, "-device", e);
    if (index < 0)
        return index;
    /* So that the drive's own turn in the second pass makes no second device. */
    id_find(a, QEMU_ID_DRIVE, id)->joined = true;
    if (serial)
        a->c->disk[index].serial = config_str(a->c, serial);
    index = add_device(a, name, VM_DEVICE_BLK, index, o, e);
    return index < 0 ? index : device_boot(a, name, o, e);
}

static int make_net(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    const char *id = options_get(o, "netdev");
    bool mq = true;
    int index, r;

    if (!id)
        return err_set(e, EINVAL, "-device %s names no netdev=", name);
    index = id_claim(a, QEMU_ID_NETDEV, id, "-device", e);
    if (index < 0)
        return index;
    r = net_mac(&a->c->net[index], options_get(o, "mac"), "-device", e);
    if (r < 0)
        return r;
    /* Queues are offered where the back end has them; interrupts are one line. */
    options_find(o, "vectors");
    if ((r = options_get_bool(o, "-device", "mq", &mq, e)) < 0)
        return r;
    r = add_device(a, name, VM_DEVICE_NET, index, o, e);
    return r < 0 ? r : device_boot(a, name, o, e);
}

static int make_rng(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    const char *id = options_get(o, "rng");

    if (id) {
        int r = id_claim(a, QEMU_ID_RNG, id, "-device", e);

        if (r < 0)
            return r;
    }
    return add_device(a, name, VM_DEVICE_RNG, 0, o, e);
}

/* A bus without ports is nothing that a guest could use: the ports are the devices here. */
static int make_serial(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    (void)a;
    (void)name;
    (void)e;
    options_find(o, "max_ports");
    options_find(o, "bus");
    return 0;
}

static int make_console(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    const char *id = options_get(o, "chardev"), *bus = options_get(o, "bus");
    int index;

    index = id ? id_claim(a, QEMU_ID_CHARDEV, id, "-device", e) : add_chardev(a, VM_CHARDEV_NULL, NULL, false, e);
    if (index < 0)
        return index;
    options_find(o, "name");
    options_find(o, "nr");
    /* bus=ID.0 names the virtio-serial device. */
    if (bus && !strncmp(bus, "virtio-mmio-bus.", 16))
        return add_device(a, name, VM_DEVICE_CONSOLE, index, o, e);
    return config_add_device(a->c, VM_DEVICE_CONSOLE, (unsigned)index, e);
}

static int isa_number(struct options *o, const char *key, uint64_t max, uint64_t *out, struct err *e)
{
    const char *s = options_get(o, key);

    if (!s)
        return 0;
    if (text_to_u64(s, out) < 0 || *out > max)
        return err_set(e, EINVAL, "-device isa-debug-exit: %s=%s is not a number up to 0x%llx", key, s,
                       (unsigned long long)max);
    return 0;
}

static int make_isa_exit(struct qemu_args *a, const char *name, struct options *o, struct err *e)
{
    uint64_t port = 0x501, size = 2; /* QEMU's defaults */
    int r;

    (void)name;
    if ((r = isa_number(o, "iobase", 0xffff, &port, e)) < 0 || (r = isa_number(o, "iosize", 8, &size, e)) < 0)
        return r;
    if (size == 0 || port + size > 0x10000)
        return err_set(e, EINVAL, "-device isa-debug-exit: no port at 0x%llx has %llu bytes", (unsigned long long)port,
                       (unsigned long long)size);
    if (a->c->isa_exit.size)
        return err_set(e, EINVAL, "-device isa-debug-exit: there is one already");
    a->c->isa_exit.port = (uint16_t)port;
    a->c->isa_exit.size = (unsigned)size;
    return 0;
}

static const struct qemu_driver qemu_drivers[] = {
    {"virtio-blk", true, make_blk},           {"virtio-net", true, make_net},
    {"virtio-rng", true, make_rng},           {"virtio-serial", true, make_serial},
    {"virtio-console", true, make_console},   {"virtconsole", false, make_console},
    {"isa-debug-exit", false, make_isa_exit},
};

/* The driver that `name` means in any of its forms; *pci where the form says PCI. */
static const struct qemu_driver *driver_find(const char *name, bool *pci)
{
    static const char *const forms[] = {"", "-device", "-pci", "-pci-transitional", "-pci-non-transitional"};

    for (unsigned i = 0; i < ARRAY_SIZE(qemu_drivers); i++) {
        const struct qemu_driver *d = &qemu_drivers[i];
        size_t n = strlen(d->name);

        if (strncmp(name, d->name, n) != 0)
            continue;
        for (unsigned f = 0; f < (d->transport ? ARRAY_SIZE(forms) : 1u); f++)
            if (!strcmp(name + n, forms[f])) {
                *pci = f >= 2;
                return d;
            }
    }
    return NULL;
}

/* Properties of PCI devices, which have no counterpart on the mmio transport. */
static int refuse_pci_properties(const char *name, struct options *o, struct err *e)
{
    static const char *const pci_only[] = {"addr",           "romfile", "rombar",     "multifunction", "disable-legacy",
                                           "disable-modern", "ats",     "acpi-index", "page-per-vq"};
    const char *bus = options_get(o, "bus");

    /* No ROM, and nothing but virtio 1: that is so. */
    const char *rom = options_get(o, "romfile"), *legacy = options_get(o, "disable-legacy");
    for (unsigned i = 0; i < ARRAY_SIZE(pci_only); i++)
        if (options_find(o, pci_only[i]) && !(!strcmp(pci_only[i], "romfile") && rom && !*rom) &&
            !(!strcmp(pci_only[i], "disable-legacy") && legacy && !strcmp(legacy, "on")))
            return err_set(e, EINVAL, "-device %s: property \"%s\" is PCI's, and this board has virtio on mmio", name,
                           pci_only[i]);
    if (bus && (!strncmp(bus, "pci", 3)))
        return err_set(e, EINVAL, "-device %s: bus=%s is PCI's, and this board has virtio on mmio", name, bus);
    return 0;
}

/* Virtio features that may be asked for as they are. */
static int check_virtio_properties(const char *name, struct options *o, struct err *e)
{
    static const struct {
        const char *key;
        bool value;
    } fixed[] = {
        {"event_idx", true}, {"indirect_desc", true}, {"packed", false}, {"iommu_platform", false}, {"scsi", false}};
    char what[64];

    snprintf(what, sizeof(what), "-device %.40s", name);
    for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++) {
        bool v = fixed[i].value;
        int r = options_get_bool(o, what, fixed[i].key, &v, e);

        if (r < 0)
            return r;
        if (v != fixed[i].value)
            return err_set(e, EINVAL, "%s: %s=%s is not supported", what, fixed[i].key, v ? "on" : "off");
    }
    return 0;
}

static void note_pci(struct qemu_args *a, const char *name)
{
    if (a->pci_noted)
        return;
    a->pci_noted = true;
    log_info(NULL, "%s: virtio on the mmio transport, as this board has no PCI", name);
}

int qemu_device_help(struct qemu_args *a, const char *v, struct err *e)
{
    (void)e;
    if (strcmp(v, "help") != 0 && strcmp(v, "?") != 0)
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(qemu_drivers); i++) {
        printf("name \"%s\"\n", qemu_drivers[i].name);
        if (qemu_drivers[i].transport)
            printf("name \"%s-device\"\nname \"%s-pci\"\n", qemu_drivers[i].name, qemu_drivers[i].name);
    }
    a->done = true;
    return 0;
}

static int device_add(struct qemu_args *a, struct options *o, struct err *e)
{
    const char *name = options_get(o, "driver"), *id = options_get(o, "id");
    const struct qemu_driver *d;
    char what[64];
    bool pci = false;
    int r;

    if (!name)
        return err_set(e, EINVAL, "-device names no driver");
    d = driver_find(name, &pci);
    if (!d)
        return err_set(e, EINVAL, "-device %s is not supported (-device help lists what is)", name);
    if ((r = refuse_pci_properties(name, o, e)) < 0 || (r = check_virtio_properties(name, o, e)) < 0 ||
        (r = d->make(a, name, o, e)) < 0)
        return r;
    if (id && *id && (r = id_add(a, QEMU_ID_DEVICE, id, 0, "-device", e)) < 0)
        return r;
    snprintf(what, sizeof(what), "-device %.40s", name);
    if ((r = qemu_options_done(o, what, e)) < 0)
        return r;
    if (pci)
        note_pci(a, name);
    return 0;
}

int qemu_device(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    int r;

    if (*v == '{')
        return err_set(e, EINVAL, "-device %s: JSON is not supported; give driver,property=value", v);
    r = options_parse(&o, v, "driver", e);
    if (r < 0)
        return r;
    r = device_add(a, &o, e);
    options_free(&o);
    return r;
}

/* ---- the end ---- */

static int default_serial(struct qemu_args *a, struct err *e)
{
    int r;

    if (a->serial_given || a->nodefaults || ((a->display_none || a->c->detach) && !a->nographic))
        return 0;
    /* Another user of stdio (a virtio console, say) has it then. */
    for (unsigned i = 0; i < a->c->nchardevs; i++)
        if (a->c->chardev[i].kind == VM_CHARDEV_STDIO)
            return 0;
    r = add_chardev(a, VM_CHARDEV_STDIO, NULL, true, e);
    if (r < 0)
        return r;
    a->c->serial = r;
    return 0;
}

static int default_net(struct qemu_args *a, struct err *e)
{
#ifdef HAVE_SLIRP
    struct vm_net *n;
    int r;

    if (a->net_given || a->nodefaults)
        return 0;
    r = config_add_net(a->c, &n, e);
    return r < 0 ? r : config_add_device(a->c, VM_DEVICE_NET, (unsigned)r, e);
#else
    (void)a;
    (void)e;
    return 0;
#endif
}

/* Back ends without a device would be opened for nothing. */
static int check_unused(struct qemu_args *a, struct err *e)
{
    static const char *const what[] = {[QEMU_ID_DRIVE] = "-drive", [QEMU_ID_NETDEV] = "-netdev"};

    for (unsigned i = 0; i < a->nids; i++) {
        const struct qemu_id *id = &a->id[i];

        if ((id->kind == QEMU_ID_DRIVE || id->kind == QEMU_ID_NETDEV) && !id->used)
            return err_set(e, EINVAL, "%s id=%s: no device uses it", what[id->kind], *id->id ? id->id : "(none)");
    }
    return 0;
}

int qemu_settle_devices(struct qemu_args *a, struct err *e)
{
    int r;

    if ((r = check_unused(a, e)) < 0 || (r = default_serial(a, e)) < 0)
        return r;
    for (unsigned i = 0; a->snapshot && i < a->c->ndisks; i++)
        if (!a->snapshot_said[i] && !a->c->disk[i].read_only)
            a->c->disk[i].snapshot = true;
    return default_net(a, e);
}
