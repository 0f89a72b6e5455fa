/*
 * AML encoding. Lengths stand before what they count and are of one to several bytes themselves, so they are put in at
 * the end; what was written since the begin moves up, a few kilobytes for a list of devices.
 */
#include "arch/acpi/aml.h"

#include "vmm/base/util.h"

#define AML_ZERO 0x00
#define AML_ONE 0x01
#define AML_NAME 0x08
#define AML_BYTE 0x0a
#define AML_WORD 0x0b
#define AML_DWORD 0x0c
#define AML_STRING 0x0d
#define AML_QWORD 0x0e
#define AML_SCOPE 0x10
#define AML_BUFFER 0x11
#define AML_PACKAGE 0x12
#define AML_METHOD 0x14
#define AML_EXT 0x5b
#define AML_EXT_DEVICE 0x82
#define AML_NOTIFY 0x86

#define AML_METHOD_ONE_ARGUMENT 0x01
#define AML_METHOD_SERIALIZED 0x08

#define AML_INT_SIZE 9 /* the longest */

#define RES_IO 0x47
#define RES_END 0x79
#define RES_MEMORY32_FIXED 0x86
#define RES_INTERRUPT 0x89
#define RES_QWORD 0x8a

#define RES_IO_DECODE_16 0x01
#define RES_READ_WRITE 0x01
#define RES_INTERRUPT_CONSUMER 0x01
#define RES_INTERRUPT_EDGE 0x02
#define RES_QWORD_MEMORY 0x00
#define RES_QWORD_FIXED 0x0d /* consumed, not passed on to a bus below; minimum and maximum are the address */
#define RES_QWORD_LENGTH 43

/* ---- package lengths (20.2.4) ---- */

void aml_end(struct acpi_buf *b, uint64_t begun)
{
    uint64_t body = b->used - begun, total;
    unsigned n = 1;
    uint8_t len[4];

    /* One byte holds 6 bits; of more, the first holds how many follow and the low 4 bits. */
    while (n < 4 && body + n >= (n == 1 ? UINT64_C(1) << 6 : UINT64_C(1) << (4 + 8 * (n - 1))))
        n++;
    total = body + n;
    len[0] = n == 1 ? (uint8_t)total : (uint8_t)((n - 1) << 6 | (total & 0xf));
    for (unsigned i = 1; i < n; i++)
        len[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
    acpi_insert(b, begun, len, n);
}

uint64_t aml_begin_scope(struct acpi_buf *b, const char name[4])
{
    uint64_t begun;

    acpi_put_int(b, AML_SCOPE, 1);
    begun = b->used;
    acpi_put(b, name, 4);
    return begun;
}

uint64_t aml_begin_device(struct acpi_buf *b, const char name[4])
{
    uint64_t begun;

    acpi_put_int(b, AML_EXT, 1);
    acpi_put_int(b, AML_EXT_DEVICE, 1);
    begun = b->used;
    acpi_put(b, name, 4);
    return begun;
}

uint64_t aml_begin_package(struct acpi_buf *b, uint8_t elements)
{
    uint64_t begun;

    acpi_put_int(b, AML_PACKAGE, 1);
    begun = b->used;
    acpi_put_int(b, elements, 1);
    return begun;
}

uint64_t aml_begin_method(struct acpi_buf *b, const char name[4])
{
    uint64_t begun;

    acpi_put_int(b, AML_METHOD, 1);
    begun = b->used;
    acpi_put(b, name, 4);
    acpi_put_int(b, AML_METHOD_ONE_ARGUMENT | AML_METHOD_SERIALIZED, 1);
    return begun;
}

uint64_t aml_begin_resources(struct acpi_buf *b)
{
    acpi_put_int(b, AML_BUFFER, 1);
    return b->used;
}

void aml_end_resources(struct acpi_buf *b, uint64_t begun)
{
    uint8_t size[AML_INT_SIZE];
    struct acpi_buf s = {.data = size, .size = sizeof(size)};

    acpi_put_int(b, RES_END, 1);
    acpi_put_zeroes(b, 1); /* a checksum of zero is taken for right */
    aml_int(&s, b->used - begun);
    acpi_insert(b, begun, size, s.used);
    aml_end(b, begun);
}

/* ---- data objects (20.2.3) ---- */

void aml_name(struct acpi_buf *b, const char name[4])
{
    acpi_put_int(b, AML_NAME, 1);
    acpi_put(b, name, 4);
}

void aml_int(struct acpi_buf *b, uint64_t v)
{
    static const uint8_t prefix[] = {AML_BYTE, AML_WORD, AML_DWORD, AML_QWORD};
    unsigned log = v > UINT32_MAX ? 3 : v > UINT16_MAX ? 2 : v > UINT8_MAX ? 1 : 0;

    if (v <= 1) {
        acpi_put_int(b, v ? AML_ONE : AML_ZERO, 1);
        return;
    }
    acpi_put_int(b, prefix[log], 1);
    acpi_put_int(b, v, 1u << log);
}

void aml_string(struct acpi_buf *b, const char *s)
{
    acpi_put_int(b, AML_STRING, 1);
    acpi_put(b, s, strlen(s) + 1);
}

void aml_notify(struct acpi_buf *b, const char name[4], uint8_t v)
{
    acpi_put_int(b, AML_NOTIFY, 1);
    acpi_put(b, name, 4);
    aml_int(b, v);
}

/* ---- resource descriptors ---- */

void aml_io(struct acpi_buf *b, uint16_t base, uint8_t len)
{
    acpi_put_int(b, RES_IO, 1);
    acpi_put_int(b, RES_IO_DECODE_16, 1);
    acpi_put_int(b, base, 2);
    acpi_put_int(b, base, 2);
    acpi_put_int(b, 1, 1); /* alignment */
    acpi_put_int(b, len, 1);
}

static void aml_memory_qword(struct acpi_buf *b, uint64_t base, uint64_t len)
{
    acpi_put_int(b, RES_QWORD, 1);
    acpi_put_int(b, RES_QWORD_LENGTH, 2);
    acpi_put_int(b, RES_QWORD_MEMORY, 1);
    acpi_put_int(b, RES_QWORD_FIXED, 1);
    acpi_put_int(b, RES_READ_WRITE, 1);
    acpi_put_int(b, 0, 8); /* granularity */
    acpi_put_int(b, base, 8);
    acpi_put_int(b, base + (len - 1), 8);
    acpi_put_int(b, 0, 8); /* translation */
    acpi_put_int(b, len, 8);
}

void aml_memory(struct acpi_buf *b, uint64_t base, uint64_t len)
{
    if (!range_within(base, len, GIB(4)) || len > UINT32_MAX) {
        aml_memory_qword(b, base, len);
        return;
    }
    acpi_put_int(b, RES_MEMORY32_FIXED, 1);
    acpi_put_int(b, 9, 2);
    acpi_put_int(b, RES_READ_WRITE, 1);
    acpi_put_int(b, base, 4);
    acpi_put_int(b, len, 4);
}

void aml_interrupt(struct acpi_buf *b, uint32_t gsi, bool level)
{
    acpi_put_int(b, RES_INTERRUPT, 1);
    acpi_put_int(b, 6, 2);
    acpi_put_int(b, RES_INTERRUPT_CONSUMER | (level ? 0 : RES_INTERRUPT_EDGE), 1);
    acpi_put_int(b, 1, 1); /* one interrupt */
    acpi_put_int(b, gsi, 4);
}
