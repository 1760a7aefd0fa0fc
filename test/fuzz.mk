# Fuzzing of the plain-C parts with libFuzzer: `make fuzz FUZZ_TIME=30`.
#
# `make fuzz-corpus` only replays the seeds and what was found before.

FUZZ_CC ?= clang
FUZZ_TIME ?= 30
FUZZ_CFLAGS = -std=gnu11 -g -O1 -Wall -Wextra -D_GNU_SOURCE -Isrc -Itest/fuzz \
	-fsanitize=address,undefined -fno-sanitize-recover=all

FUZZ_TARGETS = http \
	jwt \
	key \
	websocket \
	json \
	route \
	rooms \
	sse \
	plane \
	cache \
	cron \
	sched \
	plane_edge \
	response \
	encoding \
	extension \
	target \
	utf8 \
	webhook \
	wire

# What a target links beside the plain-C parts that all have.
FUZZ_WITH_plane_edge = src/edge/calls.c src/edge/call_pieces.c src/edge/timer.c \
	src/edge/token_memory.c src/edge/edge.c
FUZZ_WITH_extension = src/edge/packed.c src/edge/compress.c
FUZZ_WITH_response = src/edge/response.c src/edge/session_frames.c src/edge/edge.c

FUZZ_PROGRAMS = $(addprefix .build/fuzz/fuzz_,$(FUZZ_TARGETS))

.build/fuzz/obj/%.o: %.c $(UNIT_DEPS) test/fuzz/fuzz.h
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -c $< -o $@

.SECONDEXPANSION:
$(FUZZ_PROGRAMS): .build/fuzz/fuzz_%: .build/fuzz/obj/test/fuzz/fuzz_%.o \
		$$(addprefix .build/fuzz/obj/,$(UNIT_PLAIN:.c=.o) $$(FUZZ_WITH_$$*:.c=.o))
	$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer $^ $(UNIT_LIBS) -o $@

# It compares with libcurl's parser of URLs.
.build/fuzz/fuzz_webhook .build/unit/replay_webhook .build/unit-asan/replay_webhook: \
	UNIT_LIBS += -lcurl

.PRECIOUS: .build/fuzz/obj/%.o

.PHONY: fuzz fuzz-corpus

# New inputs stay under .build; the seeds in test/fuzz/corpus are not touched.
# `make -j2 fuzz` runs two at a time.
FUZZ_RUNS = $(addprefix fuzz-run-,$(FUZZ_TARGETS))
.PHONY: $(FUZZ_RUNS)

fuzz: $(FUZZ_RUNS)

$(FUZZ_RUNS): fuzz-run-%: .build/fuzz/fuzz_%
	@mkdir -p .build/fuzz/found/$*
	@.build/fuzz/fuzz_$* -max_total_time=$(FUZZ_TIME) -timeout=5 -rss_limit_mb=1024 \
		-print_final_stats=1 -verbosity=0 -artifact_prefix=.build/fuzz/$*- \
		.build/fuzz/found/$* test/fuzz/corpus/$* 2>.build/fuzz/$*.log || \
		{ cat .build/fuzz/$*.log; exit 1; }
	@echo "fuzz_$* for $(FUZZ_TIME) s: $$(sed -n 's/.*number_of_executed_units: *//p' .build/fuzz/$*.log) inputs"

fuzz-corpus: $(FUZZ_PROGRAMS)
	@for name in $(FUZZ_TARGETS); do \
		.build/fuzz/fuzz_$$name -runs=0 -verbosity=0 test/fuzz/corpus/$$name || exit 1; \
	done

# The same targets without clang: unit tests that replay the corpus and vary it.
REPLAY_PROGRAMS = $(addprefix .build/unit/replay_,$(FUZZ_TARGETS))
REPLAY_ASAN_PROGRAMS = $(addprefix .build/unit-asan/replay_,$(FUZZ_TARGETS))
REPLAY_OBJS = $(UNIT_PLAIN:.c=.o) test/fuzz/replay.o

.build/unit/obj/test/fuzz/%.o .build/unit-asan/obj/test/fuzz/%.o: UNIT_CFLAGS += -Itest/fuzz

$(REPLAY_PROGRAMS): .build/unit/replay_%: .build/unit/obj/test/fuzz/fuzz_%.o \
		$$(addprefix .build/unit/obj/,$(REPLAY_OBJS) $$(FUZZ_WITH_$$*:.c=.o))
	$(UNIT_CC) $^ $(UNIT_LIBS) -o $@
$(REPLAY_ASAN_PROGRAMS): .build/unit-asan/replay_%: .build/unit-asan/obj/test/fuzz/fuzz_%.o \
		$$(addprefix .build/unit-asan/obj/,$(REPLAY_OBJS) $$(FUZZ_WITH_$$*:.c=.o))
	$(UNIT_CC) $(UNIT_ASAN) $^ $(UNIT_LIBS) -o $@

UNIT_PROGRAMS += $(REPLAY_PROGRAMS)
UNIT_ASAN_PROGRAMS += $(REPLAY_ASAN_PROGRAMS)
unit: $(REPLAY_PROGRAMS)
unit-asan: $(REPLAY_ASAN_PROGRAMS)
