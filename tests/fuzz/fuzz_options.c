/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever a command line holds, options.c parses it as the second parser here, by strtok; what is refused changes nothing;
 * what options_replace writes parses as before but for the one option; a list is taken apart item by item, and ends. Could be
 * false: options, values, items and counts are cut out of one text by pointer and length, into buffers of fixed size. Provoked: any
 * text, all buffers malloc'ed to the byte. The input: the size of options_replace's buffer (2 bytes), the command line.
 */
#include "boot/options.h"
#include "tests/fuzz/fuzz.h"

#define OPTIONS	  3
#define TAKES_MAX 300 /* of a list with larger counts */
#define SPACE	  " \t\n\r"

static const char *const policies[] = { "keep-msi", "disable-msi", "none", NULL };
static const char *const names[OPTIONS] = { "shutdown", "next", "allow" };

struct values {
	char *of[OPTIONS];
};

static struct values defaults(void)
{
	struct values v;

	for (int i = 0; i < OPTIONS; i++) {
		v.of[i] = malloc(OPTIONS_VALUE_MAX + 1);
		REQUIRE(v.of[i]);
		strcpy(v.of[i], i ? "" : "keep-msi");
	}
	return v;
}

static bool same(const struct values *a, const struct values *b)
{
	for (int i = 0; i < OPTIONS; i++)
		if (strcmp(a->of[i], b->of[i]))
			return false;
	return true;
}

static void release(struct values *v)
{
	for (int i = 0; i < OPTIONS; i++)
		free(v->of[i]);
}

static enum status parse(const char *line, struct values *v)
{
	const struct option table[] = { { names[0], policies, v->of[0] },
					{ names[1], NULL, v->of[1] },
					{ names[2], NULL, v->of[2] } };
	enum status s;

	fuzz_log_start();
	s = options_parse(line, table, OPTIONS);
	REQUIRE(s == OK ? fuzz_log_lines() == 0 : s == ERR_INVALID && fuzz_log_lines() == 1);
	return s;
}

static bool is_policy(const char *value)
{
	for (const char *const *p = policies; *p; p++)
		if (!strcmp(*p, value))
			return true;
	return false;
}

/* The second parser: false where the line is to be refused. */
static bool read_again(const char *line, struct values *v)
{
	char *copy = strdup(line), *save = NULL;
	bool seen[OPTIONS] = { false }, good = true;

	for (char *word = strtok_r(copy, SPACE, &save); good && word && strcmp(word, "--"); word = strtok_r(NULL, SPACE, &save)) {
		char *value = strchr(word, '=');
		int i = 0;

		if (strncmp(word, "handoff.", 8))
			continue;
		if (value)
			*value++ = '\0';
		while (i < OPTIONS && strcmp(word + 8, names[i]))
			i++;
		good = value && i < OPTIONS && !seen[i] && strlen(value) <= OPTIONS_VALUE_MAX && (i || is_policy(value));
		if (good) {
			seen[i] = true;
			strcpy(v->of[i], value);
		}
	}
	free(copy);
	return good;
}

/* Parsed again, the line with another value has what it had, and that value. */
static void check_replace(const char *line, const struct values *before, const char *next, size_t room)
{
	char *out = malloc(room);
	enum status s;

	REQUIRE(out);
	fuzz_log_start();
	s = options_replace(line, "next", next, out, room);
	REQUIRE(s == OK ? fuzz_log_lines() == 0 : s == ERR_RANGE && fuzz_log_lines() == 1);
	REQUIRE(strnlen(out, room) < room);
	if (s == OK) {
		struct values want = *before, got = defaults();

		REQUIRE(parse(out, &got) == OK);
		want.of[1] = (char *)next;
		REQUIRE(same(&want, &got));
		REQUIRE(!strcmp(options_foreign(out), options_foreign(line)));
		release(&got);
	} else {
		REQUIRE(room <= strlen(line) + strlen(" handoff.next=") + strlen(next) + strlen(line) + 2);
	}
	free(out);
}

/* A number of 1 to 6 digits that does not begin with 0; the count of an item without is 1. */
static unsigned long count_of(const char *item)
{
	const char *star = strchr(item, '*');
	size_t digits = star ? strspn(star + 1, "0123456789") : 0;

	if (!star)
		return 1;
	return digits && digits <= OPTIONS_COUNT_DIGITS && !star[1 + digits] && star[1] != '0' ? strtoul(star + 1, NULL, 10) : 0;
}

static void check_list(const char *text)
{
	char *list = strdup(text), *items = strdup(text), *at = items, *head = malloc(OPTIONS_ITEM_MAX + 1);
	const char *rest = text;
	unsigned int taken = 0;
	bool good = true;
	enum status s;

	REQUIRE(list && items && head);
	for (char *item; good && *text && (item = strsep(&at, ","));)
		good = strcspn(item, "*") >= 1 && strcspn(item, "*") <= OPTIONS_ITEM_MAX && count_of(item);
	fuzz_log_start();
	s = options_check_list("next", text);
	REQUIRE(s == (good ? OK : ERR_INVALID) && fuzz_log_lines() == !good);

	strcpy(items, text);
	at = items;
	for (char *item; good && *text && (item = strsep(&at, ","));) {
		unsigned long count = count_of(item);

		item[strcspn(item, "*")] = '\0';
		REQUIRE(options_next(&rest, head) && !strcmp(head, item));
		for (unsigned long i = 0; i < count && taken < TAKES_MAX; i++, taken++) {
			size_t before = strlen(list);

			REQUIRE(options_take(list, head) && !strcmp(head, item) && strlen(list) <= before);
			REQUIRE(options_check_list("next", list) == OK);
		}
	}
	if (good)
		REQUIRE(!options_next(&rest, head));
	if (good && taken < TAKES_MAX)
		REQUIRE(!options_take(list, head));
	free(list);
	free(items);
	free(head);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	size_t room = input_take(&in, 2) + 1;
	char *line = input_text(&in, SIZE_MAX);
	struct values got = defaults(), want = defaults(), untouched = defaults();
	const char *foreign = options_foreign(line);
	bool good = read_again(line, &want);

	REQUIRE(!*foreign || (foreign >= line + 2 && foreign < line + strlen(line)));
	REQUIRE(parse(line, &got) == (good ? OK : ERR_INVALID));
	REQUIRE(same(&got, good ? &want : &untouched));
	check_list(got.of[1]);
	if (good)
		check_replace(line, &got, got.of[2], room);
	release(&got);
	release(&want);
	release(&untouched);
	free(line);
	return 0;
}
