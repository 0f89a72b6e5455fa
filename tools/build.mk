# How pipit is compiled.
#
# Every .c outside tools/ and tests/ goes into $(B)/libpipit.a; tools/NAME.c is a program NAME, tests/*/NAME_test.c a
# test program, tests/fuzz/NAME_fuzz.c a libFuzzer target (MODE=fuzz, clang). All objects, whatever the mode, compiler
# or library selection, live below build/ in a folder that carries that choice's name, so that modes stand side by side.
#
#   MODE=release|debug|asan|tsan|fuzz    asan is address and undefined behaviour together
#   CC=gcc|clang
#   CROSS=aarch64-linux-gnu-             for another architecture, against the libraries in SYSROOT (the folder that
#                                        tools/sysroot.sh makes; SYSROOT= uses the toolchain's own)
#   WITHOUT="slirp zlib zstd ext2fs"     optional libraries to leave out although they are there
#   V=1                                  show the commands

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

VERSION := 0.1.0
MODE ?= release
CROSS ?=
WITHOUT ?=

ifneq ($(filter default undefined,$(origin CC)),)
CC := $(if $(filter fuzz,$(MODE)),clang,gcc)
endif
AR := ar
PKG_CONFIG ?= pkg-config
ifneq ($(CROSS),)
triplet := $(notdir $(patsubst %-,%,$(CROSS)))
cross_arch := $(patsubst aarch64-%,arm64,$(triplet))
SYSROOT ?= $(or $(PIPIT_CACHE),.cache)/sysroot-$(cross_arch)
ifneq ($(findstring clang,$(CC)),)
# Newer ones look for gcc's start files and libgcc in the sysroot alone, unless told where that gcc is.
cross_gcc := $(shell command -v $(CROSS)gcc)
override CC := $(CC) --target=$(triplet) $(if $(cross_gcc),--gcc-toolchain=$(abspath $(dir $(cross_gcc))..))
else
override CC := $(CROSS)$(CC)
endif
AR := $(CROSS)ar
ifneq ($(SYSROOT),)
override CC += --sysroot=$(abspath $(SYSROOT))
override PKG_CONFIG := PKG_CONFIG_SYSROOT_DIR=$(abspath $(SYSROOT)) PKG_CONFIG_LIBDIR=$(abspath \
                       $(SYSROOT)/usr/lib/$(triplet)/pkgconfig):$(abspath $(SYSROOT)/usr/share/pkgconfig) $(PKG_CONFIG)
endif
endif

empty :=
space := $(empty) $(empty)
cc_name := $(notdir $(firstword $(CC:$(CROSS)%=%)))
default_cc := $(if $(filter fuzz,$(MODE)),clang,gcc)
B := build/$(subst $(space),-,$(strip $(MODE) $(filter-out $(default_cc),$(cc_name)) $(triplet) \
     $(if $(strip $(WITHOUT)),without $(WITHOUT))))

# The JIT emits x86-64 code, and is part of the build only where that can run. Elsewhere everything that includes more
# of it than the ops that arch/ fills in (jit/ops.h) is left out too: its accelerator, its tests and their library.
# KVM runs guests of the host's architecture: of vmm/kvm and tests/kvm, files named for another one are left out.
TARGET := $(shell $(CC) -dumpmachine 2>/dev/null)
rooms := vmm devices virtio loader arch
ifneq ($(filter x86_64-%,$(TARGET)),)
rooms += jit
HAVE_JIT := 1
without_jit = $(1)
else
jit_header := "(jit/([a-z0-9]+/|[^o][a-z]*\.h)|vmm/machine/accel_jit_[a-z]|tests/lib/(diff|[a-z]+_env))
without_jit = $(shell grep -LE '^ *\# *include $(jit_header)' $(1) /dev/null | grep -vx /dev/null)
endif
foreign := $(if $(filter x86_64-%,$(TARGET)),,x86) $(if $(filter aarch64-%,$(TARGET)),,arm64)
buildable = $(call without_jit,$(filter-out $(foreach a,$(foreign),vmm/kvm/$(a)% tests/kvm/$(a)%),$(1)))

