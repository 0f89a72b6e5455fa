/* CRC-32 by a table of bytes: a chain of dependent loads. */
#include "tools/bench/kernels/kernel.h"

static uint32_t table[256];
static uint8_t data[65536];

uint64_t kernel(unsigned rounds)
{
    uint64_t state = 1;
    uint32_t crc = ~0u;

    for (unsigned i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
        table[i] = c;
    }
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)kernel_random(&state);
    for (unsigned r = 0; r < rounds; r++)
        for (size_t i = 0; i < sizeof(data); i++)
            crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    return crc;
}
