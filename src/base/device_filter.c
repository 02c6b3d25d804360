/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices may be opened in a cgroup: a BPF program, as container engines have it. */
#include "base/device_filter.h"

#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/count.h"

enum { RESULT, CONTEXT, ACCESS, KIND, MINOR }; /* registers */

#define INSTRUCTION(op, to, from, jump, value)                                        \
	{                                                                             \
		.code = op, .dst_reg = to, .src_reg = from, .off = jump, .imm = value \
	}
#define LOAD(to, offset)             INSTRUCTION(BPF_LDX | BPF_W | BPF_MEM, to, CONTEXT, offset, 0)
#define ALU(op, to, value)           INSTRUCTION(BPF_ALU64 | BPF_K | op, to, 0, 0, value)
#define SKIP_IF(op, to, value, jump) INSTRUCTION(BPF_JMP | BPF_K | op, to, 0, jump, value)
#define EXIT                         INSTRUCTION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* The type of a device and its major number, which has twelve bits, in one register. */
#define CHAR(major)        (BPF_DEVCG_DEV_CHAR << 12 | (major))
#define BLOCK(major)       (BPF_DEVCG_DEV_BLOCK << 12 | (major))
#define ALLOW(kind, minor) SKIP_IF(BPF_JNE, KIND, kind, 2), SKIP_IF(BPF_JNE, MINOR, minor, 1), EXIT
#define ALLOW_LENGTH       3

/* The numbers: the kernel's Documentation/admin-guide/devices.txt. The console, 5:1, is the guest's; that
 * of a container is a terminal of its own. */
static const struct bpf_insn head[] = {
	LOAD(ACCESS, offsetof(struct bpf_cgroup_dev_ctx, access_type)),
	LOAD(KIND, offsetof(struct bpf_cgroup_dev_ctx, major)),
	LOAD(MINOR, offsetof(struct bpf_cgroup_dev_ctx, minor)),
	ALU(BPF_MOV, RESULT, 1),
	SKIP_IF(BPF_JSET, ACCESS, (BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE) << 16, 1),
	EXIT, /* mknod alone */
	ALU(BPF_AND, ACCESS, 0xf),
	ALU(BPF_LSH, ACCESS, 12),
	INSTRUCTION(BPF_ALU64 | BPF_X | BPF_OR, KIND, ACCESS, 0, 0),
	ALLOW(CHAR(1), 3),                    /* null */
	ALLOW(CHAR(1), 5),                    /* zero */
	ALLOW(CHAR(1), 7),                    /* full */
	ALLOW(CHAR(1), 8),                    /* random */
	ALLOW(CHAR(1), 9),                    /* urandom */
	ALLOW(CHAR(5), 0),                    /* tty */
	ALLOW(CHAR(5), 2),                    /* ptmx */
	SKIP_IF(BPF_JNE, KIND, CHAR(136), 1), /* pts */
	EXIT,
};

static const struct bpf_insn tail[] = {ALU(BPF_MOV, RESULT, 0), EXIT};

int device_filter_load(const struct device_id *more, size_t count)
{
	struct bpf_insn program[COUNT(head) + ALLOW_LENGTH * DEVICES_MAX + COUNT(tail)];
	struct bpf_insn *end = program + COUNT(head);
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uintptr_t)program,
		.license = (uintptr_t) "Apache-2.0",
	};

	memcpy(program, head, sizeof(head));
	for (size_t i = 0; i < count; i++, end += ALLOW_LENGTH) {
		const int number = (int)major(more[i].number);
		const struct bpf_insn allow[] = {
			ALLOW(S_ISBLK(more[i].type) ? BLOCK(number) : CHAR(number),
				(int)minor(more[i].number))};

		memcpy(end, allow, sizeof(allow));
	}
	memcpy(end, tail, sizeof(tail));
	attr.insn_cnt = (uint32_t)(end - program) + COUNT(tail);
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

int device_filter_attach(int program, int cgroup)
{
	/* Multi: what a service manager has attached above stays in force. */
	const union bpf_attr attr = {
		.target_fd = (uint32_t)cgroup,
		.attach_bpf_fd = (uint32_t)program,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};

	return (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr));
}
