/* What the command lines say about themselves. */
#include <stdio.h>

#include "arch/arm64/arm64.h"
#include "vmm/machine/args.h"

#ifdef HAVE_SLIRP
#define FEATURE_SLIRP "+user-network"
#else
#define FEATURE_SLIRP "-user-network (libslirp)"
#endif
#ifdef HAVE_ZLIB
#define FEATURE_ZLIB "+gzip-kernels"
#else
#define FEATURE_ZLIB "-gzip-kernels (zlib)"
#endif
#ifdef HAVE_ZSTD
#define FEATURE_ZSTD "+zstd-kernels"
#else
#define FEATURE_ZSTD "-zstd-kernels (libzstd)"
#endif
#ifdef HAVE_EXT2FS
#define FEATURE_EXT2FS "+kernel-from-ext4"
#else
#define FEATURE_EXT2FS "-kernel-from-ext4 (libext2fs)"
#endif
#ifdef HAVE_JIT
#define FEATURE_JIT "+jit"
#else
#define FEATURE_JIT "-jit (needs an x86-64 host)"
#endif

void args_print_version(void)
{
    puts("pipit " PIPIT_VERSION);
    puts("features: +kvm " FEATURE_JIT " " FEATURE_SLIRP " " FEATURE_ZLIB " " FEATURE_ZSTD " " FEATURE_EXT2FS);
}

void args_print_help(void)
{
    puts("pipit runs virtual machines: stock Linux of the host's architecture by KVM, and arm64 on x86-64 by a JIT.\n"
         "\n"
         "  pipit run [IMAGE] [OPTION...]\n"
         "                           start a machine              (pipit help run)\n"
         "  pipit qemu [OPTION...]   the same, in QEMU's options  (pipit help qemu)\n"
         "  pipit ps, pause, resume, stop, rm, console, ssh\n"
         "                           machines that were started with a name  (pipit help ps)\n"
         "  pipit help [COMMAND]     explain a command\n"
         "  pipit --version          version, and what is built in\n"
         "\n"
         "Under the names qemu-system-aarch64 and qemu-system-x86_64 the program takes QEMU's options at once.\n"
         "\n"
         "  pipit run --kernel vmlinuz --initrd initrd.img --disk debian.img --memory 2G --cpus 2");
}

