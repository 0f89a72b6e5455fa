#!/bin/bash
# Says what the tests run on: one line each. `host.sh kvm` says only which kind of KVM there is.
probe_io_uring() {
    python3 - <<'P'
import ctypes, os
buf = ctypes.create_string_buffer(120)
fd = ctypes.CDLL(None, use_errno=True).syscall(425, 1, buf)
print("yes" if fd >= 0 else "no (" + os.strerror(ctypes.get_errno()) + ")")
P
}

probe_kvm() {
    if [ ! -e /dev/kvm ]; then
        echo none
    elif [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
        echo 'there, but not for this user'
    elif ! python3 -c 'import fcntl; f = open("/dev/kvm", "rb+", buffering=0); fcntl.ioctl(f, 0xAE01, 0)' 2>/dev/null; then
        echo 'there, but it makes no VM'
    elif grep -qwE 'vmx|svm' /proc/cpuinfo || [ "$(uname -m)" = aarch64 ]; then
        echo hardware
    else
        echo 'software (no vmx or svm: kernels in it are too slow to use)'
    fi
}

[ "${1:-}" != kvm ] || { probe_kvm && exit; }
. /etc/os-release
echo "host: ${PRETTY_NAME:-unknown}, Linux $(uname -r) $(uname -m), $(nproc) cores," \
    "$(awk '/^MemTotal/ { printf "%d MiB", $2 / 1024 }' /proc/meminfo)"
echo "cpu: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1);" \
    "$(for f in avx2 bmi2 fma aes pclmulqdq sha_ni; do grep -qw $f /proc/cpuinfo && printf '%s ' $f; done)"
echo "kvm: $(probe_kvm)"
echo "io_uring: $(probe_io_uring)"
echo "user namespaces: $(unshare -Ur true 2>/dev/null && echo yes || echo no)"
echo "ping_group_range: $(tr '\t' ' ' </proc/sys/net/ipv4/ping_group_range 2>/dev/null || echo none)"
echo "compilers: $(gcc -dumpfullversion 2>/dev/null) gcc, $(clang -dumpversion 2>/dev/null) clang"
