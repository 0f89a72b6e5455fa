/*
 * The vDSO as one constant structure, so that the compiler computes every offset: ELF header, two program headers,
 * symbols with a hash table and versions, the dynamic section, code. Addresses are relative to its beginning.
 */
#include "vmm/user/vdso.h"

#include <elf.h>
#include <errno.h>
#include <linux/mman.h>

#include "vmm/base/util.h"
#include "vmm/user/access.h"
#include "vmm/user/signal.h"
#include "vmm/user/space.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define NOP 0xd503201fu
#define MOV_X8(nr) (0xd2800008u | (nr) << 5)
#define SVC 0xd4000001u
#define RET 0xd65f03c0u

/* System V hash of a symbol or version name, for the two that DT_VERDEF needs. */
#define HASH_SONAME 0x0deebfa1u
#define HASH_VERSION 0x075fcb89u

struct names {
    char null;
    char soname[sizeof("linux-vdso.so.1")];
    char version[sizeof("LINUX_2.6.39")];
    char rt_sigreturn[sizeof("__kernel_rt_sigreturn")];
    char gettimeofday[sizeof("__kernel_gettimeofday")];
    char clock_gettime[sizeof("__kernel_clock_gettime")];
    char clock_getres[sizeof("__kernel_clock_getres")];
};

#define SYMBOLS 5 /* the null symbol and four functions */

struct vdso {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[2];
    Elf64_Sym sym[SYMBOLS];
    struct {
        uint32_t buckets, chains, bucket, chain[SYMBOLS];
    } hash;
    struct {
        Elf64_Verdef def;
        Elf64_Verdaux aux;
    } version[2];
    Elf64_Half versym[SYMBOLS];
    struct names names;
    Elf64_Dyn dynamic[10] __attribute__((aligned(16)));
    /* The frame of rt_sigreturn begins behind a NOP: unwinders look at the instruction before the return address. */
    uint32_t sigreturn_pad, rt_sigreturn[2];
    uint32_t gettimeofday[3], clock_gettime[3], clock_getres[3];
};

#define AT(field) offsetof(struct vdso, field)
#define NAME(field) offsetof(struct names, field)
#define FUNCTION(field)                                                                                                \
    {                                                                                                                  \
        .st_name = NAME(field), .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), .st_shndx = 1, .st_value = AT(field),  \
        .st_size = sizeof(((struct vdso *)0)->field)                                                                   \
    }

static const struct vdso image = {
    .eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
           .e_type = ET_DYN,
           .e_machine = EM_AARCH64,
           .e_version = EV_CURRENT,
           .e_phoff = AT(ph),
           .e_ehsize = sizeof(Elf64_Ehdr),
           .e_phentsize = sizeof(Elf64_Phdr),
           .e_phnum = 2},
    .ph = {{.p_type = PT_LOAD,
            .p_flags = PF_R | PF_X,
            .p_filesz = sizeof(struct vdso),
            .p_memsz = sizeof(struct vdso),
            .p_align = SYS_PAGE},
           {.p_type = PT_DYNAMIC,
            .p_flags = PF_R,
            .p_offset = AT(dynamic),
            .p_vaddr = AT(dynamic),
            .p_filesz = sizeof(((struct vdso *)0)->dynamic),
            .p_memsz = sizeof(((struct vdso *)0)->dynamic),
            .p_align = 16}},
    .sym = {{0}, FUNCTION(rt_sigreturn), FUNCTION(gettimeofday), FUNCTION(clock_gettime), FUNCTION(clock_getres)},
    .hash = {.buckets = 1, .chains = SYMBOLS, .bucket = 1, .chain = {0, 2, 3, 4, 0}},
    .version = {{.def = {.vd_version = VER_DEF_CURRENT,
                         .vd_flags = VER_FLG_BASE,
                         .vd_ndx = 1,
                         .vd_cnt = 1,
                         .vd_hash = HASH_SONAME,
                         .vd_aux = sizeof(Elf64_Verdef),
                         .vd_next = sizeof(image.version[0])},
                 .aux = {.vda_name = NAME(soname)}},
                {.def = {.vd_version = VER_DEF_CURRENT,
                         .vd_ndx = 2,
                         .vd_cnt = 1,
                         .vd_hash = HASH_VERSION,
                         .vd_aux = sizeof(Elf64_Verdef)},
                 .aux = {.vda_name = NAME(version)}}},
    .versym = {0, 2, 2, 2, 2},
    .names = {.soname = "linux-vdso.so.1",
              .version = "LINUX_2.6.39",
              .rt_sigreturn = "__kernel_rt_sigreturn",
              .gettimeofday = "__kernel_gettimeofday",
              .clock_gettime = "__kernel_clock_gettime",
              .clock_getres = "__kernel_clock_getres"},
    .dynamic = {{DT_SONAME, {NAME(soname)}},
                {DT_HASH, {AT(hash)}},
                {DT_STRTAB, {AT(names)}},
                {DT_SYMTAB, {AT(sym)}},
                {DT_STRSZ, {sizeof(struct names)}},
                {DT_SYMENT, {sizeof(Elf64_Sym)}},
                {DT_VERDEF, {AT(version)}},
                {DT_VERDEFNUM, {2}},
                {DT_VERSYM, {AT(versym)}},
                {DT_NULL, {0}}},
    .sigreturn_pad = NOP,
    .rt_sigreturn = {MOV_X8(139), SVC},
    .gettimeofday = {MOV_X8(169), SVC, RET},
    .clock_gettime = {MOV_X8(113), SVC, RET},
    .clock_getres = {MOV_X8(114), SVC, RET},
};

uint64_t user_vdso_base;

int user_vdso_map(uint64_t *at, struct err *e)
{
    long p = sys_call(__NR_mmap, 0, SYS_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    _Static_assert(sizeof(image) <= SYS_PAGE, "the vDSO is one page");
    if (sys_is_err(p))
        return err_set(e, (int)-p, "the vDSO cannot be mapped: the address space or memory is not enough");
    memcpy((void *)p, &image, sizeof(image));
    sys_call(__NR_mprotect, p, SYS_PAGE, PROT_READ | PROT_EXEC);
    user_space_exec_add((uint64_t)p, SYS_PAGE);
    user_signal_trampoline = (uint64_t)p + AT(rt_sigreturn);
    *at = user_vdso_base = (uint64_t)p;
    return 0;
}
