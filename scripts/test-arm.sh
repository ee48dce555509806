#!/usr/bin/env bash
# Runs tests as 64-bit ARM programs under QEMU, once for each kind of CPU that has code of its own:
#   cortex-a72   Raspberry Pi 4: no dot product        neoverse-n1  dot product
#
#     scripts/test-arm.sh [options of cargo test]
#     ARM_CPUS="cortex-a53 max"    on other CPUs
#     ARM_PACKAGES=all             of all packages, on each CPU
#
# Kernels, runtime and the tests across crates run on each CPU. The command and the C library have no code of their
# own for any: their tests run on the first one only. Format, source and converter compute nothing that depends on the
# CPU, and what they do on ARM is seen from the tests across crates and those of the command: their own run where
# ARM_PACKAGES=all says so, which is `make test-arm-all`.
# Where that is impossible it says so and succeeds, unless CI=true.
set -eu
cd "$(dirname "$0")/.."

if ! environment=$(scripts/arm-env.sh); then
    echo "SKIPPED: the ARM tests need a cross toolchain and QEMU (see above)." >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
fi
eval "$environment"

options="-p ylb-kernels -p ylb-runtime -p ylb-tests -p ylb-capi"
first=all later=ylb-kernels,ylb-runtime,ylb-tests
if [ "${ARM_PACKAGES:-}" = all ]; then options="--workspace --exclude ylb-benches" later=all; fi

packages=$first
for cpu in ${ARM_CPUS:-cortex-a72 neoverse-n1}; do
    echo "== ARM tests under QEMU, -cpu $cpu"
    # shellcheck disable=SC2086  # the options are many words
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/scripts/arm-runner.sh $cpu $packages" \
        cargo test $options --target aarch64-unknown-linux-gnu --lib --bins --tests "$@"
    packages=$later
done
