#!/usr/bin/env bash
# Makes what people download, for each architecture, under dist/ (or DIST):
#   yolo-lowbit-VERSION-ARCH-linux.tar.gz   the command (static), libraries, header, man pages, a model
#   yolo-lowbit_VERSION_ARCH.deb            the command, man pages, completions, models
#   libyolo-lowbitSOVERSION_VERSION_ARCH.deb  the shared library
#   libyolo-lowbit-dev_VERSION_ARCH.deb     header, static library, pkg-config, CMake, examples
#
# scripts/dist.sh [x86_64|aarch64]...       default: both, or on ARM aarch64 alone.
#
# aarch64 is cross-compiled on other machines. QUICK=1 packs the libraries that the tests were compiled to: to try
# packages, not to hand them out. Its command is the one that `make install` builds, which is not static.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
soversion=${version%.*}
host=$(uname -m)
target_dir=${CARGO_TARGET_DIR:-target}
dist=${DIST:-dist}
export COMMAND=dist/yolo-lowbit LIBRARIES=release
[ -z "${QUICK:-}" ] || LIBRARIES=debug/deps
mkdir -p "$dist"
dist=$(cd "$dist" && pwd)
maintainer=${MAINTAINER:-yolo-lowbit <https://github.com/yolo-lowbit/yolo-lowbit>}

# $1: architecture. The command is linked statically: it runs on any Linux. The libraries are not,
# because a shared library cannot be, and because a C program brings its own libc.
build() (
    if [ -n "${QUICK:-}" ]; then
        if [ "$1" = "$host" ]; then make test-host TEST=--no-run; else make test-arm TEST=--no-run; fi
    fi
    options=
    if [ "$1" != "$host" ]; then
        environment=$(scripts/arm-env.sh)
        eval "$environment"
        options="--target $1-unknown-linux-gnu"
    fi
    if [ -n "${QUICK:-}" ]; then
        # shellcheck disable=SC2086  # options are several words, or none
        scripts/build-command.sh $options
        return
    fi
    # shellcheck disable=SC2086  # commands and options are several words, or none
    {
        cargo rustc --locked --release $options -p ylb-capi --lib --crate-type staticlib,cdylib
        scripts/build-command.sh $options -- -C target-feature=+crt-static
    }
)

# $1: architecture; the folder that `build` built in.
built() {
    if [ "$1" = "$host" ]; then echo "$target_dir"; else echo "$target_dir/arm/$1-unknown-linux-gnu"; fi
}

# $1: architecture; installs it below $2 with prefix $3 and library folder $4.
stage() {
    BUILT=$(built "$1") GENERATOR=${generator[*]} TOOLS=$tools DESTDIR=$2 PREFIX=$3 LIBDIR=$4 scripts/install.sh
}

# $1: shared library; the oldest glibc that has what it needs.
glibc() {
    "${tools}objdump" -T "$1" | sed -n 's/.*GLIBC_\([0-9][0-9.]*\).*/\1/p' | sort -V | tail -n 1
}

# $1: package, $2: Debian architecture, $3: folder with its files, $4: "Depends" line or nothing, $5: section, $6: description
package() {
    doc=$3/usr/share/doc/$1
    mkdir -p "$3/DEBIAN" "$doc"
    {
        echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
        echo "Upstream-Name: yolo-lowbit"
        echo "Source: https://github.com/yolo-lowbit/yolo-lowbit"
        echo
        echo "Files: *"
        echo "Copyright: the yolo-lowbit authors"
        echo "License: MIT or Apache-2.0"
        echo " /usr/share/doc/yolo-lowbit has both texts, and the licences of the libraries inside."
    } >"$doc/copyright"
    printf 'yolo-lowbit (%s) stable; urgency=medium\n\n  * See CHANGELOG.md of the project.\n\n -- %s  %s\n' \
        "$version" "$maintainer" "$(date -R -d "@$epoch")" | gzip -9n >"$doc/changelog.gz"
    {
        echo "Package: $1"
        echo "Version: $version"
        echo "Architecture: $2"
        case $1 in yolo-lowbit) echo "Multi-Arch: foreign" ;; *) echo "Multi-Arch: same" ;; esac
        echo "Maintainer: $maintainer"
        echo "Installed-Size: $(du -k -s "$3" | cut -f 1)"
        [ -z "$4" ] || echo "Depends: $4"
        echo "Section: $5"
        echo "Priority: optional"
        echo "Homepage: https://github.com/yolo-lowbit/yolo-lowbit"
        echo "Description: $6"
    } >"$3/DEBIAN/control"
    (cd "$3" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$3/DEBIAN/md5sums"
    # The same files give the same package.
    find "$3" -exec touch -h -d "@$epoch" {} +
    SOURCE_DATE_EPOCH=$epoch dpkg-deb --build --root-owner-group -Zxz "$3" "$dist/$1_${version}_$2.deb"
}

