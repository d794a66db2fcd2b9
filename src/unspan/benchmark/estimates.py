"""What of a benchmark is left to compute, and how long it should take."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from unspan.benchmark.grid import Cell, Row, Spec
from unspan.benchmark.pictures import name_of
from unspan.benchmark.renamed import configured_method
from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.store import Store
from unspan.errors import UsageError
from unspan.methods.registry import PREFIX
from unspan.system.durations import duration

SCORES = "scores"  # what a cell holds beside pictures
_LOOKS = 3  # passes that measuring costs


class Estimated(NamedTuple):
    """A cell and what it should cost.

    Attributes:
        row: of its table.
        cell: the cell.
        state: as `state` says.
        seconds: it took or should take; None where nothing is known.
        guessed: no cell of its method ran, so that cells of other methods were taken instead.
    """

    row: Row
    cell: Cell
    state: str
    seconds: float | None
    guessed: bool = False


def missing(
    store: Store, cell: Cell, pictures: Sequence[str] = (), again: bool = False
) -> list[str]:
    """What of a cell is still to be computed: `SCORES`, then pictures by kind.

    Args:
        store: of the results.
        cell: the cell.
        pictures: kinds that are wanted.
        again: what failed counts as missing.
    """
    found = store.read("cell", cell.id)
    scores = [SCORES] if found is None or (again and "error" in found) else []
    if found is not None and "error" in found and not again:
        return []
    old = (found or {}).get("pictures", {})
    kinds = [kind for kind in pictures if kind not in old]
    drawn = {kind: store.read("picture", name_of(cell.id, kind)) for kind in kinds}
    rest = [kind for kind, one in drawn.items() if one is None or (again and "error" in one)]
    return [*scores, *rest]


def state(store: Store, cell: Cell, pictures: Sequence[str] = ()) -> str:
    """`done`, `failed`, `claimed`, `open`, or `pictures` where only pictures are missing."""
    rest = missing(store, cell, pictures)
    if not rest:
        parts = [store.read("cell", cell.id)]
        parts += [store.read("picture", name_of(cell.id, kind)) for kind in pictures]
        return "failed" if any(one is not None and "error" in one for one in parts) else "done"
    if store.is_claimed("cell", cell.id):
        return "claimed"
    return "open" if SCORES in rest else "pictures"


@dataclass
class _Known:
    """What finished cells took.

    Attributes:
        seconds: by the kind of the cell.
        paces: seconds a pass, by data and network, apart for methods and for trained networks.
        pictures: seconds by kind of picture.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    paces: dict[str, list[float]] = field(default_factory=dict)
    pictures: dict[str, list[float]] = field(default_factory=dict)


def _known(store: Store) -> _Known:
    known = _Known()
    for name in store.names("cell"):
        found = store.read("cell", name)
        if found is None or "error" in found:
            continue
        cell, spent = found["cell"], found["seconds_in_all"]
        known.seconds.setdefault(_kind(cell), []).append(spent)
        count = _passes_of(found)
        if count is not None:
            known.paces.setdefault(_pace_of(cell), []).append(spent / (_LOOKS + count))
    for name in store.names("picture"):
        one = store.read("picture", name)
        if one is not None and "seconds" in one and "error" not in one:
            known.pictures.setdefault(one["kind"], []).append(one["seconds"])
    return known


def estimate(spec: Spec, store: Store) -> list[Estimated]:
    """Every cell with its state, and the seconds it took or should take: the median of finished
    cells of the same method, else by `passes` at the pace of others on the same data and network,
    methods before trained networks, else None. For a cell that lacks pictures only: the time of its
    method and that of pictures.
    """
    known = _known(store)
    found = []
    for row in spec.rows:
        for cell in row.cells:
            where = state(store, cell, spec.pictures)
            if where == "done":
                found.append(Estimated(row, cell, where, 0.0))
            elif where == "pictures":
                found.append(Estimated(row, cell, where, _of_pictures(spec, cell, store, known)))
            else:
                found.append(Estimated(row, cell, where, *_guess(cell, known)))
    return found


def _of_pictures(spec: Spec, cell: Cell, store: Store, known: _Known) -> float | None:
    """Seconds of the pictures that a cell lacks; None where none of their kinds was drawn yet."""
    kinds = [kind for kind in missing(store, cell, spec.pictures) if kind in known.pictures]
    result = store.read("cell", cell.id)
    if result is None or not kinds:
        return None
    pictures = sum(statistics.median(known.pictures[kind]) for kind in kinds)
    if cell.method in NETWORKS:  # which are kept
        return pictures
    return pictures + sum(float(step["seconds"]) for step in result["steps"])


