"""The page "Reproduce": the command, the time and the machine of every file of `results/`.

`results/commands.toml` is asked first, then the file itself.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from shown import ROOT

from unspan.benchmark import packed
from unspan.system.durations import duration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RESULTS = ROOT / "results"
BENCH = RESULTS / "bench"
FORMER = "bench/"  # where scripts lay when some results were made
FOLDERS = ("experiments", "benchmarks")
HEAD = """# Reproduce

Every number of these pages is read from a file of `results/`. Below: the one command that makes the
file anew, how long that took, and on which machine. `–`: the file does not say.

The page itself is made from these files when the site is built. Data and weights are looked for in
`../shared`, or where `UNSPAN_SHARED` says. Commands run in the root of a checkout, after
`make setup`, and go on where they were stopped if they take long.

| to make anew | command |
|---|---|
| tables and figures from the cells | `unspan bench report --out results/bench` |
| all pages of this site | `make docs` |
| the table and the picture of the README | `python docs/measured.py` |
| the demo | `make demo` |

## Tables and figures of the papers

The time is the sum over all cells of a table, in one process. Cells that several tables share are
computed once, and count in each. `unspan bench pack` then writes the file. `--data-root` names a
folder with a folder for each dataset, `--original` and `--retrained` name weights."""
OTHERS = """## Experiments and timings"""


@dataclass
class Made:
    """What one command made.

    Attributes:
        command: as it is typed.
        files: names below `results/`.
        seconds: of all its parts that say so.
        machines: on which it ran, in words.
    """

    command: str
    files: list[str] = field(default_factory=list)
    seconds: float = 0.0
    machines: dict[str, None] = field(default_factory=dict)


def page() -> str:
    """The page as Markdown."""
    return "\n\n".join([HEAD, _table(benchmarks()), OTHERS, _table(experiments())]) + "\n"


def benchmarks() -> list[Made]:
    """What `unspan bench` made: one entry a table."""
    specs, cells = packed.read(BENCH)
    found = []
    for name in sorted(specs, key=packed.report_order):
        one = Made(specs[name]["command"], [f"bench/tables/{name}.jsonl"])
        for cell in {one for row in specs[name]["rows"] for one in row["cells"]} & set(cells):
            one.seconds += cells[cell]["seconds_in_all"]
            one.machines[_machine(cells[cell])] = None
        found.append(one)
    return found


def experiments() -> list[Made]:
    """What scripts made: one entry a command, by the name of its first file."""
    known = tomllib.loads((RESULTS / "commands.toml").read_text("utf-8"))["made"]
    found: dict[str, Made] = {}
    for file in sorted(RESULTS.rglob("*.json")):
        name = file.relative_to(RESULTS).as_posix()
        content = json.loads(file.read_text("utf-8"))
        for part in _parts(content):
            command = _known(known, name) or _today(part.get("command", ""))
            one = found.setdefault(command, Made(command))
            if name not in one.files:
                one.files.append(name)
            one.seconds += _seconds(part)
            one.machines[_machine(part)] = None
    return sorted(found.values(), key=lambda one: one.files[0])


def _parts(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a file that hold a command; the whole file where none does."""
    parts = [one for one in content.values() if isinstance(one, Mapping) and "command" in one]
    yield from parts or [content]


def _known(known: Mapping[str, str], name: str) -> str:
    return next((command for pattern, command in known.items() if fnmatch(name, pattern)), "")


def _today(command: str) -> str:
    """A command with the folder in which its script lies today.

    >>> _today("python bench/collapse.py --threads 1")
    'python experiments/collapse.py --threads 1'
    """
    script = re.search(r"\bbench/(\w+\.py)", command)
    if script is None:
        return command
    folder = next((one for one in FOLDERS if (ROOT / one / script[1]).is_file()), "bench")
    return command.replace(FORMER + script[1], f"{folder}/{script[1]}")


def _seconds(part: Mapping[str, Any]) -> float:
    """Seconds of a part: in all, else of its stages, else 0."""
    found = part.get("seconds_in_all", part.get("seconds in all", part.get("seconds", 0.0)))
    if isinstance(found, Mapping):
        return float(sum(one for one in found.values() if isinstance(one, (int, float))))
    return float(found) if isinstance(found, (int, float)) else 0.0


def _machine(part: Mapping[str, Any]) -> str:
    """Device, cores, threads and version of torch, as far as they were kept."""
    torch = part.get("versions", {}).get("torch", part.get("torch"))
    said = [
        part.get("device"),
        f"{part['cores']} cores" if "cores" in part else None,
        f"{part['threads']} thread{'s' * (part['threads'] != 1)}" if "threads" in part else None,
        f"torch {torch}" if torch else None,
    ]
    return ", ".join(one for one in said if one)


def _table(rows: list[Made]) -> str:
    lines = ["| file | command | time | machine |", "|---|---|---|---|"]
    for one in rows:
        machines = "; ".join(filter(None, one.machines)) or "–"
        time = duration(one.seconds) if one.seconds else "–"
        lines.append(f"| {_files(one.files)} | `{one.command}` | {time} | {machines} |")
    return "\n".join(lines)


def _files(names: list[str]) -> str:
    """One file by its name, several by their folder."""
    folders = {str(Path(name).parent) for name in names}
    if len(names) > 1 and len(folders) == 1 and folders != {"."}:
        return f"`{folders.pop()}/` ({len(names)} files)"
    return ", ".join(f"`{name}`" for name in names)
