/* SPDX-License-Identifier: Apache-2.0 */
/* The three ways to a host: virtio-serial, ISA serial, vsock. */
#include "transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <linux/limits.h>
#include <linux/vm_sockets.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "base/module.h"
#include "base/uevent.h"

#define SAY_MS   10000 /* between two warnings about a missing port */
#define VSOCK_MS 2000  /* how long virtio-serial has before a vsock device is taken instead */

#define VSOCK_CONTROL 2718
#define VSOCK_TTY     2719

#define BACKLOG 8

/* A way that is two device nodes. */
struct way {
	const char *control, *tty;
	/* Opens those that are there. */
	void (*look)(const struct way *way, struct settings *settings);
	const char *subsystem; /* whose uevents say when to look again */
};

/* --- Virtio-serial ---------------------------------------------------------------------------- */

/* Opens the ports with the names that the host gave them; the kernel calls their device nodes something else. */
static void virtio_look(const struct way *way, struct settings *settings)
{
	DIR *ports = opendir("/sys/class/virtio-ports");
	char path[NAME_MAX + 64], name[64];
	struct dirent *entry;
	int *fd;

	while (ports && (settings->control_fd < 0 || settings->tty_fd < 0) &&
		(entry = readdir(ports)) != NULL) {
		format(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
		if (entry->d_name[0] == '.' || file_read(path, name, sizeof(name)) < 0)
			continue;
		name[strcspn(name, "\n")] = '\0';
		fd = strcmp(name, way->control) == 0  ? &settings->control_fd
			: strcmp(name, way->tty) == 0 ? &settings->tty_fd
						      : NULL;
		if (!fd || *fd >= 0)
			continue;
		format(path, sizeof(path), "/dev/%s", entry->d_name);
		*fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (*fd < 0 && errno != ENOENT)
			log_error(
				"transport: port %s: open %s: %s", name, path, ERROR_REASON(errno));
	}
	if (ports)
		closedir(ports);
}

/* --- ISA serial ------------------------------------------------------------------------------- */

/* A missing UART can be opened; only tcsetattr() fails. */
static int serial_open(const char *path)
{
	const struct termios raw = {
		.c_cflag = B115200 | CS8 | CLOCAL | CREAD | CRTSCTS,
		.c_cc = {[VMIN] = 1},
	};
	int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0 && tcsetattr(fd, TCSANOW, &raw) < 0)
		fd_close(&fd);
	return fd;
}

static void serial_look(const struct way *way, struct settings *settings)
{
	if (settings->control_fd < 0)
		settings->control_fd = serial_open(way->control);
	if (settings->tty_fd < 0)
		settings->tty_fd = serial_open(way->tty);
}

/* --- Vsock ------------------------------------------------------------------------------------ */

/* Only a device gives the guest a CID of its own; without one it is that of the loopback, or none. */
static bool vsock_is_there(void)
{
	unsigned int cid = 0;
	int fd;

	module_load_for("vsock");
	fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		cid = 0;
	close(fd);
	return cid > VMADDR_CID_HOST && cid != VMADDR_CID_ANY;
}

static int vsock_listen(unsigned int port)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 &&
		(bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
			listen(fd, BACKLOG) < 0))
		fd_close(&fd);
	return fd;
}

static int vsock_open(uint32_t host_cid, struct settings *settings)
{
	module_load_for("vsock");
	settings->listening = settings->ready_again = true;
	settings->peer_cid = host_cid;
	settings->control_fd = vsock_listen(VSOCK_CONTROL);
	if (settings->control_fd < 0)
		return -1;
	settings->tty_fd = vsock_listen(VSOCK_TTY);
	log_info("transport: vsock, the host is CID %u", host_cid);
	return settings->tty_fd < 0 ? -1 : 0;
}

/* --- Which ------------------------------------------------------------------------------------ */

static const struct way virtio = {
	.control = "sh.hyper.channel.0",
	.tty = "sh.hyper.channel.1",
	.look = virtio_look,
	.subsystem = "virtio-ports",
};

static const struct way isa_serial = {
	.control = "/dev/ttyS1",
	.tty = "/dev/ttyS2",
	.look = serial_look,
	.subsystem = "tty",
};

int transport_await(const struct transport *asked, struct settings *settings)
{
	const struct way *way = asked->isa_serial ? &isa_serial : &virtio;
	uint64_t start = clock_now(), now, wake = start + VSOCK_MS;
	int uevents;

	if (asked->vsock_cid != 0)
		return vsock_open(asked->vsock_cid, settings);
	uevents = uevent_open();
	if (uevents < 0)
		return -1;
	/* Subscribed first, so that nothing can come between a look and the wait. */
	way->look(way, settings);
	while (settings->control_fd < 0 || settings->tty_fd < 0) {
		now = clock_now();
		if (now < wake) {
			/* Any action counts: a virtio port appears with `add`, and gets its name
			 * with `change`. */
			if (uevent_wait(uevents, way->subsystem, (int)(wake - now)))
				way->look(way, settings);
			continue;
		}
		if (way == &virtio && settings->control_fd < 0 && settings->tty_fd < 0 &&
			vsock_is_there()) {
			close(uevents);
			return vsock_open(VMADDR_CID_HOST, settings);
		}
		log_warn("transport: port %s has not appeared, %d s after the start",
			settings->control_fd < 0 ? way->control : way->tty,
			(int)((now - start) / 1000));
		wake += SAY_MS;
	}
	close(uevents);
	return 0;
}
