/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "child/child.h"
#include "child/ps.h"
#include "child/report.h"

/* --- What ps is asked for ----------------------------------------------------------------------- */

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The heading that the arguments give, without its newline, or why not. */
static const char *heading(const char *const *psargs)
{
	static char line[PS_LINE_MAX + 1];
	struct ps_format format;
	struct error err;
	size_t length;

	if (ps_format_parse(&format, psargs, &err) < 0)
		return strcpy(line, err.text);
	length = ps_line(&format, NULL, line, PS_LINE_MAX);
	if (length > 0)
		assert_int_equal(line[--length], '\n');
	line[length] = '\0';
	return line;
}

static const char full[] = "UID        PID  PPID  C STIME TTY          TIME CMD";
static const char by_user[] =
	"USER       PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND";

static void no_arguments_are_ef(void **state)
{
	(void)state;
	assert_string_equal(heading(NULL), full);
	assert_string_equal(heading((const char *const[]){NULL}), full);
	assert_string_equal(heading(ARGS("")), full);
	assert_string_equal(heading(ARGS("-ef")), full);
	assert_string_equal(heading(ARGS("-e", "-f")), full);
	assert_string_equal(heading(ARGS("-efww")), full);
}

static void aux_is_known_with_and_without_its_dash(void **state)
{
	(void)state;
	assert_string_equal(heading(ARGS("aux")), by_user);
	assert_string_equal(heading(ARGS("-aux")), by_user);
	assert_string_equal(heading(ARGS("u")), by_user);
	assert_string_equal(heading(ARGS("auxww")), by_user);
}

static void letters_that_select_more_change_nothing(void **state)
{
	(void)state;
	assert_string_equal(heading(ARGS("-e", "-A", "-a", "-x", "a", "x", "ax", "-w")), full);
}

static void columns_are_chosen_by_name(void **state)
{
	(void)state;
	assert_string_equal(heading(ARGS("-o", "pid,comm")), "  PID COMMAND");
	assert_string_equal(heading(ARGS("-opid,comm")), "  PID COMMAND");
	assert_string_equal(heading(ARGS("-eo", "pid,comm")), "  PID COMMAND");
	assert_string_equal(heading(ARGS("axo", "pid comm")), "  PID COMMAND");
	assert_string_equal(heading(ARGS("-o", "pid", "-o", "comm")), "  PID COMMAND");
	assert_string_equal(heading(ARGS("-e", "-o", "comm,pid", "-f")), "COMMAND           PID");
	assert_string_equal(heading(ARGS("-o",
				    "pid ppid,uid,user,c,tty,time,bsdtime,stat,stime,comm,"
				    "cmd,command,vsz,rss,nlwp,pcpu,%cpu,pmem,%mem,args")),
		"  PID  PPID   UID USER      C TT           TIME   TIME STAT STIME COMMAND         "
		"CMD                         COMMAND                        VSZ   RSS NLWP %CPU "
		"%CPU "
		"%MEM %MEM COMMAND");
}

static void a_column_gets_the_header_that_is_asked_for(void **state)
{
	(void)state;
	assert_string_equal(heading(ARGS("-o", "pid,user=NAME,nlwp")), "  PID NAME     NLWP");
	assert_string_equal(heading(ARGS("-o", "user=A_LONG_NAME,c=")), "A_LONG_NAME   ");
	assert_string_equal(heading(ARGS("-o", "user=a\nb,pid=\x1b[1m\xff")), "a?b      ?[1m?");
}

static void no_header_at_all_is_no_heading(void **state)
{
	(void)state;
	assert_string_equal(heading(ARGS("-o", "pid=", "-o", "comm=")), "");
}

