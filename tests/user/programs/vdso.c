/* Finds the vDSO's functions by name, as libraries do, and compares what they say with the system calls. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifdef __aarch64__
#define PREFIX "__kernel_"
#define VERSION "LINUX_2.6.39"
#else
#define PREFIX "__vdso_"
#define VERSION "LINUX_2.6"
#endif

static const Elf64_Sym *symbols;
static const char *names;
static const uint32_t *hash;
static const Elf64_Half *versym;
static const Elf64_Verdef *verdef;
static const char *base;

static void *find(const char *name)
{
    for (const char *p = (const char *)verdef;; p += ((const Elf64_Verdef *)p)->vd_next) {
        const Elf64_Verdef *d = (const Elf64_Verdef *)p;
        const Elf64_Verdaux *aux = (const Elf64_Verdaux *)(p + d->vd_aux);
        for (uint32_t i = 1; hash && i < hash[1] && !strcmp(names + aux->vda_name, VERSION); i++) {
            if (!strcmp(names + symbols[i].st_name, name) && versym[i] == d->vd_ndx)
                return (void *)(base + symbols[i].st_value);
        }
        if (!d->vd_next)
            return NULL;
    }
}

int main(void)
{
    const Elf64_Ehdr *eh = (const Elf64_Ehdr *)getauxval(AT_SYSINFO_EHDR);
    const Elf64_Phdr *ph = (const Elf64_Phdr *)((const char *)eh + eh->e_phoff);
    const Elf64_Dyn *d = NULL;

    for (int i = 0; i < eh->e_phnum; i++) {
        if (ph[i].p_type == PT_LOAD)
            base = (const char *)eh + ph[i].p_offset - ph[i].p_vaddr;
        if (ph[i].p_type == PT_DYNAMIC)
            d = (const Elf64_Dyn *)((const char *)eh + ph[i].p_offset);
    }
    for (; d->d_tag; d++) {
        const void *p = base + d->d_un.d_ptr;
        switch (d->d_tag) {
        case DT_SYMTAB: symbols = p; break;
        case DT_STRTAB: names = p; break;
        case DT_HASH: hash = p; break;
        case DT_VERSYM: versym = p; break;
        case DT_VERDEF: verdef = p; break;
        }
    }
    int (*gettime)(clockid_t, struct timespec *) = find(PREFIX "clock_gettime");
    int (*getres)(clockid_t, struct timespec *) = find(PREFIX "clock_getres");
    int (*timeofday)(struct timeval *, void *) = find(PREFIX "gettimeofday");
    struct timespec before, ts, after, res;
    struct timeval tv;

    printf("found %d %d %d\n", gettime != NULL, getres != NULL, timeofday != NULL);
    printf("not found %d\n", find(PREFIX "nothing") == NULL);
    if (!gettime || !getres || !timeofday)
        return 1;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
    printf("clock_gettime %d\n", gettime(CLOCK_MONOTONIC, &ts));
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
    int64_t b = before.tv_sec * 1000000000ll + before.tv_nsec, t = ts.tv_sec * 1000000000ll + ts.tv_nsec,
            a = after.tv_sec * 1000000000ll + after.tv_nsec;
    printf("in order %d\n", b <= t && t <= a);
    printf("bad clock %d\n", gettime(99, &ts));
    int r = getres(CLOCK_MONOTONIC, &res);
    printf("clock_getres %d %ld\n", r, res.tv_nsec);
    r = timeofday(&tv, NULL);
    printf("gettimeofday %d %d\n", r, tv.tv_sec > 1600000000 && tv.tv_usec < 1000000);
#ifdef __aarch64__
    const uint32_t *code = find("__kernel_rt_sigreturn");
    printf("sigreturn %d\n", code && code[0] == 0xd2801168 && code[1] == 0xd4000001);
#else
    printf("sigreturn 1\n");
#endif
    return 0;
}
