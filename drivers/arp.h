/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_ARP_H
#define DRIVERS_ARP_H

#include "lib/types.h"

/* What the drivers of network cards send and look for: an ARP request for 10.0.2.2, and its reply. */

#define MAC_SIZE  6
#define FRAME_MIN 60 /* IEEE 802.3, without the checksum */

/* For the log. */
#define MAC_FMT	    "%02x:%02x:%02x:%02x:%02x:%02x"
#define MAC_ARGS(m) (m)[0], (m)[1], (m)[2], (m)[3], (m)[4], (m)[5]

/* Fills in a probe (RFC 5227, 2.1.1): FRAME_MIN bytes. */
void arp_ask(void *frame, const u8 mac[MAC_SIZE]);

/* Whether it is the reply; if so, mac is its sender. */
bool arp_answers(const void *frame, u32 size, u8 mac[MAC_SIZE]);

#endif
