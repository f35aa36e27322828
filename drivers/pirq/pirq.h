/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_PIRQ_H
#define DRIVERS_PIRQ_H

#include "drivers/driver.h"

/*
 * The PIRQ router in the ISA bridges of QEMU's machines (ICH9 LPC, PIIX3): which 8259 line each of a chipset's PIRQ wires is routed
 * to. Firmware programs it and writes it to the functions (Interrupt Line); Linux's ACPI disables it again (_DIS leaves bit 7 set),
 * so after Linux no INTx reaches the 8259 until a driver enables it.
 */
extern const struct driver pirq_driver;

#endif
