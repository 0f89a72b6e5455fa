/* Calls through tables of functions, as methods of objects are. */
#include "tools/bench/kernels/kernel.h"

struct shape;
struct methods {
    uint64_t (*area)(const struct shape *);
    void (*grow)(struct shape *, uint64_t by);
};
struct shape {
    const struct methods *methods;
    uint64_t width, height;
};

static uint64_t rectangle_area(const struct shape *s)
{
    return s->width * s->height;
}

static uint64_t triangle_area(const struct shape *s)
{
    return s->width * s->height / 2;
}

static uint64_t diamond_area(const struct shape *s)
{
    return s->width * s->height + s->width;
}

static void grow_both(struct shape *s, uint64_t by)
{
    s->width += by;
    s->height += by;
}

static void grow_one(struct shape *s, uint64_t by)
{
    s->height ^= by;
}

static const struct methods kind[] = {
    {rectangle_area, grow_both}, {triangle_area, grow_one}, {diamond_area, grow_both}, {rectangle_area, grow_one}};

uint64_t kernel(unsigned rounds)
{
    static struct shape shape[64];
    uint64_t state = 1, sum = 0;

    for (unsigned i = 0; i < 64; i++)
        shape[i] = (struct shape){&kind[kernel_random(&state) % 4], i, i + 1};
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned i = 0; i < 64; i++) {
            struct shape *s = &shape[i];
            sum += s->methods->area(s);
            s->methods->grow(s, r & 7);
        }
    }
    return sum;
}
