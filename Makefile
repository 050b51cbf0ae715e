# Two commands set up everything on a fresh machine: `make train` and `make test`.
PYTHON ?= python3
TORCH ?= torch==2.13.*
# A CPU build of torch names no triton; 3.7.1 is the one that torch 2.13 is built against.
TRITON ?= $(if $(filter torch==2.13.%,$(TORCH)),triton==3.7.1)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: train test test-compiled test-exports test-torch-versions gpu stress bench bench-json bench-results bench-compare study study-gpu docs lint clean
.DELETE_ON_ERROR:

# torch first and no build isolation: the build sees the torch that the CPU library is to run with.
$(STAMP): pyproject.toml CMakeLists.txt kernels/CMakeLists.txt $(wildcard kernels/*/cpu.cpp)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check '$(TORCH)' $(if $(TRITON),'$(TRITON)') \
		'scikit-build-core>=1.0' cmake ninja
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -e '.[dev]'
	$(BIN)/glat doctor
	touch $@

train: $(STAMP)
	$(BIN)/python train.py --backbone cnn10 --width 0.125 --batch-size 8 --iterations 200

# Two processes, a test file in one of them: files share trained runs and compiled code, and tests/conftest.py says which
# begin. ARGS='-n 0 -k tag' chooses.
test: $(STAMP)
	$(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Loss and gradients of whole networks and poolings through Inductor against eager's: 80 cases of one to three minutes of
# processor time each. ARGS='-k resnet38-own' chooses.
test-compiled: $(STAMP)
	$(BIN)/python -m pytest tests -m compiled $(ARGS)

# Every network, preset and pooling as ONNX, in ONNX Runtime: 84 cases of about ten seconds of processor time each.
test-exports: $(STAMP)
	$(BIN)/python -m pytest tests -m exports $(ARGS)

# Every torch that pyproject.toml allows, in environments of their own: half an hour, 10 GB of downloads, 8 GB of disk.
# VERSIONS='2.11 2.13' chooses.
test-torch-versions: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tests/torch_versions.py $(VERSIONS)

# What needs a GPU: tests, then benchmarks, then a table and a folder to be sent; under 15 minutes. QUICK=1: under 5.
# Where there is none, it says so and does nothing.
gpu: $(STAMP)
	$(BIN)/python -m bench.gpu $(if $(QUICK),--quick)

# Kills, signals, full disks, damaged files and hostile folders in many variants: minutes. SEED chooses the moments.
SEED ?= 0
stress: $(STAMP)
	GLAT_STRESS=$(SEED) $(BIN)/python -m pytest tests/test_stress.py tests/test_damaged_runs.py -s

bench: $(STAMP)
	$(BIN)/python -m pytest bench --benchmark-only

JSON ?= bench.json
bench-json: $(STAMP)
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-json=$(JSON)

# Files a run under bench/results/ and writes the README's table from it.
bench-results: bench-json
	$(BIN)/python -m bench.results $(JSON)

# Fails where a guarded benchmark of this tree takes more than 1.10 times as long as at the commit BASE, by the median
# over pairs of runs; ARGS='--pairs 6 -k packing' chooses, and bench/compare.py says how.
BASE ?= main
bench-compare: $(STAMP)
	$(BIN)/python -m bench.compare $(BASE) $(ARGS)

# Hours on two cores; goes on where it was stopped. With DATA (recordings with folds, as esc10.csv) it writes docs/study.md,
# without, of synthesised events, STUDY/study.md.
STUDY ?= runs/study
PROCESSES ?= 2
study: $(STAMP)
	$(BIN)/python -m bench.study run --out $(STUDY) $(if $(DATA),--data $(DATA)) --processes $(PROCESSES)
	$(BIN)/python -m bench.study report --out $(STUDY) $(if $(DATA),--data $(DATA),--to $(STUDY))
	$(BIN)/python -m bench.study when --out $(STUDY) $(if $(DATA),--data $(DATA),--to $(STUDY))
	$(BIN)/python -m bench.study better --out $(STUDY) $(if $(DATA),--data $(DATA),--to $(STUDY))

# The study's main rows at the paper's width, within eight minutes of one GPU; goes on where it was stopped. DATA: a folder
# made by `python -m bench.study data`, or a CSV with folds. SMALL=1: in a minute of a CPU, to see that all of it works.
STUDY_GPU ?= $(if $(SMALL),runs/study-gpu-small,runs/study-gpu)
study-gpu: $(STAMP)
	$(BIN)/python -m bench.study gpu --out $(STUDY_GPU) --data $(DATA) $(if $(SMALL),--small)

# The pages and the reference of the Python interface, as a site: build/docs/index.html.
docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -c docs/site . build/docs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist
