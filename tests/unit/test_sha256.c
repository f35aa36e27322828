/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: sha256 computes what FIPS 180-4 defines, for every length around a block's end, in one piece or in many; sha256_listed
 * reads what sha256sum writes.
 * Could be false: the padding takes a block more or less at 55, 56, 63 and 64 bytes; a piece ends inside a block, at its end, or
 * reaches over several; a path may be the end of another.
 * Provoked: NIST's examples, random bytes compared with coreutils, and every way to cut them in three. Failure: both digests.
 */
#include "boot/sha256.h"
#include "tests/unit/unit.h"

/* NIST, "SHA-256 examples", and FIPS 180-2, appendix B. */
static void nists_examples_have_nists_digests(void **state)
{
	static const char *const rows[][2] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
		{ "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrst"
		  "u",
		  "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
	};
	char hex[SHA256_HEX_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		sha256(rows[i][0], strlen(rows[i][0]), hex);
		assert_string_equal(hex, rows[i][1]);
	}
}

static void a_million_a_have_nists_digest(void **state)
{
	char *a = malloc(1000000), hex[SHA256_HEX_SIZE];

	(void)state;
	memset(a, 'a', 1000000);
	sha256(a, 1000000, hex);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	/* The twin: one bit, another digest. */
	a[999999] ^= 1;
	sha256(a, 1000000, hex);
	assert_string_not_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(a);
}

static void coreutils_agrees_around_every_blocks_end(void **state)
{
	static const size_t sizes[] = { 1, 54, 55, 56, 57, 63, 64, 65, 111, 119, 120, 121, 127, 128, 129, 4095, 65536, 100001 };
	struct prng prng = { 0xabcdef0123456789 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char ours[SHA256_HEX_SIZE], theirs[SHA256_HEX_SIZE];
		u8 *data = malloc(sizes[i]);

		for (size_t j = 0; j < sizes[i]; j++)
			data[j] = (u8)prng_next(&prng);
		sha256(data, sizes[i], ours);
		coreutils_sha256(data, sizes[i], theirs);
		assert_string_equal(ours, theirs);
		free(data);
	}
}

static void pieces_have_the_digest_of_the_whole(void **state)
{
	enum { SIZE = 200 }; /* three blocks and a part */
	struct prng prng = { 0xfedcba9876543210 };
	char want[SHA256_HEX_SIZE], have[SHA256_HEX_SIZE];
	struct sha256_state pieces;
	u8 data[SIZE];

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (u8)prng_next(&prng);
	coreutils_sha256(data, SIZE, want);
	for (size_t a = 0; a <= SIZE; a++)
		for (size_t b = a; b <= SIZE; b++) {
			sha256_init(&pieces);
			sha256_update(&pieces, data, a);
			sha256_update(&pieces, data + a, b - a);
			sha256_update(&pieces, data + b, SIZE - b);
			sha256_final(&pieces, have);
			assert_string_equal(have, want);
		}
	/* The twin: the same pieces in another order. */
	sha256_init(&pieces);
	sha256_update(&pieces, data + 1, SIZE - 1);
	sha256_update(&pieces, data, 1);
	sha256_final(&pieces, have);
	assert_string_not_equal(have, want);
}

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* In a copy to the byte: the text comes from an archive and is not terminated. */
static bool listed(const char *text, const char *path, char hex[SHA256_HEX_SIZE])
{
	size_t size = strlen(text);
	char *copy = malloc(size ? size : 1);
	bool found;

	memcpy(copy, text, size);
	found = sha256_listed(copy, size, path, hex);
	free(copy);
	return found;
}

static void a_path_is_found_as_a_whole(void **state)
{
	const char *text = A "  second/image\n" B "  image\n";
	char hex[SHA256_HEX_SIZE];

	(void)state;
	assert_true(listed(text, "second/image", hex));
	assert_string_equal(hex, A);
	assert_true(listed(text, "image", hex));
	assert_string_equal(hex, B);
	assert_false(listed(text, "second", hex));
	assert_false(listed(text, "mage", hex));
	assert_false(listed(text, "", hex));
}

static void any_other_text_lists_nothing(void **state)
{
	static const char *const texts[] = {
		"", "\n", "\n\n\n", "image", "  image\n", "aa  image\n", A "  image\r\n", A "  imag", A
	};
	char hex[SHA256_HEX_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_false(listed(texts[i], "image", hex));
	/* The last line needs no newline. */
	assert_true(listed("\n" B "  x\n" A "  image", "image", hex));
	assert_string_equal(hex, A);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nists_examples_have_nists_digests),
		cmocka_unit_test(a_million_a_have_nists_digest),
		cmocka_unit_test(coreutils_agrees_around_every_blocks_end),
		cmocka_unit_test(pieces_have_the_digest_of_the_whole),
		cmocka_unit_test(a_path_is_found_as_a_whole),
		cmocka_unit_test(any_other_text_lists_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
