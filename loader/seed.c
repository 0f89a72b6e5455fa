/*
 * cloud-init reads user-data and meta-data, which must both be there, and network-config. A key or a host name goes
 * into each of the first two that the user did not give: meta-data's public-keys and local-hostname work beside any
 * user-data. Where both were given there is no place for them, and that is refused.
 *
 * The instance-id is a hash of the machine's name and of everything else in the seed: cloud-init configures once, and
 * again when something here changed.
 */
#include "loader/seed.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/iso9660.h"
#include "loader/loader.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define SEED_KEY_FILE_MAX KIB(64)

bool seed_wanted(const struct seed *s)
{
    return s->user_data || s->meta_data || s->network_config || s->hostname || s->nssh_keys;
}

bool seed_hostname_is_good(const char *name)
{
    const char *p = name;

    if (strlen(name) > 253)
        return false;
    for (;; p++) {
        size_t n = strcspn(p, ".");

        if (n == 0 || n > 63 || p[0] == '-' || p[n - 1] == '-')
            return false;
        for (size_t i = 0; i < n; i++)
            if (!isascii(p[i]) || (!isalnum((unsigned char)p[i]) && p[i] != '-'))
                return false;
        p += n;
        if (!*p)
            return true;
    }
}

int seed_check(const struct seed *s, struct err *e)
{
    if (s->hostname && !seed_hostname_is_good(s->hostname))
        return err_set(
            e, EINVAL,
            "--hostname %s: a host name has letters, digits and hyphens, with dots between labels of 1 to 63",
            s->hostname);
    if (s->user_data && s->meta_data && (s->hostname || s->nssh_keys))
        return err_set(e, EINVAL,
                       "%s has no place beside both --user-data and --meta-data: write it into one of these files",
                       s->hostname ? "--hostname" : "--ssh-key");
    return 0;
}

/* ---- keys ---- */

struct seed_keys {
    char *line[SEED_MAX_KEYS]; /* "TYPE BASE64" or "TYPE BASE64 COMMENT", free of what YAML would need escaped */
    unsigned n;
};

static void keys_free(struct seed_keys *k)
{
    for (unsigned i = 0; i < k->n; i++)
        free(k->line[i]);
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(digits, c) : NULL;

    return p ? (int)(p - digits) : -1;
}

