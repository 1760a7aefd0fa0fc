# penny: build, install, run, test.  See README.md.
#
# `make` builds penny.so (by pgxs) and penny-edge (own rule: pgxs shares OBJS
# between MODULE_big and PROGRAM).  The version is written in penny.control only.

EXTENSION = penny
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" penny.control)
MODULE_big = penny
PGFILEDESC = "penny - conversation backend inside PostgreSQL"

# --- the extension: one list per module, in layer order ---------------------
PLANE = src/plane/plane.o \
	src/plane/cache_arena.o \
	src/plane/cache_body.o \
	src/plane/cache_evict.o \
	src/plane/cache_key.o \
	src/plane/cache_put.o \
	src/plane/cache_read.o \
	src/plane/cache_stamp.o \
	src/plane/call.o \
	src/plane/certificate.o \
	src/plane/event.o \
	src/plane/interest.o \
	src/plane/route.o \
	src/plane/route_line.o \
	src/plane/share.o \
	src/plane/wake.o

# What the extension and penny-courier share: what a worker and its courier say
# to each other, and which URLs and addresses may be called.
COURIER_SHARED = src/plane/courier.o \
	src/plane/courier_stream.o \
	src/plane/webhook_address.o \
	src/plane/webhook_rules.o \
	src/plane/webhook_url.o

BASE = src/base/child.o \
	src/base/child_log.o \
	src/base/clock.o \
	src/base/crash.o \
	src/base/epoch.o \
	src/base/error.o \
	src/base/planemap.o \
	src/base/registry.o \
	src/base/reset.o \
	src/base/shmem.o \
	src/base/staff.o \
	src/base/state_file.o \
	src/base/worker.o

CONFIG = src/config/config.o \
	src/config/guc_cache.o \
	src/config/guc_compression.o \
	src/config/guc_executor.o \
	src/config/guc_gateway.o \
	src/config/guc_queue.o \
	src/config/guc_redis.o \
	src/config/guc_security.o \
	src/config/guc_webhook.o

AUTH = src/auth/certificate.o \
	src/auth/identity.o \
	src/auth/json_strict.o \
	src/auth/jwt_parse.o \
	src/auth/key.o \
	src/auth/key_der.o \
	src/auth/key_file.o \
	src/auth/key_parse.o \
	src/auth/token.o

REDIS = src/redis/address.o \
	src/redis/announce.o \
	src/redis/breaker.o \
	src/redis/envelope.o \
	src/redis/link.o \
	src/redis/pool.o \
	src/redis/prepared.o \
	src/redis/relay.o \
	src/redis/relay_listen.o \
	src/redis/relay_sweep.o \
	src/redis/relay_write.o \
	src/redis/ring.o \
	src/redis/secret.o \
	src/redis/shared.o \
	src/redis/stats.o \
	src/redis/url.o \
	src/redis/wire.o

CACHE = src/cache/check.o \
	src/cache/collect.o \
	src/cache/fence.o \
	src/cache/flight.o \
	src/cache/function.o \
	src/cache/invalidate.o \
	src/cache/l2.o \
	src/cache/read.o \
	src/cache/shared.o \
	src/cache/tags.o \
	src/cache/viewer.o \
	src/cache/watch.o

STORE = src/store/access.o \
	src/store/cached.o \
	src/store/change.o \
	src/store/change_direct.o \
	src/store/change_known.o \
	src/store/change_write.o \
	src/store/execution_sweep.o \
	src/store/import.o \
	src/store/import_json.o \
	src/store/import_message.o \
	src/store/lookup.o \
	src/store/publish_rows.o \
	src/store/read.o \
	src/store/read_changes.o \
	src/store/read_list.o \
	src/store/read_rows.o \
	src/store/read_sessions.o \
	src/store/read_statements.o \
	src/store/render.o \
	src/store/render_jsonb.o \
	src/store/room.o \
	src/store/shape.o \
	src/store/statement.o \
	src/store/stream.o \
	src/store/stream_sweep.o \
	src/store/stream_write.o \
	src/store/sweep.o \
	src/store/tables.o \
	src/store/triggers.o \
	src/store/triggers_order.o \
	src/store/trust.o \
	src/store/trust_policy.o \
	src/store/uuid.o

