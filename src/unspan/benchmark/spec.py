"""What a benchmark runs: a TOML file with pairs of data and model, methods and seeds, expanded to
cells.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unspan.benchmark.views import VIEWS
from unspan.errors import UsageError
from unspan.methods import by_name, configured, registered
from unspan.training.loop import Training

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SPECS = Path(__file__).with_name("specs")
BUDGETS = Path(__file__).with_name("budgets.toml")
PAPER = Path(__file__).with_name("paper.toml")
NETWORKS = ("original", "retrain")  # rows that no method makes: trained with the recipe of the pair
PICTURES = ("gradcam", "tsne")
_TABLE, _TEXT, _LIST = "a table ({ ... })", "a text", "a list"
_KINDS: dict[str, dict[str, str]] = {  # what a key holds
    "file": {
        "title": _TEXT,
        "view": "a list of views",
        "paper": _TEXT,
        "note": _TEXT,
        "pair": "tables ([[pair]])",
        "method": "tables ([[method]])",
        "budget": _TABLE,
        "holdout": "a share in [0, 1)",
        "pictures": "a list of gradcam, tsne",
        "seeds": "a list of different whole numbers >= 0",
    },
    "pair": {"data": _TEXT, "model": _TEXT, "name": _TEXT, "request": _TABLE, "train": _TABLE},
    "method": {
        "name": _TEXT,
        "label": _TEXT,
        "set": _TABLE,
        "paper": _TEXT,
        "tune": "true or false",
    },
    "budget": {
        "pair": _TABLE,
        "retain": "a whole number > 0",
        "trials": "a whole number >= 0",
        "seeds": "a list of different whole numbers >= 0",
        "once": "a list of methods",
        "skip": "a list of methods",
        "train": _TABLE,
        "set": "a table of tables",
    },
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement; everything that decides its result.

    Attributes:
        data: a name of `unspan.benchmark.data.NAMED`, or what `open_data` takes.
        model: what `unspan.models.build` takes.
        train: settings of training the original and the retrained model.
        request: `classes`, `share`, `benchmark` (the one that the dataset defines) or `steps` (one
            request after the other), and its value.
        retain: largest number of retained training samples, for methods, probes and retraining;
            None is all.
        holdout: share of the test set that is kept for methods that choose by held-out samples, and
            measured by nobody.
        method: name in the catalogue, `original` or `retrain`.
        settings: of the method, beside its defaults.
        trials: settings tried by `unspan.erasure.tuning` on validation samples; 0 takes `settings`
            as they are.
        seed: of the method and the probes.
        pictures: `gradcam`, `tsne`: what is drawn beside the scores.
        weights: sha256 of given weights of the original and the retrained model, None for trained
            ones.
    """

    data: str
    model: str
    train: dict[str, Any]
    request: dict[str, Any]
    retain: int | None = None
    holdout: float = 0.0
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    seed: int = 0
    pictures: tuple[str, ...] = ()
    weights: dict[str, str | None] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name of its file: a hash of all attributes."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: the cells of one method over the seeds.

    Attributes:
        label: what stands in the table.
        method: its method.
        pair: data and model, as a person says it.
        paper: key of the printed values, None where there are none.
        cells: one for each seed.
    """

    label: str
    method: str
    pair: str
    paper: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A benchmark at one budget.

    Attributes:
        name: of the file.
        title: for people.
        views: names of the tables and figures that are drawn.
        meant: the pairs of the paper, which the printed values are of.
        paper: table of printed values, None where there is none.
        budget: name of the budget.
        note: what a reader should know.
        rows: in the order of the table.
    """

    name: str
    title: str
    meant: str
    views: tuple[str, ...]
    paper: str | None
    budget: str
    note: str
    rows: tuple[Row, ...]

    def cells(self) -> list[Cell]:
        """Every cell once, seeds in turn, so that a run that is stopped has whole columns."""
        by_seed = [
            cell
            for place in range(max((len(row.cells) for row in self.rows), default=0))
            for row in self.rows
            for cell in row.cells[place : place + 1]
        ]
        return list({cell.id: cell for cell in by_seed}.values())


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
        f"{name}: no such file, and no spec of that name comes with unspan. Known:"
        f" {', '.join(known)}."
    )


