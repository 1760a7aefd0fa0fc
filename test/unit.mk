# Unit tests of the plain-C parts: each a program that prints TAP, linked with
# the parts of the edge that do no I/O.  `make unit` builds them.

UNIT =
UNIT_LIB = $(addprefix $(EDGE_BUILD)/,$(PLANE) $(EDGE_PURE))
UNIT_BUILD ?= .build/unit
UNIT_PROGRAMS = $(UNIT:%=$(UNIT_BUILD)/%)

.PHONY: unit
unit: $(UNIT_PROGRAMS)
$(UNIT_BUILD)/%: test/unit/%.c $(UNIT_LIB)
	@mkdir -p $(@D)
	$(CC) $(EDGE_CFLAGS) -Itest/unit -o $@ $^ $(UNIT_LIBS)
