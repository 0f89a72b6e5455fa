/* `pipit run`'s command line and the validation behind both command lines. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/machine/accel.h"
#include "vmm/machine/args.h"

static struct vm_config c;
static struct err e;

/* An x86-64 host without /dev/kvm, wherever this test runs. */
static int no_kvm(struct err *err)
{
    return err_set_status(err, ERR_STATUS_KVM_ABSENT, ENOENT, "there is no /dev/kvm");
}
static const struct accel_host host = {.arch = VM_ARCH_X86, .jit = true, .kvm_probe = no_kvm};

/* Parses one command line, words separated by single spaces; a '~' stands for a space inside a word. */
static int parse(const char *line)
{
    char *copy = strdup(line), *words[128], *save = NULL;
    int n = 0, r;

    for (char *w = strtok_r(copy, " ", &save); w && n < 128; w = strtok_r(NULL, " ", &save)) {
        for (char *p = w; *p; p++)
            *p = *p == '~' ? ' ' : *p;
        words[n++] = w;
    }
    config_free(&c);
    config_init(&c);
    e = (struct err){0};
    r = args_run(&c, n, words, &e);
    if (r == ARGS_RUN)
        r = config_validate(&c, &e);
    free(copy);
    return r;
}

/* Refused, and the sentence names what was wrong. */
static bool refused(const char *line, const char *says)
{
    int r = parse(line);

    if (r < 0 && e.code == -r && strstr(e.msg, says))
        return true;
    printf("  \"%s\" gave %d: %s\n", line, r, e.msg);
    return false;
}

/* The seed's disk comes last, and only when asked for. */
static void seeds(void)
{
    CHECK(parse("--kernel Image --hostname web --disk a.img --ssh-key k1 --ssh-key k2") == 0);
    CHECK_EQ(c.ndisks, 2);
    CHECK(!c.disk[0].seed && c.disk[1].seed && c.disk[1].read_only);
    CHECK_EQ(c.device[0].index, 0);
    CHECK_EQ(c.device[1].index, 1);
    CHECK_EQ(c.seed.nssh_keys, 2);
    CHECK(parse("--kernel Image --user-data u --meta-data m") == 0);
    CHECK(parse("--kernel Image") == 0);
    CHECK_EQ(c.ndisks, 0);
    CHECK(refused("--kernel Image --hostname a_b", "--hostname a_b"));
    CHECK(refused("--kernel Image --user-data u --meta-data m --ssh-key k", "--ssh-key has no place"));
}

static void defaults(void)
{
    CHECK(parse("--kernel Image") == 0);
    CHECK(!strcmp(c.kernel, "Image"));
    CHECK(c.initrd == NULL);
    CHECK(!strcmp(c.cmdline, "console=ttyAMA0"));
    CHECK_EQ(c.memory, GIB(1));
    CHECK_EQ(c.cpus, 1);
    CHECK(!strcmp(c.cpu, "max"));
    CHECK_EQ(c.gic_version, 3);
    CHECK_EQ(c.accel, VM_ACCEL_JIT);
    CHECK_EQ(c.tier, VM_TIER_1);
    CHECK(c.sandbox && !c.no_reboot && c.dtb_randomness && c.status_signals);
    CHECK_EQ(c.status_reset, 3);
    CHECK_EQ(c.ndisks, 0);
    CHECK_EQ(c.serial, 0);
    CHECK(c.chardev[0].kind == VM_CHARDEV_STDIO && c.chardev[0].escapes);
#ifdef HAVE_SLIRP
    CHECK_EQ(c.nnets, 1);
    CHECK(c.net[0].ipv6 && !c.net[0].restricted);
    CHECK(!memcmp(c.net[0].mac, "\x52\x54\x00\x12\x34\x56", 6));
    CHECK_EQ(c.ndevices, 2);
#endif
}

