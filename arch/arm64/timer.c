/*
 * The generic timer of one vCPU: the EL1 virtual and physical timers, Arm ARM D11.
 *
 * Both count virtual time, ns / 16 (CNTVOFF is 0). A timer's line is level: high while it is enabled, not masked and
 * the counter has reached CVAL. It is evaluated after each register write and when the host timer fires. A host timer
 * that is armed earlier than needed is left alone, and looks again when it fires: kernels move their deadline far more
 * often than one passes, and each arming is a system call.
 *
 * Registers are written by the vCPU's thread, expiry runs on the loop thread: `lock` orders them, and is held while the
 * line is driven, so that levels reach the interrupt controller in order.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "arch/arm64/internal.h"

#define NS_SHIFT 4 /* one tick is 16 ns: CNTFRQ is 62.5 MHz */
#define NEVER UINT64_MAX

#define CTL_ENABLE BIT64(0)
#define CTL_IMASK BIT64(1)
#define CTL_ISTATUS BIT64(2)

struct channel {
    struct arm64_timer *timer;
    struct irq_line line;
    struct loop_timer *host;
    uint64_t ctl, cval;
    uint64_t armed; /* count at which `host` will fire at the latest; NEVER: not armed */
    bool level;
};

struct arm64_timer {
    pthread_mutex_t lock;
    struct clock *clk;
    struct arm64_cpu *cpu;
    struct channel ch[ARM64_TIMER_COUNT];
};

uint64_t arm64_timer_count(struct arm64_timer *t)
{
    return clock_now(t->clk) >> NS_SHIFT;
}

static void arm(struct channel *ch)
{
    /* A count that virtual nanoseconds cannot express is centuries away. */
    if (ch->cval >= ch->armed || ch->cval >= UINT64_MAX >> NS_SHIFT)
        return;
    ch->armed = ch->cval;
    loop_timer_set(ch->host, clock_to_host(ch->timer->clk, ch->cval << NS_SHIFT));
}

static bool expired(const struct channel *ch)
{
    return (ch->ctl & CTL_ENABLE) && arm64_timer_count(ch->timer) >= ch->cval;
}

static void evaluate(struct channel *ch)
{
    bool fired = expired(ch);
    bool level = fired && !(ch->ctl & CTL_IMASK);

    if ((ch->ctl & CTL_ENABLE) && !(ch->ctl & CTL_IMASK) && !fired)
        arm(ch);
    if (level != ch->level) {
        ch->level = level;
        irq_set(&ch->line, level);
    }
}

/* On the loop thread. */
static void on_host_timer(void *opaque)
{
    struct channel *ch = opaque;

    pthread_mutex_lock(&ch->timer->lock);
    ch->armed = NEVER;
    evaluate(ch);
    pthread_mutex_unlock(&ch->timer->lock);
}

uint64_t arm64_timer_read(struct arm64_timer *t, enum arm64_timer_which w, unsigned op2)
{
    struct channel *ch = &t->ch[w];
    uint64_t val;

    pthread_mutex_lock(&t->lock);
    switch (op2) {
    case 0: val = (uint32_t)(ch->cval - arm64_timer_count(t)); break;
    case 1:
        evaluate(ch); /* the guest sees ISTATUS and the line agree */
        val = ch->ctl | (expired(ch) ? CTL_ISTATUS : 0);
        break;
    default: val = ch->cval; break;
    }
    pthread_mutex_unlock(&t->lock);
    return val;
}

void arm64_timer_write(struct arm64_timer *t, enum arm64_timer_which w, unsigned op2, uint64_t val)
{
    struct channel *ch = &t->ch[w];

    pthread_mutex_lock(&t->lock);
    switch (op2) {
    case 0: ch->cval = arm64_timer_count(t) + (uint64_t)sext64(val, 32); break;
    case 1: ch->ctl = val & (CTL_ENABLE | CTL_IMASK); break;
    default: ch->cval = val; break;
    }
    evaluate(ch);
    pthread_mutex_unlock(&t->lock);
}

void arm64_timer_resync(struct arm64_timer *t)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        t->ch[i].armed = NEVER; /* the host time of a count has moved */
        evaluate(&t->ch[i]);
    }
    pthread_mutex_unlock(&t->lock);
}

void arm64_timer_reset(struct arm64_timer *t)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        t->ch[i].ctl = t->ch[i].cval = 0;
        evaluate(&t->ch[i]);
    }
    pthread_mutex_unlock(&t->lock);
}

void arm64_timer_save(struct arm64_timer *t, struct state_writer *w)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        state_put_u64(w, t->ch[i].ctl);
        state_put_u64(w, t->ch[i].cval);
    }
    pthread_mutex_unlock(&t->lock);
}

void arm64_timer_load(struct arm64_timer *t, struct state_reader *r)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        t->ch[i].ctl = state_get_u64(r) & (CTL_ENABLE | CTL_IMASK);
        t->ch[i].cval = state_get_u64(r);
    }
    pthread_mutex_unlock(&t->lock);
    arm64_timer_resync(t);
}

int arm64_timer_create(struct arm64_timer **out, struct arm64_cpu *c, struct clock *clk, struct loop *l,
                       struct irq_line virt, struct irq_line phys)
{
    struct arm64_timer *t = calloc(1, sizeof(*t));
    int ret;

    if (!t)
        return -ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    t->clk = clk;
    t->cpu = c;
    t->ch[ARM64_TIMER_VIRT].line = virt;
    t->ch[ARM64_TIMER_PHYS].line = phys;
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        t->ch[i].timer = t;
        t->ch[i].armed = NEVER;
        ret = loop_timer_add(l, &t->ch[i].host, on_host_timer, &t->ch[i]);
        if (ret)
            goto fail;
    }
    c->timer = t;
    *out = t;
    return 0;

fail:
    arm64_timer_destroy(t);
    return ret;
}

void arm64_timer_destroy(struct arm64_timer *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        if (t->ch[i].host)
            loop_timer_remove(t->ch[i].host);
    }
    if (t->cpu->timer == t)
        t->cpu->timer = NULL;
    pthread_mutex_destroy(&t->lock);
    free(t);
}
