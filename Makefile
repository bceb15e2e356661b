# The four commands: setup, demo (run), test, lint. None of them looks at a real cluster.
unexport KUBECONFIG
unexport MESHVERDICT_CONTEXT

.PHONY: setup demo test lint bench example clean

setup: ; @scripts/setup
demo: setup ; @.venv/bin/meshverdict demo $(if $(SIDECARS),--sidecars)
# First what mostly waits, side by side; then what measures. In the order of tests/conftest.py, the longest files first.
BESIDE = --dist loadfile --no-loadscope-reorder
test: ; @scripts/setup --tests
	.venv/bin/pytest -n 4 $(BESIDE) -m "not measures" && .venv/bin/pytest -n 2 $(BESIDE) -m measures
lint: setup ; .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports
# All but bench_zones.py, which is told an experiment and takes most of an hour.
bench: setup ; @for file in $(filter-out %/bench_zones.py,$(wildcard benchmarks/bench_*.py)); do echo "== $$file"; .venv/bin/python "$$file" || exit 1; done
# Measure the committed example anew: about 20 minutes.
example: setup ; @scripts/make_example
clean: ; rm -rf .venv .private build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
