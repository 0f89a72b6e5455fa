/*
 * Runs a file of cases on an AArch64 Linux (a real one, or user-mode emulation): runner CASES RESULTS.
 *
 * Every case ends in a signal: the handler saves the interrupted context as the result, puts the next case's state in
 * its place and returns into it. So no instruction is needed to load or store registers, and faults are results too.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/lib/diff_file.h"

#define FPSIMD_TAG 0x46508001u /* FPSIMD_MAGIC of the signal frame */

struct fpsimd_record {
    uint32_t magic, size, fpsr, fpcr;
    uint64_t v[32][2];
};

static const struct diff_state *cases;
static struct diff_state result;
static uint32_t count, running;
static int out = -1;

static void die(const char *what)
{
    if (write(2, what, strlen(what)) < 0 || write(2, "\n", 1) < 0)
        _exit(3);
    _exit(2);
}

static struct fpsimd_record *fpsimd_of(ucontext_t *uc)
{
    uint8_t *p = (uint8_t *)uc->uc_mcontext.__reserved;

    for (;;) {
        struct fpsimd_record *r = (struct fpsimd_record *)p;
        if (r->magic == FPSIMD_TAG)
            return r;
        if (!r->magic || !r->size)
            die("runner: no FPSIMD record in the signal frame");
        p += r->size;
    }
}

static uint8_t *window_of(const struct diff_state *s)
{
    return (uint8_t *)s->window;
}

static void save(const ucontext_t *uc, const struct fpsimd_record *fp, int sig)
{
    memcpy(result.x, uc->uc_mcontext.regs, 31 * 8);
    result.x[31] = uc->uc_mcontext.sp;
    result.pc = uc->uc_mcontext.pc;
    result.nzcv = (uint32_t)uc->uc_mcontext.pstate & 0xf0000000u;
    result.fpcr = fp->fpcr;
    result.fpsr = fp->fpsr;
    result.sig = (uint32_t)sig;
    memcpy(result.v, fp->v, sizeof(result.v));
    memcpy(result.mem, window_of(&cases[running]), DIFF_MEM_SIZE);
    if (write(out, &result, sizeof(result)) != sizeof(result))
        die("runner: cannot write the results");
}

static void load(ucontext_t *uc, struct fpsimd_record *fp, const struct diff_state *s)
{
    memcpy(uc->uc_mcontext.regs, s->x, 31 * 8);
    uc->uc_mcontext.sp = s->x[31];
    uc->uc_mcontext.pc = s->pc;
    uc->uc_mcontext.pstate = s->nzcv;
    fp->fpcr = s->fpcr;
    fp->fpsr = s->fpsr;
    memcpy(fp->v, s->v, sizeof(s->v));
    memcpy(window_of(s), s->mem, DIFF_MEM_SIZE);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    struct fpsimd_record *fp = fpsimd_of(uc);
    static int started;

    (void)info;
    if (started)
        save(uc, fp, sig), running++;
    started = 1;
    if (running == count)
        _exit(0);
    load(uc, fp, &cases[running]);
}

static void *map_at(uint64_t addr, size_t size)
{
    void *p =
        mmap((void *)addr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (void *)addr)
        die("runner: cannot map at a fixed address");
    return p;
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    stack_t ss = {.ss_size = DIFF_STACK_SIZE};
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct stat st;
    int fd;

    if (argc != 3)
        die("usage: runner CASES RESULTS");
    fd = open(argv[1], O_RDONLY);
    out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || out < 0 || fstat(fd, &st))
        die("runner: cannot open its files");
    const uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED)
        die("runner: cannot map the cases");
    const struct diff_header *h = (const struct diff_header *)file;
    if (h->magic != DIFF_MAGIC)
        die("runner: not a file of cases");
    count = h->count;
    cases = (const struct diff_state *)(file + sizeof(*h) + h->code_size);
    uint8_t *code = map_at(DIFF_CODE, h->code_size);
    memcpy(code, file + sizeof(*h), h->code_size);
    if (mprotect(code, h->code_size, PROT_READ | PROT_EXEC))
        die("runner: cannot make code executable");
    __builtin___clear_cache((char *)code, (char *)code + h->code_size);
    map_at(DIFF_AREA, DIFF_AREA_SIZE);

    struct diff_header answer = {.magic = DIFF_MAGIC, .count = count};
    if (write(out, &answer, sizeof(answer)) != sizeof(answer))
        die("runner: cannot write the results");

    ss.ss_sp = map_at(DIFF_STACK, DIFF_STACK_SIZE);
    sigaltstack(&ss, NULL);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &sa, NULL);
    alarm(60);
    raise(SIGTRAP);
    return 1;
}
