# SPDX-License-Identifier: BSD-2-Clause
.PHONY: mutants
mutants: | setup-test ## take out each safeguard in turn: its test must turn red
	@O='$(O)' tools/mutants
