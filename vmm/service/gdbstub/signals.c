/* Signal numbers, see signals.h. */
#include "vmm/service/gdbstub/signals.h"

#include <stdint.h>

#define LINUX_SIGNALS 64
#define GDB_UNKNOWN 143

/* By Linux's number; 0: GDB has none. 1..15 but SIGBUS, SIGUSR1 and 2 are the historical ones, which both share. */
static const uint8_t gdb_number[32] = {
    0,  1,  2,  3,  4,  5,  6,  10, /* .. ABRT, BUS */
    8,  9,  30, 11, 31, 13, 14, 15, /* FPE, KILL, USR1, SEGV, USR2, PIPE, ALRM, TERM */
    0,  20, 19, 17, 18, 21, 22, 16, /* STKFLT, CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG */
    24, 25, 26, 27, 28, 23, 32, 12, /* XCPU, XFSZ, VTALRM, PROF, WINCH, IO, PWR, SYS */
};

/* Real-time signals 33..63 stand together, 32 and 64 were added later. */
#define GDB_REALTIME_33 45
#define GDB_REALTIME_32 77
#define GDB_REALTIME_64 78

unsigned gdb_signal_from_linux(unsigned sig)
{
    if (sig == 32)
        return GDB_REALTIME_32;
    if (sig == 64)
        return GDB_REALTIME_64;
    if (sig > 32 && sig < 64)
        return GDB_REALTIME_33 + sig - 33;
    if (sig > LINUX_SIGNALS || (sig && !gdb_number[sig]))
        return GDB_UNKNOWN;
    return gdb_number[sig];
}

unsigned gdb_signal_to_linux(unsigned gdb)
{
    for (unsigned sig = 1; gdb != GDB_UNKNOWN && sig <= LINUX_SIGNALS; sig++) {
        if (gdb_signal_from_linux(sig) == gdb)
            return sig;
    }
    return 0;
}
