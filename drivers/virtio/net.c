/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/net.h"

#include "drivers/arp.h"
#include "drivers/virtio/queue.h"
#include "lib/string.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#define QUEUE_RX 0 /* 5.1.2; the MSI-X table's entries are numbered likewise */
#define QUEUE_TX 1
#define TX_HEAD	 0 /* the only descriptor in use there */

/* Receive buffers: header and the longest frame (1514 bytes without offloads, 5.1.6.3.1). */
#define BUFFERS	       8
#define BUFFER_SIZE    2048

#define TX_WAIT_US     1000000
#define ANSWER_WAIT_US 1000000

_Static_assert(BUFFERS <= VIRTQUEUE_SIZE_MAX, "a descriptor for each buffer");

struct net {
	struct virtio_pci v;
	struct virtqueue rx;
	struct virtqueue tx;
	u8 *buffer[BUFFERS];
	u16 buffers;
	u8 *probe; /* header and frame */
	volatile bool sending;
	bool has_status;
	u8 mac[MAC_SIZE];
	u8 answer[MAC_SIZE]; /* of 10.0.2.2, from its reply; valid when answers is not 0 */
	volatile u32 answers;
	volatile u32 frames; /* in */
	volatile u32 sent;
};

static bool match(const struct pci_dev *dev)
{
	return virtio_pci_is(dev, VIRTIO_ID_NET, VIRTIO_TRANS_ID_NET);
}

static void offer(struct net *net, u16 buffer)
{
	virtqueue_describe(&net->rx, buffer, net->buffer[buffer], BUFFER_SIZE, true);
	virtqueue_add(&net->rx, buffer);
}

static void receive(struct net *net)
{
	const u32 header = sizeof(struct virtio_net_hdr_v1);
	bool offered = false;
	u32 head, written;

	for (u16 n = 0; n < net->rx.size && virtqueue_take(&net->rx, &head, &written); n++) {
		if (head >= net->buffers)
			continue; /* it was never made available */
		if (written > header && written <= BUFFER_SIZE) {
			net->frames++;
			if (arp_answers(net->buffer[head] + header, written - header, net->answer))
				net->answers++;
		}
		offer(net, (u16)head);
		offered = true;
	}
	if (offered)
		virtqueue_kick(&net->rx);
}

static void transmitted(struct net *net)
{
	u32 head, written;

	for (u16 n = 0; n < net->tx.size && virtqueue_take(&net->tx, &head, &written); n++) {
		if (head != TX_HEAD || !net->sending)
			continue; /* it was never made available, or not this time */
		net->sending = false;
		net->sent++;
	}
}

static bool on_receive(void *context)
{
	receive(context);
	return true;
}

static bool on_transmit(void *context)
{
	transmitted(context);
	return true;
}

static bool on_line(void *context)
{
	struct net *net = context;

	if (!virtio_interrupted(&net->v))
		return false;
	receive(net);
	transmitted(net);
	return true;
}

static enum status allocate_buffers(struct net *net, struct arena *dma)
{
	net->buffers = MIN(BUFFERS, net->rx.size);
	for (unsigned int i = 0; i < net->buffers; i++) {
		net->buffer[i] = arena_alloc(dma, BUFFER_SIZE, BUFFER_SIZE);
		if (!net->buffer[i])
			return ERR_RANGE;
	}
	net->probe = arena_alloc(dma, BUFFER_SIZE, BUFFER_SIZE);
	return net->probe ? OK : ERR_RANGE;
}

static enum status probe(struct pci_dev *dev, void *context)
{
	static const irq_handler handlers[] = { [QUEUE_RX] = on_receive, [QUEUE_TX] = on_transmit };
	struct driver_env *env = context;
	struct net *net = arena_alloc(env->heap, sizeof(*net), 8);
	u64 features;
	enum status s;

