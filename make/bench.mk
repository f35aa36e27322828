# SPDX-License-Identifier: BSD-2-Clause
.PHONY: bench
bench: $(O)/handoff.efi | setup-run ## budgets, measured
	@tools/handoff bench
