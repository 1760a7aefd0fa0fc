# Unit tests of the plain-C parts: `make unit`, `make unit-asan`.
#
# Each test/unit/<name>.c is a program that prints TAP.  It is linked with the
# plain-C objects it needs, compiled beside it, and with nothing else.

UNIT_CC ?= cc
UNIT_CFLAGS = -std=gnu11 -g -Wall -Wextra -Werror -Wmissing-prototypes \
	-Wdeclaration-after-statement -D_GNU_SOURCE -Isrc -Itest/unit
UNIT_LIBS = -lhiredis -lbrotlienc -lz -pthread
UNIT_ASAN = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# $(CURDIR) and the like stay out: paths are relative to the top directory.
UNIT_PLAIN = src/plane/plane.c \
	src/plane/cache_arena.c \
	src/plane/cache_body.c \
	src/plane/cache_evict.c \
	src/plane/cache_key.c \
	src/plane/cache_put.c \
	src/plane/cache_read.c \
	src/plane/cache_stamp.c \
	src/plane/wake.c \
	src/plane/call.c \
	src/plane/event.c \
	src/plane/interest.c \
	src/plane/route.c \
	src/plane/route_line.c \
	src/plane/share.c \
	src/plane/courier.c \
	src/plane/courier_stream.c \
	src/plane/webhook_address.c \
	src/plane/webhook_rules.c \
	src/plane/webhook_url.c \
	src/auth/json_strict.c \
	src/auth/jwt_parse.c \
	src/auth/key_der.c \
	src/auth/key_parse.c \
	src/queue/webhook_judge.c \
	src/redis/breaker.c \
	src/redis/envelope.c \
	src/redis/ring.c \
	src/redis/url.c \
	src/redis/wire.c \
	src/program/log.c \
	src/edge/utf8.c \
	src/edge/json_span.c \
	src/edge/json_text.c \
	src/edge/http_target.c \
	src/edge/http_parse.c \
	src/edge/http_fields.c \
	src/edge/handshake.c \
	src/edge/extension.c \
	src/edge/encoding.c \
	src/edge/websocket_frame.c \
	src/edge/sse_text.c \
	src/edge/sse_follow.c \
	src/edge/frame.c \
	src/edge/rooms.c \
	src/edge/room_log.c \
	src/edge/room_reads.c \
	src/edge/room_answers.c \
	src/edge/room_events.c \
	src/edge/room_audience.c \
	src/edge/room_seats.c \
	src/edge/room_frames.c \
	src/edge/room_filter.c \
	src/edge/room_presence.c \
	src/edge/room_presence_frames.c \
	src/edge/room_presence_far.c \
	src/edge/wheel.c \
	src/edge/waiters.c \
	src/queue/cron.c \
	src/queue/cron_text.c \
	src/queue/sched.c \
	src/queue/sched_bits.c \
	src/queue/sched_check.c \
	src/queue/sched_check_heap.c \
	src/queue/sched_groups.c \
	src/queue/sched_lane.c \
	src/queue/sched_limit.c \
	src/queue/sched_look.c \
	src/queue/sched_pool.c \
	src/queue/sched_ready.c \
	src/queue/sched_take.c \
	src/queue/sched_verbs.c

UNIT_TESTS = http \
	jwt \
	key \
	websocket \
	json \
	route \
	rooms \
	sse \
	rooms_memory \
	rooms_simulation \
	plane \
	plane_processes \
	share \
	encoding \
	variants \
	packed \
	token_memory \
	redis \
	cache \
	cron \
	wheel \
	waiters \
	cache_evict \
	cache_key \
	cache_stress \
	cache_trace \
	interest \
	sched \
	sched_life \
	sched_limits \
	sched_simulation \
	sched_threads \
	edge_cached \
	edge_jobs \
	edge_sse \
	webhook \
	courier \
	courier_address \
	courier_frames \
	webhook_sign \
	webhook_judge \
	fake_gateway

