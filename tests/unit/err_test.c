/* Errors, log lines, option lists, sizes, words. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/err.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/base/options.h"

static void err_set_records_code_and_sentence(void)
{
    struct err e = {0};

    CHECK(err_set(&e, ENOENT, "%s is missing", "disk.img") == -ENOENT);
    CHECK_EQ(e.code, ENOENT);
    CHECK(!strcmp(e.msg, "disk.img is missing"));
    CHECK(err_set(NULL, EIO, "x") == -EIO);
}

static void err_prefix_keeps_the_code(void)
{
    struct err e = {0};

    err_set(&e, EACCES, "cannot open");
    CHECK(err_prefix(&e, "%s %d", "disk", 3) == -EACCES);
    CHECK(!strcmp(e.msg, "disk 3: cannot open"));
    err_set(&e, EACCES, "again: %s", e.msg);
    CHECK(!strcmp(e.msg, "again: disk 3: cannot open"));
}

static void err_status_goes_with_its_cause(void)
{
    struct err e;

    CHECK(err_set_status(&e, ERR_STATUS_KERNEL_ARCH, ENOEXEC, "%s is for %s", "vmlinuz", "RISC-V") == -ENOEXEC);
    CHECK_EQ(e.code, ENOEXEC);
    CHECK_EQ(e.status, ERR_STATUS_KERNEL_ARCH);
    CHECK(!strcmp(e.msg, "vmlinuz is for RISC-V"));
    err_prefix(&e, "virt");
    CHECK_EQ(e.status, ERR_STATUS_KERNEL_ARCH);
    err_set(&e, EIO, "another cause");
    CHECK_EQ(e.status, ERR_STATUS_NONE);
    CHECK(err_set_status(NULL, ERR_STATUS_CPUS, EINVAL, "x") == -EINVAL);
}

static void err_long_texts_are_cut_and_terminated(void)
{
    struct err e = {0};
    char big[2000];

    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    err_set(&e, EIO, "%s", big);
    CHECK_EQ(strlen(e.msg), sizeof(e.msg) - 1);
    err_prefix(&e, "p");
    CHECK_EQ(strlen(e.msg), sizeof(e.msg) - 1);
    CHECK(!strncmp(e.msg, "p: aaa", 6));
    err_prefix(&e, "%s", big);
    CHECK_EQ(strlen(e.msg), sizeof(e.msg) - 1);
}

static int log_pipe[2];

static size_t log_take(char *buf, size_t size)
{
    ssize_t n = read(log_pipe[0], buf, size - 1);

    n = n < 0 ? 0 : n;
    buf[n] = '\0';
    return (size_t)n;
}

static void log_lines_are_whole_and_clean(void)
{
    char buf[4096], big[3000];

    CHECK(pipe2(log_pipe, O_NONBLOCK) == 0);
    log_set_fd(log_pipe[1]);
    log_set_name("prog");
    log_error("blk0", "bad \x1b[31m %d", 7);
    log_take(buf, sizeof(buf));
    CHECK(!strcmp(buf, "prog: error: blk0: bad ?[31m 7\n"));
    log_debug("x", "dropped");
    CHECK_EQ(log_take(buf, sizeof(buf)), 0);
    memset(big, 'b', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    log_info(NULL, "%s", big);
    CHECK_EQ(log_take(buf, sizeof(buf)), 1024);
    CHECK(buf[1023] == '\n' && !memcmp(buf, "prog: bbb", 9));
}

static void log_guest_is_rate_limited(void)
{
    char buf[8192];
    unsigned lines = 0;

    for (int i = 0; i < 1000; i++)
        log_guest("dev", "line %d", i);
    log_take(buf, sizeof(buf));
    for (char *p = buf; (p = strchr(p, '\n')); p++)
        lines++;
    CHECK_EQ(lines, 10);
    log_set_fd(2);
    log_set_name("pipit");
}

static void options_split_and_escape(void)
{
    struct options o;
    struct err e;

    CHECK(options_parse(&o, "user,id=net0,file=a,,b=c,readonly", "type", &e) == 0);
    CHECK_EQ(o.n, 4);
    CHECK(!strcmp(options_get(&o, "type"), "user"));
    CHECK(!strcmp(options_get(&o, "file"), "a,b=c"));
    CHECK(!strcmp(options_unused(&o), "id"));
    CHECK(!strcmp(options_get(&o, "id"), "net0"));
    CHECK(!strcmp(options_get(&o, "readonly"), ""));
    CHECK(options_get(&o, "none") == NULL);
    CHECK(options_unused(&o) == NULL);
    options_free(&o);

    CHECK(options_parse(&o, "", "type", &e) == 0);
    CHECK_EQ(o.n, 0);
    options_free(&o);
    CHECK(options_parse(&o, "a=1,=2", NULL, &e) == -EINVAL);
    CHECK(strstr(e.msg, "without a name"));
    CHECK(options_parse(&o, "a,,b", "v", &e) == 0);
    CHECK(!strcmp(options_get(&o, "v"), "a,b"));
    options_free(&o);
}

static void options_repeat_and_switches(void)
{
    struct options o;
    struct err e;
    unsigned pos = 0;
    bool b = true, absent = true;

    CHECK(options_parse(&o, "f=1,f=2,nowait,ro=maybe,server", NULL, &e) == 0);
    CHECK(!strcmp(options_next(&o, "f", &pos), "1"));
    CHECK(!strcmp(options_next(&o, "f", &pos), "2"));
    CHECK(options_next(&o, "f", &pos) == NULL);
    CHECK(!strcmp(options_get(&o, "f"), "2"));
    CHECK(options_get_bool(&o, "-x", "wait", &b, &e) == 0 && !b);
    CHECK(options_get_bool(&o, "-x", "server", &b, &e) == 0 && b);
    CHECK(options_get_bool(&o, "-x", "absent", &absent, &e) == 0 && absent);
    CHECK(options_get_bool(&o, "-x", "ro", &b, &e) == -EINVAL);
    CHECK(strstr(e.msg, "-x: ro=maybe"));
    options_free(&o);
}

static void sizes_parse(void)
{
    static const struct {
        const char *text;
        uint64_t unit;
        int r;
        uint64_t want;
    } t[] = {
        {"2G", 1, 0, GIB(2)},
        {"2048", MIB(1), 0, GIB(2)},
        {"1.5g", 1, 0, MIB(1536)},
        {"512MiB", 1, 0, MIB(512)},
        {"512MB", 1, 0, MIB(512)},
        {"64k", 1, 0, KIB(64)},
        {"7B", MIB(1), 0, 7},
        {"0", 1, 0, 0},
        {"", 1, -EINVAL, 0},
        {"G", 1, -EINVAL, 0},
        {"-1G", 1, -EINVAL, 0},
        {"2X", 1, -EINVAL, 0},
        {"2Gx", 1, -EINVAL, 0},
        {"1.5", 1, -EINVAL, 0},
        {"1.G", 1, -EINVAL, 0},
        {" 1G", 1, -EINVAL, 0},
        {"18446744073709551616", 1, -ERANGE, 0},
        {"99999999T", 1, -ERANGE, 0},
        {"18446744073709551615", 1, 0, UINT64_MAX},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
        uint64_t v = 0;

        CHECK(text_to_size(t[i].text, t[i].unit, &v) == t[i].r);
        CHECK_EQ(v, t[i].want);
    }
}

static void numbers_and_addresses_parse(void)
{
    uint64_t v;
    uint8_t mac[6];

    CHECK(text_to_u64("0x10", &v) == 0 && v == 16);
    CHECK(text_to_u64("010", &v) == 0 && v == 10);
    CHECK(text_to_u64("+1", &v) == -EINVAL);
    CHECK(text_to_u64("1a", &v) == -EINVAL);
    CHECK(text_to_u64("99999999999999999999", &v) == -ERANGE);
    CHECK(text_to_mac("52:54:00:aB:cd:0f", mac) == 0);
    CHECK(!memcmp(mac, "\x52\x54\x00\xab\xcd\x0f", 6));
    CHECK(text_to_mac("52:54:00:ab:cd", mac) == -EINVAL);
    CHECK(text_to_mac("52:54:00:ab:cd:0g", mac) == -EINVAL);
    CHECK(text_to_mac("52:54:00:ab:cd:0f:", mac) == -EINVAL);
}

static void nearest_word(void)
{
    static const char *const words[] = {"--kernel", "--initrd", "--memory", "--cpus", "--disk", NULL};

    CHECK(!strcmp(text_nearest("--kernal", words), "--kernel"));
    CHECK(!strcmp(text_nearest("--mem", words), "--memory"));
    CHECK(!strcmp(text_nearest("--disks", words), "--disk"));
    CHECK(text_nearest("--frobnicate", words) == NULL);
    CHECK(text_nearest("", words) == NULL);
}

struct item {
    int v;
    struct list link;
};

static void list_order_and_removal(void)
{
    struct list head, other;
    struct item it[4];
    int sum = 0;

    list_init(&head);
    for (int i = 0; i < 4; i++) {
        it[i].v = i + 1;
        list_add_tail(&head, &it[i].link);
    }
    list_for_each(p, &head)
    {
        struct item *i = list_entry(p, struct item, link);

        sum = sum * 10 + i->v;
        if (i->v == 2)
            list_remove(p);
    }
    CHECK_EQ(sum, 1234);
    list_take(&other, &head);
    CHECK(list_empty(&head));
    sum = 0;
    list_for_each(p, &other) sum = sum * 10 + list_entry(p, struct item, link)->v;
    CHECK_EQ(sum, 134);
    list_take(&other, &head);
    CHECK(list_empty(&other));
}

int main(void)
{
    RUN(err_set_records_code_and_sentence);
    RUN(err_prefix_keeps_the_code);
    RUN(err_status_goes_with_its_cause);
    RUN(err_long_texts_are_cut_and_terminated);
    RUN(log_lines_are_whole_and_clean);
    RUN(log_guest_is_rate_limited);
    RUN(options_split_and_escape);
    RUN(options_repeat_and_switches);
    RUN(sizes_parse);
    RUN(numbers_and_addresses_parse);
    RUN(nearest_word);
    RUN(list_order_and_removal);
    return check_done();
}
