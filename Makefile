# Every command makes its own environment first; it needs only a Python with venv and pip.
# Choose them with e.g. `make test PYTHON=python3.12 VENV=.venv312`.

PYTHON ?= python3
VENV ?= .venv
# Tests wait more than they work: two processes take half the time on two cores.
JOBS ?= 2
# Of chaos.
SEEDS ?= 20
# Where a compiled mmcv may lie; where none that fits does, it is compiled, which takes twenty minutes.
WHEELS ?= wheels

ENVIRONMENT = $(PYTHON) tools/environment.py --venv $(VENV) --groups
RUN = $(abspath $(VENV))/bin
DEMO = $(CURDIR)/demo

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-long test-page test-export test-hosts test-postgres test-ray test-receiver test-ceph test-mmdet test-mmcv chaos soak compatibility lint check bench bench-hosts bench-peers bench-trackers bench-datasets bench-receiver

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Ultralytics' settings go to demo/, too, so that the user's own stay as they are.
demo: export YOLO_OFFLINE = 1
demo: export YOLO_CONFIG_DIR = $(DEMO)
demo: export TRAINER_HOOKS_DIR = $(DEMO)/trainer_runs
demo: ## train a small YOLO model for three epochs on the CPU and show what was recorded (about a minute)
	@$(ENVIRONMENT) demo
	@$(RUN)/python tools/synthetic.py $(DEMO)/dataset --images 400
	@$(RUN)/yolo settings runs_dir=$(DEMO)/runs > $(DEMO)/settings.log
	@$(RUN)/python examples/ultralytics_minimal.py $(DEMO)/dataset/data.yaml 3

test: ## run the tests; pick some with ARGS="-k name"
	@$(ENVIRONMENT) test check
	@$(RUN)/python -m pytest -n $(JOBS) --dist worksteal -m "not long and not browser" $(ARGS)

test-long: ## those that make test has no room for: an error in every function, each fault with the other framework too, resumed and cancelled trainings, ranks
	@$(ENVIRONMENT) test check
	@$(RUN)/python -m pytest -n $(JOBS) --dist worksteal -m long $(ARGS)

lint: ## ruff, mypy and import-linter
	@$(ENVIRONMENT) test lint
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports

test-ceph: ## the storage tests against a real Ceph object gateway (Debian: radosgw, ceph-mon, ceph-osd, ceph-mgr, ceph-common)
	@$(ENVIRONMENT) test check
	@$(RUN)/python -m pytest tests/storage --ceph $(ARGS)

test-page: ## look at the receiver's page in a real browser (Debian: chromium)
	@$(ENVIRONMENT) test check page
	@tools/chromium.sh
	@$(RUN)/python -m pytest tests/page $(ARGS)

test-receiver: VENV = .venv-receiver
test-receiver: ## call the receiver in every way that its OpenAPI description allows
	@$(ENVIRONMENT) receiver-test
	@$(RUN)/python -m pytest tests/receiver/test_description.py $(ARGS)

test-hosts: export TEST_HOSTS = lightning transformers
test-hosts: VENV = .venv-hosts
test-hosts: IN = tests/integrations/test_
test-hosts: ## the promises with Lightning and with Hugging Face's Trainer
	@$(ENVIRONMENT) hosts
	@$(RUN)/python -m pytest -n $(JOBS) --dist worksteal $(addprefix $(IN),promises.py lightning.py transformers.py transformers_heirs.py) $(ARGS)
	@$(RUN)/python -m pytest -n $(JOBS) --dist worksteal $(addprefix $(IN),end_to_end.py resume.py stop.py) -m "not long" $(ARGS)
	@$(RUN)/python -m pytest tests/pages/test_python.py tests/test_examples.py -k "lightning or huggingface" $(ARGS)

test-ray: VENV = .venv-ray
test-ray: ## convert datasets, run actions and search over hyper-parameters on a Ray cluster of this machine's
	@$(ENVIRONMENT) ray
	@$(RUN)/python -m pytest tests/datasets/test_ray.py tests/actions/test_ray.py tests/actions/test_tune.py $(ARGS)

test-export: VENV = .venv-export
test-export: ## write runs for Parquet, TensorBoard and MLflow, and read them back with those
	@$(ENVIRONMENT) export
	@$(RUN)/python -m pytest tests/cli/test_export.py tests/test_no_secrets_shown.py $(ARGS)