# --- libraries ------------------------------------------------------------------------------------------------------
# The core's three are required; each other one serves one room and defines HAVE_NAME. pkg-config is asked first; a
# library whose package has no .pc file, or one that names packages which only its own build needs (libfdt and slirp in
# Debian 12), is taken where its header is found.
required := fdt seccomp uring
optional := slirp zlib zstd ext2fs
pc_fdt := libfdt
pc_seccomp := libseccomp
pc_uring := liburing
pc_slirp := slirp
pc_zlib := zlib
pc_zstd := libzstd
pc_ext2fs := ext2fs
header_fdt := libfdt.h
header_seccomp := seccomp.h
header_uring := liburing.h
header_slirp := slirp/libslirp.h
header_zlib := zlib.h
header_zstd := zstd.h
header_ext2fs := ext2fs/ext2fs.h
link_zlib := -lz

by_pc = $(shell $(PKG_CONFIG) --exists $(pc_$(1)) 2>/dev/null && echo yes)
by_header = $(shell $(CC) -E -include $(header_$(1)) -x c /dev/null >/dev/null 2>&1 && echo yes)
has = $(if $(call by_pc,$(1)),$(1),$(if $(call by_header,$(1)),$(1)))
lib_cflags = $(if $(call by_pc,$(1)),$(shell $(PKG_CONFIG) --cflags-only-I $(pc_$(1)) | sed 's/-I */-isystem /g'))
lib_link = $(if $(call by_pc,$(1)),$(shell $(PKG_CONFIG) --libs $(pc_$(1))),$(or $(link_$(1)),-l$(1)))

unknown := $(filter-out $(optional),$(WITHOUT))
ifneq ($(unknown),)
$(error WITHOUT takes $(optional), not $(unknown))
endif
missing := $(if $(shell command -v $(firstword $(CC))),,$(firstword $(CC))) \
           $(foreach l,$(required),$(if $(call has,$(l)),,lib$(l)))
found := $(foreach l,$(filter-out $(WITHOUT),$(optional)),$(call has,$(l)))
libs := $(required) $(found)
have := $(foreach l,$(found),-DHAVE_$(shell echo $(l) | tr a-z A-Z)=1) $(if $(HAVE_JIT),-DHAVE_JIT=1)

# --- flags ----------------------------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Werror
HARDEN := -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
# gcc's flow warnings see paths through sanitizer checks that no program takes.
SAN_WARN := $(if $(findstring gcc,$(cc_name)),-Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds)
MODE_release := -O2 -g $(HARDEN)
MODE_debug := -O0 -g3 -fstack-protector-strong
MODE_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer $(SAN_WARN)
MODE_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer $(SAN_WARN)
MODE_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
ifeq ($(MODE_$(MODE)),)
$(error MODE=$(MODE) is none of release, debug, asan, tsan and fuzz)
endif
sanitize := $(filter -fsanitize=%,$(MODE_$(MODE)))

ALL_CPPFLAGS := -I. -I$(B) -D_GNU_SOURCE -DPIPIT_VERSION='"$(VERSION)"' $(have) \
                $(foreach l,$(libs),$(call lib_cflags,$(l))) $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 $(WARN) $(MODE_$(MODE)) -fPIE -pthread $(CFLAGS)
ALL_LDFLAGS := -pie -pthread -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack $(sanitize) $(LDFLAGS)
LIBS := $(foreach l,$(libs),$(call lib_link,$(l))) -lm

