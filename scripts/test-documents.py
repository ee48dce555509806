#!/usr/bin/env python3
"""Types the commands of the documents, as they are written, in a fresh copy of the repository.

    scripts/test-documents.py [FILE.md|help]...       default: every document that has commands, and `help`

`help` stands for the examples that the command's --help and its manual pages show.

A command stands in a block fenced as ```sh. All blocks of a document are one session of bash, in order: it
ends at the first command that fails. A block that cannot be typed on just any machine has a comment of one
line before it, which says why:

    <!-- not run: needs a Raspberry Pi -->

MODEL.onnx, photo.jpg and the like stand for files of the reader's; `stand_in` puts files of ours in their place.
Exit status: 0 if everything that was run succeeded, 1 otherwise.
"""

import array
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARK = "<!-- not run: "

# The reader's own file: ours. Each document finds them in the top folder of its copy.
EXPORT = "tests/fixtures/exports/qonnx_float_picture_w4a4.onnx"  # 11 classes, 64x64
STAND_INS = {
    "MODEL.onnx": EXPORT,
    "best.onnx": EXPORT,
    "open.onnx": "tests/fixtures/exports/qonnx_leaky_w8a8_dynamic.onnx",
    "yolov5n.onnx": "models/cells-float.onnx",
    "float.onnx": "models/cells-float.onnx",
    "yolov8n.onnx": "models/cells-float.onnx",
    "yolox_nano.onnx": "models/cells-float.onnx",
    "yolov3-tiny.onnx": EXPORT,
    "pictures/photo.jpg": "models/sample.jpg",
    "detect.c": "capi/examples/detect.c",
    "photo.jpg": "models/sample.jpg",
    "street.jpg": "models/sample.jpg",
    "photos/photo.jpg": "models/sample.jpg",
    "data/images/photo.jpg": "models/sample.jpg",
}
WRITTEN = {
    "data.yaml": "path: data\nval: images\ntest: images\nnames: [person, bicycle, car, d, e, f, g, h, i, j, k]\n",
    "data/labels/photo.txt": "0 0.5 0.5 0.2 0.2\n2 0.3 0.3 0.1 0.1\n",
}

# What builds, builds where this script stands instead of in the copy, which is the same, and as the tests are built: there it
# is compiled already. What people get is compiled, and its `make install` run, by scripts/test-package.sh.
PRELUDE = f"""
cargo() {{
    case $1 in
    install) (cd '{ROOT}' && command cargo "$@" --debug) ;;
    run) [ "$2" = --release ] && shift 2 && command cargo run --manifest-path '{ROOT}/Cargo.toml' "$@" ;;
    *) command cargo "$@" ;;
    esac
}}
make() {{ if [ "$1" = install ]; then command make -C '{ROOT}' "$@" LIBRARY_PROFILE=dev; else command make "$@"; fi; }}
"""


def blocks(text):
    """Yields the shell blocks of a document: line number, commands, and why they are not run, or None."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        start = number
        number += 1
        if lines[start] != "```sh":
            continue
        while lines[number] != "```":
            number += 1
        before = lines[start - 1]
        reason = before.removeprefix(MARK).removesuffix(" -->") if before.startswith(MARK) else None
        yield start + 2, "\n".join(lines[start + 1 : number]), reason
        number += 1


def examples():
    """The commands that --help shows, after those that make their model."""
    commands = ["yolo-lowbit convert best.onnx -o model.ylb --names data.yaml"]
    for command in ("convert", "run", "compare", "eval", "info", "bench"):
        shown = subprocess.run(["yolo-lowbit", command, "--help"], check=True, capture_output=True, text=True).stdout
        _, shown = shown.split("\nExamples:\n")
        commands += [line.strip() for line in shown.split("\n\n")[0].splitlines()]
    # Half a minute, and docs/raspberry-pi.md has it too.
    commands.remove("yolo-lowbit bench --net yolov5n --bits w2a2 --imgsz 640")
    return "\n".join(commands)


def stand_in(folder):
    """Puts the reader's files into a folder."""
    for name, source in STAND_INS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / source, folder / name)
    for name, contents in WRITTEN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(contents)
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 64, 64), }"
    header = header.ljust(128 - 11) + "\n"
    tensor = array.array("f", [1.0] * (3 * 64 * 64)).tobytes()
    (folder / "input.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + tensor)
    # The folder of weights that its document's script writes.
    page = (ROOT / "docs/weights-folder.md").read_text(encoding="utf-8")
    script = page.split("<!-- script -->\n```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", script, "arrays"], cwd=folder, check=True)


def copy_repository(folder):
    """Copies what belongs to the repository, changes that are not committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name, follow_symlinks=False)


def session(commands, home):
    """Runs commands in a fresh copy of the repository, with a home of its own; the exit status."""
    environment = dict(os.environ)
    environment.setdefault("CARGO_TARGET_DIR", str(ROOT / "target"))
    environment.setdefault("CARGO_HOME", str(pathlib.Path.home() / ".cargo"))
    environment.setdefault("RUSTUP_HOME", str(pathlib.Path.home() / ".rustup"))
    environment |= {"HOME": str(home), "CARGO_INSTALL_ROOT": str(home / ".local")}
    with tempfile.TemporaryDirectory() as copy:
        copy_repository(pathlib.Path(copy))
        stand_in(pathlib.Path(copy))
        # Not in a pipe: bash prints each command before it runs it.
        return subprocess.run(["bash", "-eux", "-c", PRELUDE + commands], cwd=copy, env=environment, timeout=1800).returncode


def main():
    names = sys.argv[1:] or sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*.md")) + sorted(
        str(path.relative_to(ROOT)) for folder in ("docs", "models", "training") for path in (ROOT / folder).glob("*.md")
    )
    if not sys.argv[1:]:
        names.append("help")
    failed = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["PATH"] = f"{home}/.local/bin:{os.environ['PATH']}"
        for name in names:
            found = [(0, examples(), None)] if name == "help" else list(blocks((ROOT / name).read_text(encoding="utf-8")))
            for line, _, reason in found:
                if reason:
                    print(f"== {name}:{line}: not run: {reason}", flush=True)
            commands = "\n".join(commands for _, commands, reason in found if not reason)
            if commands:
                print(f"== {name}", flush=True)
                if session(commands, pathlib.Path(home)):
                    print(f"== {name}: FAILED", flush=True)
                    failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
