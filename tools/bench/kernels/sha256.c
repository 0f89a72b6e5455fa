/* SHA-256's compression function (FIPS 180-4): rotations and additions. Its constants are made here. */
#include "tools/bench/kernels/kernel.h"

static uint32_t round_constant[64];

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

/* The first 32 bits of the fractional part of a prime's cube root, by integers. */
static uint32_t cube_root_fraction(uint64_t prime)
{
    uint64_t root = 0;

    for (int bit = 34; bit >= 0; bit--) {
        uint64_t next = root | UINT64_C(1) << bit;
        if ((unsigned __int128)next * next * next <= (unsigned __int128)prime << 96)
            root = next;
    }
    return (uint32_t)root;
}

static void constants(void)
{
    unsigned n = 0;

    for (unsigned candidate = 2; n < 64; candidate++) {
        unsigned factor = 2;
        while (candidate % factor)
            factor++;
        if (factor == candidate)
            round_constant[n++] = cube_root_fraction(candidate);
    }
}

static void compress(uint32_t h[8], const uint32_t block[16])
{
    uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];

    for (int i = 0; i < 16; i++)
        w[i] = block[i];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t t1 = k + s1 + ((e & f) ^ (~e & g)) + round_constant[i] + w[i];
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        k = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
}

uint64_t kernel(unsigned rounds)
{
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint32_t block[16] = {0};

    constants();
    for (unsigned r = 0; r < rounds; r++) {
        block[r % 16] += h[r % 8];
        compress(h, block);
    }
    return (uint64_t)h[0] << 32 | h[7];
}
