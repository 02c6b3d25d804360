# SPDX-License-Identifier: Apache-2.0
#
#   make          build/musl/hyperstart (the product) and build/initrd.cpio; with ARCH=aarch64 below
#                 build/aarch64
#   make run      boots it in QEMU with a container: a shell, or CMD='…'; ROOTFS=dir for another root
#   make kernel   builds a kernel with which make run KERNEL=own boots faster: some minutes, once
#   make check    every test there is, with a summary
#   make install  [DESTDIR=] [PREFIX=/usr/local]: the program, its man page and systemd unit, and the tools
#                 around it
#   make dist     what is committed, as build/hyperstart-VERSION.tar.gz
#
# Parts of check: lint unit fuzz host-rig host-service vm-rig vm-isa vm-vsock vm-service script-tests chaos.
# Also: format, bench, profile, soak, faults, coverage, programs, mutants, size, clean.

MAKEFLAGS += --no-builtin-rules --no-builtin-variables
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDEXPANSION:
.DEFAULT_GOAL := all

# aarch64; empty is this machine's own.
ARCH :=
O := build$(ARCH:%=/%)
# What `make run` boots: own is that of `make kernel`, empty is Debian's.
KERNEL :=
# Of `make chaos`, and of `make fuzz` for each fuzzer.
SECONDS := 60
# Which changes `make mutants` tries, and how many.
SEED := 1
COUNT := 150
# What `make profile` looks at: exec, newcontainer, startpod, boot, stdin or stdout.
WHAT := exec

# No .pyc files in the tree, no pytest cache.
export PYTHONDONTWRITEBYTECODE := 1
PYTEST := /usr/bin/python3 -m pytest -p no:cacheprovider

# make V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $@)

WARNINGS := -Wall -Wextra -Wvla -Wshadow -Wundef -Wimplicit-fallthrough -Wmissing-prototypes -Werror
# -iquote: <limits.h> is the system's. (But gcc's then finds ours in place of glibc's part: PATH_MAX comes
# from <linux/limits.h>.)
CPPFLAGS := -D_GNU_SOURCE -iquote src -iquote include
LANGUAGE := -std=c11 $(WARNINGS)

# The product: small, static, the same in any directory. Never -static-pie: musl-gcc makes a
# dynamic executable of it, which does not boot.
MUSL_CC := $(if $(ARCH),$(ARCH)-linux-gnu-gcc -specs $(O)/sysroot/musl.specs,musl-gcc)
# The last two flags: smaller. Each call at a function's end would have an epilogue of its own.
MUSL_CFLAGS := $(LANGUAGE) -Os -isystem $(O)/kh "-ffile-prefix-map=$(CURDIR)=." \
	-ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables \
	-fstack-protector-strong -fno-pie -fno-caller-saves -fno-optimize-sibling-calls
# Without PIE, tables of pointers are constants like any other: there is nothing for relro to protect
# (and nobody to do it, in a static program of musl). common-page-size: no padding before the data.
MUSL_LDFLAGS := -static -s -Wl,--gc-sections -Wl,--build-id=sha1 \
	-Wl,-z,norelro -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,common-page-size=64
# Nothing may refer to raise or abort, see base/fork.h: there is no __wrap_raise, so the link would fail.
PRODUCT_LDFLAGS := $(MUSL_LDFLAGS) -Wl,-T,src/children.ld -Wl,--wrap=raise,--wrap=abort

# The same source for the host rig and the unit tests: glibc, and every mistake is fatal.
HOST_CC := gcc
HOST_CFLAGS := $(LANGUAGE) -O1 -g -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_CC := clang $(HOST_CFLAGS)
COVERAGE_CC := gcc $(LANGUAGE) -g --coverage

# For another architecture without sanitizers, and emulated.
ifdef ARCH
HOST_CC := $(ARCH)-linux-gnu-gcc -L$(O)/sysroot/usr/lib/$(ARCH)-linux-gnu
HOST_CFLAGS := $(LANGUAGE) -O1 -g
UNIT_RUN := qemu-$(ARCH)-static -L /usr/$(ARCH)-linux-gnu \
	-E LD_LIBRARY_PATH=$(O)/sysroot/usr/lib/$(ARCH)-linux-gnu
