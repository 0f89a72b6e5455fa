/* QEMU's command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/machine/accel.h"
#include "vmm/machine/args.h"

static struct vm_config c;
static struct err e;
static int notes[2]; /* a pipe that takes the log */

/* An x86-64 host without /dev/kvm, wherever this test runs. */
static int no_kvm(struct err *err)
{
    return err_set_status(err, ERR_STATUS_KVM_ABSENT, ENOENT, "there is no /dev/kvm");
}
static const struct accel_host host = {.arch = VM_ARCH_X86, .jit = true, .kvm_probe = no_kvm};

/* As in config_test.c: words at single spaces, '~' for a space inside a word. */
static int parse_as(int (*args)(struct vm_config *, int, char **, struct err *), const char *line)
{
    char *copy = strdup(line), *words[96], *save = NULL;
    int n = 0, r;

    for (char *w = strtok_r(copy, " ", &save); w && n < 96; w = strtok_r(NULL, " ", &save)) {
        for (char *p = w; *p; p++)
            *p = *p == '~' ? ' ' : *p;
        words[n++] = w;
    }
    config_free(&c);
    config_init(&c);
    e = (struct err){0};
    r = args(&c, n, words, &e);
    if (r == ARGS_RUN)
        r = config_validate(&c, &e);
    free(copy);
    return r;
}

static int parse(const char *line)
{
    return parse_as(args_qemu, line);
}

static bool refused_as(int (*args)(struct vm_config *, int, char **, struct err *), const char *line, const char *says)
{
    int r = parse_as(args, line);

    if (r < 0 && strstr(e.msg, says))
        return true;
    printf("  \"%s\" gave %d: %s\n", line, r, e.msg);
    return false;
}

static bool refused(const char *line, const char *says)
{
    return refused_as(args_qemu, line, says);
}

static unsigned count_notes(void)
{
    char buf[4096];
    ssize_t n = read(notes[0], buf, sizeof(buf) - 1);
    unsigned lines = 0;

    for (ssize_t i = 0; i < n; i++)
        lines += buf[i] == '\n';
    return lines;
}

/* The command line of issue reports and tutorials, as it stands. */
static void the_usual_command_line(void)
{
    count_notes();
    CHECK(parse("-M virt -cpu cortex-a57 -smp 2 -m 2048 -kernel vmlinuz -initrd initrd.img -append console=ttyAMA0 "
                "-drive file=disk.img,if=virtio -netdev user,id=net0,hostfwd=tcp::2222-:22,hostfwd=tcp::8080-:80 "
                "-device virtio-net-pci,netdev=net0 -nographic") == 0);
    CHECK_EQ(count_notes(), 1);
    CHECK(!strcmp(c.cpu, "cortex-a57"));
    CHECK_EQ(c.cpus, 2);
    CHECK_EQ(c.memory, GIB(2));
    CHECK_EQ(c.gic_version, 2);
    CHECK(!strcmp(c.cmdline, "console=ttyAMA0"));
    CHECK_EQ(c.ndevices, 2);
    CHECK(c.device[0].kind == VM_DEVICE_BLK && c.device[0].slot == 0);
    CHECK(c.device[1].kind == VM_DEVICE_NET && c.device[1].slot == 1);
    CHECK_EQ(c.nnets, 1);
    CHECK_EQ(c.net[0].nfwd, 2);
    CHECK(c.net[0].fwd[1].host_port == 8080 && c.net[0].fwd[1].guest_port == 80);
    CHECK(c.disk[0].format == BLOCK_FORMAT_PROBE);
    CHECK(c.serial == 0 && c.chardev[0].kind == VM_CHARDEV_STDIO && c.chardev[0].escapes);
    CHECK(c.status_reset == 0 && !c.status_signals);
}

static void the_scripts_command_line(void)
{
    CHECK(
        parse("-M virt -cpu max -smp 2 -m 1024 -kernel k -initrd i -append x -nodefaults -nographic -serial mon:stdio "
              "-no-reboot -netdev user,id=net0 -device virtio-net-device,netdev=net0 -device virtio-rng-device "
              "-drive file=d,if=none,id=disk0,format=raw -device virtio-blk-device,drive=disk0") == 0);
    CHECK_EQ(c.ndevices, 3);
    CHECK(c.device[0].kind == VM_DEVICE_NET && c.device[1].kind == VM_DEVICE_RNG && c.device[2].kind == VM_DEVICE_BLK);
    CHECK(c.no_reboot && c.disk[0].format == BLOCK_FORMAT_RAW);
    CHECK_EQ(c.nchardevs, 1);
}

