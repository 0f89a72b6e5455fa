/*
 * What boot loaders' files say: GRUB's language and commands, entries of the boot loader specification, extlinux.conf,
 * the order of versions, paths with links. Whole disks are the work of tests/img/boot_test.py.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/lib/text_fs.h"

static struct text_fs t;
static struct boot_entry b;

static void add(const char *path, const char *text)
{
    text_fs_add(&t, path, text, strlen(text));
}

static void start(void)
{
    text_fs_init(&t);
    add("/vmlinuz", "k");
    add("/old", "k");
    add("/initrd", "i");
    memset(&b, 0, sizeof(b));
}

/* Does GRUB, given this configuration, boot /vmlinuz with this command line? NULL: it boots nothing. */
static bool grub(const char *cfg, const char *want)
{
    bool found, good;

    start();
    add("/grub/grubenv", "# GRUB Environment Block\nsaved_entry=two\nkernelopts=root=z ro\nnext_entry=9\n####");
    add("/grub/grub.cfg", cfg);
    add("/grub/more.cfg", "set more=yes\n");
    found = grub_boot(&t.disk, t.fs, "/grub/grub.cfg", "/grub", &b);
    good = want ? found && !strcmp(b.cmdline, want) : !found;
    if (!good)
        printf("  found %d: %s\n", found, found ? b.cmdline : "");
    text_fs_free(&t);
    return good;
}

#define BOOTS(words) "BOOT_IMAGE=/vmlinuz " words

static void test_words(void)
{
    CHECK(grub("linux /vmlinuz a  b\tc # no comment\n", BOOTS("a b c")));
    CHECK(grub("linux /vmlinuz 'a  b' \"c $x\" \\\n d\\ e\\'f a#b ''", BOOTS("a  b c  d e'f a#b ")));
    CHECK(grub("set v='1 2'\nlinux /vmlinuz $v \"$v\" '$v' ${v}x $ $none y", BOOTS("1 2 1 2 $v 1 2x $ y")));
    CHECK(grub("set v=a\\\"b; linux /vmlinuz \"\\$v \\x\" $v", BOOTS("$v \\x a\"b")));
    CHECK(grub("linux /vmlinuz \"never ends", BOOTS("never ends")));
    CHECK(grub("linux /vmlinuz ${never ends", "BOOT_IMAGE=/vmlinuz"));
    CHECK(grub("linux /nowhere a", NULL));
    CHECK(grub("", NULL));
}

static void test_conditions(void)
{
    CHECK(grub("if [ a = a ]; then set x=1; else set x=2; fi; linux /vmlinuz $x", BOOTS("1")));
    CHECK(grub("if [ a = b ]; then set x=1; elif true; then set x=2; else set x=3; fi\nlinux /vmlinuz $x", BOOTS("2")));
    CHECK(grub("if false; then if true; then set x=1; fi; else set x=3; fi\nlinux /vmlinuz $x", BOOTS("3")));
    CHECK(grub("if [ 10 -gt 9 -a ! -z \"$root\" ]; then linux /vmlinuz yes; fi", BOOTS("yes")));
    CHECK(grub("if [ ( a = b -o c != d ) -a -n x ]; then linux /vmlinuz yes; fi", BOOTS("yes")));
    CHECK(grub("if test -f /vmlinuz -a -d /grub -a -s $prefix/grubenv; then linux /vmlinuz yes; fi", BOOTS("yes")));
    CHECK(grub("if [ -e (hd0,gpt1)/old ]; then linux (hd0,gpt1)/vmlinuz yes; fi", "BOOT_IMAGE=(hd0,gpt1)/vmlinuz yes"));
    CHECK(grub("if [ -e (hd0,gpt7)/old ]; then linux /vmlinuz yes; fi", NULL));
    CHECK(grub("if unknown_command; then linux /vmlinuz yes; fi", NULL));
    CHECK(grub("for i in 1 2; do linux /vmlinuz loop; done; while true; do true; done; linux /vmlinuz end",
               BOOTS("end")));
    CHECK(grub("function f { set x=\"$1-$2\"; }\nf a b\nlinux /vmlinuz $x $1", BOOTS("a-b")));
}

