/* The folder where machines keep translations for later ones: see translations.c. */
#ifndef PIPIT_MACHINE_TRANSLATIONS_H
#define PIPIT_MACHINE_TRANSLATIONS_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

#define TRANSLATIONS_IMAGE_MAX (64u << 20)  /* bytes of one image */
#define TRANSLATIONS_TOTAL_MAX (192u << 20) /* of all of them */

struct translations {
    int dir;   /* -1: nothing is kept */
    int fresh; /* what the next image is written to, empty; -1: there will be none */
    char name[32], fresh_name[48];
    const uint8_t *at; /* the image as it was found, mapped; NULL: none */
    size_t size;
};

/*
 * Finds the folder: `where`, a path or "off"; NULL: what PIPIT_TRANSLATIONS names, or the user's cache. An error only
 * where `where` names a folder that will not do. In the sandbox nothing can be opened: before it.
 */
int translations_open(struct translations *t, const char *where, struct err *e);
/* Looks for the image `name`, and prepares a file for the next one. */
void translations_find(struct translations *t, uint64_t name);
/* Puts a new image in the place of the old one, at once. */
void translations_write(struct translations *t, const uint8_t *image, size_t size);
void translations_close(struct translations *t);

#endif
