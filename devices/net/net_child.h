/* Programs of others that networks are got from (qemu-bridge-helper, passt). Private to devices/net. */
#ifndef PIPIT_DEVICES_NET_NET_CHILD_H
#define PIPIT_DEVICES_NET_NET_CHILD_H

#include <stddef.h>

#include "vmm/base/err.h"

#define NET_CHILD_FD 3 /* where the program has its end of the socket */

/*
 * Runs argv[0] (looked up in PATH where it has no slash) with a stream socket to us as descriptor NET_CHILD_FD, no
 * input, and nothing else of ours, and waits for its end, for `ms` at most. Before any thread is started. Returns its
 * exit status (128 + N for signal N), with our end of the socket in *sock and the last line that it wrote to standard
 * error in `said`; or -errno with a sentence, ENOENT where there is no such program.
 */
int net_child_run(char *const argv[], int *sock, char *said, size_t size, int ms, struct err *e);

#endif
