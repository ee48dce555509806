#!/usr/bin/env bash
# Prints name, version and licence of every crate inside the command and the C library, and then their
# licence texts, each once.
set -eu
cd "$(dirname "$0")/.."
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src

# name version licence, without our own crates, which have a path.
crates=$(for package in yolo-lowbit ylb-capi; do
    cargo tree --locked -p $package -e normal --prefix none --format '{p}|{l}'
done | sed -e 's/ (\*)$//' -e 's/ (proc-macro)//' | grep -v ' (/' | sed 's/ v\([0-9]\)/ \1/' | sort -u)

echo "The programs contain these libraries:"
echo
echo "$crates" | sed 's/|/: /'
echo
seen=$(mktemp -d)
trap 'rm -rf "$seen"' EXIT
echo "$crates" | cut -d '|' -f 1 | while read -r name version; do
    for text in "$registry"/*/"$name-$version"/{LICEN[CS]E,COPYING,UNLICENSE,NOTICE}*; do
        [ -f "$text" ] || continue
        sum=$(sha256sum <"$text" | cut -d ' ' -f 1)
        [ -e "$seen/$sum" ] && continue
        touch "$seen/$sum"
        printf '\n==== %s %s: %s\n\n' "$name" "$version" "$(basename "$text")"
        cat "$text"
    done
done
