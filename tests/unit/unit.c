/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/unit.h"

#include "lib/log.h"

#include <unistd.h>

#define LINES_MAX 256
#define TAG_WIDTH 7 /* a tag is padded to 6, and a space follows */

static char lines[LINES_MAX][LOG_LINE_MAX + 1];
static unsigned int count;
static struct log_ram ram;

static void sink(const char *text, size_t n)
{
	if (n <= TAG_WIDTH || text[n - 1] != '\n')
		fail_msg("a log line without tag or newline: \"%.*s\"", (int)n, text);
	if (count == LINES_MAX)
		fail_msg("more than %d log lines", LINES_MAX);
	memcpy(lines[count], text + TAG_WIDTH, n - TAG_WIDTH - 1);
	lines[count++][n - TAG_WIDTH - 1] = '\0';
}

void fake_log_start(void)
{
	count = 0;
	memset(&ram, 0, sizeof(ram));
	log_init("test", sink, &ram);
}

unsigned int fake_log_lines(void)
{
	return count;
}

const char *fake_log_line(unsigned int i)
{
	assert_true(i < count);
	return lines[i];
}

bool fake_log_has(const char *part)
{
	for (unsigned int i = 0; i < count; i++)
		if (strstr(lines[i], part))
			return true;
	return false;
}

void coreutils_sha256(const void *data, size_t size, char hex[65])
{
	char path[] = "/tmp/unit-sha256-XXXXXX", command[64];
	int fd = mkstemp(path);
	FILE *f;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
	snprintf(command, sizeof(command), "sha256sum %s", path);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fread(hex, 1, 64, f), 64);
	hex[64] = '\0';
	assert_int_equal(pclose(f), 0);
	unlink(path);
}
