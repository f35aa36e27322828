/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/fake_virtio.h"

#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

/* virtio 1.2, 2.1: device status. */
#define ACKNOWLEDGE 0x01
#define DRIVER	    0x02
#define DRIVER_OK   0x04
#define FEATURES_OK 0x08
#define FAILED	    0x80

/* 4.1.4.3: offsets of the common configuration, and the widths of its fields. The three addresses are 64 bits, in two halves. */
static const u8 widths[56] = {
	[0] = 4,  [4] = 4,  [8] = 4,  [12] = 4, [16] = 2, [18] = 2, [20] = 1, [21] = 1, [22] = 2, [24] = 2,
	[26] = 2, [28] = 2, [30] = 2, [32] = 4, [36] = 4, [40] = 4, [44] = 4, [48] = 4, [52] = 4,
};

#define DEVICE_STATUS	  20
#define QUEUE_SELECT	  22
#define QUEUE_VECTOR	  26
#define QUEUE_ENABLE	  28

#define ISR		  0x1000
#define CONFIG		  0x2000
#define NOTIFY		  0x3000
#define NOTIFY_OFF(queue) (3 + 2 * (queue)) /* times the multiplier of 4 */

/* 5.1.2, 5.1.3 */
#define RECEIVE	   0
#define TRANSMIT   1
#define NET_MAC	   (1ULL << 5)
#define NET_STATUS (1ULL << 16)

static void check_width(u64 offset, unsigned int size)
{
	if (offset >= sizeof(widths) || widths[offset] != size)
		fail_msg("common configuration 0x%lx: an access of %u bytes", offset, size);
}

static void check_status(const struct fake_virtio *v, u8 set, u8 clear, const char *what)
{
	if ((v->status & set) != set || v->status & clear)
		fail_msg("%s while the device status is 0x%02x", what, v->status);
}

static u32 read_status(struct fake_virtio *v)
{
	if (v->reset_reads && v->reset_reads != 0xff && !--v->reset_reads)
		v->status = 0;
	return v->status;
}

static struct fake_queue *selected(struct fake_virtio *v, u64 offset)
{
	if (v->queue_select >= v->queues)
		fail_msg("common configuration 0x%lx: queue %u does not exist", offset, v->queue_select);
	return &v->queue[v->queue_select];
}

static u32 common_read(struct fake_virtio *v, u64 offset)
{
	switch (offset) {
	case 4:
		return v->select[0] < 2 ? (u32)(v->features >> 32 * v->select[0]) : 0;
	case 18:
		return v->queues;
	case DEVICE_STATUS:
		return read_status(v);
	case 24:
		return v->queue_select < v->queues ? v->queue[v->queue_select].size : 0;
	case QUEUE_VECTOR:
		return selected(v, offset)->vector;
	case 30:
		return NOTIFY_OFF(v->queue_select);
	}
	fail_msg("common configuration 0x%lx is read", offset);
	return 0;
}

static void reset_queues(struct fake_virtio *v)
{
	for (unsigned int i = 0; i < v->queues; i++) {
		v->queue[i].enable = v->queue[i].seen = 0;
		v->queue[i].vector = 0xffff;
		v->queue[i].size = v->queue_max;
	}
}

static void write_status(struct fake_virtio *v, u8 value)
{
	if (!value) { /* 2.4.1 */
		v->status = v->reset_reads ? v->status : 0;
		v->accepted = v->isr = 0;
		v->config_vector = 0xffff;
		reset_queues(v);
		return;
	}
	assert_int_equal(value & v->status, v->status); /* 2.1.1: the driver clears no bit */
	if (value & DRIVER && !(v->status & DRIVER))
		check_status(v, ACKNOWLEDGE, 0, "DRIVER");
	if (value & FEATURES_OK && !(v->status & FEATURES_OK)) {
		check_status(v, ACKNOWLEDGE | DRIVER, DRIVER_OK, "FEATURES_OK");
		if (v->refuse_features || v->accepted & ~v->features)
			value &= (u8)~FEATURES_OK;
	}
	if (value & DRIVER_OK && !(v->status & DRIVER_OK))
		check_status(v, ACKNOWLEDGE | DRIVER | FEATURES_OK, FAILED, "DRIVER_OK");
	v->status = value;
}

