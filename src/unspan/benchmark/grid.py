"""A benchmark expanded: its rows, and the cells of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from unspan.benchmark.renamed import first_names
from unspan.benchmark.third_party import short_name


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement; everything that decides its result.

    Attributes:
        data: a name of `unspan.benchmark.named_data.NAMED`, or what `open_data` takes.
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
        tune_retain: largest number of retained training samples in a trial; None is all of them.
        seed: of the method and the probes.
        pictures: empty; in old results, what was drawn beside the scores. Today pictures lie apart.
        weights: sha256 of given weights of the original and the retrained model, None for trained
            ones.
        code: sha256 of the code of a method that is not of unspan, else its revision; empty for the
            first.
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
    tune_retain: int | None = None
    code: str = ""

    @property
    def original_seed(self) -> int:
        """Seed of the original model: a row of its own has one for each of its seeds."""
        return self.seed if self.method == "original" else 0

    def record(self) -> dict[str, Any]:
        """All attributes as JSON values, without folders of this machine."""
        content = asdict(self) | {"method": short_name(self.method)}
        # cells that were computed before there was one keep their name
        if self.tune_retain is None:
            del content["tune_retain"]
        if not self.code:
            del content["code"]
        return content

    @property
    def id(self) -> str:
        """Name of the cell: a hash of all attributes, with the first names of its settings."""
        content = self.record() | {"settings": first_names(self.method, self.settings)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: the cells of one method over the seeds.

    Attributes:
        label: what stands in the table.
        method: its method.
        pair: data and model, as a person says it.
        paper: key of the printed values, None where there are none.
        cells: one for each seed.
        added: the command line asked for it, not the spec.
        place: where its pair stands, for messages.
    """

    label: str
    method: str
    pair: str
    paper: str | None
    cells: tuple[Cell, ...]
    added: bool = False
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A benchmark at one budget.

    Attributes:
        name: of the file.
        title: for people.
        views: names of the tables and figures that are drawn.
        paper: table of printed values, None where there is none.
        budget: name of the budget.
        note: what a reader should know.
        rows: in the order of the table.
        pictures: `gradcam`, `tsne`: what is drawn of every cell.
    """

    name: str
    title: str
    views: tuple[str, ...]
    paper: str | None
    budget: str
    note: str
    rows: tuple[Row, ...]
    pictures: tuple[str, ...] = ()

    def places(self) -> dict[str, str]:
        """Where the pair of each cell stands, by id."""
        return {
            cell.id: f"{row.place} ({row.pair})"
            for row in reversed(self.rows)
            for cell in row.cells
        }

    def cells(self) -> list[Cell]:
        """Every cell once, seeds in turn, so that a run that is stopped has whole columns."""
        by_seed = [
            cell
            for place in range(max((len(row.cells) for row in self.rows), default=0))
            for row in self.rows
            for cell in row.cells[place : place + 1]
        ]
        return list({cell.id: cell for cell in by_seed}.values())
