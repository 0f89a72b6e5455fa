/* -d in_asm: each block of the guest's code when it is translated, as QEMU prints it. */
#ifndef PIPIT_USER_LOG_CODE_H
#define PIPIT_USER_LOG_CODE_H

#include <stdbool.h>
#include <stdint.h>

/* -dfilter: only blocks that begin in one of these are printed: "START..END", "START+SIZE", "START-SIZE" in
 * hexadecimal, with commas. False: it is none of these, or there are too many. */
bool user_log_filter(const char *ranges);

/* -d exec and -d cpu: the state before a block is executed. On any thread. */
struct arm64_cpu;
void user_log_entered(void *opaque, const struct arm64_cpu *c);

/* One caller at a time. */
void user_log_code(uint64_t pc, unsigned insns);

#endif
