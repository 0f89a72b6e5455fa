/*
 * Signals that end the process by its own fault: a terminal in raw mode is given back first.
 */
#ifndef PIPIT_MACHINE_FATAL_H
#define PIPIT_MACHINE_FATAL_H

/* For the whole process, once, before threads start. Leaves alone what a sanitizer handles. Also makes a write beyond
 * the file-size limit an error (EFBIG, which a guest sees as one of its disk) instead of the end. */
void fatal_handle_signals(void);
/* On each thread, first: a stack for the handlers, which a fault of the stack itself needs. */
void fatal_enter_thread(void);

#endif