static void any_order(void)
{
    /* Devices before the back ends that they name, settings last, both dashes. */
    CHECK(
        parse("--device virtio-blk-pci,drive=d1,serial=X --nographic -device virtio-net,netdev=n,mac=52:54:00:aa:bb:cc "
              "--netdev user,id=n -drive if=none,id=d1,file=a,,b --kernel k -m size=1G -M virt") == 0);
    CHECK(!strcmp(c.disk[0].path, "a,b") && !strcmp(c.disk[0].serial, "X"));
    CHECK(c.device[0].kind == VM_DEVICE_BLK && c.device[1].kind == VM_DEVICE_NET);
    CHECK_EQ(c.ndevices, 2);
    CHECK_EQ(c.net[0].mac[3], 0xaa);
    CHECK_EQ(c.memory, GIB(1));
}

static void disks_in_order(void)
{
    CHECK(parse("-kernel k -nodefaults -drive file=a -device virtio-blk-device,drive=b -drive file=b,if=none,id=b "
                "-drive file=c,readonly=on,cache=unsafe,if=virtio,media=disk,index=2 d.img -hda e") == 0);
    CHECK_EQ(c.ndisks, 5);
    CHECK_EQ(c.ndevices, 5);
    for (unsigned i = 0; i < 5; i++) {
        static const char *const want[] = {"a", "b", "c", "d.img", "e"};

        CHECK(c.device[i].kind == VM_DEVICE_BLK);
        CHECK(!strcmp(c.disk[c.device[i].index].path, want[i]));
    }
    CHECK(c.disk[2].read_only && c.disk[2].cache == VM_CACHE_UNSAFE);
    CHECK(parse("-kernel k -drive file=a,media=cdrom,aio=threads") == 0);
    CHECK(c.disk[0].read_only && c.block_engine == VM_BLOCK_THREADS);
    CHECK(parse("-kernel k -drive file=a,if=virtio,cache=writeback,discard=ignore,format=qcow2,detect-zeroes=off") ==
          0);
    CHECK(c.disk[0].no_discard);
    CHECK(parse("-kernel k -drive file=a,discard=unmap,cache.direct=on,cache.no-flush=off -drive "
                "file=b,cache.no-flush=on -drive file=c,cache.writeback=off") == 0);
    CHECK(!c.disk[0].no_discard && c.disk[0].cache == VM_CACHE_NONE && c.disk[1].cache == VM_CACHE_UNSAFE &&
          c.disk[2].cache == VM_CACHE_WRITETHROUGH);
    CHECK(refused("-kernel k -drive file=a,discard=maybe", "discard=maybe"));
    CHECK(refused("-kernel k -drive file=a,cache=none,cache.direct=on", "cache="));
    CHECK(refused("-kernel k -drive file=a,cache.direct=on,cache.no-flush=on", "cache.no-flush=on"));
    CHECK(parse("-kernel k -hda a -hdb b -cdrom c") == 0);
    CHECK(c.ndisks == 3 && !c.disk[1].read_only && c.disk[2].read_only && !strcmp(c.disk[2].path, "c"));
    CHECK(parse("-kernel k -drive file=a,cache=none,aio=native") == 0 && c.block_engine == VM_BLOCK_AUTO);
    CHECK(refused("-kernel k -drive file=a,aio=native", "wants cache=none"));
    CHECK(parse("-kernel k -drive driver=qcow2,file.driver=file,file.filename=a,if=virtio") == 0);
    CHECK(!strcmp(c.disk[0].path, "a") && c.disk[0].format == BLOCK_FORMAT_QCOW2);
    CHECK(refused("-kernel k -drive file.driver=nbd,file.filename=a", "file.driver=nbd"));
    CHECK(parse("-kernel k -netdev user,id=n -device virtio-net-pci,netdev=n,romfile=,disable-legacy=on") == 0);
    CHECK(refused("-kernel k -netdev user,id=n -device virtio-net-pci,netdev=n,romfile=x", "romfile"));
    CHECK(refused("-drive file=/nonexistent/a", "/nonexistent/a"));
    CHECK(refused("-m 256", "no kernel is given: name one with -kernel FILE"));
    CHECK(refused("-kernel k -smbios type=1,serial=ds=nocloud", "cidata"));
    CHECK(refused("-kernel k -drive file=a,index=3", "index=3"));
    CHECK(refused("-kernel k -drive file=a,format=vmdk", "format=vmdk"));
    CHECK(refused("-kernel k -drive file=a,copy-on-read=on", "copy-on-read=on"));
    CHECK(refused("-kernel k -drive file=a,if=scsi", "if=scsi"));
    CHECK(refused("-kernel k -drive file=a,bus=1", "\"bus\" is not supported"));
    CHECK(refused("-kernel k -drive if=virtio", "names no file"));
    CHECK(refused("-kernel k -drive file=a,if=none,id=a", "no device uses it"));
    CHECK(refused("-kernel k -drive file=a,if=none,id=a -drive file=b,id=a", "\"a\" is taken"));
    CHECK(refused("-kernel k -device virtio-blk-pci,drive=zz", "\"zz\""));
    CHECK(refused("-kernel k -device virtio-blk-pci", "no drive="));
    CHECK(refused("-kernel k -drive file=a,id=a -device virtio-blk-pci,drive=a", "has a device already"));
}