static void every_option(void)
{
    CHECK(parse("--kernel=k --initrd i --cmdline root=/dev/vda1~quiet --memory=2G -c 4 --cpu cortex-a72 --gic 2 "
                "--accel jit --jit interp --name test --no-reboot --sandbox off --log l --pidfile p -v "
                "--block-engine threads --console virtio --kernel-format flat") == 0);
    CHECK(!strcmp(c.kernel, "k") && !strcmp(c.initrd, "i"));
    CHECK(!strcmp(c.cmdline, "root=/dev/vda1 quiet console=ttyAMA0 console=hvc0"));
    CHECK_EQ(c.memory, GIB(2));
    CHECK_EQ(c.cpus, 4);
    CHECK_EQ(c.gic_version, 2);
    CHECK_EQ(c.tier, VM_TIER_INTERP);
    CHECK(c.no_reboot && !c.sandbox && c.kernel_flat);
    CHECK(!strcmp(c.log_file, "l") && !strcmp(c.pidfile, "p") && !strcmp(c.name, "test"));
    CHECK_EQ(c.log_level, LOG_DEBUG);
    CHECK_EQ(c.block_engine, VM_BLOCK_THREADS);
    /* The virtio console shares the terminal with the PL011. */
    CHECK_EQ(c.device[c.ndevices - 1].kind, VM_DEVICE_CONSOLE);
    CHECK_EQ(c.device[c.ndevices - 1].index, c.serial);
    CHECK(parse("--kernel k --cmdline console=tty0") == 0);
    CHECK(!strcmp(c.cmdline, "console=tty0"));
    CHECK(parse("--kernel k --memory 1024 --net none -q") == 0);
    CHECK_EQ(c.memory, GIB(1));
    CHECK_EQ(c.nnets, 0);
    CHECK_EQ(c.log_level, LOG_WARN);
    CHECK(parse("--kernel k --accel auto") == 0);
    CHECK(parse("--dump-dtb f") == 0); /* needs no kernel */
}

static void disks(void)
{
    CHECK(parse("--kernel k --net none -d a.img --disk b,,c.img,ro,serial=S1,cache=none --disk d,format=raw,ro=off") ==
          0);
    CHECK_EQ(c.ndisks, 3);
    CHECK(!strcmp(c.disk[0].path, "a.img") && !c.disk[0].read_only && c.disk[0].format == BLOCK_FORMAT_PROBE);
    CHECK(!strcmp(c.disk[1].path, "b,c.img") && c.disk[1].read_only && !strcmp(c.disk[1].serial, "S1"));
    CHECK_EQ(c.disk[1].cache, VM_CACHE_NONE);
    CHECK(c.disk[2].format == BLOCK_FORMAT_RAW && !c.disk[2].read_only);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(c.device[i].kind, VM_DEVICE_BLK);
        CHECK_EQ(c.device[i].index, i);
        CHECK_EQ(c.device[i].slot, i);
    }
    CHECK(refused("--kernel k --disk a,rw", "\"rw\" is not known; did you mean ro"));
    CHECK(refused("--kernel k --disk a,cache=fast", "cache=fast"));
    CHECK(refused("--kernel k --disk a,format=vmdk", "format=vmdk is not supported"));
    CHECK(refused("--kernel k --disk a,serial=123456789012345678901", "more than 20"));
    CHECK(refused("--kernel k --disk a,ro=perhaps", "ro=perhaps"));
    CHECK(refused("--kernel k --disk ro=on", "names no file"));
    CHECK(refused("--kernel k --disk =x", "without a name"));
}

static void too_many_disks(void)
{
    char line[1024] = "--kernel k --net none";

    for (int i = 0; i < VM_MAX_SLOTS - 1; i++)
        strcat(line, " -d x");
    CHECK(parse(line) == 0); /* and the entropy device */
    CHECK_EQ(c.ndevices, VM_MAX_SLOTS);
    CHECK_EQ(c.device[VM_MAX_SLOTS - 1].slot, VM_MAX_SLOTS - 1);
    strcat(line, " -d x");
    CHECK(refused(line, "room for 32 virtio devices"));
}

