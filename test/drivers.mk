# Goals that call scripts, which call make again for what has to be built.
# Included by the Makefile in place of pgxs when one of them is asked for.
#
#	make check PARTS='regress tap' TESTS='test/t/001_smoke.pl'	runs a part of it

.PHONY: $(DRIVERS) all install installcheck clean
export PG_CONFIG

all install installcheck clean penny-edge:
	+@$(MAKE) --no-print-directory $@

run:
	+@test/tools/run.sh
stop:
	@test/tools/stop.sh
check:
	+@test/tools/check.sh $(PARTS)
check-asan:
	+@test/tools/check_asan.sh
client:
	@test/tools/client.sh
bench:
	+@test/bench/run
format:
	@test/tools/check_format.sh --write
check-format:
	@test/tools/check_format.sh
check-layers:
	@test/tools/check_layers.sh
check-symbols: all
	@test/tools/check_symbols.sh
check-messages:
	@test/tools/check_messages.sh
