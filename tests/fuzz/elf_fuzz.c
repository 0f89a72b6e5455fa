/*
 * ELF headers of user-mode programs: an ELF header and program headers of nonsense. Whatever passes the checks must be
 * a layout that loading can rely on.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/elf.h"

#define TASK_SIZE UINT64_C(0x7ffffffff000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_layout(const struct elf_layout *l)
{
    must(l->lo < l->hi && l->hi <= TASK_SIZE + 4096);
    must(l->lo % 4096 == 0 && l->hi % 4096 == 0);
    must(is_pow2(l->align) && l->align >= 4096);
    must(l->interp_len == 0 || (l->interp_len >= 2 && l->interp_len <= ELF_INTERP_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_layout layout;
    struct err e = {0};
    Elf64_Ehdr eh = {0};
    Elf64_Phdr *ph;
    int r;

    memcpy(&eh, data, MIN(size, sizeof(eh)));
    if (elf_check_header(&eh, size, "program", &e)) {
        must(e.code && e.msg[0]);
        return 0;
    }
    /* Headers that are not there read as zeroes: loading refuses a short file before. */
    ph = calloc(eh.e_phnum, sizeof(*ph));
    must(ph);
    memcpy(ph, data + sizeof(eh), MIN(size - sizeof(eh), eh.e_phnum * sizeof(*ph)));
    r = elf_check_segments(&eh, ph, eh.e_phnum, TASK_SIZE, "program", &layout, &e);
    if (r)
        must(r == -e.code && e.msg[0]);
    else
        check_layout(&layout);
    free(ph);
    return 0;
}
