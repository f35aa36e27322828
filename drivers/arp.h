/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_ARP_H
#define DRIVERS_ARP_H

#include "lib/types.h"

/* What the drivers of network cards send and look for: the question who is at 10.0.2.2, and its answer. */

#define MAC_SIZE    6
#define FRAME_LEAST 60 /* IEEE 802.3, without the checksum */

/* For the log. */
#define MAC_FMT	    "%02x:%02x:%02x:%02x:%02x:%02x"
#define MAC_ARGS(m) (m)[0], (m)[1], (m)[2], (m)[3], (m)[4], (m)[5]

/* Makes a probe (RFC 5227, 2.1.1) of it: FRAME_LEAST bytes. */
void arp_ask(void *frame, const u8 mac[MAC_SIZE]);

/* Whether it is the answer; if so, mac is who says to be there. */
bool arp_answers(const void *frame, u32 size, u8 mac[MAC_SIZE]);

#endif
