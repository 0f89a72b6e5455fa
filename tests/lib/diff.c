/*
 * Drives a differential test: makes cases in batches, has the reference and the executor under test run them, compares,
 * and reports. A row of EL0 that no case reached is a failure.
 */
#include "tests/lib/diff.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 4096u /* cases */
#define SHOWN 25u   /* mismatches that are printed */
#define IMAGE_SIZE (2 * DIFF_MARGIN + BATCH * DIFF_SLOT)

#define FPCR_FZ BIT32(24)
#define DOUBLE_EXPONENT (UINT64_C(0x7ff) << 52)
#define DOUBLE_FRACTION (BIT64(52) - 1)

struct diff {
    const struct diff_config *cfg;
    char dir[64]; /* of the runner, cases and results */
    const char *peer, *peer_cpu;
    struct diff_case *cases;
    struct diff_state *want;
    uint8_t *image;
    unsigned count, ran, faults, mismatches;
    unsigned reached[A64_ROW_COUNT], bad[A64_ROW_COUNT];
};

/* ---- the peer ---- */

/* Runs a program to its end; its exit status, or -1. */
static int run_program(const char *const argv[])
{
    pid_t pid;
    int status;

    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ))
        return -1;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool in_path(const char *name)
{
    const char *path = getenv("PATH");
    char file[4096];

    while (path && *path) {
        size_t n = strcspn(path, ":");
        snprintf(file, sizeof(file), "%.*s/%s", (int)n, path, name);
        if (!access(file, X_OK))
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

/* Finds the peer and compiles its runner; NULL, or what is missing. */
static const char *peer_prepare(struct diff *d)
{
    static const char compiler[] = "aarch64-linux-gnu-gcc";
    const char *root = getenv("PIPIT_ROOT");
    char source[4096], include[4096], runner[128];

    d->peer = in_path("qemu-aarch64-static") ? "qemu-aarch64-static" : "qemu-aarch64";
    if (!in_path(d->peer))
        return "no user-mode peer (qemu-user) in PATH";
    if (!in_path(compiler))
        return "no aarch64-linux-gnu-gcc in PATH";
    snprintf(source, sizeof(source), "%s/tests/diff/runner.c", root ? root : ".");
    snprintf(include, sizeof(include), "-I%s", root ? root : ".");
    snprintf(runner, sizeof(runner), "%s/runner", d->dir);
    const char *const argv[] = {compiler, "-O1", "-static", include, "-o", runner, source, NULL};
    return run_program(argv) ? "the runner does not compile" : NULL;
}

static bool write_all(int fd, const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size) {
        ssize_t n = write(fd, p, size);
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static bool peer_write_cases(const struct diff *d, const char *file)
{
    struct diff_header h = {.magic = DIFF_MAGIC, .count = d->count, .code_size = IMAGE_SIZE};
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_all(fd, &h, sizeof(h)) && write_all(fd, d->image, IMAGE_SIZE);

    for (unsigned i = 0; ok && i < d->count; i++)
        ok = write_all(fd, &d->cases[i].in, sizeof(d->cases[i].in));
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool read_all(int fd, void *data, size_t size)
{
    uint8_t *p = data;

    while (size) {
        ssize_t n = read(fd, p, size);
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static bool peer_read_results(struct diff *d, const char *file)
{
    struct diff_header h;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && read_all(fd, &h, sizeof(h)) && h.magic == DIFF_MAGIC &&
              read_all(fd, d->want, d->count * sizeof(d->want[0]));

    if (fd >= 0)
        close(fd);
    return ok;
}

static bool peer_run(struct diff *d)
{
    char runner[128], cases[128], results[128];

    snprintf(runner, sizeof(runner), "%s/runner", d->dir);
    snprintf(cases, sizeof(cases), "%s/cases", d->dir);
    snprintf(results, sizeof(results), "%s/results", d->dir);
    const char *const argv[] = {d->peer, "-cpu", d->peer_cpu, runner, cases, results, NULL};
    return peer_write_cases(d, cases) && run_program(argv) == 0 && peer_read_results(d, results);
}

static void peer_cleanup(const struct diff *d)
{
    static const char *const files[] = {"runner", "cases", "results"};
    char path[128];

    for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", d->dir, files[i]);
        unlink(path);
    }
    rmdir(d->dir);
}

/* ---- running a case ---- */

static const struct diff_case *running;

/* Generated code that is wrong may well be fatal: says in which case, and dies of it. */
static void on_crash(int sig)
{
    char text[160];
    int n = snprintf(text, sizeof(text), "\nFAIL row %s: instruction %08x ends in signal %d\n",
                     running ? a64_rows[running->row].name : "unknown", running ? running->insn : 0, sig);

    if (write(STDOUT_FILENO, text, (size_t)n) < n)
        _exit(1);
    raise(sig);
}

static void report_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
    const struct sigaction sa = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};

    for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &sa, NULL);
}

static void run_case(const struct diff *d, const struct diff_case *c, void (*run)(struct diff_env *e),
                     struct diff_state *out)
{
    static struct diff_env env;

    running = c;
    diff_env_load(&env, &c->in);
    env.code = d->image;
    env.code_size = IMAGE_SIZE;
    run(&env);
    running = NULL;
    diff_env_save(&env, out);
}

/* ---- comparison ---- */

static bool same(const struct diff_state *a, const struct diff_state *b)
{
    return !memcmp(a->x, b->x, sizeof(a->x)) && a->pc == b->pc && a->nzcv == b->nzcv && a->fpcr == b->fpcr &&
           a->fpsr == b->fpsr && a->sig == b->sig && !memcmp(a->v, b->v, sizeof(a->v)) &&
           !memcmp(a->mem, b->mem, sizeof(a->mem));
}

static void show_u64(const char *what, unsigned i, uint64_t in, uint64_t got, uint64_t want)
{
    if (got != want)
        printf("    %s%u: was %016" PRIx64 ", got %016" PRIx64 ", want %016" PRIx64 "\n", what, i, in, got, want);
}

static void show_v(unsigned i, const uint64_t *in, const uint64_t *got, const uint64_t *want)
{
    if (memcmp(got, want, 16))
        printf("    v%u: was %016" PRIx64 "_%016" PRIx64 ", got %016" PRIx64 "_%016" PRIx64 ", want %016" PRIx64
               "_%016" PRIx64 "\n",
               i, in[1], in[0], got[1], got[0], want[1], want[0]);
}

/* The registers that the fields name, so that a failure can be understood. */
static void show_inputs(const struct diff_case *c)
{
    unsigned r[4] = {a64_rd(c->insn), a64_rn(c->insn), a64_rm(c->insn), a64_ra(c->insn)};

    printf("    nzcv %x fpcr %08x fpsr %08x", c->in.nzcv >> 28, c->in.fpcr, c->in.fpsr);
    for (unsigned i = 0; i < 4; i++) {
        if (a64_rows[c->row].simd)
            printf(" v%u=%016" PRIx64 "_%016" PRIx64, r[i], c->in.v[r[i]][1], c->in.v[r[i]][0]);
        printf(" x%u=%" PRIx64, r[i], c->in.x[r[i]]);
    }
    printf("\n");
}

static void show_mismatch(const struct diff_case *c, const struct diff_state *got, const struct diff_state *want)
{
    char text[160];

    a64_disasm(text, sizeof(text), c->insn, c->in.pc);
    printf("  %s: %08x %s\n", a64_rows[c->row].name, c->insn, text);
    show_inputs(c);
    if (got->sig != want->sig)
        printf("    signal: got %u, want %u\n", got->sig, want->sig);
    for (unsigned i = 0; i < 32; i++)
        show_u64("x", i, c->in.x[i], got->x[i], want->x[i]);
    for (unsigned i = 0; i < 32; i++)
        show_v(i, c->in.v[i], got->v[i], want->v[i]);
    show_u64("pc", 0, c->in.pc, got->pc, want->pc);
    show_u64("nzcv", 0, c->in.nzcv, got->nzcv, want->nzcv);
    show_u64("fpcr", 0, c->in.fpcr, got->fpcr, want->fpcr);
    show_u64("fpsr", 0, c->in.fpsr, got->fpsr, want->fpsr);
    for (unsigned i = 0; i < DIFF_MEM_SIZE; i += 8)
        show_u64("mem+", i, le64_get(c->in.mem + i), le64_get(got->mem + i), le64_get(want->mem + i));
}

/*
 * Where the peer (QEMU 7.2) is known to be wrong:
 * - it sign-extends the 16-bit result of the scalar fixed-point FCVTZS into bits 31..16; the architecture zeroes all
 *   above the element (Arm ARM C7.2, FCVTZS);
 * - FJCVTZS of a subnormal that FZ flushes is exact for it; FPToFixedJS says Z = 0 where the value is zero and the
 *   operand's fraction is not.
 */
static void correct_peer(const struct diff_case *c, struct diff_state *want)
{
    uint64_t operand = c->in.v[a64_rn(c->insn)][0];

    if (!strcmp(a64_rows[c->row].name, "fcvtzs_ish"))
        want->v[a64_rd(c->insn)][0] &= 0xffff;
    if (!strcmp(a64_rows[c->row].name, "fjcvtzs") && (c->in.fpcr & FPCR_FZ) && !(operand & DOUBLE_EXPONENT) &&
        (operand & DOUBLE_FRACTION))
        want->nzcv &= ~PSTATE_Z;
}

static bool run_batch(struct diff *d)
{
    struct diff_state got;

    if (d->cfg->against_peer) {
        if (!peer_run(d)) {
            printf("  the peer did not answer for a batch of %u cases\n", d->count);
            return false;
        }
    } else {
        for (unsigned i = 0; i < d->count; i++)
            run_case(d, &d->cases[i], diff_run_interp, &d->want[i]);
    }
    if (d->cfg->new_code)
        d->cfg->new_code(d->image, IMAGE_SIZE);
    for (unsigned i = 0; i < d->count; i++) {
        const struct diff_case *c = &d->cases[i];
        if (d->cfg->against_peer)
            correct_peer(c, &d->want[i]);
        run_case(d, c, d->cfg->run, &got);
        d->ran++;
        d->faults += d->want[i].sig == DIFF_SIG_SEGV;
        d->reached[c->row]++;
        if (same(&got, &d->want[i]))
            continue;
        d->mismatches++;
        if (d->bad[c->row]++ < 2 && d->mismatches <= SHOWN)
            show_mismatch(c, &got, &d->want[i]);
    }
    d->count = 0;
    return true;
}

/* ---- the whole ---- */

static void image_clear(struct diff *d)
{
    for (unsigned i = 0; i < IMAGE_SIZE; i += 4)
        le32_put(d->image + i, DIFF_BRK);
}

/* What the peer's largest model has, and nothing that signal frames would have to carry beside. */
#define PEER_CPU "max,sve=off,sme=off,pauth=off"
/* DC ZVA clears 64 bytes here, as it does in pipit; 512 on that model. */
#define PEER_CPU_ZVA "cortex-a57"

static bool wanted(const char *only, unsigned row)
{
    return diff_row_at_el0(row) && (!only || !strcmp(only, a64_rows[row].name));
}

/* Those rows that go to one model of the peer. */
static bool run_rows(struct diff *d, unsigned cases, const char *only, bool zva)
{
    static struct diff_env scratch;

    d->peer_cpu = zva ? PEER_CPU_ZVA : PEER_CPU;
    image_clear(d);
    for (unsigned n = 0; n < cases; n++) {
        for (unsigned row = 1; row < A64_ROW_COUNT; row++) {
            if (!wanted(only, row) || (row == A64_sys) != zva)
                continue;
            struct diff_case *c = &d->cases[d->count];
            if (!diff_gen(c, row, d->count, BATCH, &scratch))
                continue;
            for (unsigned i = 0; i < 3; i++)
                le32_put(d->image + DIFF_MARGIN + d->count * DIFF_SLOT + i * 4, c->code[i]);
            if (++d->count == BATCH) {
                if (!run_batch(d))
                    return false;
                image_clear(d);
            }
        }
    }
    return !d->count || run_batch(d);
}

static bool report(const struct diff *d, const char *only)
{
    unsigned rows = 0, covered = 0, wrong = 0;

    for (unsigned row = 1; row < A64_ROW_COUNT; row++) {
        if (!wanted(only, row))
            continue;
        rows++;
        covered += d->reached[row] != 0;
        wrong += d->bad[row] != 0;
        if (!d->reached[row])
            printf("  no case reached row %s\n", a64_rows[row].name);
        if (d->bad[row])
            printf("  row %s: %u of %u cases differ\n", a64_rows[row].name, d->bad[row], d->reached[row]);
    }
    printf(
        "rows covered: %u of %u at EL0 (%u in the table), cases run: %u (%u fault), cases that differ: %u in %u rows\n",
        covered, rows, A64_ROW_COUNT - 1, d->ran, d->faults, d->mismatches, wrong);
    return covered == rows && rows && !d->mismatches;
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--cases N] [--seed N] [--row NAME]\n", program);
    return 2;
}

int diff_main(int argc, char **argv, const struct diff_config *cfg)
{
    static struct diff d;
    unsigned cases = cfg->cases;
    uint64_t seed = 1;
    const char *only = NULL, *missing = NULL;
    bool ok = false;

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            return usage(argv[0]);
        if (!strcmp(argv[i], "--cases"))
            cases = (unsigned)strtoul(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--seed"))
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--row"))
            only = argv[i + 1];
        else
            return usage(argv[0]);
    }
    report_crashes();
    diff_seed(seed);
    d.cfg = cfg;
    d.cases = calloc(BATCH, sizeof(d.cases[0]));
    d.want = calloc(BATCH, sizeof(d.want[0]));
    d.image = malloc(IMAGE_SIZE);
    snprintf(d.dir, sizeof(d.dir), "/tmp/pipit-diff-XXXXXX");
    if (!d.cases || !d.want || !d.image || !mkdtemp(d.dir)) {
        printf("FAIL %s: no memory or no temporary folder\n", cfg->name);
        return 1;
    }
    if (cfg->against_peer)
        missing = peer_prepare(&d);
    if (!missing) {
        ok = run_rows(&d, cases, only, false) && run_rows(&d, cases, only, true);
        ok = report(&d, only) && ok;
    }
    peer_cleanup(&d);
    free(d.cases);
    free(d.want);
    free(d.image);
    if (missing)
        printf("FAIL %s: %s\n", cfg->name, missing);
    else
        printf(ok ? "ok   %s\n" : "FAIL %s: see above\n", cfg->name);
    return !ok;
}
