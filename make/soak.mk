# SPDX-License-Identifier: BSD-2-Clause
# TIMEOUT= is here the time for one hop.
N ?= 100

.PHONY: soak
soak: $(O)/handoff.efi | setup-run ## N=100 hops in one boot, judged as they come
	@tools/handoff soak --hops='$(N)'
