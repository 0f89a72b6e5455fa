/* Names and folders of machines, and overlays over images in them. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/core/loop.h"
#include "vmm/service/life/dirs.h"
#include "vmm/service/life/overlay.h"

static char folder[] = "/tmp/pipit-overlay-XXXXXX";
static struct loop *loop;
static struct block_engine *engine;
static struct err e;

static const char *in(const char *name)
{
    static char path[8][PATH_MAX];
    static unsigned next;
    char *p = path[next++ % 8];

    snprintf(p, PATH_MAX, "%s/%s", folder, name);
    return p;
}

static bool write_image(const char *path, char c, size_t n)
{
    FILE *f = fopen(path, "w");

    for (size_t i = 0; f && i < n; i++)
        fputc(c, f);
    return f && fclose(f) == 0;
}

static bool refused(const char *name, const char *image, int code, const char *says)
{
    struct overlay o;
    int r;

    e = (struct err){0};
    r = overlay_get(&o, engine, name, image, BLOCK_FORMAT_PROBE, 0, &e);
    if (r == -code && strstr(e.msg, says))
        return true;
    printf("  gave %d: %s\n", r, e.msg);
    if (r == 0)
        overlay_free(&o);
    return false;
}

static void test_names(void)
{
    char name[LIFE_NAME_MAX + 1], longest[LIFE_NAME_MAX + 2];

    CHECK(!life_name_check("a", &e) && !life_name_check("web-1.test_2", &e) && !life_name_check("1", &e));
    CHECK(life_name_check("", &e) && life_name_check(".", &e) && life_name_check("..", &e) &&
          life_name_check("-a", &e));
    CHECK(life_name_check("a/b", &e) && life_name_check("a b", &e) && life_name_check("a\n", &e));
    CHECK(life_name_check("\xc3\xa4", &e));
    memset(longest, 'a', sizeof(longest));
    longest[LIFE_NAME_MAX + 1] = '\0';
    CHECK(life_name_check(longest, &e));
    longest[LIFE_NAME_MAX] = '\0';
    CHECK(!life_name_check(longest, &e));
    life_name_from_file(name, "x/debian 12.qcow2");
    CHECK(!strcmp(name, "debian-12"));
    life_name_from_file(name, "..img");
    CHECK(!strcmp(name, "vm"));
    life_name_from_file(name, "/a/.hidden");
    CHECK(!strcmp(name, "hidden"));
}

/* What is written through the overlay is there when it is opened again, and not in the image. */
static void test_keeps(void)
{
    const struct block_options bo = {.writeback = true};
    struct overlay o;
    struct block *b;
    uint8_t buf[512];
    struct stat st;

    CHECK(write_image(in("a.img"), 'a', 4096));
    CHECK_EQ(overlay_get(&o, engine, "web", in("a.img"), BLOCK_FORMAT_PROBE, 1 << 20, &e), 0);
    CHECK(o.made && o.format == BLOCK_FORMAT_RAW && !strcmp(o.image, in("a.img")));
    CHECK(!strcmp(o.path, in("state/pipit/web/disk.qcow2")));
    CHECK(stat(o.path, &st) == 0 && (st.st_mode & 077) == 0);
    CHECK(stat(in("state/pipit/web"), &st) == 0 && (st.st_mode & 0777) == 0700);
    CHECK_EQ(overlay_open(&b, engine, &o, &bo, BLOCK_BACKING_NEAR, &e), 0);
    CHECK_EQ(block_size(b), 1 << 20);
    memset(buf, 'w', sizeof(buf));
    CHECK_EQ(block_run(b, BLOCK_WRITE, 0, 512, sizeof(buf), buf), 0);
    CHECK_EQ(block_run(b, BLOCK_FLUSH, 0, 0, 0, NULL), 0);
    CHECK(!strcmp(qcow2_header(b)->backing_format, "raw"));
    block_close(b);
    overlay_free(&o);

    CHECK_EQ(overlay_get(&o, engine, "web", in("a.img"), BLOCK_FORMAT_PROBE, 0, &e), 0);
    CHECK(!o.made && o.format == BLOCK_FORMAT_RAW);
    CHECK_EQ(overlay_open(&b, engine, &o, &bo, BLOCK_BACKING_NEAR, &e), 0);
    CHECK_EQ(block_run(b, BLOCK_READ, 0, 512, sizeof(buf), buf), 0);
    CHECK_EQ(buf[0], 'w');
    CHECK_EQ(block_run(b, BLOCK_READ, 0, 0, sizeof(buf), buf), 0);
    CHECK_EQ(buf[0], 'a');
    block_close(b);
    /* An image does not open whatever it names: this one names a file outside its folder. */
    CHECK(refused("web2", o.path, EPERM, "backing"));
    overlay_free(&o);
}

