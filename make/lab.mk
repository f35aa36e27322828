# SPDX-License-Identifier: BSD-2-Clause
# The experiments: each tests/claims/NAME.c is an image of its own, as first and second are; each tests/claims/NAME.py judges
# it. $(O)/claims/next.cpio holds those that another hands over to.
CLAIMS := $(patsubst tests/claims/%.c,%,$(filter-out tests/claims/lab.c,$(wildcard tests/claims/*.c)))
CLAIMS_BIN := $(CLAIMS:%=$(O)/claims/%.bin)
CLAIMS_NEXT := $(filter in%,$(CLAIMS))

$(CLAIMS:%=$(O)/image/boot/header-%.o): $(O)/image/boot/header-%.o: boot/header.S Makefile
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) $(CFLAGS_IMAGE) -DIMAGE_NAME='"$*"' -c -o $@ $<

CLAIMS_ELF := $(CLAIMS:%=$(O)/claims/%.elf)
$(CLAIMS_ELF): $(O)/claims/%.elf: $(O)/image/boot/header-%.o $(O)/image/tests/claims/%.o $(O)/image/tests/claims/lab.o $(IMAGE_OBJ) linker.ld
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(LD) $(LDFLAGS_IMAGE) --defsym=image_pref_address=$(if $(filter $(CLAIMS_NEXT),$*),$(PREF_second),$(PREF_first)) -o $@ $(filter %.o,$^)
# Where its second CPU begins.
$(O)/claims/c05_two_cpus.elf: $(O)/image/tests/claims/c05_trampoline.o

$(CLAIMS_BIN): $(O)/%.bin: $(O)/%.elf
	$(call say,BIN)
	$(Q)$(OBJCOPY) -O binary -R .dynamic -R .dynsym -R .dynstr -R .hash $< $@

$(O)/claims/next.cpio: $(CLAIMS_NEXT:%=$(O)/claims/%.bin)
	$(call say,CPIO)
	$(Q)$(call archive,$(O)/claims/next,$^,$@)

.PHONY: claims lab docs-lab
claims: $(O)/handoff.efi $(CLAIMS_BIN) $(O)/claims/next.cpio
lab: claims | setup-lab ## every claim and every limit of the patch, measured; ONLY=c06: one, REPEAT=20: so often
	@tools/handoff lab
docs-lab: claims | setup-lab ## docs/lab.md, from a run of everything
	@tools/handoff lab --document

$(CLAIMS:%=$(O)/image/tests/claims/%.o) $(O)/image/tests/claims/lab.o: | setup-build