static void published_ports(void)
{
    struct net_hostfwd f;
    static const char *const bad[] = {"",
                                      "22",
                                      ":22",
                                      "22:",
                                      "0:22",
                                      "22:0",
                                      "65536:22",
                                      "22:65536",
                                      "a:22",
                                      "22:b",
                                      "1.2.3:22:22",
                                      "::1:22:22x",
                                      "1-3:1-4",
                                      "3-1:3-1",
                                      "1-:1-",
                                      "1-2:1",
                                      "1-2000:1-2000",
                                      "[::1:22:22",
                                      "1:10.0.2.15:2:3:4",
                                      "22:22/sctp",
                                      ":22:22",
                                      "1.2.3.4::22",
                                      "-1:22",
                                      "22 :22",
                                      "localhost:22:22"};

    CHECK(config_publish_parse("2222:22", &f, &e) == 0);
    CHECK(!f.udp && f.host_port == 2222 && f.guest_port == 22 && !*f.host_addr && !*f.guest_addr);
    CHECK(config_publish_parse("0.0.0.0:53:5353/udp", &f, &e) == 0);
    CHECK(f.udp && f.host_port == 53 && f.guest_port == 5353 && !strcmp(f.host_addr, "0.0.0.0"));
    CHECK(config_publish_parse("[::1]:8080:80/tcp", &f, &e) == 0);
    CHECK(!f.udp && !strcmp(f.host_addr, "::1") && f.host_port == 8080 && f.count == 1);
    CHECK(config_publish_parse("8000-8010:9000-9010", &f, &e) == 0);
    CHECK(f.host_port == 8000 && f.guest_port == 9000 && f.count == 11);
    CHECK(config_publish_parse("127.0.0.1:80:10.0.2.16:81", &f, &e) == 0);
    CHECK(!strcmp(f.host_addr, "127.0.0.1") && !strcmp(f.guest_addr, "10.0.2.16") && f.guest_port == 81);
    CHECK(config_publish_parse("80:10.0.2.16:81/udp", &f, &e) == 0);
    CHECK(f.udp && !*f.host_addr && f.host_port == 80 && !strcmp(f.guest_addr, "10.0.2.16"));
    CHECK(config_publish_parse("[::]:80:[fec0::9]:81", &f, &e) == 0);
    CHECK(!strcmp(f.host_addr, "::") && !strcmp(f.guest_addr, "fec0::9"));
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        e = (struct err){0};
        if (config_publish_parse(bad[i], &f, &e) != -EINVAL)
            printf("  taken: \"%s\"\n", bad[i]);
        CHECK(e.code == EINVAL && strstr(e.msg, bad[i]));
    }
    CHECK(parse("--kernel k -p 1:2 -p 127.0.0.1:3:4/udp --mac 52:54:00:00:00:01") == 0);
    CHECK_EQ(c.net[0].nfwd, 2);
    CHECK_EQ(c.net[0].mac[5], 1);
    CHECK(refused("--kernel k --net none -p 1:2", "--publish has no meaning with --net none"));
    CHECK(refused("--kernel k --mac 01:00:00:00:00:01", "group address"));
    CHECK(refused("--kernel k --mac zz", "--mac zz"));
}