static void snapshots_and_errors(void)
{
    CHECK(parse("-kernel k -snapshot -drive file=a -drive file=b,snapshot=off -drive file=c,readonly=on -hda d") == 0);
    CHECK(c.disk[0].snapshot && !c.disk[1].snapshot && !c.disk[2].snapshot && c.disk[3].snapshot);
    CHECK(parse("-kernel k -drive file=a,werror=enospc,rerror=stop -drive file=b,werror=ignore") == 0);
    CHECK(c.disk[0].werror == VM_ERROR_ENOSPC && c.disk[0].rerror == VM_ERROR_STOP);
    CHECK(c.disk[1].werror == VM_ERROR_IGNORE && c.disk[1].rerror == VM_ERROR_REPORT);
    CHECK(refused("-kernel k -drive file=a,rerror=enospc", "rerror=enospc is none of report, ignore and stop"));
    CHECK(refused("-kernel k -drive file=a,werror=pause", "werror=pause is none of report, ignore, stop and enospc"));
}

static void networks(void)
{
#ifdef HAVE_SLIRP
    CHECK(parse("-kernel k") == 0 && c.nnets == 1 && c.ndevices == 1);
#endif
    CHECK(parse("-kernel k -nodefaults") == 0 && c.nnets == 0);
    CHECK(parse("-kernel k -nic none") == 0 && c.nnets == 0);
    CHECK(parse("-kernel k -net none") == 0 && c.nnets == 0);
    CHECK(parse("-kernel k -nic user,model=virtio-net-pci,mac=52:54:00:00:00:09,hostfwd=udp::1-:2,restrict=on") == 0);
    CHECK(c.nnets == 1 && c.net[0].restricted && c.net[0].fwd[0].udp && c.net[0].mac[5] == 9);
    CHECK(parse("-kernel k -net nic,model=virtio,macaddr=52:54:00:00:00:08 -net user,hostfwd=tcp::1-:2") == 0);
    CHECK(c.nnets == 1 && c.ndevices == 1 && c.net[0].nfwd == 1 && c.net[0].mac[5] == 8);
    CHECK(parse("-kernel k -netdev user,id=a,dns=10.0.2.3,hostname=h,ipv6=off,net=10.0.2.0/24 -net nic,netdev=a") == 0);
    CHECK(!c.net[0].ipv6 && !strcmp(c.net[0].hostname, "h") && !strcmp(c.net[0].addrs.dns, "10.0.2.3"));
    CHECK(parse("-kernel k -nic user -nic user") == 0);
    CHECK(c.net[0].mac[5] == 0x56 && c.net[1].mac[5] == 0x57);
    CHECK(refused("-kernel k -netdev vde,id=a",
                  "-netdev vde is not supported; user, tap, bridge, stream and socket are"));
    CHECK(refused("-kernel k -netdev id=a", "-netdev without a type"));
    CHECK(refused("-kernel k -netdev user", "has no id"));
    CHECK(parse("-kernel k -netdev tap,id=a,ifname=t,script=no,downscript=no,queues=2,vhost=on -device "
                "virtio-net-pci,netdev=a,mq=on,vectors=6,mac=52:54:00:00:00:07 -nic bridge,br=br1,model=virtio -netdev "
                "tap,id=b,fds=7:8 -device virtio-net-device,netdev=b -nic tap,br=br2,helper=/h") == 0);
    CHECK(c.net[0].kind == VM_NET_TAP && !strcmp(c.net[0].ifname, "t") && c.net[0].queues == 2);
    CHECK(!c.net[0].no_offload && c.net[0].mac[5] == 7);
    CHECK(c.net[1].kind == VM_NET_TAP && c.net[1].nfds == 2 && c.net[1].fd[1] == 8);
    CHECK(c.net[2].kind == VM_NET_BRIDGE && !strcmp(c.net[2].bridge, "br1") && !c.net[2].helper);
    CHECK(c.net[3].kind == VM_NET_BRIDGE && !strcmp(c.net[3].bridge, "br2") && !strcmp(c.net[3].helper, "/h"));
    CHECK(parse("-kernel k -nic bridge") == 0 && !strcmp(c.net[0].bridge, "br0"));
    CHECK(parse("-kernel k -nic tap,fd=9,vnet_hdr=off") == 0 && c.net[0].fd[0] == 9 && c.net[0].no_offload);
    CHECK(parse("-kernel k -netdev stream,id=a,addr.type=unix,addr.path=/s,server=off -device virtio-net-pci,netdev=a "
                "-nic stream,addr.type=fd,addr.str=7 -nic socket,fd=8") == 0);
    CHECK(c.net[0].kind == VM_NET_STREAM && !strcmp(c.net[0].socket, "/s"));
    CHECK(c.net[1].kind == VM_NET_STREAM && !c.net[1].socket && c.net[1].fd[0] == 7 && c.net[2].fd[0] == 8);
    CHECK(refused("-kernel k -nic stream,addr.type=inet,addr.host=h,addr.port=1", "give addr.type=unix"));
    CHECK(refused("-kernel k -nic stream,addr.type=unix,addr.path=/s,server=on", "server=on is not supported"));
    CHECK(refused("-kernel k -nic stream,addr.type=unix,addr.path=/s,reconnect=1", "reconnect= is not supported"));
    CHECK(refused("-kernel k -nic socket,listen=:1", "fd=N is supported"));
    CHECK(refused("-kernel k -nic tap", "no scripts are run here: give script=no"));
    CHECK(refused("-kernel k -nic tap,script=/s", "script=/s: no scripts are run here"));
    CHECK(refused("-kernel k -nic tap,script=no,downscript=/s", "downscript=/s"));
    CHECK(refused("-kernel k -nic tap,fd=3,ifname=a", "fd= and fds= leave nothing for ifname="));
    CHECK(refused("-kernel k -nic tap,fd=3:4", "\"3:4\": 1 at most"));
    CHECK(refused("-kernel k -nic tap,script=no,vhostforce=on", "vhost is not there"));
    CHECK(refused("-kernel k -nic tap,script=no,vhostfd=3", "vhost is not there"));
    CHECK(refused("-kernel k -nic tap,script=no,hostfwd=tcp::1-:2", "\"hostfwd\""));
    CHECK(refused("-kernel k -netdev user,id=a", "-netdev id=a: no device uses it"));
    CHECK(refused("-kernel k -netdev user,id=a,smb=/x -net nic,netdev=a", "\"smb\" is not supported"));
    CHECK(refused("-kernel k -netdev user,id=a,hostfwd=tcp:22 -net nic,netdev=a", "hostfwd=tcp:22"));
    CHECK(parse("-kernel k -nic user,ipv4=off,ipv6-net=fd00::/64,ipv6-host=fd00::9,ipv6-dns=fd00::8,domainname=d") ==
          0);
    CHECK(c.net[0].no_ipv4 && !strcmp(c.net[0].addrs.host6, "fd00::9") && !strcmp(c.net[0].domainname, "d"));
    CHECK(parse("-kernel k -nic user,guestfwd=tcp:10.0.2.100:80-cmd:cat,dnssearch=a.test,dnssearch=b.test") == 0);
    CHECK(c.net[0].nguestfwd == 1 && !strcmp(c.net[0].dnssearch[1], "b.test") && !c.net[0].dnssearch[2]);
    CHECK(refused("-kernel k -nic user,tftp=/srv", "\"tftp\" is not supported"));
    CHECK(refused("-kernel k -nic user,model=e1000", "model=e1000"));
    CHECK(refused("-kernel k -net nic", "no network to join"));
    CHECK(refused("-kernel k -device virtio-net-pci,netdev=a", "no back end with the id \"a\""));
    CHECK(refused("-kernel k -nic user,mac=52:54 ", "\"52:54\""));
}

