#!/usr/bin/env python3
"""What `make bench` measured, from Criterion's files: prints the tables, and with --update writes
benches/results and docs/performance.md. Needs no package.

Times are the least and the median of Criterion's samples. Layers are shown in microseconds, with the
share of the time that FP32 takes; micro-kernels go into benches/results alone.
"""

import argparse
import datetime
import json
import pathlib
import re
import statistics
import subprocess

from published import ROOT, commit, publish

WIDTHS = ["W1A1", "W1A2", "W2A2", "W4A4", "W8A8"]
FLOAT = "FP32 gemm"


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def measured():
    """Group -> benchmark -> least and median time, in nanoseconds."""
    metadata = json.loads(output("cargo", "metadata", "--no-deps", "--format-version", "1"))
    folder = pathlib.Path(metadata["target_directory"]) / "criterion"
    groups = {}
    for path in sorted(folder.glob("*/*/new/sample.json")):
        name = json.loads((path.parent / "benchmark.json").read_text())
        sample = json.loads(path.read_text())
        times = [time / count for time, count in zip(sample["times"], sample["iters"])]
        figures = {"least_ns": min(times), "median_ns": statistics.median(times)}
        groups.setdefault(name["group_id"], {})[name["value_str"]] = figures
    if not groups:
        raise SystemExit(f"{folder} has no results: run `make bench` first")
    return groups


def machine():
    fields = {entry["field"].rstrip(":"): entry["data"] for entry in json.loads(output("lscpu", "--json"))["lscpu"]}
    extensions = [flag for flag in fields.get("Flags", "").split() if re.match("avx|amx|asimd|sve", flag)]
    return {"cpu": fields.get("Model name", "unknown CPU"), "extensions": extensions}


def layer_order(title):
    kernel, stride, channels, side = re.fullmatch(r"(\d+)x.* stride (\d+), (\d+) to .* channels, (\d+)x.*", title).groups()
    return -int(side), -int(kernel), int(stride), int(channels)


def tables(groups):
    text = ""
    for title, rows in groups.items():
        if title.startswith("yolov5n"):
            text += f"\n| {title}, one thread | least, ms | median, ms |\n|---|---|---|\n"
            for name, figures in sorted(rows.items(), key=lambda row: row[1]["least_ns"]):
                text += f"| {name} | {figures['least_ns'] / 1e6:.2f} | {figures['median_ns'] / 1e6:.2f} |\n"
    text += f"\n| layer, least time in µs | {FLOAT} | {' | '.join(WIDTHS)} |\n|{'---|' * (2 + len(WIDTHS))}\n"
    for title in sorted((title for title, rows in groups.items() if FLOAT in rows), key=layer_order):
        rows = groups[title]
        float_time = rows[FLOAT]["least_ns"]
        cells = [f"{rows[width]['least_ns'] / 1e3:.0f} ({rows[width]['least_ns'] / float_time:.2f})" for width in WIDTHS]
        text += f"| {title} | {float_time / 1e3:.0f} | {' | '.join(cells)} |\n"
    return text + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write benches/results and docs/performance.md")
    options = parser.parse_args()
    groups, on = measured(), machine()
    tree, today = commit(), datetime.date.today().isoformat()
    text = f"\n{on['cpu']} ({', '.join(on['extensions'])}), commit {tree}, {today}.\n" + tables(groups)
    print(text)
    if options.update:
        document = {"command": "make bench UPDATE=1", "commit": tree, "date": today, "machine": on, "results": groups}
        publish(on["cpu"], "criterion", document, {"criterion": text})


if __name__ == "__main__":
    main()
