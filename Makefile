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
.DEFAULT_GOAL := all

# aarch64; empty is this machine's own.
ARCH :=
O := build$(ARCH:%=/%)

ROOMS := $(patsubst src/%.c,%,$(wildcard src/*.c src/*/*.c))

# Calls that a unit test answers itself: the power; what errno means; the clock; where a path leads; module files and
# their loading; allocations, to fail each in turn; moves, to count them; the kernel's answers to
# netlink requests; an extended attribute.
UNIT_LDFLAGS_boot := -Wl,--wrap=reboot,--wrap=open,--wrap=module_load
UNIT_LDFLAGS_error := -Wl,--wrap=strerror
UNIT_LDFLAGS_log := -Wl,--wrap=clock_gettime
UNIT_LDFLAGS_writeback := -Wl,--wrap=_Fork
UNIT_LDFLAGS_loop := -Wl,--wrap=epoll_ctl
UNIT_LDFLAGS_control := -Wl,--wrap=malloc
UNIT_LDFLAGS_child_copy := -Wl,--wrap=getxattr
UNIT_LDFLAGS_child_exec := -Wl,--wrap=child_path_open
UNIT_LDFLAGS_module := -Wl,--wrap=syscall,--wrap=open
UNIT_LDFLAGS_mux := -Wl,--wrap=memmove
UNIT_LDFLAGS_child_journal := -Wl,--wrap=sendto,--wrap=recvfrom
UNIT_LDFLAGS_json := -Wl,--wrap=malloc,--wrap=calloc

# Seconds of `make chaos`, and of `make fuzz` for each fuzzer.
SECONDS := 60
# Which changes `make mutants` tries, and how many.
SEED := 1
COUNT := 150

PYTHON := /usr/bin/python3
# No .pyc files in the tree, no pytest cache.
export PYTHONDONTWRITEBYTECODE := 1
PYTEST := $(PYTHON) -m pytest -p no:cacheprovider

# make V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $@)

WARNINGS := -Wall -Wextra -Wvla -Wshadow -Wundef -Wimplicit-fallthrough -Wmissing-prototypes -Werror
# -iquote: <limits.h> is the system's. (But gcc's then finds ours in place of glibc's part: PATH_MAX comes
# from <linux/limits.h>.)
CPPFLAGS := -D_GNU_SOURCE -iquote src -iquote include
DEPFLAGS = -MMD -MP
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

# The same source for the host rig and the unit tests: glibc, and every mistake is fatal.
HOST_CC := gcc
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_CFLAGS := $(LANGUAGE) -O1 -g -fno-omit-frame-pointer $(SANITIZE)

# For another architecture without sanitizers, and emulated.
ifdef ARCH
HOST_CC := $(ARCH)-linux-gnu-gcc -L$(O)/sysroot/usr/lib/$(ARCH)-linux-gnu
HOST_CFLAGS := $(LANGUAGE) -O1 -g
UNIT_RUN := qemu-$(ARCH)-static -L /usr/$(ARCH)-linux-gnu \
	-E LD_LIBRARY_PATH=$(O)/sysroot/usr/lib/$(ARCH)-linux-gnu
endif

FUZZ_CC := clang
FUZZ_CFLAGS := $(LANGUAGE) -O1 -g -fno-omit-frame-pointer $(SANITIZE)

