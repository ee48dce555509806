#!/usr/bin/env bash
# Counts cycles of one inference of ncnn or LiteRT on ARM cores by the model of benches/a64count, as scripts/arm-cycles.sh counts
# ours: the packages' AArch64 builds in an AArch64 Python under QEMU, one thread. The whole network counts, from a float
# picture (LiteRT: int8) to the raw heads, with its activation functions.
#
#   benches/peers/arm.sh ncnn STEM-int8 SIDE [cortex-a72|cortex-a76]       such as target/peers/yolov8n-640-int8 640
#   benches/peers/arm.sh litert STEM-int8.tflite SIDE [cortex-a72|cortex-a76]
#
# Models are those of `MODELS_ONLY=1 make bench-peers`. Once, Debian's AArch64 packages of Python 3.11 and wheels are put into
# target/arm-peers. Needs Debian, pip for Python 3, QEMU 6 to 8 and curl's way to the packages; takes a minute or a few.
set -eu
cd "$(dirname "$0")/../.."
[ $# -ge 3 ] || { sed -n '6,7s/^# *//p' "$0" >&2; exit 2; }
system=$1 model=$2 side=$3 cpu=${4:-cortex-a72}
case $cpu in
cortex-a72) part=0xd08 features="fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid" ;;
cortex-a76) part=0xd0b features="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp" ;;
*) echo "$cpu: expected cortex-a72 or cortex-a76" >&2; exit 2 ;;
esac

target=$(cargo metadata --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
folder=$target/arm-peers
root=$folder/root
if [ ! -e "$folder/ready" ]; then
    mkdir -p "$folder"/{apt/lists/partial,apt/archives/partial,debs,wheels,site} "$root"
    touch "$folder/apt/status"
    cat >"$folder/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$folder/apt";
Dir::State::status "$folder/apt/status";
Dir::Cache "$folder/apt";
CONF
    APT_CONFIG=$folder/apt.conf apt-get -qq update
    (cd "$folder/debs" && APT_CONFIG=$folder/apt.conf apt-get -qq download libc6 libgcc-s1 libstdc++6 libgomp1 zlib1g libexpat1 \
        libffi8 libbz2-1.0 liblzma5 libssl3 libuuid1 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib)
    for package in "$folder"/debs/*.deb; do dpkg -x "$package" "$root"; done
    # shellcheck disable=SC2046  # names and versions
    python3 -m pip download --quiet --no-deps --dest "$folder/wheels" --only-binary=:all: --python-version 311 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
        $(grep -E '^(ncnn|numpy|ai-edge-litert)==' benches/peers/requirements.txt)
    for wheel in "$folder"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$folder/site"; done
    touch "$folder/ready"
fi
# LiteRT asks what processor this is, and takes no answer of the host's for an ARM one. ncnn asks in other places.
rm -rf "$root"/{proc,sys}
if [ "$system" = litert ]; then
    mkdir -p "$root"/{proc,sys/devices/system/cpu}
    echo 0-3 | tee "$root"/sys/devices/system/cpu/{possible,present} >/dev/null
    for processor in 0 1 2 3; do
        printf 'processor\t: %s\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n' "$processor" "$features"
        printf 'CPU part\t: %s\nCPU revision\t: 3\n\n' "$part"
    done >"$root/proc/cpuinfo"
fi

cargo build --quiet --release --manifest-path benches/a64count/Cargo.toml --target-dir "$target/a64count"
for inferences in 1 2; do
    qemu-aarch64 -L "$root" -cpu "$cpu" -E PYTHONHOME="$root/usr" -E PYTHONPATH="$folder/site" -E PYTHONHASHSEED=0 -E OMP_NUM_THREADS=1 \
        -plugin "$target/a64count/release/liba64count.so,out=$folder/report.$inferences" \
        "$root/usr/bin/python3.11" benches/peers/worker.py "$system" "$model" "$side" 1 "$inferences" >/dev/null
done
python3 - "$folder/report" "${cpu/cortex-/}_cycles" <<'PYTHON'
import sys
path, figure = sys.argv[1:]
one, two = ({name: int(count) for name, count in map(str.split, open(f"{path}.{n}"))} for n in (1, 2))
print(f"{(two[figure] - one[figure]) / 1e6:.1f} million cycles by the model, not measured")
PYTHON
