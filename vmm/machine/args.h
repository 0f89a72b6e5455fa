/* The two command lines. Each fills a config that config_init prepared; config_validate is called by the caller. */
#ifndef PIPIT_MACHINE_ARGS_H
#define PIPIT_MACHINE_ARGS_H

#include "vmm/base/err.h"
#include "vmm/machine/config.h"

/* What came out of a command line. */
enum args_result {
    ARGS_RUN,  /* there is a machine to run */
    ARGS_DONE, /* help or a list was printed; exit with 0 */
};

/* `pipit run`: argv[0] is the first word behind `run`. enum args_result, or a negative errno with a sentence. */
int args_run(struct vm_config *c, int argc, char **argv, struct err *e);

/* QEMU's command line: argv[0] is the first word behind the program's name. Options may come in any order. The first
 * takes the machines of both targets, and without -M the one that the kernel is for. */
int args_qemu(struct vm_config *c, int argc, char **argv, struct err *e);
int args_qemu_aarch64(struct vm_config *c, int argc, char **argv, struct err *e);
int args_qemu_x86_64(struct vm_config *c, int argc, char **argv, struct err *e);

/* Help texts, to stdout. */
void args_print_help(void);
void args_print_help_run(void);
void args_print_help_qemu(void);
/* "pipit 0.1.0" and what is built in. */
void args_print_version(void);
/* CPU models: the JIT's for arm64, KVM's. */
void args_print_cpus(bool arm64);

#endif