	if (!net)
		return ERR_RANGE;
	dev->driver_data = net;
	s = virtio_pci_find(&net->v, dev);
	if (s == OK && net->v.config_length < offsetof(struct virtio_net_config, status) + sizeof(u16)) {
		driver_line(dev, "no device configuration");
		s = ERR_ABSENT;
	}
	if (s == OK)
		s = virtio_negotiate(&net->v, 1ULL << VIRTIO_NET_F_MAC | 1ULL << VIRTIO_NET_F_STATUS, &features);
	if (s == OK)
		s = virtio_connect_msix(&net->v, handlers, ARRAY_SIZE(handlers), net);
	if (s == OK)
		s = virtqueue_init(&net->rx, &net->v, QUEUE_RX, virtio_queue_vector(&net->v, QUEUE_RX), env->dma);
	if (s == OK)
		s = virtqueue_init(&net->tx, &net->v, QUEUE_TX, virtio_queue_vector(&net->v, QUEUE_TX), env->dma);
	if (s == OK)
		s = allocate_buffers(net, env->dma);
	if (s == OK)
		s = virtio_connect_intx(&net->v, on_line, net);
	if (s != OK)
		return s;
	net->has_status = features & 1ULL << VIRTIO_NET_F_STATUS;
	/* A device without an address of its own takes any (5.1.5): a locally administered one. */
	memcpy(net->mac, (const u8[]){ 0x02, 0, 0, 0, 0, 0x01 }, MAC_SIZE);
	for (unsigned int i = 0; i < MAC_SIZE && features & 1ULL << VIRTIO_NET_F_MAC; i++)
		net->mac[i] = (u8)pci_mem_read(net->v.dev, net->v.config + offsetof(struct virtio_net_config, mac) + i, 1);
	/* Before DRIVER_OK (3.1.1), since the handler offers buffers, too; the device is notified afterwards. */
	for (u16 i = 0; i < net->buffers; i++)
		offer(net, i);
	virtio_driver_ok(&net->v);
	virtqueue_kick(&net->rx);
	return OK;
}

static void send_probe(struct net *net)
{
	const u32 header = sizeof(struct virtio_net_hdr_v1);

	arp_ask(net->probe + header, net->mac);
	net->sending = true;
	virtqueue_describe(&net->tx, TX_HEAD, net->probe, header + FRAME_MIN, false);
	virtqueue_add(&net->tx, TX_HEAD);
	virtqueue_kick(&net->tx);
}

static bool link_is_up(const struct net *net)
{
	const u64 at = net->v.config + offsetof(struct virtio_net_config, status);

	return !net->has_status || pci_mem_read(net->v.dev, at, 2) & VIRTIO_NET_S_LINK_UP;
}

static enum status work(struct pci_dev *dev, bool write)
{
	struct net *net = dev->driver_data;
	u32 want = net->sent + 1;
	enum status s;

	(void)write;
	if (!link_is_up(net)) {
		driver_line(dev, MAC_FMT " link down", MAC_ARGS(net->mac));
		return OK;
	}
	send_probe(net);
	s = driver_await(dev, "transmitted frame", &net->sent, want, TX_WAIT_US);
	if (s != OK)
		return s;
	/* The line that it logs is enough: a reply is not required. */
	driver_await(dev, "answer to ARP", &net->answers, 1, ANSWER_WAIT_US);
	driver_line(dev, MAC_FMT " link up, " DRIVER_IRQ_FMT ": %u frames out, %u in", MAC_ARGS(net->mac),
		    DRIVER_IRQ_ARGS(&net->v.irq), net->sent, net->frames);
	if (net->answers)
		driver_line(dev, "10.0.2.2 is at " MAC_FMT, MAC_ARGS(net->answer));
	return OK;
}

/* The receive buffers are in flight already; one more frame is sent, and its reply may come at any time. */
static enum status arm(struct pci_dev *dev)
{
	struct net *net = dev->driver_data;

	if (link_is_up(net) && !net->sending)
		send_probe(net);
	return OK;
}

static unsigned int in_flight(const struct pci_dev *dev)
{
	const struct net *net = dev->driver_data;

	return net->buffers + net->sending;
}

const struct driver virtio_net_driver = {
	.pci = { .name = "virtio-net", .match = match, .reset = virtio_pci_reset, .probe = probe },
	.dma = (BUFFERS + 1) * BUFFER_SIZE + 4 * PAGE_SIZE, /* the buffers; the rings of two queues */
	.work = work,
	.arm = arm,
	.in_flight = in_flight,
};
