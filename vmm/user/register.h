/*
 * binfmt_misc: makes the kernel start this program for arm64 ones, and takes that back.
 */
#ifndef PIPIT_USER_REGISTER_H
#define PIPIT_USER_REGISTER_H

#include <stdbool.h>

#include "vmm/base/err.h"

/*
 * Registers this program's file with flags POCF (argv[0] kept, set-user-id programs as such, opened now so that it
 * works in any chroot), mounting binfmt_misc where it is not. `persistent`: for systemd, too, from the next boot on.
 * Other emulators' entries stay; the kernel asks the newest first, which a line on stdout says. 0 or -errno with a
 * sentence.
 */
int user_register(bool persistent, struct err *e);
/* Takes both back; entries of others serve again. */
int user_unregister(struct err *e);

#endif
