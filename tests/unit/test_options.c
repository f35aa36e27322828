/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an unknown handoff. option or value is an error that names it and lists what is allowed, before anything has changed;
 * other parameters, and all that follows the separator, are not read. Could be false: a typing error read as a default would run
 * another experiment than the requested one. Provoked: each kind of wrong option among right ones; foreign parts that look like our
 * options. Failure: a wrong option accepted, a value changed by a line that was refused, or a foreign parameter read.
 */
#include "boot/options.h"
#include "tests/unit/unit.h"

static char shutdown[OPTIONS_VALUE_MAX + 1], next[OPTIONS_VALUE_MAX + 1];
static const char *const policies[] = { "keep-msi", "disable-msi", NULL };
static const struct option table[] = { { "shutdown", policies, shutdown }, { "next", NULL, next } };

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	strcpy(shutdown, "keep-msi");
	strcpy(next, "second");
	return 0;
}

static enum status parse(const char *line)
{
	return options_parse(line, table, ARRAY_SIZE(table));
}

/* Refused with one line with this text, and no value has changed. */
static bool refused(const char *line, const char *why)
{
	begin(NULL);
	return parse(line) == ERR_INVALID && fake_log_lines() == 1 && strstr(fake_log_line(0), why) &&
	       !strcmp(shutdown, "keep-msi") && !strcmp(next, "second");
}

static void known_options_set_their_values(void **state)
{
	(void)state;
	assert_int_equal(parse(" quiet handoff.next=second,linux\tconsole=ttyS0 handoff.shutdown=disable-msi\n"), OK);
	assert_string_equal(shutdown, "disable-msi");
	assert_string_equal(next, "second,linux");
	begin(state);
	assert_int_equal(parse("handoff.next="), OK);
	assert_string_equal(next, "");
}

static void what_is_not_given_stays_as_it_was(void **state)
{
	(void)state;
	assert_int_equal(parse(""), OK);
	assert_int_equal(parse("handoff handoffx.next=1 xhandoff.next=2 root=handoff.next=3 -handoff.next=4"), OK);
	assert_string_equal(shutdown, "keep-msi");
	assert_string_equal(next, "second");
	assert_int_equal(fake_log_lines(), 0);
}

static void an_unknown_option_is_named_with_what_is_allowed(void **state)
{
	static const char *const words[] = { "handoff.shutdwon=keep-msi", "handoff.",	    "handoff.=",       "handoff.shutdown",
					     "handoff.nextx=a",		  "handoff.NEXT=a", "handoff.next.x=a" };
	char line[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		snprintf(line, sizeof(line), "handoff.next=third %s handoff.shutdown=disable-msi", words[i]);
		if (!refused(line, words[i]))
			fail_msg("%s: not refused", words[i]);
		assert_true(fake_log_has("unknown, allowed: handoff.shutdown=, handoff.next="));
	}
	assert_false(refused("handoff.next=third", "")); /* the twin */
}

static void an_unknown_value_is_named_with_what_is_allowed(void **state)
{
	static const char *const values[] = { "keep", "keep-msix", "", "Keep-msi", "keep-msi,", "disable-ms" };
	char line[128], expected[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		snprintf(line, sizeof(line), "handoff.next=third handoff.shutdown=%s", values[i]);
		snprintf(expected, sizeof(expected), "handoff.shutdown=%s: unknown value, allowed: keep-msi, disable-msi",
			 values[i]);
		if (!refused(line, expected))
			fail_msg("%s: not refused", line);
	}
}

static void an_option_given_twice_is_refused(void **state)
{
	(void)state;
	assert_true(refused("handoff.next=a handoff.next=b", "handoff.next: given twice"));
	assert_true(refused("handoff.next=a handoff.next=a", "handoff.next: given twice"));
}

static void the_longest_value_fits_and_one_more_is_refused(void **state)
{
	char line[OPTIONS_VALUE_MAX + 64] = "handoff.next=";
	size_t prefix = strlen(line);

	(void)state;
	memset(line + prefix, 'x', OPTIONS_VALUE_MAX);
	assert_int_equal(parse(line), OK);
	assert_int_equal(strlen(next), OPTIONS_VALUE_MAX);
	line[prefix + OPTIONS_VALUE_MAX] = 'x';
	assert_true(refused(line, "the value has 256 characters, 255 are allowed"));
}

