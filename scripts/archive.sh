#!/usr/bin/env bash
# Makes one object of a static library for C: only what the C interface reaches, without debug
# information, and no other global names than its own, so that it cannot clash with another library
# written in Rust.
#
#     scripts/archive.sh IN.a OUT.a        TOOLS=aarch64-linux-gnu- for other machines' archives
#
# As rustc makes it, the archive holds all of Rust's standard library: 12 MB instead of 3.3 MB, and
# warnings about getaddrinfo when a program is linked with -static.
set -eu
tools=${TOOLS:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

names=$("${tools}nm" --defined-only --extern-only "$1" 2>/dev/null | sed -n 's/^.* T \(ylb_.*\)/\1/p')
[ -n "$names" ] || { echo "archive: no ylb_ functions in $1" >&2; exit 1; }
roots=$(echo "$names" | sed 's/^/-u /')
# shellcheck disable=SC2086  # the roots are many words
"${tools}ld" -r --gc-sections $roots -o "$work/yolo_lowbit.o" "$1"
# The compiler's intermediate code confuses tools of other versions.
"${tools}objcopy" --remove-section .llvmbc --remove-section .llvmcmd --strip-debug \
    --wildcard --keep-global-symbol='ylb_*' "$work/yolo_lowbit.o"
rm -f "$2"
"${tools}ar" rcsD "$2" "$work/yolo_lowbit.o"