static void queue_write(struct fake_virtio *v, u64 offset, u32 value)
{
	struct fake_queue *q = selected(v, offset);

	check_status(v, FEATURES_OK, DRIVER_OK, "the queue is set up");
	assert_int_equal(q->enable, 0);
	switch (offset) {
	case 24:
		assert_true(value && value <= v->queue_max && !(value & (value - 1))); /* 2.7: a power of two */
		q->size = (u16)value;
		break;
	case QUEUE_VECTOR:
		q->vector = v->refuse_vector >> v->queue_select & 1 ? 0xffff : (u16)value;
		break;
	case QUEUE_ENABLE:
		assert_int_equal(value, 1);
		for (unsigned int i = 0; i < 3; i++) {
			static const u64 align[] = { 16, 2, 4 }; /* 2.7 */

			assert_true(q->ring[i] && q->ring[i] % align[i] == 0);
		}
		q->enable = 1;
		break;
	case 32 ... 52:
		if (offset & 4)
			q->ring[(offset - 32) / 8] = (u32)q->ring[(offset - 32) / 8] | (u64)value << 32;
		else
			q->ring[(offset - 32) / 8] = value;
		break;
	default:
		fail_msg("common configuration 0x%lx <- 0x%x", offset, value);
	}
}

static void common_write(struct fake_virtio *v, u64 offset, u32 value)
{
	switch (offset) {
	case 0:
		v->select[0] = value;
		break;
	case 8:
		v->select[1] = value;
		break;
	case 12:
		check_status(v, DRIVER, FEATURES_OK, "features are accepted");
		assert_uint_in_range(v->select[1], 0, 1);
		v->accepted &= ~(0xffffffffULL << 32 * v->select[1]);
		v->accepted |= (u64)value << 32 * v->select[1];
		break;
	case 16:
		v->config_vector = (u16)value;
		break;
	case DEVICE_STATUS:
		write_status(v, (u8)value);
		break;
	case QUEUE_SELECT:
		v->queue_select = (u16)value;
		break;
	default:
		queue_write(v, offset, value);
	}
}

/* The device's own configuration: the capacity of a disk (5.2.4); a network's address and link, where negotiated (5.1.4). */
static u32 config_read(const struct fake_virtio *v, u64 offset, unsigned int size)
{
	if (v->type == FAKE_BLK && size == 4 && (offset == 0 || offset == 4))
		return (u32)(v->sectors >> 8 * offset);
	if (v->type == FAKE_NET && size == 1 && offset < 6 && v->accepted & NET_MAC)
		return v->mac[offset];
	if (v->type == FAKE_NET && size == 2 && offset == 6 && v->accepted & NET_STATUS)
		return v->link;
	fail_msg("device configuration 0x%lx: %u bytes are read", offset, size);
	return 0;
}

static u32 mmio_read(void *model, u64 offset, unsigned int size)
{
	struct fake_virtio *v = model;
	u32 value;

	if (offset < ISR) {
		check_width(offset, size);
		return common_read(v, offset);
	}
	if (offset == ISR) { /* 4.1.4.5.1: reading clears, and lowers INTx */
		assert_int_equal(size, 1);
		value = v->isr;
		v->isr = 0;
		if (v->fn->cfg[PCI_INTERRUPT_LINE] && !v->line_held)
			fake_irq_line(v->fn->cfg[PCI_INTERRUPT_LINE], false);
		return value;
	}
	if (offset < CONFIG || offset >= NOTIFY)
		fail_msg("BAR 4 + 0x%lx: %u bytes are read", offset, size);
	return config_read(v, offset - CONFIG, size);
}