void args_print_help_run(void)
{
    puts("pipit run [IMAGE] [OPTION...]: starts a machine and stays with it until it powers off.\n"
         "IMAGE is a disk image that is only read: what the guest writes is kept under the machine's name, which is\n"
         "the image's unless --name gives another, and is there when it is started again, until pipit rm NAME. It is\n"
         "the first disk, and takes the options of --disk: IMAGE,snapshot=on keeps nothing.\n"
         "Values follow as the next word or behind '=': --memory 2G, --memory=2G.\n"
         "\n"
         "What to boot\n"
         "  --kernel FILE            arm64: Image, Image.gz, EFI zboot (gzip, zstd) or ELF; x86-64: bzImage, vmlinux\n"
         "                           or another ELF file, by its PVH entry where it has one; auto, the default with\n"
         "                           a disk and no kernel: kernel, initrd and command line that the first disk's\n"
         "                           GRUB, boot loader entries or extlinux.conf would boot; says which\n"
         "  --kernel-format FORMAT   auto (by content), or flat: any file for virt, as it is, 512 KiB into memory\n"
         "  --firmware FILE[,vars=FILE]\n"
         "                           arm64: UEFI firmware, which starts what the disks have, or --kernel; a file, the\n"
         "                           name of one of this host's packages, or auto. It keeps its variables in "
         "vars=FILE,\n"
         "                           or under the machine's name, or not at all\n"
         "  --initrd FILE            initial RAM disk\n"
         "  --cmdline TEXT           kernel command line; console= is added where it has none; instead of an\n"
         "                           image's own\n"
         "\n"
         "The machine\n"
         "  --machine NAME           virt (arm64), micro (x86-64), or auto: what the kernel is for (default)\n"
         "  -m, --memory SIZE        512M, 2G; a bare number is MiB (default 1G)\n"
         "  --huge-pages KIND        madvise (as the host likes, the default), off, or hugetlb: 2 MiB pages\n"
         "                           that the host has set aside\n"
         "  -c, --cpus N             default 1; at most 8 with the JIT, and what host and machine allow with KVM\n"
         "  --cpu NAME               CPU model of the JIT (default max; --cpu help lists them); KVM: host or max\n"
         "  --gic 2|3                virt: interrupt controller version (default 3 where the host has it)\n"
         "  --accel NAME[:NAME]      kvm, jit, or both in order; auto is kvm:jit (default)\n"
         "  --jit TIER               tier1: translate (default); interp: the interpreter alone, slow; lockstep: both,\n"
         "                           block by block, and end where they do not agree; mixed[=SEED]: both by turns\n"
         "  --pin LIST               host CPU of each vCPU, in order: 2,4 or 4-7 or 0-6:2\n"
         "  --pin-loop LIST          host CPUs of the event loop\n"
         "  --name NAME              name of the machine: for messages, pipit ps, stop, rm, console and ssh\n"
         "\n"
         "Disks and network\n"
         "  -d, --disk FILE[,OPTION...]\n"
         "                           raw or qcow2 image, or block device; may be given again: vda, vdb...\n"
         "                           ro              read-only\n"
         "                           serial=TEXT     serial number, 20 characters at most\n"
         "                           cache=MODE      writeback, writethrough, none, directsync, unsafe\n"
         "                           format=NAME     raw or qcow2; without it, what it begins like\n"
         "                           snapshot=on     throw away what is written\n"
         "                           werror=WORD     a write that the host fails: report (the default), stop (pause,\n"
         "                                           try again after pipit resume), enospc (stop where there is no\n"
         "                                           room) or ignore; rerror= for reads, without enospc\n"
         "                           backing=on      open backing files outside the image's folder too\n"
         "                           a comma in FILE is written twice\n"
         "  --block-engine NAME      auto, io_uring or threads (default auto)\n"
         "  --user-data FILE, --meta-data FILE, --network-config FILE\n"
         "                           cloud-init's files, on a read-only disk labelled cidata that is made in memory\n"
         "  --ssh-key FILE           for cloud-init: a public key, or several, that the first user lets in; may be\n"
         "                           given again\n"
         "  --hostname NAME          for cloud-init: the guest's name\n"
         "  --net user[,OPTION...] | passt | tap=NAME | fd=N | bridge=NAME | none\n"
         "                           user network with DHCP, DNS and NAT, without root (default user)\n"
         "                           restrict=on     the guest reaches nothing but what is forwarded\n"
         "                           guestfwd=tcp:ADDR:PORT-TARGET\n"
         "                                           ADDR:PORT of the guest's network leads to cmd:COMMAND,\n"
         "                                           unix:PATH or tcp:HOST:PORT of the host\n"
         "                           net=10.0.2.0/24, host=, dhcpstart=, dns=, ipv4=off, ipv6=off, ipv6-net=,\n"
         "                           ipv6-host=, ipv6-dns=, hostname=, domainname=, dnssearch=\n"
         "                           or passt, which gives the guest the host's address, without root;\n"
         "                           socket=PATH     one that runs already\n"
         "                           or the host's network, by a tap that is there or is made, by descriptors of\n"
         "                           one, or by a new one on a bridge, without root through QEMU's bridge helper:\n"
         "                           queues=N        pairs of queues of a tap, up to 8 (default 1)\n"
         "                           offload=off     the guest makes checksums and cuts segments itself\n"
         "                           helper=PROGRAM  for bridge=\n"
         "                           may be given again, and with each mac=ADDRESS\n"
         "  --mac ADDRESS            MAC address of the first network device; made of the name where there is one\n"
         "  -p, --publish [ADDR:]HOST:[GUESTADDR:]GUEST[/udp]\n"
         "                           a port of the host leads to a port of the guest, a range (8000-8010) to one\n"
         "                           as long; ADDR defaults to 127.0.0.1, 0.0.0.0 lets other machines in; IPv6 in\n"
         "                           brackets\n"
         "\n"
         "Console\n"
         "  --console NAME           serial (ttyAMA0 on virt, ttyS0 on micro) or virtio (hvc0); auto is serial\n"
         "                           Ctrl-A x ends the machine, Ctrl-A p pauses it, Ctrl-A h helps\n"
         "  --console-log FILE       what the guest prints is appended to FILE, too\n"
         "\n"
         "Running\n"
         "  --detach                 return when the machine runs, in the background, and print its name\n"
         "  --no-reboot              end with status 3 when the guest resets\n"
         "  --debug-device           a device with which the guest prints times and sets our exit status\n"
         "  --stats                  say at the end how long it took, why vCPUs left the guest, what was translated\n"
         "  --jit-stats              the same and more of the JIT: its time by phase, exits, calls, blocks\n"
         "  --jit-log WORD,...       exec, cpu: log blocks that are entered, registers; nochain: all blocks\n"
         "  --translations DIR|off   where the JIT keeps translations for later machines; the default is\n"
         "                           $XDG_CACHE_HOME/pipit or ~/.cache/pipit\n"
         "  --perfmap                name the JIT's code to perf: /tmp/perf-PID.map\n"
         "  --jitdump                the same with the code, for perf inject --jit: jit-PID.dump\n"
         "  --dump-dtb FILE          write virt's device tree and end\n"
         "  --sandbox on|off         system-call filters (default on; off is for debugging)\n"
         "  --log FILE               messages go there instead of standard error\n"
         "  --pidfile FILE           holds the process's number while the machine runs\n"
         "  -v, --verbose            more messages\n"
         "  -q, --quiet              warnings and errors only\n"
         "  -h, --help               this text\n"
         "\n"
         "Exit status: 0 the guest powered off, or Ctrl-A x; 1 failure of the host; 2 wrong usage; 3 reset with\n"
         "--no-reboot; 10 no /dev/kvm, 11 it may not be opened, 12 it lacks something; 13 no accelerator for this\n"
         "guest; 14 too many CPUs; 15 too much memory; 16 the kernel is 32-bit, 17 damaged, 18 of another\n"
         "architecture; 128+N ended by signal N; with --debug-device, what the guest says.\n"
         "\n"
         "Examples\n"
         "  pipit run debian-12-genericcloud-arm64.qcow2 -m 2G -c 2\n"
         "  pipit run fedora.qcow2 --firmware auto\n"
         "  pipit run --kernel vmlinuz --initrd initrd.img\n"
         "  pipit run --kernel vmlinuz --initrd initrd.img --cmdline 'root=/dev/vda1' \\\n"
         "            --disk debian.img -m 2G -c 2 -p 2222:22\n"
         "  pipit run --kernel vmlinuz --disk data.img,ro,serial=DATA --net none --console virtio\n"
         "  pipit run --kernel test.elf --debug-device --no-reboot -m 64M --net none; echo $?");
}

