"""What happens to rows of a gallery: vectors are mapped, rows of the request dropped or flagged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import torch
from torch import Tensor

from unspan.erasers import Eraser
from unspan.errors import DataError
from unspan.system.text_enum import TextEnum

_BYTES = 16 << 20  # of vectors that are in memory at a time
_UUID = 16  # bytes
_MAPPED = 1024  # rows that are mapped at a time


class Rows(TextEnum):
    """What becomes of rows that are of the request."""

    KEEP = "keep"
    DROP = "drop"
    FLAG = "flag"


@dataclass
class Counts:
    """What was done to rows.

    Attributes:
        read: rows.
        changed: of those written, with another vector than before.
        of_request: named by the ids of the request.
        dropped: not written.
        empty: without a vector; they stay so.
        not_finite: vectors with NaN or infinity, which stay as they are.
    """

    read: int = 0
    changed: int = 0
    of_request: int = 0
    dropped: int = 0
    empty: int = 0
    not_finite: int = 0


@dataclass(frozen=True)
class RowChange:
    """Maps vectors and tells rows of the request, and counts both.

    Attributes:
        eraser: map on vectors of `dim` numbers.
        dim: d.
        forget: ids of the request, as text.
        rows: what becomes of the rows that they name.
        counts: of everything so far.
        others: names of other columns of vectors that were met; they stay as they are.
    """

    eraser: Eraser
    dim: int
    forget: frozenset[str] = frozenset()
    rows: Rows = Rows.KEEP
    counts: Counts = field(default_factory=Counts)
    others: set[str] = field(default_factory=set)

    def rows_at_a_time(self, width: int) -> int:
        """Rows whose vectors fill about 16 MB.

        Args:
            width: bytes of a number.
        """
        return rows_at_a_time(self.dim, width)

    def dropped(self, ids: Sequence[Any] | range) -> Tensor:
        """Which rows are not written, `[n]` bool; all rows are counted.

        Args:
            ids: of the rows; their positions where the file has no ids.
        """
        gone = self.of_request(ids)
        self.counts.read += len(ids)
        self.counts.of_request += int(gone.sum())
        if self.rows is not Rows.DROP:
            return torch.zeros_like(gone)
        self.counts.dropped += int(gone.sum())
        return gone

    def of_request(self, ids: Sequence[Any] | range) -> Tensor:
        """Which rows the request names, `[n]` bool."""
        if not self.forget:
            return torch.zeros(len(ids), dtype=torch.bool)
        return torch.tensor([id_text(one) in self.forget for one in ids], dtype=torch.bool)

    def mapped(self, vectors: Tensor, where: str) -> Tensor:
        """The erased vectors, with the shape and dtype of what is given.

        Args:
            vectors: `[n, d]`, of any floating dtype.
            where: for messages.

        Raises:
            DataError: vectors have another length than the map takes.
        """
        self.check_dim(vectors.shape[1], where)
        new = torch.empty_like(vectors)
        with torch.no_grad():  # maps with many clusters hold several times what they are given
            for old, place in zip(vectors.split(_MAPPED), new.split(_MAPPED), strict=True):
                place.copy_(self._mapped_part(old))
        return new

    def _mapped_part(self, old: Tensor) -> Tensor:
        finite = old.sum(1).isfinite()
        if not finite.all():  # or a sum of large numbers
            finite = old.isfinite().all(1)
        if finite.all():
            new = self.eraser.map_stored(old)
        else:
            new = old.clone()
            new[finite] = self.eraser.map_stored(old[finite])
        self.counts.not_finite += int((~finite).sum())
        self.counts.changed += int(((new != old).any(1) & finite).sum())
        return new

    def check_dim(self, dim: int, where: str) -> None:
        """Refuse vectors of another length (DataError)."""
        check_dim(dim, self.dim, where)


def text_ids(ids: Collection[Any]) -> frozenset[str]:
    """Ids as they are compared."""
    return frozenset(map(id_text, ids)) - {""}


def id_text(one: Any) -> str:
    """An id as it is compared: bytes as their text or UUID, whole numbers without a fraction."""
    if isinstance(one, bytes):
        try:
            return one.decode().strip()
        except UnicodeDecodeError:
            return str(UUID(bytes=one)) if len(one) == _UUID else one.hex()
    if isinstance(one, float) and one.is_integer():
        return str(int(one))
    return str(one).strip()


def rows_at_a_time(dim: int, width: int) -> int:
    """Rows whose vectors fill about 16 MB.

    Args:
        dim: numbers of a vector.
        width: bytes of a number.
    """
    return max(1, _BYTES // (dim * width))


def check_dim(found: int, dim: int, where: str) -> None:
    """Refuse vectors of another length than the features of the model (DataError)."""
    if found != dim:
        raise DataError(
            f"{where} holds vectors of {found} numbers, and the map of the deletion takes {dim}."
            " Give the gallery of the same model and layer, or name the column with --column."
        )
