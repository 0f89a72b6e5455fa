/* What a running machine has outside itself: its name, its control socket, its start in the background. */
#ifndef PIPIT_MACHINE_RUN_LIFE_H
#define PIPIT_MACHINE_RUN_LIFE_H

#include "vmm/machine/machine.h"
#include "vmm/service/life/control.h"
#include "vmm/service/life/entry.h"

struct run_life {
    struct entry entry; /* of a listed machine */
    struct control *control;
};

/* Takes the name, and sends messages of a machine in the background to its log. First of all. */
int run_life_begin(struct run_life *l, const struct vm_config *c, struct err *e);
/* Makes the socket and says what runs. Before the loop runs. */
int run_life_open(struct run_life *l, struct machine *m, const struct control_ops *ops, struct err *e);
/* The machine runs: whoever waits for that is told. */
int run_life_running(const struct vm_config *c, struct err *e);
/* Any part of what was begun; the first before the machine is taken apart, the second behind that. */
void run_life_close(struct run_life *l);
void run_life_end(struct run_life *l);

#endif
