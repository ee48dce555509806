#!/usr/bin/env python3
"""Times yolo-lowbit and the programs that one would use instead on this machine, one after another in
turns (A B C, A B C, ...) so that all meet the same clock and the same neighbours.

What is timed: a network (YOLOv5, YOLOv8n, YOLOX-nano) up to the raw outputs of its heads, batch 1, from pixels in
memory. Reading, resizing, decoding of boxes and their suppression are left out for everyone. Weights are
random: they do not matter for speed. Models are made once and kept in --models.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from network import Graph
from published import ROOT, commit, publish

# Title -> system of worker.py, suffix of the model, environment.
PEERS = {
    "LiteRT INT8": ("litert", "int8.tflite", {}),
    "OpenVINO INT8": ("openvino", "int8.onnx", {}),
    "OpenVINO INT8, no AMX": ("openvino", "int8.onnx", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}),
    "ONNX Runtime INT8": ("onnxruntime", "int8.onnx", {}),
    "ncnn INT8": ("ncnn", "int8", {}),
    "OpenVINO FP32": ("openvino", "fp32.onnx", {}),
    "ONNX Runtime FP32": ("onnxruntime", "fp32.onnx", {}),
    "ncnn FP32": ("ncnn", "fp32", {}),
}
# Title -> bits, activation function, environment. The peers' networks have SiLU.
OURS = {bits.upper(): (bits, "relu", {}) for bits in ("w1a1", "w1a2", "w2a2", "w4a4", "w8a8")}
OURS |= {f"{bits.upper()} SiLU": (bits, "silu", {}) for bits in ("w2a2", "w4a4", "w8a8")}
OURS |= {f"{title}, no AMX": (*network, {"YLB_KERNELS": "avx512"}) for title, (*network, _) in OURS.items()}
PACKAGES = {"LiteRT": "ai-edge-litert", "OpenVINO": "openvino", "ONNX Runtime": "onnxruntime", "ncnn": "ncnn"}


class Peer:
    """A worker that has loaded its model."""

    def __init__(self, title, stem, side, threads):
        system, suffix, environment = PEERS[title]
        command = [sys.executable, str(HERE / "worker.py"), system, f"{stem}-{suffix}", str(side), str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)} | environment)
        self.start = self.answer()
        self.times = []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"exit status {self.process.wait()}")
        return json.loads(line)

    def turn(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        self.times += self.answer()

    def finish(self):
        self.process.stdin.close()
        memory = self.answer()
        self.process.wait()
        return described(self.times, self.start["load_ms"], self.start["first_ms"], memory)


class Own:
    """The command, once for each turn: it makes its network in the process."""

    def __init__(self, program, network, title, side, threads):
        bits, function, environment = OURS[title]
        self.command = [program, "bench", "--net", network, "--bits", bits, "--imgsz", str(side)]
        self.command += ["--activation", function, "--threads", str(threads), "--json"]
        self.environment = os.environ | environment
        self.documents = [self.run(1, 3)]

    def run(self, warmup, iterations):
        command = [*self.command, "--warmup", str(warmup), "--iterations", str(iterations)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=self.environment)
        return json.loads(run.stdout)

    def turn(self, seconds):
        iterations = int(1e3 * seconds / self.documents[0]["latency_ms"]["median"]) + 1
        self.documents.append(self.run(2, iterations))

    def finish(self):
        documents = self.documents[1:]
        # The command reports statistics of each turn; a turn's median stands for its inferences.
        row = {"min_ms": min(document["latency_ms"]["min"] for document in documents)}
        row["median_ms"] = statistics.median(document["latency_ms"]["median"] for document in documents)
        row["inferences"] = sum(document["iterations"] for document in documents)
        row["load_ms"] = min(document["load_ms"] for document in documents)
        row["first_ms"] = min(document["first_ms"] for document in documents)
        row["peak_memory_bytes"] = max(document.get("peak_memory_bytes", 0) for document in documents)
        return row


def described(times, load, first, memory):
    return {"min_ms": min(times), "median_ms": statistics.median(times), "inferences": len(times),
            "load_ms": load, "first_ms": first, "peak_memory_bytes": memory}


def make_models(folder, networks):
    """Writes the models that are missing. Returns (network, side) -> path without suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    stems = {}
    for network, side in networks:
        stem = stems[network, side] = folder / f"{network}-{side}"
        # The one written last tells that all are there.
        if stem.with_name(f"{stem.name}-int8.tflite").exists():
            continue
        print(f"making models of {network} at {side}", file=sys.stderr)
        from writers import to_ncnn, to_onnx, to_tflite

        graph = Graph(network, side)
        to_onnx.write_float(graph, f"{stem}-fp32.onnx")
        to_onnx.write_int8(f"{stem}-fp32.onnx", f"{stem}-int8.onnx", side)
        ranges = to_onnx.ranges(f"{stem}-fp32.onnx", side)
        to_ncnn.write(graph, f"{stem}-fp32")
        to_ncnn.write(graph, f"{stem}-int8", ranges)
        to_tflite.write(graph, f"{stem}-int8.tflite", ranges)
    return stems


def measure(options, stem, network, side, threads):
    """Rows of one network, size and number of threads, by title."""
    contestants = {}
    for title in options.peers:
        try:
            contestants[title] = Peer(title, stem, side, threads)
        except (OSError, ChildProcessError) as error:
            print(f"  {title}: left out, it does not start ({error})", file=sys.stderr)
    for title in options.ours:
        contestants[title] = Own(options.program, network, title, side, threads)
    for turn in range(options.turns + 1):
        for contestant in contestants.values():
            # The first turn warms up. Threads of the one before go to sleep meanwhile.
            time.sleep(0.02)
            contestant.turn(options.seconds / (1 if turn else 4))
        if turn == 0:
            for contestant in contestants.values():
                if isinstance(contestant, Peer):
                    contestant.times.clear()
                else:
                    del contestant.documents[1:]
    return {title: contestant.finish() for title, contestant in contestants.items()}