static void pci_properties_are_refused(void)
{
    static const char *const props[] = {
        "addr=0x3",         "romfile=rom", "disable-legacy=off", "disable-modern=off", "rombar=0",
        "multifunction=on", "ats=on",      "bus=pcie.0",         "bus=pci.0"};
    char line[160];

    for (unsigned i = 0; i < ARRAY_SIZE(props); i++) {
        snprintf(line, sizeof(line), "-kernel k -netdev user,id=n -device virtio-net-pci,netdev=n,%s", props[i]);
        CHECK(refused(line, "PCI"));
    }
    count_notes();
    CHECK(parse("-kernel k -device virtio-rng-pci -device virtio-rng-pci -device virtio-rng-pci-non-transitional") ==
          0);
    CHECK_EQ(count_notes(), 1); /* said once */
    CHECK(parse("-kernel k -nodefaults -device virtio-rng-device") == 0);
    CHECK_EQ(count_notes(), 0);
}

static void other_devices(void)
{
    CHECK(parse("-kernel k -nodefaults -object rng-random,filename=/dev/urandom,id=r0 -device "
                "virtio-rng-device,rng=r0,bus=virtio-mmio-bus.7 -chardev null,id=c0 -device virtio-serial-device,id=vs "
                "-device virtconsole,chardev=c0,id=con,bus=vs.0 -device virtio-rng-device") == 0);
    CHECK_EQ(c.ndevices, 3);
    CHECK_EQ(c.device[0].slot, 7);
    CHECK(c.device[1].kind == VM_DEVICE_CONSOLE && c.device[1].slot == 0);
    CHECK_EQ(c.device[2].slot, 1);
    CHECK(refused("-kernel k -device virtio-rng-device,rng=r", "\"r\""));
    CHECK(refused("-kernel k -device e1000", "-device e1000 is not supported"));
    CHECK(refused("-kernel k -device virtio-rng-device,bus=virtio-mmio-bus.32", "virtio-mmio-bus.32"));
    CHECK(refused("-kernel k -device virtio-rng-device,packed=on", "packed=on is not supported"));
    CHECK(refused("-kernel k -device virtio-rng-device,max-bytes=1", "\"max-bytes\""));
    CHECK(refused("-kernel k -device virtio-rng-device,id=a -device virtio-rng-device,id=a", "\"a\" is taken"));
    CHECK(refused("-kernel k -device {\"driver\":\"virtio-rng-pci\"}", "JSON"));
    CHECK(refused("-kernel k -object memory-backend-ram,id=m", "memory-backend-ram"));
    CHECK(refused("-kernel k -object rng-random,id=m,filename=/etc/passwd", "/etc/passwd"));
    CHECK(refused("-kernel k -device virtconsole-pci", "virtconsole-pci"));
}

