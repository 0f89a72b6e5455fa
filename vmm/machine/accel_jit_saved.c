/*
 * A machine's saved translations (jit/rt/saved.h): one image for each build of this program, CPU model and kind of
 * host, which all machines share, whatever they run. It is written anew at the end of a run that had much to translate:
 * first with what that run used, so that of an image which is full goes what nobody needed.
 */
#include <link.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/base/util.h"
#include "vmm/machine/accel_jit_int.h"

#define LEAST 64 /* blocks that are worth a new image, where they are a sixteenth of it, too */

/* All that a translation depends on beside the code. */
struct key {
    uint8_t build[24]; /* the linker's hash of this program */
    uint64_t host, model, unused[3];
};
_Static_assert(sizeof(struct key) == JIT_SAVED_KEY, "a key");

/* Of the first object, which is the program: the note that the linker's --build-id makes. */
static int find_build_id(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        const char *at = (const char *)(uintptr_t)(info->dlpi_addr + ph->p_vaddr), *end = at + ph->p_memsz;

        while (ph->p_type == PT_NOTE && end - at >= (long)sizeof(ElfW(Nhdr))) {
            const ElfW(Nhdr) *n = (const ElfW(Nhdr) *)(const void *)at;
            const char *desc = at + sizeof(*n) + align_up(n->n_namesz, 4);

            if (n->n_type == NT_GNU_BUILD_ID && n->n_descsz >= 8 && n->n_descsz <= 24) {
                memcpy(out, desc, n->n_descsz);
                return 1;
            }
            at = desc + align_up(n->n_descsz, 4);
        }
    }
    return -1;
}

int accel_jit_saved_open(struct accel_jit *a, struct err *e)
{
    struct key k = {.host = jit_saved_host(),
                    .model = jit_saved_hash(0, a->cfg.model->name, strlen(a->cfg.model->name))};
    struct jit_saved_image image = {0};
    int ret;

    if (dl_iterate_phdr(find_build_id, k.build) != 1)
        return 0;
    ret = translations_open(&a->translations, a->cfg.translations, e);
    if (ret < 0)
        return ret;
    translations_find(&a->translations, jit_saved_hash(0, &k, sizeof(k)));
    memcpy(a->saved_key, &k, sizeof(k));
    if (a->translations.at)
        jit_saved_open(a->translations.at, a->translations.size, a->saved_key, &image);
    a->saved = image;
    jit_use_saved(a->jit, &image, a->translations.fresh >= 0);
    return 0;
}

uintptr_t accel_jit_recover(uintptr_t ip)
{
    return jit_saved_recover(ip);
}

void accel_jit_saved_close(struct accel_jit *a)
{
    struct jit_saved_writer w;
    struct jit_counts n;
    uint8_t *room;

    if (a->jit && a->translations.fresh >= 0) {
        jit_counts(a->jit, &n);
        room = n.blocks >= LEAST && n.blocks >= a->saved.count / 16
                   ? mmap(NULL, TRANSLATIONS_IMAGE_MAX, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                   : MAP_FAILED;
        if (room != MAP_FAILED) {
            jit_saved_begin(&w, room, TRANSLATIONS_IMAGE_MAX, (uint32_t)(n.blocks + n.taken) + a->saved.count);
            jit_saved_add_run(&w, a->jit);
            if (a->saved.at)
                jit_saved_add_image(&w, &a->saved);
            translations_write(&a->translations, room, jit_saved_end(&w, a->saved_key));
            munmap(room, TRANSLATIONS_IMAGE_MAX);
        }
    }
    translations_close(&a->translations);
}
