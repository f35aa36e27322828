/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/time.h"

#include "lib/x86.h"

#define PM_TIMER_HZ    3579545UL
#define PM_TIMER_READS 1000	 /* a port read takes 100 ns or more, a tick 280 ns */
#define PM_TIMER_MASK  0xffffffU /* the upper 8 bits are optional (TMR_VAL_EXT) */

/* 8254: counter 2 is gated by port 0x61 bit 0; bit 1 would send it to the speaker. */
/* clang-format off */
#define PIT_HZ			1193182UL
#define PIT_MASK		0xffffU
#define PIT_COUNTER2		0x42
#define PIT_CONTROL		0x43
#define  PIT_COUNTER2_RATE	0xb4	/* counter 2, low byte then high byte, mode 2 */
#define  PIT_COUNTER2_LATCH	0x80
#define PIT_GATE		0x61
/* clang-format on */

static struct {
	u16 pm_port;
	u32 last;
	u64 ticks;
} timer;

static u32 read_counter(void)
{
	u32 low;

	if (timer.pm_port)
		return x86_inl(timer.pm_port) & PM_TIMER_MASK;
	x86_outb(PIT_CONTROL, PIT_COUNTER2_LATCH);
	low = x86_inb(PIT_COUNTER2);
	return ~(low | (u32)x86_inb(PIT_COUNTER2) << 8) & PIT_MASK; /* it counts down */
}

/* Firmware may have stopped the timer that its own table names. */
static bool counts(void)
{
	u32 start = read_counter();

	for (unsigned int i = 0; i < PM_TIMER_READS; i++)
		if (read_counter() != start)
			return true;
	return false;
}

void time_init(u16 pm_timer_port)
{
	timer.pm_port = pm_timer_port;
	if (pm_timer_port && !counts())
		timer.pm_port = 0;
	if (!timer.pm_port) {
		x86_outb(PIT_GATE, (x86_inb(PIT_GATE) & 0xfc) | 1);
		x86_outb(PIT_CONTROL, PIT_COUNTER2_RATE);
		x86_outb(PIT_COUNTER2, 0);
		x86_outb(PIT_COUNTER2, 0);
	}
	timer.ticks = 0;
	timer.last = read_counter();
}

const char *time_source(void)
{
	return timer.pm_port ? "ACPI PM timer" : "8254 counter 2";
}

u64 time_us(void)
{
	u64 flags = x86_irq_save(); /* interrupt handlers read the time, too */
	u32 now = read_counter();
	u64 ticks;

	timer.ticks += (now - timer.last) & (timer.pm_port ? PM_TIMER_MASK : PIT_MASK);
	timer.last = now;
	ticks = timer.ticks;
	x86_irq_restore(flags);
	return ticks * 1000000 / (timer.pm_port ? PM_TIMER_HZ : PIT_HZ);
}

struct deadline deadline_after_us(u64 us)
{
	return (struct deadline){ time_us() + us };
}

bool deadline_passed(const struct deadline *d)
{
	x86_relax();
	return time_us() >= d->end_us;
}
