/*
 * Signals in /proc/PID/status and stat: the host's thread blocks and catches others than the guest's does, because the
 * emulator needs some itself (signal.h).
 */
#include <asm/unistd.h>
#include <linux/uio.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/proc_text.h"
#include "vmm/user/signal.h"
#include "vmm/user/sys/call.h"

static bool read_there(const struct user_signal_reader *r, uint64_t va, void *out, size_t len)
{
    struct iovec local = {out, len}, remote = {(void *)(uintptr_t)va, len};

    return sys_call(__NR_process_vm_readv, r->pid, &local, 1, &remote, 1, 0) == (long)len;
}

/* The thread that the file is of. */
static bool signals_of(const struct user_proc_name *name, struct user_signal_sets *s)
{
    struct user_signal_reader r = {.read = read_there, .pid = name->pid};

    if (!name->pid)
        return user_signal_sets(name->tid ? (int32_t)name->tid : 0, s);
    return user_proc_image_of(name->pid, &r.moved) &&
           user_signal_sets_there(&r, (int32_t)(name->tid ? name->tid : name->pid), s);
}

/* The guest's mask: while it waits under another one, only the host has that. */
static uint64_t blocked(const struct user_signal_sets *s, uint64_t host)
{
    return s->host_blocks ? s->blocked : (host & ~USER_SYNC_SIGNALS) | (s->blocked & USER_SYNC_SIGNALS);
}

static uint64_t take_set(const char *p)
{
    uint64_t v = 0;

    for (;; p++) {
        if (*p >= '0' && *p <= '9')
            v = v << 4 | (uint64_t)(*p - '0');
        else if (*p >= 'a' && *p <= 'f')
            v = v << 4 | (uint64_t)(*p - 'a' + 10);
        else
            return v;
    }
}

void user_proc_status_line(struct user_proc_text *o, const char *text, size_t n)
{
    static const struct {
        const char *word;
        size_t field;
    } rows[] = {
        {"SigBlk:\t", offsetof(struct user_signal_sets, blocked)},
        {"SigIgn:\t", offsetof(struct user_signal_sets, ignored)},
        {"SigCgt:\t", offsetof(struct user_signal_sets, caught)},
    };
    struct user_signal_sets s;
    char line[64];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strncmp(text, rows[i].word, strlen(rows[i].word)) != 0 || !signals_of(o->opaque, &s))
            continue;
        s.blocked = blocked(&s, take_set(text + strlen(rows[i].word)));
        user_proc_put(o, line,
                      (size_t)snprintf(line, sizeof(line), "%s%016lx\n", rows[i].word,
                                       *(const unsigned long *)((const char *)&s + rows[i].field)));
        return;
    }
    user_proc_put(o, text, n);
}

/* proc_pid_stat(5): fields 32 to 34, blocked, sigignore and sigcatch, as 31 bits in decimal. The name in parentheses
 * may hold anything. */
void user_proc_stat_line(struct user_proc_text *o, const char *text, size_t n)
{
    struct user_signal_sets s;
    const char *p = text + n, *end = text + n;
    unsigned field = 2;
    char number[24];

    while (p > text && *p != ')')
        p--;
    if (*p != ')' || !signals_of(o->opaque, &s)) {
        user_proc_put(o, text, n);
        return;
    }
    for (; p < end && field < 32; p++)
        field += *p == ' ';
    user_proc_put(o, text, (size_t)(p - text));
    for (; p < end && field < 35; field++) {
        uint64_t host = user_proc_take_number(&p);
        uint64_t set = field == 32 ? blocked(&s, host) : field == 33 ? s.ignored : s.caught;
        user_proc_put(o, number, (size_t)snprintf(number, sizeof(number), "%lu ", (unsigned long)(set & INT32_MAX)));
        while (p < end && *p++ != ' ')
            ;
    }
    user_proc_put(o, p, (size_t)(end - p));
}
