/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/bootparam.h"

/* A loader adds a handful. */
#define NODES_MAX 16

const struct setup_data *boot_find_setup_data(const struct boot_params *bp, u32 type, u32 len, boot_map map)
{
	u64 at = bp->hdr.setup_data;

	for (int i = 0; at && i < NODES_MAX; i++) {
		const struct setup_data *node = (const void *)(uintptr_t)at;

		if (at % _Alignof(struct setup_data) || map(at, sizeof(*node)) != OK)
			return NULL;
		if (node->type == type && node->len == len && map(at, sizeof(*node) + len) == OK)
			return node;
		at = node->next;
	}
	return NULL;
}
