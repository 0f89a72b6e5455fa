/*
 * The language of grub.cfg, as far as generated files use it: words with quotes and variables, commands, if, functions,
 * menuentry and submenu, whose bodies are kept and run when they are chosen. Bodies of for, while and until are passed
 * over: they lead to no kernel in any file that a distribution generates.
 *
 * A script is run from its text, once through for what is taken and for what is not. Steps and depth are counted, so
 * that functions and files which call themselves end.
 */
#include "loader/disk/grub_int.h"

#define GRUB_MAX_STEPS 200000
#define GRUB_MAX_DEPTH 24

struct grub_lex {
    const char *p, *end;
};

enum grub_token { TOKEN_END, TOKEN_SEPARATOR, TOKEN_WORD };

/* ---- variables ---- */

const char *grub_get(void *opaque, const char *name)
{
    const struct grub *g = opaque;

    if (name[0] >= '0' && name[0] <= '9' && !name[1]) {
        unsigned n = (unsigned)(name[0] - '0');

        return g->args && n < g->args->n ? g->args->v[n] : NULL;
    }
    for (const struct grub_var *v = g->vars; v; v = v->next)
        if (!strcmp(v->name, name))
            return v->value;
    return NULL;
}

void grub_set(struct grub *g, const char *name, const char *value)
{
    struct grub_var *v = g->vars;
    const char *copy = disk_str(g->d, value, strlen(value));

    while (v && strcmp(v->name, name) != 0)
        v = v->next;
    if (!v && (v = disk_alloc(g->d, sizeof(*v)))) {
        v->name = disk_str(g->d, name, strlen(name));
        if (!v->name)
            v = NULL;
        else {
            v->next = g->vars;
            g->vars = v;
        }
    }
    if (v && copy)
        v->value = copy;
    else
        g->over = true;
}

void grub_unset(struct grub *g, const char *name)
{
    for (struct grub_var **v = &g->vars; *v; v = &(*v)->next)
        if (!strcmp((*v)->name, name)) {
            *v = (*v)->next;
            return;
        }
}

/* ---- words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '?';
}

/* From a '$': the variable's name, and what is behind it. An empty name: the '$' means itself. */
static const char *lex_variable(const char *p, const char *end, struct grub_span *name)
{
    const char *q = p + 1;
    bool braces = q < end && *q == '{';

    if (braces)
        q++;
    name->s = q;
    while (q < end && (braces ? *q != '}' : is_name(*q)))
        q++;
    name->n = (size_t)(q - name->s);
    return braces && q < end ? q + 1 : q;
}

/* The end of a word that begins at p. */
static const char *lex_word_end(const char *p, const char *end)
{
    char quote = 0;

    for (; p < end; p++) {
        if (*p == '\\' && quote != '\'') {
            p += p + 1 < end;
        } else if (quote) {
            quote = *p == quote ? 0 : quote;
        } else if (*p == '\'' || *p == '"') {
            quote = *p;
        } else if (*p == '$' && p + 1 < end && p[1] == '{') {
            struct grub_span name;

            p = lex_variable(p, end, &name) - 1;
        } else if (is_blank(*p) || *p == '\n' || *p == ';') {
            break;
        }
    }
    return p;
}

static enum grub_token lex_next(struct grub *g, struct grub_lex *l, struct grub_span *word)
{
    if (g->over || ++g->steps > GRUB_MAX_STEPS) {
        g->over = true;
        return TOKEN_END;
    }
    while (l->p < l->end && (is_blank(*l->p) || (*l->p == '\\' && l->p + 1 < l->end && l->p[1] == '\n')))
        l->p += *l->p == '\\' ? 2 : 1;
    if (l->p < l->end && *l->p == '#')
        while (l->p < l->end && *l->p != '\n')
            l->p++;
    if (l->p == l->end)
        return TOKEN_END;
    if (*l->p == '\n' || *l->p == ';') {
        l->p++;
        return TOKEN_SEPARATOR;
    }
    word->s = l->p;
    l->p = *l->p == '{' || *l->p == '}' ? l->p + 1 : lex_word_end(l->p, l->end);
    word->n = (size_t)(l->p - word->s);
    return TOKEN_WORD;
}

static bool span_is(const struct grub_span *w, const char *text)
{
    return w->n == strlen(text) && !memcmp(w->s, text, w->n);
}

/* A word being put together; variables outside quotes may make it several. */
struct grub_build {
    struct grub *g;
    struct grub_words *out;
    char text[GRUB_WORD_SIZE];
    size_t n;
    bool open; /* there is a word, though it may be empty */
};

static void build_char(struct grub_build *b, char c)
{
    b->open = true;
    if (b->n + 1 < sizeof(b->text))
        b->text[b->n++] = c;
    else
        b->g->over = true;
}

