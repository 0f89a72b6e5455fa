/* Bodies that attract each other, in double precision: scalar arithmetic, divisions, square roots. */
#include "tools/bench/kernels/kernel.h"

#include <math.h>
#include <string.h>

#define BODIES 5

struct body {
    double at[3], speed[3], mass;
};

static void advance(struct body *b, double dt)
{
    for (int i = 0; i < BODIES; i++) {
        for (int k = i + 1; k < BODIES; k++) {
            double d[3], square = 0, pull;

            for (int c = 0; c < 3; c++) {
                d[c] = b[i].at[c] - b[k].at[c];
                square += d[c] * d[c];
            }
            pull = dt / (square * sqrt(square));
            for (int c = 0; c < 3; c++) {
                b[i].speed[c] -= d[c] * b[k].mass * pull;
                b[k].speed[c] += d[c] * b[i].mass * pull;
            }
        }
    }
    for (int i = 0; i < BODIES; i++)
        for (int c = 0; c < 3; c++)
            b[i].at[c] += dt * b[i].speed[c];
}

uint64_t kernel(unsigned rounds)
{
    struct body b[BODIES] = {
        {{0, 0, 0}, {0, 0, 0}, 40},
        {{5, -1, 0.25}, {0.5, 2.5, -0.125}, 0.04},
        {{8, 4, -0.5}, {-1, 1.75, 0.01}, 0.01},
        {{13, -15, -0.25}, {1, 0.75, -0.01}, 0.002},
        {{15, -26, 0.125}, {0.875, 0.5, -0.03}, 0.002},
    };
    uint64_t bits;

    for (unsigned r = 0; r < rounds; r++)
        advance(b, 0.001);
    memcpy(&bits, &b[1].at[0], sizeof(bits));
    return bits;
}
