# SPDX-License-Identifier: BSD-2-Clause
# A real Linux on either side of the handoff: Debian's kernel, kexec and busybox, fetched as packages and unpacked; none is installed.
# They are fetched once: `rm -rf build/linux` makes the next run fetch what Debian has then.
LINUX := $(O)/linux

$(LINUX)/packages/fetched: | setup-linux
	@O='$(O)' tools/setup --fetch $(@D)

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

.PHONY: linux linux-parts linux-diff docs-linux docs-linux-diff test-linux
linux-parts: $(LINUX)/handoff.efi $(O)/handoff.efi $(O)/claims/in.bin
linux: linux-parts | setup-linux ## Debian's Linux before and after the handoff, and the patch's own example on it; ONLY=k01: one, REPEAT=20
	@tools/handoff linux
linux-diff: linux-parts | setup-linux ## register writes of Linux and of ours at a handoff, to one function; FUNCTION=00:06.0: to another
	@tools/handoff linux-diff
docs-linux-diff: linux-parts | setup-linux ## docs/linux-diff.md, from a run
	@tools/handoff linux-diff --document
docs-linux: linux-parts | setup-linux ## docs/linux.md, from a run of everything
	@tools/handoff linux --document
# What takes a Linux and is no experiment.
test-linux: linux-parts | setup-linux setup-test ## kernels that cannot be started, and Linux's columns of bench and diff
	@$(PYTEST) -n $(CPUS) --dist loadfile tests/linux
