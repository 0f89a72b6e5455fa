# What can be asked of make. The work of the larger targets is in scripts of the same name beside this file.

.DEFAULT_GOAL := all
.PHONY: all tests fuzz-build deps run test check bench soak install clean help

PREFIX ?= /usr/local
DESTDIR ?=

all: $(B)/libpipit.a $(PROGS) $(USER_PROG)
tests: all $(TESTS)
fuzz-build: $(FUZZERS)

deps:
	@tools/deps.sh $(if $(CROSS),cross,build)
	$(if $(CROSS),@tools/sysroot.sh $(cross_arch))
run:
	@tools/deps.sh run
	@tools/run.sh
test:
	@tools/deps.sh test
	@tests/run.sh
check:
	@tools/deps.sh check
	@tools/check/run.sh
bench:
	@tools/deps.sh bench
	@tools/bench.sh
soak:
	@tools/deps.sh test
	@tests/soak.sh $(STEPS)

install: all
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/man/man1'
	install -m 755 $(PROGS) $(USER_PROG) '$(DESTDIR)$(PREFIX)/bin/'
	install -m 644 $(wildcard tools/*.1) '$(DESTDIR)$(PREFIX)/share/man/man1/'
	$(if $(USER_PROG),ln -f '$(DESTDIR)$(PREFIX)/bin/pipit-aarch64' '$(DESTDIR)$(PREFIX)/bin/qemu-aarch64-static')
	ln -f '$(DESTDIR)$(PREFIX)/bin/pipit-img' '$(DESTDIR)$(PREFIX)/bin/qemu-img'
	ln -f '$(DESTDIR)$(PREFIX)/bin/pipit' '$(DESTDIR)$(PREFIX)/bin/qemu-system-aarch64'
	ln -f '$(DESTDIR)$(PREFIX)/bin/pipit' '$(DESTDIR)$(PREFIX)/bin/qemu-system-x86_64'

clean:
	rm -rf build

help:
	@echo 'make           build pipit into build/release/'
	@echo 'make run       boot Debian arm64: a shell on a terminal, a self-check without one'
	@echo 'make test      every test; installs the packages it needs'
	@echo 'make check     formatting, include rules, static analysis'
	@echo 'make bench     boots, programs, user mode, kernels and microVMs beside QEMU; at the end all limits in a table'
	@echo 'make soak      the long tests: boots in a row, an hour of mixed load, and of fuzzing for each target; resumes;'
	@echo '               STEPS="tsan fuzz-virtq" for some of them, tests/soak.sh --list for their names'
	@echo 'make install   PREFIX=$(PREFIX), DESTDIR=; pipit, pipit-aarch64, pipit-img, man pages, and QEMU'\''s names for them'
	@echo 'make deps      install the Debian packages that a build needs; with CROSS= fetch its libraries too'
	@echo 'make clean     remove build/ (what was fetched stays in .cache/)'
	@echo
	@echo 'MODE=release|debug|asan|tsan  CC=gcc|clang  WITHOUT="slirp zlib zstd ext2fs"  CROSS=aarch64-linux-gnu-  V=1'

# For the scripts: how a file is compiled, and which files are.
.PHONY: generated print-cflags print-user-cflags list-sources list-user-sources list-tests
generated: $(GENERATED)
print-cflags:
	@echo $(call quote,$(wordlist 2,9,$(CC)) $(filter-out -Werror,$(ALL_CPPFLAGS) $(ALL_CFLAGS)))
print-user-cflags:
	@echo $(call quote,$(filter-out -Werror,$(ALL_CPPFLAGS) $(USER_CFLAGS)))
list-user-sources:
	@echo $(filter vmm/user/% tools/%,$(USER_SRC))
list-sources:
	@echo $(every_src) $(if $(HAVE_JIT),tools/gen/a64_index.c)
list-tests:
	@echo $(TESTS)