static void networks(void)
{
    static const uint8_t first[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    uint8_t mac[6];

    CHECK(
        parse(
            "--kernel k --net tap=vm0,queues=4,offload=off,mac=52:54:00:00:00:09 --net bridge=br0,helper=/h --net user "
            "--net fd=5:6 -p 1:2") == 0);
    CHECK_EQ(c.nnets, 4);
    CHECK(c.net[0].kind == VM_NET_TAP && !strcmp(c.net[0].ifname, "vm0") && c.net[0].queues == 4);
    CHECK(c.net[0].no_offload && c.net[0].mac[5] == 9);
    CHECK(c.net[1].kind == VM_NET_BRIDGE && !strcmp(c.net[1].bridge, "br0") && !strcmp(c.net[1].helper, "/h"));
    CHECK(!c.net[1].no_offload && c.net[1].queues == 0);
    CHECK(c.net[2].kind == VM_NET_USER && c.net[2].nfwd == 1 && c.net[2].ipv6);
    CHECK(c.net[3].kind == VM_NET_TAP && c.net[3].nfds == 2 && c.net[3].fd[0] == 5 && c.net[3].fd[1] == 6);
    CHECK(memcmp(c.net[2].mac, first, 5) == 0);
    /* Addresses that nobody gave: of the tap's name, of chance on a bridge, of the machine's name; all differ. */
    CHECK(parse("--kernel k --net tap=vm1 --net bridge=br0 --net tap=vm2") == 0);
    memcpy(mac, c.net[0].mac, 6);
    CHECK(!memcmp(mac, first, 3) && memcmp(mac, first, 6) && memcmp(mac, c.net[2].mac, 6));
    CHECK(!memcmp(c.net[1].mac, first, 3) && memcmp(c.net[1].mac, first, 6));
    CHECK(parse("--kernel k --net tap=vm1") == 0 && !memcmp(mac, c.net[0].mac, 6));
    CHECK(parse("--kernel k --net tap=vm1 --net tap=vm2 --name one") == 0);
    CHECK(memcmp(mac, c.net[0].mac, 6) && memcmp(c.net[0].mac, c.net[1].mac, 6));
    memcpy(mac, c.net[0].mac, 6);
    CHECK(parse("--kernel k --net user --name one") == 0 && !memcmp(mac, c.net[0].mac, 6));
    CHECK(
        parse(
            "--kernel k --net tap=vm0,queues=4,offload=off,mac=52:54:00:00:00:09 --net bridge=br0,helper=/h --net user "
            "--net fd=5:6 -p 1:2") == 0);
    CHECK(c.device[0].kind == VM_DEVICE_NET && c.device[3].kind == VM_DEVICE_NET && c.device[3].index == 3);
    CHECK(parse("--kernel k --net passt -p 1:2 --net passt,socket=/s") == 0);
    CHECK(c.net[0].kind == VM_NET_PASST && !c.net[0].socket && c.net[0].nfwd == 1);
    CHECK(c.net[1].kind == VM_NET_PASST && !strcmp(c.net[1].socket, "/s"));
    CHECK(refused("--kernel k --net passt,socket=/s -p 1:2", "there is none"));
    CHECK(refused("--kernel k --net passt,sockets=/s", "did you mean socket"));
    CHECK(refused("--kernel k --net passt,socket=", "socket= names nothing"));
    CHECK(refused("--kernel k --net tap", "--net takes user, passt, none, tap=NAME"));
    CHECK(refused("--kernel k --net tap=", "names nothing"));
    CHECK(refused("--kernel k --net tap=a,bridge=b", "one of tap=NAME, fd=N and bridge=NAME"));
    CHECK(refused("--kernel k --net queues=2", "one of tap=NAME, fd=N and bridge=NAME"));
    CHECK(refused("--kernel k --net tap=a,queue=2", "\"queue\" is not known; did you mean queues"));
    CHECK(refused("--kernel k --net tap=a,queues=9", "queues=9: 1 to 8"));
    CHECK(refused("--kernel k --net tap=a,queues=0", "queues=0: 1 to 8"));
    CHECK(refused("--kernel k --net tap=a,helper=h", "helper= has a meaning with bridge="));
    CHECK(refused("--kernel k --net tap=a,mac=x", "mac=x is not an address"));
    CHECK(refused("--kernel k --net tap=a,offload=some", "offload"));
    CHECK(refused("--kernel k --net fd=2", "not a number of an open file"));
    CHECK(refused("--kernel k --net fd=3:", "not a number of an open file"));
    CHECK(refused("--kernel k --net fd=-3", "not a number of an open file"));
    CHECK(refused("--kernel k --net fd=3:4:5:6:7:8:9:10:11", "8 at most"));
    CHECK(refused("--kernel k --net fd=3:4,queues=3", "queues=3 with 2 descriptors"));
    CHECK(refused("--kernel k --net tap=a -p 1:2", "there is none"));
    CHECK(refused("--kernel k --net none --net tap=a", "another --net has no meaning with --net none"));
    CHECK(refused("--kernel k --net tap=a,mac=52:54:00:00:00:09 --mac 52:54:00:00:00:08", "both"));
}

static void hostfwd(void)
{
    struct net_hostfwd f;
    static const char *const bad[] = {"tcp",        "tcp:",       "tcp::22",   "tcp::22-",      "tcp::22-:",
                                      "sctp::1-:2", "tcp:x:1-:2", "tcp::0-:2", "tcp::1-:70000", "tcp::1-h:2"};

    CHECK(config_hostfwd_parse("tcp::2222-:22", &f, &e) == 0);
    CHECK(!f.udp && f.host_port == 2222 && f.guest_port == 22 && !strcmp(f.host_addr, "0.0.0.0"));
    CHECK(config_hostfwd_parse("udp:127.0.0.1:5353-10.0.2.15:53", &f, &e) == 0);
    CHECK(f.udp && !strcmp(f.host_addr, "127.0.0.1") && !strcmp(f.guest_addr, "10.0.2.15"));
    CHECK(config_hostfwd_parse("tcp:[::1]:2222-[fec0::9]:22", &f, &e) == 0);
    CHECK(!strcmp(f.host_addr, "::1") && f.host_port == 2222 && !strcmp(f.guest_addr, "fec0::9") && f.count == 1);
    CHECK(config_hostfwd_parse("tcp::2222-[fec0::9]:22", &f, &e) == 0);
    CHECK(!strcmp(f.host_addr, "::")); /* every address of the same family */
    CHECK(config_hostfwd_parse("unix:/run/x-:22", &f, &e) == -EINVAL && strstr(e.msg, "Unix socket"));
    CHECK(config_hostfwd_parse(":127.0.0.1:1-:2", &f, &e) == 0); /* the protocol may be left out */
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK(config_hostfwd_parse(bad[i], &f, &e) == -EINVAL && strstr(e.msg, bad[i]));
}

static void guestfwd(void)
{
    static struct vm_config own;
    struct net_guestfwd f;
    static const char *const bad[] = {"",
                                      "tcp:10.0.2.100:80",
                                      "tcp:10.0.2.100:80-",
                                      "tcp:10.0.2.100:80-cmd:",
                                      "tcp:10.0.2.100:80-unix:",
                                      "tcp:10.0.2.100:80-tcp:host",
                                      "tcp:10.0.2.100:80-tcp::80",
                                      "tcp:10.0.2.100:80-stdio",
                                      "udp:10.0.2.100:80-cmd:cat",
                                      "tcp:[fec0::9]:80-cmd:cat",
                                      "tcp:10.0.2:80-cmd:cat",
                                      "tcp:10.0.2.100:0-cmd:cat",
                                      "80-cmd:cat"};

    config_init(&own);
    CHECK(config_guestfwd_parse(&own, "tcp:10.0.2.100:80-cmd:nc -N localhost 80", &f, &e) == 0);
    CHECK(f.kind == NET_GUESTFWD_CMD && f.port == 80 && !strcmp(f.addr, "10.0.2.100"));
    CHECK(!strcmp(f.target, "nc -N localhost 80"));
    CHECK(config_guestfwd_parse(&own, ":10.0.2.100:80-unix:/run/a-b.sock", &f, &e) == 0);
    CHECK(f.kind == NET_GUESTFWD_UNIX && !strcmp(f.target, "/run/a-b.sock"));
    CHECK(config_guestfwd_parse(&own, "10.0.2.100:80-tcp:[::1]:8080", &f, &e) == 0);
    CHECK(f.kind == NET_GUESTFWD_TCP && !strcmp(f.target, "::1") && f.target_port == 8080);
    CHECK(config_guestfwd_parse(&own, "tcp::80-tcp:db.test:5432", &f, &e) == 0);
    CHECK(!*f.addr && !strcmp(f.target, "db.test") && f.target_port == 5432);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        int r = config_guestfwd_parse(&own, bad[i], &f, &e);

        if (r != -EINVAL)
            printf("  taken: \"%s\"\n", bad[i]);
        CHECK(r == -EINVAL && strstr(e.msg, bad[i]));
    }
    config_free(&own);
    CHECK(parse("--kernel k --net user,restrict=on,guestfwd=tcp::80-cmd:cat -p 1:2") == 0);
    CHECK(c.net[0].restricted && c.net[0].ipv6 && c.net[0].nguestfwd == 1 && c.net[0].nfwd == 1);
    CHECK(refused("--kernel k --net user,restrikt=on", "option \"restrikt\" is not known; did you mean restrict"));
    CHECK(refused("--kernel k --net none,restrict=on", "--net none: option \"restrict\" is not known"));
    CHECK(refused("--kernel k -p 1-1000:1-1000 -p 2001-2100:1-100", "1100 published ports; at most 1024"));
}

