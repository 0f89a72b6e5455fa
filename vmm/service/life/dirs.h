/*
 * Where what lives longer than a call is kept: names of machines and the two folders of this user.
 *
 * Run-time folder: $XDG_RUNTIME_DIR/pipit, else /run/user/UID/pipit, else /tmp/pipit-UID; gone when the host starts
 * anew. State folder: $XDG_STATE_HOME/pipit, else ~/.local/state/pipit; lasts. Each has a folder a machine, by its
 * name.
 */
#ifndef PIPIT_SERVICE_LIFE_DIRS_H
#define PIPIT_SERVICE_LIFE_DIRS_H

#include <stdbool.h>

#include "vmm/base/err.h"

#define LIFE_NAME_MAX 63

/* A letter or digit, and then letters, digits, '_', '.' and '-', LIFE_NAME_MAX in all. -EINVAL. */
int life_name_check(const char *name, struct err *e);
/* Makes a name of a file's: "disks/debian 12.qcow2" is debian-12. `out` has LIFE_NAME_MAX + 1 bytes. */
void life_name_from_file(char *out, const char *path);

/*
 * Descriptors of the two folders. They and all that life_dir_at opens are folders, not links, of this user's own, that
 * nobody else may enter; anything else is refused with -EPERM. Without `make`, -ENOENT where there is none.
 */
int life_runtime_dir(bool make, struct err *e);
int life_state_dir(bool make, struct err *e);
/* The folder `name` in the open folder `parent`, which `where` names in messages. */
int life_dir_at(int parent, const char *name, bool make, const char *where, struct err *e);
/* The path of the state folder, malloc'ed; NULL where there is no home, or no memory. */
char *life_state_path(void);

#endif
