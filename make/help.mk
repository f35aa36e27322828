# SPDX-License-Identifier: BSD-2-Clause
# The list is taken from the makefiles: `target: prerequisites ## description`.

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z][a-z-]*):[^#=]*## (.*)/  make \1@\2/p' $(MAKEFILE_LIST) | sort -u | awk -F@ '{ printf "%-23s %s\n", $$1, $$2 }'
	@printf '%s\n' '' 'Variables:' \
		'  V=1              show the commands, and the whole report of run and compare' \
		'  O=dir            build in dir instead of build/' \
		'  CROSS_COMPILE=   prefix of the compiler, such as x86_64-linux-gnu-; or CC=clang' \
		'  EFI_INCLUDE=     GNU-EFI'"'"'s headers            EFI_LIB=               its libraries' \
		'  CMDLINE=         options, such as "handoff.shutdown=disable-msi handoff.next=second,second"' \
		'  QEMU=            the emulator                 OVMF_CODE= OVMF_VARS=  the firmware' \
		'  ACCEL=tcg        the accelerator              TIMEOUT=               seconds for one run' \
		'  QEMUFLAGS=       appended to QEMU'"'"'s command line' \
		'  ONLY= REPEAT=1   of make lab: which, such as c03,l02 or matrix or keep-msi/none/edu; how often' \
		'                   of make linux: which, such as k01,k04; how often' \
		'  FUNCTION=00:03.0 of make linux-diff' \
		'  N=100            hops of make soak' \
		'  TIME=60 FUZZ=    seconds for each fuzzer of make fuzz, and which' \
		'  NO_INSTALL=1     say which packages are missing instead of installing them'
