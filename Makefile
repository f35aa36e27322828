# SPDX-License-Identifier: BSD-2-Clause
#
# One Makefile for everything; `make help` lists what it makes. Variables: V=1 shows all, O=dir builds elsewhere,
# CROSS_COMPILE=x86_64-linux-gnu- or CC=clang chooses the compiler, CMDLINE= the options that are built into handoff.efi.

MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

O ?= build
Q := $(if $(V),,@)
# make -s prints nothing
silent = $(findstring s,$(filter-out -%,$(firstword $(MAKEFLAGS))))
say = @$(if $(V)$(silent),:,printf '  %-5s %s\n' $(1) $@)

ifneq ($(filter default undefined,$(origin CC)),)
CC := $(CROSS_COMPILE)gcc
endif
LD := $(CROSS_COMPILE)ld
OBJCOPY := $(CROSS_COMPILE)objcopy
NM := $(CROSS_COMPILE)nm

all: $(O)/handoff.efi ## everything that boots

# --- flags, each odd one with its reason ---

CFLAGS_COMMON := -std=c11 -Oz -g -I. -ffreestanding -MMD -MP
# the same source gives the same bytes wherever it lies
CFLAGS_COMMON += -ffile-prefix-map=$(CURDIR)=.
# no libc that keeps a canary; tables and device memory are read through casts
CFLAGS_COMMON += -fno-stack-protector -fno-strict-aliasing
# interrupt handlers run on the interrupted stack; kexec enters with CR4.OSFXSR clear, where SSE faults
CFLAGS_COMMON += -mno-red-zone -mgeneral-regs-only
# the fault handler walks the frames, and nothing here unwinds
CFLAGS_COMMON += -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fcf-protection=none
# hidden symbols need no GOT; clang needs a flag for those that it only sees declared
CFLAGS_COMMON += -fvisibility=hidden $(if $(findstring clang,$(CC)),-fdirect-access-external-data)
CFLAGS_COMMON += -Wall -Wextra -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wframe-larger-than=2048 -Werror
CFLAGS_IMAGE := $(CFLAGS_COMMON) -fpie
# gcc aligns tables to 32 bytes for vector instructions, which nothing here has
CFLAGS_IMAGE += $(if $(findstring clang,$(CC)),,-malign-data=abi)
LDFLAGS_IMAGE := -T linker.ld -pie --no-dynamic-linker -z pack-relative-relocs -z text -z noexecstack --build-id=none \
	--fatal-warnings --no-undefined --orphan-handling=error

# --- the rooms ---

room = $(wildcard $(1)/*.c $(1)/*.S $(1)/*/*.c)
objects = $(patsubst %,$(O)/$(1)/%.o,$(basename $(2)))

ROOMS := $(call room,lib) $(filter-out boot/efi/% boot/header.S,$(call room,boot)) $(call room,pci) $(call room,irq) $(call room,drivers) \
	$(call room,shutdown) $(call room,startup)