static void test_menu(void)
{
    static const char menu[] = "menuentry One --class x { linux /vmlinuz 1; }\n"
                               "menuentry \"T w o\" --id two {\n linux /vmlinuz 2\n initrd /initrd\n}\n"
                               "submenu More --id more { menuentry A --id a { linux /vmlinuz a; }\n"
                               "menuentry B { linux /vmlinuz b $more; }\n }\n"
                               "menuentry Firmware { fwsetup; }\n";
    static const struct {
        const char *first, *want;
    } rows[] = {
        {"", BOOTS("1")},
        {"default=1", BOOTS("2")},
        {"set default=1", BOOTS("2")},
        {"unknown_command 1=1; if ! unknown_command; then default='more>a'; fi", BOOTS("a")},
        {"id=--id; menuentry Zero $id zero { linux /vmlinuz 0; }; default=\"zero\"", BOOTS("0")},
        {"set default=two", BOOTS("2")},
        {"set default='T w o'", BOOTS("2")},
        {"set default=2", BOOTS("a")},
        {"set default='more>1'", BOOTS("b")},
        {"source $prefix/more.cfg; set default='2>B'", BOOTS("b yes")},
        {"set default=9", BOOTS("1")},
        {"set default=Firmware", BOOTS("1")},
        {"load_env; set default=$saved_entry; if [ \"$next_entry\" ]; then set default=0; fi", BOOTS("2")},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        char cfg[1024];

        snprintf(cfg, sizeof(cfg), "%s\n%s", rows[i].first, menu);
        CHECK(grub(cfg, rows[i].want));
    }
}

static void test_search(void)
{
    CHECK(grub("set root=hd5,gpt9; search --no-floppy --fs-uuid --set=root --hint hd0 1234-abcd; linux /vmlinuz $root",
               BOOTS("hd0,gpt1")));
    CHECK(
        grub("search -l --set dev boot; search.file /vmlinuz d2; linux /vmlinuz $dev $d2", BOOTS("hd0,gpt1 hd0,gpt1")));
    CHECK(grub("if search --fs-uuid 0000-0000; then linux /vmlinuz; fi", NULL));
}

/* What calls itself, or grows without end, ends; and quickly. */
static void test_bounds(void)
{
    static char deep[200000];
    size_t n = 0;

    CHECK(grub("function f { f; }; f; linux /vmlinuz", NULL));
    CHECK(grub("source /grub/grub.cfg; linux /vmlinuz", NULL));
    CHECK(grub("submenu A { submenu B { submenu C { submenu D { submenu E { submenu F { linux /vmlinuz; } } } } } }",
               NULL));
    CHECK(grub("set a=xxxxxxxx; function g { set a=$a$a$a$a; g; }; g; linux /vmlinuz", NULL));
    while (n + 16 < sizeof(deep))
        n += (size_t)sprintf(deep + n, "if true; then ");
    CHECK(grub(deep, NULL));
    n = 0;
    while (n + 32 < sizeof(deep))
        n += (size_t)sprintf(deep + n, "menuentry x { true\n}\n");
    CHECK(grub(deep, NULL));
}

static void test_versions(void)
{
    static const char *const up[] = {"",      "5.9",     "5.10",     "5.10.1",        "6.1.0~rc1",
                                     "6.1.0", "6.1.0-9", "6.1.0-10", "6.1.0-10-cloud"};

    for (unsigned i = 0; i < ARRAY_SIZE(up); i++)
        for (unsigned k = 0; k < ARRAY_SIZE(up); k++) {
            int r = boot_version_compare(up[i], up[k]);

            if ((r < 0) != (i < k) || (r > 0) != (i > k))
                printf("  %s and %s: %d\n", up[i], up[k], r);
            CHECK((r < 0) == (i < k) && (r > 0) == (i > k));
        }
    CHECK_EQ(boot_version_compare("007", "7"), 0);
}