static void what_is_not_understood_is_named(void **state)
{
	(void)state;
	assert_string_equal(heading(ARGS("-q")), "ps: unknown option '-q'");
	assert_string_equal(
		heading(ARGS("-e", "-ef", "--sort=pid")), "ps: unknown option '--sort=pid'");
	assert_string_equal(heading(ARGS("-p", "1")), "ps: unknown option '-p'");
	assert_string_equal(heading(ARGS("-u", "root")), "ps: unknown option '-u'");
	assert_string_equal(heading(ARGS("axf")), "ps: unknown option 'axf'");
	assert_string_equal(heading(ARGS("1234")), "ps: unknown option '1234'");
	assert_string_equal(heading(ARGS("-")), "ps: unknown option '-'");
	assert_string_equal(heading(ARGS("-o", "pid,wchan=X")), "ps: unknown column 'wchan'");
	assert_string_equal(heading(ARGS("-o", "=PID")), "ps: unknown column ''");
	assert_string_equal(heading(ARGS("-o", "pi")), "ps: unknown column 'pi'");
	assert_string_equal(heading(ARGS("-o", "pidx")), "ps: unknown column 'pidx'");
	assert_string_equal(heading(ARGS("-eo")), "ps: option '-eo' without a list of columns");
	assert_string_equal(heading(ARGS("-o", " ,")), "ps: option '-o' without a list of columns");
}

static void too_many_columns_are_an_error(void **state)
{
	char list[PS_COLUMNS_MAX * 3 + 3] = "";

	(void)state;
	for (unsigned i = 0; i < PS_COLUMNS_MAX; i++)
		strcat(list, "c,");
	assert_int_equal(strlen(heading(ARGS("-o", list))), PS_COLUMNS_MAX * 3 - 1);
	strcat(list, "c");
	assert_string_equal(heading(ARGS("-o", list)), "ps: surplus column 'c'");
}

static void a_header_is_cut(void **state)
{
	char list[1024] = "pid=";

	(void)state;
	memset(list + 4, 'H', 300);
	assert_int_equal(strlen(heading(ARGS("-o", list))), 255);
}

/* --- What procfs says --------------------------------------------------------------------------- */

/* 2026-03-02 10:00:00 UTC, ten days after boot; the texts of procfs come of these. */
struct example {
	const char *comm, *args, *passwd;
	char state;
	int pid, pgid, sid, uid, tty_pgid, nice, threads;
	int64_t tty, uptime, cpu_ticks, start_ticks;
	uint64_t vsz_bytes, rss_pages;
};

static const struct example web = {
	.comm = "nginx",
	.args = "nginx -g daemon off;",
	.passwd = "root:x:0:0::/root:\nwww-data:x:33:33::/:\nsystemd-network:x:34:33::/:\n"
		  "a b\tc:x:35:33::/:\n",
	.state = 'S',
	.pid = 131,
	.pgid = 131,
	.sid = 131,
	.uid = 33,
	.tty_pgid = -1,
	.threads = 1,
	.vsz_bytes = 6 * 1024 * 1024,
	.rss_pages = 262,
	.uptime = 864000,
	.cpu_ticks = 360000,                  /* an hour, */
	.start_ticks = (864000 - 7200) * 100, /* of two */
};

static struct ps_process *process_of(const struct example *e)
{
	static struct ps_process p;

	p = (struct ps_process){
		.now = 1772445600,
		.machine = {.uptime = e->uptime, .totalram = 1 << 30},
		.passwd = e->passwd,
		.passwd_length = strlen(e->passwd),
		.pid = e->pid,
	};
	snprintf(p.stat, sizeof(p.stat),
		"%d (%s) %c 1 %d %d %" PRId64 " %d 4194304 101 0 0 0 %" PRId64
		" 61 7 7 20 %d %d 0 %" PRId64 " %" PRIu64 " %" PRIu64 " 18446744073709551615 9 9\n",
		e->pid, e->comm, e->state, e->pgid, e->sid, e->tty, e->tty_pgid, e->cpu_ticks - 61,
		e->nice, e->threads, e->start_ticks, e->vsz_bytes, e->rss_pages);
	snprintf(p.status, sizeof(p.status),
		"Name:\tx\\nUid:\t7\t7\nUmask:\t0022\nUid:\t0\t%d\t2\t3\nGid:\t4\t44\t5\t6\n",
		e->uid);
	snprintf(p.args, sizeof(p.args), "%s", e->args);
	return &p;
}

