#!/usr/bin/env python3
"""Times yolo-lowbit alone on this machine: sizes n to x, pictures of 320 to 1280, one thread and two;
and counts how evenly the rows of each layer occupy 1 to 4 threads. Needs no package.

`scaling.py [--program PROGRAM] [--update]`: the program is Cargo's release build unless given; --update
writes benches/results and docs/performance.md.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess

from published import ROOT, commit, publish

RELU, SILU = "relu", "silu"
NETWORKS = [("n", 320), ("n", 480), ("n", 640), ("n", 960), ("n", 1280),
            ("s", 640), ("m", 640), ("l", 640), ("x", 640)]
BITS = "w2a2"
# Size, side, bits, activation function.
NETWORKS = [(size, side, BITS, RELU) for size, side in NETWORKS]
NETWORKS += [(size, 640, bits, function) for bits in ("w4a4", "w8a8") for function in (RELU, SILU) for size in "ns"]
NETWORKS += [("n", 640, BITS, SILU), ("s", 640, BITS, SILU)]
SECONDS = 3  # Of timed inferences, about.
TURNS = 9


def bench(program, network, threads, warmup, iterations, *more, processes=1):
    """The documents of as many processes side by side."""
    size, side, bits, function = network
    command = [program, "bench", "--net", f"yolov5{size}", "--bits", bits, "--imgsz", str(side)]
    command += ["--activation", function]
    command += ["--threads", str(threads), "--warmup", str(warmup), "--iterations", str(iterations), "--json", *more]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    printed = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"{' '.join(command)} failed")
    return [json.loads(text) for text in printed]


def timed(program, network):
    """Turns: documents of one thread, of two, and of one thread in each of two processes side by side. What the
    second of these takes longer than the first, the machine takes, and no program gets back. A virtual machine has
    slow seconds: what is compared is of one turn."""
    pilot = bench(program, network, 1, 1, 1)[0]
    iterations = max(3, int(1e3 * SECONDS / TURNS / pilot["latency_ms"]["median"]))
    turns = []
    for _ in range(TURNS):
        one, two = (bench(program, network, threads, 2, iterations)[0] for threads in (1, 2))
        turns.append({"one": one, "two": two, "pair": bench(program, network, 1, 2, iterations, processes=2)})
    return turns


def least(document):
    """The least time of an inference."""
    return document["latency_ms"]["min"]


def as_fast(turn):
    """Two threads, and two processes together, beside one thread of the same turn."""
    one = least(turn["one"])
    return one / least(turn["two"]), sum(one / least(each) for each in turn["pair"])


def fastest(turns):
    """Documents of the fastest turn with one thread, and with two."""
    return [min((turn[threads] for turn in turns), key=least) for threads in ("one", "two")]


def title(network):
    """A network's name in tables."""
    size, side, bits, function = network
    of_bits = "" if bits == BITS else f", {bits.upper()}"
    return f"{size} at {side}{of_bits}" + (", SiLU" if function == SILU else "")


def scaling(measured):
    """Rows of network -> turns of `timed`."""
    text = "\n| network | MACs | one thread, ms | two threads, ms | as fast | two processes |"
    text += f" activations, MB | process, MB | load, ms |\n|{'---|' * 9}\n"
    for network, turns in measured.items():
        one, two = fastest(turns)
        cells = [title(network), f"{one['macs'] / 1e9:.1f} G"]
        for document in (one, two):
            latency = document["latency_ms"]
            cells.append(f"{latency['min']:.2f} / {latency['median']:.2f}")
        cells += [f"{statistics.median(ratios):.2f} times" for ratios in zip(*map(as_fast, turns))]
        cells.append(f"{one['arena_bytes'] / 1e6:.1f}")
        cells.append(f"{one.get('peak_memory_bytes', 0) / 1e6:.1f}")
        cells.append(f"{one['load_ms']:.0f}, first inference {one['first_ms']:.1f}")
        text += f"| {' | '.join(cells)} |\n"
    return text + "\n"


def balance(program):
    """For each height of an output, the share of the time that threads are busy."""
    text = ""
    for side in (640, 320):
        layers = {threads: bench(program, ("n", side, BITS, RELU), threads, 0, 1, "--profile")[0]["layers"]
                  for threads in (1, 2, 3, 4)}
        groups = {}
        for number, layer in enumerate(layers[1]):
            groups.setdefault(layer["output_shape"][1], []).append(number)
        total = sum(layer["macs"] for layer in layers[1])
        text += f"\n| YOLOv5n at {side}: rows of the output | layers | share of the MACs | 2 threads | 3 | 4 |\n"
        text += f"|{'---|' * 6}\n"
        for rows, numbers in groups.items():
            share = sum(layers[1][number]["macs"] for number in numbers) / total
            # A concat without work is even at any number of threads.
            even = [min(layers[threads][number]["balance"] for number in numbers) for threads in (2, 3, 4)]
            cells = [str(rows), str(len(numbers)), f"{100 * share:.0f} %", *(f"{100 * e:.0f} %" for e in even)]
            text += f"| {' | '.join(cells)} |\n"
        whole = []
        for threads in (2, 3, 4):
            whole.append(total / sum(layer["macs"] / layer["balance"] for layer in layers[threads]))
        text += f"| all | {len(layers[1])} | 100 % | {' | '.join(f'{100 * even:.1f} %' for even in whole)} |\n"
    return text + "\n"


def release_build():
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return pathlib.Path(json.loads(run.stdout)["target_directory"]) / "release" / "yolo-lowbit"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", help="yolo-lowbit, a release build")
    parser.add_argument("--update", action="store_true", help="write benches/results and docs/performance.md")
    options = parser.parse_args()
    program = options.program or str(release_build())
    sections = {"balance": balance(program)}
    measured = {network: timed(program, network) for network in NETWORKS}
    first = measured["n", 640, BITS, RELU][0]["one"]
    machine, tree = first["machine"], commit()
    head = f"\n{BITS.upper()} with ReLU unless a row says otherwise, {machine['cpu']} ({', '.join(machine['features'])}), commit {tree}, "
    head += f"{datetime.date.today().isoformat()}. Times are the least and the median of the fastest turn.\n"
    sections["scaling"] = head + scaling(measured)
    print(sections["scaling"] + sections["balance"])
    if options.update:
        kept = {title(network): {"fastest": fastest(turns), "as_fast": [as_fast(turn) for turn in turns]}
                for network, turns in measured.items()}
        result = {"command": "make bench-scaling UPDATE=1", "commit": tree, "bits": BITS, "results": kept}
        publish(machine["cpu"], "scaling", result, sections)


if __name__ == "__main__":
    main()