# $1: folder to move from, $2: to, the rest: paths below usr.
move() {
    from=$1 to=$2
    shift 2
    for path; do
        mkdir -p "$to/usr/$(dirname "$path")"
        mv "$from"/usr/$path "$to/usr/$(dirname "$path")/"
    done
}

# $1: architecture
debs() {
    command -v dpkg-deb >/dev/null || { echo "dist: no dpkg-deb here: no .deb packages" >&2; return; }
    case $1 in x86_64) debian=amd64 ;; aarch64) debian=arm64 ;; esac
    triplet=$1-linux-gnu
    stage "$1" "$work/all" /usr "/usr/lib/$triplet"
    move "$work/all" "$work/lib" "lib/$triplet/libyolo_lowbit.so.$soversion" "lib/$triplet/libyolo_lowbit.so.$version"
    move "$work/all" "$work/dev" include "lib/$triplet" share/doc/yolo-lowbit/examples
    mkdir -p "$work/dev/usr/share/doc/libyolo-lowbit-dev"
    mv "$work/dev/usr/share/doc/yolo-lowbit/examples" "$work/dev/usr/share/doc/libyolo-lowbit-dev/"
    rmdir "$work/dev/usr/share/doc/yolo-lowbit"
    package yolo-lowbit "$debian" "$work/all" "" utils \
        "low-bit YOLO inference on CPUs: the command
 Converts, runs, inspects and times YOLO networks of 1 to 8 bit. The command is
 linked statically."
    package "libyolo-lowbit$soversion" "$debian" "$work/lib" "libc6 (>= $(glibc "$work/lib/usr/lib/$triplet/libyolo_lowbit.so.$version")), libgcc-s1" libs \
        "low-bit YOLO inference on CPUs: the shared library
 For programs that find objects in pictures."
    package libyolo-lowbit-dev "$debian" "$work/dev" "libyolo-lowbit$soversion (= $version)" libdevel \
        "low-bit YOLO inference on CPUs: for compiling C programs
 Header, static library, pkg-config and CMake files, examples."
}

# $1: architecture
archive() {
    name=yolo-lowbit-$version-$1-linux
    PC_PREFIX='${pcfiledir}/../..' stage "$1" "$work/archive/$name" / /lib
    cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$work/archive/$name/"
    tar -C "$work/archive" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
        -czf "$dist/$name.tar.gz" "$name"
}

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
if [ $# = 0 ]; then
    if [ "$host" = aarch64 ]; then set -- aarch64; else set -- x86_64 aarch64; fi
fi
for architecture; do
    case $architecture in x86_64 | aarch64) ;; *) echo "dist: no packages for $architecture: x86_64, aarch64" >&2; exit 2 ;; esac
    if [ "$architecture" != "$host" ] && [ "$architecture" != aarch64 ]; then
        echo "dist: packages for $architecture are made on such a machine" >&2
        exit 2
    fi
    build "$architecture"
    tools=
    generator=("$(built "$architecture")/$COMMAND")
    if [ "$architecture" != "$host" ]; then
        eval "$(scripts/arm-env.sh | grep QEMU_LD_PREFIX)"
        generator=(qemu-aarch64 "${generator[@]}")
        tools=aarch64-linux-gnu-
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    archive "$architecture"
    debs "$architecture"
    rm -rf "$work"
done
ls -l "$dist"
