/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: lib/string.c's functions do what ISO C specifies for their names; str_starts and str_copy what string.h specifies. Could
 * be false: overlapping moves in both directions, a difference in a byte above 0x7f, lengths of 0, a copy that just fits. Provoked:
 * every small size, offset and overlap, against the C library. Failure: another result than the C library's.
 */
#include "tests/unit/unit.h"

/* From here on the C library's names mean lib/string.c's functions; the empty line keeps the order. */
#include "tests/unit/string_names.h"

#include "lib/string.h"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen
#undef strcmp
#undef strncmp

#define SIZE	  24
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static void fill(u8 *p)
{
	for (u8 i = 0; i < SIZE; i++)
		p[i] = (u8)(0x70 + i);
}

typedef void *(*mover)(void *, const void *, size_t);

/* Whether a function moves as memmove does, wherever source and destination are. */
static bool moves(mover move)
{
	for (size_t from = 0; from < SIZE; from++) {
		for (size_t to = 0; to < SIZE; to++) {
			for (size_t n = 0; n <= SIZE - MAX(from, to); n++) {
				u8 ours[SIZE], theirs[SIZE];

				fill(ours);
				fill(theirs);
				memmove(theirs + to, theirs + from, n);
				if (move(ours + to, ours + from, n) != ours + to || memcmp(ours, theirs, SIZE))
					return false;
			}
		}
	}
	return true;
}

static void *forward_only(void *dst, const void *src, size_t n)
{
	return lib_memcpy(dst, src, n);
}

static void memmove_moves_in_both_directions(void **state)
{
	(void)state;
	assert_true(moves(lib_memmove));
	/* The twin: a copy from front to back is no move. */
	assert_false(moves(forward_only));
}

static void memcpy_and_memset_touch_exactly_their_bytes(void **state)
{
	(void)state;
	for (size_t at = 0; at < SIZE; at++) {
		for (size_t n = 0; n <= SIZE - at; n++) {
			u8 ours[SIZE], theirs[SIZE], from[SIZE];

			fill(ours);
			fill(theirs);
			memset(from, 0xc3, SIZE);
			memcpy(theirs + at, from, n);
			assert_ptr_equal(lib_memcpy(ours + at, from, n), ours + at);
			assert_memory_equal(ours, theirs, SIZE);
			memset(theirs + at, 0x1ff, n);
			assert_ptr_equal(lib_memset(ours + at, 0x1ff, n), ours + at);
			assert_memory_equal(ours, theirs, SIZE);
		}
	}
}

static const char *const words[] = { "",       "a",	 "b",	"ab",	 "abc",	     "abd",
				     "ab\xff", "ab\x7f", "aab", "b\x80", "handoff.", "handoff.next=" };

static void comparisons_have_the_c_librarys_sign(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(words); j++) {
			const char *a = words[i], *b = words[j];
			size_t shorter = MIN(strlen(a), strlen(b));

			assert_int_equal(sign(lib_strcmp(a, b)), sign(strcmp(a, b)));
			assert_int_equal(sign(lib_memcmp(a, b, shorter)), sign(memcmp(a, b, shorter)));
			for (size_t n = 0; n < 8; n++)
				assert_int_equal(sign(lib_strncmp(a, b, n)), sign(strncmp(a, b, n)));
			assert_int_equal(str_starts(a, b), strlen(a) >= strlen(b) && !memcmp(a, b, strlen(b)));
		}
		assert_int_equal(lib_strlen(words[i]), strlen(words[i]));
	}
}

static void a_copy_returns_whether_it_fits(void **state)
{
	char *out = malloc(4);

	(void)state;
	assert_true(str_copy(out, 4, "abc"));
	assert_string_equal(out, "abc");
	assert_false(str_copy(out, 4, "abcd"));
	assert_string_equal(out, "abc");
	assert_true(str_copy(out, 1, ""));
	assert_false(str_copy(out, 1, "a"));
	assert_string_equal(out, "");
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memmove_moves_in_both_directions),
		cmocka_unit_test(memcpy_and_memset_touch_exactly_their_bytes),
		cmocka_unit_test(comparisons_have_the_c_librarys_sign),
		cmocka_unit_test(a_copy_returns_whether_it_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