endif

ROOMS := $(patsubst src/%.c,%,$(wildcard src/*.c src/*/*.c))
# The programs of a folder of tests: $(call tests,unit/test_) are those of unit/test_*.c.
tests = $(patsubst tests/$(1)%.c,%,$(wildcard tests/$(1)*.c))
# An emulated kernel has no openat2, of which child_path is made.
UNIT := $(filter-out $(if $(ARCH),child_copy child_path child_ps child_user),$(call tests,unit/test_))
FUZZ := $(call tests,fuzz/fuzz_)
C_FILES := $(ROOMS:%=src/%.c) $(wildcard tests/*/*.c src/*.h src/*/*.h include/*.h)

.PHONY: all
all: $(O)/musl/hyperstart $(O)/initrd.cpio

# --- Packages: looked for once, installed where missing. ------------------------------------------

build/setup-%: scripts/setup
	@mkdir -p build
	@scripts/setup $*
	@touch $@

$(ARCH:%=$(O)/sysroot): scripts/get-sysroot | build/setup-build build/setup-$(ARCH)
	@scripts/get-sysroot $@ $(ARCH)
	@touch $@

# musl-gcc sees no kernel headers; here are those, and jsmn.h, and nothing of glibc's.
headers := $(if $(ARCH),$(CURDIR)/$(O)/sysroot,)/usr/include
$(O)/kh: | build/setup-build $(ARCH:%=$(O)/sysroot)
	@rm -rf $@.new && mkdir -p $@.new
	@ln -s $(headers)/linux $(headers)/asm-generic /usr/include/jsmn.h $@.new
	@ln -s $(headers)/$(or $(ARCH:%=%-linux-gnu),$$(gcc -print-multiarch))/asm $@.new/asm
	@rm -rf $@ && mv $@.new $@

# --- Programs -------------------------------------------------------------------------------------

# $(call cc,WHAT,compiler and flags,libraries). Some unit tests include a room's source themselves.
define cc
@mkdir -p $(@D)
$(call say,$(1))
$(Q)$(2) $(CPPFLAGS) -MMD -MP -o $@ $(filter-out tests/unit/../%,$(filter %.c %.o %.a,$^)) $(3)
endef
# A test has a __wrap_NAME for each call that it answers itself.
comma := ,
wraps = $(patsubst __wrap_%,-Wl$(comma)--wrap=%,$(sort $(shell grep -o '__wrap_\w*' $<)))

$(O)/musl/%.o: src/%.c Makefile | $(O)/kh
	$(call cc,CC,$(MUSL_CC) $(MUSL_CFLAGS) -c)

$(O)/musl/hyperstart: $(ROOMS:%=$(O)/musl/%.o) src/children.ld
	$(call cc,LINK,$(MUSL_CC) $(PRODUCT_LDFLAGS))

$(O)/prog/%: tests/prog/%.c Makefile | $(O)/kh
	$(call cc,CC,$(MUSL_CC) $(MUSL_CFLAGS) $(MUSL_LDFLAGS))

build/bench/%: tests/bench/%.c Makefile | build/kh
	$(call cc,CC,$(MUSL_CC) $(MUSL_CFLAGS) $(MUSL_LDFLAGS))

# The product with its symbols: the same addresses.
build/bench/agent: $(ROOMS:%=build/musl/%.o) src/children.ld
	$(call cc,LINK,$(MUSL_CC) $(filter-out -s,$(PRODUCT_LDFLAGS)))

# For QEMU, that counts with it.
build/bench/profile.so: tests/bench/profile.c Makefile | build/setup-build
	$(call cc,CC,gcc $(LANGUAGE) -O2 -shared -fPIC)

$(O)/host/%.o: src/%.c Makefile | build/setup-build build/setup-test
	$(call cc,CC,$(HOST_CC) $(HOST_CFLAGS) -c)

build/host/hyperstart: $(ROOMS:%=build/host/%.o)
	$(call cc,LINK,$(HOST_CC) $(HOST_CFLAGS))

# The same with each call in turn failing: tests/faults/faults.c.
FAULTS := malloc calloc strdup mmap pipe2 read readv write writev epoll_ctl epoll_wait accept4 \
	setns unshare mkdirat unlinkat fork_raw open openat ioctl syscall

build/faults/hyperstart: tests/faults/faults.c $(ROOMS:%=build/host/%.o) Makefile
	$(call cc,LINK,$(HOST_CC) $(HOST_CFLAGS) $(FAULTS:%=-Wl,--wrap=%))

# The same once more, and where it has been: tests/coverage/hooks.c.
build/coverage/%.o: src/%.c Makefile | build/setup-build build/setup-test
	$(call cc,CC,$(COVERAGE_CC) -O0 -fno-builtin-execve -c)

build/coverage/hyperstart: tests/coverage/hooks.c $(ROOMS:%=build/coverage/%.o)
	$(call cc,LINK,$(COVERAGE_CC) $(wraps))

build/coverage/faults: tests/coverage/hooks.c tests/faults/faults.c $(ROOMS:%=build/coverage/%.o)
	$(call cc,LINK,$(COVERAGE_CC) $(wraps) $(FAULTS:%=-Wl,--wrap=%))

# All rooms but main: what has a main() of its own links those that it calls.
$(O)/host/rooms.a build/coverage/rooms.a build/fuzz/rooms.a: %/rooms.a: \
		$$(addprefix $$*/,$$(addsuffix .o,$$(filter-out main,$$(ROOMS))))
	$(call say,AR)
	$(Q)rm -f $@ && ar cq $@ $^

