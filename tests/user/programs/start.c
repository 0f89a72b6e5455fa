/* What a program finds when it starts: arguments, environment, the auxiliary vector, its stack and its heap. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

extern char **environ;

static int depth(int n)
{
    volatile char page[4096];

    page[0] = (char)n;
    return n ? depth(n - 1) + (page[0] != (char)n) : 0;
}

int main(int argc, char **argv)
{
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    const char *execfn = (const char *)getauxval(AT_EXECFN);
    int zeros = 0;

    printf("argc %d\n", argc);
    for (int i = 1; i < argc; i++)
        printf("argv[%d] \"%s\"\n", i, argv[i]);
    printf("argv ends %d\n", argv[argc] == NULL);
    printf("environment follows %d, PATH %d\n", environ == argv + argc + 1, getenv("PATH") != NULL);
    printf("page %ld tick %ld\n", getauxval(AT_PAGESZ), getauxval(AT_CLKTCK));
    printf("phent %ld phdr %d\n", getauxval(AT_PHENT), getauxval(AT_PHDR) != 0);
    for (int i = 0; i < 16; i++)
        zeros += !random[i];
    printf("random %d\n", zeros < 8);
    printf("execfn is argv[0] %d\n", !strcmp(execfn, argv[0]));
    printf("ids %d\n", getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
    printf("secure %ld\n", getauxval(AT_SECURE));
    printf("entry %d, vdso %d\n", getauxval(AT_ENTRY) != 0, getauxval(AT_SYSINFO_EHDR) != 0);

    /* The heap grows by 64 MiB, the stack by 4. */
    char *heap = sbrk(64 << 20);
    printf("brk %d\n", heap != (void *)-1);
    memset(heap, 1, 64 << 20);
    printf("brk back %d\n", sbrk(-(64 << 20)) != (void *)-1);
    printf("stack %d\n", depth(1000));

    /* An address of the program's choice, and the kernel's refusal to take it twice. */
    void *want = (void *)0x10000000;
    void *p = mmap(want, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("fixed %d\n", p == want);
    p = mmap(want, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("twice %d\n", p == MAP_FAILED);
    fflush(stdout);
    return argc + 40;
}
