/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_E1000E_H
#define DRIVERS_E1000E_H

#include "drivers/driver.h"

/*
 * Intel's 82574L gigabit controller (datasheet 317694), a network card that has all three kinds of interrupts: one MSI-X vector for
 * every cause; else MSI, else INTx. Its work is an ARP probe and its reply. In flight at a handoff are receive buffers and another
 * probe, whose reply may come at any time.
 */
extern const struct driver e1000e_driver;

#endif
