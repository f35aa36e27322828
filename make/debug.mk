# SPDX-License-Identifier: BSD-2-Clause
.PHONY: gdb
gdb: $(O)/handoff.efi | setup-gdb ## run under gdb, stopped where first and second begin
	@O='$(O)' tools/gdb
