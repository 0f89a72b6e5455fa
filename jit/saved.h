/* Saved translations: what machines and user mode share of them. jit/rt/saved.h says how they are used. */
#ifndef PIPIT_JIT_SAVED_H
#define PIPIT_JIT_SAVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jit;

/* A machine has pieces of so many bytes of an image mapped. A write makes folios of its length in the host's page
 * cache, and whoever maps a page of one maps it all (Linux 6.18): an image is written in pieces, too. */
#define JIT_SAVED_PIECE (64u << 10)
#define JIT_SAVED_KEY 64 /* bytes: all that translations depend on beside the guest's code */

/* An image that jit_saved_open found to be one. Reading it may fault, and it may change; `at` NULL: none. */
struct jit_saved_image {
    const uint8_t *at;
    size_t size;
    uint32_t bits, count; /* log2 of slots; records */
};

/* The image that has blocks for an address, and which place of the image's file is there. */
struct jit_saved_place {
    struct jit_saved_image image;
    uint32_t where;    /* place in the file in instructions */
    uint32_t *unsaved; /* counts blocks that had to be made; NULL: none is to be saved */
};

/* Is this an image for the key? */
bool jit_saved_open(const uint8_t *image, size_t size, const uint8_t key[JIT_SAVED_KEY], struct jit_saved_image *out);

/*
 * Writes an image into memory of `room` bytes, of about `count` records: those of another image, and then the blocks
 * that were made since the last time and lie in [lo, hi), which maps the file from `offset`. What does not fit is left
 * out, and `full` says so. jit_saved_end returns the image's size.
 */
struct jit_saved_writer {
    uint8_t *at; /* aligned to 8 bytes, and zeroed */
    size_t room, used;
    uint32_t bits, count;
    bool full;
};
void jit_saved_begin(struct jit_saved_writer *w, uint8_t *at, size_t room, uint32_t count);
void jit_saved_add_image(struct jit_saved_writer *w, const struct jit_saved_image *m);
/* Machines: all blocks of this run, those that died and those that came from an image, too. While no vCPU runs. */
void jit_saved_add_run(struct jit_saved_writer *w, struct jit *j);
void jit_saved_add_blocks(struct jit_saved_writer *w, struct jit *j, uint64_t lo, uint64_t hi, uint64_t offset);
size_t jit_saved_end(struct jit_saved_writer *w, const uint8_t key[JIT_SAVED_KEY]);
/* Blocks so far: translated, and taken from images. */
void jit_saved_counts(const struct jit *j, uint64_t *made, uint64_t *taken);
/* What the translator knows of the host's CPU, for the key. */
uint64_t jit_saved_host(void);
/* Where a read of an image that was at `ip` when the host said SIGBUS goes on, as one of nothing; zero: it was not one.
 */
uintptr_t jit_saved_recover(uintptr_t ip);
/* A 64-bit hash of bytes, continued from h. Not for adversaries. */
uint64_t jit_saved_hash(uint64_t h, const void *p, size_t len);

#endif
