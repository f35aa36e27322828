# SPDX-License-Identifier: BSD-2-Clause
MAKEFLAGS += -r
O ?= build
Q := $(if $(V),,@)
say := @$(if $(V),:,echo '  ')
CC := $(CROSS_COMPILE)gcc
LD := $(CROSS_COMPILE)ld
OBJCOPY := $(CROSS_COMPILE)objcopy

CFLAGS_COMMON = -std=c11 -O2 -g -I. -ffreestanding -fno-stack-protector -fno-strict-aliasing -mno-red-zone -mgeneral-regs-only \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fcf-protection=none -fvisibility=hidden \
	-Wall -Wextra -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wframe-larger-than=2048 -Werror -MMD -MP
CFLAGS_IMAGE = $(CFLAGS_COMMON) -fpie -mcmodel=small
LDFLAGS_IMAGE = -pie --no-dynamic-linker -z text -z noexecstack -T linker.ld --fatal-warnings --no-undefined --build-id=none

room = $(wildcard $(1)/*.c $(1)/*.S $(1)/*/*.c)
IMAGE_SRC = $(call room,lib) $(filter-out boot/efi/% boot/header.S,$(call room,boot)) $(call room,pci) $(call room,irq) \
	$(call room,drivers) $(call room,shutdown) $(call room,startup) images/kernel.c images/scope.c
IMAGE_OBJ = $(patsubst %,$(O)/image/%.o,$(basename $(IMAGE_SRC)))

all: $(O)/handoff.efi

$(O)/image/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS_IMAGE) -c -o $@ $<
$(O)/image/%.o: %.S
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS_IMAGE) -c -o $@ $<
$(O)/image/boot/header-%.o: boot/header.S
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS_IMAGE) -DIMAGE_NAME='"$*"' -c -o $@ $<

PREF_first = 0x2000000
PREF_second = 0x3000000
$(O)/%.elf: $(O)/image/boot/header-%.o $(O)/image/images/%.o $(IMAGE_OBJ) linker.ld
	$(say) LD $@
	$(Q)$(LD) $(LDFLAGS_IMAGE) --defsym=image_pref_address=$(PREF_$*) -Map $(O)/$*.map -o $@ $(filter %.o,$^)
$(O)/%.bin: $(O)/%.elf
	$(say) BIN $@
	$(Q)$(OBJCOPY) -O binary -R .dynamic -R .dynsym -R .dynstr -R .hash $< $@

# --- the UEFI loader ---
EFI_CFLAGS = $(CFLAGS_COMMON) -fpic -fshort-wchar -DGNU_EFI_USE_MS_ABI -isystem /usr/include/efi -isystem /usr/include/efi/x86_64
EFI_LDFLAGS = -shared -Bsymbolic -nostdlib -z noexecstack --no-undefined -T $(EFI_LIB)/elf_x86_64_efi.lds
EFI_LIB = /usr/lib
EFI_SRC = $(call room,lib) boot/image.c boot/memmap.c boot/enter.S boot/efi/loader.c boot/efi/firmware.c
EFI_OBJ = $(patsubst %,$(O)/efi/%.o,$(basename $(EFI_SRC)))
EFI_SECTIONS = .text .sdata .data .rodata .dynamic .dynsym .rel .rela .rel.* .rela.* .reloc

$(O)/efi/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(EFI_CFLAGS) -c -o $@ $<
$(O)/efi/%.o: %.S
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(EFI_CFLAGS) -c -o $@ $<
$(O)/loader.so: $(EFI_OBJ)
	$(say) LD $@
	$(Q)$(LD) $(EFI_LDFLAGS) -o $@ $(EFI_LIB)/crt0-efi-x86_64.o $^ $(EFI_LIB)/libgnuefi.a
$(O)/loader.efi: $(O)/loader.so
	$(say) EFI $@
	$(Q)$(OBJCOPY) $(addprefix -j ,$(EFI_SECTIONS)) --target efi-app-x86_64 $< $@

# newc, as Linux's initramfs; SHA256SUMS is what `sha256sum -c` reads
$(O)/next.cpio: $(O)/second.bin
	$(say) CPIO $@
	$(Q)rm -rf $(O)/next && mkdir -p $(O)/next/second && cp $(O)/second.bin $(O)/next/second/image
	$(Q)cd $(O)/next && sha256sum second/image > SHA256SUMS
	$(Q)cd $(O)/next && printf '%s\n' SHA256SUMS second second/image | cpio --quiet -o -H newc --reproducible -R 0:0 > ../next.cpio
$(O)/cmdline: 
	$(Q)printf '%s' '$(CMDLINE)' > $@
$(O)/handoff.efi: $(O)/loader.efi $(O)/first.bin $(O)/next.cpio $(O)/cmdline
	$(say) EFI $@
	$(Q)$(OBJCOPY) --add-section .linux=$(O)/first.bin --change-section-vma .linux=0x100000 \
		--add-section .initrd=$(O)/next.cpio --change-section-vma .initrd=0x200000 \
		--add-section .cmdline=$(O)/cmdline --change-section-vma .cmdline=0x80000 $< $@

-include $(shell find $(O) -name '*.d' 2>/dev/null)
.SECONDARY:
