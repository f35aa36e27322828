/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/arp.h"

#include "lib/string.h"

/* Ethernet (IEEE 802.3) and ARP (RFC 826); numbers are big-endian. */
#define IP_SIZE 4
struct arp_frame {
	u8 destination[MAC_SIZE];
	u8 source[MAC_SIZE];
	u8 kind[10]; /* EtherType, hardware, protocol, their addresses' sizes, operation */
	u8 sender_mac[MAC_SIZE];
	u8 sender_ip[IP_SIZE];
	u8 target_mac[MAC_SIZE];
	u8 target_ip[IP_SIZE];
};
_Static_assert(sizeof(struct arp_frame) == 42, "RFC 826");

/* From EtherType to operation: ARP, for Ethernet and IPv4. */
#define ARP_REQUEST 0x08, 0x06, 0x00, 0x01, 0x08, 0x00, MAC_SIZE, IP_SIZE, 0x00, 0x01
#define ARP_REPLY   0x08, 0x06, 0x00, 0x01, 0x08, 0x00, MAC_SIZE, IP_SIZE, 0x00, 0x02

static const u8 target_ip[IP_SIZE] = { 10, 0, 2, 2 };

void arp_ask(void *frame, const u8 mac[MAC_SIZE])
{
	struct arp_frame *arp = frame;

	memset(frame, 0, FRAME_MIN);
	*arp = (struct arp_frame){ .kind = { ARP_REQUEST } };
	memset(arp->destination, 0xff, MAC_SIZE);
	memcpy(arp->source, mac, MAC_SIZE);
	memcpy(arp->sender_mac, mac, MAC_SIZE);
	memcpy(arp->target_ip, target_ip, IP_SIZE);
}

bool arp_answers(const void *frame, u32 size, u8 mac[MAC_SIZE])
{
	static const u8 reply[] = { ARP_REPLY };
	const struct arp_frame *arp = frame;

	if (size < sizeof(*arp) || memcmp(arp->kind, reply, sizeof(reply)) || memcmp(arp->sender_ip, target_ip, IP_SIZE))
		return false;
	memcpy(mac, arp->sender_mac, MAC_SIZE);
	return true;
}
