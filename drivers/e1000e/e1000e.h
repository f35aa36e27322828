/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_E1000E_H
#define DRIVERS_E1000E_H

#include "drivers/driver.h"

/*
 * Intel's 82574L gigabit controller (datasheet 317694), a network card that has all three kinds of interrupts: one MSI-X vector for
 * every cause; else MSI, else INTx. Its work is an ARP probe out and the answer in. In flight at a handoff are receive buffers and
 * another probe, whose answer comes when it likes.
 */
extern const struct driver e1000e_driver;

#endif
