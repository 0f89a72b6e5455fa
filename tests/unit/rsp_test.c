/* GDB's remote protocol: packets from bytes and back, the notations within, registers and signals by GDB's numbers. */
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "vmm/service/gdbstub/a64.h"
#include "vmm/service/gdbstub/rsp.h"
#include "vmm/service/gdbstub/signals.h"

static struct rsp r;

/* The last event that is not RSP_NOTHING. */
static enum rsp_event feed(const char *bytes, size_t n)
{
    enum rsp_event last = RSP_NOTHING;

    for (size_t i = 0; i < n; i++) {
        enum rsp_event e = rsp_feed(&r, (uint8_t)bytes[i]);
        last = e == RSP_NOTHING ? last : e;
    }
    return last;
}

static enum rsp_event say(const char *text)
{
    return feed(text, strlen(text));
}

static void packets(void)
{
    rsp_init(&r);
    CHECK_EQ(say("+$g#67"), RSP_PACKET);
    CHECK(!strcmp(r.in, "g") && r.in_len == 1);
    CHECK_EQ(say("$#00"), RSP_PACKET);
    CHECK_EQ(r.in_len, 0);
    CHECK_EQ(say("$X}\x03,}]#de"), RSP_PACKET); /* X, 0x23, ',', 0x7d */
    CHECK_EQ(r.in_len, 4);
    CHECK(!memcmp(r.in, "X#,}", 4));
    CHECK_EQ(say("$g#68"), RSP_REFUSED);
    CHECK_EQ(say("$g#6x"), RSP_REFUSED);
    CHECK_EQ(say("$g#x7"), RSP_REFUSED);
    CHECK_EQ(say("$broken$g#67"), RSP_PACKET);
    CHECK(!strcmp(r.in, "g"));
    CHECK_EQ(say("\x03"), RSP_BREAK);
    CHECK_EQ(say("$g\x03#6a"), RSP_PACKET); /* not between packets: a byte like any other */
    CHECK_EQ(say("-"), RSP_AGAIN);
    r.no_ack = true;
    CHECK_EQ(say("-"), RSP_NOTHING);
}

static void too_long(void)
{
    size_t n = RSP_PACKET_MAX + 1000;
    char *big = malloc(n + 4);
    uint8_t sum = 0;

    CHECK(big);
    big[0] = '$';
    for (size_t i = 1; i <= n; i++)
        sum += (uint8_t)(big[i] = (char)('a' + i % 26));
    snprintf(big + n + 1, 3, "#%c", "0123456789abcdef"[sum >> 4]);
    big[n + 3] = "0123456789abcdef"[sum & 15];
    rsp_init(&r);
    CHECK_EQ(feed(big, n + 4), RSP_PACKET);
    CHECK_EQ(r.in_len, 0);
    CHECK_EQ(say("$g#67"), RSP_PACKET);
    free(big);
}

/* What is sent is what another end of it receives. */
static void there_and_back(void)
{
    static struct rsp other;
    uint8_t all[256], big[RSP_PACKET_MAX];

    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    rsp_init(&r);
    rsp_init(&other);
    rsp_begin(&other);
    rsp_put(&other, all, sizeof(all));
    rsp_end(&other);
    CHECK_EQ(feed(other.out, other.out_len), RSP_PACKET);
    CHECK_EQ(r.in_len, 256);
    CHECK(!memcmp(r.in, all, 256));

    memset(big, '#', sizeof(big));
    rsp_begin(&other);
    rsp_put(&other, big, sizeof(big));
    CHECK(rsp_room(&other) < 8);
    rsp_put(&other, big, sizeof(big)); /* cut off */
    rsp_hex(&other, big, sizeof(big));
    rsp_number(&other, UINT64_MAX);
    rsp_end(&other);
    CHECK(other.out_len <= sizeof(other.out));
    CHECK_EQ(feed(other.out, other.out_len), RSP_PACKET);
}

static bool replies(const char *want)
{
    rsp_end(&r);
    if (r.out_len == strlen(want) && !memcmp(r.out, want, r.out_len))
        return true;
    printf("  \"%.*s\", not \"%s\"\n", (int)r.out_len, r.out, want);
    return false;
}

static void replies_are_framed(void)
{
    rsp_init(&r);
    rsp_begin(&r);
    rsp_number(&r, 0);
    rsp_text(&r, ",");
    rsp_number(&r, 0x1f00);
    rsp_text(&r, ";");
    rsp_thread(&r, 31, 42);
    rsp_text(&r, " ");
    rsp_thread(&r, 0, 42);
    CHECK(replies("$0,1f00;p1f.2a 2a#09"));
    rsp_error(&r, 14);
    CHECK(r.out_len == 7 && !memcmp(r.out, "$E0e#da", 7));
}

