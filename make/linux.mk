# SPDX-License-Identifier: BSD-2-Clause
# A real Linux on either side of the handoff: Debian's kernel, kexec and busybox, fetched as packages and unpacked; none is installed.
LINUX := $(O)/linux
LINUX_PACKAGES := linux-image-cloud-amd64 kexec-tools busybox-static

$(LINUX)/packages/fetched: | setup-linux
	@O='$(O)' tools/setup --fetch $(@D) $(LINUX_PACKAGES)
	@touch $@

$(LINUX)/root/unpacked: $(LINUX)/packages/fetched
	$(call say,DEB)
	$(Q)rm -rf $(@D) && mkdir -p $(@D)
	$(Q)for package in $(LINUX)/packages/*.deb; do dpkg-deb -x $$package $(@D) || exit; done
	@touch $@

$(LINUX)/vmlinuz: $(LINUX)/root/unpacked
	$(Q)cp $(LINUX)/root/boot/vmlinuz-* $@ && touch $@

$(LINUX)/initrd: $(LINUX)/root/unpacked tools/linux-initrd $(wildcard tests/linux/guest/* tests/linux/guest/*/*)
	$(call say,INITRD)
	$(Q)tools/linux-initrd $(LINUX)/root $@

# What first carries: second, and Linux with its own initrd.
$(LINUX)/next.cpio: $(O)/second.bin $(LINUX)/vmlinuz $(LINUX)/initrd
	$(call say,CPIO)
	$(Q)$(call archive,$(LINUX)/next,$<,$@,linux/image=$(LINUX)/vmlinuz linux/initrd=$(LINUX)/initrd)

$(LINUX)/handoff.efi: $(O)/loader.elf $(O)/first.bin $(LINUX)/next.cpio $(O)/cmdline
	$(call say,EFI)
	$(Q)$(call efi,$(LINUX)/next.cpio)

.PHONY: linux linux-parts
linux-parts: $(LINUX)/handoff.efi $(O)/handoff.efi
linux: linux-parts | setup-linux ## Debian's Linux before and behind the handoff, and the patch's own example on it; ONLY=k01: one
	@tools/handoff linux
