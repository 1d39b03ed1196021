# Two commands: `make run` and `make test`. Both make .venv first if it is not there.
PYTHON   ?= python3
VENV     := .venv
DURATION ?= 30
FAULTS   ?= 200
SOAK     ?= 600
METADATA ?= 20
BLUESKY  ?= 270
KILLS    ?= 10
JOBS     ?= 3
FUZZ     ?= 600
PVA      ?= 60
ARGS     ?=
MODEL    ?= $(RAYFAN_PTYCHONN)
PHOEBUS  ?=
E2SAR    ?=

.PHONY: help run test lint unit docs docs-check ops-check pictures prediction faults facilities ejfat-trouble fuzz-pva pva modes puts fuzz-ejfat e2sar properties wheel metadata soak slurm bluesky bluesky-plans writer-kills web phoebus bench ptychonn operators-day restarts full-disk bad-processors clean

help:
	@echo "make run    install into .venv and run the demo for $(DURATION) s (DURATION=600, ARGS='--set KEY=VALUE')"
	@echo "make test   install the test tools too, check the code and run all tests"
	@echo "make docs   build the documentation into docs/build (no warning is let through)"
	@echo "make docs-check  run every command block of README.md and docs/ (10 min; ARGS=PAGE for one page)"
	@echo "make ops-check  the files of ops/ by the tools they are for, where these are installed"
	@echo "make pictures  take the pictures of the documentation from a running appliance (1 min)"
	@echo "make prediction  what rayfan doctor predicts against the knee that rayfan bench finds (4 min)"
	@echo "make faults hurt a running appliance FAULTS=$(FAULTS) times at random; the ledger has the last word (15 min)"
	@echo "make facilities  two facilities joined by EJFAT, their packets and workers hurt; the ledgers' verdict (3 min)"
	@echo "make ejfat-trouble  an EJFAT pair: port closed, cable pulled, socket too small; records, alarms, ledger (1 min)"
	@echo "make fuzz-pva  10 million mutated pvAccess messages, $(FUZZ) s at most: each taken, or one error"
	@echo "make pva    the image server with clients of others: fast and slow, killed, several servers, gateways (4 min)"
	@echo "make modes  every way in with every way out, PvaPy's tools at both ends (5 min)"
	@echo "make puts   10 000 puts and gets of four clients while frames flow at 2 kHz (1 min)"
	@echo "make fuzz-ejfat  10 million mutated EJFAT datagrams, payloads and asks, $(FUZZ) s at most: each used, or one error"
	@echo "make e2sar E2SAR=FOLDER  E2SAR's own tools at the other end of every EJFAT link, and lbadm on our balancer (3 min)"
	@echo "make properties  all properties with examples drawn anew, again and again for $(FUZZ) s"
	@echo "make wheel  the wheel in an environment that pip fetches from the index (1 min)"
	@echo "make slurm  groups as jobs of a Slurm that is started for it on this machine (5 min)"
	@echo "make web    the web page in headless Chromium: clicks, pictures, puts, a lost connection; screenshots (3 min)"
	@echo "make phoebus PHOEBUS=FOLDER  every screen in a real Phoebus on a virtual display, connected and photographed (6 min)"
	@echo "make metadata  six metadata channels at 1 kHz for METADATA=$(METADATA) s: each value with its frame"
	@echo "make soak   SOAK=$(SOAK) s at 80 % of the rate that is possible: nothing lost, no process grows"
	@echo "make bench  the rate of 512x512 frames without a loss, beside PvaPy in the same run; first the tests of the bench (6 min)"
	@echo "make ptychonn MODEL=FILE.onnx  a network in two stages, inference then save, against the bare network (1 min)"
	@echo "make bluesky  an unmodified SimDetector counts and flies again and again, by CA and PVA, BLUESKY=$(BLUESKY) s"
	@echo "make bluesky-plans  two unmodified detectors in one RunEngine: flights, aborted runs, other sizes, folders (3 min)"
	@echo "make writer-kills  kill -9 of the file writer KILLS=$(KILLS) times: what was flushed is there (2 min)"
	@echo "make bad-processors  processors that raise, leak, hang, crash ...; each time the stream goes on (6 min)"
	@echo "make operators-day  a loss that is provoked, seen on every face, found by id and acknowledged (1 min)"
	@echo "make restarts  every process that may be, restarted by command again and again; nothing is lost (2 min)"
	@echo "make full-disk  no room under the run folder while frames flow and a process is killed; needs root (2 min)"
	@echo "make clean  remove .venv and what was built"

