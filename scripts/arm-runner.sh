#!/usr/bin/env bash
# Runs an ARM test program under QEMU: cargo's runner.
#     arm-runner.sh CPU PACKAGES PROGRAM ARGUMENTS...
# PACKAGES: names separated by commas, or `all`. The tests of others are not run, which is said: they have
# no code of their own for any CPU, and ran on the first one. (Leaving their packages out of cargo's call
# instead would change the features of dependencies, and compile everything again.)
set -eu
cpu=$1 packages=$2
shift 2
case ,$packages, in
,all, | *,"$CARGO_PKG_NAME",*) exec qemu-aarch64 -cpu "$cpu" "$@" ;;
*) echo "not run on $cpu: $CARGO_PKG_NAME has no code of its own for it" ;;
esac