/* A line of a process, without its newline; "" when there is none. */
static const char *line_of(const struct ps_process *process, const char *const *psargs)
{
	static char text[PS_LINE_MAX + 1];
	struct ps_format format;
	struct error err;
	size_t length;

	assert_int_equal(ps_format_parse(&format, psargs, &err), 0);
	length = ps_line(&format, process, text, PS_LINE_MAX);
	if (length == 0)
		return "";
	assert_int_equal(text[length - 1], '\n');
	assert_null(memchr(text, '\n', length - 1));
	text[length - 1] = '\0';
	return text;
}

static const char *line(const struct example *example, const char *const *psargs)
{
	return line_of(process_of(example), psargs);
}

static const char *shown(const struct example *example, const char *columns)
{
	return line(example, ARGS("-o", columns));
}

/* What these texts give. */
static const char *read_from(const char *stat, const char *status)
{
	struct ps_process *p = process_of(&web);

	strcpy(p->stat, stat);
	strcpy(p->status, status);
	return line_of(p, ARGS("-o", "pid,ppid,uid,stat,comm"));
}

#define STAT_TAIL \
	" S 5035 5036 3564 34819 5037 4194304 101 0 0 0 250 61 7 7 20 -5 3 0 305669 3133440 412"
#define STATUS "Uid:\t0\t1000\t2\t3\n"

static void a_name_may_look_like_the_rest(void **state)
{
	(void)state;
	assert_string_equal(
		read_from("131 (a) R 2 (b)" STAT_TAIL, STATUS), "  131  5035  1000 S<l  a) R 2 (b");
	assert_string_equal(
		read_from("1 (\n1 (x)\n)" STAT_TAIL, STATUS), "  131  5035  1000 S<l  ?1 (x)?");
	assert_string_equal(read_from("1 ()" STAT_TAIL, STATUS), "  131  5035  1000 S<l  ?");
}

static void a_text_that_is_cut_anywhere_gives_no_line(void **state)
{
	char text[] = "5054 (cat)" STAT_TAIL, status[] = "Umask:\t0022\nUid:\t0\t1";

	(void)state;
	for (size_t length = strlen(text) - strlen(" 412"); length > 0; length--) {
		text[length] = '\0';
		assert_string_equal(read_from(text, STATUS), "");
	}
	for (size_t length = strlen(status) - 1; length > 0; length--) {
		status[length] = '\0';
		assert_string_equal(read_from("1 (x)" STAT_TAIL, status), "");
	}
	assert_string_equal(read_from("", ""), "");
	assert_string_equal(read_from(") S (" STAT_TAIL, STATUS), "");
	assert_string_equal(read_from("1 x)" STAT_TAIL, STATUS), "");
}

static void numbers_too_large_are_cut_not_wrapped(void **state)
{
	struct example e = web;

	(void)state;
	e.vsz_bytes = UINT64_MAX;
	e.rss_pages = UINT64_MAX;
	e.cpu_ticks = INT64_MAX;
	assert_string_equal(
		shown(&e, "vsz,rss,bsdtime"), "274877906944 1125899906842624 46912496118:27");
	assert_string_equal(shown(&e, "c,pid,comm"), "99   131 nginx");
}

static void a_line_stands_below_its_heading(void **state)
{
	(void)state;
	assert_string_equal(line(&web, ARGS("-ef")),
		"www-data   131     1 50 08:00 ?        01:00:00 nginx -g daemon off;");
	assert_string_equal(line(&web, ARGS("aux")),
		"www-data   131 50.0  0.0   6144  1048 ?        Ss   08:00  60:00 nginx -g daemon "
		"off;");
	assert_string_equal(shown(&web, "pid,uid,nlwp,comm"), "  131    33    1 nginx");
}

static void a_user_is_a_name_or_else_a_number(void **state)
{
	struct example p = web;

	(void)state;
	assert_string_equal(shown(&p, "user,pid"), "www-data   131");
	p.uid = 34;
	assert_string_equal(shown(&p, "user,pid"), "systemd+   131");
	p.uid = 35;
	assert_string_equal(shown(&p, "user,pid"), "a_b?c      131");
	p.uid = 36;
	assert_string_equal(shown(&p, "user,pid"), "36         131");
	p.uid = 1234567890;
	assert_string_equal(shown(&p, "user,pid"), "1234567890   131");
	assert_string_equal(shown(&p, "uid,pid"), "1234567890   131");
}

