/*
 * A UEFI program for arm64, without a library: counts its starts in a variable that the firmware keeps, says the count,
 * and resets the machine after an odd one, powers it off after an even one. tests/boot/firmware_test.py wraps it.
 *
 * Offsets are those of the tables in the UEFI specification 2.10 (4.3 system table, 4.5 runtime services, 12.4 text
 * output). There is no data but on the stack and beside the code, which is all that the wrapper maps.
 */
#include <stdint.h>

typedef uint64_t (*efi_fn)(uint64_t, ...);

#define EFI_OUT(systab) (*(uint64_t *)((systab) + 64))
#define EFI_RUNTIME(systab) (*(uint64_t *)((systab) + 88))
#define EFI_FN(table, offset) (*(efi_fn *)((table) + (offset)))
#define EFI_GET_VARIABLE 72
#define EFI_SET_VARIABLE 88
#define EFI_RESET 104
#define EFI_OUTPUT_STRING 8
#define EFI_NV_BOOT_RUNTIME 7

static void say(uint64_t systab, const char *s)
{
    uint16_t wide[128];
    unsigned n = 0;

    while (s[n] && n < 127) {
        wide[n] = (uint16_t)s[n];
        n++;
    }
    wide[n] = 0;
    EFI_FN(EFI_OUT(systab), EFI_OUTPUT_STRING)(EFI_OUT(systab), wide);
}

uint64_t efi_main(uint64_t image, uint64_t systab)
{
    static const uint16_t name[] = {'P', 'i', 'p', 'i', 't', 0};
    static const uint8_t guid[16] = {0x70, 0x69, 0x70, 0x69, 0x74, 0x20, 0x40, 0x40, 0x80, 0x80, 1, 2, 3, 4, 5, 6};
    uint64_t runtime = EFI_RUNTIME(systab), size = 1, status;
    char digit[] = {0, '\r', '\n', 0};
    uint8_t count = 0;

    (void)image;
    EFI_FN(runtime, EFI_GET_VARIABLE)((uint64_t)name, guid, 0, &size, &count);
    count++;
    status = EFI_FN(runtime, EFI_SET_VARIABLE)((uint64_t)name, guid, EFI_NV_BOOT_RUNTIME, 1, &count);
    digit[0] = status ? '!' : (char)('0' + count);
    say(systab, "\r\npipit-efi: start ");
    say(systab, digit);
    EFI_FN(runtime, EFI_RESET)(count & 1 && !status ? 0 : 2, 0, 0, 0);
    return 0;
}
