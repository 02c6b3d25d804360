/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's clock, which stood still while the VM was paused. */
#include "child_clock.h"

#include <fcntl.h>
#include <linux/rtc.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

void child_clock_set(void)
{
	int fd = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
	struct rtc_time rtc;
	struct timespec now = {0};

	if (fd < 0)
		return;
	if (ioctl(fd, RTC_RD_TIME, &rtc) == 0) {
		struct tm utc = {
			.tm_sec = rtc.tm_sec,
			.tm_min = rtc.tm_min,
			.tm_hour = rtc.tm_hour,
			.tm_mday = rtc.tm_mday,
			.tm_mon = rtc.tm_mon,
			.tm_year = rtc.tm_year,
		};

		now.tv_sec = timegm(&utc);
		clock_settime(CLOCK_REALTIME, &now);
	}
	close(fd);
}