static void a_process_without_arguments_is_its_name_in_brackets(void **state)
{
	struct example p = web;

	(void)state;
	p.args = "";
	assert_string_equal(shown(&p, "cmd"), "[nginx]");
	p.state = 'Z';
	assert_string_equal(shown(&p, "stat,cmd"), "Zs   [nginx] <defunct>");
	assert_string_equal(shown(&p, "comm"), "nginx <defunct>");
}

static void states_have_their_letters(void **state)
{
	struct example p = web;

	(void)state;
	assert_string_equal(shown(&p, "stat"), "Ss");
	p.nice = -1;
	p.threads = 2;
	p.tty_pgid = p.pgid;
	assert_string_equal(shown(&p, "stat"), "S<sl+");
	p.nice = 1;
	p.sid = 1;
	assert_string_equal(shown(&p, "stat"), "SNl+");
}

static void terminals_have_their_names(void **state)
{
	static const struct {
		int64_t device;
		const char *name;
	} ttys[] = {
		{0, "?"},
		{136 << 8, "pts/0"},
		{136 << 8 | 7, "pts/7"},
		{1 << 20 | 136 << 8 | 2, "pts/258"},
		{137 << 8 | 1, "pts/257"},
		{144 << 8, "?"},
		{4 << 8 | 1, "?"},
		{204 << 8 | 64, "?"},
		{-1, "?"},
	};
	struct example p = web;

	(void)state;
	for (size_t i = 0; i < sizeof(ttys) / sizeof(ttys[0]); i++) {
		p.tty = ttys[i].device;
		assert_string_equal(shown(&p, "tty"), ttys[i].name);
	}
}

static void times_grow_from_seconds_to_days(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} times[] = {
		{61, "00:01:01   1:01"},
		{3599, "00:59:59  59:59"},
		{3600, "01:00:00  60:00"},
		{86399, "23:59:59 1439:59"},
		{86400, "1-00:00:00 1440:00"},
	};
	struct example p = web;

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		p.cpu_ticks = times[i].seconds * 100 + 99;
		assert_string_equal(shown(&p, "time,bsdtime"), times[i].text);
	}
}

static void a_start_is_an_hour_of_today_or_a_day(void **state)
{
	struct example p = web;

	(void)state;
	p.start_ticks = (864000 - 36000) * 100;
	assert_string_equal(shown(&p, "stime"), "00:00");
	p.start_ticks -= 100;
	assert_string_equal(shown(&p, "stime"), "Mar01");
	p.start_ticks = 0;
	assert_string_equal(shown(&p, "stime"), "Feb20");
	/* Behind the sum of a second, and of a clock that was set. */
	p.start_ticks = (864000 + 1) * 100;
	assert_string_equal(shown(&p, "stime"), "10:00");
}

static void shares_are_of_one_cpu_and_of_the_memory(void **state)
{
	struct example p = web;

	(void)state;
	p.rss_pages = 1024 * 1024 / 8;
	p.cpu_ticks = 7200 * 100 * 3;
	assert_string_equal(shown(&p, "c,%cpu,%mem"), "99 300.0 50.0");
	/* The moment of its start: no time to have a share of. */
	p.start_ticks = 864001 * 100;
	assert_string_equal(shown(&p, "c,%cpu,pid"), " 0  0.0   131");
}

static struct example named(const char *comm, const char *args)
{
	struct example p = web;

	p.comm = comm;
	p.args = args;
	return p;
}

static void what_would_break_the_table_becomes_question_marks(void **state)
{
	struct example p = named("a\nb\x1b[2J", "sh\n1 root\t\x7f\r\x1b]0;x\x07");

	(void)state;
	assert_string_equal(shown(&p, "comm"), "a?b?[2J");
	assert_string_equal(shown(&p, "args"), "sh?1 root????]0;x?");
}

