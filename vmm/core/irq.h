/*
 * Interrupt lines. A device holds a line and raises or lowers it; the interrupt controller behind it is a leaf: it
 * may take its own lock and kick vCPUs, and calls no device.
 */
#ifndef PIPIT_CORE_IRQ_H
#define PIPIT_CORE_IRQ_H

#include <stdbool.h>

struct irq_line {
    void (*set)(void *opaque, unsigned num, bool level); /* callable from any thread; NULL: not connected */
    void *opaque;
    unsigned num;
};

static inline void irq_set(const struct irq_line *l, bool level)
{
    if (l->set)
        l->set(l->opaque, l->num, level);
}

#endif
