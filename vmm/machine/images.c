/*
 * Copies of what was loaded into RAM, for a reset: no file can be opened once the threads are sandboxed, and the guest
 * has written over the original.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/base/util.h"
#include "vmm/machine/machine.h"

static bool page_is_zero(const uint8_t *p)
{
    return p[0] == 0 && !memcmp(p, p + 1, MEM_PAGE_SIZE - 1);
}

static int image_keep(struct machine *m, struct machine_image *img, struct err *e)
{
    const uint8_t *ram;
    void *copy;

    if (!img->size)
        return 0;
    ram = mem_read_ptr(m->mem, GPA(img->addr), img->size);
    if (!ram)
        return err_set(e, EFAULT, "%s is not in memory", m->cfg->kernel);
    copy = mmap(NULL, img->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy == MAP_FAILED)
        return err_set(e, ENOMEM, "no memory to keep %llu bytes for a reset", (unsigned long long)img->size);
    img->copy = copy;
    /* Pages of zeroes (bss) stay unpopulated in the copy. */
    for (uint64_t off = 0; off < img->size; off += MEM_PAGE_SIZE) {
        uint64_t n = MIN(img->size - off, MEM_PAGE_SIZE);

        if (n < MEM_PAGE_SIZE || !page_is_zero(ram + off))
            memcpy(img->copy + off, ram + off, n);
    }
    return 0;
}

int machine_keep_images(struct machine *m, struct err *e)
{
    int r = image_keep(m, &m->boot.kernel, e);

    return r < 0 ? r : image_keep(m, &m->boot.initrd, e);
}

int machine_restore_images(struct machine *m, struct err *e)
{
    const struct machine_image *img[] = {&m->boot.kernel, &m->boot.initrd};

    for (unsigned i = 0; i < ARRAY_SIZE(img); i++) {
        int r = 0;

        if (img[i]->size)
            r = img[i]->copy ? mem_write(m->mem, GPA(img[i]->addr), img[i]->copy, img[i]->size) : -EINVAL;
        if (r < 0)
            return err_set(e, -r, "the kernel cannot be loaded again");
    }
    return 0;
}

void machine_forget_images(struct machine *m)
{
    struct machine_image *img[] = {&m->boot.kernel, &m->boot.initrd};

    for (unsigned i = 0; i < ARRAY_SIZE(img); i++) {
        if (img[i]->copy)
            munmap(img[i]->copy, img[i]->size);
        img[i]->copy = NULL;
    }
}
