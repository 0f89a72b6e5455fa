/* Matrices of f32, four columns at a time; the values are small integers, so that the sums are exact. */
#include "tools/bench/kernels/kernel.h"

#define N 64

typedef float f32x4 __attribute__((vector_size(16)));

static float a[N][N];
static f32x4 b[N][N / 4], c[N][N / 4];

static void multiply(void)
{
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N / 4; k += 4) {
            f32x4 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};

            for (int m = 0; m < N; m++) {
                s0 += a[i][m] * b[m][k];
                s1 += a[i][m] * b[m][k + 1];
                s2 += a[i][m] * b[m][k + 2];
                s3 += a[i][m] * b[m][k + 3];
            }
            c[i][k] = s0;
            c[i][k + 1] = s1;
            c[i][k + 2] = s2;
            c[i][k + 3] = s3;
        }
    }
}

uint64_t kernel(unsigned rounds)
{
    uint64_t state = 1, sum = 0;

    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++) {
            a[i][k] = (float)(kernel_random(&state) % 16) - 8;
            b[i][k / 4][k % 4] = (float)(kernel_random(&state) % 16) - 8;
        }
    }
    for (unsigned r = 0; r < rounds; r++) {
        a[r % N][r / N % N] += 1;
        multiply();
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++)
            sum = sum * 31 + (uint64_t)(int64_t)c[i][k / 4][k % 4];
    return sum;
}