static void refusals(void)
{
    CHECK(refused("", "no kernel"));
    CHECK(refused("--kernal x", "--kernal is not known; did you mean --kernel"));
    CHECK(refused("--kernel x --frobnicate", "--frobnicate is not known (pipit help run"));
    CHECK(refused("one.qcow2 two.qcow2", "two images to start from, one.qcow2 and two.qcow2"));
    CHECK(refused("one.qcow2 --kernel k --name ../x", "../x"));
    CHECK(refused("one.qcow2,sanpshot=on", "did you mean snapshot"));
    CHECK(refused("-", "\"-\""));
    CHECK(refused("-x", "-x is not known"));
    CHECK(refused("--kernel", "--kernel needs a value"));
    CHECK(refused("--kernel=", "--kernel has an empty value"));
    CHECK(refused("--kernel k --no-reboot=yes", "--no-reboot takes no value"));
    CHECK(refused("--kernel k --memory lots", "--memory lots"));
    CHECK(refused("--kernel k --memory 32M", "machine virt needs at least 64 MiB"));
    CHECK(refused("--kernel k --memory 256G", "machine virt has room"));
    CHECK_EQ(e.status, ERR_STATUS_MEMORY);
    CHECK(refused("--kernel k --memory 99999999999T", "is not a size"));
    CHECK(refused("--kernel k --memory 67108865B", "whole number of MiB"));
    CHECK(refused("--kernel k --cpus 0", "--cpus 0"));
    CHECK(refused("--kernel k --cpus 9", "9 CPUs: the JIT runs from 1 to 8"));
    CHECK_EQ(e.status, ERR_STATUS_CPUS);
    CHECK(refused("--kernel k --cpus 4294967296", "--cpus 4294967296"));
    CHECK(refused("--kernel k --cpus 2x", "--cpus 2x"));
    CHECK(refused("--kernel k --cpu cortex-a75", "cortex-a75 is not known; did you mean cortex-a7"));
    CHECK(refused("--kernel k --cpu host", "only KVM"));
    CHECK(refused("--kernel k --gic 4", "--gic takes 2 or 3, not \"4\""));
    CHECK(refused("--kernel k --accel tcg", "--accel takes auto, kvm, jit or an order like kvm:jit, not \"tcg\""));
    CHECK(refused("--kernel k --accel kvm:", "not \"kvm:\""));
    CHECK(refused("--kernel k --accel kvm,jit", "not \"kvm,jit\""));
    CHECK(refused("--kernel k --accel kvm:jit:kvm:jit:kvm", "more than 4"));
    CHECK(refused("--kernel k --jit tier9", "--jit takes"));
    CHECK(refused("--kernel k --console vga", "--console takes"));
    CHECK(refused("--kernel k --net bridge", "--net takes"));
    CHECK(refused("--kernel k --sandbox maybe", "--sandbox takes"));
    CHECK(refused("--kernel k --block-engine aio", "--block-engine takes"));
    CHECK(refused("--dump-dtb f --initrd i", "without a kernel"));
    CHECK(refused("--net none", "no kernel is given: name one with --kernel FILE, or firmware"));
    CHECK(refused("--firmware /no/f,var=x", "\"var\" is not known"));
    CHECK(refused("--firmware /no/f,vars=", "names no file"));
    CHECK(refused("--firmware /no/f --cmdline quiet", "without a kernel"));
    CHECK(refused("--firmware /no/f --kernel k --kernel-format flat", "by their format"));
    CHECK(refused("--firmware /no/f --machine micro", "no flash"));
    CHECK(refused("--firmware /no/f --initrd i", "without a kernel"));
}

