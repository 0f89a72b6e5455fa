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

/* QEMU's command line: argv[0] is the first word behind the program's name. Options may come in any order. */
int args_qemu(struct vm_config *c, int argc, char **argv, struct err *e);

/* Help texts, to stdout. */
void args_print_help(void);
void args_print_help_run(void);
void args_print_help_qemu(void);
/* "pipit 0.1.0" and what is built in. */
void args_print_version(void);
void args_print_cpus(void);

#endif
