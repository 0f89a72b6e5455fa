/*
 * The guest's end of the network benchmark: flow PORT. A connection says in its first 9 bytes what it wants: 'S' and a
 * little-endian number, to be sent so many bytes; 'D' and a number, to have so many taken and one byte sent back; 'Q',
 * that this program ends. The bytes mean nothing, so that neither making nor checking them is measured.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK (128 << 10) /* what iperf3 reads and writes at once */

static char block[BLOCK];

static void answer(int s)
{
    unsigned char head[9];
    uint64_t left;
    ssize_t n;

    if (recv(s, head, sizeof(head), MSG_WAITALL) != sizeof(head))
        return;
    memcpy(&left, head + 1, sizeof(left));
    if (head[0] == 'Q')
        exit(0);
    while (left) {
        size_t want = left < BLOCK ? (size_t)left : BLOCK;

        n = head[0] == 'S' ? write(s, block, want) : read(s, block, want);
        if (n <= 0)
            return;
        left -= (uint64_t)n;
    }
    if (head[0] == 'D' && write(s, block, 1) != 1)
        return;
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    if (argc != 2)
        return 2;
    a.sin_port = htons((uint16_t)atoi(argv[1]));
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    signal(SIGPIPE, SIG_IGN);
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 1024)) {
        perror("flow");
        return 1;
    }
    puts("flow: serving");
    fflush(stdout);
    for (;;) {
        int c = accept(s, NULL, NULL);

        if (c < 0)
            continue;
        answer(c);
        close(c);
    }
}
