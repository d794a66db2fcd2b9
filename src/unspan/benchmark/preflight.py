"""What a run would refuse, found before any work and without building a network.

Each error names where the pair stands in its spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from unspan.benchmark.data import Data, absence, is_near, opened, refuse_unknown
from unspan.benchmark.estimates import state
from unspan.benchmark.grid import Cell, Spec
from unspan.benchmark.requests import refuse_unknown_classes
from unspan.benchmark.store import Store
from unspan.errors import UnspanError
from unspan.models import check_name


def to_run(spec: Spec, store: Store) -> list[Cell]:
    """The cells whose data and network are needed."""
    return [cell for cell in spec.cells() if state(store, cell, spec.pictures) != "done"]


def refuse_mistakes(spec: Spec, store: Store, root: Path | None) -> list[str]:
    """Refuse data, models and classes that are not there; return what is said of data that a run
    would fetch, in sentences.

    Data are opened where they lie on this machine. Networks are looked up by name.

    Args:
        spec: whose cells are to run.
        store: of the results; cells that are done need neither data nor network.
        root: folder of datasets.

    Raises:
        UsageError: says where the mistake stands.
        DataError: a dataset that is damaged.
    """
    cells, places = to_run(spec, store), spec.places()
    for cell in cells:
        with placed(places[cell.id]):
            refuse_unknown(cell.data)
            check_name(cell.model)
    for name in dict.fromkeys(cell.data for cell in cells if is_near(cell.data, root)):
        own = [cell for cell in cells if cell.data == name]
        with placed(places[own[0].id]):
            data = opened(name, root, None)
        refuse_classes(data, own, places)
    sought = [absence(name, root) for name in dict.fromkeys(cell.data for cell in spec.cells())]
    return [text for text in sought if text]


def refuse_classes(data: Data, cells: Sequence[Cell], places: Mapping[str, str]) -> None:
    """Refuse cells of a dataset whose request names classes that it has not."""
    for cell in cells:
        with placed(places.get(cell.id, "")):
            refuse_unknown_classes(data, cell.request)


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Let errors on purpose begin with where their cause stands."""
    try:
        yield
    except UnspanError as error:
        if not where:
            raise
        raise type(error)(f"{where}: {error}") from error
