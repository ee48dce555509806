#!/usr/bin/env bash
# Builds the command as `make install` does, for this machine and for ARM, and fails where one has 4 MB or more.
set -eu
cd "$(dirname "$0")/.."

# $1: target, the rest: options of cargo.
check() {
    target=$1
    shift
    command=$(scripts/build-command.sh --message-format json "$@" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    size=$(stat -c %s "$command")
    echo "$target: $size bytes"
    [ "$size" -lt 4000000 ] || { echo "check-size: the command for $target has 4 MB or more" >&2; exit 1; }
}

check "$(uname -m)"
if [ "$(uname -m)" != aarch64 ]; then
    environment=$(scripts/arm-env.sh)
    eval "$environment"
    # Linked as on a Pi: the tests link statically.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=
    check aarch64 --target aarch64-unknown-linux-gnu
fi
