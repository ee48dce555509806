"""Where the benchmarks of this folder publish their figures: benches/results and docs/performance.md."""

import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"


def commit():
    """The commit of the working tree, marked if there are changes."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def publish(cpu, kind, document, sections):
    """Writes the document for this CPU, and each section's text between its marks on the page."""
    slug = re.sub("[^a-z0-9]+", "-", f"{cpu} {kind}".lower()).strip("-")
    path = ROOT / "benches" / "results" / f"x86-{slug}.json"
    page = PAGE.read_text()
    for name, text in sections.items():
        marks = re.compile(f"(<!-- {name}: written by .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        page, count = marks.subn(lambda found, text=text: found[1] + text + found[2], page)
        if count != 1:
            raise SystemExit(f"{PAGE.relative_to(ROOT)} has the marks of {name} {count} times instead of once")
    path.write_text(json.dumps(document, indent=1) + "\n")
    PAGE.write_text(page)
    print(f"wrote {path.relative_to(ROOT)} and the tables of {PAGE.relative_to(ROOT)}")
