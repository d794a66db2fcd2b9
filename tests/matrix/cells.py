"""What one run of the matrix is, and how it can end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

DTYPES = ("float32", "bfloat16", "float16")
REQUESTS = ("class", "person", "ids", "statistics")
METHODS = ("default", "esc", "neggrad-plus")

State = Literal["works", "refused", "fails"]


@dataclass(frozen=True, order=True)
class Cell:
    """One combination.

    Attributes:
        network: a key of `networks.NETWORKS`.
        dtype: that of the weights the user has.
        request: a class, a folder of one person, a list of ids, or a class of which only the
            samples to forget and a file of statistics are left.
        method: as the user chooses it; `default` names none.
    """

    network: str
    dtype: str
    request: str
    method: str

    @property
    def name(self) -> str:
        """The cell as one path."""
        return "/".join((self.network, self.dtype, self.request, self.method))

    @property
    def must_work(self) -> bool:
        """Whether a refusal is a failure here."""
        full_range = self.dtype in ("float32", "bfloat16")
        return full_range and self.request == "class" and self.method in ("default", "esc")


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        state: `works`, `refused` (a typed error that says what to do) or `fails`.
        said: the message of a refusal or a failure; empty when it works.
        figures: accuracies, seconds and what the export did.
    """

    state: State
    said: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def every_cell(networks: Iterable[str]) -> list[Cell]:
    """All cells of these networks, in a fixed order."""
    return [Cell(*values) for values in itertools.product(networks, DTYPES, REQUESTS, METHODS)]


def named(text: str) -> Cell:
    """The cell of a `Cell.name`."""
    return Cell(*text.split("/"))