run: $(VENV)/.run
	$(VENV)/bin/rayfan up --duration $(DURATION) $(ARGS)

test: $(VENV)/.test
	@$(MAKE) --no-print-directory -j2 --output-sync=line lint unit

lint: $(VENV)/.test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

unit: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS) || { \
	  echo "Failed beside others; each again, alone:"; \
	  $(VENV)/bin/python -m pytest -v --last-failed --last-failed-no-failures none $(ARGS); }

docs: $(VENV)/.docs
	$(VENV)/bin/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/build
	@echo "docs/build/index.html"

docs-check: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.doc_commands $(ARGS)

ops-check: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.ops_files $(ARGS)

pictures: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.pictures $(ARGS)

prediction: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.prediction $(ARGS)

faults: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.faults --faults $(FAULTS) $(ARGS)

facilities: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.facilities $(ARGS)

ejfat-trouble: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.ejfat_trouble $(ARGS)

fuzz-pva: $(VENV)/.test
	RAYFAN_PVA_STAGE=1 $(VENV)/bin/python -m pytest tests/integration/test_control_pvs.py -k gateway
	$(VENV)/bin/python -m tests.campaigns.fuzz_pva --seconds $(FUZZ) $(ARGS)

pva: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.pva --seconds $(PVA) $(ARGS)

modes: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.modes $(ARGS)

puts: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.puts $(ARGS)

fuzz-ejfat: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.fuzz_ejfat --seconds $(FUZZ) $(ARGS)

e2sar: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.e2sar --tools "$(E2SAR)" $(ARGS)

properties: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.properties --seconds $(FUZZ) $(ARGS)

wheel: $(VENV)/.test
	RAYFAN_WHEEL_STAGE=1 $(VENV)/bin/python -m pytest -v tests/packaging $(ARGS)

metadata: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.metadata --seconds $(METADATA)

soak: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.soak --seconds $(SOAK)

slurm: $(VENV)/.test
	@$(VENV)/bin/python -c 'from tests.support.slurm_cluster import missing; raise SystemExit(missing() or None)'
	RAYFAN_SLURM_STAGE=1 $(VENV)/bin/python -m pytest -v tests/integration/test_slurm.py $(ARGS)

bluesky-plans: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.bluesky_plans $(ARGS)

bluesky: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.bluesky --rounds 60 --seconds $(BLUESKY) $(ARGS)

writer-kills: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.writer_kills --kills $(KILLS) $(ARGS)

web: $(VENV)/.browser
	$(VENV)/bin/python -m tests.campaigns.web_page $(ARGS)

phoebus: $(VENV)/.test
	PHOEBUS="$(PHOEBUS)" $(VENV)/bin/python -m tests.campaigns.phoebus $(ARGS)

bench: $(VENV)/.test
	RAYFAN_BENCH_STAGE=1 $(VENV)/bin/python -m pytest tests/integration/test_bench.py
	$(VENV)/bin/rayfan bench knee --size 512 --consumers 1 --policy lossless --peer pvapy --seconds 10 --repeats 3 $(ARGS)

ptychonn: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.ptychonn --model "$(MODEL)" $(ARGS)

operators-day: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.operators_day $(ARGS)

restarts: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.restarts $(ARGS)

full-disk: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.full_disk $(ARGS)

bad-processors: $(VENV)/.test
	$(VENV)/bin/python -m tests.campaigns.processors $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' || \
	  { echo "make: expected Python 3.11 to 3.13, found $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.browser: $(VENV)/.test
	$(VENV)/bin/pip install --quiet --editable '.[browser]'
	@touch $@

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist docs/build *.egg-info