UNIT := $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_*.c))
# An emulated kernel has no openat2, of which child_path is made.
ifdef ARCH
UNIT := $(filter-out child_copy child_path child_ps child_user,$(UNIT))
endif
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
PROG := $(patsubst tests/prog/%.c,%,$(wildcard tests/prog/*.c))
BENCH := $(patsubst tests/bench/%.c,%,$(filter-out %/profile.c,$(wildcard tests/bench/*.c))) profile.so agent
C_SOURCES := $(ROOMS:%=src/%.c) $(wildcard tests/*/*.c)
C_FILES := $(C_SOURCES) $(wildcard src/*.h src/*/*.h include/*.h)
SHELL_SCRIPTS := .ci/run scripts/fake-proxy.bash scripts/setup

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

# --- The product ----------------------------------------------------------------------------------

# musl-gcc sees no kernel headers; here are those, and jsmn.h, and nothing of glibc's.
headers := $(if $(ARCH),$(CURDIR)/$(O)/sysroot,)/usr/include
$(O)/kh: | build/setup-build $(ARCH:%=$(O)/sysroot)
	@rm -rf $@.new && mkdir -p $@.new
	@ln -s $(headers)/linux $(headers)/asm-generic /usr/include/jsmn.h $@.new
	@ln -s $(headers)/$(or $(ARCH:%=%-linux-gnu),$$(gcc -print-multiarch))/asm $@.new/asm
	@rm -rf $@ && mv $@.new $@

$(O)/musl/hyperstart: $(ROOMS:%=$(O)/musl/%.o) src/children.ld
	$(call say,LINK)
	$(Q)$(MUSL_CC) $(MUSL_LDFLAGS) -Wl,-T,src/children.ld -o $@ $(filter %.o,$^)

$(O)/musl/%.o: src/%.c Makefile | $(O)/kh
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) $(DEPFLAGS) -c -o $@ $<

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

# own: that one; empty is Debian's.
KERNEL :=
boot_kernel := $(if $(KERNEL),build/$(KERNEL)-kernel/vmlinux,$(O)/kernel/vmlinux)
boot_initrd := $(if $(KERNEL),build/$(KERNEL)-kernel/initrd.cpio,$(O)/initrd.cpio)

build/debian.ext4: scripts/get-debian | build/setup-service
	@scripts/get-debian $@

build/programs.ext4: scripts/get-debian | build/setup-service
	@scripts/get-debian $@ curl nginx openssh-server postgresql-15 redis-server

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

.PHONY: install
install: $(O)/musl/hyperstart
	$(Q)install -D -m 755 -t "$(DESTDIR)$(PREFIX)/sbin" $(O)/musl/hyperstart
	$(Q)install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/man/man8" doc/hyperstart.8
	$(Q)install -D -m 755 -t "$(DESTDIR)$(PREFIX)/lib/hyperstart" $(TOOLS:%=scripts/%)
	$(Q)install -D -m 644 -t "$(DESTDIR)$(PREFIX)/lib/hyperstart/fakeproxy" scripts/fakeproxy/*.*
	$(Q)install -D -m 644 -t "$(DESTDIR)$(PREFIX)/lib/systemd/system" scripts/hyperstart.service
	$(Q)sed -i 's|=/usr/sbin/|=$(PREFIX)/sbin/|' "$(DESTDIR)$(PREFIX)/lib/systemd/system/hyperstart.service"
	$(Q)install -D -m 644 -t "$(DESTDIR)$(PREFIX)/lib/hyperstart" scripts/fake-proxy.bash
	$(Q)install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions"
	$(Q)ln -sfn ../../../lib/hyperstart/fake-proxy.bash \
		"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/fake-proxy"

# The same commit is the same bytes: git takes its time for all files, and gzip keeps none.
.PHONY: dist
dist:
	@mkdir -p build
	$(Q)git archive --prefix=hyperstart-$(VERSION)/ -o build/hyperstart-$(VERSION).tar.gz HEAD

# --- Tests ----------------------------------------------------------------------------------------

build/host/hyperstart: $(ROOMS:%=build/host/%.o)
	$(call say,LINK)
	$(Q)$(HOST_CC) $(SANITIZE) -o $@ $^

$(O)/host/%.o: src/%.c Makefile | build/setup-build build/setup-test
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(HOST_CC) $(CPPFLAGS) $(HOST_CFLAGS) $(DEPFLAGS) -c -o $@ $<

# Everything the rigs start.
rig := build/musl/hyperstart build/host/hyperstart build/faults/hyperstart build/rootfs $(PROG:%=build/prog/%)

# The same with each call in turn failing: tests/faults/faults.c.
FAULTS := malloc calloc strdup pipe2 read readv write writev epoll_ctl epoll_wait accept4 setns \
	unshare mkdirat unlinkat _Fork open openat ioctl syscall

build/faults/hyperstart: tests/faults/faults.c $(ROOMS:%=build/host/%.o) Makefile
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(HOST_CC) $(CPPFLAGS) $(HOST_CFLAGS) $(DEPFLAGS) $(FAULTS:%=-Wl,--wrap=%) -o $@ \
		$(filter %.c %.o,$^)

.PHONY: faults
faults: $(rig)
	FAULTS_STEP=1 $(PYTEST) tests/scenarios/test_faults.py --rig=host $(ARGS)

# The same once more, and where it has been: tests/coverage/hooks.c.
COVERAGE_CFLAGS := $(LANGUAGE) -O0 -g --coverage -fno-builtin-execve
COVERAGE_HOOKS := execve _exit reboot daemon_run child_begin report_alive

build/coverage/%.o: src/%.c Makefile | build/setup-build build/setup-test
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(HOST_CC) $(CPPFLAGS) $(COVERAGE_CFLAGS) $(DEPFLAGS) -c -o $@ $<

coverage_link = $(call say,LINK)$(if $(V),,;)$(HOST_CC) $(CPPFLAGS) $(LANGUAGE) -g -o $@ $(filter-out tests/unit/../%,$(filter tests/%.c %.o %.a,$^)) --coverage

build/coverage/hyperstart: tests/coverage/hooks.c $(ROOMS:%=build/coverage/%.o)
	$(coverage_link) $(COVERAGE_HOOKS:%=-Wl,--wrap=%)

build/coverage/faults: tests/coverage/hooks.c tests/faults/faults.c $(ROOMS:%=build/coverage/%.o)
	$(coverage_link) $(COVERAGE_HOOKS:%=-Wl,--wrap=%) $(FAULTS:%=-Wl,--wrap=%)

.PHONY: coverage
coverage: build/coverage/hyperstart build/coverage/faults $(UNIT:%=build/coverage/unit/%) $(rig)
	@tests/coverage/coverage.py -- $(ARGS)

# All rooms but main: what has a main() of its own links those that it calls.
archive := $(filter-out main,$(ROOMS))
define archive_rule
$(1)/rooms.a: $(archive:%=$(1)/%.o)
	$$(call say,AR)
	$(Q)rm -f $$@ && ar cq $$@ $$^
endef
$(foreach directory,$(O)/host build/coverage build/fuzz,$(eval $(call archive_rule,$(directory))))

$(O)/unit/test_%: tests/unit/test_%.c $(O)/host/rooms.a Makefile
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(HOST_CC) $(CPPFLAGS) $(HOST_CFLAGS) $(DEPFLAGS) $(UNIT_LDFLAGS_$*) -o $@ $< $(filter %.a,$^) -lcmocka

build/coverage/unit/%: tests/unit/test_%.c build/coverage/rooms.a Makefile
	@mkdir -p $(@D)
	$(coverage_link) $(UNIT_LDFLAGS_$*) -lcmocka

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/rooms.a Makefile | build/setup-test
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer $(DEPFLAGS) -o $@ $< $(filter %.a,$^)

build/fuzz/%.o: src/%.c Makefile | build/setup-test
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link $(DEPFLAGS) -c -o $@ $<

$(O)/prog/%: tests/prog/%.c Makefile | $(O)/kh
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) $(DEPFLAGS) $(MUSL_LDFLAGS) -o $@ $<

build/bench/%: tests/bench/%.c Makefile | build/kh
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) $(DEPFLAGS) $(MUSL_LDFLAGS) -o $@ $<

# For QEMU, that counts with it.
build/bench/profile.so: tests/bench/profile.c Makefile | build/setup-build
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)gcc $(CPPFLAGS) $(LANGUAGE) -O2 -shared -fPIC $(DEPFLAGS) -o $@ $<

# The product with its symbols: the same addresses.
build/bench/agent: $(ROOMS:%=build/musl/%.o) src/children.ld
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(MUSL_CC) $(filter-out -s,$(MUSL_LDFLAGS)) -Wl,-T,src/children.ld -o $@ $(filter %.o,$^)

.PHONY: unit
unit: $(UNIT:%=$(O)/unit/test_%)
	@fail=0; for test in $^; do echo "# $$test"; CMOCKA_MESSAGE_OUTPUT=TAP $(UNIT_RUN) $$test || fail=1; done; exit $$fail

# New findings grow in build/; what is worth keeping is copied to tests/fuzz/corpus by hand.
.PHONY: fuzz
fuzz: $(FUZZ:%=run-fuzz-%)

.PHONY: $(FUZZ:%=run-fuzz-%)
$(FUZZ:%=run-fuzz-%): run-fuzz-%: build/fuzz/fuzz_%
	@mkdir -p build/fuzz/corpus/$* tests/fuzz/corpus/$*
	build/fuzz/fuzz_$* -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
		-print_final_stats=1 -artifact_prefix=build/fuzz/$*- \
		build/fuzz/corpus/$* tests/fuzz/corpus/$*

.PHONY: host-rig
host-rig: $(rig)
	$(PYTEST) tests/scenarios --rig=host --junitxml=build/check/host-rig.xml $(ARGS)

.PHONY: chaos
chaos: $(rig)
	$(PYTEST) tests/chaos --seconds=$(SECONDS) --junitxml=build/check/chaos.xml -q -s $(ARGS)

.PHONY: soak
soak: $(rig)
	@tests/soak/soak.py $(ARGS)

.PHONY: script-tests
script-tests: all build/rootfs build/unit/test_json | build/setup-test
	$(PYTEST) tests/scripts --junitxml=build/check/script-tests.xml $(ARGS)

# Two at once: a guest waits more than it works.
.PHONY: vm-rig check-vm vm-rig.forward vm-rig.backward
vm-rig check-vm: $(rig) build/initrd.cpio build/iptables
	@rm -rf build/check/vm-rig && mkdir -p build/check/vm-rig
	@$(MAKE) --no-print-directory -k -j2 vm-rig.forward vm-rig.backward

vm-rig.forward vm-rig.backward:
	$(PYTEST) tests/scenarios --rig=vm --shared=build/check/vm-rig $(if $(filter %backward,$@),--backward) \
		--junitxml=build/check/$@.xml $(ARGS)

# What hosts do, over the other ways to the guest and with an agent that is not PID 1.
scenarios = $(PYTEST) $(1:%=tests/scenarios/test_%) --junitxml=build/check/$@.xml $(ARGS)
life := hosts.py::test_a_whole_life

.PHONY: vm-isa vm-vsock vm-service host-service
vm-isa: $(rig) build/initrd.cpio
	$(call scenarios,hosts.py) --rig=vm --transport=isa

vm-vsock: $(rig) build/initrd.cpio
	$(call scenarios,hosts.py reconnect.py) --rig=vm --transport=vsock

vm-service: $(rig) build/initrd.cpio build/debian.ext4
	$(call scenarios,$(life) service.py agents_own_place.py) --rig=vm --start=service

host-service: $(rig)
	$(call scenarios,hosts.py exits.py agents_own_place.py) --rig=host --start=service

.PHONY: programs
programs: $(rig) build/initrd.cpio build/programs.ext4
	$(PYTEST) tests/programs --rig=vm --junitxml=build/check/programs.xml $(ARGS)

LINTS := format layers clang tidy cppcheck python shell spelling
.PHONY: lint $(LINTS:%=lint-%)
lint: $(LINTS:%=lint-%)

lint-format: | build/setup-test
	$(call say,LINT)
	$(Q)clang-format --dry-run --Werror $(C_FILES)

lint-layers: | build/setup-test
	$(call say,LINT)
	$(Q)scripts/check-layers .

# gcc's warnings are errors in both builds already; these are clang's.
lint-clang: $(ROOMS:%=build/clang/%.o)

build/clang/%.o: src/%.c Makefile | build/setup-test
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)clang $(CPPFLAGS) $(LANGUAGE) -O1 $(DEPFLAGS) -c -o $@ $<

lint-tidy: | build/setup-test
	$(call say,LINT)
	$(Q)clang-tidy --quiet $(ROOMS:%=src/%.c) -- $(CPPFLAGS) -std=c11

# cppcheck 2.10 does not know _Noreturn.
lint-cppcheck: | build/setup-test
	$(call say,LINT)
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=missingIncludeSystem --error-exitcode=1 -D_GNU_SOURCE \
		'-D_Noreturn=__attribute__((noreturn))' -Iinclude -Isrc src

lint-python: | build/setup-test
	$(call say,LINT)
	$(Q)pyflakes3 scripts tests

lint-shell: | build/setup-test
	$(call say,LINT)
	$(Q)shellcheck $(SHELL_SCRIPTS)

lint-spelling: | build/setup-test
	$(call say,LINT)
	$(Q)codespell --ignore-words-list=capinh,childs,nulll,ue README.md Makefile doc include scripts src tests/*/*.[ch] tests/*/*.py

.PHONY: format
format: | build/setup-test
	$(call say,LINT)
	$(Q)clang-format -i $(C_FILES)

# All that check runs, so that its steps find it built and can go side by side.
.PHONY: check-build
check-build: all $(rig) build/iptables $(UNIT:%=build/unit/test_%) $(FUZZ:%=build/fuzz/fuzz_%)

.PHONY: check
check: | build/setup-build build/setup-run build/setup-test
	@tests/check.py

# Where the instructions of one job go: WHAT=exec|newcontainer|startpod|boot|stdin|stdout.
WHAT := exec

.PHONY: bench profile
bench: all $(rig) $(BENCH:%=build/bench/%) | build/setup-run
	@tests/bench/bench.py
	@$(PYTEST) tests/scenarios/test_storm.py --rig=vm -q -s

profile: all $(BENCH:%=build/bench/%) | build/setup-run
	@tests/bench/bench.py $(WHAT)

.PHONY: size
size: build/musl/hyperstart
	@scripts/size

.PHONY: mutants
mutants: all $(rig)
	@tests/mutants/mutants.py $(SEED) $(COUNT)

.PHONY: clean
clean:
	rm -rf build

-include $(wildcard $(foreach directory,$(O)/musl $(O)/host build/coverage build/clang build/fuzz,$(ROOMS:%=$(directory)/%.d)) \
	$(O)/unit/*.d $(O)/prog/*.d build/fuzz/*.d build/bench/*.d)
