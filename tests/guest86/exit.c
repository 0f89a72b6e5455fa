/*
 * Ways to end or to begin again. Arguments: do=
 *   status     with status= through the debug device
 *   mark       prints status= through the debug device, and ends with 0
 *   poweroff   through the FADT's sleep control register
 *   reset      through the FADT's reset register, until this is boot number boots=; then with status 10 + that number.
 *              Memory is kept in between: that is where the number is.
 *   triple     the same by triple faults
 *   halt       all cpus= processors halt for ever with interrupts off
 *   spin       this one spins for ever with interrupts off
 */
#include "tests/guest86/guest.h"

#define TRAMPOLINE 0x90000ul
#define BOOTS 0x98000ul
#define BOOTS_MAGIC 0x626f6f7473ul

static volatile u64 halted;

static _Noreturn void halt(void)
{
    for (;;)
        asm volatile("cli; hlt" ::: "memory");
}

void ap_main(u64 cpu)
{
    (void)cpu;
    __atomic_fetch_add(&halted, 1, __ATOMIC_RELEASE);
    halt();
}

static u64 count_boot(void)
{
    u64 n = rd64(BOOTS) == BOOTS_MAGIC ? rd64(BOOTS + 8) + 1 : 1;

    wr64(BOOTS, BOOTS_MAGIC);
    wr64(BOOTS + 8, n);
    print("boot %lu\n", n);
    if (n >= arg_number("boots", ~0ul))
        guest_exit((u32)(10 + n));
    return n;
}

static void do_poweroff(void)
{
    check("sleep-type", acpi.s5 >= 0 && acpi.s5 < 8, "\\_S5 says %d", acpi.s5);
    acpi_write_gas((u8 *)acpi.fadt + FADT_SLEEP_CONTROL, (u8)(acpi.s5 << 2 | SLEEP_CONTROL_SLP_EN));
}

static void do_reset(void)
{
    count_boot();
    acpi_write_gas((u8 *)acpi.fadt + FADT_RESET_REG, rd8((u64)acpi.fadt + FADT_RESET_VALUE));
}

static void do_triple(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) none = {0, 0};

    count_boot();
    asm volatile("lidt %0; ud2" ::"m"(none));
}

static void do_halt(void)
{
    u64 cpus = arg_number("cpus", 1);

    copy((void *)TRAMPOLINE, trampoline, (u64)(trampoline_end - trampoline));
    lapic_send(0, ICR_ALL_BUT_SELF | ICR_INIT);
    wait_for(&halted, 1, 10);
    lapic_send(0, ICR_ALL_BUT_SELF | ICR_STARTUP | TRAMPOLINE >> 12);
    wait_for(&halted, cpus - 1, 5000);
    print("%lu others halt\n", halted);
    halt();
}

int main(void)
{
    if (arg_is("do", "status"))
        guest_exit((u32)arg_number("status", 0));
    if (arg_is("do", "mark")) {
        outl(PORT_MARK, (u32)arg_number("status", 0));
        guest_exit(0);
    }
    if (!check("acpi", acpi_read(), "tables"))
        return 1;
    lapic_init(0);
    tsc_per_ms();
    if (arg_is("do", "poweroff"))
        do_poweroff();
    else if (arg_is("do", "reset"))
        do_reset();
    else if (arg_is("do", "triple"))
        do_triple();
    else if (arg_is("do", "halt"))
        do_halt();
    else if (arg_is("do", "spin"))
        for (print("spinning\n");;)
            irq_off();
    wait_for(&halted, ~0ul, 1000);
    check("end", 0, "still here after a second");
    return 1;
}
