/* GDB numbers signals in its own way (include/gdb/signals.def there); Linux's numbers are what the kernel uses. */
#ifndef PIPIT_GDBSTUB_SIGNALS_H
#define PIPIT_GDBSTUB_SIGNALS_H

/* GDB's number for a signal of Linux (1..64), 0 for 0; its "unknown signal" where it has none. */
unsigned gdb_signal_from_linux(unsigned sig);
/* The other way; 0 where Linux has no such signal. */
unsigned gdb_signal_to_linux(unsigned gdb);

#endif
