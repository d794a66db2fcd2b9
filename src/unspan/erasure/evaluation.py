"""Accuracy before and after, on the same samples in one reading, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from unspan.data.class_names import class_name
from unspan.erasure.predictions import Pair, Predictions, predictions
from unspan.errors import DataError
from unspan.metrics.paired import paired_bounds
from unspan.run import Run
from unspan.system.text_enum import TextEnum

LEVEL = 0.95  # of each decision as a whole


class Part(TextEnum):
    """Which samples a row is about."""

    FORGET = "forget"
    EARLIER = "erased earlier"
    RETAIN = "retain"
    WORST = "worst retained class"


class Measure(TextEnum):
    """What is counted."""

    ACCURACY = "accuracy"
    SAME = "same answer"  # as the original gives, for samples without labels
    RANK1 = "rank-1"  # the nearest other sample is of the same class, for embeddings


@dataclass(frozen=True)
class Accuracy:
    """Share of samples that two models name, on one split; in [0, 1], higher is better (lower for
    what is forgotten).

    Attributes:
        split: which samples, for people.
        n: how many.
        before: share of the original.
        after: share of the erased model.
        low: lower end of the 95 % Clopper-Pearson interval of `after`.
        high: upper end.
        classes: for every class with samples, `[label, n, before, after]`.
        part: which samples, a value of `Part`.
        measure: what is counted, a value of `Measure`.
        label: the class of the row, None where it is of several.
        change: `after - before` on the same samples.
        change_low: lower end of its interval, see `paired_bounds`.
        change_high: upper end.
    """

    split: str
    n: int
    before: float
    after: float
    low: float
    high: float
    classes: list[list[float]]
    part: str
    measure: str = Measure.ACCURACY.value
    label: int | None = None
    change: float = 0.0
    change_low: float = -1.0
    change_high: float = 1.0


@dataclass(frozen=True)
class Answers:
    """What two models make of the same samples.

    Attributes:
        labels: `[n]` classes.
        before: `[n]` bool, samples that the original gets right.
        after: `[n]` bool, those that the erased model gets right.
        measure: what right means.
        outputs: classes that the models tell apart; 0 where they give no scores.
    """

    labels: Tensor
    before: Tensor
    after: Tensor
    measure: Measure = Measure.ACCURACY
    outputs: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lost(self) -> int:
        """Samples that only the original gets right."""
        return int((self.before & ~self.after).sum())

    @property
    def gained(self) -> int:
        """Samples that only the erased model gets right."""
        return int((self.after & ~self.before).sum())

    def where(self, rows: Tensor) -> Answers:
        """The answers on some samples, by a mask or by positions."""
        return Answers(
            self.labels[rows], self.before[rows], self.after[rows], self.measure, self.outputs
        )

    def of(self, label: int) -> Answers:
        """The answers on one class."""
        return self.where(self.labels == label)

    def shares(self) -> tuple[float, float]:
        """What the original and the erased model get right."""
        n = max(len(self), 1)
        return int(self.before.sum()) / n, int(self.after.sum()) / n


def accuracy(pair: Pair, data: Any, split: str, run: Run, part: Part = Part.RETAIN) -> Accuracy:
    """Run both models over a split.

    Raises:
        DataError: a sample without a label, or one that cannot be read.
    """
    found = predictions(pair, data, split, run)
    if found.labels is None:
        raise DataError(
            f"{split}: some samples have no label, so accuracy cannot be measured. Pass --eval"
            " none."
        )
    return row(answers(found, found.labels), split, part)


def answers(found: Predictions, labels: Tensor, measure: Measure = Measure.ACCURACY) -> Answers:
    """Which predictions agree with labels."""
    right = found.before == labels, found.after == labels
    return Answers(labels, *right, measure, found.outputs)


def row(
    answers: Answers, split: str, part: Part, *, label: int | None = None, level: float = 0.95
) -> Accuracy:
    """The figures of some answers; `level` is that of each end of the interval of the change."""
    before, after = answers.shares()
    n = len(answers)
    low, high = interval(int(answers.after.sum()), n)
    least, most = paired_bounds(answers.lost, answers.gained, n, level)
    classes = []
    for one in answers.labels.unique().tolist():
        of_class = answers.of(one)
        classes.append([one, len(of_class), *of_class.shares()])
    return Accuracy(
        split=split,
        n=n,
        before=before,
        after=after,
        low=low,
        high=high,
        classes=classes,
        part=part.value,
        measure=answers.measure.value,
        label=label,
        change=(answers.gained - answers.lost) / n,
        change_low=-most,
        change_high=-least,
    )


def interval(hits: int, n: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share; 0 of 3 is [0, 0.708].

    >>> [round(end, 3) for end in interval(0, 3)]
    [0.0, 0.708]
    """
    from scipy.stats import binomtest  # slow to import, and not needed by every command

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
        if row["part"] == Part.RETAIN:
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
                name = class_name(int(worst[0]), names)
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
