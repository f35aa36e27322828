# SPDX-License-Identifier: BSD-2-Clause
# Fuzzing: the production C under libFuzzer, with sanitizers. Each tests/fuzz/fuzz_NAME.c is one fuzzer; the files of
# tests/fuzz/corpus/fuzz_NAME/ together reach all that it can. An input that fails is kept in $(O)/fuzz/findings/;
# to see it again: $(O)/fuzz/fuzz_NAME FILE
FUZZ_O := $(O)/fuzz
FUZZ_CC ?= clang
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ ?= $(FUZZERS)
$(if $(filter-out $(FUZZERS),$(FUZZ)),$(error FUZZ=$(FUZZ): there are $(FUZZERS)))
TIME ?= 60
$(if $(shell echo '$(TIME)' | grep -vxE '[1-9][0-9]*'),$(error TIME=$(TIME): not a number of seconds))
FUZZ_RUNS := 2000

# What is fuzzed, and how much of it the corpus alone has to reach: percent of the lines.
FUZZ_SRC := $(filter-out pci/access.c,$(wildcard pci/*.c shutdown/*.c startup/*.c)) \
	$(addprefix boot/,acpi.c bootparam.c chain.c cpio.c image.c memmap.c options.c sha256.c)
FUZZ_COVERAGE := 95
# What that calls; and what it uses of the unit tests.
FUZZ_MORE := lib/format.c lib/log.c lib/string.c lib/time.c
FUZZ_SHARED := tests/fuzz/fuzz.c tests/unit/fake_x86.c tests/unit/build_cpio.c

FUZZ_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -g -O1 -Wall -Wextra -Wshadow -Werror -MMD -MP \
	-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# The rooms declare the C library's functions themselves, as the images do. Only they guide the fuzzer, and only they are measured.
# The depth of the stack does not guide: it depends on where the stack begins, and no run would be the same as another.
FUZZ_CFLAGS_ROOMS = $(FUZZ_CFLAGS) -ffreestanding -fno-strict-aliasing \
	-fsanitize=fuzzer-no-link -fno-sanitize-coverage=stack-depth \
	-fprofile-instr-generate=/dev/null -fcoverage-mapping -fcoverage-compilation-dir=.

FUZZ_OBJ := $(patsubst %.c,$(FUZZ_O)/%.o,$(FUZZ_SRC) $(FUZZ_MORE))
FUZZ_SHARED_OBJ := $(FUZZ_SHARED:%.c=$(FUZZ_O)/%.o)
FUZZERS_OBJ := $(FUZZERS:%=$(FUZZ_O)/tests/fuzz/%.o)

# As in the unit tests: string.c's mem* and str* get names of their own. The measurement knows a static function by the file's name,
# and each policy has its apply().
$(FUZZ_O)/lib/string.o: FUZZ_CFLAGS_ROOMS += -include tests/unit/string_names.h
$(FUZZ_OBJ): $(FUZZ_O)/%.o: %.c make/fuzz.mk | setup-fuzz
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(FUZZ_CFLAGS_ROOMS) -Xclang -main-file-name -Xclang $< -c -o $@ $<
$(FUZZ_SHARED_OBJ) $(FUZZERS_OBJ): $(FUZZ_O)/%.o: %.c make/fuzz.mk | setup-fuzz
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(FUZZ_CFLAGS) -c -o $@ $<
$(FUZZ_O)/fuzz.a: $(FUZZ_OBJ) $(FUZZ_SHARED_OBJ)
	@rm -f $@ && ar rcs $@ $^
$(FUZZERS:%=$(FUZZ_O)/%): $(FUZZ_O)/%: $(FUZZ_O)/tests/fuzz/%.o $(FUZZ_O)/fuzz.a
	@$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -fprofile-instr-generate -o $@ $^ -lcmocka
-include $(patsubst %.o,%.d,$(FUZZ_OBJ) $(FUZZ_SHARED_OBJ) $(FUZZERS_OBJ))

# A fuzzer in a recipe whose stem is its name: the name of this run, arguments. Prints what libFuzzer counted, or what it found.
fuzz_run = mkdir -p $(FUZZ_O)/findings $(FUZZ_O)/corpus/$* && \
	if LLVM_PROFILE_FILE=$(FUZZ_O)/$*.$(1).profraw ASAN_OPTIONS=quarantine_size_mb=16 $< -timeout=10 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_O)/findings/$*- $(2) >$(FUZZ_O)/$*.$(1).log 2>&1; \
	then awk '/^stat::number_of_executed_units/ { n = $$2 } \
		/^stat::average_exec_per_sec/ && $$2 { rate = ", " $$2 " a second" } \
		END { printf "  FUZZ  %-22s %d inputs%s, none fails\n", "$*", n, rate }' $(FUZZ_O)/$*.$(1).log; \
	else sed -n '/does not hold\|ERROR\|runtime error\|^ALARM/,$$p' $(FUZZ_O)/$*.$(1).log; echo "  FUZZ  $*: FAILED"; exit 1; fi

# Lines reached: the name of the runs, the fuzzers, the least percentage.
fuzz_coverage = llvm-profdata merge -sparse -o $(FUZZ_O)/$(1).profdata $(2:%=$(FUZZ_O)/%.$(1).profraw) && \
	llvm-cov report -compilation-dir=$(CURDIR) -instr-profile=$(FUZZ_O)/$(1).profdata $(FUZZ_O)/$(firstword $(2)) \
		$(patsubst %,-object $(FUZZ_O)/%,$(wordlist 2,99,$(2))) $(FUZZ_SRC) | \
	awk '$$10 ~ /%$$/ { printf "  FUZZ  %-22s %7s of %4d lines\n", $$1, $$10, $$8; total = $$10 + 0 } \
		END { if (total < $(3)) { print "  FUZZ  below $(3) %: FAILED"; exit 1 } }'

# The committed corpus is replayed and measured; then a short run that is the same each time: from the same seed, from the same
# files in the same order, without a look at operands of comparisons, among which are addresses.
.PHONY: fuzz-test $(addprefix fuzz-test-,$(FUZZERS))
fuzz-test: $(addprefix fuzz-test-,$(FUZZERS)) ## the fuzzers' corpus, what it reaches, and a short run
	@$(call fuzz_coverage,test,$(FUZZERS),$(FUZZ_COVERAGE))
$(addprefix fuzz-test-,$(FUZZERS)): fuzz-test-%: $(FUZZ_O)/%
	@( $(call fuzz_run,test,-runs=0 tests/fuzz/corpus/$*) ) >$(FUZZ_O)/$*.replay || { cat $(FUZZ_O)/$*.replay; exit 1; }
	@$(call fuzz_run,short,-runs=$(FUZZ_RUNS) -seed=1 -use_cmp=0 \
		-seed_inputs=$$(printf '%s\n' tests/fuzz/corpus/$*/* | paste -sd,))