void args_print_help_qemu(void)
{
    puts("QEMU's headless options, as far as this program has what they ask for. Anything else is refused by name.\n"
         "Under the name qemu-system-aarch64 the machine is virt, under qemu-system-x86_64 it is microvm; pipit qemu\n"
         "takes both, and without -M the one that the kernel is for.\n"
         "\n"
         "  -M, -machine virt[,gic-version=2|3|max|host][,accel=A:B][,dumpdtb=FILE]\n"
         "  -M, -machine microvm[,accel=A:B][,pit=off][,pic=off][,rtc=off][,acpi=on][,isa-serial=on]\n"
         "  -enable-kvm, -accel kvm | tcg | help\n"
         "  -cpu MODEL | help           -smp N | cpus=N          -m SIZE (MiB, or with a unit)\n"
         "  -kernel FILE                -initrd FILE             -append TEXT\n"
         "         without -kernel, -bios and -pflash the first disk's own kernel starts\n"
         "  -bios FILE                  -pflash FILE             -drive if=pflash,file=FILE[,unit=0|1][,readonly=on]\n"
         "  -boot menu=on[,splash-time=MS]                       -fw_cfg name=opt/NAME,file=FILE | string=TEXT\n"
         "  -drive file=FILE[,if=virtio|none][,format=raw][,id=ID][,readonly=on][,cache=MODE]\n"
         "         [,aio=threads|io_uring|native][,snapshot=on][,discard=unmap|ignore]\n"
         "         [,werror=report|ignore|stop|enospc][,rerror=report|ignore|stop]\n"
         "  -hda FILE, to -hdd          -cdrom FILE (a disk that is only read)\n"
         "  -snapshot                   of all drives that do not say otherwise\n"
         "  -device virtio-{blk,net,rng,serial}-{pci,device}, virtconsole, with drive=, netdev=, mac=, serial=,\n"
         "          chardev=, rng=, id=, bootindex=  (pci names mean virtio on the boards' mmio transport)\n"
         "  -device isa-debug-exit[,iobase=PORT][,iosize=N]  (microvm: a write of V ends with status V * 2 + 1)\n"
         "  -netdev user,id=ID[,hostfwd=tcp|udp:[ADDR]:PORT-[ADDR]:PORT][,restrict=on]\n"
         "          [,guestfwd=tcp:ADDR:PORT-cmd:COMMAND|unix:PATH|tcp:HOST:PORT][,net=ADDR/N][,host=ADDR]\n"
         "          [,dhcpstart=ADDR][,dns=ADDR][,ipv4=off][,ipv6=off][,ipv6-net=ADDR/64][,ipv6-host=ADDR]\n"
         "          [,ipv6-dns=ADDR][,hostname=H][,domainname=D][,dnssearch=D]\n"
         "  -netdev tap,id=ID,script=no[,ifname=NAME][,fd=N][,fds=N:N...][,queues=N][,vnet_hdr=off][,vhost=on]\n"
         "  -netdev bridge,id=ID[,br=br0][,helper=PROGRAM]\n"
         "  -netdev stream,id=ID,addr.type=unix,addr.path=PATH | stream,id=ID,addr.type=fd,addr.str=N\n"
         "  -netdev socket,id=ID,fd=N\n"
         "  -nic TYPE[,...] | none      -net nic | TYPE[,...] | none\n"
         "  -chardev stdio|null|file,id=ID[,path=FILE]\n"
         "  -serial mon:stdio | stdio | file:FILE | null | none | chardev:ID\n"
         "  -nographic  -display none  -monitor none  -vga none  -parallel none  -nodefaults  -no-user-config\n"
         "  -object rng-random,id=ID  -rtc base=utc  -sandbox on|off  -name NAME  -pidfile FILE  -D FILE\n"
         "  -daemonize  -no-reboot  -perfmap  -jitdump  -d WORD,...  -version  -h\n"
         "\n"
         "Exit status: 0 the guest powered off, reset with -no-reboot, or a signal; what isa-debug-exit says;\n"
         "1 otherwise.");
}

void args_print_cpus(bool arm64)
{
    puts("Available CPUs:");
    for (unsigned i = 0; arm64 && arm64_model_name(i); i++)
        printf("  %s\n", arm64_model_name(i));
    puts(arm64 ? "  host\nhost, and max of the host's own kind, are KVM's." : "  host\n  max");
}
