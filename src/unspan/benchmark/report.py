"""From cells to pages: tables as Markdown, CSV and LaTeX, figures, and a leaderboard. Nothing is
typed by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unspan.benchmark import figures
from unspan.benchmark.chosen import choices
from unspan.benchmark.leaderboard import leaderboard
from unspan.benchmark.measurement import refuse_mixed
from unspan.benchmark.packed import report_order
from unspan.benchmark.pictures import name_of
from unspan.benchmark.spec import printed, printed_setting
from unspan.benchmark.spec_text import PICTURES
from unspan.benchmark.store import Store
from unspan.benchmark.table_values import Filled, Table, timed_alike
from unspan.benchmark.tables import comma_separated, escaped, latex, markdown
from unspan.benchmark.views import TABLES
from unspan.errors import UsageError

_HEAD = (
    "# Benchmark",
    "",
    "Every number below is read from the cells of the benchmark; every printed value from"
    " the table of the paper.",
    "",
)


def filled(store: Store, spec: dict[str, Any]) -> list[Filled]:
    """The rows of a spec with their results and printed values.

    Raises:
        DataError: the results were measured by several versions.
    """
    table = printed().get(spec["paper"] or "", {})
    names = [name for row in spec["rows"] for name in row["cells"]]
    known = {name: _with_pictures(store, name) for name in names}
    refuse_mixed(_name(spec), known)
    rows = []
    for row in spec["rows"]:
        cells = [known[name] for name in row["cells"]]
        done = tuple(one for one in cells if one is not None and "error" not in one)
        failed = next((one["error"] for one in cells if one is not None and "error" in one), "")
        rows.append(Filled(row, done, table.get(row["paper"] or "", {}), failed))
    return timed_alike(rows)


def _with_pictures(store: Store, name: str) -> dict[str, Any] | None:
    """A cell with its pictures by kind; those of old cells stand in the cell itself."""
    cell = store.read("cell", name)
    if cell is None or "error" in cell:
        return cell
    pictures = dict(cell.get("pictures", {}))
    for kind in PICTURES:
        one = store.read("picture", name_of(name, kind))
        if one is not None and "error" not in one:
            pictures[kind] = one["content"]
    return cell | {"pictures": pictures}


def report(root: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write `ROOT/report/` and return its files.

    Args:
        root: folder of the benchmark.
        names: specs to show, by name or file; all that were run by default.

    Raises:
        UsageError: nothing was run there, or not that spec.
        DataError: the cells of a table were measured by several versions.
    """
    store, target = Store(root), root / "report"
    specs = _chosen(store, names)
    target.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    boards: list[tuple[str, Table]] = []
    page = list(_HEAD)
    for spec in specs:
        rows = filled(store, spec)
        page += _heading(spec, rows)
        for view in spec["views"]:
            if view in TABLES:
                for table in _tables(spec, view, rows):
                    files += _write_table(table, target)
                    page.append(markdown(table))
                    boards.append((spec["budget"], table))
            else:
                drawn = figures.save(view, _name(spec), spec["title"], rows, target)
                files += drawn
                page += _shown(drawn)
    (target / "README.md").write_text("\n".join(page) + "\n", "utf-8")
    (target / "leaderboard.html").write_text(leaderboard(boards), "utf-8")
    return [target / "README.md", target / "leaderboard.html", *files]


def _chosen(store: Store, names: Sequence[str]) -> list[dict[str, Any]]:
    """The specs that were run, those of these names where there are any."""
    known = {}
    for name in sorted(store.names("spec"), key=report_order):
        spec = store.read("spec", name)
        if spec is not None:
            known[name] = spec
    asked = [_asked(name) for name in names]
    missing = [one for one in asked if not any(one in _called(spec) for spec in known.values())]
    if missing or not known:
        named = f" named {', '.join(missing)}" if missing else ""
        raise UsageError(
            f"{store.root} holds no benchmark{named}; known: {', '.join(known) or 'none'}. Run"
            f" unspan bench SPEC --out {store.root} first."
        )
    return [one for one in known.values() if not asked or _called(one) & {*asked}]


