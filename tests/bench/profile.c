/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin of QEMU's TCG: counts the instructions that a guest with one CPU executes, by task.
 *     -plugin profile.so,symbols=FILE,board=FILE,out=FILE
 * symbols has the functions of the kernel and of the agent, sorted, as lines "ADDRESS NAME".
 * board is struct board, which tests/bench/bench.py maps, too. out is written when QEMU ends: what was
 * executed while board->phase was set, as lines "PHASE TASK CONTEXT SYMBOL COUNT", with tabs.
 *
 * Theory of operation: a plugin of this version reads neither registers nor memory, but it sees
 * which block of code starts and which addresses an instruction accesses. The address of the kernel
 * stack identifies a task: the last access of __switch_to_asm is to the stack of the next task, and
 * copy_thread, in the parent, writes to the stack of the child. The context of a task is the system
 * call or exception for which it entered the kernel, and the exceptions and interrupts in it.
 *
 * How often a guest is interrupted and how often a task has to wait (for 9p, say) depends on the
 * load of the host. So the profile shows interrupts and __schedule() as a task of their own, and the
 * board leaves them out.
 */
#include <fcntl.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* From include/qemu/qemu-plugin.h of QEMU 7.2, which is in none of Debian's packages. */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(
	uint64_t id, void (*cb)(uint64_t id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_vcpu_tb_exec_cb(
	struct qemu_plugin_tb *tb, void (*cb)(unsigned vcpu, void *data), int flags, void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
	void (*cb)(unsigned vcpu, uint32_t info, uint64_t address, void *data), int flags, int rw,
	void *data);
extern void qemu_plugin_register_atexit_cb(
	uint64_t id, void (*cb)(uint64_t id, void *data), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
int qemu_plugin_version = 1;
int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

#define WRITES      2
#define READ_WRITES 3

#define STACK_SIZE 0x4000u
#define STACKS     0xffffc90000000000u /* vmalloc's addresses, without KASLR */
#define STACKS_MAX (1u << 17)          /* 2 GiB of them */
#define DEPTH_MAX  16
#define NAMES_MAX  4096
#define SLOTS      (1u << 20)

#define SYMBOLS_MAX  (1u << 19)
#define KERNEL_IMAGE 0xffffffff80000000u
#define IRETQ        "\x48\xcf"

enum kind {
	PLAIN,
	ENTRY,
	SYSCALL,
	EXECVE,
	MARK,
	EXCEPTION,
	INTERRUPT,
	SCHEDULE,
	SCHEDULED,
	SWITCH,
	FORK
};

/* The first that matches. */
static const struct {
	const char *pattern;
	enum kind kind;
} kinds[] = {
	{"entry_SYSCALL_64", ENTRY},
	{"__x64_sys_execve*", EXECVE},
	{"__x64_sys_getppid", MARK},
	{"__x64_sys_*", SYSCALL},
	{"asm_exc_*", EXCEPTION},
	{"asm_sysvec_*", INTERRUPT},
	{"asm_common_interrupt", INTERRUPT},
	{"__schedule", SCHEDULE},
	{"schedule", SCHEDULED},
	{"schedule_idle", SCHEDULED},
	{"preempt_schedule*", SCHEDULED},
	{"__cond_resched*", SCHEDULED},
	{"__switch_to_asm", SWITCH},
	{"copy_thread", FORK},
};

struct symbol {
	uint64_t address;
	char *name;
	enum kind kind;
};

/* A block of code as QEMU translated it. */
struct block {
	enum kind kind;
	unsigned symbol, count;
	bool user, returns;
};

/* A node of a tree; [0] is its root: user mode. */
struct context {
	unsigned parent, symbol, child, sibling;
};

struct frame {
	enum kind kind;
	unsigned context;
	bool apart; /* in an interrupt or in __schedule() */
};

enum role { IDLE, KERNEL, INIT, OBSERVER, BARE, AGENT, CHILD, APART };

/* INIT is PID 1 until it executes the agent; BARE are the observer's children. */
static const char *const role_names[] = {[IDLE] = "idle",
	[KERNEL] = "kernel thread",
	[INIT] = "kernel boot",
	[OBSERVER] = "observer",
	[BARE] = "bare program",
	[AGENT] = "agent",
	[CHILD] = "older child",
	[APART] = "interrupts, schedule"};

struct task {
	enum role role;
	unsigned name;         /* in the phase in which it was forked, if it is a CHILD */
	uint64_t phase;        /* in which it was forked */
	uint64_t births_phase; /* in which it forked `births` children */
	unsigned births;
	bool executed;   /* a program other than the agent */
	unsigned window; /* see window_turn() */
	int depth;
	struct frame frames[DEPTH_MAX]; /* [0] is user mode */
};

struct slot {
	uint64_t key, count;
};

/* Shared with tests/bench/bench.py. */
static volatile struct board {
	uint64_t phase; /* set by tests/bench/bench.py; 0: no profile */
	/* Instructions so far. `kernel`: of interrupts, the scheduler, kernel threads, and while idle. */
	uint64_t agent, children, bare, kernel;
} * board;

static struct symbol *symbols;
static unsigned symbol_count;
static struct context contexts[NAMES_MAX];
static unsigned context_count = 1;
static char names[NAMES_MAX][32];
static unsigned name_count;
static struct task tasks[1 + STACKS_MAX]; /* [0] is the idle task, whose stack is elsewhere */
static struct task *current = tasks;
static struct task *forked; /* by the copy_thread that runs */
static unsigned fork_symbol, births;
static unsigned window; /* open while it is odd */
static struct slot slots[SLOTS];
static const char *out;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "profile: %s\n", what);
	_exit(1);
}