test-postgres: VENV = .venv-postgres
test-postgres: ## several receivers over one PostgreSQL database, with servers that are killed
	@$(ENVIRONMENT) postgres-test
	@$(RUN)/python -m pytest tests/receiver/test_postgres.py tests/receiver/test_replica.py $(ARGS)

test-mmdet: VENV = .venv-mmdet
test-mmdet: ## train with MMDetection as its users do, with mmcv-lite and a stand-in for the operators it lacks
	@$(ENVIRONMENT) mmdet
	@$(RUN)/python -m pip install --quiet --no-deps mmcv-lite==2.1.0
	@$(RUN)/python -m pytest tests/downstream $(ARGS)

test-mmcv: export MMCV_WITH_OPS = 1
test-mmcv: VENV = .venv-mmcv
test-mmcv: ## the same with the operators of a compiled mmcv, from a wheel in WHEELS=wheels or compiled here
	@$(ENVIRONMENT) mmdet
	@$(RUN)/python -m pip install --quiet --no-deps --no-build-isolation --find-links $(WHEELS) mmcv==2.1.0
	@$(RUN)/python -m pytest tests/downstream $(ARGS)

chaos: ## kill and cut off real trainings at random moments; SEEDS=200 for more than 20, SEED=17 for that one
	@$(ENVIRONMENT) test
	@$(RUN)/python -m pytest tests/chaos/test_chaos.py $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) tests/chaos/test_guards.py) $(ARGS)

soak: ## a million events for a platform that takes ten a second, a hundred runs in one process, storms of logs, torchrun
	@$(ENVIRONMENT) test
	@$(RUN)/python -m pytest tests/chaos $(addprefix --ignore tests/chaos/,test_chaos.py test_guards.py) $(ARGS)

docs: VENV = .venv-docs
docs: ## the pages as a site, in build/site; a link that leads nowhere is an error
	@$(ENVIRONMENT) docs
	@NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet $(ARGS)
	@echo "$(CURDIR)/build/site/index.html"

compatibility: VENV = .venv-hosts
compatibility: ## try other Pythons, and many versions of the libraries and frameworks (hours; needs a package index; ARGS=mmengine for that alone)
	@$(ENVIRONMENT) hosts
	@$(RUN)/python tools/compatibility.py $(ARGS) --output docs/compatibility.md

check: lint test ## lint and test: what has to pass before a commit

bench: ## measure against the budgets
	@$(ENVIRONMENT) test
	@$(RUN)/python benchmarks/run_all.py $(ARGS)

bench-hosts: VENV = .venv-hosts
bench-hosts: ## what an epoch costs in Lightning and in Hugging Face's Trainer
	@$(ENVIRONMENT) hosts
	@$(RUN)/python benchmarks/epoch_callback.py $(ARGS)

bench-peers: VENV = .venv-peers
bench-peers: ## what MMEngine's own backends cost a training, beside ours
	@$(ENVIRONMENT) peers
	@$(RUN)/python benchmarks/mmengine_backends.py $(ARGS)

bench-trackers: VENV = .venv-trackers
bench-trackers: ## kill a training, and take the server away, with MLflow, W&B, ClearML, SwanLab, Trackio and ours (half an hour)
	@$(ENVIRONMENT) trackers
	@$(RUN)/python benchmarks/tracker_faults.py $(ARGS)

bench-datasets: VENV = .venv-dataset-peers
bench-datasets: ## edge cases and speed of converting datasets, beside other tools; JSON2YOLO=FOLDER for a checkout of that one
	@$(ENVIRONMENT) dataset-peers
	@$(RUN)/python -m pip install --quiet --no-deps --force-reinstall labelme2yolo==0.4.0
	@$(RUN)/python benchmarks/dataset_cases.py
	@$(RUN)/python benchmarks/dataset_speed.py $(ARGS)

bench-receiver: VENV = .venv-receiver-peers
bench-receiver: ## two hundred runs at once at the receiver, beside MLflow's server and Trackio's (a quarter of an hour)
	@$(ENVIRONMENT) receiver-peers
	@$(RUN)/python benchmarks/receiver_load.py $(ARGS)
