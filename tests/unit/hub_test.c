/* The console for several: a log, connections that read and that do not, who types, BREAKs. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "devices/chardev.h"
#include "tests/check.h"
#include "vmm/base/util.h"

#define TOTAL (600 * 1024)

static struct loop *loop;
static struct chardev *hub;
static pthread_t thread;
static struct err e;

/* The front end: its input, "B" for a BREAK. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char input[256];
static size_t input_len;
static atomic_size_t input_room = 100;

static size_t fe_room(void *opaque)
{
    (void)opaque;
    return input_room;
}

static void fe_receive(void *opaque, const uint8_t *p, size_t len)
{
    (void)opaque;
    pthread_mutex_lock(&lock);
    memcpy(input + input_len, p, MIN(len, sizeof(input) - 1 - input_len));
    input_len += MIN(len, sizeof(input) - 1 - input_len);
    pthread_mutex_unlock(&lock);
}

static void fe_brk(void *opaque)
{
    fe_receive(opaque, (const uint8_t *)"B", 1);
}

/* Waits until the front end has had `text`, no more and no less. */
static bool had(const char *text)
{
    bool same = false;

    for (int i = 0; i < 500 && !same; i++) {
        pthread_mutex_lock(&lock);
        same = input_len == strlen(text) && !memcmp(input, text, input_len);
        if (same)
            input_len = 0;
        pthread_mutex_unlock(&lock);
        usleep(same ? 0 : 10000);
    }
    return same;
}

static void *run(void *opaque)
{
    (void)opaque;
    loop_run(loop);
    return NULL;
}

/* Attaches on the loop thread, as control.c does. */
static int attach_fd;
static atomic_int attached;

static void do_attach(void *opaque)
{
    (void)opaque;
    attached = chardev_hub_attach(hub, attach_fd) == 0 ? 1 : -1;
}

static int attach(void)
{
    int sv[2], small = 4096;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return -1;
    setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    attach_fd = sv[0];
    attached = 0;
    loop_post(loop, do_attach, NULL);
    while (!attached)
        usleep(1000);
    return attached > 0 ? sv[1] : -1;
}

static void do_sysrq(void *opaque)
{
    attached = chardev_hub_sysrq(hub, (uint8_t) * (const char *)opaque) ? 1 : -1;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)((i * 2654435761U) >> 13);
}

/* Reads what comes within a while. */
static size_t take(int fd, uint8_t *buf, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, 300) == 1 ? read(fd, buf, size) : 0;

    return n > 0 ? (size_t)n : 0;
}

static void test_output(void)
{
    static uint8_t out[TOTAL], in[TOTAL];
    int good = attach(), lazy = attach();
    size_t sent = 0, got = 0, n, kept = 0;

    CHECK(good >= 0 && lazy >= 0 && chardev_hub_clients(hub) == 2);
    for (size_t i = 0; i < TOTAL; i++)
        out[i] = pattern(i);
    while (sent < TOTAL) {
        sent += chardev_write(hub, out + sent, MIN((size_t)5000, TOTAL - sent));
        while (got < sent && (n = take(good, in + got, TOTAL - got)) != 0)
            got += n;
        CHECK_EQ(got, sent);
    }
    CHECK(!memcmp(in, out, TOTAL));
    /* The one that did not read has lost the middle, and the end is there. */
    while ((n = take(lazy, in + kept, TOTAL - kept)) != 0)
        kept += n;
    CHECK(kept < TOTAL && kept > 200 * 1024);
    CHECK(!memcmp(in + kept - 100000, out + TOTAL - 100000, 100000));
    close(good);
    close(lazy);
    for (int i = 0; i < 500 && chardev_hub_clients(hub); i++)
        usleep(10000);
    CHECK_EQ(chardev_hub_clients(hub), 0);
    /* A late one gets the latest. */
    int late = attach();
    kept = 0;
    while ((n = take(late, in + kept, TOTAL - kept)) != 0)
        kept += n;
    CHECK(kept == 4096 && !memcmp(in, out + TOTAL - 4096, 4096));
    close(late);
}

static void test_input(void)
{
    int first = attach(), second = attach();

    CHECK(first >= 0 && second >= 0);
    CHECK_EQ(write(second, "no", 2), 2);
    CHECK_EQ(write(first,
                   "yes\xff\xff!\xff"
                   "b.\xffz,",
                   12),
             12);
    CHECK(had("yes\xff!B.,"));
    /* No more than there is room for; the rest comes when there is. */
    input_room = 0;
    CHECK_EQ(write(first, "later", 5), 5);
    usleep(100000);
    CHECK(had(""));
    input_room = 100;
    chardev_resume(hub);
    CHECK(had("later"));
    close(first);
    for (int i = 0; i < 500 && chardev_hub_clients(hub) > 1; i++)
        usleep(10000);
    CHECK_EQ(write(second, "mine", 4), 4);
    CHECK(had("mine"));
    close(second);
}

static void test_sysrq(void)
{
    attached = 0;
    loop_post(loop, do_sysrq, "s");
    CHECK(had("Bs"));
    CHECK_EQ(attached, 1);
}

int main(void)
{
    char log[] = "/tmp/pipit-hub-XXXXXX";
    struct chardev *nowhere;
    int fd = mkstemp(log);

    if (fd < 0 || loop_create(&loop, &e) < 0 || chardev_open_null(&nowhere) < 0 ||
        chardev_open_hub(&hub, loop, nowhere, fd, &e) < 0)
        return 1;
    chardev_set_frontend(hub, &(struct chardev_frontend){.room = fe_room, .receive = fe_receive, .brk = fe_brk});
    if (pthread_create(&thread, NULL, run, NULL))
        return 1;
    RUN(test_output);
    RUN(test_input);
    RUN(test_sysrq);
    loop_stop(loop);
    pthread_join(thread, NULL);
    if (lseek(fd, 0, SEEK_END) != TOTAL) {
        puts("FAIL the log has another length");
        check_failed++;
    }
    chardev_close(hub);
    loop_destroy(loop);
    unlink(log);
    return check_done();
}