/* The last one that is not above the address; [0] is at 0. */
static unsigned symbol_find(uint64_t address)
{
	unsigned low = 0, high = symbol_count;

	while (high - low > 1) {
		unsigned middle = low + (high - low) / 2;

		if (symbols[middle].address <= address)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static unsigned name_find(const char *name)
{
	unsigned i = 0;

	while (i < name_count && strcmp(names[i], name) != 0)
		i++;
	if (i == NAMES_MAX)
		fail("too many tasks");
	if (i == name_count)
		snprintf(names[name_count++], sizeof(names[0]), "%s", name);
	return i;
}

static unsigned context_find(unsigned parent, unsigned symbol)
{
	unsigned i = contexts[parent].child;

	while (i != 0 && contexts[i].symbol != symbol)
		i = contexts[i].sibling;
	if (i != 0)
		return i;
	if (context_count == NAMES_MAX)
		fail("too many contexts");
	contexts[context_count] = (struct context){parent, symbol, 0, contexts[parent].child};
	return contexts[parent].child = context_count++;
}

/* --- Tasks ---------------------------------------------------------------------------------- */

static struct task *task_find(uint64_t address)
{
	uint64_t index = (address - STACKS) / STACK_SIZE;

	return address >= STACKS && index < STACKS_MAX ? &tasks[1 + index] : NULL;
}

static enum role child_role(enum role parent)
{
	switch (parent) {
	case IDLE:
		/* The kernel's start forks PID 1 first, then kthreadd. */
		return births == 0 ? INIT : KERNEL;
	case INIT:
		return OBSERVER;
	case OBSERVER:
		return BARE;
	case AGENT:
		return CHILD;
	default:
		return parent;
	}
}

static void task_fork(struct task *child)
{
	char name[sizeof(names[0])];
	struct task *parent = current;

	if (parent->births_phase != board->phase)
		parent->births = 0;
	parent->births_phase = board->phase;
	parent->births++;
	*child = (struct task){.role = child_role(parent->role), .phase = board->phase};
	births++;
	if (parent->role == AGENT)
		snprintf(name, sizeof(name), "child %u", parent->births);
	else
		snprintf(name, sizeof(name), "%.24s.%u", names[parent->name], parent->births);
	child->name = child->role == CHILD && child->phase != 0 ? name_find(name) : child->role;
	child->executed = parent->executed;
	child->window = parent->window;
	/* Until its first return to user mode. */
	child->depth = 1;
	child->frames[1].context = context_find(0, fork_symbol);
}

static struct frame *frame_top(struct task *task)
{
	return &task->frames[task->depth];
}

static void frame_push(struct task *task, const struct block *block)
{
	struct frame *top = frame_top(task);

	if (task->depth == DEPTH_MAX - 1)
		fail("too many exceptions, one in the other");
	task->depth++;
	top[1] = (struct frame){block->kind, context_find(top->context, block->symbol),
		top->apart || block->kind == INTERRUPT || block->kind == SCHEDULE};
}

/* A bare program calls getppid() to begin and to end the count of its instructions, and of those of
 * the children that it forks in between. */
static void window_turn(struct task *task)
{
	if (task->role != BARE)
		return;
	if (window % 2 == 0)
		task->window = ++window;
	else if (task->window == window)
		window++;
}

/* --- What QEMU calls ------------------------------------------------------------------------ */

static void on_switch(unsigned vcpu, uint32_t info, uint64_t address, void *data)
{
	struct task *task = task_find(address);

	(void)vcpu;
	(void)info;
	(void)data;
	if (task)
		current = task;
	else if (address >= KERNEL_IMAGE)
		current = tasks;
}

static void on_fork(unsigned vcpu, uint32_t info, uint64_t address, void *data)
{
	struct task *task = task_find(address);

	(void)vcpu;
	(void)info;
	(void)data;
	if (task && task != current && task != forked)
		task_fork(forked = task);
}

static void context_follow(struct task *task, const struct block *block)
{
	switch (block->kind) {
	case ENTRY:
		task->depth = 0;
		frame_push(task, block);
		break;
	case EXCEPTION:
	case INTERRUPT:
	case SCHEDULE:
		frame_push(task, block);
		break;
	case SCHEDULED: /* any block of what calls __schedule() */
		if (frame_top(task)->kind == SCHEDULE)
			task->depth--;
		break;
	case EXECVE:
	case MARK:
	case SYSCALL:
		if (frame_top(task)->kind == ENTRY)
			*frame_top(task) =
				(struct frame){SYSCALL, context_find(0, block->symbol), false};
		if (block->kind == MARK)
			window_turn(task);
		if (block->kind == EXECVE && task->role == INIT)
			task->role = AGENT;
		else if (block->kind == EXECVE)
			task->executed = true;
		break;
	case FORK:
		forked = NULL;
		break;
	default:
		break;
	}
}

static void slot_add(const struct task *task, const struct block *block)
{
	const struct frame *top = &task->frames[task->depth];
	bool born = task->role == CHILD && task->phase == board->phase;
	unsigned name = top->apart ? APART : born ? task->name : task->role;
	/* A program that a child executed has other symbols than the agent. */
	unsigned symbol = block->user && (task->executed || task->role < AGENT) ? 0 : block->symbol;
	uint64_t key =
		board->phase << 48 | (uint64_t)name << 36 | (uint64_t)top->context << 24 | symbol;
	size_t i = key * 0x9e3779b97f4a7c15u >> 44;
	size_t first = i;

	while (slots[i].key != key && slots[i].key != 0)
		if ((i = (i + 1) % SLOTS) == first)
			fail("too many figures");
	slots[i].key = key;
	slots[i].count += block->count;
}

static void on_block(unsigned vcpu, void *data)
{
	const struct block *block = data;
	struct task *task = current;

	(void)vcpu;
	if (block->user)
		task->depth = 0;
	else
		context_follow(task, block);
	if (board->phase != 0)
		slot_add(task, block);
	if (frame_top(task)->apart || task->role == KERNEL || task->role == IDLE)
		board->kernel += block->count;
	else if (task->role == AGENT)
		board->agent += block->count;
	else if (task->role == CHILD)
		board->children += block->count;
	else if (task->role == BARE && task->window == window && window % 2 == 1)
		board->bare += block->count;
	/* sync_core() has an iretq that returns from nothing. */
	if (block->returns &&
		(frame_top(task)->kind == EXCEPTION || frame_top(task)->kind == INTERRUPT))
		task->depth--;
}

static void on_translate(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, count - 1);
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	unsigned symbol = symbol_find(address);
	enum kind kind = symbols[symbol].kind;
	struct block *block = calloc(1, sizeof(*block)); /* as long as QEMU runs */

	(void)id;
	if (!block)
		fail("out of memory");
	block->symbol = symbol;
	block->count = (unsigned)count;
	block->user = address >> 63 == 0;
	if (address == symbols[symbol].address || kind == SCHEDULED)
		block->kind = kind;
	block->returns = !block->user && qemu_plugin_insn_size(last) == 2 &&
		memcmp(qemu_plugin_insn_data(last), IRETQ, 2) == 0;
	for (size_t i = 0; i < count && (kind == SWITCH || kind == FORK); i++)
		qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i),
			kind == SWITCH ? on_switch : on_fork, 0,
			kind == SWITCH ? READ_WRITES : WRITES, NULL);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, block);
}