static void run_queue(struct fake_virtio *v, unsigned int index);

static void mmio_write(void *model, u64 offset, unsigned int size, u32 value)
{
	struct fake_virtio *v = model;

	if (offset < ISR) {
		check_width(offset, size);
		common_write(v, offset, value);
		return;
	}
	/* 4.1.4.4: cap.offset + queue_notify_off * multiplier; the queue's index, 16 bits. */
	if (value >= v->queues || offset != NOTIFY + NOTIFY_OFF(value) * 4 || size != 2)
		fail_msg("BAR 4 + 0x%lx: %u bytes 0x%x are written", offset, size, value);
	check_status(v, DRIVER_OK, FAILED, "the device is notified");
	assert_int_equal(v->queue[value].enable, 1);
	v->queue[value].notified++;
	if (!v->hold)
		run_queue(v, value);
}

/* --- the queue: 2.7.5 descriptors (address, length, flags, next), 2.7.6 driver area, 2.7.8 device area --- */

#define F_NEXT	1
#define F_WRITE 2

struct desc {
	u64 address;
	u32 length;
	u16 flags;
	u16 next;
};

static const struct desc *desc(const struct fake_queue *q, unsigned int i)
{
	assert_true(i < q->size);
	return (const struct desc *)(uintptr_t)q->ring[0] + i;
}

static const u16 *driver_area(const struct fake_queue *q)
{
	return (const u16 *)(uintptr_t)q->ring[1]; /* flags, idx, then a head each */
}

u16 fake_virtio_head(const struct fake_virtio *v, unsigned int queue, unsigned int place)
{
	const struct fake_queue *q = &v->queue[queue];

	return driver_area(q)[2 + (u16)(q->seen + place) % q->size];
}

static u16 take_head(struct fake_virtio *v, unsigned int queue)
{
	v->queue[queue].taken = fake_virtio_head(v, queue, 0);
	v->queue[queue].seen++;
	return v->queue[queue].taken;
}

u16 fake_virtio_available(const struct fake_virtio *v, unsigned int queue)
{
	return (u16)(driver_area(&v->queue[queue])[1] - v->queue[queue].seen);
}

u64 fake_virtio_buffer(const struct fake_virtio *v, unsigned int queue, unsigned int descriptor)
{
	return desc(&v->queue[queue], descriptor)->address;
}

u32 fake_virtio_length(const struct fake_virtio *v, unsigned int queue, unsigned int descriptor)
{
	return desc(&v->queue[queue], descriptor)->length;
}

static void complete(const struct fake_queue *q, u32 head, u32 length)
{
	u16 *used = (u16 *)(uintptr_t)q->ring[2]; /* flags, idx, then 8 bytes an element */
	u32 *element = (u32 *)(void *)(used + 2) + 2 * (used[1] % q->size);

	element[0] = head;
	element[1] = length;
	used[1]++;
}

/* 5.2.6: a header of 16 bytes and a status byte around the data; the device writes only where the descriptor allows it. */
static u32 serve_disk(struct fake_virtio *v, u16 head)
{
	const struct fake_queue *q = &v->queue[0];
	const struct desc *d = desc(q, head);
	u32 type, written = 1;
	u64 sector;

	assert_int_equal(d->length, 16);
	assert_int_equal(d->flags, F_NEXT);
	memcpy(&type, (void *)(uintptr_t)d->address, 4);
	memcpy(&sector, (void *)(uintptr_t)(d->address + 8), 8);
	for (d = desc(q, d->next); d->flags & F_NEXT; d = desc(q, d->next)) {
		u8 *data = (u8 *)(uintptr_t)d->address;

		assert_int_equal(d->flags, type == 0 ? F_NEXT | F_WRITE : F_NEXT);
		assert_true(sector * 512 + d->length <= v->sectors * 512);
		if (type == 0 && !v->empty)
			memcpy(data, v->disk + sector * 512, d->length);
		if (type == 1)
			memcpy(v->disk + sector * 512, data, d->length);
		if (type == 0 && v->corrupt)
			data[d->length / 2] ^= 0x10;
		sector += d->length / 512;
		written += type == 0 ? d->length : 0;
	}
	assert_int_equal(d->length, 1);
	assert_int_equal(d->flags, F_WRITE);
	*(u8 *)(uintptr_t)d->address = v->request_status;
	v->reads += type == 0;
	v->writes += type == 1;
	v->flushes += type == 4;
	assert_true(type == 0 || type == 1 || type == 4);
	return written;
}

