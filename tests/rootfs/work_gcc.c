/* Something to compile: loops, switches, floating point, structures, recursion. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 48

struct node {
    struct node *left, *right;
    uint64_t key;
    double weight;
    char name[24];
};

static double matrix[N][N], product[N][N];

static struct node *insert(struct node *n, uint64_t key, double weight)
{
    if (!n) {
        n = calloc(1, sizeof(*n));
        if (!n)
            abort();
        n->key = key;
        n->weight = weight;
        snprintf(n->name, sizeof(n->name), "n%llu", (unsigned long long)key);
        return n;
    }
    if (key < n->key)
        n->left = insert(n->left, key, weight);
    else
        n->right = insert(n->right, key, weight * 0.5);
    return n;
}

static void multiply(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double s = 0;
            for (int k = 0; k < N; k++)
                s += matrix[i][k] * matrix[k][j];
            product[i][j] = s;
        }
}

static unsigned crc(const uint8_t *p, size_t n)
{
    unsigned c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int b = 0; b < 8; b++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
    }
    return ~c;
}

static int interpret(const char *program, int64_t *stack, int room)
{
    int sp = 0;
    for (const char *p = program; *p; p++) {
        switch (*p) {
        case '0' ... '9':
            if (sp < room)
                stack[sp++] = *p - '0';
            break;
        case '+':
            if (sp > 1)
                stack[sp - 2] += stack[sp - 1], sp--;
            break;
        case '-':
            if (sp > 1)
                stack[sp - 2] -= stack[sp - 1], sp--;
            break;
        case '*':
            if (sp > 1)
                stack[sp - 2] *= stack[sp - 1], sp--;
            break;
        case '/':
            if (sp > 1 && stack[sp - 1])
                stack[sp - 2] /= stack[sp - 1], sp--;
            break;
        case 'd':
            if (sp > 0 && sp < room)
                stack[sp] = stack[sp - 1], sp++;
            break;
        default: return -1;
        }
    }
    return sp;
}

#define REPEAT(n)                                                                                                      \
    static uint32_t mix##n(uint32_t *v, unsigned len)                                                                  \
    {                                                                                                                  \
        uint32_t h = n;                                                                                                \
        for (unsigned i = 0; i < len; i++) {                                                                           \
            h ^= v[i] * 0x9e3779b1u + (n);                                                                             \
            h = (h << (n % 13 + 3)) | (h >> (29 - n % 13));                                                            \
            v[i] += h ^ (uint32_t)((float)h * 0.25f);                                                                  \
            if (v[i] % (n + 3) == 0)                                                                                   \
                v[i] = crc((const uint8_t *)v, len) % (n + 7);                                                         \
        }                                                                                                              \
        return h;                                                                                                      \
    }
REPEAT(1)
REPEAT(2)
REPEAT(3)
REPEAT(4)
REPEAT(5)
REPEAT(6)
REPEAT(7)
REPEAT(8)
REPEAT(9)
REPEAT(10)
REPEAT(11)
REPEAT(12)
REPEAT(13)
REPEAT(14)
REPEAT(15)
REPEAT(16)
REPEAT(17)
REPEAT(18)
REPEAT(19)
REPEAT(20)

int main(int argc, char **argv)
{
    uint32_t v[64];
    int64_t stack[32];
    struct node *root = NULL;

    for (unsigned i = 0; i < 64; i++)
        v[i] = i * (unsigned)argc;
    uint32_t h = mix1(v, 64) + mix2(v, 64) + mix3(v, 64) + mix4(v, 64) + mix5(v, 64) + mix6(v, 64) + mix7(v, 64) +
                 mix8(v, 64) + mix9(v, 64) + mix10(v, 64) + mix11(v, 64) + mix12(v, 64) + mix13(v, 64) + mix14(v, 64) +
                 mix15(v, 64) + mix16(v, 64) + mix17(v, 64) + mix18(v, 64) + mix19(v, 64) + mix20(v, 64);
    for (unsigned i = 0; i < 64; i++)
        root = insert(root, v[i], v[i] / 3.0);
    multiply();
    int n = argc > 1 ? interpret(argv[1], stack, 32) : 0;
    printf("%u %d %f %s\n", h, n, product[3][5], root->name);
    return 0;
}
