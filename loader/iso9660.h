/*
 * A small ISO 9660 file system with Rock Ridge names: one folder of files, made in memory (ECMA-119; SUSP and
 * RRIP 1.09).
 */
#ifndef PIPIT_LOADER_ISO9660_H
#define PIPIT_LOADER_ISO9660_H

#include <stddef.h>
#include <stdint.h>

#define ISO9660_SECTOR 2048
#define ISO9660_MAX_FILES 8 /* their records fit in one sector */
#define ISO9660_MAX_NAME 64

struct iso9660_file {
    const char *name; /* its Rock Ridge name; lower-case letters, digits and '-' */
    const void *data;
    size_t len; /* bytes, less than 4 GiB */
};

/*
 * The image, malloc'ed, whole sectors long; `label` has at most 32 characters and is taken as it is. The files, at most
 * ISO9660_MAX_FILES, belong to root and are readable by root alone. The same input makes the same bytes.
 * -EINVAL for a name or label that does not fit, -ENOMEM.
 */
int iso9660_make(const char *label, const struct iso9660_file *file, unsigned n, uint8_t **image, size_t *len);

#endif
