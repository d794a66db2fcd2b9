"""Finished tables as one file each: the form in which results are committed.

A running benchmark keeps a file for every cell. `pack` writes what is finished to
`tables/NAME.BUDGET.jsonl`: the rows of the table, then one line for each cell. A cell that several
tables show stands in the first of them; cells of no table stand in `other.jsonl`. Pictures are much
larger than scores and stand in files of the same names in `tables/pictures/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unspan.errors import DataError, OutputError
from unspan.system.schemas import BENCH_TABLE

FOLDER = "tables"
PICTURES = "pictures"  # folder in it
OTHER = "other"  # name of the file with cells of no table

Values = dict[str, dict[str, Any]]  # JSON objects by name


def report_order(name: str) -> tuple[bool, bool, str]:
    """Return the sorting key of a table's name: tables, then figures, then the rest."""
    return not name.startswith("table"), not name.startswith("figure"), name


def read(root: Path) -> tuple[Values, Values]:
    """Return the specs and the cells of all packed tables of a folder, by name.

    Raises:
        DataError: a file that is no packed table, or of another version.
    """
    specs: Values = {}
    cells: Values = {}
    for path in sorted((root / FOLDER).glob("*.jsonl")):
        first, rest = _table(path)
        if "spec" in first:
            specs[path.stem] = first["spec"]
        for line in rest:
            cells[line["id"]] = line["result"]
    return specs, cells


def read_pictures(root: Path) -> Values:
    """Return the pictures of all packed tables of a folder, by name.

    Raises:
        DataError: a file that is no packed table, or of another version.
    """
    pictures: Values = {}
    for path in sorted((root / FOLDER / PICTURES).glob("*.jsonl")):
        for line in _table(path)[1]:
            pictures[line["id"]] = line["picture"]
    return pictures


def write(
    root: Path,
    specs: Mapping[str, Any],
    cells: Mapping[str, Any],
    pictures: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write one file for each spec, and return the files.

    Args:
        root: folder of the benchmark.
        specs: by `NAME.BUDGET`.
        cells: by id; every cell is written once.
        pictures: by name; every picture is written once.

    Raises:
        OutputError: the folder cannot be written.
    """
    left, drawn = dict(cells), dict(pictures or {})
    files = []
    for name in sorted(specs, key=report_order):
        spec = specs[name]
        own = {one for row in spec["rows"] for one in row["cells"]}
        found = {one: left.pop(one) for one in sorted(own & set(left))}
        header = {"schema": BENCH_TABLE.schema, "spec": spec}
        files.append(_write(root / FOLDER, name, header, _lines_of(found)))
        files += _written_pictures(root, name, own, spec["views"], drawn)
    files += _rest(root / FOLDER, _lines_of(left))
    files += _rest(root / FOLDER / PICTURES, _lines_of_pictures(drawn))
    return files


def _written_pictures(
    root: Path, name: str, cells: set[str], views: Sequence[str], left: Values
) -> list[Path]:
    """Write the pictures that a table shows, and take them out of those that are left."""
    shown = {
        one for one, found in left.items() if found["cell"] in cells and found["kind"] in views
    }
    lines = _lines_of_pictures({one: left.pop(one) for one in shown})
    folder = root / FOLDER / PICTURES
    return [_write(folder, name, {"schema": BENCH_TABLE.schema}, lines)] if lines else []


def _rest(folder: Path, lines: list[dict[str, Any]]) -> list[Path]:
    """Write what belongs to no table; no file where there is nothing."""
    if lines:
        return [_write(folder, OTHER, {"schema": BENCH_TABLE.schema}, lines)]
    (folder / f"{OTHER}.jsonl").unlink(missing_ok=True)
    return []


def _lines_of(cells: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    order = sorted(cells, key=lambda one: _order(one, cells[one]))
    return [{"id": one, "result": cells[one]} for one in order]


def _lines_of_pictures(pictures: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": one, "picture": pictures[one]} for one in sorted(pictures)]


def _write(
    folder: Path, name: str, header: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Path:
    path = folder / f"{name}.jsonl"
    lines = [header, *rows]
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(_text(lines), "utf-8")
        os.replace(fresh, path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. Give --out a folder with room."
        ) from error
    return path


def _order(name: str, result: Mapping[str, Any]) -> tuple[str, int, str]:
    """Lines are sorted by method, seed and id, so that a new seed is a new line beside the old."""
    cell = result["cell"]
    return str(cell["method"]), int(cell["seed"]), name


def _text(lines: Iterable[Mapping[str, Any]]) -> str:
    """Key order is kept: the figures draw some values in the order in which they were measured."""
    compact = (",", ":")
    return "".join(
        json.dumps(line, ensure_ascii=False, separators=compact) + "\n" for line in lines
    )


def _table(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the lines of a packed table."""
    first, *rest = _lines(path)
    if first.get("schema") != BENCH_TABLE.schema:
        raise DataError(
            f"{path} has format {first.get('schema')!r}, and this version reads"
            f" {BENCH_TABLE.schema}. Install the version of unspan that wrote it."
        )
    return first, rest


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON lines ({error}); get it again.") from error
    if not lines or not all(isinstance(line, dict) for line in lines):
        raise DataError(f"{path} holds no packed table; get it again.")
    return lines
