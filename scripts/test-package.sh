#!/usr/bin/env bash
# Uses what `make install` and `make dist` make as people would: compiles C programs against the
# installed library, installs, runs and removes the Debian packages in folders of their own, and
# compares the boxes that library and command find. 64-bit ARM runs under QEMU.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
soversion=${version%.*}
host=$(uname -m)

say() { echo "== $*"; }
fail() { echo "test-package: $*" >&2; exit 1; }

missing() {
    echo "SKIPPED: the package tests need $1 (Debian: apt install $2)." >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
}
need() {
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"; } >/dev/null 2>&1 || true
    fi
    command -v "$1" >/dev/null || missing "$1" "$2"
}
need pkg-config pkg-config
need dpkg-deb dpkg
need cmake cmake
need python3 python3
need djpeg libjpeg-turbo-progs
scripts/arm-env.sh >/dev/null || missing "a cross toolchain and QEMU" "gcc-aarch64-linux-gnu qemu-user"

# The command's JSON as the lines that the C examples print.
boxes() {
    python3 -c 'import json, sys
for found in json.load(sys.stdin)["images"][0]["detections"]:
    box = found["box"]
    print("%s %.2f: %.1f %.1f %.1f %.1f" % (found["name"], found["confidence"], box["x1"], box["y1"], box["x2"], box["y2"]))'
}

# The sample picture as PPM for the C programs and, pixel for pixel the same, as PNG for the command.
sample() {
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

# Packages are tried here, not timed: compiled in a third of the time.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

say "packages"
sample
scripts/dist.sh >/dev/null
for architecture in x86_64 aarch64; do
    case $architecture in x86_64) debian=amd64 run= cross= ;; aarch64) debian=arm64 run=qemu-aarch64 cross=aarch64-linux-gnu- ;; esac
    if [ $architecture = "$host" ]; then run= cross=; fi
    root=$work/$architecture
    mkdir -p "$root/var/lib/dpkg"
    : >"$root/var/lib/dpkg/status"
    # The root has neither libc nor an architecture: only files are looked at.
    dpkg_root() { dpkg --root="$root" --force-architecture --force-depends --force-not-root --log=/dev/null "$@" 2>/dev/null; }

    say "$debian: install"
    dpkg_root --install dist/*_"${version}_$debian.deb" >/dev/null
    usr=$root/usr
    lib=$usr/lib/$architecture-linux-gnu
    command=$usr/bin/yolo-lowbit
    [ "$($run "$command" --version)" = "yolo-lowbit $version" ] || fail "$debian: the command's version is wrong"
    $run "$command" run "$usr/share/yolo-lowbit/cells-w4a4.ylb" "$work/sample.png" --no-save --json |
        boxes >"$work/expected"
    [ "$(wc -l <"$work/expected")" -gt 5 ] || fail "$debian: the command finds nothing"
    gzip -dc "$usr/share/man/man1/yolo-lowbit-run.1.gz" | grep -q confidence || fail "$debian: no manual"
    grep -q yolo-lowbit "$usr/share/bash-completion/completions/yolo-lowbit" || fail "$debian: no completions"

    say "$debian: C programs"
    export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$lib/pkgconfig
    flags=$(pkg-config --cflags --libs yolo-lowbit)
    static=$(pkg-config --static --cflags --libs yolo-lowbit)
    example=$usr/share/doc/libyolo-lowbit-dev/examples/detect.c
    # shellcheck disable=SC2086  # the flags are many words
    {
        "${cross}gcc" -o "$work/dynamic" "$example" $flags
        "${cross}gcc" -static -o "$work/static" "$example" $static
        "${cross}g++" -std=c++17 -o "$work/cpp" "${example}pp" $flags
    }
    for program in static dynamic cpp; do
        if [ $program = static ]; then
            $run "$work/$program" "$usr/share/yolo-lowbit/cells-w4a4.ylb" "$work/sample.ppm" >"$work/found"
        elif [ -z "$run" ]; then
            LD_LIBRARY_PATH=$lib "$work/$program" "$usr/share/yolo-lowbit/cells-w4a4.ylb" "$work/sample.ppm" >"$work/found"
        else
            # No ARM libc to load libraries with; that it links was shown.
            continue
        fi
        cmp "$work/found" "$work/expected" || fail "$debian: the $program program finds other boxes than the command"
    done

    if [ -z "$run" ]; then
        say "$debian: CMake"
        mkdir "$work/cmake"
        cat >"$work/cmake/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.13)
project(detect C)
find_package(yolo-lowbit $soversion REQUIRED)
foreach(kind yolo-lowbit static)
  add_executable(detect-\${kind} $example)
  target_link_libraries(detect-\${kind} PRIVATE yolo-lowbit::\${kind})
endforeach()
EOF
        cmake -S "$work/cmake" -B "$work/cmake/build" -D "CMAKE_PREFIX_PATH=$usr" -D CMAKE_LIBRARY_ARCHITECTURE=$architecture-linux-gnu >/dev/null
        cmake --build "$work/cmake/build" >/dev/null
        for kind in yolo-lowbit static; do
            "$work/cmake/build/detect-$kind" "$usr/share/yolo-lowbit/cells-w4a4.ylb" "$work/sample.ppm" | cmp - "$work/expected" ||
                fail "$debian: the CMake program with $kind finds other boxes"
        done
    fi

    say "$debian: remove"
    dpkg_root --purge libyolo-lowbit-dev "libyolo-lowbit$soversion" yolo-lowbit >/dev/null
    left=$(find "$root" -path "$root/var" -prune -o -type f -print)
    [ -z "$left" ] || fail "$debian: left behind: $left"

    say "$debian: archive"
    tar -C "$work" -xzf "dist/yolo-lowbit-$version-$architecture-linux.tar.gz"
    unpacked=$work/yolo-lowbit-$version-$architecture-linux
    $run "$unpacked/bin/yolo-lowbit" info "$unpacked/share/yolo-lowbit/cells-w2a2.ylb" >/dev/null
    for file in lib/libyolo_lowbit.a "lib/libyolo_lowbit.so.$soversion" include/yolo_lowbit.h share/doc/yolo-lowbit/third-party-licences.txt README.md; do
        [ -s "$unpacked/$file" ] || fail "$architecture: the archive has no $file"
    done
done

say "a 32-bit ARM build is refused"
arm32=armv7-unknown-linux-gnueabihf
if [ -d "$(rustc --print sysroot)/lib/rustlib/$arm32/lib" ] || { command -v rustup >/dev/null && timeout 300 rustup target add $arm32 2>/dev/null; }; then
    if text=$(cargo check -p ylb-kernels --target $arm32 2>&1); then fail "32-bit ARM was accepted"; fi
    echo "$text" | grep -q "needs a 64-bit system" || fail "no word about 64 bits: $text"
else
    echo "SKIPPED: no Rust standard library for $arm32 to try it with" >&2
fi
say "all packages work"
