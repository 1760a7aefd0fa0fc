# Fuzzing of the plain-C parts with libFuzzer: `make fuzz FUZZ_TIME=30`.
#
# `make fuzz-corpus` only replays the seeds and what was found before.

FUZZ_CC ?= clang
FUZZ_TIME ?= 30
FUZZ_CFLAGS = -std=gnu11 -g -O1 -Wall -Wextra -D_GNU_SOURCE -Isrc -Itest/fuzz \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all

FUZZ_TARGETS = http \
	jwt \
	key \
	websocket \
	json \
	route \
	rooms \
	plane

FUZZ_PROGRAMS = $(addprefix .build/fuzz/fuzz_,$(FUZZ_TARGETS))

$(FUZZ_PROGRAMS): .build/fuzz/%: test/fuzz/%.c $(UNIT_PLAIN) $(UNIT_DEPS)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) $< $(UNIT_PLAIN) -o $@

.PHONY: fuzz fuzz-corpus

# New inputs stay under .build; the seeds in test/fuzz/corpus are not touched.
fuzz: $(FUZZ_PROGRAMS)
	@for name in $(FUZZ_TARGETS); do \
		mkdir -p .build/fuzz/found/$$name || exit 1; \
		echo "fuzz_$$name for $(FUZZ_TIME) s"; \
		.build/fuzz/fuzz_$$name -max_total_time=$(FUZZ_TIME) -timeout=5 -rss_limit_mb=1024 \
			-print_final_stats=1 -verbosity=0 -artifact_prefix=.build/fuzz/$$name- \
			.build/fuzz/found/$$name test/fuzz/corpus/$$name 2>.build/fuzz/$$name.log || \
			{ cat .build/fuzz/$$name.log; exit 1; }; \
		grep -a number_of_executed_units .build/fuzz/$$name.log; \
	done

fuzz-corpus: $(FUZZ_PROGRAMS)
	@for name in $(FUZZ_TARGETS); do \
		.build/fuzz/fuzz_$$name -runs=0 -verbosity=0 test/fuzz/corpus/$$name || exit 1; \
	done
