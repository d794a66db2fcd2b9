"""The rows of a spec: one for every pair of data and model and every method, with a cell a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unspan.benchmark.grid import Cell, Row
from unspan.benchmark.renamed import configured_method
from unspan.benchmark.spec_text import (
    KINDS,
    NETWORKS,
    budget_place,
    check_keys,
    checked_request,
    header_lines,
)
from unspan.benchmark.third_party import beside, code_of, short_name
from unspan.errors import UsageError
from unspan.methods import EraserMethod, Method, by_name
from unspan.methods.registry import PREFIX, registered
from unspan.methods.setting_kinds import fits, kinds_of, worded
from unspan.system.closest import meant
from unspan.training.settings import Training

_ANY_DIM = 10**9  # features: so many that only what is impossible for all widths is refused
Given = Mapping[str, Sequence[str]]
"""sha256 of given weights by `original` and `retrain`, one for each seed of that row."""


@dataclass(frozen=True)
class Reading:
    """A spec file while its rows are read.

    Attributes:
        path: the TOML file.
        text: its content, with that of its base.
        budget: name of the budget.
        limits: what it changes.
        weights: sha256 of given weights.
    """

    path: Path
    text: Mapping[str, Any]
    budget: str
    limits: Mapping[str, Any]
    weights: Given

    def rows(self, added: Sequence[str]) -> list[Row]:
        """Return a row for every pair and method that the budget does not skip, then those of the
        methods that were `added`.

        Raises:
            UsageError: no pair or method, two rows of one label, a key or value that does not fit.
        """
        if not self.text.get("pair") or not self.text.get("method"):
            raise UsageError(
                f"{self.path.name}: give at least one [[pair]] (data, model, request) and one"
                " [[method]] (name)."
            )
        self._check_budgets(added)
        found: list[Row] = []
        for where, pair in self._pairs():
            _check_pair(where, pair)
            more = (self._row("", where, pair, {"name": name}) for name in dict.fromkeys(added))
            found += _with_added(self._of_pair(where, pair), more)
        return found

    def _check_budgets(self, added: Sequence[str]) -> None:
        """Refuse what a budget of the file says of methods that are none, as of a misspelt one, and
        wrong keys and settings of training, in budgets that are not asked for too.
        """
        rows = {str(one.get("name")) for one in self.text["method"]} | {*added}
        known = rows | {*NETWORKS} | {method.name for method in registered()}
        for name, budget in self.text.get("budget", {}).items():
            where = budget_place(self.path, name)
            if name in KINDS["budget"]:
                raise UsageError(
                    f"{where}: {name} is what a budget changes, no budget; name the budget first,"
                    f" as in [budget.{self.budget}]."
                )
            check_keys(budget, "budget", where)
            _check_training(f"{where}, train", budget.get("train", {}))
            for key in ("set", "skip", "once"):
                for method in budget.get(key, ()):
                    if method not in known and not str(method).startswith(PREFIX):
                        raise UsageError(
                            f"{where}: {key} names '{method}', and no row is of that method."
                            f"{meant(str(method), known)}"
                        )

    def _pairs(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The pairs of the file with their places, or the one that the budget puts there."""
        pairs: list[Mapping[str, Any]] = self.text["pair"]
        if "pair" in self.limits:
            first = {"request": pairs[0].get("request"), **self.limits["pair"]}
            return [(budget_place(self.path, self.budget), first)]
        return list(zip(self._places("pair", len(pairs)), pairs, strict=True))

    def _places(self, name: str, count: int) -> list[str]:
        """Where each of so many `[[name]]` stands; those of a base, which come first, have no
        line.
        """
        lines = header_lines(self.path, name)[-count:]
        of_base = [self.path.name] * (count - len(lines))
        return of_base + [f"{self.path.name}, line {line}" for line in lines]

    def _of_pair(self, pair_where: str, pair: Mapping[str, Any]) -> list[Row]:
        """The rows of one pair; each error names the line of its method."""
        entries = self.text["method"]
        found: list[Row] = []
        for where, entry in zip(self._places("method", len(entries)), entries, strict=True):
            if entry.get("name") in self.limits.get("skip", ()):
                continue
            row = self._row(where, pair_where, pair, entry)
            if row.label in (one.label for one in found):
                raise UsageError(
                    f"{where}: there is a row '{row.label}' already; give this one a label of its"
                    " own."
                )
            found.append(row)
        return found

    def _row(
        self, where: str, pair_where: str, pair: Mapping[str, Any], entry: Mapping[str, Any]
    ) -> Row:
        """Return the row of one pair and one method; `where` names the line of the method, empty
        for one of the command line.
        """
        check_keys(entry, "method", f"a method of {where}")
        if "name" not in entry:
            raise UsageError(f"{where}: a method needs a name.")
        name = beside(entry["name"], self.path.parent)
        settings = {**self.limits["set"].get(entry["name"], {}), **entry.get("set", {})}
        train = {**pair.get("train", {}), **self.limits.get("train", {})}
        if name in NETWORKS:
            _check_training(f"{where}, method {name}", settings)
            train |= settings
            settings = {}
        else:
            _checked(where, name, lambda: _possible(configured_method(name, settings)))
        _check_together(pair_where, train)
        trials = _trials(self.limits, pair, {**entry, "name": name})
        common: dict[str, Any] = {
            "data": pair["data"],
            "model": pair["model"],
            "train": train,
            "request": checked_request(pair["request"], pair_where),
            "retain": self.limits.get("retain"),
            "holdout": float(self.text.get("holdout", 0.0)),
            "method": name,
            "settings": settings,
            "trials": trials,
            "tune_retain": self.limits.get("tune_retain") if trials else None,
            "code": code_of(name),
        }
        return Row(
            label=entry.get("label", by_name(name).name if name.startswith(PREFIX) else name),
            method=name,
            pair=pair.get("name", f"{pair['data']}, {pair['model']}"),
            paper=entry.get("paper", name) if self.text.get("paper") else None,
            cells=tuple(
                Cell(**common, seed=seed, weights=_weights(self.weights, name, seed))
                for seed in self._seeds(name)
            ),
            place=pair_where,
        )

    def _seeds(self, name: str) -> Sequence[int]:
        """The seeds of a row: one for each given network, or those of the budget."""
        if name in self.weights:
            return range(len(self.weights[name]))
        if name in NETWORKS:
            seeds: Sequence[int] = self.limits.get("networks", [0])
            return seeds
        return [0] if name in self.limits.get("once", ()) else self.limits["seeds"]


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