static void firmware(void)
{
    CHECK(parse("--firmware /no/f --disk a --disk b") == 0);
    CHECK(c.firmware.used && !strcmp(c.firmware.code.path, "/no/f") && c.firmware.code.read_only);
    CHECK(!c.kernel && !*c.cmdline && !c.firmware.keep_vars);
    CHECK(c.device[0].boot >= 0 && c.device[0].boot < c.device[1].boot);
    CHECK(parse("--firmware /no/f --name x") == 0 && c.firmware.keep_vars);
    CHECK(parse("--firmware /no/f,vars=v --name x") == 0 && !c.firmware.keep_vars &&
          !strcmp(c.firmware.vars.path, "v"));
    CHECK(parse("--firmware /no/f --kernel k") == 0 && !strcmp(c.cmdline, "console=ttyAMA0"));
}

static void accelerators(void)
{
    CHECK(parse("--kernel k") == 0);
    CHECK_EQ(c.accel, VM_ACCEL_JIT);
    CHECK(!strcmp(c.accel_note, "KVM cannot run this guest: it is for arm64, and this host is x86-64; the JIT does"));
    CHECK(parse("--kernel k --accel kvm:jit") == 0);
    CHECK(c.accel == VM_ACCEL_JIT && c.accel_note);
    CHECK(parse("--kernel k --accel jit:kvm") == 0);
    CHECK(c.accel == VM_ACCEL_JIT && !c.accel_note);
    CHECK(parse("--kernel k --jit interp") == 0); /* says which accelerator, too */
    CHECK(c.accel == VM_ACCEL_JIT && !c.accel_note);
    CHECK(refused("--kernel k --accel kvm", "KVM cannot run this guest: it is for arm64, and this host is x86-64"));
    CHECK_EQ(e.status, ERR_STATUS_ACCEL_ARCH);
}

