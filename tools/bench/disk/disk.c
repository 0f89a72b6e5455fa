/*
 * In the guest: how fast its disk is. disk DEVICE prints for each pattern "disk NAME REQUESTS BYTES NANOSECONDS".
 *
 * Requests are O_DIRECT, so that each goes to the device: large ones one behind the other, two at once, and small ones
 * at random places, sixteen at once. Writes end with an fsync, which is part of the time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define THREADS 16

struct pattern {
    const char *name;
    size_t size;
    unsigned threads, count; /* count: of each thread */
    int write, random;
};

static const struct pattern patterns[] = {
    {"sequential read", 1 << 20, 2, 512, 0, 0}, /* all of it several times: one time is soon over */
    {"sequential write", 1 << 20, 2, 256, 1, 0},
    {"random read 4k", 4096, THREADS, 1000, 0, 1},
    {"random write 4k", 4096, THREADS, 500, 1, 1},
};

static const struct pattern *now;
static int disk;
static uint64_t bytes;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *work(void *opaque)
{
    unsigned self = (unsigned)(uintptr_t)opaque;
    uint64_t seed = 88172645463325252u + self, at = bytes / now->threads * self / now->size * now->size;
    void *buf = NULL;

    if (posix_memalign(&buf, 4096, now->size))
        die("posix_memalign");
    memset(buf, (int)self + 1, now->size);
    for (unsigned i = 0; i < now->count; i++, at = (at + now->size) % (bytes / now->size * now->size)) {
        if (now->random) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            at = seed % (bytes / now->size) * now->size;
        }
        ssize_t n = now->write ? pwrite(disk, buf, now->size, (off_t)at) : pread(disk, buf, now->size, (off_t)at);
        if (n != (ssize_t)now->size)
            die(now->name);
    }
    free(buf);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[THREADS];

    disk = argc > 1 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
    if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes) < 0)
        die("open");
    for (now = patterns; now < patterns + sizeof(patterns) / sizeof(*patterns); now++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (unsigned i = 0; i < now->threads; i++)
            if (pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i))
                die("pthread_create");
        for (unsigned i = 0; i < now->threads; i++)
            pthread_join(thread[i], NULL);
        if (now->write && fsync(disk))
            die("fsync");
        clock_gettime(CLOCK_MONOTONIC, &to);
        printf("disk %s: %u %zu %lld\n", now->name, now->threads * now->count, now->size,
               (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec);
        fflush(stdout);
    }
    return 0;
}
