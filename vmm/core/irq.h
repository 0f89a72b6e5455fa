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
    bool edge; /* each rise is an interrupt, and the level is none */
};

static inline void irq_set(const struct irq_line *l, bool level)
{
    if (l->set)
        l->set(l->opaque, l->num, level);
}

/* Raises a line that may be up already, for one more cause: an edge triggered one has to rise anew. */
static inline void irq_raise(const struct irq_line *l)
{
    if (l->edge)
        irq_set(l, false);
    irq_set(l, true);
}

#endif
