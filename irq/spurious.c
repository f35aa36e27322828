/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/spurious.h"

bool spurious_note(struct spurious *s, bool handled, u64 now_us)
{
	if (!handled) {
		s->unhandled = now_us - s->last_us > SPURIOUS_GAP_US ? 1 : s->unhandled + 1;
		s->last_us = now_us;
	}
	if (!s->unhandled || ++s->count < SPURIOUS_WINDOW)
		return false;
	s->count = 0;
	s->disabled = s->unhandled > SPURIOUS_UNHANDLED;
	s->unhandled = 0;
	return s->disabled;
}
