#!/usr/bin/env python3
"""Counts cycles of one inference on ARM cores by the model of benches/a64count, and compares them
with the committed ones. Called by scripts/arm-cycles.sh, which builds what it takes.

The count of a program that makes one inference is subtracted from that of one that makes two: what is
left is one inference, without the start, the packing of weights and the first touch of memory.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "benches" / "results" / "arm-cycles.json"

# CPU of QEMU -> the figure of the report, and the networks counted. Those on the Cortex-A72 are the
# gate; the others are for information. A network is bits, and an activation function other than ReLU.
GATE = "cortex-a72"
PLAN = {
    "cortex-a72": ("a72_cycles", ["w1a1", "w1a2", "w2a2", "w2a4", "w4a4", "w8a8",
                                  "w2a2-silu", "w4a4-silu", "w8a8-silu"]),
    "cortex-a76": ("a76_cycles", ["w1a1", "w1a2", "w2a2", "w4a4", "w8a8"]),
}
# More that ARM_CYCLES may name, which are compared with nothing.
OTHERS = [f"{bits}-{function}" for function in ["leaky", "hardswish", "mish", "sigmoid", "prelu"]
          for bits in ["w4a4", "w8a8"]]
# Millions of cycles that the project aims at, and those of ncnn 1.0.20261020 under the same model
# (YOLOv5n's convolutions at 640, one thread, default options without fp16 and bf16).
AIMS = {
    "cortex-a72": {"w8a8": 330, "w4a4": 270, "w2a4": 200, "w2a2": 175, "w1a2": 125, "w1a1": 95},
    "cortex-a76": {"w8a8": 110, "w4a4": 110, "w2a2": 110, "w1a2": 80, "w1a1": 65},
}
NCNN = {"cortex-a72": {"int8": 357, "FP32": 557}, "cortex-a76": {"int8": 151, "FP32": 283}}

FUNCTIONS = {"silu": "SiLU"}  # As people write them.

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- arm-cycles: written by `make arm-cycles UPDATE=1` -->\n"
END = "<!-- end -->"

WORSE = 1.01  # Times the committed count: more is a failure.

# What the cache model counts, and the millions of misses of the second level that the project aims at.
CACHED, CACHED_AIM = (GATE, "w2a2"), 2


def count(options, cpu, bits, iterations):
    """Every figure of the plugin's report on one run of the program."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report"
        cache = ",cache=on" if options.cache else ""
        command = ["qemu-aarch64", "-cpu", cpu, "-plugin", f"{options.plugin},out={report}{cache}"]
        command += [options.program, bits, str(iterations)]
        environment = {key: value for key, value in os.environ.items() if key != "YLB_KERNELS"}
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        if run.returncode != 0 or not report.exists():
            raise SystemExit(f"arm-cycles: {' '.join(command)} failed:\n{run.stderr.strip()}")
        lines = (line.split() for line in report.read_text().splitlines())
        return {name: int(figure) for name, figure in lines}


def inferences(options, wanted):
    """(cpu, bits) -> figures of one inference."""
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = {(*key, n): pool.submit(count, options, *key, n) for key in wanted for n in (1, 2)}
        counts = {key: run.result() for key, run in runs.items()}
    # What only one of two runs executes is 0 in the other.
    def difference(cpu, bits):
        one, two = counts[cpu, bits, 1], counts[cpu, bits, 2]
        return {name: figure - one.get(name, 0) for name, figure in two.items()}
    return {key: difference(*key) for key in wanted}


def commit():
    """Names the state of the source tree."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def write(results, compiler, document=None):
    """Writes counts anew; or adds them to those of a document, whose commit and compiler stay."""
    cycles = {cpu: dict(counts) for cpu, counts in document["cycles"].items()} if document else {}
    for (cpu, bits), figures in results.items():
        cycles.setdefault(cpu, {})[bits] = figures[PLAN[cpu][0]]
    added = {bits: commit() for _, bits in results} if document else {}
    document = document and document | {"cycles": cycles, "added": document.get("added", {}) | added} or {
        "what": "pipe-bound cycles of one inference, YOLOv5n at 640x640, one thread; a model, no measurement",
        "command": "make arm-cycles UPDATE=1",
        "commit": commit(),
        "compiler": compiler,
        "cycles": cycles,
    }
    COMMITTED.parent.mkdir(parents=True, exist_ok=True)
    COMMITTED.write_text(json.dumps(document, indent=2) + "\n")
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    after = rest.split(END, 1)[1]
    PAGE.write_text(before + BEGIN + tables(document) + END + after)
    print(f"wrote {COMMITTED.relative_to(ROOT)} and the tables of {PAGE.relative_to(ROOT)}")


def tables(document):
    """The tables of the page."""
    text = f"\nCommit {document['commit']}"
    by_commit = {}
    for network, commit in document.get("added", {}).items():
        by_commit.setdefault(commit, []).append(title(network))
    text += "".join(f"; {', '.join(titles)} at {commit}" for commit, titles in by_commit.items()) + ".\n"
    for cpu, counts in document["cycles"].items():
        peers = NCNN[cpu]
        titles = [cpu.capitalize().replace("-a", "-A"), "Mcycles", "aim"]
        titles += [f"ncnn {peer} takes ({million})" for peer, million in peers.items()]
        text += f"\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}\n"
        for bits, count in counts.items():
            million = count / 1e6
            ratios = [f"{peer / million:.2f} times as many" for peer in peers.values()]
            aim = AIMS[cpu].get(bits, "-")
            text += f"| {title(bits)} | {million:.1f} | {aim} | {' | '.join(ratios)} |\n"
    return text + "\n"


def title(network):
    """A network's name in tables."""
    bits, _, function = network.partition("-")
    return bits.upper() + (f" {FUNCTIONS.get(function, function)}" if function else "")


