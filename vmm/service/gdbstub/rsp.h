/*
 * Packets of GDB's remote serial protocol (GDB manual, appendix E): framing, checksums, escapes, and the notations that
 * packets are written in. Nothing here knows what a packet asks for or where its bytes come from.
 *
 * The peer may be anybody: what it sends is bounded by RSP_PACKET_MAX, and each number is checked where it is taken.
 */
#ifndef PIPIT_GDBSTUB_RSP_H
#define PIPIT_GDBSTUB_RSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a packet without its frame, as the peer is told (PacketSize). */
#define RSP_PACKET_MAX 0x4000

enum rsp_event {
    RSP_NOTHING, /* more bytes are wanted */
    RSP_PACKET,  /* in[] has one, unescaped; the empty packet where it was too long */
    RSP_BREAK,   /* the byte 3 between packets: interrupt the program */
    RSP_AGAIN,   /* the peer wants the last packet again */
    RSP_REFUSED, /* a packet with a wrong checksum: the peer must send it again */
};

struct rsp {
    /* receiving */
    uint8_t state, sum, claimed;
    bool too_long;
    size_t in_len;
    char in[RSP_PACKET_MAX + 1]; /* a NUL follows */
    bool no_ack;                 /* QStartNoAckMode: no + and - */
    /* sending: the whole frame */
    size_t out_len;
    uint8_t out_sum;
    char out[2 * RSP_PACKET_MAX + 8];
};

void rsp_init(struct rsp *r);
/* The next byte from the peer. */
enum rsp_event rsp_feed(struct rsp *r, uint8_t byte);

/* ---- the reply: rsp_begin, any of rsp_put..., rsp_end; then out[] is sent. What does not fit is cut off. ---- */
void rsp_begin(struct rsp *r);
void rsp_put(struct rsp *r, const void *bytes, size_t n); /* escaped where necessary */
void rsp_text(struct rsp *r, const char *text);
void rsp_hex(struct rsp *r, const void *bytes, size_t n); /* two digits a byte */
void rsp_number(struct rsp *r, uint64_t v);               /* hexadecimal, without leading zeroes */
void rsp_end(struct rsp *r);
/* How many more bytes fit for certain. */
size_t rsp_room(const struct rsp *r);
/* A reply of these words alone. */
void rsp_reply(struct rsp *r, const char *text);
/* "E" and two digits. */
void rsp_error(struct rsp *r, unsigned number);

/* ---- reading a packet: each takes what it names from *p and moves *p behind it; false: it is not there ---- */
bool rsp_take(const char **p, const char *word);
bool rsp_take_number(const char **p, uint64_t *v); /* hexadecimal, of 64 bits at most */
/* "addr,length". */
bool rsp_take_range(const char **p, uint64_t *addr, uint64_t *len);
/* Exactly n bytes of two digits each. */
bool rsp_take_hex(const char **p, void *bytes, size_t n);
/* Digits up to the end or another character, as a string of less than `size` bytes with its NUL. */
bool rsp_take_string(const char **p, char *text, size_t size);

/* "p1f.2a", "2a", "-1": all of them, "0": any. */
#define RSP_ALL (-1)
#define RSP_ANY 0
struct rsp_thread {
    bool has_process; /* the form with p; else process is RSP_ANY */
    int64_t process, thread;
};
bool rsp_take_thread(const char **p, struct rsp_thread *t);
/* In the form with p where `process` is not zero. */
void rsp_thread(struct rsp *r, int64_t process, int64_t thread);

#endif