static void machines(void)
{
    CHECK(parse("-machine virt-9.2,gic-version=max,virtualization=off,highmem=on -kernel k") == 0);
    CHECK_EQ(c.gic_version, 3);
    CHECK(parse("-M gic-version=3 -M virt -machine accel=tcg -kernel k") == 0); /* repeated, merged */
    CHECK_EQ(c.gic_version, 3);
    CHECK(parse("-M type=virt,accel=kvm:tcg,gic-version=2,dtb-randomness=off -kernel k") == 0);
    CHECK_EQ(c.accel, VM_ACCEL_JIT);
    CHECK(!c.dtb_randomness);
    CHECK(parse("-M virt,dumpdtb=x.dtb") == 0 && !strcmp(c.dump_dtb, "x.dtb"));
    CHECK(refused("-M raspi3b -kernel k", "machine raspi3b is not supported; virt and microvm are"));
    CHECK(refused("-M virt- -kernel k", "virt-"));
    CHECK(refused("-M q35 -kernel k", "q35"));
    CHECK(refused("-M none", "machine none"));
    CHECK(refused("-M virt,virtualization=on -kernel k", "virtualization=on is not supported"));
    CHECK(refused("-M virt,secure=on -kernel k", "secure=on"));
    CHECK(refused("-M virt,gic-version=4 -kernel k", "gic-version=4"));
    CHECK(refused("-M virt,gic-version=host -kernel k", "only KVM"));
    CHECK(refused("-M virt,iommu=smmuv3 -kernel k", "iommu=smmuv3"));
    CHECK(refused("-M virt,foo=1 -kernel k", "\"foo\""));
    CHECK(refused("-M virt", "no kernel"));
}

/* Where KVM runs x86-64 guests. */
static int kvm_is_there(struct err *err)
{
    (void)err;
    return 0;
}
static const struct accel_host with_kvm = {.arch = VM_ARCH_X86, .jit = true, .kvm_probe = kvm_is_there};

static void targets(void)
{
    CHECK(parse_as(args_qemu_aarch64, "-M virt -kernel k") == 0 && c.machine == VM_MACHINE_VIRT);
    CHECK(parse_as(args_qemu_aarch64, "-kernel k") == 0 && c.machine == VM_MACHINE_VIRT);
    CHECK(refused_as(args_qemu_aarch64, "-M microvm -kernel k", "machine microvm is not supported; virt is (-M help)"));
    CHECK(refused_as(args_qemu_x86_64, "-M virt -kernel k", "machine virt is not supported; microvm is"));
    CHECK(refused_as(args_qemu_x86_64, "-M q35 -kernel k", "machine q35 is not supported; microvm is"));
    CHECK(refused_as(args_qemu_x86_64, "-kernel k", "there is no /dev/kvm"));
    CHECK(refused_as(args_qemu_x86_64, "-M microvm -accel tcg -kernel k", "the JIT runs arm64"));
    CHECK(refused("-M microvm -kernel k", "there is no /dev/kvm"));
}