static void characters_pass_where_nothing_stands_behind_them(void **state)
{
	struct example p = named("gr\xc3\xbc\xc3\x9f \xe2\x82\xac", "");

	(void)state;
	assert_string_equal(shown(&p, "comm"), "gr\xc3\xbc\xc3\x9f \xe2\x82\xac");
	/* Not in front of another column: to a host U+00A0 or U+3000 may be white space. */
	assert_string_equal(shown(&p, "comm,pid"), "gr??_?            131");
}

static void bad_characters_become_question_marks_byte_by_byte(void **state)
{
	static const char *const bad[][2] = {
		{"\xc3", "?"},                /* cut */
		{"\xff\xfe", "??"},           /* none */
		{"\xc0\xaf", "??"},           /* overlong */
		{"\xed\xa0\x80", "???"},      /* a surrogate */
		{"\xf4\x90\x80\x80", "????"}, /* above all */
		{"a\x80z", "a?z"},            /* no beginning */
		{"\xc2\x85", "?"},            /* U+0085, next line */
		{"\xc2\x9b", "?"},            /* U+009B, what ESC [ is */
		{"\xe2\x80\xa8", "?"},        /* U+2028, line separator */
		{"\xe2\x80\xae", "?"},        /* U+202E, right to left from here */
		{"\xe2\x81\xa6", "?"},        /* U+2066, the same for a part */
		{"\xe2\x80\xa7", "\xe2\x80\xa7"},
		{"\xe2\x81\xaa", "\xe2\x81\xaa"},
		{"\xf0\x9f\x90\xa7", "\xf0\x9f\x90\xa7"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct example p = named("x", bad[i][0]);

		assert_string_equal(shown(&p, "args"), bad[i][1]);
	}
}

static void each_column_but_the_last_is_one_word(void **state)
{
	struct example p = named("1 root", "sh -c exit"), empty = named("", "");

	(void)state;
	assert_string_equal(shown(&p, "comm,pid,args"), "1_root            131 sh -c exit");
	assert_string_equal(shown(&p, "args,pid"), "sh_-c_exit                    131");
	assert_string_equal(shown(&empty, "comm,pid"), "?                 131");
}

static void a_command_in_front_of_others_is_cut_to_its_column(void **state)
{
	struct example p = named("sixteen-letters!", "a-command-of-more-than-27-letters");

	(void)state;
	assert_string_equal(shown(&p, "comm,pid"), "sixteen-letters   131");
	assert_string_equal(shown(&p, "args,pid"), "a-command-of-more-than-27-l   131");
	assert_string_equal(shown(&p, "args"), "a-command-of-more-than-27-letters");
}

static void a_line_is_cut_to_its_size_at_a_character(void **state)
{
	struct example p = named("x",
		"\xe2\x82\xac\xe2\x82\xac"
		"abc");
	struct ps_format format;
	struct error err;
	char text[32];

	(void)state;
	assert_int_equal(ps_format_parse(&format, ARGS("-o", "args"), &err), 0);
	for (size_t size = 1; size < 20; size++) {
		size_t room = size - 1,
		       expected = room < 3 ? 0
			: room < 6         ? 3
			: room < 9         ? room
					   : 9;
		/* No guard behind it: ASan's is there. */
		char *exact = malloc(size);

		assert_int_equal(ps_line(&format, process_of(&p), exact, size), expected + 1);
		assert_int_equal(exact[expected], '\n');
		free(exact);
	}
	assert_int_equal(ps_format_parse(&format, ARGS("-o", "pid,args"), &err), 0);
	assert_int_equal(ps_line(&format, process_of(&p), text, 4), 4);
	assert_memory_equal(text, "  1\n", 4);
	assert_int_equal(ps_line(&format, NULL, text, 4), 4);
	assert_memory_equal(text, "  P\n", 4);
}

static void the_longest_command_fills_a_line_and_no_more(void **state)
{
	char args[PS_LINE_MAX + 4] = "";
	struct example p = named("x", args);

	(void)state;
	memset(args, 'x', sizeof(args) - 1);
	args[sizeof(args) - 1] = '\0';
	assert_int_equal(strlen(shown(&p, "args")), PS_LINE_MAX - 1);
	assert_int_equal(strlen(shown(&p, "pid,args")), PS_LINE_MAX - 1);
}

static void the_widest_columns_and_the_longest_command_fit(void **state)
{
	char list[64 * 310] = "", args[PS_LINE_MAX + 4] = "", header[300];
	struct example p = named("x", args);

	(void)state;
	memset(args, 'x', sizeof(args) - 1);
	args[sizeof(args) - 1] = '\0';
	memset(header, 'H', sizeof(header) - 1);
	header[sizeof(header) - 1] = '\0';
	for (unsigned i = 0; i < PS_COLUMNS_MAX; i++)
		sprintf(list + strlen(list), "args=%s,", header);
	assert_int_equal(strlen(shown(&p, list)), PS_LINE_MAX - 1);
}

/* --- All of it, in a child as it will be -------------------------------------------------------- */

/* What the worker says of these pids, as a cgroup.procs would list them. */
static const char *listed(const char *procs, bool json, const char *const *psargs)
{
	char path[] = "/tmp/test_child_ps.XXXXXX";
	static char text[64 * 1024];
	struct report report = {0};
	int report_pipe[2], directory, fd;

	assert_non_null(mkdtemp(path));
	directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (procs) {
		fd = openat(directory, "cgroup.procs", O_CREAT | O_WRONLY, 0644);
		assert_int_equal(write(fd, procs, strlen(procs)), strlen(procs));
		close(fd);
	} else {
		assert_int_equal(mkdirat(directory, "cgroup.procs", 0755), 0);
	}
	assert_int_equal(pipe(report_pipe), 0);
	if (fork() == 0) {
		const struct child_ps ps = {
			.cgroup = directory, .mount_ns = -1, .json = json, .psargs = psargs};

		child_begin(report_pipe[1], &directory, 1);
		child_ps_main(&ps);
	}
	close(report_pipe[1]);
	while (report_read(&report, report_pipe[0]) > 0)
		;
	wait(NULL);
	close(report_pipe[0]);
	unlinkat(directory, "cgroup.procs", procs ? 0 : AT_REMOVEDIR);
	close(directory);
	rmdir(path);
	assert_true(report.done != report.failed);
	if (report.failed)
		return strcpy(text, report.error.text);
	assert_true(report.result_length < sizeof(text));
	memcpy(text, report.result, report.result_length);
	text[report.result_length] = '\0';
	report_close(&report);
	return text;
}

static void json_is_the_pids_in_their_order(void **state)
{
	(void)state;
	assert_string_equal(listed("174\n0\n131\n4194303\n131\n", true, NULL), "[131,174,4194303]");
	assert_string_equal(listed("", true, NULL), "[]");
}

static void a_process_that_is_gone_is_left_out(void **state)
{
	char procs[64], expected[64];
	pid_t gone = fork();

	(void)state;
	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	snprintf(procs, sizeof(procs), "%d\n%d\n", gone, getpid());
	snprintf(expected, sizeof(expected), "  PID USER\n%5d root\n", getpid());
	assert_string_equal(listed(procs, false, ARGS("-o", "pid,user")), expected);
	assert_string_equal(
		listed("", false, NULL), "UID        PID  PPID  C STIME TTY          TIME CMD\n");
}

/* So many pids that no process has, and our own. */
static char *crowd(unsigned count)
{
	char *procs = malloc(count * 8 + 16);
	size_t length = 0;

	for (unsigned i = 0; i < count; i++)
		length += (size_t)sprintf(procs + length, "%u\n", 4000000 + i);
	sprintf(procs + length, "%d\n", getpid());
	return procs;
}

static void of_a_crowd_each_gets_a_shorter_line(void **state)
{
	char header[300] = "pid=", expected[512];
	char *procs = crowd(131070);
	const char *text;

	(void)state;
	memset(header + 4, 'H', 200);
	text = listed(procs, false, ARGS("-o", header));
	snprintf(expected, sizeof(expected), "%.31s\n%31s\n", header + 4, "");
	assert_string_equal(text, expected);
	free(procs);
}

/* A child that stays until it is killed. */
static pid_t start(const char *name, bool dies)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NAME, name);
		close(ready[0]);
		if (dies)
			_exit(0);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), dies ? 0 : 1);
	close(ready[0]);
	return pid;
}

