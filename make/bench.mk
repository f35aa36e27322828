# SPDX-License-Identifier: BSD-2-Clause
# Where there is no Linux to be had, what needs none is measured all the same, and the result says so. What is wrong with one that
# was fetched is an error.
.PHONY: bench
bench: $(O)/handoff.efi | setup-run ## budgets, measured, and the same of Debian's Linux beside it
	@+! $(MAKE) --no-print-directory $(LINUX)/packages/fetched >&2 || $(MAKE) --no-print-directory linux-parts >&2
	@tools/handoff bench