/* 5.1.6.2: without offloads the header is zero, num_buffers too; a frame fills Ethernet's minimum. */
static u32 transmit(struct fake_virtio *v, u16 head)
{
	static const u8 header[FAKE_NET_HEADER];
	const struct desc *d = desc(&v->queue[TRANSMIT], head);

	v->sent_size = 0;
	for (;; d = desc(&v->queue[TRANSMIT], d->next)) {
		assert_int_equal(d->flags & F_WRITE, 0);
		assert_true(d->length <= sizeof(v->sent) - v->sent_size);
		memcpy(v->sent + v->sent_size, (const void *)(uintptr_t)d->address, d->length);
		v->sent_size += d->length;
		if (!(d->flags & F_NEXT))
			break;
	}
	assert_uint_in_range(v->sent_size, FAKE_NET_HEADER + 60, sizeof(v->sent));
	assert_memory_equal(v->sent, header, sizeof(header));
	v->writes++;
	return 0;
}

/* 5.4.6: buffers that the device fills, as far as it can. */
static u32 bring_entropy(struct fake_virtio *v, u16 head)
{
	const struct desc *d = desc(&v->queue[0], head);
	u8 *data = (u8 *)(uintptr_t)d->address;
	u32 n = MIN(d->length, v->brings);

	assert_int_equal(d->flags, F_WRITE);
	assert_true(d->length > 0);
	for (u32 i = v->skips; i < n; i++)
		data[i] = v->entropy[i % sizeof(v->entropy)];
	v->reads++;
	return v->reports == FAKE_VIRTIO_ALL ? n : v->reports;
}

void fake_virtio_message(struct fake_virtio *v, unsigned int entry)
{
	u64 at = entry * 16UL;

	if ((fake_get(v->fn, FAKE_BLK_MSIX + 2, 2) & 0xc000) != 0x8000 || fake_mem_get(v->msix, at + 12, 4) & 1)
		return;
	fake_lapic_message(fake_mem_get(v->msix, at, 4) | (u64)fake_mem_get(v->msix, at + 4, 4) << 32,
			   fake_mem_get(v->msix, at + 8, 4));
}

