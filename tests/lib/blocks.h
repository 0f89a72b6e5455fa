/*
 * Random short blocks of guest code and values that show differences, for tests that compare two ways of executing
 * them. One generator for the whole program: the same seed gives the same blocks.
 */
#ifndef PIPIT_TESTS_BLOCKS_H
#define PIPIT_TESTS_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#define BLOCKS_MAX 10 /* instructions */

void blocks_seed(uint64_t seed);
uint64_t blocks_state(void); /* a seed from which things go on as from here */
uint64_t blocks_rnd(void);
/* A value at the edge of something: small, large, a NaN, a denormal; or any. */
uint64_t blocks_interesting(void);
/* A random encoding of a row of the decode table. */
uint32_t blocks_encode(unsigned row);
/* Rows that leave the block, wait, or whose meaning is the surroundings' own. */
bool blocks_excluded(unsigned row);
/* A block of 1 to BLOCKS_MAX instructions, one of them of this row, without backward branches. Half of the blocks
 * mostly load and store around one base, or a few, as compilers make them; an eighth is arithmetic with flags. Returns
 * how many. */
unsigned blocks_make(uint32_t *code, unsigned row);
/* Makes a loop of a block that blocks_make returned: what is added counts a register down that the block does not
 * touch, and branches to its start, and branches ahead. The register, 31 where there is none. */
#define BLOCKS_LOOP 7 /* instructions more; the block's branches reach the last but four at the most */
unsigned blocks_loop(uint32_t *code, unsigned n);
void blocks_print(const uint32_t *code, unsigned n, uint64_t pc);

#endif
