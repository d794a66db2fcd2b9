"""Which columns of a gallery matter."""

from __future__ import annotations

from dataclasses import dataclass

FLAG = "unspan_of_request"  # column that marks rows of the request


@dataclass(frozen=True)
class Columns:
    """Names of columns, or of tensors.

    Attributes:
        vector: the vectors; None for the only one that can be.
        ids: what the request names rows by; None for their positions in the file.
    """

    vector: str | None = None
    ids: str | None = None
