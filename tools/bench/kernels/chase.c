/* Pointers that lead through memory in no order. */
#include "tools/bench/kernels/kernel.h"

#define NODES 4096

struct node {
    struct node *next;
    uint64_t value;
};

static struct node node[NODES];

uint64_t kernel(unsigned rounds)
{
    uint64_t state = 1, sum = 0;
    uint16_t order[NODES];

    for (unsigned i = 0; i < NODES; i++)
        order[i] = (uint16_t)i;
    for (unsigned i = NODES - 1; i; i--) {
        unsigned k = (unsigned)(kernel_random(&state) % (i + 1));
        uint16_t other = order[k];
        order[k] = order[i];
        order[i] = other;
    }
    for (unsigned i = 0; i < NODES; i++)
        node[order[i]] = (struct node){&node[order[(i + 1) % NODES]], i};
    for (unsigned r = 0; r < rounds; r++) {
        const struct node *n = &node[0];
        for (unsigned i = 0; i < NODES; i++) {
            sum += n->value * (r + i);
            n = n->next;
        }
    }
    return sum;
}
