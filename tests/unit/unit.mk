# SPDX-License-Identifier: BSD-2-Clause
# Host unit tests: the production C of every room, with sanitizers, against the fakes of this folder.
#   make unit                                     from the top Makefile, which includes this file
#   make -f tests/unit/unit.mk unit O=build       alone
# Each tests/unit/test_NAME.c is one program; everything else here is linked to all of them.
O ?= build
HOSTCC ?= gcc
include make/efi.mk
UNIT_O := $(O)/unit

# Not for the host: instructions of ring 0 (x86.c has a fake), the images' start, and what only they call.
UNIT_ROOMS = lib/*.c boot/*.c boot/efi/*.c pci/*.c irq/*.c drivers/*.c drivers/*/*.c shutdown/*.c startup/*.c images/scope.c
UNIT_SRC := $(filter-out lib/x86.c boot/start.c boot/paging.c irq/idt.c irq/fault.c,$(wildcard $(UNIT_ROOMS)))
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_SHARED := $(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
UNIT_OBJ := $(UNIT_SRC:%.c=$(UNIT_O)/%.o)
UNIT_SHARED_OBJ := $(UNIT_SHARED:%.c=$(UNIT_O)/%.o)

UNIT_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -g -O1 -Wall -Wextra -Wshadow -Werror -MMD -MP \
	-fsanitize=address,undefined -fno-sanitize-recover -fno-omit-frame-pointer
# The rooms declare the C library's functions themselves, as the images do.
UNIT_CFLAGS_ROOMS = $(UNIT_CFLAGS) -ffreestanding -fno-strict-aliasing

# What uses UEFI is compiled as the loader is: 16 bits a character, and services with their own calling convention.
UNIT_EFI := $(filter boot/efi/%,$(UNIT_SRC)) $(addprefix tests/unit/,fake_efi.c test_firmware.c test_loader.c)
$(UNIT_EFI:%.c=$(UNIT_O)/%.o): UNIT_CFLAGS += $(EFI_CFLAGS)

# -k: one red test must not hide another. -j, unless the caller has set it.
.PHONY: unit
unit:
	@+$(MAKE) --no-print-directory -k -O $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc)) \
		-f tests/unit/unit.mk unit-run O=$(O) HOSTCC=$(HOSTCC)

.PHONY: unit-run $(UNIT_TESTS:%=unit-run-%)
unit-run: $(UNIT_TESTS:%=unit-run-%)

# The last lines of cmocka, where it passed; all of it, where it did not. A test takes a second; one that hangs must not hang all.
$(UNIT_TESTS:%=unit-run-%): unit-run-%: $(UNIT_O)/%
	@if timeout 60 $< >$<.log 2>&1; then sed -n '/PASSED/,$$s/^/  UNIT $*: /p' $<.log; else cat $<.log; echo "  UNIT $*: FAILED"; exit 1; fi

$(UNIT_TESTS:%=$(UNIT_O)/%): $(UNIT_O)/%: $(UNIT_O)/tests/unit/%.o $(UNIT_SHARED_OBJ) $(UNIT_O)/rooms.a
	@$(HOSTCC) $(UNIT_CFLAGS) -o $@ $^ -lcmocka

$(UNIT_O)/rooms.a: $(UNIT_OBJ)
	@rm -f $@ && ar rcs $@ $^

$(UNIT_O)/tests/unit/%.o: tests/unit/%.c
	@mkdir -p $(@D)
	@$(HOSTCC) $(UNIT_CFLAGS) -c -o $@ $<

# Its mem* and str* get names of their own; all other files use the C library's.
$(UNIT_O)/lib/string.o: lib/string.c
	@mkdir -p $(@D)
	@$(HOSTCC) $(UNIT_CFLAGS_ROOMS) -include tests/unit/string_names.h -c -o $@ $<

$(filter-out $(UNIT_O)/lib/string.o,$(UNIT_OBJ)): $(UNIT_O)/%.o: %.c
	@mkdir -p $(@D)
	@$(HOSTCC) $(UNIT_CFLAGS_ROOMS) -c -o $@ $<

# test_regs: every name in pci/regs.h with its value, as that header and as Linux's defines it.
UNIT_REGS = printf '%s\n' '/* Made by tests/unit/unit.mk from pci/regs.h. */' '\#include <$(1)>' '\#include "tests/unit/regs.h"' \
	'const struct reg $(2)[] = {'; \
	awk '/^\#define[ \t]+PCI_[A-Z0-9_]+[ \t]+[^ \t]/ { \
		printf "\#ifdef %s\n\t{ \"%s\", %s },\n\#else\n\t{ \"%s\", REG_ABSENT },\n\#endif\n", $$2, $$2, $$2, $$2 }' pci/regs.h; \
	printf '%s\n' '	{ NULL, 0 }' '};'
$(UNIT_O)/regs_ours.c: pci/regs.h tests/unit/unit.mk
	@mkdir -p $(@D)
	@{ $(call UNIT_REGS,pci/regs.h,regs_ours); } >$@
$(UNIT_O)/regs_linux.c: pci/regs.h tests/unit/unit.mk
	@mkdir -p $(@D)
	@{ $(call UNIT_REGS,linux/pci_regs.h,regs_linux); } >$@
$(UNIT_O)/regs_%.o: $(UNIT_O)/regs_%.c tests/unit/regs.h
	@$(HOSTCC) $(UNIT_CFLAGS) -c -o $@ $<
$(UNIT_O)/test_regs: $(UNIT_O)/regs_ours.o $(UNIT_O)/regs_linux.o

-include $(UNIT_OBJ:.o=.d) $(UNIT_SHARED_OBJ:.o=.d) $(UNIT_TESTS:%=$(UNIT_O)/tests/unit/%.d)
.SECONDARY:
