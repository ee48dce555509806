#!/usr/bin/env bash
# Counts the cycles of one inference of YOLOv5n at 640x640 on a Cortex-A72 by the model of
# benches/a64count, and fails where a count is more than 1 % above the committed one
# (benches/results/arm-cycles.json). With another compiler than that of the committed counts it tells and
# does not fail: they are not comparable to 1 %.
#
#   UPDATE=1                  write the committed file anew
#   ARM_CYCLES="w1a1 w8a8-silu"   count these only; with UPDATE=1, add them to the committed file
#   JOBS=2                    QEMU processes at a time
#   CACHE=1                   count cache misses at W2A2 instead, by a model of the Cortex-A72's caches
#
# Where that is impossible it says so and succeeds, unless CI=true.
set -eu
cd "$(dirname "$0")/.."

skip() {
    echo "SKIPPED: counting ARM cycles needs $1." >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
}
environment=$(scripts/arm-env.sh) || skip "a cross toolchain and QEMU (see above)"
command -v python3 >/dev/null || skip python3
# The plugin speaks version 1 of QEMU's plugin API, which QEMU 9 no longer has.
case $(qemu-aarch64 --version | sed -n '1s/.*version \([0-9]*\).*/\1/p') in
6 | 7 | 8) ;;
*) skip "QEMU 6 to 8, and this is: $(qemu-aarch64 --version | head -n 1)" ;;
esac

target=$(cargo metadata --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
cargo build --quiet --release --manifest-path benches/a64count/Cargo.toml --target-dir "$target/a64count"
(
    eval "$environment"
    # QEMU's plugin sees libc's functions at the addresses of the program.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static'
    cargo build --quiet --release --package ylb-benches --bin frames --target aarch64-unknown-linux-gnu
)
compiler=$(eval "$environment" && "${RUSTC:-rustc}" --version)
exec python3 scripts/arm-cycles.py \
    --plugin "$target/a64count/release/liba64count.so" \
    --program "$target/arm/aarch64-unknown-linux-gnu/release/frames" \
    --compiler "$compiler" --jobs "${JOBS:-2}" ${UPDATE:+--update} ${ARM_CYCLES:+--only "$ARM_CYCLES"} ${CACHE:+--cache}
