#!/usr/bin/env bash
# Times yolo-lowbit beside ONNX Runtime, OpenVINO, ncnn and LiteRT: see bench.py. About 7 minutes on
# two cores, once the models are made (2 more) and the packages installed.
#
#   UPDATE=1                   write benches/results/x86-*.json and the tables of docs/performance.md
#   MODELS_ONLY=1              make the models and stop
#   YLB_PEER_MODELS=FOLDER     where models and Python packages are kept (target/peers)
#   PEERS_PYTHON=PYTHON        a Python that has requirements.txt; otherwise one is set up there
set -eu
cd "$(dirname "$0")/../.."

target=$(cargo metadata --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
folder=${YLB_PEER_MODELS:-$target/peers}
python=${PEERS_PYTHON:-$folder/venv/bin/python}
if [ ! -x "$python" ]; then
    python3 -m venv "$folder/venv"
    "$python" -m pip install --quiet --requirement benches/peers/requirements.txt
fi
cargo build --quiet --release --package yolo-lowbit
exec "$python" benches/peers/bench.py --program "$target/release/yolo-lowbit" --models "$folder" \
    ${UPDATE:+--update} ${MODELS_ONLY:+--only-models} "$@"