def _asked(name: str) -> str:
    """The name of a spec that was given by name or, as `run` takes it, by the path of its file."""
    is_file = name.endswith(".toml") or Path(name).is_file()
    return Path(name).stem if is_file else name


def _called(spec: dict[str, Any]) -> set[str]:
    """What a spec that was run may be called: its name, alone or with its budget."""
    return {spec["name"], _name(spec)}


def _name(spec: dict[str, Any]) -> str:
    """What the names of its files begin with."""
    return f"{spec['name']}.{spec['budget']}"


def _heading(spec: dict[str, Any], rows: Sequence[Filled]) -> list[str]:
    """Title of a spec, how many of its cells are there, and how they were made."""
    count = sum(len(row["cells"]) for row in spec["rows"])
    done = sum(len(one.results) for one in rows)
    reduced = "" if spec["budget"] in ("full", "paper") else f", --budget {spec['budget']}"
    return [
        f"## {escaped(spec['title'] + reduced)}",
        "",
        f"Budget: {spec['budget']}. Cells: {done} of {count}. `{spec['command']}`",
        "",
        *([escaped(spec["note"]), ""] if spec["note"] else []),
        *_facts(rows),
    ]


def _tables(spec: dict[str, Any], view: str, rows: Sequence[Filled]) -> list[Table]:
    made = TABLES[view](_name(spec), spec["title"], rows)
    meant = printed_setting(spec["paper"]) if spec["paper"] else ""
    chosen = choices(rows)
    found = []
    for table in made:
        pairs = {line.pair for line in table.lines}
        own = tuple(one for one in chosen if one.pair in pairs)
        found.append(replace(table, meant=meant, choices=own))
    return found


def _write_table(table: Table, folder: Path) -> list[Path]:
    texts = {".md": markdown(table), ".csv": comma_separated(table), ".tex": latex(table)}
    files = []
    for suffix, text in texts.items():
        file = folder / f"{table.name}{suffix}"
        file.write_text(text, "utf-8")
        files.append(file)
    return files


def _shown(drawn: Sequence[Path]) -> list[str]:
    """Lines of the page that show figures."""
    images = [
        f"![{escaped(figures.alternative(path))}]({quote(path.name)})"
        for path in drawn
        if path.suffix == ".svg"
    ]
    return [*(images or ["(no cell has what this figure needs yet)"]), ""]


def _facts(rows: Sequence[Filled]) -> list[str]:
    """How the cells were made: samples, training, seeds, device; one line for each way."""
    ways: dict[str, set[int]] = {}
    for result in (result for row in rows for result in row.results):
        one = result["cell"]
        given = [name for name in ("original", "retrain") if one["weights"].get(name)]
        kept = (
            "all of the training samples"
            if one["retain"] is None
            else f"at most {one['retain']:,} retained training samples"
            + ("" if "original" in given else ", and the same share of those to be forgotten")
        )
        recipe = ", ".join(f"{key} {value}" for key, value in one["train"].items())
        networks = [f"{' and '.join(given)}: given weights"] * bool(given) + [
            f"{' and '.join([name for name in ('original', 'retrain') if name not in given])}"
            f" trained with {recipe}"
        ] * (len(given) < 2)
        threads = result["threads"]
        way = (
            f"{kept}; {'; '.join(networks)}; {result['device']}, {threads}"
            f" thread{'' if threads == 1 else 's'}, torch {result['versions']['torch']}, unspan"
            f" {result['versions']['unspan']}"
        )
        ways.setdefault(way, set()).add(one["seed"])
    timed = sorted({row.timed_on for row in rows if row.timed_on})
    return [
        line
        for way, seeds in ways.items()
        for line in (
            (
                f"{way[0].upper()}{way[1:]}. Seeds {', '.join(map(str, sorted(seeds)))}; rows"
                " without ± ran once."
            ),
            "",
        )
    ] + [line for device in timed for line in (f"Seconds are of the cells on {device}.", "")]