static void test_other_images(void)
{
    struct overlay o;

    CHECK(write_image(in("b.img"), 'b', 4096));
    CHECK(refused("web", in("b.img"), ESTALE, "was made from"));
    CHECK(refused("web3", in("none.img"), ENOENT, "cannot be opened"));
    CHECK(refused("we/b", in("b.img"), EINVAL, "--name we/b"));
    CHECK_EQ(overlay_get(&o, engine, "b", in("b.img"), BLOCK_FORMAT_RAW, 0, &e), 0);
    overlay_free(&o);
    CHECK(write_image(in("b.img"), 'c', 8192));
    CHECK(refused("b", in("b.img"), ESTALE, "has changed since"));
    CHECK_EQ(life_state_remove("b", &e), 0);
    CHECK_EQ(overlay_get(&o, engine, "b", in("b.img"), BLOCK_FORMAT_RAW, 0, &e), 0);
    CHECK(o.made);
    overlay_free(&o);
}

static void test_removal(void)
{
    struct overlay o;

    CHECK_EQ(overlay_get(&o, engine, "gone", in("a.img"), BLOCK_FORMAT_PROBE, 0, &e), 0);
    CHECK_EQ(life_state_remove("gone", &e), 0);
    CHECK(access(in("state/pipit/gone"), F_OK) < 0 && access(in("a.img"), F_OK) == 0);
    CHECK_EQ(life_state_remove("gone", &e), 0);
    CHECK_EQ(-life_state_remove("../x", &e), EINVAL);
    overlay_free(&o);
}

/* Folders that others may enter, and links, are not used. */
static void test_hostile_folders(void)
{
    CHECK_EQ(mkdir(in("state/pipit/open"), 0755), 0);
    CHECK(refused("open", in("a.img"), EPERM, "can be entered by other users"));
    CHECK_EQ(symlink(folder, in("state/pipit/link")), 0);
    CHECK(refused("link", in("a.img"), EPERM, "is no folder"));
    CHECK_EQ(-life_state_remove("link", &e), EPERM);
    CHECK_EQ(chmod(in("state/pipit"), 0770), 0);
    CHECK(refused("web", in("a.img"), EPERM, "chmod 700"));
    CHECK_EQ(chmod(in("state/pipit"), 0700), 0);

    CHECK_EQ(mkdir(in("run"), 0700), 0);
    CHECK_EQ(setenv("XDG_RUNTIME_DIR", in("run"), 1), 0);
    CHECK_EQ(-life_runtime_dir(false, &e), ENOENT);
    CHECK_EQ(symlink(folder, in("run/pipit")), 0);
    CHECK_EQ(-life_runtime_dir(true, &e), EPERM);
    CHECK_EQ(unlink(in("run/pipit")), 0);
    int fd = life_runtime_dir(true, &e);
    CHECK(fd >= 0);
    close(fd);
    if (geteuid() == 0) {
        CHECK_EQ(chown(in("run/pipit"), 12345, 12345), 0);
        CHECK_EQ(-life_runtime_dir(true, &e), EPERM);
        CHECK(strstr(e.msg, "another user"));
    }
}

int main(void)
{
    char command[64];

    if (!mkdtemp(folder) || setenv("XDG_STATE_HOME", in("state"), 1) || loop_create(&loop, &e) < 0 ||
        block_engine_create(&engine, loop, false, &e) < 0)
        return 1;
    RUN(test_names);
    RUN(test_keeps);
    RUN(test_other_images);
    RUN(test_removal);
    RUN(test_hostile_folders);
    block_engine_destroy(engine);
    loop_destroy(loop);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (system(command))
        return 1;
    return check_done();
}
