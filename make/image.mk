# SPDX-License-Identifier: BSD-2-Clause
.PHONY: image
image: $(O)/handoff.img ## build/handoff.img, a bootable disk image for a USB stick

$(O)/handoff.img: $(O)/handoff.efi tools/mkimage | setup-image
	$(call say,IMG)
	$(Q)tools/mkimage $< $@
	@echo '  to a stick, whose content is lost: dd if=$@ of=/dev/sdX bs=1M conv=fsync'