EXECUTOR = src/executor/answer.o \
	src/executor/cached.o \
	src/executor/caller.o \
	src/executor/chores.o \
	src/executor/dispatch.o \
	src/executor/http.o \
	src/executor/idle.o \
	src/executor/params.o \
	src/executor/plans.o \
	src/executor/problem.o \
	src/executor/quarantine.o \
	src/executor/quarantine_file.o \
	src/executor/rate.o \
	src/executor/result.o \
	src/executor/routes.o \
	src/executor/run.o \
	src/executor/worker.o

REALTIME = src/realtime/prepared.o \
	src/realtime/publish.o \
	src/realtime/publish_now.o

QUEUE = src/queue/cancel.o \
	src/queue/claim.o \
	src/queue/claim_end.o \
	src/queue/claim_upkeep.o \
	src/queue/claimers.o \
	src/queue/config.o \
	src/queue/config_read.o \
	src/queue/courier_link.o \
	src/queue/courier_process.o \
	src/queue/crew.o \
	src/queue/cron.o \
	src/queue/cron_text.o \
	src/queue/dead.o \
	src/queue/dead_purge.o \
	src/queue/dump.o \
	src/queue/ending.o \
	src/queue/ending_errors.o \
	src/queue/ending_events.o \
	src/queue/ending_flow.o \
	src/queue/ending_keys.o \
	src/queue/ending_lineage.o \
	src/queue/ending_receipt.o \
	src/queue/ending_record.o \
	src/queue/ending_rows.o \
	src/queue/enqueue.o \
	src/queue/enqueue_commit.o \
	src/queue/enqueue_json.o \
	src/queue/enqueue_sql.o \
	src/queue/flow.o \
	src/queue/handler.o \
	src/queue/history.o \
	src/queue/job_view.o \
	src/queue/keys.o \
	src/queue/load.o \
	src/queue/load_one.o \
	src/queue/load_prepared.o \
	src/queue/load_rows.o \
	src/queue/marks.o \
	src/queue/pace.o \
	src/queue/progress.o \
	src/queue/rescan.o \
	src/queue/rotate.o \
	src/queue/rotate_empty.o \
	src/queue/rotate_move.o \
	src/queue/run.o \
	src/queue/run_job.o \
	src/queue/run_record.o \
	src/queue/run_settle.o \
	src/queue/sched.o \
	src/queue/sched_bits.o \
	src/queue/sched_check.o \
	src/queue/sched_check_heap.o \
	src/queue/sched_groups.o \
	src/queue/sched_lane.o \
	src/queue/sched_limit.o \
	src/queue/sched_look.o \
	src/queue/sched_pool.o \
	src/queue/sched_ready.o \
	src/queue/sched_take.o \
	src/queue/sched_verbs.o \
	src/queue/schedule.o \
	src/queue/schedule_fire.o \
	src/queue/schedule_table.o \
	src/queue/schedule_time.o \
	src/queue/segment.o \
	src/queue/shared.o \
	src/queue/statements.o \
	src/queue/storage.o \
	src/queue/storage_rows.o \
	src/queue/storage_tables.o \
	src/queue/upkeep.o \
	src/queue/wait.o \
	src/queue/waiting.o \
	src/queue/webhook.o \
	src/queue/webhook_check.o \
	src/queue/webhook_jobs.o \
	src/queue/webhook_judge.o \
	src/queue/webhook_request.o \
	src/queue/webhook_result.o \
	src/queue/webhook_sign.o \
	src/queue/worker.o

GATEWAY = src/gateway/certificate.o \
	src/gateway/courier_start.o \
	src/gateway/edge_child.o \
	src/gateway/job_workers.o \
	src/gateway/spare_worker.o \
	src/gateway/listener.o \
	src/gateway/relay_start.o \
	src/gateway/shelf.o \
	src/gateway/supervisor.o \
	src/gateway/watch.o \
	src/gateway/worker.o \
	src/gateway/worker_slot.o

SQLAPI = src/sqlapi/sql_cache.o \
	src/sqlapi/sql_claims.o \
	src/sqlapi/sql_doctor.o \
	src/sqlapi/sql_doctor_identity.o \
	src/sqlapi/sql_doctor_jobs.o \
	src/sqlapi/sql_identity.o \
	src/sqlapi/sql_jobs.o \
	src/sqlapi/sql_look.o \
	src/sqlapi/sql_quarantine.o \
	src/sqlapi/sql_queue.o \
	src/sqlapi/sql_queues.o \
	src/sqlapi/sql_read.o \
	src/sqlapi/sql_schedules.o \
	src/sqlapi/sql_status.o \
	src/sqlapi/sql_store.o \
	src/sqlapi/sql_webhook.o

