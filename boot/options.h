/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_OPTIONS_H
#define BOOT_OPTIONS_H

#include "lib/status.h"
#include "lib/types.h"

/*
 * The options `handoff.NAME=VALUE` of a kernel command line. Other parameters pass through unread; so does all that follows the
 * first `--`: it is the whole command line of a foreign image.
 */
#define OPTIONS_PREFIX	  "handoff."
#define OPTIONS_VALUE_MAX 255

struct option {
	const char *name;	   /* without the prefix */
	const char *const *values; /* NULL-terminated list of what is allowed, or NULL: any */
	char *value;		   /* OPTIONS_VALUE_MAX + 1 bytes; holds the default before and the result after */
};

/*
 * Reads a command line into a table. Every option is checked before any value changes. ERR_INVALID after one line that names the
 * option and lists what is allowed: an unknown `handoff.` option or value, a value that is too long, an option given twice.
 */
enum status options_parse(const char *cmdline, const struct option *table, size_t count);

/* The command line of a foreign image, verbatim: what follows `--` and one space, or "". */
const char *options_foreign(const char *cmdline);

/*
 * A list is comma-separated items, each NAME or NAME*COUNT, which is NAME repeated COUNT times. Checked are the length of each
 * name, 1 to OPTIONS_ITEM_MAX, and each count, 1 to OPTIONS_COUNT_MAX. An empty list is fine. ERR_INVALID after one line that names
 * the option and the list.
 */
#define OPTIONS_ITEM_MAX     63
#define OPTIONS_COUNT_MAX    999999
#define OPTIONS_COUNT_DIGITS 6
enum status options_check_list(const char *name, const char *list);

/* Of a list that was checked: the name of the item at *at, then steps to the next item, whatever its count. False at the end. */
bool options_next(const char **at, char *name);

/*
 * Takes the head off a list that was checked: "second,linux" gives head "second" and leaves "linux"; "second*3" leaves "second*2".
 * False when the list is empty. head has OPTIONS_ITEM_MAX + 1 bytes.
 */
bool options_take(char *list, char *head);

/*
 * Writes a copy of a command line in which one option has another value; it is appended (before `--`) where it was absent.
 * ERR_RANGE, after one line, when the result is longer than size - 1.
 */
enum status options_replace(const char *cmdline, const char *name, const char *value, char *out, size_t size);

#endif
