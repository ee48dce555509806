#!/usr/bin/env bash
# Uses what `make install` and `make dist` make as people would. For each architecture, in a folder with
# a small Debian: installs the packages with its dpkg, runs the command, compiles C and C++ programs against
# both libraries, compares their boxes with the command's, removes everything. Then the same in short with
# the archives and `make install`; a build for 32-bit ARM, which must be refused; and the commands of the
# documents. 64-bit ARM runs under QEMU.
#
#     scripts/test-package.sh [x86_64|aarch64]...       default: all that dist.sh makes here
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
soversion=${version%.*}
host=$(uname -m)
examples=$PWD/capi/examples

# Packages hold what the tests were compiled to. `make install` compiles its libraries as tests are, and installs the
# command as people get it, whose size is checked.
export QUICK=1 LIBRARY_PROFILE=dev
export DIST=$work/dist

say() { echo "== $*"; }
fail() { echo "test-package: $*" >&2; exit 1; }

missing() {
    echo "SKIPPED: the package tests need $1 (Debian: apt install $2)." >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
}
# $1: a package, $2 and more: a command that succeeds where it is installed.
need_package() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"; } >/dev/null 2>&1 || true
    fi
    "$@" >/dev/null 2>&1 || missing "$package" "$package"
}
need() { need_package "$2" command -v "$1"; }
need pkg-config pkg-config
need dpkg-deb dpkg
need apt-get apt
need proot proot
need cmake cmake
need g++ g++
need python3 python3
need jq jq
need_package python3-numpy python3 -c "import numpy"
need djpeg libjpeg-turbo-progs
environment=$(scripts/arm-env.sh) || missing "a cross toolchain and QEMU" "gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user"

# The command's JSON as the lines that the C examples print.
boxes() {
    python3 -c 'import json, sys
for found in json.load(sys.stdin)["images"][0]["detections"]:
    box = found["box"]
    print("%s %.2f: %.1f %.1f %.1f %.1f" % (found["name"], found["confidence"], box["x1"], box["y1"], box["x2"], box["y2"]))'
}

# The sample picture as PPM for the C programs and, pixel for pixel the same, as PNG for the command.
make_sample() {
    djpeg models/sample.jpg >"$work/sample.ppm"
    python3 -c 'import struct, sys, zlib
with open(sys.argv[1], "rb") as file:
    _, size, _, pixels = file.read().split(b"\n", 3)
width, height = map(int, size.split())
rows = b"".join(b"\0" + pixels[3 * width * y:][:3 * width] for y in range(height))
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
with open(sys.argv[2], "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)))
    file.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))' "$work/sample.ppm" "$work/sample.png"
}

# A program's boxes must be the command's. $1: what it is; the rest: how to call it, with the model.
agrees() {
    what=$1
    shift
    "$@" "$sample.ppm" >"$work/found" || fail "$what: exit status $?"
    cmp "$work/found" "$work/expected" || fail "$what: finds other boxes than the command"
}

