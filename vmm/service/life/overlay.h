/*
 * Named overlays: what a machine that was started from an image writes. The image itself is only read. Kept in the
 * state folder, NAME/disk.qcow2 with NAME/image beside it, until life_state_remove.
 */
#ifndef PIPIT_SERVICE_LIFE_OVERLAY_H
#define PIPIT_SERVICE_LIFE_OVERLAY_H

#include "devices/block/qcow2.h"

struct overlay {
    char *path;               /* of the overlay, absolute */
    char *image;              /* absolute, links resolved */
    enum block_format format; /* the image's; what it began like when the overlay was made, or what the user said */
    bool made;                /* just now */
};

/*
 * Finds the overlay of machine `name`, or makes one over `image` with at least `size` bytes (0: as large as the image).
 * An image whose size or time has changed, or another image under the same name, is refused with -ESTALE: the overlay
 * means nothing over it. Blocks; `en` has nothing in flight.
 */
int overlay_get(struct overlay *o, struct block_engine *en, const char *name, const char *image,
                enum block_format format, uint64_t size, struct err *e);
void overlay_free(struct overlay *o);

/* Opens the overlay on its image, which is read by the rules of `backing`, whatever the overlay's header names. */
int overlay_open(struct block **out, struct block_engine *en, const struct overlay *o, const struct block_options *bo,
                 enum block_backing backing, struct err *e);

/* Removes the overlay of a machine that never ran, which overlay_get made just now. */
void overlay_forget(const char *name);

/* What NAME/image says in the open folder `dir`: the image's path, malloc'ed, or NULL. */
char *overlay_image(int dir);

/* Removes all that machine `name` has in the state folder; 0 also where it has nothing. */
int life_state_remove(const char *name, struct err *e);

#endif