# --- what there is --------------------------------------------------------------------------------------------------
# vmm/user is compiled by rules of its own below; of it the library has what tests call.
user_hosted := vmm/user/elf.c
SRC := $(sort $(call buildable,$(filter-out vmm/user/%,$(shell find $(rooms) -name '*.c' 2>/dev/null)) $(user_hosted)))
OBJ := $(SRC:%.c=$(B)/%.o)
PROG_SRC := $(sort $(call buildable,$(filter-out tools/pipit-aarch64.c,$(wildcard tools/*.c))))
PROGS := $(PROG_SRC:tools/%.c=$(B)/%)
TEST_LIB_SRC := $(sort $(call buildable,$(wildcard tests/lib/*.c)))
TEST_SRC := $(sort $(call buildable,$(wildcard tests/*/*_test.c)))
TESTS := $(TEST_SRC:%.c=$(B)/%)
FUZZ_SRC := $(sort $(call buildable,$(wildcard tests/fuzz/*_fuzz.c)))
FUZZERS := $(FUZZ_SRC:%.c=$(B)/%)

# pipit-aarch64 is freestanding: no libc, so none of the library's objects. What it shares with pipit is compiled again
# into $(B)/user/. Sanitizers need a libc, so the other modes than debug make it as release does.
user_not := $(addprefix jit/rt/,host.c run.c tlb.c atomic.c stats.c)
USER_SRC := $(sort $(if $(HAVE_JIT),$(shell find vmm/user -name '*.c' 2>/dev/null) tools/pipit-aarch64.c vmm/base/err.c \
              arch/arm64/model.c $(wildcard vmm/service/gdbstub/*.c) $(filter-out $(user_not),$(shell find jit -name '*.c'))))
USER_OBJ := $(USER_SRC:%.c=$(B)/user/%.o)
USER_PROG := $(if $(USER_SRC),$(B)/pipit-aarch64)
USER_CFLAGS := -std=gnu11 $(WARN) $(if $(filter debug,$(MODE)),-O1 -g3,-O2 -g) -fPIE -ffreestanding -fbuiltin \
               -fno-stack-protector -fvisibility=hidden -fcf-protection=none -U_FORTIFY_SOURCE -msse4.2 -mcx16 $(CFLAGS)
# A fixed place, high and away from where the kernel and programs put things: nothing is left to relocate, and the
# instruction of the guest's system calls has the same address in every process (vmm/user/sys/gate.h).
USER_LDFLAGS := -nostdlib -static -Wl,-Ttext-segment=0x700000000000 -Wl,-z,noexecstack -Wl,--no-relax -Wl,--build-id $(LDFLAGS)
# Made while building, by a program for the machine that builds (MAKER_CC).
MAKER_CC ?= $(if $(filter clang%,$(firstword $(CC))),clang,gcc)
GENERATED := $(if $(HAVE_JIT),$(B)/gen/a64_index.inc)
every_src := $(SRC) $(PROG_SRC) $(TEST_LIB_SRC) $(TEST_SRC) $(FUZZ_SRC)

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

# The command line that made the objects, and the list of sources: written anew only when changed, so that a changed
# flag rebuilds everything and a removed source leaves the archive.
stamp = mkdir -p $(dir $(1)) && { [ "$$(cat $(1) 2>/dev/null)" = $(2) ] || printf '%s\n' $(2) >$(1); }
sq := '
quote = $(sq)$(subst $(sq),$(sq)\$(sq)$(sq),$(1))$(sq)
.PHONY: FORCE
FORCE:
$(B)/.flags: FORCE
	@$(if $(strip $(missing)),echo 'pipit cannot be built without: $(strip $(missing)). `make deps$(if \
	    $(CROSS), CROSS=$(CROSS))` gets them.' >&2; exit 1)
	@$(call stamp,$@,$(call quote,$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(LIBS)))
$(B)/.sources: FORCE
	@$(call stamp,$@,$(call quote,$(SRC)))

$(B)/.user-sources: FORCE
	@$(call stamp,$@,$(call quote,$(USER_CFLAGS) $(USER_LDFLAGS) $(USER_SRC)))

$(B)/libpipit.a: $(OBJ) $(B)/.sources
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(OBJ)
$(B)/libtests.a: $(TEST_LIB_SRC:%.c=$(B)/%.o)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(B)/%.o: %.c $(B)/.flags
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
$(PROGS): $(B)/%: $(B)/tools/%.o $(B)/libpipit.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
$(B)/user/%.o: %.c $(B)/.flags
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(USER_CFLAGS) -MMD -MP -c $< -o $@
$(B)/gen/a64_index: tools/gen/a64_index.c jit/a64/rows.c jit/a64/bitmask.c jit/a64/decode.h jit/a64/index.h \
                    jit/a64/decode_simd.h jit/a64/insn_base.def jit/a64/insn_simd.def
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(MAKER_CC) -I. -D_GNU_SOURCE -std=gnu11 $(WARN) -O1 -o $@ $(filter %.c,$^)
$(B)/gen/a64_index.inc: $(B)/gen/a64_index
	$(Q)$< >$@.new && mv $@.new $@
$(B)/jit/a64/decode.o $(B)/user/jit/a64/decode.o: $(B)/gen/a64_index.inc
# A loop of these must not become a call of the function that it is.
$(B)/user/vmm/user/sys/libc.o: USER_CFLAGS += -fno-builtin
$(B)/pipit-aarch64: $(USER_OBJ) $(B)/.user-sources
	$(call say,LD,$@)
	$(Q)$(CC) $(USER_LDFLAGS) -o $@ $(USER_OBJ) -lgcc
$(TESTS): $(B)/%: $(B)/%.o $(B)/libtests.a $(B)/libpipit.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
$(FUZZERS): $(B)/%: $(B)/%.o $(B)/libtests.a $(B)/libpipit.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

.SECONDARY:
-include $(every_src:%.c=$(B)/%.d) $(USER_OBJ:%.o=%.d)