$(O)/unit/test_%: tests/unit/test_%.c $(O)/host/rooms.a Makefile | $(ARCH:%=$(O)/sysroot)
	$(call cc,LINK,$(HOST_CC) $(HOST_CFLAGS) $(wraps),-lcmocka)

build/coverage/unit/%: tests/unit/test_%.c build/coverage/rooms.a Makefile
	$(call cc,LINK,$(COVERAGE_CC) $(wraps),-lcmocka)

build/fuzz/%.o: src/%.c Makefile | build/setup-test
	$(call cc,CC,$(FUZZ_CC) -fsanitize=fuzzer-no-link -c)

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/rooms.a Makefile | build/setup-test
	$(call cc,LINK,$(FUZZ_CC) -fsanitize=fuzzer)

-include $(wildcard $(foreach kind,musl host prog unit coverage fuzz bench clang,$(O)/$(kind)/*.d $(O)/$(kind)/*/*.d))

# --- What it boots with ---------------------------------------------------------------------------

$(O)/kernel/vmlinux: scripts/get-kernel scripts/packages.py | build/setup-build
	@scripts/get-kernel $(O)/kernel $(ARCH)

$(O)/initrd.cpio: $(O)/musl/hyperstart $(O)/kernel/vmlinux scripts/build-initrd
	$(call say,INITRD)
	$(Q)scripts/build-initrd --kernel $(O)/kernel --init $(O)/musl/hyperstart $@

# For an initrd --with-iptables.
build/iptables: scripts/get-iptables | build/setup-build
	@scripts/get-iptables $@
	@touch $@

$(O)/rootfs: scripts/build-rootfs | build/setup-run $(ARCH:%=$(O)/sysroot)
	$(call say,ROOTFS)
	$(Q)scripts/build-rootfs $@ $(ARCH:%=$(O)/sysroot/bin/busybox)

# A kernel of our own, with all built in: for it init is all that is in the initrd.
.PHONY: kernel
kernel: build/own-kernel/vmlinux

build/own-kernel/vmlinux: scripts/build-kernel scripts/kernel.config | build/setup-kernel
	@scripts/build-kernel build/own-kernel

build/own-kernel/initrd.cpio: $(O)/musl/hyperstart scripts/build-initrd | build/own-kernel/vmlinux
	$(call say,INITRD)
	$(Q)scripts/build-initrd --init $(O)/musl/hyperstart $@

boot_kernel := $(if $(KERNEL),build/$(KERNEL)-kernel/vmlinux,$(O)/kernel/vmlinux)
boot_initrd := $(if $(KERNEL),build/$(KERNEL)-kernel/initrd.cpio,$(O)/initrd.cpio)

# Disks for vm-service and for programs.
build/programs.ext4: packages := curl nginx openssh-server postgresql-15 redis-server
build/debian.ext4 build/programs.ext4: scripts/get-debian | build/setup-service
	@scripts/get-debian $@ $(packages)

