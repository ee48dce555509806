#!/usr/bin/env bash
# Lints the ARM code paths, which kernels, runtime and the C library's tests have. Where there is no toolchain for that it says so and succeeds, unless CI=true.
set -eu
cd "$(dirname "$0")/.."

if ! environment=$(scripts/arm-env.sh); then
    echo "SKIPPED: lints of the ARM code need a cross toolchain (see above)." >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
fi
eval "$environment"
if [ -z "${ARM_CLIPPY:-}" ]; then
    echo "SKIPPED: this compiler has no clippy (Debian: apt install rust-web-clippy)." >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
fi
$ARM_CLIPPY -p ylb-kernels -p ylb-runtime -p ylb-capi --all-targets --target aarch64-unknown-linux-gnu -- -D warnings
