/* The cloud-init seed: what is in it, by a reader of its own, and what is refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/iso9660.h"
#include "loader/seed.h"
#include "tests/check.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGnmGEohxDyiUrjt7XAjVp6AZJFnSfKEHmGTyzoLTEoL"

static char folder[] = "/tmp/pipit-seed-XXXXXX";
static uint8_t *image;
static size_t image_len;
static struct err e;

/* A file in the folder; returns its name. */
static const char *put(const char *name, const char *text)
{
    static char path[8][128];
    static unsigned next;
    char *p = path[next++ % 8];
    FILE *f;

    snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
    f = fopen(p, "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
    return p;
}

static int make(const struct seed *s, const char *name)
{
    int r;

    free(image);
    image = NULL;
    e = (struct err){0};
    r = seed_check(s, &e);
    return r < 0 ? r : seed_make(s, name, &image, &image_len, &e);
}

static bool refused(const struct seed *s, const char *says)
{
    int r = make(s, NULL);

    if (r < 0 && e.code == -r && strstr(e.msg, says))
        return true;
    printf("  gave %d: %s\n", r, e.msg);
    return false;
}

/* The file of the root folder with this Rock Ridge name, NUL-terminated, or NULL. */
static const char *find(const char *name)
{
    static char text[4096];
    const uint8_t *root = image + 20 * 2048, *p = root + root[0];

    for (p += *p; p < root + 2048 && *p; p += *p) {
        size_t su = align_up(33 + p[32], 2);
        uint32_t at = le32_get(p + 2), len = le32_get(p + 10);

        for (const uint8_t *x = p + su; x + 4 <= p + *p && x[2]; x += x[2])
            if (!memcmp(x, "NM", 2) && x[2] == 5 + strlen(name) && !memcmp(x + 5, name, strlen(name))) {
                if (!range_within((uint64_t)at * 2048, len, image_len) || len >= sizeof(text))
                    return NULL;
                memcpy(text, image + (size_t)at * 2048, len);
                text[len] = '\0';
                return text;
            }
    }
    return NULL;
}

static void test_own_files(void)
{
    const struct seed s = {
        .hostname = "a.b-1", .ssh_key = {put("k.pub", "# mine\n" KEY " me@\"x\n\n" KEY " me\r\n")}, .nssh_keys = 1};

    CHECK_EQ(make(&s, "vm"), 0);
    CHECK(!memcmp(image + 16 * 2048 + 40, "cidata  ", 8));
    CHECK_EQ(le32_get(image + 16 * 2048 + 80), image_len / 2048);
    /* As small as it gets: libarchive reads 24 sectors to tell what it has. */
    CHECK(image_len >= 24 * 2048);
    CHECK(find("user-data") && find("meta-data") && !find("network-config"));
    CHECK(!strcmp(find("user-data"),
                  "#cloud-config\nhostname: \"a.b-1\"\nssh_authorized_keys:\n  - \"" KEY "\"\n  - \"" KEY " me\"\n"));
    CHECK(strstr(find("meta-data"), "\nlocal-hostname: \"a.b-1\"\npublic-keys:\n  - \"" KEY "\"\n"));
}

static void test_given_files(void)
{
    struct seed s = {.user_data = put("u", "#!/bin/sh\n"), .network_config = put("n", "version: 2\n")};

    CHECK_EQ(make(&s, NULL), 0);
    CHECK(!strcmp(find("user-data"), "#!/bin/sh\n"));
    CHECK(!strcmp(find("network-config"), "version: 2\n"));
    CHECK(!strstr(find("meta-data"), "public-keys"));
    /* Beside a user-data of one's own, a key is meta-data's. */
    s.ssh_key[s.nssh_keys++] = put("k.pub", KEY "\n");
    CHECK_EQ(make(&s, NULL), 0);
    CHECK(!strcmp(find("user-data"), "#!/bin/sh\n"));
    CHECK(strstr(find("meta-data"), KEY));
    s.meta_data = put("m", "instance-id: x\n");
    CHECK(refused(&s, "--ssh-key has no place"));
    s.nssh_keys = 0;
    CHECK_EQ(make(&s, NULL), 0);
    CHECK(!strcmp(find("meta-data"), "instance-id: x\n"));
}

/* The instance-id is the same for the same name and content, and another one otherwise. */
static void test_instance_id(void)
{
    struct seed s = {.hostname = "a"};
    char id[3][64];

    CHECK_EQ(make(&s, "one"), 0);
    snprintf(id[0], sizeof(id[0]), "%s", find("meta-data"));
    CHECK_EQ(make(&s, "one"), 0);
    CHECK(!strcmp(id[0], find("meta-data")));
    CHECK_EQ(make(&s, "two"), 0);
    snprintf(id[1], sizeof(id[1]), "%s", find("meta-data"));
    CHECK(strcmp(id[0], id[1]) != 0);
    s.network_config = put("n", "version: 2\n");
    CHECK_EQ(make(&s, "one"), 0);
    snprintf(id[2], sizeof(id[2]), "%s", find("meta-data"));
    CHECK(strcmp(id[0], id[2]) != 0);
    CHECK(!strncmp(id[0], "instance-id: pipit-", 19));
}

static void test_hostnames(void)
{
    char label[66];

    CHECK(seed_hostname_is_good("a") && seed_hostname_is_good("1a.example.org") && seed_hostname_is_good("A-b"));
    CHECK(!seed_hostname_is_good("") && !seed_hostname_is_good("-a") && !seed_hostname_is_good("a-"));
    CHECK(!seed_hostname_is_good("a..b") && !seed_hostname_is_good("a.") && !seed_hostname_is_good("a_b"));
    CHECK(!seed_hostname_is_good("a\nb") && !seed_hostname_is_good("\xc3\xa9"));
    memset(label, 'a', 64);
    label[64] = '\0';
    CHECK(!seed_hostname_is_good(label));
    label[63] = '\0';
    CHECK(seed_hostname_is_good(label));
    CHECK(refused(&(struct seed){.hostname = "a b"}, "--hostname a b"));
}

static bool key_refused(const char *text, const char *says)
{
    return refused(&(struct seed){.ssh_key = {put("key", text)}, .nssh_keys = 1}, says);
}

static void test_bad_keys(void)
{
    CHECK(key_refused("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb\n", "private key"));
    CHECK(key_refused("-----BEGIN RSA PRIVATE KEY-----\nb3Blb\n", "key.pub"));
    CHECK(key_refused("hello\n", "no OpenSSH public key"));
    CHECK(key_refused("ssh-ed25519\n", "no OpenSSH public key"));
    CHECK(key_refused("ssh-ed25519 AAAA\n", "no OpenSSH public key"));
    CHECK(key_refused("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGnmGEohxDyiUrjt7XAjVp6AZJFnSfKEHmGTyzoLTEoL\n", "no OpenSSH"));
    CHECK(key_refused("command=\"x\" " KEY "\n", "no OpenSSH public key"));
    CHECK(key_refused("# nothing\n\n", "has no key"));
    CHECK(key_refused("", "empty"));
    CHECK(refused(&(struct seed){.ssh_key = {"/nowhere/key"}, .nssh_keys = 1}, "cannot open /nowhere/key"));
    CHECK(refused(&(struct seed){.ssh_key = {folder}, .nssh_keys = 1}, "is a directory"));
}

static void test_sizes(void)
{
    char *big = malloc(SEED_MAX_FILE + 2);

    CHECK(big);
    memset(big, '#', SEED_MAX_FILE + 1);
    big[SEED_MAX_FILE + 1] = '\0';
    CHECK(refused(&(struct seed){.user_data = put("big", big)}, "larger than the 1 MiB"));
    big[SEED_MAX_FILE] = '\0';
    CHECK_EQ(make(&(struct seed){.user_data = put("big", big)}, NULL), 0);
    CHECK(refused(&(struct seed){.meta_data = "/dev/zero"}, "--meta-data: /dev/zero is a device"));
    free(big);
}

static void test_iso_refuses(void)
{
    const struct iso9660_file same[] = {{"network-1", "a", 1}, {"network-2", "b", 1}}, upper = {"A", "a", 1};
    uint8_t *out;
    size_t len;

    CHECK_EQ(-iso9660_make("x", same, 2, &out, &len), EINVAL);
    CHECK_EQ(-iso9660_make("x", &upper, 1, &out, &len), EINVAL);
    CHECK_EQ(-iso9660_make("a label that is longer than it may be", NULL, 0, &out, &len), EINVAL);
}

int main(void)
{
    char command[64];

    if (!mkdtemp(folder))
        return 1;
    log_set_level(LOG_ERROR);
    RUN(test_own_files);
    RUN(test_given_files);
    RUN(test_instance_id);
    RUN(test_hostnames);
    RUN(test_bad_keys);
    RUN(test_sizes);
    RUN(test_iso_refuses);
    free(image);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (system(command))
        return 1;
    return check_done();
}
