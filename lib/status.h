/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_STATUS_H
#define LIB_STATUS_H

/*
 * Errors are values. A function that fails has logged one line that names what and where, unless its header says that absence is
 * an ordinary result (ERR_ABSENT), and has left everything as it was.
 */
enum status {
	OK = 0,
	ERR_ABSENT,  /* not there: a capability, a table, a file, a function */
	ERR_TIMEOUT, /* a bounded wait expired */
	ERR_RANGE,   /* outside its bounds, or no room left */
	ERR_IO,	     /* the device answered, and the answer is an error */
	ERR_STATE,   /* not possible in the current state */
	ERR_INVALID, /* malformed input */
};

const char *status_text(enum status s);

#endif