/* Does the base64 text of len characters hold a key whose own word on its type is `type` (RFC 4253, 6.6)? */
static bool blob_is_of(const char *text, size_t len, const char *type)
{
    uint8_t head[64];
    size_t n = 0, want = 4 + strlen(type), pad = 0;
    uint32_t bits = 0;

    while (pad < 2 && len && text[len - 1] == '=') {
        len--;
        pad++;
    }
    if ((len + pad) % 4 || want > sizeof(head))
        return false;
    for (size_t i = 0; i < len; i++) {
        int d = base64_digit(text[i]);

        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 && n < want)
            head[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    /* Something follows the type. */
    return n == want && len * 3 / 4 > want && head[0] == 0 && head[1] == 0 && head[2] == 0 && head[3] == strlen(type) &&
           !memcmp(head + 4, type, strlen(type));
}

static const char *key_type(const char *word, size_t len)
{
    static const char *const types[] = {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    };

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
        if (strlen(types[i]) == len && !memcmp(types[i], word, len))
            return types[i];
    return NULL;
}

/* A comment that needs no escape in YAML's double quotes. */
static bool comment_is_plain(const char *p)
{
    for (; *p; p++)
        if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
            return false;
    return true;
}

static int add_key(struct seed_keys *k, const char *path, const char *line, struct err *e)
{
    size_t type_len = strcspn(line, " \t"), space = strspn(line + type_len, " \t"), blob_len;
    const char *type = key_type(line, type_len), *blob = line + type_len + space, *comment;
    int r;

    blob_len = strcspn(blob, " \t");
    if (!type || !space || !blob_is_of(blob, blob_len, type))
        return err_set(e, EINVAL,
                       "--ssh-key %s: this is no OpenSSH public key (a line like \"ssh-ed25519 AAAA... name\")", path);
    if (k->n == SEED_MAX_KEYS)
        return err_set(e, ENOSPC, "--ssh-key %s: there is room for %d keys", path, SEED_MAX_KEYS);
    comment = blob + blob_len + strspn(blob + blob_len, " \t");
    r = *comment && comment_is_plain(comment)
            ? asprintf(&k->line[k->n], "%s %.*s %s", type, (int)blob_len, blob, comment)
            : asprintf(&k->line[k->n], "%s %.*s", type, (int)blob_len, blob);
    if (r < 0)
        return err_set(e, ENOMEM, "out of memory");
    k->n++;
    return 0;
}

static int read_keys(struct seed_keys *k, const char *path, struct err *e)
{
    struct loader_file f;
    unsigned before = k->n;
    char *text, *save = NULL;
    int r = loader_file_open(&f, path, SEED_KEY_FILE_MAX, e);

    if (r < 0)
        return err_prefix(e, "--ssh-key");
    text = strndup((const char *)f.data, f.size);
    if (!text)
        r = err_set(e, ENOMEM, "out of memory");
    else if (strstr(text, "PRIVATE KEY-----") || !strncmp(text, "PuTTY-User-Key-File", 19))
        r = err_set(e, EINVAL,
                    "--ssh-key %s: this is a private key, which guests have no business with; give its public "
                    "half (%s.pub?)",
                    path, path);
    else if (strlen(text) != f.size)
        r = err_set(e, EINVAL, "--ssh-key %s: this is no OpenSSH public key, but binary", path);
    for (char *line = r < 0 ? NULL : strtok_r(text, "\r\n", &save); line && r >= 0;
         line = strtok_r(NULL, "\r\n", &save)) {
        line += strspn(line, " \t");
        if (*line && *line != '#')
            r = add_key(k, path, line, e);
    }
    if (r >= 0 && k->n == before)
        r = err_set(e, EINVAL, "--ssh-key %s has no key in it", path);
    free(text);
    loader_file_close(&f);
    return r;
}

/* ---- the files ---- */

struct seed_text {
    char *data;
    size_t len;
};

static void write_list(FILE *f, const char *key, const struct seed_keys *k)
{
    if (k->n)
        fprintf(f, "%s:\n", key);
    for (unsigned i = 0; i < k->n; i++)
        fprintf(f, "  - \"%s\"\n", k->line[i]);
}

/* `id` is what the instance is told from others by. */
static int write_meta_data(struct seed_text *out, const struct seed *s, const struct seed_keys *k, uint64_t id,
                           struct err *e)
{
    FILE *f = open_memstream(&out->data, &out->len);

    if (!f)
        return err_set(e, ENOMEM, "out of memory");
    fprintf(f, "instance-id: pipit-%016llx\n", (unsigned long long)id);
    if (s->hostname)
        fprintf(f, "local-hostname: \"%s\"\n", s->hostname);
    write_list(f, "public-keys", k);
    return fclose(f) == 0 ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int write_user_data(struct seed_text *out, const struct seed *s, const struct seed_keys *k, struct err *e)
{
    FILE *f = open_memstream(&out->data, &out->len);

    if (!f)
        return err_set(e, ENOMEM, "out of memory");
    fputs("#cloud-config\n", f);
    if (s->hostname)
        fprintf(f, "hostname: \"%s\"\n", s->hostname);
    write_list(f, "ssh_authorized_keys", k);
    return fclose(f) == 0 ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int read_text(struct seed_text *out, const char *option, const char *path, struct err *e)
{
    struct loader_file f;
    int r = loader_file_open(&f, path, SEED_MAX_FILE, e);

    if (r < 0)
        return err_prefix(e, "%s", option);
    out->data = (char *)f.data; /* malloc'ed, as what write_* make */
    out->len = f.size;
    return 0;
}

/* What user-data begins with says what it is; cloud-init passes over anything else without a word on the console. */
static void warn_of_user_data(const struct seed_text *t, const char *path)
{
    static const char *const heads[] = {"#", "\x1f\x8b", "Content-Type:", "MIME-Version:"};

    for (unsigned i = 0; i < ARRAY_SIZE(heads); i++)
        if (t->len >= strlen(heads[i]) && !memcmp(t->data, heads[i], strlen(heads[i])))
            return;
    log_warn(NULL,
             "--user-data %s begins neither with #cloud-config, #! or another word that cloud-init knows; it will "
             "take no notice of it",
             path);
}

/* FNV-1a, 64 bits; the length keeps what follows apart. */
static uint64_t hash(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    for (unsigned i = 0; i < 64; i += 8)
        h = (h ^ (len >> i & 0xff)) * UINT64_C(0x100000001b3);
    return h;
}

enum { SEED_USER, SEED_META, SEED_NETWORK, SEED_FILES };

static int make_texts(struct seed_text t[SEED_FILES], const struct seed *s, const char *name, const struct seed_keys *k,
                      struct err *e)
{
    uint64_t id = UINT64_C(0xcbf29ce484222325);
    int r = s->user_data ? read_text(&t[SEED_USER], "--user-data", s->user_data, e)
                         : write_user_data(&t[SEED_USER], s, k, e);

    if (r < 0)
        return r;
    if (s->user_data)
        warn_of_user_data(&t[SEED_USER], s->user_data);
    if (s->network_config && (r = read_text(&t[SEED_NETWORK], "--network-config", s->network_config, e)) < 0)
        return r;
    if (s->meta_data)
        return read_text(&t[SEED_META], "--meta-data", s->meta_data, e);
    /* With the id that it would have: the file itself is part of the content. */
    if ((r = write_meta_data(&t[SEED_META], s, k, 0, e)) < 0)
        return r;
    id = hash(id, name ? name : "", name ? strlen(name) : 0);
    for (unsigned i = 0; i < SEED_FILES; i++)
        id = hash(id, t[i].data, t[i].len);
    free(t[SEED_META].data);
    t[SEED_META].data = NULL;
    return write_meta_data(&t[SEED_META], s, k, id, e);
}

int seed_make(const struct seed *s, const char *name, uint8_t **image, size_t *len, struct err *e)
{
    static const char *const names[SEED_FILES] = {"user-data", "meta-data", "network-config"};
    struct seed_text text[SEED_FILES] = {{0}};
    struct iso9660_file file[SEED_FILES];
    struct seed_keys keys = {.n = 0};
    unsigned n = 0;
    int r = 0;

    for (unsigned i = 0; i < s->nssh_keys && r >= 0; i++)
        r = read_keys(&keys, s->ssh_key[i], e);
    if (r >= 0)
        r = make_texts(text, s, name, &keys, e);
    for (unsigned i = 0; i < SEED_FILES; i++)
        if (text[i].data)
            file[n++] = (struct iso9660_file){names[i], text[i].data, text[i].len};
    if (r >= 0 && (r = iso9660_make("cidata", file, n, image, len)) < 0)
        err_set(e, -r, "the cloud-init seed cannot be made: %s", strerror(-r));
    for (unsigned i = 0; i < SEED_FILES; i++)
        free(text[i].data);
    keys_free(&keys);
    return r < 0 ? r : 0;
}
