/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/fake_virtio.h"

#include "tests/unit/fake_irq.h"
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

#define ISR	   0x1000
#define CONFIG	   0x2000
#define NOTIFY	   0x3000
#define QUEUES	   1
#define NOTIFY_OFF 3 /* times the multiplier of 4 */

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

static u32 common_read(struct fake_virtio *v, u64 offset)
{
	switch (offset) {
	case 4:
		return v->select[0] < 2 ? (u32)(v->features >> 32 * v->select[0]) : 0;
	case 18:
		return QUEUES;
	case 20:
		return read_status(v);
	case 24:
		return v->queue_select < QUEUES ? v->queue_size : 0;
	case 26:
		return v->queue_vector;
	case 30:
		return NOTIFY_OFF;
	}
	fail_msg("common configuration 0x%lx is read", offset);
	return 0;
}

static void write_status(struct fake_virtio *v, u8 value)
{
	if (!value) { /* 2.4.1 */
		v->status = v->reset_reads ? v->status : 0;
		v->accepted = v->seen = v->isr = 0;
		v->queue_enable = 0;
		v->queue_vector = v->config_vector = 0xffff;
		v->queue_size = v->queue_max;
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

static void common_write(struct fake_virtio *v, u64 offset, u32 value)
{
	if (offset >= 24)
		check_status(v, FEATURES_OK, DRIVER_OK, "the queue is set up");
	if (offset > 24 && offset != 28)
		assert_int_equal(v->queue_enable, 0);
	switch (offset) {
	case 0:
		v->select[0] = value;
		break;
	case 8:
		v->select[1] = value;
		break;
	case 12:
		check_status(v, DRIVER, FEATURES_OK, "features are accepted");
		assert_in_range(v->select[1], 0, 1);
		v->accepted &= ~(0xffffffffULL << 32 * v->select[1]);
		v->accepted |= (u64)value << 32 * v->select[1];
		break;
	case 16:
		v->config_vector = (u16)value;
		break;
	case 20:
		write_status(v, (u8)value);
		break;
	case 22:
		v->queue_select = (u16)value;
		break;
	case 24:
		assert_true(value && value <= v->queue_max && !(value & (value - 1))); /* 2.7: a power of two */
		v->queue_size = (u16)value;
		break;
	case 26:
		v->queue_vector = v->refuse_vector ? 0xffff : (u16)value;
		break;
	case 28:
		assert_int_equal(value, 1);
		for (unsigned int i = 0; i < 3; i++) {
			static const u64 align[] = { 16, 2, 4 }; /* 2.7 */

			assert_true(v->ring[i] && v->ring[i] % align[i] == 0);
		}
		v->queue_enable = 1;
		break;
	case 32 ... 52:
		if (offset & 4)
			v->ring[(offset - 32) / 8] = (u32)v->ring[(offset - 32) / 8] | (u64)value << 32;
		else
			v->ring[(offset - 32) / 8] = value;
		break;
	default:
		fail_msg("common configuration 0x%lx <- 0x%x", offset, value);
	}
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
		if (v->fn->cfg[PCI_INTERRUPT_LINE])
			fake_irq_line(v->fn->cfg[PCI_INTERRUPT_LINE], false);
		return value;
	}
	/* 5.2.4: capacity is the first field. */
	if ((offset != CONFIG && offset != CONFIG + 4) || size != 4)
		fail_msg("BAR 4 + 0x%lx: %u bytes are read", offset, size);
	return (u32)(v->sectors >> 8 * (offset - CONFIG));
}

static void complete(struct fake_virtio *v, u32 head, u32 length);
static void interrupt(struct fake_virtio *v);

static void mmio_write(void *model, u64 offset, unsigned int size, u32 value)
{
	struct fake_virtio *v = model;

	if (offset < ISR) {
		check_width(offset, size);
		common_write(v, offset, value);
		return;
	}
	/* 4.1.4.4: cap.offset + queue_notify_off * multiplier; the queue's index, 16 bits. */
	if (offset != NOTIFY + NOTIFY_OFF * 4 || size != 2 || value)
		fail_msg("BAR 4 + 0x%lx: %u bytes 0x%x are written", offset, size, value);
	check_status(v, DRIVER_OK, FAILED, "the device is notified");
	assert_int_equal(v->queue_enable, 1);
	v->notified++;
	if (v->ghost) {
		static const u32 heads[] = { 1, 7 * 3, 0xffff }; /* within a chain, the last slot's, none */

		for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
			complete(v, heads[i], 0);
		interrupt(v);
	}
	if (!v->hold)
		fake_virtio_run(v);
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

static const struct desc *desc(const struct fake_virtio *v, unsigned int i)
{
	assert_true(i < v->queue_size);
	return (const struct desc *)(uintptr_t)v->ring[0] + i;
}

static void complete(struct fake_virtio *v, u32 head, u32 length)
{
	u16 *used = (u16 *)(uintptr_t)v->ring[2]; /* flags, idx, then 8 bytes an element */
	u32 *element = (u32 *)(void *)(used + 2) + 2 * (used[1] % v->queue_size);

	element[0] = head;
	element[1] = length;
	used[1]++;
}

/* 5.2.6: a header of 16 bytes and a status byte around the data; the device writes only where the driver lets it. */
static void serve(struct fake_virtio *v, u16 head)
{
	const struct desc *d = desc(v, head);
	u32 type, written = 1;
	u64 sector;

	assert_int_equal(d->length, 16);
	assert_int_equal(d->flags, F_NEXT);
	memcpy(&type, (void *)(uintptr_t)d->address, 4);
	memcpy(&sector, (void *)(uintptr_t)(d->address + 8), 8);
	for (d = desc(v, d->next); d->flags & F_NEXT; d = desc(v, d->next)) {
		u8 *data = (u8 *)(uintptr_t)d->address;

		assert_int_equal(d->flags, type == 0 ? F_NEXT | F_WRITE : F_NEXT);
		assert_true(sector * 512 + d->length <= v->sectors * 512);
		if (type == 0)
			memcpy(data, v->disk + sector * 512, d->length);
		else
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
	complete(v, head, written);
}

static void interrupt(struct fake_virtio *v)
{
	u32 control = fake_get(v->fn, FAKE_BLK_MSIX + 2, 2);
	u64 entry = v->queue_vector * 16UL;

	if (v->silent)
		return;
	if (control & 0x8000) { /* PCIe 6.1.4: MSI-X on, INTx never */
		if (v->queue_vector == 0xffff || control & 0x4000 || fake_mem_get(v->msix, entry + 12, 4) & 1)
			return;
		fake_lapic_message(fake_mem_get(v->msix, entry, 4) | (u64)fake_mem_get(v->msix, entry + 4, 4) << 32,
				   fake_mem_get(v->msix, entry + 8, 4));
		return;
	}
	v->isr |= 1;
	if (!(fake_get(v->fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE))
		fake_irq_line(v->fn->cfg[PCI_INTERRUPT_LINE], true);
}

void fake_virtio_run(struct fake_virtio *v)
{
	const u16 *avail = (const u16 *)(uintptr_t)v->ring[1]; /* flags, idx, then a head each */
	bool any = false;

	if (!(fake_get(v->fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER) || !(v->status & DRIVER_OK))
		return;
	for (; v->seen != avail[1]; v->seen++) {
		serve(v, avail[2 + v->seen % v->queue_size]);
		any = true;
	}
	if (any)
		interrupt(v);
}

struct fake_virtio *fake_virtio_new(struct fake_pci *fake, u16 bdf)
{
	struct fake_virtio *v = calloc(1, sizeof(*v));

	assert_non_null(v);
	v->fake = fake;
	v->fn = fake_virtio_blk(fake, bdf);
	v->msix = &fake->mem[fake->mems - 2];
	fake->mem[fake->mems - 1].read = mmio_read;
	fake->mem[fake->mems - 1].write = mmio_write;
	fake->mem[fake->mems - 1].model = v;
	v->features = 1ULL << 32 | 1ULL << 9 | 1ULL << 28 | 1ULL << 29; /* VERSION_1, FLUSH, and two that nobody here wants */
	v->queue_size = v->queue_max = 256;
	v->queue_vector = v->config_vector = 0xffff;
	v->sectors = FAKE_DISK_SECTORS;
	v->disk = calloc(FAKE_DISK_SECTORS, 512);
	assert_non_null(v->disk);
	return v;
}

void fake_virtio_free(struct fake_virtio *v)
{
	free(v->disk);
	free(v);
}
