/*
 * The gate: the one instruction by which all system calls of the guest reach the host.
 *
 * A signal must either arrive before a system call, which then is not made, or interrupt it. Between the last look at
 * the flag and the instruction there would be a gap in which a signal comes too early to interrupt and too late to be
 * seen. So the handler looks where it came from: from inside the window, which is from the look at the flag up to and
 * with the instruction, it goes on at the restart exit. The kernel also leaves the PC at the instruction when it wants
 * the call restarted (ERESTARTSYS with SA_RESTART, ERESTARTNOINTR), so that one test serves both.
 */
#ifndef PIPIT_USER_SYS_GATE_H
#define PIPIT_USER_SYS_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Not a number that the kernel shows: the call has not happened, and is to be made again after the signal. */
#define SYS_RESTART 512

/* The host's system call `nr`, or -SYS_RESTART where *pending is set or a signal comes first. */
long sys_gate(long nr, const uint64_t args[6], const _Atomic uint32_t *pending);

/* For a signal handler interrupted at *pc with RAX *ax: moves both so that the call ends as it must. */
void sys_gate_leave(uint64_t *pc, uint64_t *ax);

/* Is `pc` where the kernel returns to from a call through the gate? */
bool sys_gate_returns(uint64_t pc);

#endif