# Inputs that reach something new are kept in $(O)/fuzz/corpus/. -k: what one finds must not stop the others.
.PHONY: fuzz $(addprefix fuzz-run-,$(FUZZERS))
fuzz: ## fuzzes for TIME=60 seconds each; FUZZ=fuzz_cpio: one of them
	@+$(MAKE) --no-print-directory -k $(addprefix fuzz-run-,$(FUZZ))
	@$(call fuzz_coverage,long,$(FUZZ),0)
$(addprefix fuzz-run-,$(FUZZERS)): fuzz-run-%: $(FUZZ_O)/%
	@$(call fuzz_run,long,-max_total_time=$(TIME) $(FUZZ_O)/corpus/$* tests/fuzz/corpus/$*)

# Of what long runs have found, the smallest that reach what the committed corpus does not.
.PHONY: fuzz-corpus $(addprefix fuzz-corpus-,$(FUZZERS))
fuzz-corpus: $(addprefix fuzz-corpus-,$(FUZZ)) ## adds to the corpus what make fuzz has found
$(addprefix fuzz-corpus-,$(FUZZERS)): fuzz-corpus-%: $(FUZZ_O)/%
	@$(call fuzz_run,merge,-merge=1 -use_counters=0 tests/fuzz/corpus/$* $(FUZZ_O)/corpus/$*) >/dev/null
