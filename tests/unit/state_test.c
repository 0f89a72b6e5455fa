/* The save stream: round trip, and what a damaged stream gives. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/core/state.h"

static int stream_fd(const void *data, size_t len)
{
    int fd = memfd_create("state", MFD_CLOEXEC);

    if (fd >= 0 && len && write(fd, data, len) != (ssize_t)len)
        return -1;
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static int stream_write(int fd)
{
    static uint8_t big[200000];
    struct state_writer *w;

    memset(big, 0x5a, sizeof(big));
    if (state_writer_open(&w, fd) < 0)
        return -1;
    state_begin(w, "pl011", 3);
    state_put_u8(w, 1);
    state_put_u16(w, 0x0203);
    state_put_u32(w, 0x04050607);
    state_put_u64(w, UINT64_C(0x08090a0b0c0d0e0f));
    state_end(w);
    state_begin(w, "ram", 1);
    state_put(w, big, sizeof(big));
    state_end(w);
    return state_writer_finish(w);
}

static void round_trip(void)
{
    static uint8_t big[200000];
    int fd = stream_fd(NULL, 0);
    struct state_reader *r;
    uint32_t version = 0;

    CHECK(stream_write(fd) == 0);
    lseek(fd, 0, SEEK_SET);
    CHECK(state_reader_open(&r, fd) == 0);
    CHECK(state_enter(r, "pl011", &version) == 0);
    CHECK_EQ(version, 3);
    CHECK_EQ(state_get_u8(r), 1);
    CHECK_EQ(state_get_u16(r), 0x0203);
    CHECK_EQ(state_get_u32(r), 0x04050607);
    CHECK_EQ(state_get_u64(r), UINT64_C(0x08090a0b0c0d0e0f));
    CHECK(state_leave(r) == 0);
    CHECK(state_enter(r, "ram", &version) == 0);
    state_get(r, big, sizeof(big));
    CHECK(state_leave(r) == 0);
    CHECK(big[0] == 0x5a && big[sizeof(big) - 1] == 0x5a);
    CHECK(state_reader_finish(r) == 0);
    close(fd);
}

static void wrong_order_and_lengths(void)
{
    int fd = stream_fd(NULL, 0);
    struct state_reader *r;
    uint32_t version;

    CHECK(stream_write(fd) == 0);
    lseek(fd, 0, SEEK_SET);
    CHECK(state_reader_open(&r, fd) == 0);
    CHECK(state_enter(r, "pl031", &version) == -EINVAL);
    CHECK(state_reader_finish(r) == -EINVAL);

    lseek(fd, 0, SEEK_SET);
    CHECK(state_reader_open(&r, fd) == 0);
    CHECK(state_enter(r, "pl011", &version) == 0);
    CHECK_EQ(state_get_u8(r), 1);
    CHECK(state_leave(r) == -EINVAL); /* bytes left */
    CHECK(state_reader_finish(r) == -EINVAL);

    lseek(fd, 0, SEEK_SET);
    CHECK(state_reader_open(&r, fd) == 0);
    CHECK(state_enter(r, "pl011", &version) == 0);
    for (int i = 0; i < 15; i++)
        state_get_u8(r);
    CHECK_EQ(state_get_u64(r), 0); /* past the end: zero */
    CHECK(state_leave(r) == -EINVAL);
    CHECK(state_reader_finish(r) == -EINVAL);
    close(fd);
}

static void every_truncation_is_an_error(void)
{
    static uint8_t all[4096];
    int fd = stream_fd(NULL, 0), cut;
    struct state_writer *w;
    struct state_reader *r;
    uint32_t version;
    ssize_t n;

    CHECK(state_writer_open(&w, fd) == 0);
    state_begin(w, "x", 1);
    state_put_u64(w, 7);
    state_end(w);
    CHECK(state_writer_finish(w) == 0);
    lseek(fd, 0, SEEK_SET);
    n = read(fd, all, sizeof(all));
    close(fd);
    CHECK_EQ(n, 8 + 2 + 1 + 4 + 8 + 8 + 2);
    for (ssize_t len = 0; len < n; len++) {
        cut = stream_fd(all, (size_t)len);
        if (state_reader_open(&r, cut) == 0) {
            state_enter(r, "x", &version);
            state_get_u64(r);
            state_leave(r);
            CHECK(state_reader_finish(r) == -EINVAL);
        } else {
            CHECK(len < 8);
        }
        close(cut);
    }
    all[0] = 'X';
    cut = stream_fd(all, (size_t)n);
    CHECK(state_reader_open(&r, cut) == -EINVAL);
    close(cut);
}

static void writer_misuse_and_full_disk(void)
{
    struct state_writer *w;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    CHECK(state_writer_open(&w, fd) == 0);
    state_begin(w, "x", 1);
    state_put_u8(w, 1);
    state_end(w);
    CHECK(state_writer_finish(w) == -ENOSPC);
    close(fd);
    fd = stream_fd(NULL, 0);
    CHECK(state_writer_open(&w, fd) == 0);
    state_put_u8(w, 1); /* outside a section */
    CHECK(state_writer_finish(w) == -EINVAL);
    close(fd);
    /* Whoever saves could not have what it was to write; the first cause is the one that counts. */
    fd = stream_fd(NULL, 0);
    CHECK(state_writer_open(&w, fd) == 0);
    state_fail(w, -EIO);
    state_put_u8(w, 1);
    CHECK(state_writer_finish(w) == -EIO);
    close(fd);
}

int main(void)
{
    RUN(round_trip);
    RUN(wrong_order_and_lengths);
    RUN(every_truncation_is_an_error);
    RUN(writer_misuse_and_full_disk);
    return check_done();
}