static void test_bls(void)
{
    start();
    add("/loader/entries/x-6.9.conf", "title Nine\nversion 6.9\nlinux /old\noptions a\n");
    add("/loader/entries/x-6.10+3.conf",
        "#c\n\n title  Ten \r\nversion 6.10\nlinux /vmlinuz\noptions $kernelopts b\noptions c\ninitrd /initrd\n");
    add("/loader/entries/x-6.11+0-3.conf", "linux /vmlinuz\noptions failed\n");
    add("/loader/entries/x-6.12.conf", "efi /uki.efi\n");
    add("/loader/entries/x-6.13.conf", "linux /missing\n");
    add("/grub2/grubenv", "kernelopts=root=z ro\n");
    CHECK(bls_boot(&t.disk, t.fs, "", &b));
    CHECK(!strcmp(b.title, "Ten"));
    CHECK(!strcmp(b.cmdline, "root=z ro b c"));
    CHECK_EQ(b.ninitrds, 1);
    add("/loader/loader.conf", "timeout 3\ndefault x-6.9*\n");
    CHECK(bls_boot(&t.disk, t.fs, "", &b));
    CHECK(!strcmp(b.cmdline, "a"));
    text_fs_free(&t);
    /* A sort-key comes before none, and orders downwards by version. */
    start();
    add("/loader/entries/z.conf", "linux /old\noptions z\n");
    add("/loader/entries/a.conf", "linux /old\nsort-key k\nversion 2\noptions two\n");
    add("/loader/entries/b.conf", "linux /old\nsort-key k\nversion 1\noptions one\n");
    CHECK(bls_boot(&t.disk, t.fs, "", &b));
    CHECK(!strcmp(b.cmdline, "two"));
    text_fs_free(&t);
}

static void test_extlinux(void)
{
    start();
    add("/boot/extlinux/extlinux.conf",
        "default two\nLabel one\n kernel /old\nlabel two\n linux ../../vmlinuz\n append root=x initrd=/initrd quiet\n");
    CHECK(extlinux_boot(&t.disk, t.fs, "/boot/extlinux/extlinux.conf", &b));
    CHECK(!strcmp(b.cmdline, "root=x initrd=/initrd quiet"));
    CHECK(!strcmp(b.title, "two"));
    CHECK_EQ(b.ninitrds, 1);
    add("/one.conf", "label gone\nlinux nowhere\nlabel here\nmenu label Here\nfdt x\nlinux vmlinuz\n");
    CHECK(extlinux_boot(&t.disk, t.fs, "/one.conf", &b));
    CHECK(!strcmp(b.title, "Here"));
    add("/none.conf", "append x\nlinux vmlinuz\n");
    CHECK(!extlinux_boot(&t.disk, t.fs, "/none.conf", &b));
    text_fs_free(&t);
}

static void test_paths(void)
{
    struct fs_node n;

    start();
    text_fs_link(&t, "/a/up", "../vmlinuz");
    text_fs_link(&t, "/a/abs", "/a/up");
    text_fs_link(&t, "/a/self", "self");
    text_fs_link(&t, "/a/there", "back");
    text_fs_link(&t, "/a/back", "there");
    text_fs_link(&t, "/a/dir", "/a");
    CHECK(fs_is_file(t.fs, "/a/up") && fs_is_file(t.fs, "a//./abs") && fs_is_file(t.fs, "/../../a/dir/dir/up"));
    CHECK_EQ(fs_walk(t.fs, "/a/self", &n), -ELOOP);
    CHECK_EQ(fs_walk(t.fs, "/a/there", &n), -ELOOP);
    CHECK_EQ(fs_walk(t.fs, "/vmlinuz/x", &n), -ENOTDIR);
    CHECK_EQ(fs_walk(t.fs, "/a/nothing", &n), -ENOENT);
    CHECK(fs_is_dir(t.fs, "/") && !fs_is_file(t.fs, "/a") && !fs_is_dir(t.fs, "/vmlinuz"));
    text_fs_free(&t);
}

int main(void)
{
    RUN(test_words);
    RUN(test_conditions);
    RUN(test_menu);
    RUN(test_search);
    RUN(test_bounds);
    RUN(test_versions);
    RUN(test_bls);
    RUN(test_extlinux);
    RUN(test_paths);
    return check_done();
}
