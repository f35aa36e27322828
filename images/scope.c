/* SPDX-License-Identifier: BSD-2-Clause */
#include "images/scope.h"

#include "lib/log.h"
#include "lib/string.h"

struct address {
	u32 segment;
	u16 bdf;
};

/* Reads up to max hexadecimal digits; false when there is none. */
static bool hex(const char **at, int max, u32 *out)
{
	const char *start = *at;

	*out = 0;
	for (; max--; (*at)++) {
		char c = **at;

		if (c >= '0' && c <= '9')
			*out = *out << 4 | (u32)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			*out = *out << 4 | (u32)((c | 0x20) - 'a' + 10);
		else
			break;
	}
	return *at != start;
}

/* [SSSS:]BB:DD.F, as lspci prints it. Leaves *at after the item. */
static bool parse(const char **at, struct address *out)
{
	u32 part[3], device, function;
	int parts = 0;

	do {
		if (!hex(at, 4, &part[parts++]))
			return false;
	} while (parts < 3 && **at == ':' && (*at)++);
	if (parts < 2 || *(*at)++ != '.' || !hex(at, 1, &function))
		return false;
	device = part[parts - 1];
	out->segment = parts == 3 ? part[0] : 0;
	out->bdf = PCI_BDF(part[parts - 2], device, function);
	return part[parts - 2] <= 255 && device < 32 && function < 8;
}

enum status scope_check(const char *list)
{
	while (*list) {
		const char *item = list;
		struct address address;

		if (!parse(&list, &address) || (*list && *list != ',')) {
			log_line("option handoff.allow: \"%s\" is not a list of [SSSS:]BB:DD.F", item);
			return ERR_INVALID;
		}
		if (*list)
			list++;
	}
	return OK;
}

bool scope_listed(const char *list, const struct pci_dev *dev)
{
	struct address address;

	while (parse(&list, &address)) {
		if (address.segment == dev->access->segment && address.bdf == dev->bdf)
			return true;
		if (*list++ != ',')
			break;
	}
	return false;
}

void scope_apply(struct pci *pci, bool in_qemu, bool bound_only, const char *allow)
{
	for (unsigned int i = 0; i < pci->count; i++) {
		struct pci_dev *dev = &pci->dev[i];
		bool allowed = *allow ? scope_listed(allow, dev) : in_qemu;

		if (!allowed)
			dev->driver = NULL;
		dev->read_only = !allowed || (bound_only && !dev->driver);
	}
}
