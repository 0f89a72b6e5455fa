/* A picture of bytes made smoother by 1 2 1 in both directions, eight pixels at a time. */
#include "tools/bench/kernels/kernel.h"

#define WIDTH 256
#define HEIGHT 128

static uint8_t picture[HEIGHT][WIDTH], middle[HEIGHT][WIDTH];

#ifdef __ARM_NEON
#include <arm_neon.h>

static uint16x8_t wide(const uint8_t *p)
{
    return vmovl_u8(vld1_u8(p));
}

static void smooth(const uint8_t *before, const uint8_t *at, const uint8_t *after, uint8_t *to)
{
    uint16x8_t sum = vaddq_u16(vaddl_u8(vld1_u8(before), vld1_u8(after)), vshlq_n_u16(wide(at), 1));

    vst1_u8(to, vrshrn_n_u16(sum, 2));
}
#else
#include <emmintrin.h>

static __m128i wide(const uint8_t *p)
{
    return _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)p), _mm_setzero_si128());
}

static void smooth(const uint8_t *before, const uint8_t *at, const uint8_t *after, uint8_t *to)
{
    __m128i sum = _mm_add_epi16(_mm_add_epi16(wide(before), wide(after)), _mm_slli_epi16(wide(at), 1));

    sum = _mm_srli_epi16(_mm_add_epi16(sum, _mm_set1_epi16(2)), 2);
    _mm_storel_epi64((__m128i *)to, _mm_packus_epi16(sum, sum));
}
#endif

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
