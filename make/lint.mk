# SPDX-License-Identifier: BSD-2-Clause
# All checks of the sources that need not run them. Each is a target of its own, prints one line when it passes, and can run in
# parallel with the others.

PYTHON ?= /usr/bin/python3
CPUS := $(shell nproc)
LINTS := $(addprefix lint-,rooms layers headers policies images docs errors format tidy cppcheck shell python mutants spdx)
linted = @printf '  LINT  %s\n' $(@:lint-%=%)

# The files of the tree, committed or not yet; and those of them that are scripts of this interpreter.
files = git ls-files --cached --others --exclude-standard -- $(1) | while read -r f; do [ ! -f "$$f" ] || echo "$$f"; done
scripts = $(call files) | xargs awk 'FNR == 1 && /^\#!.*$(1)/ { print FILENAME } { nextfile }'
python = { $(call files,'*.py'); $(call scripts,python3$$); } | sort -u

C_ROOMS := lib boot pci irq drivers shutdown startup images
lint_files = $(filter-out boot/efi/%,$(foreach room,$(C_ROOMS),$(wildcard $(room)/*.$(1) $(room)/*/*.$(1))))
# clang-tidy is clang, which does not know all of gcc's options.
LINT_CFLAGS = $(filter-out -MMD -MP -malign-data=%,$(CFLAGS_IMAGE))
LINT_CFLAGS_EFI = $(filter-out -MMD -MP,$(CFLAGS_EFI))
# A command for each of these files, as many at once as there are CPUs; {} is the file.
each = printf '%s\n' $(1) | xargs -P $(CPUS) -I{}

.PHONY: lint $(LINTS)
lint: $(LINTS) ## all checks of the sources
$(LINTS): | setup-lint

lint-rooms:
	@tools/lint/rooms
	$(linted)

lint-layers:
	@tools/lint/layers
	$(linted)

# Each header compiles alone.
lint-headers:
	@$(call each,$(call lint_files,h)) $(CC) $(LINT_CFLAGS) -fsyntax-only -include {} -x c /dev/null
	@$(call each,$(wildcard boot/efi/*.h)) $(CC) $(LINT_CFLAGS_EFI) -fsyntax-only -include {} -x c /dev/null
	$(linted)

.PHONY: patch
patch: ## the patch that this project proves: from one policy to the other
	@tools/patch

lint-policies: $(patsubst %.c,$(O)/image/%.o,$(wildcard shutdown/*.c startup/*.c))
	@tools/lint/policies $(O)/image
	$(linted)

# Small, and without the registers that the images neither save nor enable.
IMAGE_MAX := 65536
lint-images: $(O)/first.bin $(O)/second.bin
	@for image in $^; do \
		[ $$(stat -c %s $$image) -le $(IMAGE_MAX) ] || { echo "$$image is larger than $(IMAGE_MAX) bytes"; exit 1; }; \
		! objdump -d $${image%.bin}.elf | grep -E '%([xyz]?mm[0-9]|st\b)' || exit 1; \
	done
	$(linted)

.PHONY: format
format: | setup-lint ## format all C as lint requires
	$(Q)$(call files,'*.c' '*.h') | xargs clang-format -i

lint-format:
	@$(call files,'*.c' '*.h') | xargs clang-format --dry-run -Werror
	$(linted)

lint-tidy:
	@$(call each,$(call lint_files,c)) clang-tidy --quiet {} -- $(LINT_CFLAGS) 2>/dev/null
	@$(call each,$(wildcard boot/efi/*.c)) clang-tidy --quiet {} -- $(LINT_CFLAGS_EFI) 2>/dev/null
	$(linted)

# start.c subtracts the linker's symbols.
lint-cppcheck:
	@cppcheck --quiet -j $(CPUS) --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppress=comparePointers:boot/start.c -I. $(C_ROOMS)
	$(linted)

lint-docs:
	@tools/lint/docs
	$(linted)

# Every message that is an error is in docs/errors.md.
lint-errors:
	@tools/lint/errors
	$(linted)

# Linux's busybox has dash's language; the files that its init sources have no #! line.
lint-shell:
	@$(call scripts,sh$$) | xargs shellcheck
	@$(call files,tests/linux/guest/scripts) | xargs shellcheck --shell=dash
	$(linted)

lint-python:
	@$(python) | xargs $(PYTHON) -m flake8
	@$(python) | xargs $(PYTHON) -m mypy --cache-dir $(O)/mypy --no-error-summary
	$(linted)

# A mutant moves with its safeguard: a patch that no longer applies proves nothing.
lint-mutants:
	@bad=; for patch in tests/mutants/*.patch; do git apply --check "$$patch" || bad=1; done; [ -z "$$bad" ]
	$(linted)

# The licence itself needs none; JSON and the fuzzers' inputs can hold none.
lint-spdx:
	@missing=$$($(call files) | grep -vE '^LICENSE$$|\.json$$|^tests/fuzz/corpus/' | xargs grep -LI 'SPDX-License-Identifier: BSD-2-Clause'); \
		[ -z "$$missing" ] || { echo "no SPDX line in: $$missing"; exit 1; }
	$(linted)