def load(
    path: Path, budget: str = "paper", weights: Mapping[str, str | None] | None = None
) -> Spec:
    """Read a spec and expand it at a budget.

    Args:
        path: TOML file.
        budget: `smoke`, `cpu`, `paper`, or one that the file defines itself.
        weights: sha256 of given weights by `original` and `retrain`.

    Raises:
        UsageError: not TOML, or a key or value that does not fit; says where.
    """
    text = _read(path)
    general = _read(BUDGETS)
    if not isinstance(text.get("budget", {}), dict) or not all(
        isinstance(one, dict) for one in text.get("budget", {}).values()
    ):
        raise UsageError(f"{path.name}: a budget is a table, [budget.NAME].")
    if budget not in {**general, **text.get("budget", {})}:
        raise UsageError(
            f"Budget '{budget}' is not known; {path.name} has:"
            f" {', '.join({**general, **text.get('budget', {})})}."
        )
    limits = {**general.get(budget, {}), **text.get("budget", {}).get(budget, {})}
    if "pair" in general.get(budget, {}):
        limits["pair"] = {**general[budget]["pair"], **limits["pair"]}
    if not isinstance(limits.get("pair", {}), dict) or not isinstance(limits.get("set", {}), dict):
        raise UsageError(f"budget {budget} of {path.name}: pair and set are tables.")
    limits["seeds"] = (
        text.get("budget", {})
        .get(budget, {})
        .get("seeds", text.get("seeds", limits.get("seeds", [0])))
    )
    limits["set"] = {
        **general.get(budget, {}).get("set", {}),
        **text.get("budget", {}).get(budget, {}).get("set", {}),
    }
    _typed(text, "file", path.name)
    _typed(limits, "budget", f"budget {budget} of {path.name}")
    views = tuple(text.get("view", ["methods"]))
    if text.get("paper") not in (None, *printed()):
        raise UsageError(
            f"{path.name}: paper = '{text['paper']}' has no printed values; known:"
            f" {', '.join(printed())}."
        )
    pairs = text.get("pair", [])
    if "pair" in limits and pairs:
        pairs = [{"request": pairs[0].get("request"), **limits["pair"]}]
    if not pairs or not text.get("method"):
        raise UsageError(
            f"{path.name}: give at least one [[pair]] (data, model, request) and one [[method]]"
            " (name)."
        )
    rows = [
        _row(path.name, text, limits, pair, entry, dict(weights or {}))
        for pair in pairs
        for entry in text["method"]
        if entry.get("name") not in limits.get("skip", ())
    ]
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
    title = str(text.get("title", path.stem)) + (
        "" if set(here) <= set(meant) else f" [here: {'; '.join(here)}]"
    )
    return Spec(
        name=path.stem,
        title=title,
        meant="; ".join(meant),
        views=views,
        paper=text.get("paper"),
        budget=budget,
        note=str(text.get("note", "")),
        rows=tuple(rows),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error


def _row(
    where: str,
    text: Mapping[str, Any],
    limits: Mapping[str, Any],
    pair: Mapping[str, Any],
    entry: Mapping[str, Any],
    weights: dict[str, str | None],
) -> Row:
    _typed(pair, "pair", f"a pair of {where}")
    _typed(entry, "method", f"a method of {where}")
    if not {"data", "model", "request"} <= set(pair) or "name" not in entry:
        raise UsageError(f"{where}: a pair needs data, model and request; a method needs a name.")
    name, label = entry["name"], entry.get("label", entry["name"])
    settings = {**limits["set"].get(name, {}), **entry.get("set", {})}
    train = {**pair.get("train", {}), **limits.get("train", {})}
    tuned = name not in NETWORKS and entry.get("tune", True) and "set" not in entry
    if name in NETWORKS:
        train, settings = train | settings, {}
    _checked(where, "training", lambda: Training(**({"lr": 0.01, "epochs": 1} | train)))
    if name not in NETWORKS:
        _checked(
            where,
            name,
            lambda: configured(
                by_name(name),
                {key: None if value == "none" else value for key, value in settings.items()},
            ),
        )
    seeds = [0] if name in (*NETWORKS, *limits.get("once", ())) else list(limits["seeds"])
    common: dict[str, Any] = {
        "data": pair["data"],
        "model": pair["model"],
        "train": train,
        "request": _request(pair["request"], where),
        "retain": limits.get("retain"),
        "holdout": float(text.get("holdout", 0.0)),
        "method": name,
        "settings": settings,
        "trials": (
            int(limits.get("trials", 0))
            if tuned and "classes" in pair["request"] and by_name(name).search
            else 0
        ),
        "pictures": tuple(text.get("pictures", ())),
        "weights": weights,
    }
    printed = entry.get("paper", name) if text.get("paper") else None
    return Row(
        label=label,
        method=name,
        pair=pair.get("name", f"{pair['data']}, {pair['model']}"),
        paper=printed,
        cells=tuple(Cell(**common, seed=seed) for seed in seeds),
    )


def _request(request: Mapping[str, Any], where: str) -> dict[str, Any]:
    forms = (
        "classes = [4], share = 0.1 (between 0 and 1), benchmark = true, or steps = [[4], [0]];"
        " classes are numbers, each named once"
    )
    kind, value = next(iter(request.items()), ("", None))
    lists = {"classes": [value], "steps": value}.get(kind)
    good = {"share": isinstance(value, float) and 0 < value < 1, "benchmark": value is True}.get(
        kind, False
    )
    if isinstance(lists, list) and lists and all(isinstance(step, list) and step for step in lists):
        named = [one for step in lists for one in step]
        good = all(
            isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in named
        ) and len(set(named)) == len(named)
    if len(request) != 1 or not good:
        raise UsageError(f"{where}: a request is one of {forms}; got {dict(request)}.")
    return {kind: value}


def _typed(found: Mapping[str, Any], what: str, where: str) -> None:
    """Refuse unknown keys, and values of the wrong kind."""
    kinds = _KINDS[what]
    for key, value in found.items():
        if key not in kinds:
            raise UsageError(f"{where}: unknown key '{key}'; known: {', '.join(sorted(kinds))}.")
        if not _fits(kinds[key], value):
            raise UsageError(f"{where}: {key} = {value!r} must be {kinds[key]}.")


def _fits(kind: str, value: Any) -> bool:
    if kind.startswith("tables"):
        return isinstance(value, list) and all(isinstance(one, dict) for one in value)
    if kind == "a table of tables":
        return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
    if kind.startswith("a whole number"):
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and value >= int(">=" not in kind)
        )
    if kind.startswith("a share"):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
    if kind.startswith("a list of different"):
        return (
            isinstance(value, list)
            and bool(value)
            and all(
                isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value
            )
            and len(set(value)) == len(value)
        )
    if kind.startswith("a list"):
        allowed = {
            "a list of gradcam, tsne": PICTURES,
            "a list of views": VIEWS,
            "a list of methods": (*NETWORKS, *(method.name for method in registered())),
        }[kind]
        return isinstance(value, list) and all(one in allowed for one in value)
    return isinstance(value, {_TABLE: dict, _TEXT: str, "true or false": bool}[kind])


def _checked(where: str, name: str, make: Any) -> None:
    try:
        make()
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{where}, method {name}: {error}") from error


def check_given(specs: Sequence[Spec], weights: Mapping[str, str | None]) -> None:
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
    """Values that the papers print, by table, row and column."""
    return _read(PAPER)