static void build_close(struct grub_build *b)
{
    const char *copy;

    if (!b->open)
        return;
    copy = disk_str(b->g->d, b->text, b->n);
    if (!copy || b->out->n == GRUB_MAX_WORDS)
        b->g->over = true;
    else
        b->out->v[b->out->n++] = copy;
    b->n = 0;
    b->open = false;
}

static const char *build_variable(struct grub_build *b, const char *p, const char *end, bool quoted)
{
    char text[128];
    struct grub_span name;
    const char *value;

    p = lex_variable(p, end, &name);
    if (!name.n) {
        build_char(b, '$');
        return p;
    }
    if (name.n >= sizeof(text))
        return p;
    memcpy(text, name.s, name.n);
    text[name.n] = '\0';
    value = grub_get(b->g, text);
    for (; value && *value; value++)
        if (!quoted && is_blank(*value))
            build_close(b);
        else
            build_char(b, *value);
    return p;
}

static void build_word(struct grub_build *b, const struct grub_span *w)
{
    const char *p = w->s, *end = w->s + w->n;
    char quote = 0;

    while (p < end && !b->g->over) {
        if (quote != '\'' && *p == '$') {
            p = build_variable(b, p, end, quote);
        } else if (quote != '\'' && *p == '\\' && p + 1 < end) {
            /* Inside double quotes only some characters need it. */
            if (quote && !strchr("\"\\$\n", p[1]))
                build_char(b, '\\');
            if (p[1] != '\n')
                build_char(b, p[1]);
            p += 2;
        } else if ((quote && *p == quote) || (!quote && (*p == '\'' || *p == '"'))) {
            quote = quote ? 0 : *p;
            b->open = true;
            p++;
        } else {
            build_char(b, *p++);
        }
    }
    build_close(b);
}

static void expand(struct grub *g, const struct grub_span *w, struct grub_words *out)
{
    struct grub_build b;

    b.g = g;
    b.out = out;
    b.n = 0;
    b.open = false;
    build_word(&b, w);
    out->v[out->n] = NULL;
}

/* ---- commands ---- */

static int run_list(struct grub *g, struct grub_lex *l, bool run, const char *const *stops, struct grub_span *stop);

/* Words up to the separator, or up to a '{', which is taken; true then. */
static bool read_words(struct grub *g, struct grub_lex *l, bool run, struct grub_words *out)
{
    struct grub_span w;

    while (lex_next(g, l, &w) == TOKEN_WORD) {
        if (span_is(&w, "{"))
            return true;
        if (run)
            expand(g, &w, out);
    }
    return false;
}

/* The text up to the '}' that belongs to a '{' just taken. */
static struct grub_span read_body(struct grub *g, struct grub_lex *l)
{
    static const char *const close[] = {"}", NULL};
    struct grub_span stop = {l->end, 0}, body = {l->p, 0};

    run_list(g, l, false, close, &stop);
    body.n = (size_t)(stop.s - body.s);
    return body;
}

static int run_if(struct grub *g, struct grub_lex *l, bool run)
{
    static const char *const then[] = {"then", NULL}, *const next[] = {"elif", "else", "fi", NULL},
                             *const last[] = {"fi", NULL};
    struct grub_span stop;
    bool done = false;
    int status = 0;

    for (;;) {
        int cond = run_list(g, l, run && !done, then, &stop);
        bool take = run && !done && cond == 0;
        int r;

        if (!stop.n)
            return 1;
        r = run_list(g, l, take, next, &stop);
        if (take) {
            status = r;
            done = true;
        }
        if (!stop.n || span_is(&stop, "fi"))
            return status;
        if (span_is(&stop, "else")) {
            r = run_list(g, l, run && !done, last, &stop);
            return run && !done ? r : status;
        }
    }
}

static int run_loop(struct grub *g, struct grub_lex *l)
{
    static const char *const start[] = {"do", NULL}, *const end[] = {"done", NULL};
    struct grub_span stop;

    run_list(g, l, false, start, &stop);
    if (stop.n)
        run_list(g, l, false, end, &stop);
    return 0;
}

static int run_function_definition(struct grub *g, struct grub_lex *l, bool run)
{
    struct grub_words w = {.n = 0};
    struct grub_function *f;
    struct grub_span body;

    if (!read_words(g, l, run, &w))
        return 1;
    body = read_body(g, l);
    if (!run || !w.n)
        return 0;
    f = disk_alloc(g->d, sizeof(*f));
    if (!f)
        return 1;
    *f = (struct grub_function){.next = g->functions, .name = w.v[0], .body = body};
    g->functions = f;
    return 0;
}