UNIT_DEPS = $(wildcard src/plane/*.h src/redis/*.h src/auth/*.h src/courier/*.h src/edge/*.h src/program/*.h src/queue/*.h test/unit/*.h)
UNIT_PROGRAMS = $(addprefix .build/unit/,$(UNIT_TESTS))
UNIT_ASAN_PROGRAMS = $(addprefix .build/unit-asan/,$(UNIT_TESTS))

.build/unit/obj/%.o: %.c $(UNIT_DEPS)
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CFLAGS) -O2 -c $< -o $@

.build/unit-asan/obj/%.o: %.c $(UNIT_DEPS)
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CFLAGS) $(UNIT_ASAN) -c $< -o $@

$(UNIT_PROGRAMS): .build/unit/%: .build/unit/obj/test/unit/%.o \
		$(addprefix .build/unit/obj/,$(UNIT_PLAIN:.c=.o))
	$(UNIT_CC) $(UNIT_LDFLAGS) $^ -o $@ $(UNIT_LIBS)

$(UNIT_ASAN_PROGRAMS): .build/unit-asan/%: .build/unit-asan/obj/test/unit/%.o \
		$(addprefix .build/unit-asan/obj/,$(UNIT_PLAIN:.c=.o))
	$(UNIT_CC) $(UNIT_ASAN) $(UNIT_LDFLAGS) $^ -o $@ $(UNIT_LIBS)

# Memory that fails when the test wants it to.
.build/unit/rooms_simulation .build/unit-asan/rooms_simulation: \
	UNIT_LDFLAGS = -Wl,--wrap=malloc -Wl,--wrap=calloc

# What tests need beyond the plain-C parts that all have.
UNIT_WITH_variants = src/edge/variants.c src/edge/compress.c src/edge/edge.c
UNIT_WITH_packed = src/edge/packed.c src/edge/compress.c
UNIT_WITH_token_memory = src/edge/token_memory.c src/edge/edge.c
.build/unit/variants: $(addprefix .build/unit/obj/,$(UNIT_WITH_variants:.c=.o))
.build/unit-asan/variants: $(addprefix .build/unit-asan/obj/,$(UNIT_WITH_variants:.c=.o))
.build/unit/packed: $(addprefix .build/unit/obj/,$(UNIT_WITH_packed:.c=.o))
.build/unit-asan/packed: $(addprefix .build/unit-asan/obj/,$(UNIT_WITH_packed:.c=.o))
.build/unit/token_memory: $(addprefix .build/unit/obj/,$(UNIT_WITH_token_memory:.c=.o))
.build/unit-asan/token_memory: $(addprefix .build/unit-asan/obj/,$(UNIT_WITH_token_memory:.c=.o))
.build/unit/variants .build/unit-asan/variants: UNIT_LIBS += -lbrotlienc -lbrotlidec -lz

# Runs penny-edge itself: t_edge.py drives it.
.build/unit/fake_gateway: $(addprefix .build/unit/obj/test/unit/,fake_executor.o fake_cached.o fake_jobs.o)
.build/unit-asan/fake_gateway: \
	$(addprefix .build/unit-asan/obj/test/unit/,fake_executor.o fake_cached.o fake_jobs.o)

# Stands on functions of PostgreSQL that programs may link too.
UNIT_PG_CFLAGS = -I$(shell $(PG_CONFIG) --includedir-server) -Wno-unused-parameter \
	-Wno-missing-field-initializers
.build/unit/obj/src/queue/webhook_sign.o .build/unit/obj/test/unit/webhook_sign.o \
.build/unit-asan/obj/src/queue/webhook_sign.o .build/unit-asan/obj/test/unit/webhook_sign.o: \
	UNIT_CFLAGS += $(UNIT_PG_CFLAGS)
.build/unit/webhook_sign: .build/unit/obj/src/queue/webhook_sign.o
.build/unit-asan/webhook_sign: .build/unit-asan/obj/src/queue/webhook_sign.o
.build/unit/webhook_sign .build/unit-asan/webhook_sign: \
	UNIT_LIBS += -L$(shell $(PG_CONFIG) --pkglibdir) -L$(shell $(PG_CONFIG) --libdir) \
		-lpgcommon -lpgport -lcrypto

# Runs penny-courier itself against servers of its own.
.build/unit/courier: .build/unit/obj/test/unit/courier_server.o
.build/unit-asan/courier: .build/unit-asan/obj/test/unit/courier_server.o
.build/unit/courier .build/unit-asan/courier: UNIT_LIBS += -lssl -lcrypto
# What libcurl is told, without the rest of the program.
.build/unit/courier_address: .build/unit/obj/src/courier/request.o
.build/unit-asan/courier_address: .build/unit-asan/obj/src/courier/request.o
.build/unit/courier_address .build/unit-asan/courier_address: UNIT_LIBS += -lcurl

.PRECIOUS: .build/unit/obj/%.o .build/unit-asan/obj/%.o

.PHONY: unit unit-asan

unit: $(UNIT_PROGRAMS)
	prove -e '' $(UNIT_PROGRAMS)

unit-asan: $(UNIT_ASAN_PROGRAMS)
	prove -e '' $(UNIT_ASAN_PROGRAMS)