static void hostile_names_are_read_from_the_kernel(void **state)
{
	pid_t pid = start(") R 1\n(1", false);
	char procs[32], expected[128];

	(void)state;
	snprintf(procs, sizeof(procs), "%d\n", pid);
	snprintf(expected, sizeof(expected), "  PID COMMAND\n%5d ) R 1?(1\n", pid);
	assert_string_equal(listed(procs, false, ARGS("-o", "pid,comm")), expected);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void a_zombie_is_shown_as_defunct(void **state)
{
	pid_t pid = start("shortlived", true);
	char procs[32];
	siginfo_t info;

	(void)state;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	snprintf(procs, sizeof(procs), "%d\n", pid);
	assert_string_equal(listed(procs, false, ARGS("-o", "stat,cmd")),
		getpriority(PRIO_PROCESS, 0) > 0 ? "STAT CMD\nZN   [shortlived] <defunct>\n"
						 : "STAT CMD\nZ    [shortlived] <defunct>\n");
	waitpid(pid, NULL, 0);
}

static void trouble_is_told(void **state)
{
	(void)state;
	assert_string_equal(listed("1\n", false, ARGS("-q")), "ps: unknown option '-q'");
	assert_string_equal(listed(NULL, false, NULL), "read cgroup.procs: is a directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_arguments_are_ef),
		cmocka_unit_test(aux_is_known_with_and_without_its_dash),
		cmocka_unit_test(letters_that_select_more_change_nothing),
		cmocka_unit_test(columns_are_chosen_by_name),
		cmocka_unit_test(a_column_gets_the_header_that_is_asked_for),
		cmocka_unit_test(no_header_at_all_is_no_heading),
		cmocka_unit_test(what_is_not_understood_is_named),
		cmocka_unit_test(too_many_columns_are_an_error),
		cmocka_unit_test(a_header_is_cut),
		cmocka_unit_test(a_name_may_look_like_the_rest),
		cmocka_unit_test(a_text_that_is_cut_anywhere_gives_no_line),
		cmocka_unit_test(numbers_too_large_are_cut_not_wrapped),
		cmocka_unit_test(a_line_stands_below_its_heading),
		cmocka_unit_test(a_user_is_a_name_or_else_a_number),
		cmocka_unit_test(a_process_without_arguments_is_its_name_in_brackets),
		cmocka_unit_test(states_have_their_letters),
		cmocka_unit_test(terminals_have_their_names),
		cmocka_unit_test(times_grow_from_seconds_to_days),
		cmocka_unit_test(a_start_is_an_hour_of_today_or_a_day),
		cmocka_unit_test(shares_are_of_one_cpu_and_of_the_memory),
		cmocka_unit_test(what_would_break_the_table_becomes_question_marks),
		cmocka_unit_test(characters_pass_where_nothing_stands_behind_them),
		cmocka_unit_test(bad_characters_become_question_marks_byte_by_byte),
		cmocka_unit_test(each_column_but_the_last_is_one_word),
		cmocka_unit_test(a_command_in_front_of_others_is_cut_to_its_column),
		cmocka_unit_test(a_line_is_cut_to_its_size_at_a_character),
		cmocka_unit_test(the_longest_command_fills_a_line_and_no_more),
		cmocka_unit_test(the_widest_columns_and_the_longest_command_fit),
		cmocka_unit_test(json_is_the_pids_in_their_order),
		cmocka_unit_test(a_process_that_is_gone_is_left_out),
		cmocka_unit_test(of_a_crowd_each_gets_a_shorter_line),
		cmocka_unit_test(hostile_names_are_read_from_the_kernel),
		cmocka_unit_test(a_zombie_is_shown_as_defunct),
		cmocka_unit_test(trouble_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
