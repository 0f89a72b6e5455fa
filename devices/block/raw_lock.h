/* Two writers of one image are refused, and a reader beside a writer, QEMU among them. */
#ifndef PIPIT_DEVICES_BLOCK_RAW_LOCK_H
#define PIPIT_DEVICES_BLOCK_RAW_LOCK_H

#include <stdbool.h>

#include "vmm/base/err.h"

/* 0, or -EBUSY with a sentence. A file system without locks is warned of. */
int raw_lock(int fd, const char *path, bool read_only, struct err *e);
void raw_unlock(int fd);

#endif
