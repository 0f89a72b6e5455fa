/* Between the files of loader/disk, and for their tests: the disk, its partitions and file systems, boot entries. */
#ifndef PIPIT_LOADER_DISK_DISK_INT_H
#define PIPIT_LOADER_DISK_DISK_INT_H

#include "loader/disk/disk.h"
#include "vmm/base/util.h"

/* ---- disk.c: reads through a small cache, and what all of it may cost ---- */

#define DISK_WINDOW KIB(128)
#define DISK_WINDOWS 16
#define DISK_MAX_PARTS 128

enum fs_type { FS_DIR, FS_FILE, FS_LINK, FS_OTHER };

/* A file or directory; `id` and `aux` are the file system's own. */
struct fs_node {
    enum fs_type type;
    uint64_t id, aux;
    uint64_t size; /* bytes */
};

struct fs;
/* Returns nonzero to end the listing, which then returns that. The name ends in NUL. */
typedef int (*fs_list_fn)(void *opaque, const char *name);

struct fs_ops {
    int (*root)(struct fs *fs, struct fs_node *out);
    int (*lookup)(struct fs *fs, const struct fs_node *dir, const char *name, struct fs_node *out);
    int (*list)(struct fs *fs, const struct fs_node *dir, fs_list_fn fn, void *opaque);
    /* Bytes read, short only at the end of the file; or a negative errno. */
    int (*read)(struct fs *fs, const struct fs_node *file, uint64_t off, void *buf, size_t len);
    void (*close)(struct fs *fs);
};

struct disk;
struct disk_part;

struct fs {
    const struct fs_ops *ops;
    struct disk *disk;
    const struct disk_part *part;
    char uuid[40], label[40]; /* as GRUB and Linux write them */
};

struct disk_part {
    unsigned number;      /* from 1; 0 is the whole disk */
    uint64_t start, size; /* bytes */
    bool gpt, esp;
    char uuid[40];  /* PARTUUID, or "" */
    struct fs *fs;  /* NULL: none that can be read */
    const char *is; /* what it holds, in a word */
};

struct disk_chunk {
    struct disk_chunk *next;
    size_t used, size;
};

struct disk {
    const struct disk_request *rq;
    uint64_t bytes_left, reads_left, memory_left;
    bool exhausted;
    uint64_t clock;
    struct {
        uint64_t at, len, used; /* len 0: empty */
        uint8_t *data;
    } window[DISK_WINDOWS];
    struct disk_chunk *chunks;
    struct disk_part part[DISK_MAX_PARTS];
    unsigned nparts;
    char warning[DISK_NAME_SIZE];
};

int disk_read(struct disk *d, uint64_t off, void *buf, size_t len);
/* The same within a partition. */
int disk_part_read(struct disk *d, const struct disk_part *p, uint64_t off, void *buf, size_t len);
/* Zeroed memory that lives until disk_free; NULL where the disk has had its share. */
void *disk_alloc(struct disk *d, size_t size);
char *disk_str(struct disk *d, const char *s, size_t len);
__attribute__((format(printf, 2, 3))) char *disk_printf(struct disk *d, const char *fmt, ...);
void disk_init(struct disk *d, const struct disk_request *rq);
void disk_free(struct disk *d);

/* ---- gpt.c, mbr.c: each says whether the disk has such a table, and fills the list of partitions ---- */

bool gpt_read(struct disk *d);
bool mbr_read(struct disk *d);
/* Is this the sector that protects a GPT from those who know only MBRs? */
bool mbr_is_protective(const uint8_t sector[512]);
/* The next place in the list, with its range checked; NULL where that is none, or the list is full. */
struct disk_part *disk_add_part(struct disk *d, unsigned number, uint64_t start, uint64_t size);
/* A GUID as text; its first three fields are little-endian. */
void disk_guid(char out[40], const uint8_t guid[16]);

/* ---- ext.c, fat.c: -ENOENT for what is no such file system ---- */

int ext_open(struct fs **out, struct disk *d, struct disk_part *p);
int fat_open(struct fs **out, struct disk *d, struct disk_part *p);

/* ---- fs.c: paths ---- */

#define FS_TEXT_MAX MIB(1)

/* Resolves a path from the root of the file system, through links that stay in it. -ENOENT, -ELOOP, -ENOTDIR. */
int fs_walk(struct fs *fs, const char *path, struct fs_node *out);
bool fs_is_file(struct fs *fs, const char *path);
bool fs_is_dir(struct fs *fs, const char *path);
int fs_list(struct fs *fs, const char *path, fs_list_fn fn, void *opaque);
/* A whole text file, with a NUL behind it; NULL where there is none. */
char *fs_text(struct fs *fs, const char *path);

/* ---- boot entries ---- */

#define BOOT_MAX_INITRDS 8

struct boot_file {
    struct fs *fs;
    const char *path;
};

struct boot_entry {
    const char *title, *id; /* NULL: none */
    struct boot_file kernel, initrd[BOOT_MAX_INITRDS];
    unsigned ninitrds;
    const char *cmdline;
    const char *from; /* the file that says so */
    struct fs *from_fs;
};

/* Orders versions as people do: runs of digits are numbers, '~' comes before the end. */
int boot_version_compare(const char *a, const char *b);
/* Adds a file where it exists, also below /boot, where a partition of its own would be mounted. */
bool boot_add_initrd(struct boot_entry *b, struct fs *fs, const char *path);
bool boot_set_kernel(struct boot_entry *b, struct fs *fs, const char *path);

/* grub.c: runs the script at `path` as GRUB would and takes the default entry. `prefix` is the folder of GRUB's files.
 * false: no entry that loads a kernel. */
bool grub_boot(struct disk *d, struct fs *fs, const char *path, const char *prefix, struct boot_entry *out);
/* A variable of the environment block at `path`; NULL: not there. */
const char *grub_env_get(struct fs *fs, const char *path, const char *name);
/* Replaces $name and ${name} by what `get` says. */
char *grub_expand(struct disk *d, const char *text, const char *(*get)(void *opaque, const char *name), void *opaque);

/* bls.c: entries of the boot loader specification in a folder, the first to boot first. Returns how many. */
#define BLS_MAX_ENTRIES 64
struct bls_entry {
    const char *id; /* file name without .conf and tries */
    const char *title, *version, *sort_key, *machine_id, *kernel, *options;
    const char *initrd[BOOT_MAX_INITRDS];
    unsigned ninitrds;
    bool bad; /* no tries left */
};
unsigned bls_read(struct disk *d, struct fs *fs, const char *folder, struct bls_entry *list);
/* What an entry boots; `get` knows the variables in it (NULL: none). */
bool bls_entry_boot(struct disk *d, struct fs *fs, const struct bls_entry *b,
                    const char *(*get)(void *opaque, const char *name), void *opaque, struct boot_entry *out);
/* The default entry of `root`/loader/entries, as systemd-boot takes it. */
bool bls_boot(struct disk *d, struct fs *fs, const char *root, struct boot_entry *out);

/* extlinux.c */
bool extlinux_boot(struct disk *d, struct fs *fs, const char *path, struct boot_entry *out);

#endif
