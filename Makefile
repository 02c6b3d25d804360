# SPDX-License-Identifier: Apache-2.0
#
#   make          build/musl/hyperstart (the product) and build/initrd.cpio
#   make run      boots it in QEMU with a container: a shell, or CMD='…'; ROOTFS=dir for another root
#   make check    every test there is, with a summary
#
# Parts of check: lint unit fuzz host-rig vm-rig script-tests. Also: format, bench, soak, clean.

MAKEFLAGS += --no-builtin-rules --no-builtin-variables
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# Every room, lowest layer first. Nothing is built that does not stand here.
ROOMS := format number log error arena queue uevent module loop json_scan json port control mux address \
	privilege spec report cgroup cgroup_limits child child_path child_user child_mount \
	child_device child_copy child_volume child_sysctl child_privileges child_rootfs \
	child_unmount child_exec child_clock netlink child_network_state child_route \
	child_network child_portmap child_pod child_files child_hotplug child_ps_columns \
	child_ps_table child_ps spawn worker process container portmap pod commands daemon boot \
	main

# What each unit test links beside itself, format and number.
network := child_network child_route child_network_state netlink address child report queue error

UNIT_list := log
UNIT_bytes := log
UNIT_log := log
UNIT_error := error
UNIT_arena := arena error
UNIT_queue := queue error
UNIT_json := json json_scan arena error
UNIT_privilege := privilege
UNIT_spec := spec address privilege json json_scan arena error
UNIT_report := report queue error
UNIT_loop := loop log error
UNIT_uevent := uevent
UNIT_port := port loop queue log error
UNIT_control := control port loop queue arena log error
UNIT_mux := mux port loop queue log error
UNIT_child := child report queue error
UNIT_address := address error
UNIT_netlink := netlink error
UNIT_child_copy := child_copy child_path
UNIT_child_network := $(network)
UNIT_child_portmap := child_portmap child report queue error
UNIT_child_path := child_path
UNIT_child_sysctl := child_sysctl child report queue error
UNIT_child_user := child_user child_path child report queue error
UNIT_child_ps := child_ps child_ps_table child_ps_columns child_user child_path child report \
	queue json_scan error
UNIT_cgroup := cgroup error
UNIT_cgroup_limits := cgroup_limits cgroup error

# Calls that a unit test answers itself: the clock; allocations, to fail each in turn; moves, to
# count them.
UNIT_LDFLAGS_log := -Wl,--wrap=clock_gettime
UNIT_LDFLAGS_loop := -Wl,--wrap=epoll_ctl
UNIT_LDFLAGS_control := -Wl,--wrap=malloc
UNIT_LDFLAGS_mux := -Wl,--wrap=memmove
UNIT_LDFLAGS_json := -Wl,--wrap=malloc,--wrap=calloc

# What each fuzzer links beside itself, format and number.
FUZZ_json := spec address privilege json json_scan arena error
FUZZ_control := control port loop queue arena log error
FUZZ_path := child_copy child_path
FUZZ_ps := child_ps_table child_ps_columns json_scan error
FUZZ_netlink := child_network_state netlink address error
FUZZ_address := $(network)
FUZZ_tty := mux port loop queue log error
FUZZ_user := child_user child_path child report queue error

# Seconds of `make fuzz` for each fuzzer.
SECONDS := 60

PYTHON := /usr/bin/python3
# No .pyc files in the tree, no pytest cache.
PYTEST := PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -p no:cacheprovider

# make V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $@)

WARNINGS := -Wall -Wextra -Wvla -Wshadow -Wundef -Wimplicit-fallthrough -Wmissing-prototypes -Werror
# -iquote: <limits.h> is the system's. (But gcc's then finds ours in place of glibc's part: PATH_MAX comes
# from <linux/limits.h>.)
CPPFLAGS := -D_GNU_SOURCE -iquote include
DEPFLAGS = -MMD -MP
LANGUAGE := -std=c11 $(WARNINGS)

# The product: small, static, the same in any directory. Never -static-pie: musl-gcc makes a
# dynamic executable of it, which does not boot.
MUSL_CC := musl-gcc
MUSL_CFLAGS := $(LANGUAGE) -Os -isystem build/kh "-ffile-prefix-map=$(CURDIR)=." \
	-ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables \
	-fstack-protector-strong -fno-pie
# Without PIE, tables of pointers are constants like any other: there is nothing for relro to protect
# (and nobody to do it, in a static program of musl). common-page-size: no padding before the data.
MUSL_LDFLAGS := -static -s -Wl,--gc-sections -Wl,--build-id=sha1 \
	-Wl,-z,norelro -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,common-page-size=64

# The same source for the host rig and the unit tests: glibc, and every mistake is fatal.
HOST_CC := gcc
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_CFLAGS := $(LANGUAGE) -O1 -g -fno-omit-frame-pointer $(SANITIZE)

