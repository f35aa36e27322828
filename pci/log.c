/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/log.h"
#include "lib/format.h"
#include "pci/dev.h"

void pci_line(const struct pci_dev *dev, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list args;

	va_start(args, fmt);
	format_va(text, sizeof(text), fmt, args);
	va_end(args);
	log_line("pci " PCI_FMT " %s", PCI_ARGS(dev), text);
}
