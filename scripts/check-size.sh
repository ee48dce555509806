#!/usr/bin/env bash
# Builds the command as `make install` does, for this machine and for ARM, and fails where one is too large: 4 MB on ARM,
# 6 MB on x86-64, which has micro-kernels for more instruction sets.
set -eu
cd "$(dirname "$0")/.."

# $1: target, $2: bytes that are too many, the rest: options of cargo.
check() {
    target=$1 limit=$2
    shift 2
    command=$(scripts/build-command.sh --message-format json "$@" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    size=$(stat -c %s "$command")
    echo "$target: $size bytes"
    [ "$size" -lt "$limit" ] || { echo "check-size: the command for $target has $limit bytes or more" >&2; exit 1; }
}

if [ "$(uname -m)" = aarch64 ]; then
    check aarch64 4000000
    exit
fi
check "$(uname -m)" 6000000
environment=$(scripts/arm-env.sh)
eval "$environment"
check aarch64 4000000 --target aarch64-unknown-linux-gnu
