/* pipit ps: the machines of both folders, by name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/util.h"
#include "vmm/service/life/commands.h"
#include "vmm/service/life/entry.h"
#include "vmm/service/life/overlay.h"

#define PS_MAX 4096 /* names that are looked at */

struct ps_list {
    char (*name)[LIFE_NAME_MAX + 1];
    size_t n;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Adds the names in the open folder, which is closed. */
static void collect(struct ps_list *l, int dir)
{
    DIR *d = dir < 0 ? NULL : fdopendir(dir);

    if (!d) {
        if (dir >= 0)
            close(dir);
        return;
    }
    for (struct dirent *x; l->n < PS_MAX && (x = readdir(d)) != NULL;)
        if (!life_name_check(x->d_name, NULL))
            strcpy(l->name[l->n++], x->d_name);
    closedir(d);
}

static void sort_once(struct ps_list *l)
{
    size_t n = 0;

    qsort(l->name, l->n, sizeof(*l->name), compare_names);
    for (size_t i = 0; i < l->n; i++)
        if (i == 0 || strcmp(l->name[i], l->name[n - 1]) != 0)
            memmove(l->name[n++], l->name[i], sizeof(*l->name));
    l->n = n;
}

/* ---- one machine ---- */

struct ps_machine {
    const char *name, *status;
    struct entry_view v;
    char *image; /* of its overlay, or NULL */
    bool kept;   /* it has left something in the state folder */
};

static char *image_of(const char *name, bool *kept)
{
    int top = life_state_dir(false, NULL), dir = top < 0 ? -1 : life_dir_at(top, name, false, "", NULL);
    char *image = dir < 0 ? NULL : overlay_image(dir);

    *kept = dir >= 0;
    if (dir >= 0)
        close(dir);
    if (top >= 0)
        close(top);
    return image;
}

static bool look(struct ps_machine *m, const char *name)
{
    m->name = name;
    if (entry_look(&m->v, name, NULL) < 0)
        return false; /* not ours, or gone meanwhile */
    m->image = image_of(name, &m->kept);
    m->status = m->v.holder ? "running" : m->v.there ? "crashed" : "stopped";
    return m->v.there || m->kept;
}

static void put_text(const char *key, const char *value)
{
    printf(", \"%s\": \"", key);
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        if (*p == '"' || *p == '\\')
            printf("\\%c", *p);
        else if (*p < ' ' || *p == 0x7f)
            printf("\\u%04x", *p);
        else
            putchar(*p);
    }
    putchar('"');
}

static void print_json(const struct ps_machine *m, bool first)
{
    static const char *const numbers[] = {"pid", "started", "cpus", "memory", "ssh_port"};
    static const char *const texts[] = {"machine", "kernel", "disk", "ssh_address", "log"};
    char value[4096];

    printf("%s\n  {\"name\": \"%s\", \"status\": \"%s\"", first ? "" : ",", m->name, m->status);
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
        if (entry_info(&m->v, numbers[i], value, sizeof(value)))
            printf(", \"%s\": %llu", numbers[i], strtoull(value, NULL, 10));
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
        if (entry_info(&m->v, texts[i], value, sizeof(value)))
            put_text(texts[i], value);
    if (m->image)
        put_text("image", m->image);
    putchar('}');
}

/* Prints what is there, and '-' for what is not; control characters of a path would move the cursor. */
static const char *field(const struct ps_machine *m, const char *key, char *buf, size_t size)
{
    if (!entry_info(&m->v, key, buf, size))
        return "-";
    for (char *p = buf; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    return buf;
}

static void print_row(const struct ps_machine *m)
{
    char pid[16], cpus[16], port[16], memory[32], started[32] = "-", path[4096];
    const char *what = m->image;
    time_t t;

    if (entry_info(&m->v, "memory", memory, sizeof(memory)))
        snprintf(memory, sizeof(memory), "%lluM", strtoull(memory, NULL, 10) >> 20);
    else
        strcpy(memory, "-");
    if (entry_info(&m->v, "started", path, sizeof(path))) {
        struct tm tm;

        t = (time_t)strtoll(path, NULL, 10);
        if (localtime_r(&t, &tm))
            strftime(started, sizeof(started), "%Y-%m-%d %H:%M:%S", &tm);
    }
    if (!what)
        what = field(m, entry_info(&m->v, "disk", path, sizeof(path)) ? "disk" : "kernel", path, sizeof(path));
    printf("%-20s %-8s %8s %19s %4s %8s %5s  %s\n", m->name, m->status, field(m, "pid", pid, sizeof(pid)), started,
           field(m, "cpus", cpus, sizeof(cpus)), memory, field(m, "ssh_port", port, sizeof(port)), what);
}

int life_ps(int argc, char **argv)
{
    bool json = argc == 1 && !strcmp(argv[0], "--json"), first = true;
    struct ps_list l = {.name = calloc(PS_MAX, sizeof(*l.name))};
    struct err e = {0};
    int fd;

    if (argc && !json) {
        free(l.name);
        return life_usage("ps [--json]");
    }
    if (!l.name)
        return 1;
    fd = life_runtime_dir(false, &e);
    if (fd < 0 && fd != -ENOENT) {
        free(l.name);
        return life_fail(&e);
    }
    collect(&l, fd);
    collect(&l, life_state_dir(false, NULL));
    sort_once(&l);
    if (json)
        putchar('[');
    else
        printf("%-20s %-8s %8s %19s %4s %8s %5s  %s\n", "NAME", "STATUS", "PID", "STARTED", "CPUS", "MEMORY", "SSH",
               "FROM");
    for (size_t i = 0; i < l.n; i++) {
        struct ps_machine m = {0};

        if (look(&m, l.name[i])) {
            if (json)
                print_json(&m, first);
            else
                print_row(&m);
            first = false;
        }
        free(m.image);
    }
    if (json)
        puts(first ? "]" : "\n]");
    free(l.name);
    return fflush(stdout) == 0 ? 0 : 1;
}
