/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's clock, which stood still while the VM was paused. */
#include "child/clock.h"

#include <time.h>

#include "base/file.h"
#include "base/number.h"

void child_clock_set(void)
{
	char text[32];
	const char *at = text;
	uint64_t seconds;
	struct timespec now = {0};

	if (file_read("/sys/class/rtc/rtc0/since_epoch", text, sizeof(text)) < 0 ||
		!number_take(&at, INT64_MAX, &seconds))
		return;
	now.tv_sec = (time_t)seconds;
	clock_settime(CLOCK_REALTIME, &now);
}
