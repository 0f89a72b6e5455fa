/*
 * The cloud-init seed: a small file system labelled cidata with the files that cloud-init's NoCloud source reads, from
 * what the user gave (docs: NoCloud). README.md says which file says what.
 */
#ifndef PIPIT_LOADER_SEED_H
#define PIPIT_LOADER_SEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

#define SEED_MAX_KEYS 64      /* files, and keys of all of them */
#define SEED_MAX_FILE 1048576 /* bytes of each file */

struct seed {
    const char *user_data, *meta_data, *network_config; /* files, or NULL */
    const char *hostname;                               /* or NULL */
    const char *ssh_key[SEED_MAX_KEYS];                 /* files of public keys */
    unsigned nssh_keys;
};

/* Was anything given that makes a seed? */
bool seed_wanted(const struct seed *s);
/* A host name as RFC 1123 has it: labels of letters, digits and hyphens, 63 characters each and 253 in all. */
bool seed_hostname_is_good(const char *name);
/* What can be said without reading files. */
int seed_check(const struct seed *s, struct err *e);
/* Reads the files and makes the image, malloc'ed, a multiple of 512 bytes long. `name` is the machine's, or NULL: with
 * the content it makes the instance-id. */
int seed_make(const struct seed *s, const char *name, uint8_t **image, size_t *len, struct err *e);

#endif