# CMD and ROOTFS reach the script as they were typed: no second reading of $ by make, no shell.
override export CMD := $(value CMD)
override export ROOTFS := $(value ROOTFS)

.PHONY: run
run: $(boot_kernel) $(boot_initrd) $(O)/rootfs
	@if [ -t 0 ] && [ -t 1 ]; then tty=-t; fi; \
		scripts/fake-proxy run -i $$tty $(ARCH:%=--arch %) \
		$(if $(KERNEL)$(ARCH),--kernel $(boot_kernel) --initrd $(boot_initrd)) \
		$(ARGS) "$${ROOTFS:-$(O)/rootfs}" sh $${CMD:+-c "$$CMD"}

# --- Elsewhere ------------------------------------------------------------------------------------

PREFIX ?= /usr/local
VERSION := $(shell sed -n 's/^\#define VERSION "\(.*\)"/\1/p' src/version.h)
# What is needed to make an initrd of the program, and to try it, without this directory.
TOOLS := build-initrd common.py fake-proxy get-iptables get-kernel packages.py run-qemu
to = $(Q)install -D -t "$(DESTDIR)$(PREFIX)/$(1)" -m $(2)

.PHONY: install
install: $(O)/musl/hyperstart
	$(call to,sbin,755) $(O)/musl/hyperstart
	$(call to,share/man/man8,644) doc/hyperstart.8
	$(call to,lib/hyperstart,755) $(TOOLS:%=scripts/%)
	$(call to,lib/hyperstart,644) scripts/fake-proxy.bash
	$(call to,lib/hyperstart/fakeproxy,644) scripts/fakeproxy/*.*
	$(call to,lib/systemd/system,644) scripts/hyperstart.service
	$(Q)sed -i 's|=/usr/sbin/|=$(PREFIX)/sbin/|' "$(DESTDIR)$(PREFIX)/lib/systemd/system/hyperstart.service"
	$(Q)install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions"
	$(Q)ln -sfn ../../../lib/hyperstart/fake-proxy.bash \
		"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/fake-proxy"

# The same commit is the same bytes: git takes its time for all files, and gzip keeps none.
.PHONY: dist
dist:
	@mkdir -p build
	$(Q)git archive --prefix=hyperstart-$(VERSION)/ -o build/hyperstart-$(VERSION).tar.gz HEAD

# --- Tests ----------------------------------------------------------------------------------------

# Everything the rigs start.
rig := build/musl/hyperstart build/host/hyperstart build/faults/hyperstart build/rootfs \
	$(patsubst %,build/prog/%,$(call tests,prog/))
# A step of check: its report is there, too.
lane = $(PYTEST) $(1) --junitxml=build/check/$@.xml $(ARGS)
scenarios = $(call lane,$(1:%=tests/scenarios/test_%) --rig=$(2))

.PHONY: unit fuzz $(FUZZ:%=run-fuzz-%) host-rig chaos script-tests programs soak faults coverage
unit: $(UNIT:%=$(O)/unit/test_%)
	@fail=0; for test in $^; do echo "# $$test"; CMOCKA_MESSAGE_OUTPUT=TAP $(UNIT_RUN) $$test || fail=1; done; exit $$fail

# New findings grow in build/; what is worth keeping is copied to tests/fuzz/corpus by hand.
fuzz: $(FUZZ:%=run-fuzz-%)
$(FUZZ:%=run-fuzz-%): run-fuzz-%: build/fuzz/fuzz_%
	@mkdir -p build/fuzz/corpus/$* tests/fuzz/corpus/$*
	build/fuzz/fuzz_$* -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
		-print_final_stats=1 -artifact_prefix=build/fuzz/$*- \
		build/fuzz/corpus/$* tests/fuzz/corpus/$*

host-rig: $(rig)
	$(call lane,tests/scenarios --rig=host)

chaos: $(rig)
	$(call lane,tests/chaos --seconds=$(SECONDS) -q -s)

script-tests: all build/rootfs build/unit/test_json | build/setup-test
	$(call lane,tests/scripts)

programs: $(rig) build/initrd.cpio build/programs.ext4
	$(call lane,tests/programs --rig=vm)

soak: $(rig)
	@tests/soak/soak.py $(ARGS)

faults: $(rig)
	FAULTS_STEP=1 $(PYTEST) tests/scenarios/test_faults.py --rig=host $(ARGS)

coverage: build/coverage/hyperstart build/coverage/faults $(UNIT:%=build/coverage/unit/%) $(rig)
	@tests/coverage/coverage.py -- $(ARGS)

# Two at once: a guest waits more than it works.
.PHONY: vm-rig check-vm vm-rig.forward vm-rig.backward
vm-rig check-vm: $(rig) build/initrd.cpio build/iptables
	@rm -rf build/check/vm-rig && mkdir -p build/check/vm-rig
	@$(MAKE) --no-print-directory -k -j2 vm-rig.forward vm-rig.backward

vm-rig.forward vm-rig.backward: vm-rig.%:
	$(call lane,tests/scenarios --rig=vm --shared=build/check/vm-rig $(filter --backward,--$*))

# What hosts do, over the other ways to the guest and with an agent that is not PID 1.
.PHONY: vm-isa vm-vsock vm-service host-service
vm-isa vm-vsock vm-service: build/initrd.cpio
vm-isa vm-vsock vm-service host-service: $(rig)
vm-isa:
	$(call scenarios,hosts.py,vm --transport=isa)

vm-vsock:
	$(call scenarios,hosts.py reconnect.py,vm --transport=vsock)

vm-service: build/debian.ext4
	$(call scenarios,hosts.py::test_a_whole_life service.py agents_own_place.py,vm --start=service)

host-service:
	$(call scenarios,hosts.py exits.py agents_own_place.py,host --start=service)

# --- What is looked at, not run -------------------------------------------------------------------

lint_format = clang-format --dry-run --Werror $(C_FILES)
lint_layers = scripts/check-layers .
lint_tidy = clang-tidy --quiet $(ROOMS:%=src/%.c) -- $(CPPFLAGS) -std=c11
# cppcheck 2.10 does not know _Noreturn.
lint_cppcheck = cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingIncludeSystem --error-exitcode=1 -D_GNU_SOURCE \
	'-D_Noreturn=__attribute__((noreturn))' -Iinclude -Isrc src
lint_python = pyflakes3 scripts tests
lint_shell = shellcheck .ci/run scripts/fake-proxy.bash scripts/setup
lint_spelling = codespell --ignore-words-list=capinh,childs,nulll,ue README.md Makefile doc include \
	scripts src tests/*/*.[ch] tests/*.py tests/*/*.py

