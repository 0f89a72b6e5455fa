/*
 * The gate: the one instruction by which all system calls of the guest reach the host, or rather two, of which the
 * second is for calls that the guest's seccomp filters have judged already (seccomp.h).
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

/* No error of the kernel's, not even of those that it keeps for itself and a seccomp listener may give: the call has
 * not happened, and is to be made again after the signal. */
#define SYS_RESTART 0x70000001

struct sys_gate_state {
    _Atomic uint32_t pending; /* a signal waits to be delivered */
    uint32_t judged;          /* the guest's seccomp filters have seen the call: take the second instruction */
};

/* The host's system call `nr`, or -SYS_RESTART where `pending` is set or a signal comes first. */
long sys_gate(long nr, const uint64_t args[6], const struct sys_gate_state *state);

/* What seccomp_data.instruction_pointer is for the first instruction: the address behind it. */
uint64_t sys_gate_address(void);

/* For a signal handler interrupted at *pc with RAX *ax: moves both so that the call ends as it must. */
void sys_gate_leave(uint64_t *pc, uint64_t *ax);

/* The same for an interruption that the guest must not see: the call is made again, also where it ended as interrupted.
 */
void sys_gate_again(uint64_t *pc, uint64_t ax);

/* Is `pc` where the kernel returns to from a call through the gate? */
bool sys_gate_returns(uint64_t pc);

#endif
