"""What a benchmark runs: a TOML file with pairs of data and model, methods and seeds, expanded to
cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unspan.benchmark.grid import Spec
from unspan.benchmark.spec_rows import Given, Reading
from unspan.benchmark.spec_text import budget_place, check_keys, read_toml
from unspan.errors import UsageError
from unspan.system.closest import meant

SPECS = Path(__file__).with_name("specs")
BUDGETS = Path(__file__).with_name("budgets.toml")
PAPER = Path(__file__).with_name("paper.toml")
_SETTING = "setting"  # data and network of each table of the papers


def shipped() -> dict[str, Path]:
    """The specs that come with the package, by name."""
    return {path.stem: path for path in sorted(SPECS.glob("*.toml"))}


def find(name: str) -> Path:
    """A spec file by path, or by the name of a shipped one.

    Raises:
        UsageError: there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = shipped()
    if name.removesuffix(".toml") in known:
        return known[name.removesuffix(".toml")]
    raise UsageError(
        f"{name}: no such file, and no spec of that name comes with unspan.{meant(name, known)}"
        f" Known: {', '.join(known)}."
    )


def load(
    path: Path, budget: str = "paper", weights: Given | None = None, added: Sequence[str] = ()
) -> Spec:
    """Return a benchmark from a TOML file, expanded to cells at a budget.

    Args:
        path: TOML file.
        budget: `smoke`, `cpu`, `paper`, or one that the file defines itself.
        weights: sha256 of given weights by `original` and `retrain`, one for each seed of that row.
        added: methods that get a row beside those of the file.

    Raises:
        UsageError: not TOML, or a key or value that does not fit; says where.
    """
    text = _with_base(path)
    limits = _limits(path.name, text, budget)
    check_keys(limits, "budget", budget_place(path, budget))
    if text.get("paper") not in (None, *printed()):
        raise UsageError(
            f"{path.name}: paper = '{text['paper']}' has no printed values; known:"
            f" {', '.join(printed())}."
        )
    rows = Reading(path, text, budget, limits, dict(weights or {})).rows(added)
    if not rows:
        raise UsageError(f"{path.name}: budget {budget} skips every method.")
    if any("steps" in row.cells[0].request and weights and weights.get("retrain") for row in rows):
        raise UsageError(
            f"{path.name} asks for one request after the other, and --retrained is one model: leave"
            " it out, so that one is trained for every step."
        )
    own = {
        str(pair.get("name", f"{pair.get('data')}, {pair.get('model')}"))
        for pair in text.get("pair", [])
    }
    here = list(dict.fromkeys(row.pair for row in rows))
    title = str(text.get("title", path.stem))
    if not set(here) <= own:
        title += f" [here: {'; '.join(here)}]"
    return Spec(
        name=path.stem,
        title=title,
        views=tuple(text.get("view", ["methods"])),
        paper=text.get("paper"),
        budget=budget,
        note=str(text.get("note", "")),
        rows=tuple(rows),
        pictures=tuple(dict.fromkeys(text.get("pictures", ()))),
    )


def _with_base(path: Path) -> dict[str, Any]:
    """Return the content of a spec. Pairs and budgets that it does not give are those of its
    `base`. Its methods follow those of the base, of which it may name the `only` ones to take.

    Raises:
        UsageError: a key or value that does not fit, a base that is not there, or has one itself.
    """
    text = read_toml(path)
    check_keys(text, "file", path.name)
    if "base" not in text:
        return text
    base = read_toml(find(text["base"]))
    if "base" in base:
        raise UsageError(f"{path.name}: base = '{text['base']}' has a base itself; name that one.")
    theirs = base.get("method", [])
    only = text.get("only", [entry.get("name") for entry in theirs])
    return {
        "pair": base.get("pair", []),
        **text,
        "method": [one for one in theirs if one.get("name") in only] + text.get("method", []),
        "budget": {**base.get("budget", {}), **text.get("budget", {})},
    }


def _limits(where: str, text: Mapping[str, Any], budget: str) -> dict[str, Any]:
    """Return what a budget changes: that of the file over the one that comes with unspan."""
    general = read_toml(BUDGETS)
    own = text.get("budget", {})
    if not isinstance(own, dict) or not all(isinstance(one, dict) for one in own.values()):
        raise UsageError(f"{where}: every budget must be a table, [budget.NAME].")
    if budget not in {**general, **own}:
        raise UsageError(
            f"Budget '{budget}' is not known; {where} has: {', '.join({**general, **own})}."
        )
    shared = general.get(budget, {})
    special = own.get(budget, {})
    limits = {**shared, **special}
    if "pair" in shared:
        limits["pair"] = {**shared["pair"], **limits["pair"]}
    if not isinstance(limits.get("pair", {}), dict) or not isinstance(limits.get("set", {}), dict):
        raise UsageError(f"budget {budget} of {where}: pair and set are tables.")
    limits["seeds"] = special.get("seeds", text.get("seeds", limits.get("seeds", [0])))
    limits["set"] = {**shared.get("set", {}), **special.get("set", {})}
    return limits


def check_given(specs: Sequence[Spec], weights: Given) -> None:
    """Refuse weights that would stand for several different networks.

    Raises:
        UsageError: the specs hold more than one pair (original) or request (retrained).
    """
    cells = [cell for spec in specs for cell in spec.cells()]
    for name, option, keys in (
        ("original", "--original", ("data", "model")),
        ("retrain", "--retrained", ("data", "model", "request")),
    ):
        different = {repr([getattr(cell, key) for key in keys]) for cell in cells}
        if weights.get(name) and len(different) > 1:
            raise UsageError(
                f"{option} is one network, and these specs ask for {len(different)}:"
                f" {'; '.join(sorted(different))}. Run them one by one, or let the networks be"
                " trained."
            )


def printed() -> dict[str, Any]:
    """Return the values that the papers print, by table, row and column."""
    return {name: rows for name, rows in read_toml(PAPER).items() if name != _SETTING}


def printed_setting(table: str) -> str:
    """Data and network of which the papers print a table."""
    return str(read_toml(PAPER)[_SETTING][table])