# $1: Debian architecture. A small Debian in the folder $root: what dpkg needs, and the C and C++ libraries.
# Downloaded with lists of packages of its own; nothing of this machine is used or changed.
debian_root() {
    local apt=$work/apt-$1
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/tmp"
    local options="-qq -o APT::Architecture=$1 -o APT::Architectures=$1 -o APT::Sandbox::User=$(id -un) -o Debug::NoLocking=1
        -o Dir::State::lists=$apt/lists -o Dir::State::status=/dev/null -o Dir::Cache=$apt -o Acquire::Languages=none"
    # shellcheck disable=SC2086  # the options are many words
    apt-get $options update &&
        apt-get $options --yes --no-install-recommends --download-only install dpkg tar dash coreutils diffutils libc-bin libstdc++6 ||
        missing "Debian's packages for $1" "(a network)"
    for deb in "$apt"/archives/*.deb; do
        # Unpacked, and said to be installed: their own scripts have nothing to do here.
        dpkg-deb -x "$deb" "$root"
        echo "Status: install ok installed"
        dpkg-deb -f "$deb" Package Version Architecture Multi-Arch Maintainer Provides Description
        echo
    done >"$root/var/lib/dpkg/status"
    [ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"
}

# Runs a program of the folder $root as if that were the computer.
inside() {
    # shellcheck disable=SC2086  # the emulator is two words, or none
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root timeout 120 proot -0 $emulator -r "$root" -b /proc -b /dev -w /tmp "$@"
}

files() { find "$root" -path "$root/var" -prune -o -path "$root/tmp" -prune -o -path "$root/dev" -prune -o -path "$root/proc" -prune \
    -o ! -type d -print | sort; }

# $1: Debian architecture
try_packages() {
    say "$1: install"
    debian_root "$1"
    [ "$(inside dpkg --print-architecture)" = "$1" ] || fail "$1: no such computer"
    files >"$work/before"
    cp "$DIST"/*_"${version}_$1.deb" "$work"/sample.* "$root/tmp/"
    inside sh -c "dpkg --install *_${version}_$1.deb" >"$work/log" 2>&1 || fail "$1: $(cat "$work/log")"
    sample=/tmp/sample
    models=/usr/share/yolo-lowbit
    # Not `inside`: PRoot 5.1 does not know the system call `statx`.
    command="$run $root/usr/bin/yolo-lowbit"
    [ "$($command --version)" = "yolo-lowbit $version" ] || fail "$1: the command's version is wrong"
    $command run "$root$models/cells-w4a4.ylb" "$work/sample.png" --quiet --no-save --json | boxes >"$work/boxes"
    [ "$(wc -l <"$work/boxes")" -gt 5 ] || fail "$1: the command finds nothing"
    [ -e "$work/expected" ] || cp "$work/boxes" "$work/expected"
    cmp "$work/boxes" "$work/expected" || fail "$1: other boxes than on the other architecture"
    usr=$root/usr
    lib=$usr/lib/$architecture-linux-gnu
    gzip -dc "$usr/share/man/man1/yolo-lowbit-run.1.gz" | grep -q confidence || fail "$1: no manual"
    grep -q yolo-lowbit "$usr/share/bash-completion/completions/yolo-lowbit" || fail "$1: no completions"

    say "$1: C and C++ programs"
    if "${cross}nm" -D --defined-only "$lib/libyolo_lowbit.so" | grep -v ' ylb_'; then
        fail "$1: the shared library has names that are not its own"
    fi
    export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$lib/pkgconfig
    flags=$(pkg-config --cflags --libs yolo-lowbit)
    static=$(pkg-config --static --cflags --libs yolo-lowbit)
    unset PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR
    example=$usr/share/doc/libyolo-lowbit-dev/examples/detect.c
    # Compiled as for tests, the static library needs more of libc than a release: linking warns.
    # shellcheck disable=SC2086  # the flags are many words
    {
        "${cross}gcc" -o "$root/tmp/dynamic" "$example" $flags &&
            "${cross}g++" -std=c++17 -o "$root/tmp/dynamic-cpp" "${example}pp" $flags &&
            "${cross}gcc" -static -o "$root/tmp/static" "$example" $static &&
            # Nothing but libc, libm, libpthread, and the compiler's own library.
            "${cross}gcc" -nodefaultlibs -o "$root/tmp/alone" "$example" "-I$usr/include" "$lib/libyolo_lowbit.a" \
                -lpthread -lm -lc -lgcc_eh -lgcc -lc
    } 2>"$work/log" || fail "$1: does not link: $(cat "$work/log")"
    for program in dynamic dynamic-cpp static alone; do
        agrees "$1, $program" inside ./$program $models/cells-w4a4.ylb
    done

    say "$1: remove"
    inside dpkg --purge libyolo-lowbit-dev "libyolo-lowbit$soversion" yolo-lowbit >"$work/log" 2>&1 || fail "$1: $(cat "$work/log")"
    files | diff "$work/before" - || fail "$1: left behind, or taken away"
}

try_archive() {
    say "$architecture: archive"
    unpacked=$work/yolo-lowbit-$version-$architecture-linux
    tar -C "$work" -xzf "$DIST/yolo-lowbit-$version-$architecture-linux.tar.gz"
    sample=$work/sample
    model=$unpacked/share/yolo-lowbit/cells-w4a4.ylb
    $run "$unpacked/bin/yolo-lowbit" run "$model" "$sample.png" --quiet --no-save --json | boxes |
        cmp - "$work/expected" || fail "$architecture: the archive's command finds other boxes"
    # Wherever it was unpacked.
    static=$(PKG_CONFIG_LIBDIR=$unpacked/lib/pkgconfig pkg-config --static --cflags --libs yolo-lowbit)
    # shellcheck disable=SC2086
    "${cross}gcc" -static -o "$work/static" "$examples/detect.c" $static 2>"$work/log" || fail "$architecture: $(cat "$work/log")"
    agrees "$architecture, archive" timeout 120 $run "$work/static" "$model"
    for file in "lib/libyolo_lowbit.so.$soversion" share/doc/yolo-lowbit/third-party-licences.txt README.md \
        share/zsh/vendor-completions/_yolo-lowbit share/fish/vendor_completions.d/yolo-lowbit.fish; do
        [ -s "$unpacked/$file" ] || fail "$architecture: the archive has no $file"
    done
}

# What `make install` puts under a prefix of one's own, with pkg-config and CMake.
try_install() {
    say "make install"
    prefix=$work/prefix
    make --quiet install PREFIX="$prefix" >/dev/null
    sample=$work/sample
    model=$prefix/share/yolo-lowbit/cells-w4a4.ylb
    "$prefix/bin/yolo-lowbit" run "$model" "$sample.png" --quiet --no-save --json | boxes | cmp - "$work/expected"
    # shellcheck disable=SC2046
    gcc -o "$work/dynamic" "$examples/detect.c" $(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs yolo-lowbit)
    agrees "make install" timeout 120 env "LD_LIBRARY_PATH=$prefix/lib" "$work/dynamic" "$model"
    mkdir "$work/cmake"
    cat >"$work/cmake/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.13)
project(detect C)
find_package(yolo-lowbit $soversion REQUIRED)
foreach(kind yolo-lowbit static)
  add_executable(detect-\${kind} $examples/detect.c)
  target_link_libraries(detect-\${kind} PRIVATE yolo-lowbit::\${kind})
endforeach()
EOF
    cmake -S "$work/cmake" -B "$work/cmake/build" -D "CMAKE_PREFIX_PATH=$prefix" >/dev/null
    cmake --build "$work/cmake/build" >/dev/null
    for kind in yolo-lowbit static; do
        agrees "CMake, $kind" timeout 120 "$work/cmake/build/detect-$kind" "$model"
    done
}

# There is no 32-bit version: the compiler says so, and what to do.
try_32_bit() {
    say "a build for 32-bit ARM is refused"
    local target=armv7-unknown-linux-gnueabihf
    if command -v rustup >/dev/null && timeout 60 rustup target add $target >/dev/null 2>&1; then
        set -- cargo check --target $target -p ylb-kernels
    else
        # Without a standard library for it: this machine's, told that it is such a machine.
        set -- cargo rustc -p ylb-kernels --lib -- --cfg 'target_arch="arm"' -A explicit_builtin_cfgs_in_flags
    fi
    if "$@" >"$work/refusal" 2>&1; then fail "32-bit ARM was accepted: $*"; fi
    grep -q "needs a 64-bit system on ARM" "$work/refusal" || fail "no word about 64 bits: $(cat "$work/refusal")"
}

make_sample
say "packages and archives"
scripts/dist.sh "$@" >/dev/null 2>"$work/log" || fail "scripts/dist.sh: $(tail -n 40 "$work/log")"
[ $# -gt 0 ] || set -- x86_64 aarch64
for architecture; do
    case $architecture in x86_64) debian=amd64 ;; aarch64) debian=arm64 ;; esac
    run='' emulator='' cross=''
    if [ $architecture != "$host" ]; then
        # With the C library of the small Debian that `try_packages` makes.
        run="qemu-aarch64 -L $work/$architecture" emulator="-q qemu-aarch64" cross=aarch64-linux-gnu-
    fi
    ls "$DIST"/*"$debian.deb" >/dev/null 2>&1 || { say "$architecture: not made on this machine"; continue; }
    root=$work/$architecture
    try_packages $debian
    try_archive
done
try_install
try_32_bit
say "size"
scripts/check-size.sh
if [ "$host" != aarch64 ]; then
    say "the command as people get it, on ARM"
    (
        eval "$environment"
        qemu-aarch64 "$CARGO_TARGET_DIR/aarch64-unknown-linux-gnu/dist/yolo-lowbit" run models/cells-w4a4.ylb "$work/sample.png" \
            --quiet --no-save --json
    ) | boxes | cmp - "$work/expected" || fail "the command that was compiled for ARM finds other boxes"
fi
say "crates"
# Their contents are compiled above; what a registry wants to know of them is checked here.
cargo publish --workspace --dry-run --no-verify --allow-dirty >"$work/log" 2>&1 || fail "cargo publish: $(grep -v "ignoring test" "$work/log")"
say "commands of the documents"
scripts/test-documents.py >"$work/log" 2>&1 || fail "a command of a document: $(tail -n 40 "$work/log")"
grep '^== ' "$work/log"
say "packages and documents work"
