/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/fuzz.h"

#include "lib/log.h"

#include <sys/mman.h>

static unsigned int lines;

u64 input_take(struct input *in, unsigned int size)
{
	u64 value = 0;
	size_t n = MIN(in->left, size);

	if (n)
		memcpy(&value, in->at, n);
	in->at += n;
	in->left -= n;
	return value;
}

static void *copy(struct input *in, size_t n, size_t room)
{
	u8 *p = malloc(room);

	REQUIRE(p || !room);
	if (n)
		memcpy(p, in->at, n);
	in->at += n;
	in->left -= n;
	return p;
}

char *input_text(struct input *in, size_t max)
{
	size_t n = in->left ? strnlen((const char *)in->at, MIN(in->left, max)) : 0;
	char *text = copy(in, n, n + 1);

	text[n] = '\0';
	if (in->left && !*in->at)
		input_take(in, 1);
	return text;
}

void *input_rest(struct input *in)
{
	return copy(in, in->left, in->left);
}

/* A sink is given whole lines, each with its newline. */
static void sink(const char *text, size_t n)
{
	REQUIRE(n && n <= LOG_LINE_MAX + 1 && text[n - 1] == '\n');
	lines++;
}

void fuzz_log_start(void)
{
	log_init("fuzz", sink, NULL);
	lines = 0;
}

unsigned int fuzz_log_lines(void)
{
	return lines;
}

void *fuzz_arena(size_t size)
{
	void *p = mmap((void *)FUZZ_ARENA, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	REQUIRE(p == (void *)FUZZ_ARENA);
	return p;
}
