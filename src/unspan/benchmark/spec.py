"""What a benchmark runs: a TOML file with pairs of data and model, methods and seeds, expanded to
cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unspan.benchmark.grid import Cell, Row, Spec
from unspan.benchmark.renamed import configured_method
from unspan.benchmark.spec_text import (
    NETWORKS,
    check_keys,
    checked_request,
    header_lines,
    read_toml,
)
from unspan.benchmark.third_party import beside, code_of, short_name
from unspan.errors import UsageError
from unspan.methods import by_name
from unspan.methods.registry import PREFIX
from unspan.system.closest import meant
from unspan.training.settings import Training

SPECS = Path(__file__).with_name("specs")
BUDGETS = Path(__file__).with_name("budgets.toml")
PAPER = Path(__file__).with_name("paper.toml")

Given = Mapping[str, Sequence[str]]
"""sha256 of given weights by `original` and `retrain`, one for each seed of that row."""


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
    check_keys(limits, "budget", f"budget {budget} of {path.name}")
    if text.get("paper") not in (None, *printed()):
        raise UsageError(
            f"{path.name}: paper = '{text['paper']}' has no printed values; known:"
            f" {', '.join(printed())}."
        )
    rows = _rows(path, text, limits, dict(weights or {}), added)
    if not rows:
        raise UsageError(f"{path.name}: budget {budget} skips every method.")
    if any("steps" in row.cells[0].request and weights and weights.get("retrain") for row in rows):
        raise UsageError(
            f"{path.name} asks for one request after the other, and --retrained is one model: leave"
            " it out, so that one is trained for every step."
        )
    meant = [
        str(pair.get("name", f"{pair.get('data')}, {pair.get('model')}"))
        for pair in text.get("pair", [])
    ]
    here = list(dict.fromkeys(row.pair for row in rows))
    title = str(text.get("title", path.stem))
    if not set(here) <= set(meant):
        title += f" [here: {'; '.join(here)}]"
    return Spec(
        name=path.stem,
        title=title,
        meant="; ".join(meant),
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


def _rows(
    path: Path,
    text: Mapping[str, Any],
    limits: Mapping[str, Any],
    weights: Given,
    added: Sequence[str],
) -> list[Row]:
    """Return a row for every pair and method that the budget does not skip, then those added."""
    pairs = text.get("pair", [])
    if "pair" in limits and pairs:
        pairs = [{"request": pairs[0].get("request"), **limits["pair"]}]
    if not pairs or not text.get("method"):
        raise UsageError(
            f"{path.name}: give at least one [[pair]] (data, model, request) and one [[method]]"
            " (name)."
        )
    lines = header_lines(path, "method")
    rows: list[Row] = []
    for pair in pairs:
        own: list[Row] = []
        for place, entry in enumerate(text["method"]):
            if entry.get("name") in limits.get("skip", ()):
                continue
            line = place - (len(text["method"]) - len(lines))  # those of a base stand before
            where = f"{path.name}, line {lines[line]}" if line >= 0 else path.name
            row = _row(path, where, text, limits, pair, entry, weights)
            if row.label in (one.label for one in own):
                raise UsageError(
                    f"{where}: there is a row '{row.label}' already; give this one a label of its"
                    " own."
                )
            own.append(row)
        more = (
            _row(path, "--method", text, limits, pair, {"name": name}, weights)
            for name in dict.fromkeys(added)
        )
        rows += _with_added(own, more)
    return rows


def _with_added(rows: Sequence[Row], more: Iterable[Row]) -> list[Row]:
    """Return the rows of a pair, then those that the spec has not, under labels of their own."""
    found = list(rows)
    for row in more:
        labels = {one.label for one in found}
        if row.label in labels and row.method.startswith(PREFIX):
            row = replace(row, label=f"{row.label} ({short_name(row.method)})")
        if row.label not in labels:
            found.append(replace(row, added=True))
    return found


def _row(
    path: Path,
    where: str,
    text: Mapping[str, Any],
    limits: Mapping[str, Any],
    pair: Mapping[str, Any],
    entry: Mapping[str, Any],
    weights: Given,
) -> Row:
    """Return the row of one pair and one method; `where` names the line of the method."""
    check_keys(pair, "pair", f"a pair of {path.name}")
    check_keys(entry, "method", f"a method of {where}")
    if not {"data", "model", "request"} <= set(pair) or "name" not in entry:
        raise UsageError(f"{where}: a pair needs data, model and request; a method needs a name.")
    name = beside(entry["name"], path.parent)
    is_network = name in NETWORKS
    settings = {**limits["set"].get(entry["name"], {}), **entry.get("set", {})}
    train = {**pair.get("train", {}), **limits.get("train", {})}
    if is_network:
        train |= settings
        settings = {}
    _checked(where, "training", lambda: Training(**({"lr": 0.01, "epochs": 1} | train)))
    if not is_network:
        _checked(where, name, lambda: configured_method(name, settings))
    trials = _trials(limits, pair, {**entry, "name": name})
    common: dict[str, Any] = {
        "data": pair["data"],
        "model": pair["model"],
        "train": train,
        "request": checked_request(pair["request"], path.name),
        "retain": limits.get("retain"),
        "holdout": float(text.get("holdout", 0.0)),
        "method": name,
        "settings": settings,
        "trials": trials,
        "tune_retain": limits.get("tune_retain") if trials else None,
        "code": code_of(name),
    }
    if is_network:
        seeds = limits.get("networks", [0])
        seeds = range(len(weights[name])) if name in weights else seeds
    else:
        seeds = [0] if name in limits.get("once", ()) else limits["seeds"]
    return Row(
        label=entry.get("label", by_name(name).name if name.startswith(PREFIX) else name),
        method=name,
        pair=pair.get("name", f"{pair['data']}, {pair['model']}"),
        paper=entry.get("paper", name) if text.get("paper") else None,
        cells=tuple(
            Cell(**common, seed=seed, weights=_weights(weights, name, seed)) for seed in seeds
        ),
    )


def _weights(given: Given, method: str, seed: int) -> dict[str, str | None]:
    """The weights of a cell: those of its seed in the row of a network, else the first."""
    return {name: files[seed if name == method else 0] for name, files in given.items()}


def _trials(limits: Mapping[str, Any], pair: Mapping[str, Any], entry: Mapping[str, Any]) -> int:
    """Return how many settings are tried; 0 where settings are given or nothing can be tuned."""
    if entry["name"] in NETWORKS or not entry.get("tune", "set" not in entry):
        return 0
    if "classes" not in pair["request"] or not by_name(entry["name"]).search:
        return 0
    return int(limits.get("trials", 0))


def _checked(where: str, name: str, make: Callable[[], object]) -> None:
    try:
        make()
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{where}, method {name}: {error}") from error


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
    return read_toml(PAPER)
