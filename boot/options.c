/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/options.h"

#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

struct param {
	const char *start;
	size_t size;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Steps to the next option before the foreign part; false at the end. A lone "--" is where the foreign part begins. */
static bool next_param(const char **at, struct param *param)
{
	const char *p = *at;

	while (is_space(*p))
		p++;
	param->start = p;
	while (*p && !is_space(*p))
		p++;
	param->size = (size_t)(p - param->start);
	*at = p;
	return param->size && !(param->size == 2 && !memcmp(param->start, "--", 2));
}

/* The length of `handoff.NAME=`, when this is that option; else 0. */
static size_t option_prefix(struct param param, const char *name)
{
	char prefix[64];
	size_t n = format(prefix, sizeof(prefix), OPTIONS_PREFIX "%s=", name);

	return n <= param.size && !memcmp(param.start, prefix, n) ? n : 0;
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

/* One pass over the options: checks them, or stores their values after all were checked. */
static enum status scan(const char *cmdline, const struct option *table, size_t count, bool store)
{
	struct param param;
	u64 seen = 0;

	while (next_param(&cmdline, &param)) {
		char known[128] = "";
		enum status s;
		size_t n = 0, i;

		if (param.size < strlen(OPTIONS_PREFIX) || memcmp(param.start, OPTIONS_PREFIX, strlen(OPTIONS_PREFIX)))
			continue;
		for (i = 0; i < count; i++) {
			n = option_prefix(param, table[i].name);
			if (n)
				break;
		}
		if (i == count) {
			for (i = 0; i < count; i++)
				append(known, sizeof(known), "=, " OPTIONS_PREFIX, table[i].name);
			log_line("option %.*s: unknown, allowed: " OPTIONS_PREFIX "%s=", (unsigned int)param.size, param.start,
				 known);
			return ERR_INVALID;
		}
		if (seen & 1ULL << i) {
			log_line("option " OPTIONS_PREFIX "%s: given twice", table[i].name);
			return ERR_INVALID;
		}
		seen |= 1ULL << i;
		if (!store) {
			s = check_value(&table[i], param.start + n, param.size - n);
			if (s != OK)
				return s;
			continue;
		}
		memcpy(table[i].value, param.start + n, param.size - n);
		table[i].value[param.size - n] = '\0';
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
	struct param param;

	while (next_param(&cmdline, &param))
		;
	return param.size ? param.start : NULL;
}

const char *options_foreign(const char *cmdline)
{
	const char *at = find_foreign(cmdline);

	if (!at)
		return "";
	at += strlen("--");
	return is_space(*at) ? at + 1 : at;
}

/* An item of a list: NAME or NAME*COUNT, up to the comma or the end. */
struct item {
	size_t name; /* characters */
	size_t size;
	u32 count; /* 0 where it is no number from 1 to OPTIONS_COUNT_MAX */
};

static u32 parse_count(const char *p, size_t n)
{
	u32 count = 0;

	if (!n || n > OPTIONS_COUNT_DIGITS || *p == '0')
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return 0;
		count = 10 * count + (u32)(p[i] - '0');
	}
	return count;
}

static struct item first_item(const char *list)
{
	struct item item = { .count = 1 };

	while (list[item.size] && list[item.size] != ',')
		item.size++;
	while (item.name < item.size && list[item.name] != '*')
		item.name++;
	if (item.name < item.size)
		item.count = parse_count(list + item.name + 1, item.size - item.name - 1);
	return item;
}

enum status options_check_list(const char *name, const char *list)
{
	for (const char *p = list; *list; p++) {
		struct item item = first_item(p);

		if (!item.name || item.name > OPTIONS_ITEM_MAX) {
			log_line("option " OPTIONS_PREFIX "%s=%s: an item has %lu characters, 1 to %d are allowed", name, list,
				 item.name, OPTIONS_ITEM_MAX);
			return ERR_INVALID;
		}
		if (!item.count) {
			log_line("option " OPTIONS_PREFIX "%s=%s: count after '*' must be 1 to %d", name, list, OPTIONS_COUNT_MAX);
			return ERR_INVALID;
		}
		p += item.size;
		if (!*p)
			break;
	}
	return OK;
}

bool options_next(const char **at, char *name)
{
	struct item item = first_item(*at);

	memcpy(name, *at, item.name);
	name[item.name] = '\0';
	*at += item.size + ((*at)[item.size] == ',');
	return item.name > 0;
}

bool options_take(char *list, char *head)
{
	struct item item = first_item(list);
	const char *rest = list;
	char again[16];

	if (!options_next(&rest, head))
		return false;
	if (item.count > 1) {
		/* One less has no more digits: it fits where the count was. */
		size_t n = item.count > 2 ? format(again, sizeof(again), "*%u", item.count - 1) : 0;

		memcpy(list + item.name, again, n);
		rest = list + item.size;
		list += item.name + n;
	}
	memmove(list, rest, strlen(rest) + 1);
	return true;
}

enum status options_replace(const char *cmdline, const char *name, const char *value, char *out, size_t size)
{
	const char *foreign = find_foreign(cmdline);
	const char *at = cmdline;
	struct param param;
	size_t n = 0;

	out[0] = '\0';
	/* What does not fit is still counted: the message reports how long it would have been. */
	while (next_param(&at, &param))
		if (!option_prefix(param, name))
			n += format(out + MIN(n, size), size - MIN(n, size), "%.*s ", (unsigned int)param.size, param.start);
	n += format(out + MIN(n, size), size - MIN(n, size), OPTIONS_PREFIX "%s=%s%s%s", name, value, foreign ? " " : "",
		    foreign ? foreign : "");
	if (n < size)
		return OK;
	log_line("command line: %lu characters, %lu are allowed", n, size - 1);
	return ERR_RANGE;
}