def committed():
    if not COMMITTED.exists():
        raise SystemExit(f"arm-cycles: {COMMITTED} is missing: make it with `make arm-cycles UPDATE=1`")
    return json.loads(COMMITTED.read_text())


def show(results, before):
    """Prints the table. Returns what is worse than it may be."""
    print(f"{'CPU':<12}{'network':<16}{'Mcycles':>9}{'committed':>11}{'change':>11}{'Minstr':>9}"
          f"{'F0':>8}{'F1':>8}{'F any':>8}{'load':>8}{'store':>8}")
    worse = []
    for (cpu, bits), figures in results.items():
        now, then = figures[PLAN[cpu][0]], before.get(cpu, {}).get(bits)
        million = lambda name: f"{figures[name] / 1e6:>8.1f}"
        change = f"{100 * (now / then - 1):+.2f} %" if then else "new"
        print(f"{cpu:<12}{bits:<16}{now / 1e6:>9.2f}{(f'{then / 1e6:.2f}' if then else '-'):>11}{change:>11} "
              + "".join(map(million, ["instructions", "pipe_f0", "pipe_f1", "pipe_f_any", "pipe_load",
                                      "pipe_store"])))
        if bits in OTHERS:
            continue
        if cpu == GATE and then is None:
            worse.append(f"{bits} on {cpu} has no committed count")
        elif cpu == GATE and now > WORSE * then:
            worse.append(f"{bits} on {cpu}: {now / 1e6:.2f} Mcycles, {change} against {then / 1e6:.2f}")
    return worse


def show_misses(figures):
    """Prints what the cache model counts."""
    cpu, bits = CACHED
    print(f"{bits} on {cpu}, one inference by a model of the caches:")
    for level in ["l1", "l2"]:
        accesses, misses = (figures[f"{level}_{what}"] / 1e6 for what in ["accesses", "misses"])
        print(f"{level.upper()}  {accesses:9.3f} M accesses  {misses:7.3f} M misses")
    print(f"aim: fewer than {CACHED_AIM} M misses of L2")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugin", required=True, help="liba64count.so")
    parser.add_argument("--program", required=True, help="benches/src/bin/frames.rs for aarch64, statically linked")
    parser.add_argument("--compiler", default="unknown", help="the compiler's version")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", help="networks to count on the gate's CPU alone, such as 'w1a1 w8a8-silu'")
    parser.add_argument("--update", action="store_true", help="write the committed counts anew; with --only, add those of new networks")
    parser.add_argument("--cache", action="store_true", help="count cache misses instead of cycles")
    options = parser.parse_args()
    if options.cache:
        if options.update or options.only:
            raise SystemExit("arm-cycles: CACHE=1 goes with neither UPDATE=1 nor ARM_CYCLES")
        return show_misses(inferences(options, [CACHED])[CACHED])

    # Continuous integration counts what it compares.
    gated = not options.update and os.environ.get("CI") == "true"
    plan = {cpu: networks for cpu, (_, networks) in PLAN.items() if cpu == GATE or not gated}
    if options.only:
        wanted, known = options.only.split(), plan[GATE] + ([] if options.update else OTHERS)
        unknown = set(wanted) - set(known)
        if unknown:
            raise SystemExit(f"arm-cycles: {', '.join(sorted(unknown))}: not one of {' '.join(known)}")
        plan = {GATE: wanted}
    document = {"cycles": {}} if options.update and not COMMITTED.exists() else committed()
    before = document["cycles"]
    if options.update and options.only:
        there = set(options.only.split()) & set(before.get(GATE, {}))
        if there:
            raise SystemExit(f"arm-cycles: {', '.join(sorted(there))}: has a count, and UPDATE=1 with ARM_CYCLES only "
                             "adds those of new networks: leave out ARM_CYCLES to count everything anew")
        if options.compiler != document.get("compiler", options.compiler):
            raise SystemExit(f"arm-cycles: compiled by {options.compiler}, the committed by {document['compiler']}")

    start = time.monotonic()
    results = inferences(options, [(cpu, bits) for cpu in plan for bits in plan[cpu]])
    worse = show(results, before)
    seconds = time.monotonic() - start
    print(f"cycles by the model of benches/a64count, not measured; counted in {seconds:.0f} s")
    if options.update:
        write(results, options.compiler, document if options.only else None)
    elif worse and options.compiler != document.get("compiler", options.compiler):
        print(f"worse, but no failure: compiled by {options.compiler}, the committed by {document['compiler']}")
        print("".join(f"  {line}\n" for line in worse), end="")
    elif worse:
        print("\nFAILED against benches/results/arm-cycles.json (1 % is allowed). Mend it; or, where the\n"
              "loss is meant, run `make arm-cycles UPDATE=1` and say in the commit message why.",
              file=sys.stderr)
        print("".join(f"  {line}\n" for line in worse), end="", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
