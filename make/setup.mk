# SPDX-License-Identifier: BSD-2-Clause
# What a target needs is installed before it begins: `target: prerequisites | setup-test`. Not a file, since what is installed
# changes behind make's back; with nothing missing it takes 0.1 s.

SETUPS := $(addprefix setup-,build unit run lab linux test fuzz lint test-browser image gdb all)
.PHONY: $(SETUPS) doctor
$(SETUPS): setup-%:
	@O='$(O)' tools/setup $*

doctor: ## which tools, firmware and KVM this machine has
	@O='$(O)' tools/setup --doctor
