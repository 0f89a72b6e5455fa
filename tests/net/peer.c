/*
 * Both ends of the network tests: the same program is built for the host and, statically, for the guest.
 *
 *   peer serve PORT                    answers on [::]:PORT until a client says quit
 *   peer fetch ADDRESS PORT LEN SEED   receives LEN bytes, and compares each with what it should be
 *   peer push ADDRESS PORT LEN SEED    sends LEN bytes; the server compares them
 *   peer quit ADDRESS PORT
 *
 * The bytes of a stream are a function of seed and position (splitmix64), so each end knows what it must get. A
 * connection begins with a header: "pipit" and one letter for what is asked (S: send, K: keep, E: echo, Q: quit), two
 * zero bytes, then length and seed, 8 bytes each, little-endian. Keep ends with 8 bytes: how many were right.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536
#define STALL 60 /* seconds in which a stream must move */

struct header {
    char magic[5];
    char op;
    char zero[2];
    uint64_t len;
    uint64_t seed;
};

/* Fills block number `n` of the stream. */
static void fill(uint64_t seed, uint64_t n, uint64_t *w)
{
    for (uint64_t i = 0; i < BLOCK / 8; i++) {
        uint64_t z = seed + (n * (BLOCK / 8) + i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        w[i] = z ^ (z >> 31);
    }
}

static bool read_all(int s, void *p, size_t n)
{
    while (n) {
        ssize_t r = read(s, p, n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return false;
        p = (char *)p + r;
        n -= (size_t)r;
    }
    return true;
}

static bool write_all(int s, const void *p, size_t n)
{
    while (n) {
        ssize_t r = write(s, p, n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return false;
        p = (const char *)p + r;
        n -= (size_t)r;
    }
    return true;
}

static bool send_stream(int s, uint64_t len, uint64_t seed)
{
    static uint64_t block[BLOCK / 8];

    for (uint64_t n = 0; n * BLOCK < len; n++) {
        uint64_t left = len - n * BLOCK;
        fill(seed, n, block);
        if (!write_all(s, block, left < BLOCK ? (size_t)left : BLOCK))
            return false;
    }
    return true;
}

/* How many bytes came and were right before the first that was not, or the end. */
static uint64_t check_stream(int s, uint64_t len, uint64_t seed)
{
    static uint64_t want[BLOCK / 8], got[BLOCK / 8];

    for (uint64_t n = 0; n * BLOCK < len; n++) {
        uint64_t left = len - n * BLOCK;
        size_t size = left < BLOCK ? (size_t)left : BLOCK, same = 0;
        fill(seed, n, want);
        if (!read_all(s, got, size))
            return n * BLOCK;
        if (memcmp(got, want, size) != 0) {
            while (((char *)got)[same] == ((char *)want)[same])
                same++;
            return n * BLOCK + same;
        }
    }
    return len;
}

/* Reads and writes that wait longer than STALL fail. */
static void watch(int s)
{
    struct timeval tv = {.tv_sec = STALL};

    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static bool ended(int s)
{
    char c;
    return read(s, &c, 1) == 0;
}

static void echo(int s)
{
    char b[BLOCK];
    ssize_t n;

    while ((n = read(s, b, sizeof(b))) > 0)
        if (!write_all(s, b, (size_t)n))
            return;
}

static void answer(int s)
{
    struct header h;
    uint64_t right;

    if (!read_all(s, &h, sizeof(h)) || memcmp(h.magic, "pipit", 5) != 0)
        return;
    switch (h.op) {
    case 'S': send_stream(s, h.len, h.seed); break;
    case 'K':
        right = check_stream(s, h.len, h.seed);
        if (right == h.len && !ended(s))
            right++; /* more than was announced */
        write_all(s, &right, sizeof(right));
        break;
    case 'E': echo(s); break;
    case 'Q': kill(getppid(), SIGTERM); break;
    default: break;
    }
}

static int serve(const char *port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    int s = socket(AF_INET6, SOCK_STREAM, 0), one = 1, zero = 0;

    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 1024)) {
        perror("peer: port");
        return 1;
    }
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    printf("peer: serving\n");
    fflush(stdout);
    for (;;) {
        int c = accept(s, NULL, NULL);
        pid_t pid;
        if (c < 0)
            continue;
        pid = fork();
        if (pid == 0) {
            close(s);
            watch(c);
            answer(c);
            _exit(0);
        }
        if (pid < 0)
            perror("peer: fork");
        close(c);
    }
}

/* getaddrinfo would do more than numbers, and a static program cannot have that. */
static int dial(const char *host, const char *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};
    bool v4 = inet_pton(AF_INET, host, &in.sin_addr) == 1;
    int s;

    if (!v4 && inet_pton(AF_INET6, host, &in6.sin6_addr) != 1) {
        fprintf(stderr, "peer: %s is not an address\n", host);
        return -1;
    }
    s = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    if (s < 0 ||
        (v4 ? connect(s, (struct sockaddr *)&in, sizeof(in)) : connect(s, (struct sockaddr *)&in6, sizeof(in6)))) {
        perror("peer: connect");
        return -1;
    }
    return s;
}

static int transfer(char op, const char *host, const char *port, const char *len_text, const char *seed_text)
{
    struct header h = {.magic = {'p', 'i', 'p', 'i', 't'}, .op = op};
    struct timespec a, b;
    uint64_t right = 0;
    double t;
    int s = dial(host, port);
    bool end = false;

    if (s < 0)
        return 1;
    watch(s);
    h.len = strtoull(len_text, NULL, 0);
    h.seed = strtoull(seed_text, NULL, 0);
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (write_all(s, &h, sizeof(h))) {
        if (op == 'S') {
            right = check_stream(s, h.len, h.seed);
            end = ended(s);
        } else if (send_stream(s, h.len, h.seed) && shutdown(s, SHUT_WR) == 0) {
            end = read_all(s, &right, sizeof(right)) && ended(s);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    t = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    printf("peer: %" PRIu64 " of %" PRIu64 " bytes right%s, %.2f s, %.1f MiB/s\n", right, h.len,
           end ? "" : ", and no proper end", t, (double)right / t / (1 << 20));
    return !(end && right == h.len);
}

int main(int argc, char **argv)
{
    struct header quit = {.magic = {'p', 'i', 'p', 'i', 't'}, .op = 'Q'};
    const char *what = argc > 1 ? argv[1] : "";

    if (argc == 3 && strcmp(what, "serve") == 0)
        return serve(argv[2]);
    if (argc == 6 && strcmp(what, "fetch") == 0)
        return transfer('S', argv[2], argv[3], argv[4], argv[5]);
    if (argc == 6 && strcmp(what, "push") == 0)
        return transfer('K', argv[2], argv[3], argv[4], argv[5]);
    if (argc == 4 && strcmp(what, "quit") == 0) {
        int s = dial(argv[2], argv[3]);
        return s < 0 || !write_all(s, &quit, sizeof(quit)) || !ended(s);
    }
    fprintf(stderr, "usage: peer serve PORT | fetch|push ADDRESS PORT LEN SEED | quit ADDRESS PORT\n");
    return 2;
}
