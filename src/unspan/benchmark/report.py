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
from unspan.benchmark.leaderboard import leaderboard
from unspan.benchmark.packed import report_order
from unspan.benchmark.spec import printed
from unspan.benchmark.store import Store
from unspan.benchmark.table_values import Filled, Table
from unspan.benchmark.tables import comma_separated, escaped, latex, markdown
from unspan.benchmark.views import TABLES
from unspan.errors import UsageError


def filled(store: Store, spec: dict[str, Any]) -> list[Filled]:
    """The rows of a spec with their results and printed values."""
    table = printed().get(spec["paper"] or "", {})
    rows = []
    for row in spec["rows"]:
        cells = [store.read("cell", name) for name in row["cells"]]
        done = tuple(one for one in cells if one is not None and "error" not in one)
        failed = next((one["error"] for one in cells if one is not None and "error" in one), "")
        rows.append(Filled(row, done, table.get(row["paper"] or "", {}), failed))
    return rows


def report(root: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write `ROOT/report/` and return its files.

    Args:
        root: folder of the benchmark.
        names: specs to show; all that were run by default.

    Raises:
        UsageError: nothing was run there.
    """
    store, target = Store(root), root / "report"
    known = {}
    for name in sorted(store.names("spec"), key=report_order):
        spec = store.read("spec", name)
        if spec is not None:
            known[name] = spec
    chosen = [
        one for name, one in known.items() if not names or name in names or one["name"] in names
    ]
    if not chosen:
        raise UsageError(
            f"{root} holds no benchmark{' named ' + ', '.join(names) if names else ''}; known:"
            f" {', '.join(known) or 'none'}. Run unspan bench SPEC --out {root} first."
        )
    target.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    page = [
        "# Benchmark",
        "",
        (
            "Every number below is read from the cells of the benchmark; every printed value from"
            " the table of the paper."
        ),
        "",
    ]
    boards: list[tuple[str, Table]] = []
    for spec in chosen:
        rows = filled(store, spec)
        count = sum(len(row["cells"]) for row in spec["rows"])
        page += [
            f"## {escaped(spec['title'])}",
            "",
            (
                f"Budget: {spec['budget']}. Cells: {sum(len(one.results) for one in rows)} of"
                f" {count}. `{spec['command']}`"
            ),
            "",
            *([escaped(spec["note"]), ""] if spec["note"] else []),
            *_facts(rows),
        ]
        name = f"{spec['name']}.{spec['budget']}"
        for view in spec["views"]:
            for table in TABLES[view](name, spec["title"], rows) if view in TABLES else ():
                table = replace(table, meant=spec["meant"])
                for suffix, text in (
                    (".md", markdown(table)),
                    (".csv", comma_separated(table)),
                    (".tex", latex(table)),
                ):
                    (target / f"{table.name}{suffix}").write_text(text, "utf-8")
                    files.append(target / f"{table.name}{suffix}")
                page += [markdown(table)]
                boards.append((spec["budget"], table))
            if view not in TABLES:
                drawn = figures.save(view, name, spec["title"], rows, target)
                files += drawn
                page += [
                    f"![{escaped(path.stem)}]({quote(path.name)})"
                    for path in drawn
                    if path.suffix == ".svg"
                ] or ["(no cell has what this figure needs yet)"]
                page += [""]
    (target / "README.md").write_text("\n".join(page) + "\n", "utf-8")
    (target / "leaderboard.html").write_text(leaderboard(boards), "utf-8")
    return [target / "README.md", target / "leaderboard.html", *files]


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
        way = (
            f"{kept}; {'; '.join(networks)}; {result['device']}, {result['threads']} threads, torch"
            f" {result['versions']['torch']}, unspan {result['versions']['unspan']}"
        )
        ways.setdefault(way, set()).add(one["seed"])
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
    ]
