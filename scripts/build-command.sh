#!/usr/bin/env bash
# Builds the command as it is installed and packaged: the profile `dist` of Cargo.toml, and what a profile cannot say.
# Arguments are those of `cargo rustc`.
set -eu
cd "$(dirname "$0")/.."

# rustc's own words after the arguments' `--`, which there need not be.
separator=--
for argument; do [ "$argument" != -- ] || separator=; done

# The library with the commands by size, but not the executable, which is one call: what links decides how all of it
# is optimized, and by size no loop of the runtime would become vectors.
#
# No tables for unwinding. Those of the standard library and what is compiled from its generic code come in spite of
# the flag; the linker's script drops them. LLD, x86-64's default, drops all files' tables or none.
export RUSTFLAGS="${RUSTFLAGS:-} -C force-unwind-tables=no"
exec cargo rustc --locked --profile dist --config 'profile.dist.package.yolo-lowbit.opt-level = "z"' \
    -p yolo-lowbit --bin yolo-lowbit "$@" $separator \
    -C opt-level=3 -C link-arg=-fuse-ld=bfd -C link-arg=-Wl,-T,"$PWD/scripts/no-unwind.ld"