static void context_print(FILE *file, unsigned context)
{
	if (contexts[context].parent != 0) {
		context_print(file, contexts[context].parent);
		fputs(" > ", file);
	}
	fputs(context == 0 ? "user" : symbols[contexts[context].symbol].name, file);
}

static void on_exit_of_qemu(uint64_t id, void *data)
{
	FILE *file = fopen(out, "w");

	(void)id;
	(void)data;
	if (!file)
		fail(out);
	for (size_t i = 0; i < SLOTS; i++) {
		uint64_t key = slots[i].key;

		if (key == 0)
			continue;
		fprintf(file, "%u\t%s\t", (unsigned)(key >> 48), names[key >> 36 & 0xfff]);
		context_print(file, key >> 24 & 0xfff);
		fprintf(file, "\t%s\t%llu\n", symbols[key & 0xffffff].name,
			(unsigned long long)slots[i].count);
	}
	fclose(file);
}

/* --- Its start ------------------------------------------------------------------------------ */

static enum kind kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (fnmatch(kinds[i].pattern, name, 0) == 0)
			return kinds[i].kind;
	return PLAIN;
}

static void symbols_load(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned long long address;
	char name[512];

	symbols = calloc(SYMBOLS_MAX, sizeof(*symbols));
	if (!file || !symbols)
		fail(path);
	while (fscanf(file, "%llx %511s", &address, name) == 2) {
		if (symbol_count == SYMBOLS_MAX)
			fail("too many symbols");
		if (strcmp(name, "ret_from_fork") == 0)
			fork_symbol = symbol_count;
		symbols[symbol_count++] = (struct symbol){address, strdup(name), kind_of(name)};
	}
	fclose(file);
	if (symbol_count == 0)
		fail("no symbols");
}

static void board_map(const char *path)
{
	int fd = open(path, O_RDWR);
	void *at = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		fail(path);
	board = at;
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (size_t i = 0; i < sizeof(role_names) / sizeof(role_names[0]); i++)
		name_find(role_names[i]);
	for (int i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=') + 1;

		if (strncmp(argv[i], "symbols=", 8) == 0)
			symbols_load(value);
		else if (strncmp(argv[i], "board=", 6) == 0)
			board_map(value);
		else
			out = strdup(value);
	}
	if (!symbols || !board || !out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