/* On an arm64 host, where KVM can. */
static int kvm_is_there(struct err *err)
{
    (void)err;
    return 0;
}

static void with_kvm(void)
{
    static const struct accel_host arm64 = {.arch = VM_ARCH_ARM64, .kvm_probe = kvm_is_there};

    accel_host = &arm64;
    CHECK(parse("--kernel k --cpus 123") == 0);
    CHECK(c.accel == VM_ACCEL_KVM && !c.accel_note && !strcmp(c.cpu, "host") && c.gic_version == 0);
    CHECK(parse("--kernel k --accel kvm --cpu max --gic 2 --cpus 8") == 0 && !strcmp(c.cpu, "max"));
    CHECK(refused("--kernel k --cpu cortex-a57", "takes host or max"));
    CHECK(refused("--kernel k --cpus 124", "machine virt has from 1 to 123"));
    CHECK_EQ(e.status, ERR_STATUS_CPUS);
    CHECK(refused("--kernel k --gic 2 --cpus 9", "from 1 to 8 with GIC version 2"));
    CHECK(refused("--kernel k --jit tier1", "the JIT is not in this pipit"));
    CHECK(refused("--kernel k --accel kvm --jit tier1", "no meaning with KVM"));
    accel_host = &host;
}

/* The first host CPU that this process may use. */
static unsigned first_cpu(void)
{
    cpu_set_t set;
    unsigned i = 0;

    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    while (i < CPU_SETSIZE - 1 && !CPU_ISSET(i, &set))
        i++;
    return i;
}

static int kvm_on_x86(struct err *err)
{
    (void)err;
    return 0;
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "we");

    if (f) {
        fwrite(data, 1, size, f);
        fclose(f);
    }
}

/* The kernel's content decides, where nobody else has; a FIFO is left alone. */
static void machines(void)
{
    static const struct accel_host x86 = {.arch = VM_ARCH_X86, .jit = true, .kvm_probe = kvm_on_x86};
    static const uint8_t elf_x86[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, [18] = 62, [20] = 1, [52] = 64};
    static const uint8_t elf_arm[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, [18] = 183, [20] = 1, [52] = 64};
    char dir[] = "/tmp/config-test-XXXXXX", line[128];

    accel_host = &x86;
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    write_file("x86", elf_x86, sizeof(elf_x86));
    write_file("arm", elf_arm, sizeof(elf_arm));
    CHECK(mkfifo("fifo", 0600) == 0);
    CHECK(parse("--kernel x86 --net none") == 0 && c.machine == VM_MACHINE_MICRO && c.accel == VM_ACCEL_KVM);
    CHECK(!strcmp(c.cmdline, "console=ttyS0") && !strcmp(c.cpu, "host") && c.gic_version == 0);
    CHECK(parse("--kernel arm") == 0 && c.machine == VM_MACHINE_VIRT && !strcmp(c.cmdline, "console=ttyAMA0"));
    CHECK(parse("--kernel fifo") == 0 && c.machine == VM_MACHINE_VIRT);
    CHECK(parse("--kernel none") == 0 && c.machine == VM_MACHINE_VIRT);
    CHECK(parse("--kernel x86 --kernel-format flat") == 0 && c.machine == VM_MACHINE_VIRT);
    CHECK(parse("--kernel fifo --machine micro --console virtio") == 0 && c.machine == VM_MACHINE_MICRO);
    CHECK(!strcmp(c.cmdline, "console=ttyS0 console=hvc0"));
    CHECK(parse("--kernel x86 --machine virt") == 0 && c.machine == VM_MACHINE_VIRT);
    CHECK(parse("--kernel x86 --machine auto") == 0 && c.machine == VM_MACHINE_MICRO);
    CHECK(refused("--kernel x86 --machine pc", "--machine takes auto, virt or micro"));
    CHECK(refused("--kernel x86 --gic 3", "machine micro has no GIC"));
    CHECK(refused("--kernel x86 --dump-dtb f", "machine micro has no device tree"));
    CHECK(refused("--kernel x86 --accel jit", "the JIT runs arm64"));
    CHECK(refused("--kernel x86 --cpus 256", "machine micro has from 1 to 255"));
    CHECK(refused("--machine micro --kernel x86 --kernel-format flat", "none without a format"));
    strcpy(line, "--kernel x86 --net none");
    for (unsigned i = 0; i < 18; i++)
        strcat(line, " -d x");
    CHECK(parse(line) == 0 && c.ndevices == 19);
    strcat(line, " -d x");
    CHECK(refused(line, "20 virtio devices: machine micro has room for 19"));
    unlink("x86");
    unlink("arm");
    unlink("fifo");
    CHECK(chdir("/") == 0 && rmdir(dir) == 0);
    accel_host = &host;
}

