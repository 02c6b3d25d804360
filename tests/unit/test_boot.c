/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../src/boot.c"

#include <cmocka.h> /* with a fail() of its own */

int __wrap_reboot(int how);

int __wrap_reboot(int how)
{
	_exit(how == RB_POWER_OFF ? 99 : 98);
}

/* In PID 1 it is a matter for the VM: tests/scenarios/test_stay.py. */
static void a_fault_in_a_child_is_the_end_of_that_child(void **state)
{
	const volatile char *nothing = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		alarm(10);
		faults_catch();
		(void)*nothing;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

/* Files of the kernel's and the initrd's, by what is in them. */
static const char *command_line, *module_order;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	bool is_command_line = strcmp(path, "/proc/cmdline") == 0;
	const char *text = is_command_line ? command_line : module_order;
	int fd;

	if (!is_command_line && strcmp(path, "/modules/order") != 0)
		return __real_open(path, flags, 0666); /* gcov's */
	if (text == NULL) {
		errno = ENOENT;
		return -1;
	}
	fd = memfd_create("text", MFD_CLOEXEC);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* The lines that the log got. */
static int log_fd;

static int setup(void **state)
{
	(void)state;
	log_fd = memfd_create("log", MFD_CLOEXEC);
	log_open(log_fd, true, LOG_LEVEL_INFO);
	return log_fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	log_open(-1, false, LOG_LEVEL_INFO);
	return close(log_fd);
}

static int lines_with(const char *words)
{
	char text[8192];
	ssize_t length = pread(log_fd, text, sizeof(text) - 1, 0);
	int count = 0;

	assert_true(length >= 0);
	text[length] = '\0';
	for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
		count++;
	return count;
}

static const struct settings defaults = {.api = 4244, .deadline_ms = 60000, .watch_ms = 3000};

static void the_kernel_command_line_says_how_the_agent_is_to_be(void **state)
{
	struct settings settings = defaults;
	struct transport transport = {0};

	(void)state;
	command_line = "quiet hyperstart.api=7 console=ttyS0\thyperstart.deadline=5 "
		       "hyperstart.log=debug  hyperstart.caps=default hyperstart.vsock=3 "
		       "hyper_use_serial hyperstart.watch=86400\n";
	command_line_apply(&settings, &transport);
	assert_int_equal(settings.api, 7);
	assert_int_equal(settings.deadline_ms, 5000);
	assert_int_equal(settings.watch_ms, 86400000);
	assert_true(settings.docker_caps);
	assert_int_equal(transport.vsock_cid, 3);
	assert_true(transport.isa_serial);
	assert_int_equal(log_threshold, LOG_LEVEL_DEBUG);
	assert_int_equal(lines_with("warn"), 0);
}

static void a_word_that_is_not_understood_is_said_and_changes_nothing(void **state)
{
	struct settings settings = defaults;
	struct transport transport = {0};

	(void)state;
	command_line = "hyperstart.api=0 hyperstart.api=4294967296 hyperstart.api=x7 "
		       "hyperstart.api=7x hyperstart.api= hyperstart.api hyperstart.deadline=0 "
		       "hyperstart.deadline=86401 hyperstart.log=loud hyperstart.caps=all "
		       "hyperstart.watch=0 hyperstart.watch=86401 hyperstart.watch=1s "
		       "hyperstart.=1 hyperstart.unheard=1 api=9 nohyperstart.api=9";
	command_line_apply(&settings, &transport);
	assert_memory_equal(&settings, &defaults, sizeof(settings));
	assert_int_equal(log_threshold, LOG_LEVEL_INFO);
	assert_int_equal(lines_with("is not understood"), 15);
}

static void a_kernel_command_line_that_cannot_be_read_changes_nothing(void **state)
{
	struct settings settings = defaults;
	struct transport transport = {0};
	static char text[8192];

	(void)state;
	command_line = NULL;
	command_line_apply(&settings, &transport);
	memset(text, ' ', sizeof(text) - 1);
	memcpy(text, "hyperstart.api=7 ", 17);
	command_line = text;
	command_line_apply(&settings, &transport);
	assert_memory_equal(&settings, &defaults, sizeof(settings));
}

/* The modules that were loaded, in order, by the last letters of their paths. */
static char loaded[32];

int __wrap_module_load(const char *path);

int __wrap_module_load(const char *path)
{
	strcat(loaded, path + strlen(path) - 1);
	errno = ENOEXEC;
	return strcmp(path, "/bad") == 0 ? -1 : 0;
}

static void modules_of_the_ports_are_loaded_before_all_others(void **state)
{
	(void)state;
	module_order = "/a\n/b\n\n/bad\n/c\n";
	loaded[0] = '\0';
	modules_load(true);
	assert_string_equal(loaded, "ab");
	modules_load(false);
	assert_string_equal(loaded, "abdc");
	assert_int_equal(lines_with("boot: module /bad: "), 1);
}

static void an_initrd_without_modules_is_no_mistake(void **state)
{
	(void)state;
	module_order = NULL;
	loaded[0] = '\0';
	modules_load(true);
	assert_string_equal(loaded, "");
	assert_int_equal(lines_with("boot"), 0);
}

#define test_of_boot(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_boot(the_kernel_command_line_says_how_the_agent_is_to_be),
		test_of_boot(a_word_that_is_not_understood_is_said_and_changes_nothing),
		test_of_boot(a_kernel_command_line_that_cannot_be_read_changes_nothing),
		test_of_boot(modules_of_the_ports_are_loaded_before_all_others),
		test_of_boot(an_initrd_without_modules_is_no_mistake),
		cmocka_unit_test(a_fault_in_a_child_is_the_end_of_that_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
