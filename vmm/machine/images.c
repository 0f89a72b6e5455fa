/*
 * What was loaded into RAM, for a reset: no file can be opened once the threads are sandboxed, and the guest has
 * written over it. Most kernels and every initrd are in RAM as they are in their files: then the file is kept open, and
 * read again; one that has changed since is refused. Of others (that were compressed, ELF files, what came through a
 * FIFO) there is a copy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/util.h"
#include "vmm/machine/machine.h"

#define IMAGE_PIECE KIB(256) /* read at a time */

static bool page_is_zero(const uint8_t *p, uint64_t n)
{
    return p[0] == 0 && !memcmp(p, p + 1, n - 1);
}

static bool image_is_zero(const uint8_t *ram, uint64_t off, uint64_t size)
{
    for (; off < size; off += MEM_PAGE_SIZE)
        if (!page_is_zero(ram + off, MIN(size - off, MEM_PAGE_SIZE)))
            return false;
    return true;
}

/* Tells a file that was changed by mistake; who may write to the kernel that one boots needs no collision. */
static uint64_t image_digest(uint64_t h, const uint8_t *p, size_t n)
{
    uint64_t lane[4] = {h, 1, 2, 3}, word[4]; /* one multiplication would wait for the other */

    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        memcpy(word, p, sizeof(word));
        for (unsigned i = 0; i < ARRAY_SIZE(lane); i++) {
            lane[i] = (lane[i] ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15);
            lane[i] ^= lane[i] >> 32;
        }
    }
    for (; n; n--)
        lane[0] = (lane[0] ^ *p++) * UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned i = 1; i < ARRAY_SIZE(lane); i++)
        lane[0] = (lane[0] ^ lane[i]) * UINT64_C(0xc2b2ae3d27d4eb4f);
    return lane[0];
}

/* In pieces, as files are read. */
static uint64_t image_digest_all(const uint8_t *p, uint64_t size)
{
    uint64_t h = 0;

    for (uint64_t off = 0; off < size; off += MIN(size - off, IMAGE_PIECE))
        h = image_digest(h, p + off, MIN(size - off, IMAGE_PIECE));
    return h;
}

/* Is the image what the file has, and zeroes behind? Then the file's digest is known, too. */
static bool image_is_file(struct machine_image *img, const uint8_t *ram)
{
    uint8_t *piece = malloc(IMAGE_PIECE);
    uint64_t off = 0, h = 0;

    if (!piece)
        return false;
    while (off < img->file_size) {
        uint64_t n = MIN(img->file_size - off, IMAGE_PIECE);

        if (!loader_file_read_at(img->fd, piece, n, off) || memcmp(piece, ram + off, n) != 0)
            break;
        h = image_digest(h, piece, n);
        off += n;
    }
    free(piece);
    img->digest = h;
    return off == img->file_size && image_is_zero(ram, off, img->size);
}

static bool image_keep_file(struct machine_image *img, const uint8_t *ram)
{
    struct stat st;

    img->fd = loader_file_again(img->path);
    if (img->fd < 0)
        return false;
    if (fstat(img->fd, &st) == 0 && img->file_size && (uint64_t)st.st_size == img->file_size) {
        img->digest = image_digest_all(ram, img->file_size); /* a file that was changed since has another */
        return true;
    }
    if (fstat(img->fd, &st) == 0 && (uint64_t)st.st_size <= img->size) {
        img->file_size = (uint64_t)st.st_size;
        if (image_is_file(img, ram))
            return true;
    }
    close(img->fd);
    return false;
}

static int image_keep_copy(struct machine_image *img, const uint8_t *ram, struct err *e)
{
    void *copy = mmap(NULL, img->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (copy == MAP_FAILED)
        return err_set(e, ENOMEM, "no memory to keep %llu bytes for a reset", (unsigned long long)img->size);
    img->copy = copy;
    /* Pages of zeroes (bss) stay unpopulated in the copy. */
    for (uint64_t off = 0; off < img->size; off += MEM_PAGE_SIZE) {
        uint64_t n = MIN(img->size - off, MEM_PAGE_SIZE);

        if (!page_is_zero(ram + off, n))
            memcpy(img->copy + off, ram + off, n);
    }
    return 0;
}

static int image_keep(struct machine *m, struct machine_image *img, const char *path, struct err *e)
{
    const uint8_t *ram;
    int r = 0;

    if (!img->size)
        return 0;
    ram = mem_read_ptr(m->mem, GPA(img->addr), img->size);
    if (!ram)
        return err_set(e, EFAULT, "%s is not in memory", path);
    img->path = path;
    if (!image_keep_file(img, ram))
        r = image_keep_copy(img, ram, e);
    img->kept = r == 0;
    return r;
}

int machine_keep_images(struct machine *m, struct err *e)
{
    int r = image_keep(m, &m->boot.kernel, m->cfg->kernel, e);

    return r < 0 ? r : image_keep(m, &m->boot.initrd, m->cfg->initrd, e);
}

static int image_restore_file(const struct machine_image *img, uint8_t *ram, struct err *e)
{
    struct stat st;

    if (fstat(img->fd, &st) < 0 || (uint64_t)st.st_size != img->file_size ||
        !loader_file_read_at(img->fd, ram, img->file_size, 0) || image_digest_all(ram, img->file_size) != img->digest)
        return err_set(e, ESTALE, "%s has changed since the machine was started; it cannot start again with it",
                       img->path);
    for (uint64_t off = img->file_size, n; off < img->size; off += n) {
        n = MIN(img->size - off, MEM_PAGE_SIZE);
        if (!page_is_zero(ram + off, n))
            memset(ram + off, 0, n);
    }
    return 0;
}

static int image_restore(struct machine *m, const struct machine_image *img, struct err *e)
{
    uint8_t *ram = img->kept ? mem_write_begin(m->mem, GPA(img->addr), img->size) : NULL;
    int r = 0;

    if (!ram)
        return err_set(e, EINVAL, "the kernel cannot be loaded again");
    if (img->copy)
        memcpy(ram, img->copy, img->size);
    else
        r = image_restore_file(img, ram, e);
    mem_write_end(m->mem, GPA(img->addr), img->size);
    return r;
}

int machine_restore_images(struct machine *m, struct err *e)
{
    int r = m->boot.kernel.size ? image_restore(m, &m->boot.kernel, e) : 0;

    return r == 0 && m->boot.initrd.size ? image_restore(m, &m->boot.initrd, e) : r;
}

void machine_forget_images(struct machine *m)
{
    struct machine_image *img[] = {&m->boot.kernel, &m->boot.initrd};

    for (unsigned i = 0; i < ARRAY_SIZE(img); i++) {
        if (img[i]->copy)
            munmap(img[i]->copy, img[i]->size);
        else if (img[i]->kept)
            close(img[i]->fd);
        img[i]->copy = NULL;
        img[i]->kept = false;
    }
}
