#!/usr/bin/env bash
# Installs what `make install` has built:
#   the command, both libraries, the header, pkg-config and CMake files, man pages, completions, a model.
# Variables, with the usual meanings:
#   PREFIX   /usr/local        LIBDIR  $PREFIX/lib      DESTDIR  (nothing)
#   BUILT    target            the folder that Cargo has built in
#   COMMAND dist/yolo-lowbit, LIBRARIES release     where the command and the libraries are in it
#   GENERATOR (the command)   the program that writes man pages, if that cannot run here
#   PC_PREFIX $PREFIX          the prefix that pkg-config tells: ${pcfiledir}/../.. in an archive, unpacked anywhere
#   TOOLS                             prefix of the binutils, such as aarch64-linux-gnu-
set -eu
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
prefix=${prefix%/}
libdir=${LIBDIR:-$prefix/lib}
root=${DESTDIR:-}
built=${BUILT:-${CARGO_TARGET_DIR:-target}}
command=$built/${COMMAND:-dist/yolo-lowbit}
libraries=$built/${LIBRARIES:-release}
generator=${GENERATOR:-$command}
pc_prefix=${PC_PREFIX:-$prefix}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
soversion=${version%.*}
case $libdir in "$prefix"/*) pc_libdir=\${prefix}${libdir#"$prefix"} ;; *) pc_libdir=$libdir ;; esac

put() { install -D -m "$1" "$2" "$root$3"; }

# Fills in a template.
fill() {
    mkdir -p "$(dirname "$root$2")"
    # From LIBDIR/cmake/yolo-lowbit up to the prefix.
    to_prefix=$(realpath -m --relative-to="$libdir/cmake/yolo-lowbit" "${prefix:-/}")
    sed -e "s|@PREFIX@|$pc_prefix|g" -e "s|@LIBDIR@|$pc_libdir|g" -e "s|@VERSION@|$version|g" \
        -e "s|@SOVERSION@|$soversion|g" -e "s|@TO_PREFIX@|$to_prefix|g" "$1" >"$root$2"
    chmod 644 "$root$2"
}

put 755 "$command" "$prefix/bin/yolo-lowbit"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
scripts/archive.sh "$libraries/libyolo_lowbit.a" "$made/libyolo_lowbit.a"
put 644 "$made/libyolo_lowbit.a" "$libdir/libyolo_lowbit.a"
put 644 "$libraries/libyolo_lowbit.so" "$libdir/libyolo_lowbit.so.$version"
ln -sf "libyolo_lowbit.so.$version" "$root$libdir/libyolo_lowbit.so.$soversion"
ln -sf "libyolo_lowbit.so.$soversion" "$root$libdir/libyolo_lowbit.so"
put 644 capi/include/yolo_lowbit.h "$prefix/include/yolo_lowbit.h"
fill capi/yolo-lowbit.pc.in "$libdir/pkgconfig/yolo-lowbit.pc"
fill capi/cmake/yolo-lowbit-config.cmake.in "$libdir/cmake/yolo-lowbit/yolo-lowbit-config.cmake"
fill capi/cmake/yolo-lowbit-config-version.cmake.in "$libdir/cmake/yolo-lowbit/yolo-lowbit-config-version.cmake"

pages=$made
$generator generate man "$pages/man"
$generator generate completions "$pages/completions"
for page in "$pages"/man/*.1; do
    gzip -9n "$page"
    put 644 "$page.gz" "$prefix/share/man/man1/$(basename "$page").gz"
done
put 644 "$pages/completions/yolo-lowbit.bash" "$prefix/share/bash-completion/completions/yolo-lowbit"
put 644 "$pages/completions/_yolo-lowbit" "$prefix/share/zsh/vendor-completions/_yolo-lowbit"
put 644 "$pages/completions/yolo-lowbit.fish" "$prefix/share/fish/vendor_completions.d/yolo-lowbit.fish"
for model in models/*.ylb models/README.md models/sample.jpg; do
    put 644 "$model" "$prefix/share/yolo-lowbit/$(basename "$model")"
done
for licence in LICENSE-MIT LICENSE-APACHE; do
    put 644 $licence "$prefix/share/doc/yolo-lowbit/$licence"
done
scripts/licences.sh >"$pages/third-party-licences.txt"
put 644 "$pages/third-party-licences.txt" "$prefix/share/doc/yolo-lowbit/third-party-licences.txt"
for example in capi/examples/*; do
    put 644 "$example" "$prefix/share/doc/yolo-lowbit/examples/$(basename "$example")"
done
