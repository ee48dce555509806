# Every command of the project. `make check` and `make test` are what continuous integration runs.

CARGO ?= cargo
PYTHON ?= python3

.PHONY: all check test test-host test-arm bench fixtures

all:
	$(CARGO) build --release

# Formatting, lints on the host and on ARM, documentation.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	scripts/clippy-arm.sh
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

# All tests, on this machine and as ARM programs under QEMU. Installs what the latter need where it
# may; says what it skipped where it may not, and fails there if CI=true.
test: test-host test-arm

test-host:
	$(CARGO) test --workspace

test-arm:
	scripts/test-arm.sh

bench:
	$(CARGO) bench -p ylb-benches

# Test data that other programs computed: pip install pycocotools==2.0.11
fixtures:
	$(PYTHON) scripts/coco-fixture.py