static void running(void)
{
    char pins[64];

    snprintf(pins, sizeof(pins), "--kernel k --pin-loop %u --pin %u", first_cpu(), first_cpu());
    CHECK(parse(pins) == 0 && c.pin.n == 1 && c.pin_loop.n == 1);
    CHECK(parse("--kernel k") == 0);
    CHECK(!c.debug_device && !c.stats && !c.pin.n && !c.pin_loop.n && c.huge_pages == VM_HUGE_PAGES_MADVISE);
    CHECK(parse("--kernel k --debug-device --stats --huge-pages=hugetlb") == 0);
    CHECK(c.debug_device && c.stats && c.huge_pages == VM_HUGE_PAGES_HUGETLB);
    CHECK(parse("--kernel k --huge-pages off") == 0 && c.huge_pages == VM_HUGE_PAGES_OFF);
    CHECK(refused("--kernel k --huge-pages 1G", "--huge-pages takes madvise, hugetlb or off"));
    CHECK(refused("--kernel k --huge-pages hugetlb --memory 65M", "multiple of 2 MiB"));
    CHECK(refused("--kernel k --pin 0 --cpus 2", "1 host CPUs to pin 2 vCPUs to"));
    CHECK(refused("--kernel k --pin 8191", "--pin: host CPU 8191 is not there"));
    CHECK(refused("--kernel k --pin-loop 8191", "--pin-loop: host CPU 8191 is not there"));
    CHECK(refused("--kernel k --pin none", "--pin none is not a list"));
}

static void long_command_lines(void)
{
    static char line[4096] = "--kernel k --cmdline ";

    memset(line + strlen(line), 'a', 2047 - strlen(" console=ttyAMA0"));
    CHECK(parse(line) == 0);
    CHECK_EQ(strlen(c.cmdline), 2047);
    strcat(line, "a");
    CHECK(refused(line, "2048 characters"));
}

static void cmdline_words(void)
{
    CHECK(config_cmdline_has("a console=x b", "console="));
    CHECK(config_cmdline_has("console=", "console="));
    CHECK(!config_cmdline_has("noconsole=x", "console="));
    CHECK(!config_cmdline_has("", "console="));
    CHECK(config_cmdline_has("quiet ro", "ro"));
    CHECK(!config_cmdline_has("root=x", "ro"));
}

static void slots(void)
{
    config_free(&c);
    config_init(&c);
    c.kernel = "k";
    for (int i = 0; i < 4; i++)
        CHECK(config_add_device(&c, VM_DEVICE_RNG, 0, &e) == i);
    c.device[1].slot = 0;
    c.device[3].slot = 31;
    CHECK(config_validate(&c, &e) == 0);
    CHECK(c.device[0].slot == 1 && c.device[1].slot == 0 && c.device[2].slot == 2 && c.device[3].slot == 31);
    c.device[0].slot = 31;
    CHECK(config_validate(&c, &e) == -EINVAL && strstr(e.msg, "slot 31 is given to two"));
    c.device[0].slot = 32;
    CHECK(config_validate(&c, &e) == -EINVAL && strstr(e.msg, "slot 32"));
}

int main(void)
{
    accel_host = &host;
    RUN(defaults);
    RUN(seeds);
    RUN(every_option);
    RUN(disks);
    RUN(too_many_disks);
    RUN(published_ports);
    RUN(networks);
    RUN(hostfwd);
    RUN(guestfwd);
    RUN(refusals);
    RUN(firmware);
    RUN(accelerators);
    RUN(with_kvm);
    RUN(machines);
    RUN(running);
    RUN(long_command_lines);
    RUN(cmdline_words);
    RUN(slots);
    config_free(&c);
    return check_done();
}
