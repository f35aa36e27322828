/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_MSI_MESSAGE_H
#define LIB_MSI_MESSAGE_H

#include "lib/types.h"

/*
 * A message-signalled interrupt is a memory write that the device makes: data to address. irq/ composes it (as the interrupt
 * controller expects it), pci/ programs it (where the capability keeps it); neither needs to know the other.
 */
struct msi_message {
	u64 address;
	u32 data;
};

#endif