static void a_foreign_command_line_is_verbatim_and_unread(void **state)
{
	const char *line = "handoff.next=linux -- root=/dev/vda  handoff.nonsense=1 -- more ";

	(void)state;
	assert_int_equal(parse(line), OK);
	assert_string_equal(next, "linux");
	assert_string_equal(options_foreign(line), "root=/dev/vda  handoff.nonsense=1 -- more ");
	assert_string_equal(options_foreign("handoff.next=linux"), "");
	assert_true(refused("handoff.next=linux handoff.nonsense=1", "handoff.nonsense=1")); /* the twin */
}

/*
 * What the parser passes over as foreign is what options_foreign returns; otherwise a part of the line would be lost. The probe
 * after the dashes is an option that the parser refuses where it reads it.
 */
static bool ends_agree(const char *line)
{
	bool read = parse(line) != OK;
	bool foreign = strstr(options_foreign(line), "handoff.probe") != NULL;

	return read != foreign;
}

static void parser_and_foreign_part_agree_where_ours_ends(void **state)
{
	static const char *const lines[] = {
		"a -- handoff.probe",	"a --- handoff.probe", "a- -- handoff.probe",  "a --x handoff.probe",
		"a  --  handoff.probe", "-- handoff.probe",    "a\t--\thandoff.probe", "a --\nhandoff.probe",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (!ends_agree(lines[i]))
			fail_msg("\"%s\": the parser passes the rest over, and options_foreign(\"...\") is \"%s\"", lines[i],
				 options_foreign(lines[i]));
}

static void a_list_has_no_empty_item_and_none_that_is_too_long(void **state)
{
	static const char *const bad[] = { ",", "a,", ",a", "a,,b",
					   "a,0123456789012345678901234567890123456789012345678901234567890123" };
	static const char *const good[] = { "", "a", "a,b", "012345678901234567890123456789012345678901234567890123456789012" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_log_start();
		assert_int_equal(options_check_list("next", bad[i]), ERR_INVALID);
		assert_one_line("option handoff.next=");
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(options_check_list("next", good[i]), OK);
}

static void a_list_is_taken_from_its_head(void **state)
{
	char list[OPTIONS_VALUE_MAX + 1] = "second,linux,x", head[OPTIONS_ITEM_MAX + 1];

	(void)state;
	assert_true(options_take(list, head));
	assert_string_equal(head, "second");
	assert_string_equal(list, "linux,x");
	assert_true(options_take(list, head));
	assert_true(options_take(list, head));
	assert_string_equal(head, "x");
	assert_string_equal(list, "");
	assert_false(options_take(list, head));
	assert_string_equal(head, "");
	/* As long as an item can be. */
	memset(list, 'y', OPTIONS_ITEM_MAX);
	list[OPTIONS_ITEM_MAX] = '\0';
	assert_true(options_take(list, head));
	assert_int_equal(strlen(head), OPTIONS_ITEM_MAX);
}

static void an_item_stands_for_as_many_as_it_says(void **state)
{
	static const char *const lists[] = { "a*1,b", "a*2,b", "a*10", "a*101,b*2,c", "a,b*2,a*3" };
	char expanded[512], taken[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		char list[OPTIONS_VALUE_MAX + 1], name[OPTIONS_ITEM_MAX + 1];

		/* What it means, written out by the C library. */
		expanded[0] = taken[0] = '\0';
		strcpy(list, lists[i]);
		for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
			int count = strchr(item, '*') ? atoi(strchr(item, '*') + 1) : 1;

			while (count--)
				strncat(strcat(expanded, ","), item, strcspn(item, "*"));
		}
		strcpy(list, lists[i]);
		assert_int_equal(options_check_list("next", list), OK);
		while (options_take(list, name)) {
			strcat(strcat(taken, ","), name);
			assert_int_equal(options_check_list("next", list), OK);
		}
		assert_string_equal(taken, expanded);
	}
}

static void each_item_is_seen_once_whatever_its_count(void **state)
{
	const char *at = "a*1000,b,c*2";
	char name[OPTIONS_ITEM_MAX + 1];

	(void)state;
	for (const char *want = "abc"; *want; want++) {
		assert_true(options_next(&at, name));
		assert_int_equal(name[0], *want);
		assert_int_equal(name[1], '\0');
	}
	assert_false(options_next(&at, name));
}

static void a_list_with_an_empty_or_endless_item_is_refused(void **state)
{
	static const char *const good[] = { "", "second", "second,linux", "a,b,c", "a*1", "a*999999,b" };
	static const char *const bad[] = { ",",	  ",a",	 "a,",	 "a,,b", "a,b,",      "*",    "*2",    "a*",
					   "a*0", "a*x", "a*-1", "a*01", "a*1000000", "a*2*", "a*2x,b" };
	char list[OPTIONS_VALUE_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(options_check_list("next", good[i]), OK);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char expected[64];

		fake_log_start();
		assert_int_equal(options_check_list("next", bad[i]), ERR_INVALID);
		snprintf(expected, sizeof(expected), "option handoff.next=%s: ", bad[i]);
		assert_one_line(expected);
	}
	memset(list, 'x', sizeof(list));
	memcpy(list, "a,", 2);
	list[2 + OPTIONS_ITEM_MAX] = '\0';
	assert_int_equal(options_check_list("next", list), OK);
	list[2 + OPTIONS_ITEM_MAX] = 'x';
	list[3 + OPTIONS_ITEM_MAX] = '\0';
	fake_log_start();
	assert_int_equal(options_check_list("next", list), ERR_INVALID);
	assert_one_line("an item has 64 characters, 1 to 63 are allowed");
}

static void one_option_is_replaced_and_the_rest_stays(void **state)
{
	static const struct {
		const char *line;
		const char *want;
	} rows[] = {
		{ "", "handoff.next=x" },
		{ "quiet", "quiet handoff.next=x" },
		{ "a handoff.next=second b", "a b handoff.next=x" },
		{ "handoff.next=second -- root=/dev/vda  ro ", "handoff.next=x -- root=/dev/vda  ro " },
		{ "handoff.nextx=1 handoff.shutdown=none", "handoff.nextx=1 handoff.shutdown=none handoff.next=x" },
		{ "a -- handoff.next=theirs", "a handoff.next=x -- handoff.next=theirs" },
	};
	char out[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(options_replace(rows[i].line, "next", "x", out, sizeof(out)), OK);
		assert_string_equal(out, rows[i].want);
	}
}

static void a_result_that_does_not_fit_is_refused(void **state)
{
	const char *line = "aaaa bbbb -- cccc", *want = "aaaa bbbb handoff.next=x -- cccc";
	size_t needs = strlen(want) + 1;

	(void)state;
	for (size_t size = 1; size <= needs; size++) {
		char *out = malloc(size); /* to the byte */

		fake_log_start();
		assert_int_equal(options_replace(line, "next", "x", out, size), size < needs ? ERR_RANGE : OK);
		assert_int_equal(fake_log_lines(), size < needs);
		if (size == needs)
			assert_string_equal(out, want);
		free(out);
	}
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(known_options_set_their_values),
		T(what_is_not_given_stays_as_it_was),
		T(an_unknown_option_is_named_with_what_is_allowed),
		T(an_unknown_value_is_named_with_what_is_allowed),
		T(an_option_given_twice_is_refused),
		T(the_longest_value_fits_and_one_more_is_refused),
		T(a_foreign_command_line_is_verbatim_and_unread),
		T(parser_and_foreign_part_agree_where_ours_ends),
		T(a_list_has_no_empty_item_and_none_that_is_too_long),
		T(a_list_is_taken_from_its_head),
		T(an_item_stands_for_as_many_as_it_says),
		T(each_item_is_seen_once_whatever_its_count),
		T(a_list_with_an_empty_or_endless_item_is_refused),
		T(one_option_is_replaced_and_the_rest_stays),
		T(a_result_that_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
