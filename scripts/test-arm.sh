#!/usr/bin/env bash
# Runs all tests as 64-bit ARM programs under QEMU, once for each kind of CPU:
#   cortex-a72   Raspberry Pi 4: no dot product        neoverse-n1  dot product
#   cortex-a53   Raspberry Pi 3
# Converter, format, command and C library have no code of their own for any CPU: their tests run on the
# first one only.
# Where that is impossible it says so and succeeds, unless CI=true.
set -eu
cd "$(dirname "$0")/.."

if ! environment=$(scripts/arm-env.sh); then
    echo "SKIPPED: the ARM tests need a cross toolchain and QEMU (see above)." >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
fi
eval "$environment"

packages=all
for cpu in ${ARM_CPUS:-cortex-a72 neoverse-n1 cortex-a53}; do
    echo "== ARM tests under QEMU, -cpu $cpu"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/scripts/arm-runner.sh $cpu $packages" \
        cargo test --workspace --exclude ylb-benches --target aarch64-unknown-linux-gnu \
        --lib --bins --tests "$@"
    packages=ylb-kernels,ylb-runtime,ylb-tests
done
