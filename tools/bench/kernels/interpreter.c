/* A stack machine's loop with computed gotos: the lengths of Collatz sequences. */
#include "tools/bench/kernels/kernel.h"

enum op { PUSH, DUP, DROP, ADD, MUL, SHR, ODD, SWAP, LOAD, STORE, JZ, JMP, LESS, END };

/* 0: start, 1: length sum, 2: current */
static const int16_t program[] = {
    PUSH,  1,   STORE, 0,                                 /*  0 */
    LOAD,  0,   STORE, 2,                                 /*  4: each start */
    LOAD,  2,   PUSH,  2,    LESS, JZ,    17,    JMP, 45, /*  8: while 2 <= current */
    LOAD,  1,   PUSH,  1,    ADD,  STORE, 1,              /* 17 */
    LOAD,  2,   DUP,   ODD,  JZ,   38,                    /* 24 */
    PUSH,  3,   MUL,   PUSH, 1,    ADD,   JMP,   39,      /* 30 */
    SHR,                                                  /* 38 */
    STORE, 2,   JMP,   8,    DROP, END,                   /* 39 */
    LOAD,  0,   PUSH,  1,    ADD,  DUP,   STORE, 0,       /* 45 */
    PUSH,  300, LESS,  JZ,   60,   JMP,   4,              /* 53 */
    END,                                                  /* 60 */
};

static uint64_t run(const int16_t *code)
{
    static const void *const label[] = {&&push, &&dup,  &&drop,  &&add, &&mul, &&shr,  &&odd,
                                        &&swap, &&load, &&store, &&jz,  &&jmp, &&less, &&end};
    uint64_t stack[16], *sp = stack, variable[4] = {0}, x;
    const int16_t *pc = code;

#define NEXT goto *label[*pc++]
    NEXT;
push:
    *sp++ = (uint64_t)*pc++;
    NEXT;
dup:
    *sp = sp[-1];
    sp++;
    NEXT;
drop:
    sp--;
    NEXT;
add:
    sp--;
    sp[-1] += *sp;
    NEXT;
mul:
    sp--;
    sp[-1] *= *sp;
    NEXT;
shr:
    sp[-1] >>= 1;
    NEXT;
odd:
    sp[-1] &= 1;
    NEXT;
swap:
    x = sp[-1];
    sp[-1] = sp[-2];
    sp[-2] = x;
    NEXT;
load:
    *sp++ = variable[*pc++];
    NEXT;
store:
    variable[*pc++] = *--sp;
    NEXT;
jz:
    x = *--sp;
    pc = x ? pc + 1 : code + *pc;
    NEXT;
jmp:
    pc = code + *pc;
    NEXT;
less:
    sp--;
    sp[-1] = sp[-1] < *sp;
    NEXT;
end:
    return variable[1];
#undef NEXT
}

uint64_t kernel(unsigned rounds)
{
    uint64_t sum = 0;

    for (unsigned r = 0; r < rounds; r++)
        sum += run(program) + r;
    return sum;
}
