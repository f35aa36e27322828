/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a line reaches the sink at once, or RAM while the log is held; what was held comes out once, in order, the previous
 * image's before this one's; what does not fit is counted and reported. Could be false: a line that is too long, a RAM that is
 * full, a text from another image with a false length. Provoked: each of these. Failure: another text at the sink.
 */
#include "lib/log.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

static char sunk[2 * LOG_RAM_SIZE];
static size_t sunk_size;
static struct log_ram ram;

static void sink(const char *text, size_t n)
{
	assert_false(fake_x86.irq_on); /* an interrupt handler's line must not split another */
	assert_true(sunk_size + n < sizeof(sunk));
	memcpy(sunk + sunk_size, text, n);
	sunk_size += n;
	sunk[sunk_size] = '\0';
}

static int begin(void **state)
{
	(void)state;
	fake_x86_reset();
	sunk_size = 0;
	sunk[0] = '\0';
	memset(&ram, 0, sizeof(ram));
	log_init("first", sink, &ram);
	return 0;
}

static bool sunk_is(const char *want)
{
	return sunk_size == strlen(want) && !memcmp(sunk, want, sunk_size);
}

static void a_line_is_tagged_and_printed_at_once(void **state)
{
	(void)state;
	log_line("pci %04x", 0xab);
	assert_true(sunk_is("first  pci 00ab\n"));
	log_init("longertag", sink, &ram);
	log_line("x");
	assert_true(sunk_is("first  pci 00ab\nlongertag x\n"));
	assert_false(sunk_is("first  pci 00ab\n")); /* the twin */
}

static void a_log_begins_without_holding(void **state)
{
	(void)state;
	log_hold();
	log_init("second", sink, &ram);
	log_line("x");
	assert_true(sunk_is("second x\n"));
}

static void the_verdict_is_untagged(void **state)
{
	(void)state;
	log_verdict("pass");
	assert_true(sunk_is("GUEST: pass\n"));
}

static void interrupts_are_off_meanwhile_and_as_before_afterwards(void **state)
{
	(void)state;
	fake_x86.irq_on = true;
	log_line("x");
	assert_true(fake_x86.irq_on);
	fake_x86.irq_on = false;
	log_line("x");
	assert_false(fake_x86.irq_on);
}

static void a_line_that_is_too_long_is_cut_and_still_ends(void **state)
{
	static char text[LOG_LINE_MAX + 50];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	log_line("%s", text);
	assert_int_equal(sunk_size, LOG_LINE_MAX + 1);
	assert_int_equal(sunk[LOG_LINE_MAX], '\n');
	assert_int_equal(sunk[LOG_LINE_MAX - 1], 'a');
	/* One that just fits is whole. */
	begin(state);
	text[LOG_LINE_MAX - strlen("first  ")] = '\0';
	log_line("%s", text);
	assert_int_equal(sunk_size, LOG_LINE_MAX + 1);
}

static void held_lines_come_out_once_and_in_order(void **state)
{
	(void)state;
	log_line("before");
	log_hold();
	log_line("one");
	log_line("two");
	assert_true(sunk_is("first  before\n"));
	log_release();
	log_line("after");
	log_release();
	assert_true(sunk_is("first  before\nfirst  one\nfirst  two\nfirst  after\n"));
	log_hold();
	log_line("three");
	log_release();
	assert_true(sunk_is("first  before\nfirst  one\nfirst  two\nfirst  after\nfirst  three\n"));
}

static void the_earlier_images_lines_come_first(void **state)
{
	static struct log_ram earlier;

	(void)state;
	memcpy(earlier.text, "first  jumping\n", 15);
	earlier.used = 15;
	log_init("second", sink, &ram);
	log_hold();
	log_adopt(&earlier);
	log_line("image");
	log_release();
	assert_true(sunk_is("first  jumping\nsecond image\n"));
}

/* log.h: "Puts what another image held before what this one holds." */
static void the_earlier_images_lines_come_first_also_when_adopted_late(void **state)
{
	static struct log_ram earlier;

	(void)state;
	earlier.used = 15;
	memcpy(earlier.text, "first  jumping\n", 15);
	log_init("second", sink, &ram);
	log_hold();
	log_line("image");
	log_adopt(&earlier);
	log_release();
	assert_true(sunk_is("first  jumping\nsecond image\n"));
}

static void a_text_with_a_false_length_is_ignored(void **state)
{
	static struct log_ram earlier = { .used = LOG_RAM_SIZE + 1 };

	(void)state;
	log_hold();
	log_adopt(&earlier);
	log_line("x");
	log_release();
	assert_true(sunk_is("first  x\n"));
	/* The twin: the longest that is allowed is taken. */
	begin(state);
	earlier.used = LOG_RAM_SIZE;
	log_hold();
	log_adopt(&earlier);
	assert_int_equal(ram.used, LOG_RAM_SIZE);
}

/* Of the earlier image's text what fits is there, and what was cut off is reported as dropped. */
static void a_text_that_is_cut_is_reported(void **state)
{
	static struct log_ram earlier = { .used = LOG_RAM_SIZE };

	(void)state;
	memset(earlier.text, 'e', LOG_RAM_SIZE);
	log_hold();
	log_line("x");
	log_adopt(&earlier);
	log_release();
	assert_int_equal(strspn(sunk, "e"), LOG_RAM_SIZE - strlen("first  x\n"));
	assert_non_null(strstr(sunk, "efirst  x\n"));
	assert_non_null(strstr(sunk, "1 lines dropped"));
	/* The twin: it fits to the last byte. */
	begin(state);
	earlier.used = LOG_RAM_SIZE - (u32)strlen("first  x\n");
	log_hold();
	log_line("x");
	log_adopt(&earlier);
	log_release();
	assert_int_equal(sunk_size, LOG_RAM_SIZE);
	assert_null(strstr(sunk, "lost"));
}

static void lines_that_do_not_fit_are_counted_and_reported(void **state)
{
	unsigned int kept = 0;

	(void)state;
	log_hold();
	for (unsigned int i = 0; i < LOG_RAM_SIZE / 16 + 10; i++)
		log_line("%08u", i); /* 16 bytes with tag and newline */
	for (; ram.used > kept * 16; kept++)
		;
	assert_int_equal(kept, LOG_RAM_SIZE / 16);
	assert_int_equal(ram.dropped, 10);
	log_release();
	assert_non_null(strstr(sunk, "10 lines dropped"));
	/* Reported once. */
	sunk_size = 0;
	log_hold();
	log_release();
	assert_int_equal(sunk_size, 0);
}

/* What the earlier image dropped is missing for the reader of this log as well. */
static void lines_that_the_earlier_image_dropped_are_reported(void **state)
{
	static struct log_ram earlier = { .used = 2, .dropped = 3, .text = "x\n" };

	(void)state;
	log_hold();
	log_adopt(&earlier);
	log_release();
	assert_non_null(strstr(sunk, "3 lines dropped"));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(a_line_is_tagged_and_printed_at_once),
		T(a_log_begins_without_holding),
		T(the_verdict_is_untagged),
		T(interrupts_are_off_meanwhile_and_as_before_afterwards),
		T(a_line_that_is_too_long_is_cut_and_still_ends),
		T(held_lines_come_out_once_and_in_order),
		T(the_earlier_images_lines_come_first),
		T(the_earlier_images_lines_come_first_also_when_adopted_late),
		T(a_text_with_a_false_length_is_ignored),
		T(a_text_that_is_cut_is_reported),
		T(lines_that_do_not_fit_are_counted_and_reported),
		T(lines_that_the_earlier_image_dropped_are_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