FUZZ_CC := clang
FUZZ_CFLAGS := $(LANGUAGE) -O1 -g -fno-omit-frame-pointer $(SANITIZE)

UNIT := $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_*.c))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
PROG := $(patsubst tests/prog/%.c,%,$(wildcard tests/prog/*.c))
BENCH := $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/*.c))
C_SOURCES := $(wildcard src/*.c tests/*/*.c)
C_FILES := $(C_SOURCES) $(wildcard include/*.h)
SHELL_SCRIPTS := .ci/run scripts/build-rootfs scripts/setup

.PHONY: all
all: build/musl/hyperstart build/initrd.cpio

# --- Packages: looked for once, installed where missing. ------------------------------------------

build/setup-%: scripts/setup
	@mkdir -p build
	@scripts/setup $*
	@touch $@

# --- The product ----------------------------------------------------------------------------------

# musl-gcc sees no kernel headers; here are those, and jsmn.h, and nothing of glibc's.
build/kh: | build/setup-build
	@rm -rf $@.new && mkdir -p $@.new
	@ln -s /usr/include/linux /usr/include/asm-generic /usr/include/jsmn.h $@.new
	@ln -s /usr/include/$$(gcc -print-multiarch)/asm $@.new/asm
	@rm -rf $@ && mv $@.new $@

build/musl/hyperstart: $(ROOMS:%=build/musl/%.o) src/children.ld
	$(call say,LINK)
	$(Q)$(MUSL_CC) $(MUSL_LDFLAGS) -Wl,-T,src/children.ld -o $@ $(filter %.o,$^)

build/musl/%.o: src/%.c Makefile | build/kh
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) $(DEPFLAGS) -c -o $@ $<

# --- What it boots with ---------------------------------------------------------------------------

build/kernel/vmlinux: scripts/get-kernel | build/setup-build
	@scripts/get-kernel build/kernel

build/initrd.cpio: build/musl/hyperstart build/kernel/vmlinux scripts/build-initrd
	$(call say,INITRD)
	$(Q)scripts/build-initrd --kernel build/kernel --init build/musl/hyperstart $@

# For an initrd --with-iptables.
build/iptables: scripts/get-iptables | build/setup-build
	@scripts/get-iptables $@
	@touch $@

build/rootfs: scripts/build-rootfs | build/setup-run
	$(call say,ROOTFS)
	$(Q)scripts/build-rootfs $@

# CMD and ROOTFS reach the script as they were typed: no second reading of $ by make, no shell.
override export CMD := $(value CMD)
override export ROOTFS := $(value ROOTFS)

.PHONY: run
run: build/initrd.cpio build/rootfs
	@PYTHONDONTWRITEBYTECODE=1 scripts/fake-proxy run $(ARGS) \
		$${ROOTFS:+--rootfs "$$ROOTFS"} $${CMD:+-- "$$CMD"}

# --- Tests ----------------------------------------------------------------------------------------

build/host/hyperstart: $(ROOMS:%=build/host/%.o)
	$(call say,LINK)
	$(Q)$(HOST_CC) $(SANITIZE) -o $@ $^

build/host/%.o: src/%.c Makefile | build/setup-build build/setup-test
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(HOST_CC) $(CPPFLAGS) $(HOST_CFLAGS) $(DEPFLAGS) -c -o $@ $<

# The same with each call in turn failing: tests/faults/faults.c.
FAULTS := malloc calloc realloc strdup pipe2 read readv write writev epoll_ctl epoll_wait accept4 setns \
	unshare mkdirat unlinkat fork open openat syscall

build/faults/hyperstart: tests/faults/faults.c $(ROOMS:%=build/host/%.o) Makefile
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(HOST_CC) $(CPPFLAGS) $(HOST_CFLAGS) $(DEPFLAGS) $(FAULTS:%=-Wl,--wrap=%) -o $@ \
		$(filter %.c %.o,$^)

.PHONY: faults
faults: $(rig)
	FAULTS_STEP=1 $(PYTEST) tests/scenarios/test_faults.py --rig=host $(ARGS)

define unit_rule
build/unit/test_$(1): tests/unit/test_$(1).c $(UNIT_$(1):%=build/host/%.o) build/host/format.o build/host/number.o Makefile
	@mkdir -p $$(@D)
	$$(call say,LINK)
	$(Q)$(HOST_CC) $(CPPFLAGS) $(HOST_CFLAGS) $(DEPFLAGS) $(UNIT_LDFLAGS_$(1)) -o $$@ $$(filter %.c %.o,$$^) -lcmocka
endef
$(foreach test,$(UNIT),$(eval $(call unit_rule,$(test))))

define fuzz_rule
build/fuzz/fuzz_$(1): tests/fuzz/fuzz_$(1).c $(FUZZ_$(1):%=build/fuzz/%.o) build/fuzz/format.o build/fuzz/number.o Makefile | build/setup-test
	@mkdir -p $$(@D)
	$$(call say,LINK)
	$(Q)$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer $(DEPFLAGS) -o $$@ $$(filter %.c %.o,$$^)
endef
$(foreach fuzzer,$(FUZZ),$(eval $(call fuzz_rule,$(fuzzer))))

build/fuzz/%.o: src/%.c Makefile | build/setup-test
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link $(DEPFLAGS) -c -o $@ $<

build/prog/%: tests/prog/%.c Makefile | build/kh
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) $(DEPFLAGS) $(MUSL_LDFLAGS) -o $@ $<

build/bench/%: tests/bench/%.c Makefile | build/kh
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) $(DEPFLAGS) $(MUSL_LDFLAGS) -o $@ $<

.PHONY: unit
unit: $(UNIT:%=build/unit/test_%)
	@fail=0; for test in $^; do echo "# $$test"; CMOCKA_MESSAGE_OUTPUT=TAP $$test || fail=1; done; exit $$fail

# New findings grow in build/; what is worth keeping is copied to tests/fuzz/corpus by hand.
.PHONY: fuzz
fuzz: $(FUZZ:%=run-fuzz-%)

.PHONY: $(FUZZ:%=run-fuzz-%)
$(FUZZ:%=run-fuzz-%): run-fuzz-%: build/fuzz/fuzz_%
	@mkdir -p build/fuzz/corpus/$* tests/fuzz/corpus/$*
	build/fuzz/fuzz_$* -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
		-print_final_stats=1 -artifact_prefix=build/fuzz/$*- \
		build/fuzz/corpus/$* tests/fuzz/corpus/$*

# Everything the rigs start.
rig := build/musl/hyperstart build/host/hyperstart build/faults/hyperstart build/rootfs $(PROG:%=build/prog/%)

.PHONY: host-rig
host-rig: $(rig)
	$(PYTEST) tests/scenarios --rig=host --junitxml=build/check/host-rig.xml $(ARGS)

.PHONY: soak
soak: $(rig)
	@PYTHONDONTWRITEBYTECODE=1 tests/soak/soak.py $(ARGS)

.PHONY: script-tests
script-tests: all build/rootfs | build/setup-test
	$(PYTEST) tests/scripts --junitxml=build/check/script-tests.xml $(ARGS)

.PHONY: vm-rig check-vm
vm-rig check-vm: $(rig) build/initrd.cpio build/iptables
	$(PYTEST) tests/scenarios --rig=vm --junitxml=build/check/vm-rig.xml $(ARGS)

.PHONY: lint lint-format lint-layers lint-clang lint-tidy lint-cppcheck lint-shell lint-spelling
lint: lint-format lint-layers lint-clang lint-tidy lint-cppcheck lint-shell lint-spelling

lint-format: | build/setup-test
	$(call say,LINT)
	$(Q)clang-format --dry-run --Werror $(C_FILES)

lint-layers: | build/setup-test
	$(call say,LINT)
	$(Q)scripts/check-layers README.md

# gcc's warnings are errors in both builds already; these are clang's.
lint-clang: $(ROOMS:%=build/clang/%.o)

build/clang/%.o: src/%.c Makefile | build/setup-test
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)clang $(CPPFLAGS) $(LANGUAGE) -O1 $(DEPFLAGS) -c -o $@ $<

lint-tidy: | build/setup-test
	$(call say,LINT)
	$(Q)clang-tidy --quiet $(wildcard src/*.c) -- $(CPPFLAGS) -std=c11

# cppcheck 2.10 does not know _Noreturn.
lint-cppcheck: | build/setup-test
	$(call say,LINT)
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=missingIncludeSystem --error-exitcode=1 -D_GNU_SOURCE \
		'-D_Noreturn=__attribute__((noreturn))' -Iinclude src

lint-shell: | build/setup-test
	$(call say,LINT)
	$(Q)shellcheck $(SHELL_SCRIPTS)

lint-spelling: | build/setup-test
	$(call say,LINT)
	$(Q)codespell --ignore-words-list=capinh,childs,nulll,ue README.md Makefile include scripts src tests/*/*.[ch] tests/*/*.py

.PHONY: format
format: | build/setup-test
	$(call say,LINT)
	$(Q)clang-format -i $(C_FILES)

# All that check runs, so that its steps find it built and can go side by side.
.PHONY: check-build
check-build: all $(rig) build/iptables $(UNIT:%=build/unit/test_%) $(FUZZ:%=build/fuzz/fuzz_%)

.PHONY: check
check: | build/setup-build build/setup-run build/setup-test
	@scripts/check

.PHONY: bench
bench: all $(BENCH:%=build/bench/%) | build/setup-run
	@PYTHONDONTWRITEBYTECODE=1 scripts/bench

.PHONY: clean
clean:
	rm -rf build

-include $(wildcard build/musl/*.d build/host/*.d build/clang/*.d build/fuzz/*.d build/unit/*.d build/prog/*.d build/bench/*.d)