IMAGES := first second
IMAGE_OBJ := $(call objects,image,$(ROOMS) images/kernel.c images/scope.c)
EFI_OBJ := $(call objects,efi,$(call room,lib) boot/image.c boot/memmap.c boot/enter.S $(wildcard boot/efi/*.c))

$(O)/image/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_IMAGE) -c -o $@ $<
$(O)/image/%.o: %.S Makefile
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) $(CFLAGS_IMAGE) -c -o $@ $<

# Registers are 8, 16 and 32 bits wide here, and the difference is what this project is about.
$(O)/image/pci/%.o $(O)/image/shutdown/%.o $(O)/image/startup/%.o: CFLAGS_IMAGE += -Wconversion

# --- images: position-independent, in the boot protocol's format ---

# The preferred address of each; they run at any.
PREF_first := 0x2000000
PREF_second := 0x3000000

HEADERS := $(IMAGES:%=$(O)/image/boot/header-%.o)
$(HEADERS): $(O)/image/boot/header-%.o: boot/header.S Makefile
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) $(CFLAGS_IMAGE) -DIMAGE_NAME='"$*"' -c -o $@ $<

ELFS := $(IMAGES:%=$(O)/%.elf)
$(ELFS): $(O)/%.elf: $(O)/image/boot/header-%.o $(O)/image/images/%.o $(IMAGE_OBJ) linker.ld
	$(call say,LD)
	$(Q)$(LD) $(LDFLAGS_IMAGE) --defsym=image_pref_address=$(PREF_$*) -Map $(O)/$*.map -o $@ $(filter %.o,$^)
	$(Q)! readelf -rW $@ | grep R_X86_64 # the entry code applies packed ones, which are relative and listed without a type

BINS := $(IMAGES:%=$(O)/%.bin)
$(BINS): $(O)/%.bin: $(O)/%.elf
	$(call say,BIN)
	$(Q)$(OBJCOPY) -O binary -R .dynamic -R .dynsym -R .dynstr -R .hash $< $@

# What an image carries for the next images: newc, as Linux's initramfs. `sha256sum -c SHA256SUMS` checks it, and so does the image.
# $(call archive,where to lay it out,images of ours,the archive,other files as NAME/image=FILE)
archive = rm -rf $(1) && mkdir -p $(1) && \
	for file in $(foreach image,$(2),$(basename $(notdir $(image)))/image=$(image)) $(4); do \
		mkdir -p $(1)/$$(dirname $${file%%=*}) && cp $${file\#*=} $(1)/$${file%%=*} || exit; done && \
	cd $(1) && sha256sum */* > SHA256SUMS && find . -exec touch -d @0 {} + && \
	find * | LC_ALL=C sort | cpio --quiet --create --format=newc --reproducible --owner=0:0 > $(abspath $(3))
$(O)/next.cpio: $(O)/second.bin
	$(call say,CPIO)
	$(Q)$(call archive,$(O)/next,$^,$@)

# --- the UEFI loader, and the chain inside it ---

CFLAGS_EFI = $(CFLAGS_COMMON) -fpic $(EFI_CFLAGS)
# ld -shared would accept an undefined memmove silently, and crash at run time
LDFLAGS_EFI = -shared -Bsymbolic -nostdlib -z noexecstack --no-undefined $(EFI_LIB:%=-L%) -T elf_x86_64_efi.lds
SECTIONS_EFI := .text .sdata .data .rodata .dynamic .dynsym .rel .rela .rel.* .rela.* .reloc

$(O)/efi/%.o: %.c Makefile make/efi.mk
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_EFI) -c -o $@ $<
$(O)/efi/%.o: %.S Makefile make/efi.mk
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) $(CFLAGS_EFI) -c -o $@ $<
$(O)/loader.elf: $(EFI_OBJ) boot/efi/entry.ld
	$(call say,LD)
	$(Q)$(LD) $(LDFLAGS_EFI) -o $@ -l:crt0-efi-x86_64.o $^ -l:libgnuefi.a

# Rewritten only when it changes, so that CMDLINE= rebuilds what it must and nothing else.
.PHONY: FORCE
$(O)/cmdline: FORCE
	@mkdir -p $(@D)
	@printf '%s' "$$CMDLINE" | cmp -s - $@ || printf '%s' "$$CMDLINE" > $@

# Section addresses leave room for growth; .initrd is last because a Linux in it takes tens of MiB. $(call efi,the initrd)
efi = $(OBJCOPY) -O efi-app-x86_64 $(addprefix -j ,$(SECTIONS_EFI) .cmdline .linux .initrd) \
	--add-section .cmdline=$(O)/cmdline --change-section-vma .cmdline=0x80000 \
	--add-section .linux=$(O)/first.bin --change-section-vma .linux=0x100000 \
	--add-section .initrd=$(1) --change-section-vma .initrd=0x200000 $< $@
