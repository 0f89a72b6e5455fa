/* Where saved translations are kept: see saved_store.c. */
#ifndef PIPIT_USER_SAVED_STORE_H
#define PIPIT_USER_SAVED_STORE_H

#include <stddef.h>
#include <stdint.h>

#define USER_SAVED_IMAGE_MAX (16u << 20) /* bytes of one image */
#define USER_SAVED_TOTAL_MAX (64u << 20) /* of all of them */

/* Names the folders that may serve, first come first served. Once. */
void user_saved_store_init(const char *const *envp);
/* The folder, checked; -errno where there is none. The caller closes it. */
int user_saved_store_open(void);
/* The image `name` of the folder, mapped and known as ours, and its size; NULL where there is none. sys_unmap gives it
 * back, in whole pages. */
const uint8_t *user_saved_store_map(int dir, uint64_t name, size_t *size);
/* Puts an image in the place of the one of that name, if any, at once; others may go to make room. 0 or -errno. */
int user_saved_store_write(int dir, uint64_t name, const uint8_t *image, size_t size);

#endif