OBJS = $(PLANE) $(COURIER_SHARED) $(BASE) $(CONFIG) $(AUTH) $(REDIS) $(CACHE) $(STORE) $(EXECUTOR) $(REALTIME) $(QUEUE) \
	$(GATEWAY) $(SQLAPI) \
	src/penny.o

# --- what all programs of penny's own have in common --------------------------
PROGRAM_COMMON = src/program/log.o \
	src/program/sandbox.o \
	src/program/sandbox_try.o

# --- penny-edge: plain C, without PostgreSQL headers; the pure parts do no I/O
# and are what the unit tests and fuzz targets link ---------------------------
EDGE_PURE = src/edge/utf8.o \
	src/edge/json_span.o \
	src/edge/json_text.o \
	src/edge/http_target.o \
	src/edge/http_parse.o \
	src/edge/http_fields.o \
	src/edge/handshake.o \
	src/edge/encoding.o \
	src/edge/compress.o \
	src/edge/websocket_frame.o \
	src/edge/frame.o \
	src/edge/sse_text.o \
	src/edge/sse_follow.o \
	src/edge/wheel.o \
	src/edge/waiters.o \
	src/edge/rooms.o \
	src/edge/room_log.o \
	src/edge/room_reads.o \
	src/edge/room_answers.o \
	src/edge/room_events.o \
	src/edge/room_audience.o \
	src/edge/room_seats.o \
	src/edge/room_frames.o \
	src/edge/room_filter.o \
	src/edge/room_presence.o \
	src/edge/room_presence_frames.o \
	src/edge/room_presence_far.o
EDGE = src/edge/main.o \
	src/edge/presence.o \
	src/edge/extension.o \
	src/edge/packed.o \
	src/edge/edge.o \
	src/edge/sandbox.o \
	src/edge/sandbox_test.o \
	src/edge/loop.o \
	src/edge/timer.o \
	src/edge/tls.o \
	src/edge/listener.o \
	src/edge/limits.o \
	src/edge/connection.o \
	src/edge/output.o \
	src/edge/input.o \
	src/edge/calls.o \
	src/edge/call_pieces.o \
	src/edge/routes.o \
	src/edge/http.o \
	src/edge/http_wait.o \
	src/edge/http_waiting.o \
	src/edge/kept.o \
	src/edge/orphans.o \
	src/edge/waiting.o \
	src/edge/request.o \
	src/edge/response.o \
	src/edge/answer.o \
	src/edge/cached.o \
	src/edge/gather.o \
	src/edge/token_memory.o \
	src/edge/variants.o \
	src/edge/websocket.o \
	src/edge/websocket_upgrade.o \
	src/edge/websocket_session.o \
	src/edge/sse.o \
	src/edge/sse_session.o \
	src/edge/sse_begin.o \
	src/edge/origin.o \
	src/edge/session.o \
	src/edge/session_auth.o \
	src/edge/session_frames.o \
	src/edge/session_jobs.o \
	src/edge/session_rooms.o \
	src/edge/events.o

# --- penny-courier: likewise --------------------------------------------------
COURIER = src/courier/main.o \
	src/courier/hosts.o \
	src/courier/loop.o \
	src/courier/names.o \
	src/courier/request.o \
	src/courier/sandbox.o \
	src/courier/sandbox_test.o \
	src/courier/transfer.o \
	src/courier/trust.o

EDGE_BUILD ?= .build/edge
EDGE_OBJS = $(addprefix $(EDGE_BUILD)/,$(PLANE) $(PROGRAM_COMMON) $(EDGE_PURE) $(EDGE)) \
	$(if $(EDGE_SANITIZE),$(EDGE_BUILD)/test/tools/asan_options.o)
COURIER_OBJS = $(addprefix $(EDGE_BUILD)/,$(COURIER_SHARED) $(PROGRAM_COMMON) $(COURIER)) \
	$(if $(EDGE_SANITIZE),$(EDGE_BUILD)/test/tools/asan_options.o)
EDGE_SANITIZE ?=
EDGE_CFLAGS = -std=gnu11 -O2 -g -Wall -Wextra $(WERROR) -Wmissing-prototypes \
	-Wdeclaration-after-statement -fstack-protector-strong -D_FORTIFY_SOURCE=2 -D_GNU_SOURCE -Isrc \
	$(EDGE_SANITIZE)
