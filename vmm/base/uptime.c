/* Marks in the life of this process, as CLOCK_MONOTONIC nanoseconds. */
#include "vmm/base/uptime.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t uptime_exec, uptime_vcpu; /* 0: no mark */

static uint64_t uptime_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t uptime_cpu(void)
{
    return uptime_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void uptime_mark_exec(void)
{
    atomic_store(&uptime_exec, uptime_clock(CLOCK_MONOTONIC) - uptime_cpu());
}

void uptime_mark_vcpu(void)
{
    uint64_t none = 0;

    atomic_compare_exchange_strong(&uptime_vcpu, &none, uptime_clock(CLOCK_MONOTONIC));
}

static uint64_t uptime_since(uint64_t mark)
{
    return mark ? uptime_clock(CLOCK_MONOTONIC) - mark : 0;
}

uint64_t uptime_since_exec(void)
{
    return uptime_since(atomic_load(&uptime_exec));
}

uint64_t uptime_since_vcpu(void)
{
    return uptime_since(atomic_load(&uptime_vcpu));
}
