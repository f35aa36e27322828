/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_PORT_H
#define DRIVERS_PORT_H

#include "drivers/driver.h"

/*
 * A hot-plug capable PCIe port (root or downstream). Each write to its Slot Control is a command that it reports as completed, by
 * interrupt (PCIe 6.7.3.2): so a port needs neither memory nor DMA to show how it interrupts. Ports have MSI of 32 or 64 bits, with
 * and without per-vector masking, with several vectors, and with MSI-X. Its second source is Advanced Error Reporting (PCIe
 * 6.2.4.1.2), which takes a vector of its own where there are two.
 */
extern const struct driver pcie_port_driver;

#endif