static void notations(void)
{
    const char *p = "1f,ffffffffffffffff:";
    uint64_t a, b;
    uint8_t bytes[4];
    char text[4];
    struct rsp_thread t;

    CHECK(rsp_take_range(&p, &a, &b) && a == 0x1f && b == UINT64_MAX && *p == ':');
    p = "10000000000000000";
    CHECK(!rsp_take_number(&p, &a));
    p = "";
    CHECK(!rsp_take_number(&p, &a));
    p = "0102fFzz";
    CHECK(rsp_take_hex(&p, bytes, 3) && bytes[2] == 0xff && !rsp_take_hex(&p, bytes, 1));
    p = "01020";
    CHECK(!rsp_take_hex(&p, bytes, 4));
    p = "6162,";
    CHECK(rsp_take_string(&p, text, sizeof(text)) && !strcmp(text, "ab") && *p == ',');
    p = "61626364";
    CHECK(!rsp_take_string(&p, text, sizeof(text)));
    p = "p1f.-1;";
    CHECK(rsp_take_thread(&p, &t) && t.has_process && t.process == 0x1f && t.thread == RSP_ALL && *p == ';');
    p = "p-1";
    CHECK(rsp_take_thread(&p, &t) && t.process == RSP_ALL && t.thread == RSP_ALL);
    p = "0";
    CHECK(rsp_take_thread(&p, &t) && !t.has_process && t.thread == RSP_ANY);
    p = "ffffffff";
    CHECK(!rsp_take_thread(&p, &t));
    p = "p1.";
    CHECK(!rsp_take_thread(&p, &t));
}

static void signal_numbers(void)
{
    CHECK_EQ(gdb_signal_from_linux(7), 10);  /* SIGBUS */
    CHECK_EQ(gdb_signal_from_linux(10), 30); /* SIGUSR1 */
    CHECK_EQ(gdb_signal_from_linux(17), 20); /* SIGCHLD */
    CHECK_EQ(gdb_signal_from_linux(34), 46); /* SIGRTMIN of libc */
    CHECK_EQ(gdb_signal_from_linux(64), 78);
    CHECK_EQ(gdb_signal_from_linux(16), 143); /* SIGSTKFLT: none */
    for (unsigned sig = 1; sig <= 64; sig++) {
        unsigned gdb = gdb_signal_from_linux(sig);
        if (gdb != 143)
            CHECK_EQ(gdb_signal_to_linux(gdb), sig);
    }
    CHECK_EQ(gdb_signal_to_linux(143), 0);
    CHECK_EQ(gdb_signal_to_linux(7), 0); /* SIGEMT */
    CHECK_EQ(gdb_signal_to_linux(255), 0);
}

static bool read_system(struct arm64_cpu *c, uint32_t enc, uint64_t *value)
{
    (void)c;
    *value = enc * UINT64_C(3);
    return enc != 2;
}

static void registers(void)
{
    static const struct a64_gdb_sysreg system[] = {{"ONE", 1}, {"TWO", 2}};
    const struct a64_gdb g = {.cpsr_write = PSTATE_SSBS,
                              .fpcr_write = 0xff00,
                              .fpsr_write = 0x1f,
                              .system = system,
                              .nsystem = 2,
                              .read_system = read_system};
    static struct arm64_cpu c;
    static char xml[A64_GDB_XML_MAX];
    uint8_t v[A64_GDB_REG_MAX] = {0}, w[A64_GDB_REG_MAX];
    size_t sum = 0;

    for (unsigned n = 0; n < A64_GDB_SYSTEM; n++) {
        size_t size = a64_gdb_size(&g, n);
        sum += size;
        memset(v, 0, sizeof(v));
        v[0] = (uint8_t)n;
        if (n == A64_GDB_CPSR)
            v[3] = 0x60;
        if (n == A64_GDB_CPSR || n == A64_GDB_FPCR)
            v[0] = 0;
        if (n == A64_GDB_FPSR)
            v[0] = 3;
        CHECK(a64_gdb_write(&g, &c, n, v));
        CHECK(a64_gdb_read(&g, &c, n, w));
        CHECK(!memcmp(v, w, size));
    }
    CHECK_EQ(sum, 33 * 8 + 4 + 32 * 16 + 4 + 4 + 8);
    CHECK_EQ(c.x[5], 5);
    CHECK_EQ(c.pc, A64_GDB_PC);
    CHECK_EQ(arm64_nzcv(&c), PSTATE_Z | PSTATE_C);
    CHECK_EQ(c.v[3].b[0], A64_GDB_V0 + 3);
    CHECK(a64_gdb_read(&g, &c, A64_GDB_SYSTEM, v) && v[0] == 3);
    CHECK(!a64_gdb_read(&g, &c, A64_GDB_SYSTEM + 1, v));
    CHECK(!a64_gdb_write(&g, &c, A64_GDB_SYSTEM, v));
    CHECK_EQ(a64_gdb_size(&g, A64_GDB_SYSTEM + 2), 0);
    CHECK(!a64_gdb_read(&g, &c, A64_GDB_SYSTEM + 2, v));
    size_t len = a64_gdb_xml(&g, xml, sizeof(xml));
    CHECK(len && len == strlen(xml));
    CHECK(strstr(xml, "<reg name=\"x30\" bitsize=\"64\"/>") && strstr(xml, "name=\"TWO\"") && strstr(xml, "</target>"));
    CHECK_EQ(a64_gdb_xml(&g, xml, 1000), 0);
}

int main(void)
{
    RUN(packets);
    RUN(too_long);
    RUN(there_and_back);
    RUN(replies_are_framed);
    RUN(notations);
    RUN(signal_numbers);
    RUN(registers);
    return check_done();
}