LINTS := lint-clang $(patsubst lint_%,lint-%,$(filter lint_%,$(.VARIABLES)))
.PHONY: lint $(LINTS) format
lint: $(LINTS)
$(LINTS): lint-%: | build/setup-test
	$(call say,LINT)
	$(Q)$(lint_$*)

# gcc's warnings are errors in both builds already; these are clang's.
lint-clang: $(ROOMS:%=build/clang/%.o)
build/clang/%.o: src/%.c Makefile | build/setup-test
	$(call cc,CC,clang $(LANGUAGE) -O1 -c)

format: | build/setup-test
	$(call say,LINT)
	$(Q)clang-format -i $(C_FILES)

# --- All of it ------------------------------------------------------------------------------------

# All that check runs, so that its steps find it built and can go side by side.
.PHONY: check-build check bench profile mutants size clean
check-build: all $(rig) build/iptables $(UNIT:%=build/unit/test_%) $(FUZZ:%=build/fuzz/fuzz_%)

check: | build/setup-build build/setup-run build/setup-test
	@tests/check.py

bench profile: all $(patsubst %,build/bench/%,$(filter-out profile,$(call tests,bench/)) profile.so agent)
bench: $(rig) | build/setup-run
	@tests/bench/bench.py
	@$(PYTEST) tests/scenarios/test_storm.py --rig=vm -q -s

profile: | build/setup-run
	@tests/bench/bench.py $(WHAT)

mutants: all $(rig)
	@tests/mutants/mutants.py $(SEED) $(COUNT)

size: build/musl/hyperstart
	@scripts/size

clean:
	rm -rf build
