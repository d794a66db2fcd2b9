"""Accuracy before and after, on the same samples in one reading, with exact intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import binomtest
from torch import nn

from unspan.errors import DataError
from unspan.run import Run, batches, size_of
from unspan.taps import arranged, eval_mode, forward, logits_of


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy of two models on one split; shares in [0, 1], higher is better (lower on
    forget splits).

    Attributes:
        split: which samples.
        n: how many.
        before: accuracy of the original.
        after: accuracy of the erased model.
        low: lower end of the 95 % Clopper-Pearson interval of `after`.
        high: upper end.
        classes: for every class with samples, `[label, n, before, after]`.
    """

    split: str
    n: int
    before: float
    after: float
    low: float
    high: float
    classes: list[list[float]]


def accuracy(original: nn.Module, erased: nn.Module, data: Any, split: str, run: Run) -> Accuracy:
    """Run both models over a split.

    Raises:
        DataError: a sample without a label, or one that cannot be read.
    """
    hits: list[Counter[int]] = [Counter(), Counter()]
    seen: Counter[int] = Counter()
    n = 0
    with eval_mode(original), eval_mode(erased):
        for batch in batches(data, run, shard=False):
            if batch.labels is None:
                raise DataError(
                    f"{split}: {batch.names[0]} has no label, so accuracy cannot be measured. Pass"
                    " --eval none."
                )
            for position, model in enumerate((original, erased)):
                with arranged(model, batch.inputs) as inputs:
                    scores = logits_of(forward(model, inputs))
                if scores is None:
                    raise DataError(
                        f"{split}: the model gives no class scores, so accuracy cannot be measured."
                        " Pass --eval none."
                    )
                right = scores[: len(batch)].flatten(1).argmax(1).cpu() == batch.labels
                hits[position].update(batch.labels[right].tolist())
            seen.update(batch.labels.tolist())
            n += len(batch)
            run.report(f"measuring {split}", n, size_of(data, run))
    before, after = (sum(one.values()) for one in hits)
    low, high = interval(after, n)
    classes = [
        [label, count, hits[0][label] / count, hits[1][label] / count]
        for label, count in sorted(seen.items())
    ]
    return Accuracy(split, n, before / n, after / n, low, high, classes)


def interval(hits: int, n: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share; 0 of 3 is [0, 0.708].

    >>> [round(end, 3) for end in interval(0, 3)]
    [0.0, 0.708]
    """
    exact = binomtest(hits, n).proportion_ci(0.95, method="exact")
    return float(exact.low), float(exact.high)


def findings(
    evaluation: Sequence[Mapping[str, Any]], classes: int, names: Sequence[str] | None = None
) -> list[str]:
    """What the accuracies say that must not be overlooked, in plain words.

    Args:
        evaluation: rows of a receipt.
        classes: number of outputs of the model.
        names: of the classes.
    """
    said = []
    for row in evaluation:
        what, interval = row["split"], f"[{row['low']:.1%}, {row['high']:.1%}] (n = {row['n']})"
        if what.endswith("retain"):
            if row["before"] - row["high"] > 0.02:
                said.append(
                    f"{what}: accuracy on data to keep fell from {row['before']:.1%} to"
                    f" {row['after']:.1%} {interval}"
                )
            worst = max(
                (one for one in row["classes"] if one[1] >= 20),
                key=lambda one: one[2] - one[3],
                default=None,
            )
            if worst is not None and worst[2] - worst[3] > 0.05:
                name = (
                    names[int(worst[0])]
                    if names and int(worst[0]) < len(names)
                    else f"class {int(worst[0])}"
                )
                said.append(
                    f"{what}: {name} lost most, from {worst[2]:.1%} to {worst[3]:.1%} (n ="
                    f" {int(worst[1])})"
                )
        elif row["low"] > 1 / max(classes, 1):
            rise = "rose" if row["after"] > row["before"] else "is still above chance"
            said.append(
                f"{what}: accuracy {rise}, {row['after']:.1%} {interval}; before it was"
                f" {row['before']:.1%}, chance is {1 / max(classes, 1):.1%}"
            )
    return said


def rows(measured: Iterable[Accuracy]) -> list[dict[str, Any]]:
    """JSON rows for a receipt."""
    return [asdict(one) for one in measured]
