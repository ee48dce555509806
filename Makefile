# Every command of the project. `make check`, `make test`, `make test-package` and `make arm-cycles` are what
# continuous integration runs.

CARGO ?= cargo
PYTHON ?= python3

.PHONY: all quick check check-host check-arm check-bench test test-host test-arm test-arm-all test-package bench bench-peers bench-scaling arm-cycles \
	check-size fixtures header install dist

# The counter of ARM instructions is a workspace of its own.
A64COUNT = --manifest-path benches/a64count/Cargo.toml --target-dir target/a64count

all:
	$(CARGO) build --release

# What one runs between edits: format, lints and tests of this machine.
quick:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --workspace --exclude ylb-benches --lib --bins --tests

# Formatting, lints on the host and on ARM, documentation.
check: check-host check-arm

check-arm:
	scripts/clippy-arm.sh

check-host:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	$(CARGO) fmt --manifest-path benches/a64count/Cargo.toml --check
	$(CARGO) clippy $(A64COUNT) --all-targets -- -D warnings

# All tests, on this machine and as ARM programs under QEMU. Installs what the latter need where it
# may; says what it skipped where it may not, and fails there if CI=true.
test: test-host test-arm

test-host:
	$(CARGO) test --workspace --exclude ylb-benches $(TEST)
	$(CARGO) test $(A64COUNT) $(TEST)

test-arm:
	scripts/test-arm.sh $(TEST)

# What `test-arm` leaves out, too: every package's tests on every kind of CPU. Half an hour.
test-arm-all:
	ARM_PACKAGES=all ARM_CPUS="cortex-a72 neoverse-n1 cortex-a53" scripts/test-arm.sh $(TEST)

# Criterion: micro-kernels, layers against FP32, networks against rten. Compiles both peers;
# UPDATE=1 commits the figures.
bench:
	$(CARGO) bench -p ylb-benches --features fp32
	$(PYTHON) benches/criterion.py $(if $(UPDATE),--update)

# Lints of the benchmarks with their peers, which `check` leaves out: they take minutes to compile.
check-bench:
	$(CARGO) clippy -p ylb-benches --all-targets --features fp32 -- -D warnings

# Times ONNX Runtime, OpenVINO, ncnn and LiteRT beside yolo-lowbit; UPDATE=1 commits the figures.
bench-peers:
	benches/peers/run.sh

# Sizes n to x, pictures of 320 to 1280, threads; UPDATE=1 commits the figures.
bench-scaling:
	$(CARGO) build --release -p yolo-lowbit
	$(PYTHON) benches/scaling.py $(if $(UPDATE),--update)

# Cycles of YOLOv5n on a Cortex-A72 by a model, against the committed ones; docs/performance.md.
# UPDATE=1 commits new ones; ARM_CYCLES="w1a1 w2a2" counts these only.
arm-cycles:
	scripts/arm-cycles.sh

# Test data that other programs computed: pip install pycocotools==2.0.11
fixtures:
	$(PYTHON) scripts/coco-fixture.py

# The C header, from the code.
header:
	YLB_UPDATE_HEADER=1 $(CARGO) test -p ylb-capi --test header

# That the command, as `install` builds it for ARM and for this machine, is below 4 and 6 MB. `test-package` does it, too.
check-size:
	scripts/check-size.sh

# Builds and installs: PREFIX (/usr/local), DESTDIR and LIBDIR as usual.
# LIBRARY_PROFILE=dev compiles the libraries as the tests are: to try them, not to use them.
LIBRARY_PROFILE ?= release
install:
	scripts/build-command.sh
	$(CARGO) rustc --profile $(LIBRARY_PROFILE) -p ylb-capi --crate-type staticlib,cdylib
	LIBRARIES=$(LIBRARY_PROFILE:dev=debug) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) LIBDIR=$(LIBDIR) scripts/install.sh

# Archives and Debian packages for x86-64 and 64-bit ARM, under dist/.
dist:
	scripts/dist.sh

# What `install` and `dist` make, used as people would use it, and the commands of the documents, typed as they
# are written. Installs what it needs where it may, as `test`.
test-package:
	scripts/test-package.sh
