#!/usr/bin/env bash
# Finds, or installs, what building and running 64-bit ARM programs on this machine takes, and prints
# it as shell assignments: `eval "$(scripts/arm-env.sh)"`. Exit status 3: not to be had here.
#
# Needed: a Rust standard library for aarch64, a cross linker, and QEMU's user-mode emulator.
#   1. rustup, where it offers the aarch64 target for the active toolchain;
#   2. otherwise Debian's own Rust (packages rustc-web and libstd-rust-web-dev:arm64).
# Packages are installed only by root on Debian-like systems.
set -u

target=aarch64-unknown-linux-gnu
say() { echo "arm-env: $*" >&2; }

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

updated=
install() {
    can_install || return 1
    say "installing $*"
    if [ -z "$updated" ]; then
        apt-get update -qq >&2 && updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

missing() {
    say "$1 is missing; on Debian: $2"
    exit 3
}

command -v aarch64-linux-gnu-gcc >/dev/null || install gcc-aarch64-linux-gnu libc6-dev-arm64-cross ||
    missing aarch64-linux-gnu-gcc "apt install gcc-aarch64-linux-gnu"
# For the tests of the C interface from C++.
command -v aarch64-linux-gnu-g++ >/dev/null || install g++-aarch64-linux-gnu ||
    missing aarch64-linux-gnu-g++ "apt install g++-aarch64-linux-gnu"
command -v qemu-aarch64 >/dev/null || install qemu-user ||
    missing qemu-aarch64 "apt install qemu-user"

has_target() { [ -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$target/lib" ]; }
debian_std() { ls /usr/lib/rustlib/$target/lib/libstd-*.rlib >/dev/null 2>&1; }

rustc=
if ! has_target && command -v rustup >/dev/null; then
    timeout 300 rustup target add $target >/dev/null 2>&1
fi
if ! has_target; then
    if ! debian_std && can_install; then
        dpkg --add-architecture arm64
        install rustc-web libstd-rust-web-dev:arm64
        install rust-web-clippy
    fi
    debian_std || missing "a Rust standard library for $target" "rustup target add $target"
    rustc=/usr/bin/rustc
fi

[ -n "$rustc" ] && echo "export RUSTC=$rustc"
# With Debian's compiler, clippy must be Debian's as well.
[ -n "$rustc" ] && [ -x /usr/bin/cargo-clippy ] && echo "export ARM_CLIPPY='/usr/bin/cargo-clippy clippy'"
[ -z "$rustc" ] && echo "export ARM_CLIPPY='cargo clippy'"
# A folder of its own: Cargo lets only one process at a time build in a folder, and the host's programs are often built
# beside these.
echo "export CARGO_TARGET_DIR='${CARGO_TARGET_DIR:-$PWD/target}/arm'"
echo "export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc"
# Where programs find the cross compiler's C library. They are not linked statically: what is compiled for tests is then
# good for the shared library of the packages, too.
[ "$(uname -m)" = aarch64 ] || echo "export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu"
exit 0