static void microvm(void)
{
    accel_host = &with_kvm;
    CHECK(parse_as(args_qemu_x86_64,
                   "-M microvm,x-option-roms=off,pit=off,pic=off,isa-serial=on,rtc=off,acpi=on,auto-kernel-cmdline=on "
                   "-enable-kvm -cpu host -m 256 -smp 2 -nodefaults -no-user-config -nographic -serial stdio "
                   "-global virtio-mmio.force-legacy=false -kernel k -no-reboot "
                   "-device isa-debug-exit,iobase=0xf4,iosize=0x04") == 0);
    CHECK(c.machine == VM_MACHINE_MICRO && c.accel == VM_ACCEL_KVM && !strcmp(c.cpu, "host") && !c.accel_note);
    CHECK(c.isa_exit.port == 0xf4 && c.isa_exit.size == 4 && c.no_reboot && c.cpus == 2);
    CHECK(parse_as(args_qemu_x86_64, "-kernel k -cpu max") == 0 && c.machine == VM_MACHINE_MICRO);
    CHECK(parse_as(args_qemu_x86_64, "-kernel k -smp 255 -m 600G") == 0 && c.cpus == 255 && !strcmp(c.cpu, "host"));
    CHECK(parse("-M microvm,pic=auto -kernel k -accel kvm:tcg -device isa-debug-exit") == 0);
    CHECK(c.isa_exit.port == 0x501 && c.isa_exit.size == 2 && c.accel == VM_ACCEL_KVM);
    CHECK(refused("-M microvm,pit=on -kernel k", "pit=on is not supported"));
    CHECK(refused("-M microvm,gic-version=3 -kernel k", "\"gic-version\" is not supported"));
    CHECK(refused("-M microvm,dumpdtb=f -kernel k", "\"dumpdtb\""));
    CHECK(refused("-M microvm -kernel k -cpu qemu64", "takes host or max"));
    CHECK(refused("-M microvm -kernel k -cpu host,+vmx", "feature vmx is not known"));
    CHECK(refused("-M microvm -kernel k -smp 256", "machine micro has from 1 to 255"));
    CHECK(refused("-M microvm -kernel k -m 2T", "machine micro has room for 1048576 MiB"));
    CHECK(refused("-M microvm -kernel k -device isa-debug-exit,iobase=0x10000", "iobase=0x10000"));
    CHECK(refused("-M microvm -kernel k -device isa-debug-exit,iosize=0", "has 0 bytes"));
    CHECK(refused("-M microvm -kernel k -device isa-debug-exit,iosize=9", "iosize=9"));
    CHECK(refused("-M microvm -kernel k -device isa-debug-exit,iobase=0xffff", "no port at 0xffff has 2 bytes"));
    CHECK(refused("-M microvm -kernel k -device isa-debug-exit -device isa-debug-exit", "one already"));
    CHECK(refused("-M microvm -kernel k -global kvm-pit.lost_tick_policy=discard", "-global kvm-pit"));
    CHECK(refused("-M microvm -kernel k -nodefaults -device virtio-rng-device,bus=virtio-mmio-bus.19",
                  "virtio slot 19: machine micro has slots 0 to 18"));
    CHECK(refused("-M virt -kernel k -device isa-debug-exit", "machine virt has no ports"));
    accel_host = &host;
}

static void accelerators(void)
{
    CHECK(parse("-accel tcg,thread=multi -kernel k") == 0);
    CHECK(parse("-accel kvm -accel tcg -kernel k") == 0);
    CHECK(c.accel == VM_ACCEL_JIT && c.accel_note);
    CHECK(parse("-kernel k") == 0);
    CHECK(c.accel == VM_ACCEL_JIT && !c.accel_note); /* QEMU's own default */
    CHECK(refused("-accel kvm -kernel k", "KVM cannot run this guest"));
    CHECK(refused("-enable-kvm -kernel k", "KVM cannot run this guest"));
    CHECK(refused("-accel hvf -kernel k", "\"hvf\""));
    CHECK(refused("-accel tcg,thread=single -kernel k", "thread=single"));
    CHECK(refused("-accel tcg,tb-size=64 -kernel k", "\"tb-size\""));
}

static void processors_and_memory(void)
{
    CHECK(parse("-kernel k") == 0 && c.cpus == 1 && c.memory == MIB(128) && !strcmp(c.cpu, "cortex-a57"));
    CHECK(parse("-kernel k -cpu max,pauth=off,sve=off,sme=off,lpa2=off,aarch64=on,pmu=off") == 0);
    CHECK(!strcmp(c.cpu, "max"));
    CHECK(parse("-kernel k -cpu max,-sve,+aarch64") == 0);
    CHECK(refused("-kernel k -cpu max,pauth=on", "feature pauth is not there"));
    CHECK(refused("-kernel k -cpu max,aarch64=off", "aarch64=off"));
    CHECK(refused("-kernel k -cpu max,turbo=on", "feature turbo is not known"));
    CHECK(refused("-kernel k -cpu max,sve", "\"sve\""));
    CHECK(refused("-kernel k -cpu cortex-a15", "cortex-a15 is not known"));
    CHECK(refused("-kernel k -cpu host", "only KVM"));

    CHECK(parse("-kernel k -smp 8") == 0 && c.cpus == 8);
    CHECK(parse("-kernel k -smp cpus=4,sockets=1,cores=2,threads=2") == 0 && c.cpus == 4);
    CHECK(parse("-kernel k -smp sockets=1,cores=3,threads=1") == 0 && c.cpus == 3);
    CHECK(parse("-kernel k -smp 2,maxcpus=2") == 0);
    CHECK(refused("-kernel k -smp 9", "9 CPUs"));
    CHECK(refused("-kernel k -smp 0", "-smp cpus=0"));
    CHECK(refused("-kernel k -smp 2,maxcpus=4", "maxcpus=4"));
    CHECK(refused("-kernel k -smp 2,cores=3", "make 3 CPUs"));
    CHECK(refused("-kernel k -smp cores=1024,threads=1024,sockets=1024,clusters=1024", "CPUs"));
    CHECK(refused("-kernel k -smp 2,books=1", "\"books\""));

    CHECK(parse("-kernel k -m 1024M") == 0 && c.memory == GIB(1));
    CHECK(refused("-kernel k -m 1X", "-m 1X"));
    CHECK(refused("-kernel k -m 8", "at least 64 MiB"));
    CHECK(refused("-kernel k -m 1G,slots=2,maxmem=4G", "\"slots\""));
}

