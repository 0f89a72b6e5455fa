/*
 * Saved translations: an image of blocks that were made from one file of guest code, for processes that come later.
 *
 * A block is found by its place in the file, and used only where the guest's instructions are word for word those that
 * it was made from: code that changed, another file, or a wrong place can cost time and nothing else. All else that a
 * translation depends on (this program, the CPU model, the host's CPU) is in the image's key. Blocks are stored as for
 * guest address `place in the page` and cache offset 0; relocations bring them where they are wanted.
 *
 * A machine has one image for all its code, since files are the guest's own affair. There a block's place is made of
 * its place in the page and a hash of its first instructions.
 *
 * An image is a header, a hash table of places, and records in no order. It is read where it lies, which may be a
 * mapped file that somebody cuts off or writes to: each piece is copied, then checked. Checksums find accidents. They
 * are no protection from who may write the image, because it holds code.
 */
#ifndef PIPIT_JIT_RT_SAVED_H
#define PIPIT_JIT_RT_SAVED_H

#include "jit/rt/rt.h"

/* What words a block was made from, for struct jit_block. */
uint32_t jit_saved_words(const uint32_t *insn, unsigned n);

/* Machines: b's place in images. */
uint32_t jit_saved_where(const struct jit *j, const struct jit_block *b);

/* Fills block b (whose pc, host, ctx, code and places in tables are set) and the cache from where j->saved
 * points to; false: there is nothing that fits, and nothing was changed but memory that the next block will use. */
bool jit_saved_restore(struct jit *j, struct jit_block *b);

#endif
