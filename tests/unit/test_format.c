/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: format() writes what the C library's snprintf writes, for everything that format.h promises. Could be false: signs with
 * zero padding, the lowest long, a text that just does not fit, a precision longer than the text. Provoked: conversions put
 * together from a fixed seed, with the extremes among the values, into buffers of every small size, each allocated to the byte so
 * that the sanitizer sees a write beyond it. Failure: the format and both texts.
 */
#include "lib/format.h"
#include "tests/unit/unit.h"

#include <limits.h>

#define ROUNDS 20000

static bool same(const char *a, size_t na, const char *b, size_t nb)
{
	return na == nb && !strcmp(a, b);
}

/* Both formatters over the same arguments. */
#define compare(size, fmt, ...)                                                                                                    \
	do {                                                                                                                       \
		char *ours = malloc((size) + 1), *theirs = malloc((size) + 1);                                                     \
		size_t ours_n, theirs_n;                                                                                           \
		ours[0] = theirs[0] = '\0';                                                                                        \
		ours = realloc(ours, (size) ? (size) : 1);                                                                         \
		ours_n = format(ours, size, fmt, __VA_ARGS__);                                                                     \
		theirs_n = (size_t)snprintf(theirs, size, fmt, __VA_ARGS__);                                                       \
		if (!same(ours, ours_n, theirs, theirs_n))                                                                         \
			fail_msg("\"%s\" into %zu bytes: \"%s\" %zu, snprintf \"%s\" %zu", fmt, (size_t)(size), ours, ours_n,      \
				 theirs, theirs_n);                                                                                \
		free(ours);                                                                                                        \
		free(theirs);                                                                                                      \
	} while (0)

static struct prng prng = { 0x1234567890abcdef };

static u64 number(void)
{
	static const u64 extremes[] = { 0, 1, 9, 10, INT_MAX, (u64)INT_MIN, UINT_MAX, LONG_MAX, (u64)LONG_MIN, ULONG_MAX };

	return prng_below(&prng, 3) ? prng_next(&prng) >> prng_below(&prng, 64) : extremes[prng_below(&prng, ARRAY_SIZE(extremes))];
}

static void numbers_are_written_as_snprintf_writes_them(void **state)
{
	static const char *const flags[] = { "", "-", "0", "-0", "0-" };

	(void)state;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		char conversion = "udx"[prng_below(&prng, 3)], fmt[32], width[8] = "";
		bool is_long = prng_below(&prng, 2), star = prng_below(&prng, 4) == 0;
		size_t size = prng_below(&prng, 40);
		int w = (int)prng_below(&prng, 30);
		u64 v = number();

		if (star)
			strcpy(width, "*");
		else if (w)
			snprintf(width, sizeof(width), "%d", w);
		snprintf(fmt, sizeof(fmt), "<%%%s%s%s%c>", flags[prng_below(&prng, ARRAY_SIZE(flags))], width, is_long ? "l" : "",
			 conversion);
		if (star && is_long)
			compare(size, fmt, w, v);
		else if (star)
			compare(size, fmt, w, (unsigned int)v);
		else if (is_long)
			compare(size, fmt, v);
		else
			compare(size, fmt, (unsigned int)v);
	}
}

static void texts_are_written_as_snprintf_writes_them(void **state)
{
	static const char text[] = "the quick brown fox jumps";

	(void)state;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const char *s = text + prng_below(&prng, sizeof(text));
		size_t size = prng_below(&prng, 40);
		int width = (int)prng_below(&prng, 30), precision = (int)prng_below(&prng, 30);
		const char *left = prng_below(&prng, 2) ? "-" : "";
		char fmt[32];

		switch (prng_below(&prng, 5)) {
		case 0:
			snprintf(fmt, sizeof(fmt), "[%%%ss]", left);
			compare(size, fmt, s);
			break;
		case 1:
			snprintf(fmt, sizeof(fmt), "%%%s%d.%ds|", left, width + 1, precision);
			compare(size, fmt, s);
			break;
		case 2:
			snprintf(fmt, sizeof(fmt), "%%%s*.*s|", left);
			compare(size, fmt, width, precision, s);
			break;
		case 3:
			snprintf(fmt, sizeof(fmt), "%%.s%%%% %%.*s|");
			compare(size, fmt, s, precision, s);
			break;
		case 4:
			snprintf(fmt, sizeof(fmt), "%%%s*c%%c|", left);
			compare(size, fmt, width, 'x', 'y');
			break;
		}
	}
}

/* A text that is not terminated within the precision, as a field of an ACPI table is. */
static void a_precision_bounds_what_is_read(void **state)
{
	char *field = malloc(4), out[8];

	(void)state;
	memcpy(field, "MCFG", 4);
	assert_int_equal(format(out, sizeof(out), "%.4s", field), 4);
	assert_string_equal(out, "MCFG");
	free(field);
}

/* snprintf leaves open what a format does that ends in the middle of a conversion; here it ends. */
static void a_format_that_ends_early_ends_there(void **state)
{
	static const char *const formats[] = { "ab%", "ab%l", "ab%-08" };
	char out[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		char *fmt = malloc(strlen(formats[i]) + 1); /* to the byte */

		strcpy(fmt, formats[i]);
		assert_int_equal(format(out, sizeof(out), fmt), 2);
		assert_string_equal(out, "ab");
		free(fmt);
	}
}

static void no_buffer_at_all_still_counts(void **state)
{
	(void)state;
	assert_int_equal(format(NULL, 0, "%d-%s", 17, "abc"), 6);
}

static void the_comparison_reports_a_difference(void **state)
{
	(void)state;
	assert_true(same("0x0a", 4, "0x0a", 4));
	assert_false(same("0x0a", 4, "0x0A", 4));
	assert_false(same("0x0a", 4, "0x0", 4));
	assert_false(same("0x0a", 4, "0x0a", 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_written_as_snprintf_writes_them),
		cmocka_unit_test(texts_are_written_as_snprintf_writes_them),
		cmocka_unit_test(a_precision_bounds_what_is_read),
		cmocka_unit_test(a_format_that_ends_early_ends_there),
		cmocka_unit_test(no_buffer_at_all_still_counts),
		cmocka_unit_test(the_comparison_reports_a_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
