/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/log.h"
#include "lib/format.h"
#include "pci/dev.h"

void pci_line(const struct pci_dev *dev, const char *fmt, ...)
{
	char prefix[sizeof("pci 0000:00:00.0 ")];
	va_list args;

	format(prefix, sizeof(prefix), "pci " PCI_FMT " ", PCI_ARGS(dev));
	va_start(args, fmt);
	log_line_va(prefix, fmt, args);
	va_end(args);
}
