"""What a reader of a published dataset finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unspan.data.source import Source


@dataclass(frozen=True)
class Read:
    """What a reader found.

    Attributes:
        train: training samples.
        test: test samples.
        holdout: samples that neither is trained on nor reported, where the benchmark has them.
        forget: positions in `train` of the request that the benchmark defines, if it does.
    """

    train: Source
    test: Source
    holdout: Source | None = None
    forget: tuple[int, ...] | None = None


Reader = Callable[[Path], Read | None]


def tables(_root: Path) -> None:
    """None: the dataset has no format of its own, only tables that `open_data` opens."""
