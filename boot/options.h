/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_OPTIONS_H
#define BOOT_OPTIONS_H

#include "lib/status.h"
#include "lib/types.h"

/*
 * `handoff.NAME=VALUE` words of a kernel command line. Other words belong to somebody else and pass through unread; so does all that
 * follows the first word `--`: it is the whole command line of a foreign image.
 */
#define OPTIONS_PREFIX	  "handoff."
#define OPTIONS_VALUE_MAX 255

struct option {
	const char *name;	   /* without the prefix */
	const char *const *values; /* NULL-terminated list of what is allowed, or NULL: any */
	char *value;		   /* OPTIONS_VALUE_MAX + 1 bytes; holds the default before and the result after */
};

/*
 * Reads a command line into a table. Every word is checked before any value changes. ERR_INVALID after one line that names the word
 * and lists what is allowed: an unknown `handoff.` word or value, a value that is too long, a word given twice.
 */
enum status options_parse(const char *cmdline, const struct option *table, size_t count);

/* The command line of a foreign image, verbatim: what follows `--` and one space, or "". */
const char *options_foreign(const char *cmdline);

/*
 * Checks a comma-separated list: no empty item, none longer than OPTIONS_ITEM_MAX. An empty list is fine. ERR_INVALID after one line
 * that names the option and the list.
 */
#define OPTIONS_ITEM_MAX 63
enum status options_check_list(const char *name, const char *list);

/*
 * Takes the head off a comma-separated list: "second,linux" gives head "second" and leaves "linux". False when the list is empty.
 * head has OPTIONS_VALUE_MAX + 1 bytes, as the list has.
 */
bool options_take(char *list, char *head);

/*
 * Writes a copy of a command line in which one word has another value; it is appended (before `--`) where it was absent.
 * ERR_RANGE, after one line, when the result is longer than size - 1.
 */
enum status options_replace(const char *cmdline, const char *name, const char *value, char *out, size_t size);

#endif