$(O)/handoff.efi: $(O)/loader.elf $(O)/first.bin $(O)/next.cpio $(O)/cmdline
	$(call say,EFI)
	$(Q)$(call efi,$(O)/next.cpio)

# --- what they are for ---

# Of the caller, for tools/handoff and the tests.
export V O QEMU OVMF_CODE OVMF_VARS ACCEL TIMEOUT QEMUFLAGS CMDLINE
CPUS := $(shell nproc)
PYTEST = $(PYTHON) -m pytest -q

.PHONY: run compare test test-python ci docs all clean
run: $(O)/handoff.efi | setup-run ## the story: UEFI, first, shutdown, second, judged from QEMU's trace
	@tools/handoff run
compare: $(O)/handoff.efi | setup-run ## the same load under keep-msi and disable-msi, side by side
	@tools/handoff compare

test: unit fuzz-test test-python ## unit tests, and the real images on QEMU machines
# One process more than there are CPUs: some guests only wait. In this order: the lab uses all CPUs by itself while the rest ends.
test-python: $(O)/handoff.efi claims | setup-test
	@$(PYTEST) -n $$(($(CPUS) + 1)) --dist loadfile tests/guest tests/claims tests/witness

# One after the other: each uses all CPUs.
ci: ## all the rest: lint, the whole lab, Linux on either side, their pages, mutants, the tests that take long, twenty hops, the other compiler, the same bytes again, the disk image
	@+for part in lint lab linux test-linux test-browser mutants test-exhaustive "soak N=20" test-clang test-reproducible image; do \
		$(MAKE) --no-print-directory $$part || exit; done

# What make test samples, all of it: an image cut at every byte of its header and at every page, and what is marked exhaustive.
.PHONY: test-exhaustive
test-exhaustive: $(O)/handoff.efi | setup-test
	@EXHAUSTIVE=1 $(PYTEST) -n $(CPUS) --dist load -m "" -k "truncated or exhaustive" tests/guest

# The other compiler's images must do the same.
.PHONY: test-clang test-reproducible
test-clang: | setup-test setup-lint
	@$(MAKE) --no-print-directory CC=clang O=$(O)/clang all lint-images
	@O=$(O)/clang $(PYTEST) tests/guest/test_keep_msi.py

# A second build, elsewhere: the same bytes.
test-reproducible: $(O)/handoff.efi
	@rm -rf $(O)/again && mkdir -p $(O)/again && git archive HEAD | tar -x -C $(O)/again
	@$(MAKE) --no-print-directory -C $(O)/again O=build all >/dev/null
	@cd $(O) && sha256sum handoff.efi first.bin second.bin next.cpio | (cd again/build && sha256sum -c --quiet -)
	@cd $(O) && sha256sum handoff.efi first.bin second.bin next.cpio

docs: $(O)/handoff.efi docs-lab docs-linux docs-linux-diff | setup-linux ## what the README and the documents in docs/ show, from real runs
	+@tools/transcripts README.md docs/walkthrough.md docs/linux.md docs/bench.md

clean:
	$(Q)rm -rf $(O)

include $(wildcard make/*.mk) tests/unit/unit.mk
# One after the other: each may call the package manager, and make gives the terminal to one of them only.
setup-run: | setup-build
setup-lab: | setup-run
setup-linux: | setup-lab
setup-test: | setup-image setup-lab
setup-fuzz: | setup-test
setup-lint: | setup-fuzz
setup-test-browser: | setup-test
setup-image: | setup-run
$(IMAGE_OBJ) $(EFI_OBJ) $(HEADERS) $(IMAGES:%=$(O)/image/images/%.o): | setup-build
# Alone it needs little; other targets on the command line need the rest.
unit: | $(if $(filter-out unit,$(MAKECMDGOALS)),setup-test,setup-unit)

-include $(shell find $(O)/image $(O)/efi -name '*.d' 2>/dev/null)
