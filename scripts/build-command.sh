#!/usr/bin/env bash
# Builds the command as it is installed and packaged: the profile `dist` of Cargo.toml, without tables for unwinding,
# which a profile cannot say. Arguments are those of `cargo rustc`.
set -eu
cd "$(dirname "$0")/.."
export RUSTFLAGS="${RUSTFLAGS:-} -C force-unwind-tables=no"
exec cargo rustc --locked --profile dist -p yolo-lowbit --bin yolo-lowbit "$@"