EDGE_LIBS = -lwebsockets -lev -lseccomp -lssl -lcrypto -lbrotlienc -lz
COURIER_LIBS = -lcurl -lcares -lseccomp -lssl -lcrypto

# --- SQL: explicit ordered lists, order is meaning --------------------------
SQL_INSTALL = sql/install/00_header.sql \
	sql/install/10_schema.sql \
	sql/install/20_types.sql \
	sql/install/30_routes.sql \
	sql/install/35_rooms.sql \
	sql/install/40_store_steps.sql \
	sql/install/50_queue.sql

SQL_API = sql/api/00_version.sql \
	sql/api/10_identity.sql \
	sql/api/20_store.sql \
	sql/api/30_conversations.sql \
	sql/api/40_import.sql \
	sql/api/45_realtime.sql \
	sql/api/46_streams.sql \
	sql/api/50_http.sql \
	sql/api/55_listings.sql \
	sql/api/60_cache.sql \
	sql/api/70_status.sql \
	sql/api/80_jobs.sql \
	sql/api/81_queues.sql \
	sql/api/82_claims.sql \
	sql/api/83_schedules.sql \
	sql/api/84_job_views.sql \
	sql/api/85_dead_letters.sql \
	sql/api/86_flows.sql \
	sql/api/87_jobs_http.sql \
	sql/api/88_webhooks.sql

# What is done once between two versions, in order: sql/updates/A--B.sql.
SQL_UPDATES =

SQL_STORE = sql/store/10_tables.sql \
	sql/store/20_triggers.sql \
	sql/store/25_invalidate.sql \
	sql/store/30_policies.sql \
	sql/store/40_grants.sql

# --- tests that need a server; inputs test/sql and test/specs, all results in
# expected/.  pg_regress would look for ./sql/NAME.sql first: only generated
# files lie there.
# In this order: install makes the extension, store its tables.
REGRESS = install \
	store \
	identity \
	conversation \
	order \
	policies \
	cache \
	corners \
	jsonb \
	owner \
	import \
	queues \
	jobs \
	cached \
	http \
	plans \
	claims \
	job_keys \
	job_flows \
	dead_letters

ISOLATION = cache_catalog \
	cache_fill \
	cache_levels \
	claim_races \
	members \
	strangers \
	streams \
	writers

REGRESS_OPTS = --inputdir=test
ISOLATION_OPTS = --inputdir=test --outputdir=.

# --- flags ------------------------------------------------------------------
# A compiler that warns about something new must not stop a user: WERROR=
WERROR ?= -Werror
PG_CPPFLAGS = -Isrc -DPENNY_VERSION='"$(EXTVERSION)"' -D_GNU_SOURCE -MMD -MP
# PostgreSQL's own headers have unused parameters.
PG_CFLAGS = -Wextra $(WERROR) -Wno-missing-field-initializers -Wno-sign-compare \
	-Wno-unused-parameter
SHLIB_LINK = -lssl -lcrypto -lhiredis
# Bitcode would let JIT inline penny's functions into expressions; they are
# calls of milliseconds, so it is not built.
override with_llvm = no

update_from = $(firstword $(subst --, ,$(notdir $(1))))
UPDATE_SCRIPTS = $(foreach step,$(SQL_UPDATES),sql/penny--$(call update_from,$(step))--$(EXTVERSION).sql)
DATA_built = sql/penny--$(EXTVERSION).sql $(UPDATE_SCRIPTS)
EXTRA_CLEAN = $(OBJS:.o=.d) .build penny-edge penny-courier results output_iso tmp_check

# --- goals that drive the others: they work before pgxs is there (a fresh
# machine), and their `check` does not collide with the one of pgxs ----------
DRIVERS = run stop client check check-asan bench format check-format check-layers check-symbols \
	check-messages
PG_CONFIG ?= pg_config

ifneq (,$(filter $(DRIVERS),$(MAKECMDGOALS)))
include test/drivers.mk
else

MISSING := $(shell test/tools/deps.sh missing build)
ifneq (,$(MISSING))
ifeq (,$(filter clean distclean,$(MAKECMDGOALS)))
$(error penny needs packages that are not installed: apt-get install $(MISSING))
endif
endif

PGXS := $(shell $(PG_CONFIG) --pgxs)
ifneq (,$(EDGE))
all: penny-edge penny-courier
endif
include $(PGXS)