static int run_menu(struct grub *g, struct grub_lex *l, bool run, bool sub)
{
    static const char *const with_value[] = {"--class", "--users", "--hotkey", "--source", NULL};
    struct grub_words w = {.n = 0};
    struct grub_item *item;
    struct grub_span body;

    if (!read_words(g, l, run, &w))
        return 1;
    body = read_body(g, l);
    if (!run || !(item = grub_add_item(g)))
        return 0;
    *item = (struct grub_item){.title = "", .sub = sub, .body = body, .fs = g->fs, .file = g->file};
    for (unsigned i = 0, titled = 0; i < w.n; i++) {
        bool skip = false;

        for (unsigned k = 0; with_value[k]; k++)
            skip |= !strcmp(w.v[i], with_value[k]);
        if (!strcmp(w.v[i], "--id") && i + 1 < w.n)
            item->id = w.v[++i];
        else if (!strncmp(w.v[i], "--id=", 5))
            item->id = w.v[i] + 5;
        else if (skip)
            i++;
        else if (strncmp(w.v[i], "--", 2) != 0 && !titled++)
            item->title = w.v[i];
    }
    return 0;
}

static int run_function(struct grub *g, const struct grub_function *f, const struct grub_words *w)
{
    const struct grub_words *outer = g->args;
    int r;

    g->args = w;
    r = grub_run(g, f->body.s, f->body.n);
    g->args = outer;
    return r;
}

/* A function, a command, or, where it is neither, "name=value". */
static int run_words(struct grub *g, const struct grub_words *w)
{
    const char *equals;
    char *name;
    int r;

    for (const struct grub_function *f = g->functions; f; f = f->next)
        if (!strcmp(f->name, w->v[0]))
            return run_function(g, f, w);
    r = grub_command(g, w);
    equals = strchr(w->v[0], '=');
    if (r != GRUB_UNKNOWN || !equals)
        return r;
    name = disk_str(g->d, w->v[0], (size_t)(equals - w->v[0]));
    if (name)
        grub_set(g, name, equals + 1);
    return 0;
}

static int run_simple(struct grub *g, struct grub_lex *l, bool run, const struct grub_span *first)
{
    struct grub_words w = {.n = 0};
    struct grub_span next;

    if (run)
        expand(g, first, &w);
    while (lex_next(g, l, &next) == TOKEN_WORD)
        if (run)
            expand(g, &next, &w);
    if (!run || !w.n || g->over)
        return 0;
    if (strcmp(w.v[0], "!") != 0)
        return run_words(g, &w);
    memmove(w.v, w.v + 1, w.n * sizeof(w.v[0]));
    w.n--;
    return !w.n || !run_words(g, &w);
}

/* Commands until a word of `stops` stands where one would begin; *stop gets it, or is empty at the text's end. */
static int run_list(struct grub *g, struct grub_lex *l, bool run, const char *const *stops, struct grub_span *stop)
{
    struct grub_span w;
    enum grub_token t;
    int status = 0;

    if (++g->depth > GRUB_MAX_DEPTH)
        g->over = true;
    while ((t = lex_next(g, l, &w)) != TOKEN_END) {
        if (t == TOKEN_SEPARATOR)
            continue;
        for (unsigned i = 0; stops && stops[i]; i++)
            if (span_is(&w, stops[i])) {
                *stop = w;
                g->depth--;
                return status;
            }
        if (span_is(&w, "if"))
            status = run_if(g, l, run);
        else if (span_is(&w, "for") || span_is(&w, "while") || span_is(&w, "until"))
            status = run_loop(g, l);
        else if (span_is(&w, "function"))
            status = run_function_definition(g, l, run);
        else if (span_is(&w, "menuentry") || span_is(&w, "submenu"))
            status = run_menu(g, l, run, w.s[0] == 's');
        else
            status = run_simple(g, l, run, &w);
    }
    *stop = (struct grub_span){l->end, 0};
    g->depth--;
    return status;
}

int grub_run(struct grub *g, const char *text, size_t len)
{
    struct grub_lex l = {text, text + len};
    struct grub_span stop;

    return run_list(g, &l, true, NULL, &stop);
}

/* ---- for others ---- */

char *grub_expand(struct disk *d, const char *text, const char *(*get)(void *opaque, const char *name), void *opaque)
{
    char *out = disk_alloc(d, DISK_CMDLINE_SIZE);
    const char *end = text + strlen(text);
    size_t n = 0;

    if (!out)
        return NULL;
    while (text < end) {
        struct grub_span name = {text, 1};
        const char *value = NULL;
        char key[64] = "";

        if (*text == '$') {
            const char *rest = lex_variable(text, end, &name);

            if (name.n && name.n < sizeof(key)) {
                memcpy(key, name.s, name.n);
                value = get ? get(opaque, key) : NULL;
                name.n = 0;
            } else {
                name = (struct grub_span){text, 1};
                rest = text + 1;
            }
            text = rest;
        } else {
            text++;
        }
        const char *add = name.n ? name.s : value ? value : "";
        size_t len = name.n ? 1 : strlen(add);

        if (len >= DISK_CMDLINE_SIZE - n)
            return NULL;
        memcpy(out + n, add, len);
        n += len;
    }
    return out;
}