def _check_pair(where: str, pair: Mapping[str, Any]) -> None:
    """Refuse a pair with keys or values that do not fit."""
    check_keys(pair, "pair", f"a pair of {where}")
    if not {"data", "model", "request"} <= set(pair):
        raise UsageError(f"{where}: a pair needs data, model and request.")
    _check_training(f"{where}, train of the pair", pair.get("train", {}))


def _check_training(where: str, train: Mapping[str, Any]) -> None:
    """Refuse what is no setting of the training of the original and the retrained network.

    Args:
        where: these settings stand, for messages.
        train: the settings of one place.
    """
    kinds = kinds_of(Training)
    for key, value in train.items():
        if key not in kinds:
            raise UsageError(
                f"{where}: unknown key '{key}'.{meant(key, kinds)} Known:"
                f" {', '.join(sorted(kinds))}."
            )
        if not fits(value, kinds[key]):
            raise UsageError(f"{where}: {key} = {value!r} must be {_worded(kinds[key])}.")
        _check_together(where, {key: value})


def _worded(kind: Any) -> str:
    """A kind of value in the words of a spec."""
    return worded(kind).replace("whole numbers with commas between them", "a list of whole numbers")


def _check_together(where: str, train: Mapping[str, Any]) -> None:
    """Refuse settings of training that are out of range, or that do not go together."""
    try:
        Training(**{"lr": 0.01, "epochs": 1, **train})
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error


def _possible(method: Method) -> None:
    """Refuse a rank that is impossible however many features there are."""
    if not isinstance(method, EraserMethod):
        return
    try:
        method.rank_for(_ANY_DIM)
    except UsageError as error:
        what = str(error).partition(";")[0]
        raise UsageError(f"{what}, for any number of features.") from error


def _checked(where: str, name: str, make: Callable[[], object]) -> None:
    """Refuse a method that cannot be made; a message that begins with its name has it once."""
    try:
        make()
    except (UsageError, TypeError, ValueError) as error:
        text = str(error)
        told = text if text.lstrip("'").startswith(name) else f"{name}: {text}"
        raise UsageError(f"{f'{where}, method' if where else '--method'} {told}") from error
