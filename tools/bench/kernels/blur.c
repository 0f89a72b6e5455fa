/* A picture of bytes made smoother by 1 2 1 in both directions, eight pixels at a time. */
#include "tools/bench/kernels/kernel.h"

#include <string.h>

#define WIDTH 256
#define HEIGHT 128

typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));

static uint8_t picture[HEIGHT][WIDTH], middle[HEIGHT][WIDTH];

static u16x8 wide(const uint8_t *p)
{
    u8x8 v;

    memcpy(&v, p, sizeof(v));
    return __builtin_convertvector(v, u16x8);
}

static void smooth(const uint8_t *before, const uint8_t *at, const uint8_t *after, uint8_t *to)
{
    u8x8 v = __builtin_convertvector((wide(before) + wide(at) * 2 + wide(after) + 2) >> 2, u8x8);

    memcpy(to, &v, sizeof(v));
}

uint64_t kernel(unsigned rounds)
{
    uint64_t state = 1, sum = 0;

    for (unsigned r = 0; r < rounds; r++) {
        for (int i = 0; i < 64; i++) {
            uint64_t x = kernel_random(&state);
            picture[x % HEIGHT][x / HEIGHT % WIDTH] = (uint8_t)(x >> 32);
        }
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 8; x < WIDTH - 8; x += 8)
                smooth(&picture[y][x - 1], &picture[y][x], &picture[y][x + 1], &middle[y][x]);
        for (int y = 1; y < HEIGHT - 1; y++)
            for (int x = 0; x < WIDTH; x += 8)
                smooth(&middle[y - 1][x], &middle[y][x], &middle[y + 1][x], &picture[y][x]);
    }
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            sum = sum * 31 + picture[y][x];
    return sum;
}
