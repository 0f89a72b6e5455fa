/*
 * What a program of arm64 alone asks about: CPU features and calls that go with them, numbers that x86-64 has
 * otherwise. There is nothing like it natively; features.expect is what the kernel answers on a CPU without SVE, SME,
 * pointer authentication, branch targets and memory tags.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *error(long r)
{
    return r < 0 ? strerror(errno) : "ok";
}

static const struct {
    const char *name;
    int option;
} options[] = {
    {"PR_SET_TSC", 26},        {"PR_GET_TSC", 25},      {"PR_SVE_SET_VL", 50},   {"PR_SVE_GET_VL", 51},
    {"PR_PAC_RESET_KEYS", 54}, {"PR_SET_DISPATCH", 59}, {"PR_PAC_SET_KEYS", 60}, {"PR_PAC_GET_KEYS", 61},
    {"PR_SME_SET_VL", 63},     {"PR_SME_GET_VL", 64},   {"PR_MPX_ENABLE", 43},
};

/* The bits of AT_HWCAP with names that /proc/cpuinfo must have, and only then. */
static const struct {
    const char *name;
    unsigned bit;
} caps[] = {
    {" fp", 0},    {" asimd", 1},   {" aes", 3},    {" pmull", 4},    {" sha1", 5},      {" sha2", 6},
    {" crc32", 7}, {" atomics", 8}, {" fphp", 9},   {" asimdhp", 10}, {" asimdrdm", 12}, {" jscvt", 13},
    {" fcma", 14}, {" lrcpc", 15},  {" dcpop", 16}, {" sha3", 17},    {" asimddp", 20},  {" sha512", 21},
    {" sve", 22},  {" dit", 24},    {" uscat", 25}, {" ilrcpc", 26},  {" flagm", 27},    {" paca", 30},
};

static void cpu(void)
{
    static char text[65536];
    FILE *f = fopen("/proc/cpuinfo", "r");
    unsigned long hwcap = getauxval(AT_HWCAP);
    struct utsname u;
    int wrong = 0, processors = 0;

    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    char *line = strstr(text, "Features");
    for (char *p = text; (p = strstr(p, "processor\t")); p++)
        processors++;
    if (!line)
        return;
    *strchr(line, '\n') = '\0';
    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        char *p = strstr(line, caps[i].name);
        while (p && p[strlen(caps[i].name)] != ' ' && p[strlen(caps[i].name)])
            p = strstr(p + 1, caps[i].name);
        if (!p != !(hwcap >> caps[i].bit & 1)) {
            printf("%s: %d in cpuinfo\n", caps[i].name, p != NULL);
            wrong++;
        }
    }
    printf("cpuinfo differs in %d, fp %lu, asimd %lu, cpuid %lu\n", wrong, hwcap & 1, hwcap >> 1 & 1, hwcap >> 11 & 1);
    printf("processors %d\n", processors == sysconf(_SC_NPROCESSORS_ONLN));
    printf("platform %s\n", (const char *)getauxval(AT_PLATFORM));
    printf("machine %s %s\n", error(uname(&u)), u.machine);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        printf("%s %s\n", options[i].name, error(prctl(options[i].option, 0, 0, 0, 0)));
}

static void memory(void)
{
    char *p = mmap(NULL, 8192, PROT_READ | 0x10 /* PROT_BTI */, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    printf("map with branch targets %d\n", p != MAP_FAILED);
    printf("protect with branch targets %s\n", error(mprotect(p, 4096, PROT_READ | 0x10)));
    printf("protect with tags %s\n", error(mprotect(p, 4096, PROT_READ | 0x20)));
    printf("key %s\n", error(syscall(SYS_pkey_alloc, 0, 0)));
    printf("key's %s\n", error(syscall(SYS_pkey_mprotect, p, 4096, PROT_READ, 1)));
    printf("shadow stack %s\n", error(syscall(453, 0, 4096, 0)));
    stack_t small = {.ss_sp = p, .ss_size = 5119}, enough = {.ss_sp = p, .ss_size = 5120};
    printf("alternate stack %s", error(sigaltstack(&small, NULL)));
    printf(", %s\n", error(sigaltstack(&enough, NULL)));
}

/* With READ_IMPLIES_EXEC, what is readable can be executed: two instructions that return 42. */
static void data_as_code(void)
{
    static const unsigned code[] = {0x52800540, 0xd65f03c0};
    long before = personality(0xffffffff);

    printf("personality %x", (unsigned)personality((unsigned long)before | READ_IMPLIES_EXEC) & 0xff);
    unsigned *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(p, code, sizeof(code));
    __builtin___clear_cache((char *)p, (char *)(p + 2));
    printf(" %d", ((int (*)(void))p)());
    printf(" %d\n", (personality((unsigned long)before) & READ_IMPLIES_EXEC) != 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    cpu();
    memory();
    data_as_code();
    printf("rseq %s\n", error(syscall(SYS_rseq, options, 32, 0, 0)));
    return 0;
}