def command_output(*command):
    with contextlib.suppress(OSError):
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        return run.stdout.strip()
    return ""


def machine():
    """What the figures were taken on."""
    fields = dict(line.split(":", 1) for line in command_output("lscpu").splitlines() if ":" in line)
    wanted = ["Model name", "CPU family", "Model", "CPU(s)", "Thread(s) per core", "L1d cache", "L2 cache",
              "L3 cache", "Hypervisor vendor"]
    description = {key: fields[key].strip() for key in wanted if key in fields}
    flags = fields.get("Flags", "").split()
    description["vector extensions"] = [flag for flag in flags if re.match("avx|amx", flag)]
    description["kernel"] = platform.release()
    return description


def table(document):
    """The figures as Markdown."""
    machine, text = document["machine"], ""
    configurations = [(entry["network"], entry["side"], entry["threads"]) for entry in document["results"]]
    text += f"\n{machine.get('Model name', 'unknown CPU')}"
    text += f" ({', '.join(machine['vector extensions'])}), commit {document['commit']}, {document['date']}.\n"
    text += "Milliseconds, the least and the median.\n"
    for threads in sorted({threads for _, _, threads in configurations}):
        rows = {(entry["network"], entry["side"]): entry["rows"] for entry in document["results"]
                if entry["threads"] == threads}
        titles = [f"{network} {side}" for network, side in rows]
        text += f"\n| {'one thread' if threads == 1 else f'{threads} threads'} | {' | '.join(titles)} |\n"
        text += f"|{'---|' * (1 + len(titles))}\n"
        names = sorted({name for row in rows.values() for name in row},
                       key=lambda name: min(row[name]["min_ms"] for row in rows.values() if name in row))
        for name in names:
            cells = [f"{row[name]['min_ms']:.2f} / {row[name]['median_ms']:.2f}" if name in row else "-"
                     for row in rows.values()]
            text += f"| {'**' + name + '**' if name in OURS else name} | {' | '.join(cells)} |\n"
    text += ratios(document)
    return text + "\n"


def ratios(document):
    """How many times as long the fastest peers take, and what else was measured."""
    one = {(entry["network"], entry["side"]): entry["rows"] for entry in document["results"]
           if entry["threads"] == 1}
    if not one:
        return ""
    titles = [f"{network} {side}" for network, side in one]
    text = f"\n| one thread, least times: as long as | {' | '.join(titles)} |\n|{'---|' * (1 + len(titles))}\n"
    peers = [("fastest INT8", "INT8"), ("LiteRT INT8", "LiteRT INT8"), ("fastest FP32", "FP32")]
    measured = [name for name in OURS if any(name in rows for rows in one.values())]
    for bits in measured:
        for title, part in peers:
            cells = []
            for rows in one.values():
                times = [row["min_ms"] for name, row in rows.items() if part in name]
                cells.append(f"{min(times) / rows[bits]['min_ms']:.2f}" if times and bits in rows else "-")
            text += f"| {title} / {bits} | {' | '.join(cells)} |\n"
    usual = ("yolov5n", 640)
    (network, side), rows = (usual, one[usual]) if usual in one else list(one.items())[-1]
    text += f"\n| {network} at {side}, one thread | peak memory, MB | load, ms |\n|---|---|---|\n"
    for name, row in rows.items():
        text += f"| {name} | {row['peak_memory_bytes'] / 1e6:.0f} | {row['load_ms']:.0f} |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="yolo-lowbit, a release build")
    parser.add_argument("--models", type=pathlib.Path, required=True, help="folder for the peers' models")
    parser.add_argument("--networks", help="NETWORK-SIDE, separated by commas",
                        default="yolov5n-320,yolov5n-640,yolov5s-320,yolov5s-640,yolov8n-640,yolox-nano-416")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--peers", default=";".join(PEERS), help="titles, separated by semicolons")
    parser.add_argument("--ours", default=";".join(OURS), help="titles, separated by semicolons")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn")
    parser.add_argument("--only-models", action="store_true", help="write the models and stop")
    parser.add_argument("--update", action="store_true", help="write benches/results and docs/performance.md")
    options = parser.parse_args()
    amx = any("amx" in extension for extension in machine()["vector extensions"])
    options.peers, options.ours = ([title for title in titles.split(";") if title and (amx or "no AMX" not in title)]
                                   for titles in (options.peers, options.ours))
    pairs = (pair.rsplit("-", 1) for pair in options.networks.split(","))
    networks = [(network, int(side)) for network, side in pairs]

    stems = make_models(options.models, networks)
    if options.only_models:
        return
    results = []
    for threads in map(int, options.threads.split(",")):
        for network, side in networks:
            print(f"{network} at {side}, threads: {threads}", file=sys.stderr)
            rows = measure(options, stems[network, side], network, side, threads)
            results.append({"network": network, "side": side, "threads": threads, "rows": rows})
    versions = {title: importlib.metadata.version(package) for title, package in PACKAGES.items()}
    document = {
        "what": __doc__.splitlines()[0],
        "command": "make bench-peers UPDATE=1",
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "compiler": command_output("rustc", "--version"),
        "machine": machine(),
        "load_average": os.getloadavg(),
        "versions": versions | {"Python": platform.python_version()},
        "results": results,
    }
    text = table(document)
    print(text)
    if options.update:
        # The page has tables of one machine of each kind.
        section = "peers-amx" if amx else "peers"
        publish(document["machine"].get("Model name", "unknown"), "", document, {section: text})


if __name__ == "__main__":
    main()