static void interrupt(struct fake_virtio *v, const struct fake_queue *q)
{
	if (v->silent)
		return;
	if (fake_get(v->fn, FAKE_BLK_MSIX + 2, 2) & 0x8000) { /* PCIe 6.1.4: MSI-X on, INTx never */
		if (q->vector != 0xffff)
			fake_virtio_message(v, q->vector);
		return;
	}
	v->isr |= 1;
	if (!(fake_get(v->fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE))
		fake_irq_line(v->fn->cfg[PCI_INTERRUPT_LINE], true);
}

static bool running(const struct fake_virtio *v)
{
	return fake_get(v->fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER && v->status & DRIVER_OK;
}

static u32 serve(struct fake_virtio *v, u16 head)
{
	if (v->type == FAKE_BLK)
		return serve_disk(v, head);
	return v->type == FAKE_NET ? transmit(v, head) : bring_entropy(v, head);
}

static void run_queue(struct fake_virtio *v, unsigned int index)
{
	struct fake_queue *q = &v->queue[index];
	bool any = false;

	if (!running(v) || (v->type == FAKE_NET && index == RECEIVE))
		return;
	while (fake_virtio_available(v, index)) {
		u16 head = take_head(v, index);

		complete(q, head, serve(v, head));
		any = true;
	}
	if (!any)
		return;
	interrupt(v, q);
	if (v->peer)
		v->peer(v);
}

void fake_virtio_run(struct fake_virtio *v)
{
	for (unsigned int i = 0; i < v->queues; i++)
		run_queue(v, i);
}

void fake_virtio_used(struct fake_virtio *v, unsigned int queue, u32 id, u32 length)
{
	complete(&v->queue[queue], id, length);
	interrupt(v, &v->queue[queue]);
}

static bool is_available(const struct fake_virtio *v, unsigned int queue, u32 head)
{
	for (unsigned int i = 0; i < fake_virtio_available(v, queue); i++)
		if (fake_virtio_head(v, queue, i) == head)
			return true;
	return false;
}

unsigned int fake_virtio_ghosts(struct fake_virtio *v, unsigned int queue, u32 length)
{
	const u32 size = v->queue[queue].size;
	const u32 beyond[] = { size, 0x7fff, 0xffff, 0x10000, 0x10000U | fake_virtio_head(v, queue, 0), 0xffffffff };
	unsigned int n = 0;

	for (u32 head = 0; head < size; head++) {
		if (is_available(v, queue, head))
			continue;
		fake_virtio_used(v, queue, head, length);
		n++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(beyond); i++, n++)
		fake_virtio_used(v, queue, beyond[i], length);
	return n;
}

void fake_virtio_receive(struct fake_virtio *v, const u8 *frame, u32 size, u32 used_len)
{
	struct fake_queue *q = &v->queue[RECEIVE];
	const struct desc *d;
	u8 *data;
	u16 head;

	assert_true(running(v));
	assert_true(fake_virtio_available(v, RECEIVE) > 0);
	head = take_head(v, RECEIVE);
	d = desc(q, head);
	data = (u8 *)(uintptr_t)d->address;
	assert_int_equal(d->flags, F_WRITE);
	assert_true(d->length >= FAKE_NET_HEADER + FAKE_NET_FRAME_MAX); /* 5.1.6.3.1 */
	memset(data, 0, FAKE_NET_HEADER);
	data[10] = 1; /* 5.1.6.4: num_buffers */
	memcpy(data + FAKE_NET_HEADER, frame, size);
	fake_virtio_used(v, RECEIVE, head, used_len);
}

/* --- checks --- */

bool fake_virtio_status_is(const struct fake_virtio *v, const u8 *want, size_t n)
{
	size_t at = 0;

	for (unsigned int i = 0; i < v->fake->logged; i++) {
		const struct fake_access *a = &v->fake->log[i];

		if (a->kind != FAKE_MEM_WRITE || a->where != FAKE_VIRTIO_STATUS)
			continue;
		if (at == n || a->value != want[at++])
			return false;
	}
	return at == n;
}

/* The device's state by the accesses up to one. */
struct progress {
	bool msix;
	bool unmasked[FAKE_BLK_VECTORS];
	u32 select;
	struct {
		u32 vector;
		bool written, read, enabled;
	} queue[FAKE_VIRTIO_QUEUES];
	bool driver_ok;
};

static bool table_step(struct progress *p, u64 offset, u32 value)
{
	if (offset % 16 == 12 && offset / 16 < FAKE_BLK_VECTORS)
		p->unmasked[offset / 16] = !(value & 1);
	return true;
}

static bool vector_step(struct progress *p, const struct fake_access *a)
{
	if (a->kind == FAKE_MEM_READ)
		return p->queue[p->select].read = p->queue[p->select].written && a->value == p->queue[p->select].vector;
	p->queue[p->select].vector = a->value;
	p->queue[p->select].written = true;
	return a->value == 0xffff || (p->msix && a->value < FAKE_BLK_VECTORS && p->unmasked[a->value]);
}

static bool common_step(struct progress *p, const struct fake_virtio *v, const struct fake_access *a, u64 offset)
{
	if (offset == QUEUE_VECTOR)
		return vector_step(p, a);
	if (a->kind == FAKE_MEM_READ)
		return true;
	if (p->driver_ok)
		return false;
	if (offset == QUEUE_SELECT) {
		p->select = a->value;
		return a->value < v->queues;
	}
	if (offset == QUEUE_ENABLE)
		return p->queue[p->select].enabled = p->queue[p->select].read;
	p->driver_ok = offset == DEVICE_STATUS && a->value & DRIVER_OK;
	for (unsigned int i = 0; p->driver_ok && i < v->queues; i++)
		if (!p->queue[i].enabled)
			return false;
	return true;
}

bool fake_virtio_in_order(const struct fake_virtio *v)
{
	struct progress p = { 0 };

	for (unsigned int i = 0; i < v->fake->logged; i++) {
		const struct fake_access *a = &v->fake->log[i];
		bool write = a->kind == FAKE_CFG_WRITE || a->kind == FAKE_MEM_WRITE;
		u64 offset = a->where - FAKE_BLK_BAR;
		bool right = true;

		if (a->kind == FAKE_CFG_READ)
			continue;
		if (a->kind == FAKE_CFG_WRITE && a->where == FAKE_BLK_MSIX + 2)
			p.msix = (a->value & 0xc000) == 0x8000;
		else if (a->kind != FAKE_CFG_WRITE && offset < ISR)
			right = common_step(&p, v, a, offset);
		else if (write && a->where - FAKE_BLK_MSIX_BAR < 0x1000)
			right = table_step(&p, a->where - FAKE_BLK_MSIX_BAR, a->value);
		else if (write && offset - NOTIFY < 0x1000)
			right = p.driver_ok;
		if (!right)
			return false;
	}
	return p.driver_ok;
}

static void virtio_free(void *model)
{
	struct fake_virtio *v = model;

	free(v->disk);
	free(v);
}

struct fake_virtio *fake_virtio_new(struct fake_pci *fake, u16 bdf, enum fake_virtio_type type)
{
	/* VERSION_1; FLUSH, or MAC and STATUS; and two that no driver here uses */
	static const u64 features[] = { [FAKE_NET] = NET_MAC | NET_STATUS, [FAKE_BLK] = 1ULL << 9, [FAKE_RNG] = 0 };
	struct fake_virtio *v = calloc(1, sizeof(*v));

	assert_non_null(v);
	v->fake = fake;
	v->fn = fake_virtio_blk(fake, bdf);
	fake_set(v->fn, PCI_VENDOR_ID + 2, 2, 0x1040 + type); /* Device ID */
	v->msix = &fake->mem[fake->mems - 2];
	fake->mem[fake->mems - 1].read = mmio_read;
	fake->mem[fake->mems - 1].write = mmio_write;
	fake->mem[fake->mems - 1].model = v;
	fake->mem[fake->mems - 1].free = virtio_free;
	v->type = type;
	v->queues = type == FAKE_NET ? 2 : 1;
	v->features = features[type] | 1ULL << 32 | 1ULL << 28 | 1ULL << 29;
	v->queue_max = 256;
	v->config_vector = 0xffff;
	reset_queues(v);
	v->sectors = FAKE_DISK_SECTORS;
	v->disk = calloc(FAKE_DISK_SECTORS, 512);
	assert_non_null(v->disk);
	memcpy(v->mac, (const u8[]){ 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 }, 6);
	v->link = 1;
	memcpy(v->entropy, (const u8[]){ 0x3d, 0x91, 0x07, 0xe2 }, 4);
	v->brings = v->reports = FAKE_VIRTIO_ALL;
	return v;
}
