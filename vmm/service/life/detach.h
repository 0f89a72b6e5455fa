/* Starting in the background: the caller waits until the machine runs, and is told why where it does not. */
#ifndef PIPIT_SERVICE_LIFE_DETACH_H
#define PIPIT_SERVICE_LIFE_DETACH_H

#include <stdbool.h>

#include "vmm/base/err.h"

/*
 * Forks. The child returns 0, in a session of its own, with nothing as standard input, output and error. The caller's
 * process returns 1 when the child runs or has ended, with the status to exit with; what the child had to say is on
 * standard error. Before any thread is there.
 */
int detach_fork(int *status, struct err *e);
/* In the child: it runs. False: the caller has gone away meanwhile, and nobody waits for this machine. */
bool detach_running(void);
/* In the child: a sentence for the caller. Nothing in any other process, or when it runs. */
void detach_say(const char *text);

#endif