static void serial_lines(void)
{
    CHECK(parse("-kernel k") == 0 && c.serial == 0 && c.chardev[0].kind == VM_CHARDEV_STDIO);
    CHECK(parse("-kernel k -display none") == 0 && c.serial == -1);
    CHECK(parse("-kernel k -nodefaults -nographic") == 0 && c.serial == -1);
    CHECK(parse("-kernel k -serial none -nographic") == 0 && c.serial == -1);
    CHECK(parse("-kernel k -serial null") == 0 && c.chardev[c.serial].kind == VM_CHARDEV_NULL);
    CHECK(parse("-kernel k -serial file:log.txt -serial none") == 0);
    CHECK(c.chardev[c.serial].kind == VM_CHARDEV_FILE && !strcmp(c.chardev[c.serial].path, "log.txt"));
    CHECK(parse("-kernel k -serial stdio -display none -monitor none") == 0);
    CHECK(c.chardev[c.serial].kind == VM_CHARDEV_STDIO);
    CHECK(parse("-kernel k -serial chardev:x -chardev stdio,id=x,mux=on,signal=off") == 0);
    CHECK(c.chardev[c.serial].escapes);
    CHECK(parse("-kernel k -nographic -chardev stdio,id=x,mux=on -device virtconsole,chardev=x") == 0);
    CHECK(c.serial == -1 && c.nchardevs == 1); /* the console has the terminal */
    CHECK(refused("-kernel k -serial pty", "-serial pty"));
    CHECK(refused("-kernel k -serial file:", "-serial file:"));
    CHECK(refused("-kernel k -serial stdio -serial file:x", "one serial line"));
    CHECK(refused("-kernel k -serial chardev:x", "\"x\""));
    CHECK(refused("-kernel k -serial stdio -chardev stdio,id=y", "standard input"));
    CHECK(refused("-kernel k -chardev socket,id=y", "-chardev socket"));
    CHECK(refused("-kernel k -chardev null", "has no id"));
}

