"""Accuracy before and after, on the same samples in one reading, with exact intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import binomtest
from torch import nn

from unspan.errors import DataError
from unspan.run import Run, batches, place, size_of
from unspan.taps import eval_mode, forward, logits_of


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy of two models on one split; shares in [0, 1], higher is better (lower on forget splits).

    Attributes:
        split: which samples.
        n: how many.
        before: accuracy of the original.
        after: accuracy of the erased model.
        low: lower end of the 95 % Clopper-Pearson interval of `after`.
        high: upper end.
    """

    split: str
    n: int
    before: float
    after: float
    low: float
    high: float


def accuracy(original: nn.Module, erased: nn.Module, data: Any, split: str, run: Run) -> Accuracy:
    """Run both models over a split.

    Raises:
        DataError: a sample without a label, or one that cannot be read.
    """
    hits = [0, 0]
    n = 0
    with eval_mode(original), eval_mode(erased):
        like = next(original.parameters(), None)
        for batch in batches(data, run, shard=False):
            if batch.labels is None:
                raise DataError(f"{split}: {batch.names[0]} has no label, so accuracy cannot be measured. Pass --no-eval.")
            inputs = place(batch.inputs, like)
            for position, model in enumerate((original, erased)):
                scores = logits_of(forward(model, inputs))
                if scores is None:
                    raise DataError(f"{split}: the model gives no class scores, so accuracy cannot be measured. Pass --no-eval.")
                hits[position] += int((scores[: len(batch)].flatten(1).argmax(1).cpu() == batch.labels).sum())
            n += len(batch)
            run.report(f"measuring {split}", n, size_of(data, run))
    low, high = interval(hits[1], n)
    return Accuracy(split, n, hits[0] / n, hits[1] / n, low, high)


def interval(hits: int, n: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share; 0 of 3 is [0, 0.708].

    >>> [round(end, 3) for end in interval(0, 3)]
    [0.0, 0.708]
    """
    exact = binomtest(hits, n).proportion_ci(0.95, method="exact")
    return float(exact.low), float(exact.high)


def rows(measured: Iterable[Accuracy]) -> list[dict[str, Any]]:
    """JSON rows for a receipt."""
    return [asdict(one) for one in measured]
