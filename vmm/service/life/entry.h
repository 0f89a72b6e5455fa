/*
 * A machine's entry in the run-time folder: NAME/lock, held by its process as long as it lives; NAME/info, lines of
 * KEY=VALUE; NAME/control, a socket (control.h); NAME/log, where a detached machine without --log writes messages. An
 * entry whose lock nobody holds was left by a process that was killed; the next to claim the name takes it over.
 */
#ifndef PIPIT_SERVICE_LIFE_ENTRY_H
#define PIPIT_SERVICE_LIFE_ENTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/err.h"
#include "vmm/service/life/dirs.h"

struct entry {
    char name[LIFE_NAME_MAX + 1];
    int top, dir, lock; /* descriptors */
};

/* Takes the name; -EBUSY where a process has it. Later forks do not share the claim. */
int entry_claim(struct entry *n, const char *name, struct err *e);
/* -EBUSY where a process has the name now: for a sentence before any work is done. */
int entry_check_free(const char *name, struct err *e);
/* Removes the entry and gives the name up. */
void entry_release(struct entry *n);
/* Opens NAME/log, emptied. */
int entry_open_log(const struct entry *n, struct err *e);
/* Writes NAME/info whole. */
int entry_write_info(const struct entry *n, const char *text, struct err *e);
/* A listening, non-blocking socket at NAME/control. */
int entry_listen(const struct entry *n, struct err *e);

#define ENTRY_INFO_MAX 8192
/* What can be seen of an entry from outside. */
struct entry_view {
    bool there;   /* there is an entry */
    pid_t holder; /* of its lock; 0: nobody, -1: one that this process cannot see */
    char info[ENTRY_INFO_MAX];
};
/* -ENOENT is no error: nothing is there. Others, an unusable folder for one, are. */
int entry_look(struct entry_view *v, const char *name, struct err *e);
/* The value behind KEY= in v->info, or NULL; `out` has `size` bytes. */
const char *entry_info(const struct entry_view *v, const char *key, char *out, size_t size);
/* A connection to NAME/control of a process of this user; calls on it, this one too, wait some seconds at most.
 * -ECONNREFUSED, -ENOENT where nobody listens. */
int entry_connect(const char *name, struct err *e);
/* Kills the holder of NAME's lock, if it is still the holder. */
int entry_kill(const char *name, struct err *e);

#endif
