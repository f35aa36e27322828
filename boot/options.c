/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/options.h"

#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

struct word {
	const char *start;
	size_t size;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Steps to the next word before the foreign part; false at the end. A lone "--" is where the foreign part begins. */
static bool next_word(const char **at, struct word *word)
{
	const char *p = *at;

	while (is_space(*p))
		p++;
	word->start = p;
	while (*p && !is_space(*p))
		p++;
	word->size = (size_t)(p - word->start);
	*at = p;
	return word->size && !(word->size == 2 && !memcmp(word->start, "--", 2));
}

/* The length of `handoff.NAME=`, when the word is that option; else 0. */
static size_t option_prefix(struct word word, const char *name)
{
	char prefix[64];
	size_t n = format(prefix, sizeof(prefix), OPTIONS_PREFIX "%s=", name);

	return n <= word.size && !memcmp(word.start, prefix, n) ? n : 0;
}

/* Appends to a list that a message quotes; what does not fit is left out. */
static void append(char *list, size_t size, const char *separator, const char *item)
{
	size_t n = strlen(list);

	format(list + n, size - n, "%s%s", n ? separator : "", item);
}

static enum status check_value(const struct option *option, const char *value, size_t n)
{
	char allowed[128] = "";

	if (n > OPTIONS_VALUE_MAX) {
		log_line("option " OPTIONS_PREFIX "%s: the value has %lu characters, %d are allowed", option->name, n,
			 OPTIONS_VALUE_MAX);
		return ERR_INVALID;
	}
	if (!option->values)
		return OK;
	for (const char *const *v = option->values; *v; v++)
		if (strlen(*v) == n && !memcmp(*v, value, n))
			return OK;
	for (const char *const *v = option->values; *v; v++)
		append(allowed, sizeof(allowed), ", ", *v);
	log_line("option " OPTIONS_PREFIX "%s=%.*s: unknown value, allowed: %s", option->name, (unsigned int)n, value, allowed);
	return ERR_INVALID;
}

/* One pass over the words: checks them, or stores them once all were found good. */
static enum status scan(const char *cmdline, const struct option *table, size_t count, bool store)
{
	struct word word;
	u64 seen = 0;

	while (next_word(&cmdline, &word)) {
		char known[128] = "";
		enum status s;
		size_t n = 0, i;

		if (word.size < strlen(OPTIONS_PREFIX) || memcmp(word.start, OPTIONS_PREFIX, strlen(OPTIONS_PREFIX)))
			continue;
		for (i = 0; i < count; i++) {
			n = option_prefix(word, table[i].name);
			if (n)
				break;
		}
		if (i == count) {
			for (i = 0; i < count; i++)
				append(known, sizeof(known), "=, " OPTIONS_PREFIX, table[i].name);
			log_line("option %.*s: unknown, allowed: " OPTIONS_PREFIX "%s=", (unsigned int)word.size, word.start,
				 known);
			return ERR_INVALID;
		}
		if (seen & 1ULL << i) {
			log_line("option " OPTIONS_PREFIX "%s: given twice", table[i].name);
			return ERR_INVALID;
		}
		seen |= 1ULL << i;
		if (!store) {
			s = check_value(&table[i], word.start + n, word.size - n);
			if (s != OK)
				return s;
			continue;
		}
		memcpy(table[i].value, word.start + n, word.size - n);
		table[i].value[word.size - n] = '\0';
	}
	return OK;
}

enum status options_parse(const char *cmdline, const struct option *table, size_t count)
{
	enum status s = scan(cmdline, table, count, false);

	return s == OK ? scan(cmdline, table, count, true) : s;
}

/* The lone "--", or NULL. */
static const char *find_foreign(const char *cmdline)
{
	struct word word;

	while (next_word(&cmdline, &word))
		;
	return word.size ? word.start : NULL;
}

const char *options_foreign(const char *cmdline)
{
	const char *at = find_foreign(cmdline);

	if (!at)
		return "";
	at += strlen("--");
	return is_space(*at) ? at + 1 : at;
}

enum status options_check_list(const char *name, const char *list)
{
	size_t n = 0;

	for (const char *p = list; *list; p++) {
		if (*p && *p != ',') {
			n++;
			continue;
		}
		if (!n || n > OPTIONS_ITEM_MAX) {
			log_line("option " OPTIONS_PREFIX "%s=%s: an item has %lu characters, 1 to %d are allowed", name, list, n,
				 OPTIONS_ITEM_MAX);
			return ERR_INVALID;
		}
		if (!*p)
			break;
		n = 0;
	}
	return OK;
}

bool options_take(char *list, char *head)
{
	size_t n = 0;

	while (list[n] && list[n] != ',')
		n++;
	memcpy(head, list, n);
	head[n] = '\0';
	if (list[n] == ',')
		memmove(list, list + n + 1, strlen(list + n + 1) + 1);
	else
		list[0] = '\0';
	return n > 0;
}

enum status options_replace(const char *cmdline, const char *name, const char *value, char *out, size_t size)
{
	const char *foreign = find_foreign(cmdline);
	const char *at = cmdline;
	struct word word;
	size_t n = 0;

	out[0] = '\0';
	while (next_word(&at, &word))
		if (!option_prefix(word, name) && n < size)
			n += format(out + n, size - n, "%.*s ", (unsigned int)word.size, word.start);
	if (n < size)
		n += format(out + n, size - n, OPTIONS_PREFIX "%s=%s%s%s", name, value, foreign ? " " : "", foreign ? foreign : "");
	if (n < size)
		return OK;
	log_line("command line: %lu characters, %lu are allowed", n, size - 1);
	return ERR_RANGE;
}
