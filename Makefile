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
	src/plane/call.o \
	src/plane/event.o \
	src/plane/route.o

BASE =
CONFIG =
AUTH =
STORE =
EXECUTOR =
REALTIME =
GATEWAY =
SQLAPI =

OBJS = $(PLANE) $(BASE) $(CONFIG) $(AUTH) $(STORE) $(EXECUTOR) $(REALTIME) $(GATEWAY) $(SQLAPI) \
	src/penny.o

# --- penny-edge: plain C, without PostgreSQL headers ------------------------
EDGE = src/edge/utf8.o \
	src/edge/json_span.o \
	src/edge/json_text.o \
	src/edge/http_target.o \
	src/edge/http_parse.o \
	src/edge/http_fields.o \
	src/edge/handshake.o \
	src/edge/websocket_frame.o \
	src/edge/frame.o \
	src/edge/rooms.o \
	src/edge/room_log.o \
	src/edge/room_reads.o \
	src/edge/room_answers.o \
	src/edge/room_events.o

EDGE_OBJS = $(addprefix .build/edge/,$(PLANE) $(EDGE))
EDGE_CFLAGS = -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wmissing-prototypes \
	-Wdeclaration-after-statement -fstack-protector-strong -D_FORTIFY_SOURCE=2 -D_GNU_SOURCE -Isrc
EDGE_LIBS = -lwebsockets -lev

# --- SQL: explicit ordered lists, order is meaning --------------------------
SQL_INSTALL =
SQL_API =
SQL_STORE =

DATA_built = sql/penny--$(EXTVERSION).sql
EXTRA_CLEAN = sql/penny--$(EXTVERSION).sql .build penny-edge

PG_CPPFLAGS = -Isrc -DPENNY_VERSION='"$(EXTVERSION)"' -D_GNU_SOURCE
PG_CFLAGS = -Wextra -Werror -Wno-missing-field-initializers -Wno-sign-compare
SHLIB_LINK = -lcrypto

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Unit tests and fuzz targets of the plain-C parts.
include test/unit.mk test/fuzz.mk
