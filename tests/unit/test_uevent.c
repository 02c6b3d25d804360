/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/uevent.h"

static const char added[] = "add@/devices/pci0000:00/0000:00:05.0/virtio2/block/vda\0ACTION=add\0"
			    "DEVPATH=/devices/pci0000:00/0000:00:05.0/virtio2/block/vda\0"
			    "SUBSYSTEM=block\0MAJOR=254\0MINOR=0\0DEVNAME=vda\0SEQNUM=1234";

static void an_event_is_of_its_subsystem_only(void **state)
{
	(void)state;
	assert_true(uevent_is_of(added, sizeof(added), "block"));
	assert_false(uevent_is_of(added, sizeof(added), "blo"));
	assert_false(uevent_is_of(added, sizeof(added), "block "));
	assert_false(uevent_is_of(added, sizeof(added), "virtio"));
	assert_false(uevent_is_of(added, sizeof(added), ""));
}

static void an_event_may_be_cut_anywhere(void **state)
{
	const char *subsystem = memmem(added, sizeof(added), "SUBSYSTEM=block", 15);
	size_t whole = (size_t)(subsystem + strlen("SUBSYSTEM=block") - added);

	(void)state;
	for (size_t length = 0; length < sizeof(added); length++)
		assert_int_equal(uevent_is_of(added, length, "block"), length >= whole);
	assert_false(uevent_is_of("SUBSYSTEM", 9, "block"));
	assert_false(uevent_is_of("\0\0\0", 3, "block"));
}

static void no_event_is_awaited_longer_than_wanted(void **state)
{
	int fd = uevent_open();

	(void)state;
	assert_true(fd >= 0);
	while (uevent_wait(fd, "no such subsystem", 0))
		;
	assert_false(uevent_wait(fd, "no such subsystem", 10));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_is_of_its_subsystem_only),
		cmocka_unit_test(an_event_may_be_cut_anywhere),
		cmocka_unit_test(no_event_is_awaited_longer_than_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
