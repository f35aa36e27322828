/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/status.h"

const char *status_text(enum status s)
{
	switch (s) {
	case OK:
		return "ok";
	case ERR_ABSENT:
		return "absent";
	case ERR_TIMEOUT:
		return "timeout";
	case ERR_RANGE:
		return "out of range";
	case ERR_IO:
		return "I/O error";
	case ERR_STATE:
		return "wrong state";
	case ERR_INVALID:
		return "invalid";
	}
	return "unknown status";
}
