/*
 * The save stream: a versioned sequence of named sections, little-endian. Writing never fails half-way silently: the
 * first error sticks and state_writer_finish reports it. Reading checks every length before use.
 *
 *   stream  = magic "PIPITST1" section* end
 *   section = u16 name_len, name, u32 version, u64 body_len, body
 *   end     = u16 0
 */
#ifndef PIPIT_CORE_STATE_H
#define PIPIT_CORE_STATE_H

#include <stddef.h>
#include <stdint.h>

struct state_writer;
struct state_reader;

int state_writer_open(struct state_writer **out, int fd);
void state_begin(struct state_writer *w, const char *name, uint32_t version);
void state_put(struct state_writer *w, const void *p, size_t len);
void state_put_u8(struct state_writer *w, uint8_t v);
void state_put_u16(struct state_writer *w, uint16_t v);
void state_put_u32(struct state_writer *w, uint32_t v);
void state_put_u64(struct state_writer *w, uint64_t v);
void state_end(struct state_writer *w);
/* What was to be written could not be had: `error` (a negative errno) sticks unless an earlier one does. */
void state_fail(struct state_writer *w, int error);
/* Writes the end mark, frees w; 0 or the first negative errno. The fd stays the caller's. */
int state_writer_finish(struct state_writer *w);

int state_reader_open(struct state_reader **out, int fd);
/* Enters the next section, which must carry `name`; its version goes to *version. -EINVAL when it is another. */
int state_enter(struct state_reader *r, const char *name, uint32_t *version);
/* Past the section's end these give zeroes and the error sticks. */
void state_get(struct state_reader *r, void *p, size_t len);
uint8_t state_get_u8(struct state_reader *r);
uint16_t state_get_u16(struct state_reader *r);
uint32_t state_get_u32(struct state_reader *r);
uint64_t state_get_u64(struct state_reader *r);
/* -EINVAL where the section had bytes left or was too short. */
int state_leave(struct state_reader *r);
int state_reader_finish(struct state_reader *r);

#endif