install: install-edge
installdirs: installdirs-edge
uninstall: uninstall-edge
.PHONY: install-edge installdirs-edge uninstall-edge
installdirs-edge:
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
install-edge: penny-edge penny-courier installdirs-edge
	$(INSTALL_PROGRAM) penny-edge '$(DESTDIR)$(bindir)/penny-edge'
	$(INSTALL_PROGRAM) penny-courier '$(DESTDIR)$(bindir)/penny-courier'
uninstall-edge:
	rm -f '$(DESTDIR)$(bindir)/penny-edge' '$(DESTDIR)$(bindir)/penny-courier'

penny-edge: $(EDGE_BUILD)/penny-edge
	cp $< $@
$(EDGE_BUILD)/penny-edge: $(EDGE_OBJS)
	$(CC) $(EDGE_CFLAGS) -pie -Wl,-z,relro,-z,now -o $@ $^ $(EDGE_LIBS)
penny-courier: $(EDGE_BUILD)/penny-courier
	cp $< $@
$(EDGE_BUILD)/penny-courier: $(COURIER_OBJS)
	$(CC) $(EDGE_CFLAGS) -pie -Wl,-z,relro,-z,now -o $@ $^ $(COURIER_LIBS)
$(EDGE_BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(EDGE_CFLAGS) -fPIE -MMD -MP -c -o $@ $<

# The install script is each part once; OR REPLACE goes, so that nobody can
# have made an object of the extension beforehand.
sql/penny--$(EXTVERSION).sql: $(SQL_INSTALL) $(SQL_API) $(SQL_STORE) penny.control \
		test/tools/store_steps.awk
	sed 's/^CREATE OR REPLACE /CREATE /' $(SQL_INSTALL) $(SQL_API) > $@.new
	awk -f test/tools/store_steps.awk $(SQL_STORE) >> $@.new
	mv $@.new $@

# An update from an older version: the steps since, then sql/api again.
define UPDATE_SCRIPT
test/tools/update_script.sh $(1) $(2) -- $(SQL_API) > $@.new
awk -f test/tools/store_steps.awk $(SQL_STORE) >> $@.new
mv $@.new $@
endef
UPDATE_DEPS = $(SQL_UPDATES) $(SQL_API) $(SQL_STORE) penny.control test/tools/update_script.sh \
	test/tools/store_steps.awk

$(UPDATE_SCRIPTS): $(UPDATE_DEPS)
	$(call UPDATE_SCRIPT,$(firstword $(subst --, ,$(@:sql/penny--%=%))),$(SQL_UPDATES))

# Versions for the test of updates, never part of an installation: 0.9, which
# lacks (all of the queue), has and calls differently what an old version may, and 9.9, which is
# this one under a number that the library does not have.
UPGRADE_TEST = .build/upgrade/penny--0.9.sql \
	.build/upgrade/penny--0.9--$(EXTVERSION).sql \
	.build/upgrade/penny--9.9.sql \
	.build/upgrade/penny--$(EXTVERSION)--9.9.sql
.build/upgrade/penny--0.9.sql: test/upgrade/penny--0.9.sql
	@mkdir -p $(@D)
	cp $< $@
.build/upgrade/penny--0.9--$(EXTVERSION).sql: test/upgrade/0.9--1.0.sql sql/install/50_queue.sql \
		$(UPDATE_DEPS)
	@mkdir -p $(@D)
	$(call UPDATE_SCRIPT,0.9,test/upgrade/0.9--1.0.sql sql/install/50_queue.sql $(SQL_UPDATES))
.build/upgrade/penny--9.9.sql: sql/penny--$(EXTVERSION).sql
	@mkdir -p $(@D)
	cp $< $@
.build/upgrade/penny--$(EXTVERSION)--9.9.sql: $(SQL_API)
	@mkdir -p $(@D)
	cat $(SQL_API) > $@
.PHONY: install-upgrade-test
install-upgrade-test: $(UPGRADE_TEST)
	$(INSTALL_DATA) $(UPGRADE_TEST) '$(DESTDIR)$(datadir)/extension/'

print-%:
	@echo $($*)

# Unit tests and fuzz targets of the plain-C parts.
-include test/unit.mk test/fuzz.mk
-include $(OBJS:.o=.d) $(EDGE_OBJS:.o=.d) $(COURIER_OBJS:.o=.d)
endif
