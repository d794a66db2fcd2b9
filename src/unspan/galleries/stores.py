"""Stores that are updated in place, by the scheme of their address.

A package adds one with an entry point: its name is the scheme, and it is a function as `Update`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from unspan.errors import UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange
from unspan.run import Run

GROUP = "unspan.stores"
_BUILT_IN = {"postgresql": "postgres", "postgres": "postgres"}
_NEEDS = "unspan[postgres]"


class Update(Protocol):
    """Maps all vectors of a table in place."""

    def __call__(
        self,
        address: str,
        table: str,
        change: RowChange,
        columns: Columns,
        run: Run,
        *,
        mark: str,
        reclaim: bool,
    ) -> dict[str, Any]:
        """Readers see old vectors or new ones, never a mixture; a killed run goes on.

        Args:
            address: of the store, as the user gave it.
            table: its table, collection or index.
            change: maps vectors, tells rows of the request, and counts.
            columns: of the vectors and of the ids of the request.
            run: progress.
            mark: of the map; what another map left unfinished is not gone on with.
            reclaim: free the space that the old vectors took, though the store is locked meanwhile.

        Returns:
            What the receipt says of the store; `reclaimed` among it. `old_vectors` says how many of
            those that were `looked_for` were `found` in its files.
        """
        ...


def store_of(address: str) -> Update | None:
    """What updates the store of an address; None where the address is no store.

    Raises:
        UsageError: its library is missing, or the package that offers it is broken.
    """
    scheme, found, _ = address.partition("://")
    if not found:
        return None
    if scheme in _BUILT_IN:
        try:
            home = import_module(f"unspan.galleries.{_BUILT_IN[scheme]}")
        except ModuleNotFoundError as error:
            raise UsageError(f"{scheme} needs {error.name}: pip install '{_NEEDS}'.") from error
        return cast(Update, home.update)
    for point in entry_points(group=GROUP):
        if point.name == scheme:
            try:
                return cast(Update, point.load())
            except Exception as error:  # of any kind: it is not our code
                raise UsageError(f"{point.value} cannot be loaded: {error}") from error
    return None