def _guess(cell: Cell, known: _Known) -> tuple[float | None, bool]:
    """Seconds of a cell, and whether they are those of other methods."""
    one = cell.record()
    same = known.seconds.get(_kind(one))
    if same:
        return float(statistics.median(same)), False
    is_network = cell.method in NETWORKS
    places = [_pace_of(one, network=kind) for kind in (is_network, not is_network)]
    paces = next((known.paces[place] for place in places if place in known.paces), None)
    if paces is None:
        return None, False
    return (_LOOKS + passes(cell)) * statistics.median(paces), True


def _to_compute(rows: Sequence[Estimated]) -> list[Estimated]:
    """What is left, every cell once."""
    return list({one.cell.id: one for one in rows if one.state not in ("done", "failed")}.values())


def cost(rows: Sequence[Estimated]) -> str:
    """What is left to compute and about how long it takes, in one sentence."""
    rest, count = _to_compute(rows), len({one.cell.id for one in rows})
    known = [one.seconds for one in rest if one.seconds is not None]
    unknown = [one.cell for one in rest if one.seconds is None and one.state != "pictures"]
    undrawn = [one for one in rest if one.seconds is None and one.state == "pictures"]
    told = [f"about {duration(sum(known))} in one process{_guessed(rest)}"] if known else []
    if undrawn:
        told.append(
            f"the time of the pictures of {len(undrawn)} is not known yet: no picture of their kind"
            " was drawn here"
        )
    if unknown:
        reads = sum(_LOOKS + passes(cell) for cell in unknown)
        told.append(
            f"the time of {len(unknown)} is not known yet (about {reads:,.0f} passes over the"
            " training data): no cell of their data and network ran here"
        )
    return f"{len(rest)} of {count} cells to compute{': ' if rest else ''}{'; '.join(told)}."


def _guessed(rows: Sequence[Estimated]) -> str:
    """Which methods have no finished cell to estimate by, as the end of a sentence."""
    labels = list(dict.fromkeys(one.row.label for one in rows if one.guessed))
    if not labels:
        return ""
    return f" (guessed from other rows for {', '.join(labels)}, of which no cell ran here yet)"


def left(rows: Sequence[Estimated]) -> str:
    """The time left for the cells that are left, as the end of a line; empty where none is."""
    rest = _to_compute(rows)
    known = [one.seconds for one in rest if one.seconds is not None]
    if not known:
        return ""
    more = "" if len(known) == len(rest) else f" of {len(rest)}"
    cells = "cell" if len(rest) == 1 else "cells"
    return f"; about {duration(sum(known))} left for {len(known)}{more} {cells} in one process"


def _kind(cell: Mapping[str, Any]) -> str:
    epochs = cell["settings"].get("epochs") or (
        cell["train"].get("epochs") if cell["method"] in NETWORKS else None
    )
    steps = len(cell["request"].get("steps", [0]))
    same = [cell[name] for name in ("data", "model", "retain", "method")]
    return repr((*same, epochs, steps))


def _pace_of(cell: Mapping[str, Any], *, network: bool | None = None) -> str:
    """Data and network, and whether the row is one of a trained network."""
    is_network = cell["method"] in NETWORKS if network is None else network
    return repr((cell["data"], cell["model"], cell["retain"], is_network))


def passes(cell: Cell) -> float:
    """How many times the method reads its data, to guess a cost by: epochs, and a quarter of that
    for every trial.

    >>> from unspan.benchmark.grid import Cell
    >>> request = {"classes": [1]}
    >>> passes(
    ...     Cell(data="digits", model="m", train={"epochs": 7}, request=request, method="retrain")
    ... )
    7.0
    """
    if cell.method in NETWORKS:
        return 0.0 if cell.weights.get(cell.method) else float(cell.train.get("epochs", 50))
    training = configured_method(cell.method, cell.settings).training
    epochs = 1 if training is None else training.epochs
    return float(epochs * (1 + cell.trials / 4))


def _passes_of(found: Mapping[str, Any]) -> float | None:
    """The passes of a finished cell; None for a method that is not here.

    Code that a file of results names is never imported. A network that was not trained in the cell
    but loaded counts none.
    """
    cell = found["cell"]
    if cell["method"].startswith(PREFIX):
        return None
    if cell["method"] in NETWORKS:
        training = found.get("training", [])
        stories = training if isinstance(training, list) else [training]
        seconds = sum(one["seconds"] for one in stories)
        here = 0 < seconds <= found["seconds_in_all"]
        return float(cell["train"].get("epochs", 50) * len(stories)) if here else 0.0
    try:
        return passes(Cell(**cell))
    except UsageError:
        return None
