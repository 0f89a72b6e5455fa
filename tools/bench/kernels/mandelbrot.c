/* The Mandelbrot set in double precision: short loops of scalar arithmetic and comparisons. */
#include "tools/bench/kernels/kernel.h"

#define SIDE 64
#define LIMIT 200

uint64_t kernel(unsigned rounds)
{
    uint64_t sum = 0;

    for (unsigned r = 0; r < rounds; r++) {
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++) {
                double cr = x * (3.0 / SIDE) - 2.0, ci = y * (2.0 / SIDE) - 1.0, zr = 0, zi = 0;
                unsigned n = 0;

                while (n < LIMIT && zr * zr + zi * zi < 4.0) {
                    double next = zr * zr - zi * zi + cr;
                    zi = 2 * zr * zi + ci;
                    zr = next;
                    n++;
                }
                sum = sum * 5 + n;
            }
        }
    }
    return sum;
}
