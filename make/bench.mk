# SPDX-License-Identifier: BSD-2-Clause
# Without a Linux the rest is measured all the same, and the result says so. A Linux that was fetched and is broken is an error.
.PHONY: bench
bench: $(O)/handoff.efi | setup-run ## budgets, measured, and the same of Debian's Linux for comparison
	@+! $(MAKE) --no-print-directory $(LINUX)/packages/fetched >&2 || $(MAKE) --no-print-directory linux-parts >&2
	@tools/handoff bench