static void firmware(void)
{
    CHECK(parse("-bios /no/f -drive file=a,if=none,id=d -device virtio-blk-pci,drive=d,bootindex=2 -netdev user,id=n "
                "-device virtio-net-pci,netdev=n,bootindex=1") == 0);
    CHECK(c.firmware.used && !strcmp(c.firmware.code.path, "/no/f") && c.firmware.code.read_only && !c.kernel);
    CHECK(!c.firmware.vars.path && !c.firmware.keep_vars);
    CHECK_EQ(c.device[0].boot, 2);
    CHECK_EQ(c.device[1].boot, 1);
    CHECK(parse("-drive if=pflash,format=raw,readonly=on,file=code -drive file=a,id=d,if=virtio "
                "-drive if=pflash,unit=1,file=vars,snapshot=on -name x") == 0);
    CHECK(!strcmp(c.firmware.code.path, "code") && c.firmware.code.read_only);
    CHECK(!strcmp(c.firmware.vars.path, "vars") && !c.firmware.vars.read_only && c.firmware.vars.snapshot);
    CHECK_EQ(c.ndisks, 1);
    CHECK(c.device[0].kind == VM_DEVICE_BLK && c.device[0].boot == -1);
    CHECK(parse("-pflash code -pflash vars -kernel k -append x") == 0);
    CHECK(!strcmp(c.firmware.vars.path, "vars") && !c.firmware.code.read_only && !strcmp(c.kernel, "k"));
    CHECK(parse("-bios /no/f -drive if=pflash,unit=1,file=vars") == 0 && !strcmp(c.firmware.vars.path, "vars"));
    CHECK(parse("-kernel k -fw_cfg name=opt/a,string=x -fw_cfg opt/b,file=f") == 0 && !c.firmware.used);
    CHECK_EQ(c.nfw_cfg, 2);
    CHECK(!strcmp(c.fw_cfg[0].name, "opt/a") && !strcmp(c.fw_cfg[0].text, "x") && !c.fw_cfg[0].file);
    CHECK(!strcmp(c.fw_cfg[1].name, "opt/b") && !strcmp(c.fw_cfg[1].file, "f") && !c.fw_cfg[1].text);
    CHECK(refused("-kernel k -fw_cfg name=etc/a,string=x", "begins with opt/"));
    CHECK(refused("-kernel k -fw_cfg name=opt/a", "file= or string="));
    CHECK(refused("-kernel k -fw_cfg opt/a,string=x -fw_cfg opt/a,file=f", "is taken"));
    CHECK(parse("-bios /no/f -boot strict=on") == 0 && c.firmware.menu == 0);
    CHECK(parse("-bios /no/f -boot menu=on") == 0 && c.firmware.menu == 3000);
    CHECK(parse("-bios /no/f -boot menu=on,splash-time=500") == 0 && c.firmware.menu == 500);
    CHECK(parse("-bios /no/f -boot menu=off,splash-time=500") == 0 && c.firmware.menu == 0);
    CHECK(refused("-bios /no/f -boot menu=on,splash-time=65535", "splash-time=65535"));
    CHECK(refused("-bios /no/f -boot once=d", "once is not supported"));
    CHECK(refused("-bios /no/f -boot d", "order is not supported"));
    CHECK(refused("-pflash a -pflash b -pflash c", "two banks"));
    CHECK(refused("-pflash a -bios /no/f", "from a drive already"));
    CHECK(refused("-kernel k -drive if=pflash,unit=1,file=a", "without firmware"));
    CHECK(refused("-drive if=pflash,unit=2,file=a", "units 0 and 1"));
    CHECK(refused("-drive if=pflash,file=a,format=qcow2", "format=qcow2"));
    CHECK(refused("-drive if=pflash,file=a,bus=1", "\"bus\" is not supported"));
    CHECK(refused("-drive if=pflash", "names no file"));
    CHECK(refused("-pflash f -drive if=pflash,id=p,unit=1,file=a -device virtio-blk-pci,drive=p",
                  "has a device already"));
    CHECK(refused("-pflash f -device virtio-blk-pci,drive=d,bootindex=x -drive if=none,id=d,file=a", "bootindex=x"));
    CHECK(refused("-pflash f -drive if=none,id=d,file=a -device virtio-blk-pci,drive=d,bootindex=1 -netdev user,id=n "
                  "-device virtio-net-pci,netdev=n,bootindex=1",
                  "bootindex=1 is taken"));
    CHECK(refused("-bios no-such-firmware.fd", "neither a file here"));
    CHECK(refused("-M microvm -bios /no/f -kernel k", "no flash"));
    CHECK(refused("-bios /no/f -append x", "without a kernel"));
}

static void the_rest(void)
{
    CHECK(
        parse("-kernel k -name vm1,debug-threads=on -rtc base=utc,clock=host -vga none -parallel none -no-user-config "
              "-pidfile p -D l -sandbox on,spawn=deny -monitor null") == 0);
    CHECK(!strcmp(c.name, "vm1") && !strcmp(c.pidfile, "p") && !strcmp(c.log_file, "l") && c.sandbox);
    CHECK(parse("-kernel k -sandbox off") == 0 && !c.sandbox);
    CHECK(refused("-kernel k -S", "-S is not supported"));
    CHECK(refused("-kernel k --dtb f", "--dtb is not supported"));
    CHECK(parse("-kernel k -daemonize -name a/b") == 0 && c.detach && !c.listed && c.serial == -1);
    CHECK(parse("-serial file:f -kernel k -daemonize") == 0 && c.detach);
    CHECK(refused("-daemonize -kernel k -nographic", "in the background cannot have standard input"));
    CHECK(refused("-kernel k -serial mon:stdio -daemonize", "in the background cannot have standard input"));
    CHECK(refused("-kernel k -monitor stdio", "-monitor stdio"));
    CHECK(refused("-kernel k -qmp stdio", "-qmp"));
    CHECK(refused("-kernel k -rtc base=localtime", "base=localtime"));
    CHECK(refused("-kernel k -nographics", "-nographics is not supported; did you mean -nographic"));
    CHECK(refused("-kernel k -xyzzy", "-xyzzy is not supported"));
    CHECK(refused("-kernel", "-kernel needs a value"));
}

int main(void)
{
    accel_host = &host;
    if (pipe2(notes, O_NONBLOCK | O_CLOEXEC) < 0)
        return 1;
    log_set_fd(notes[1]);
    RUN(the_usual_command_line);
    RUN(the_scripts_command_line);
    RUN(any_order);
    RUN(disks_in_order);
    RUN(snapshots_and_errors);
    RUN(networks);
    RUN(pci_properties_are_refused);
    RUN(other_devices);
    RUN(machines);
    RUN(targets);
    RUN(microvm);
    RUN(accelerators);
    RUN(processors_and_memory);
    RUN(serial_lines);
    RUN(firmware);
    RUN(the_rest);
    config_free(&c);
    return check_done();
}
