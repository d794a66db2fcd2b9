"""Accuracy before and after, on the same samples in one reading, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from unspan.errors import DataError
from unspan.metrics.paired import paired_bounds
from unspan.run import Batch, Run, batches, size_of
from unspan.taps import Tap, arranged, eval_mode, forward, logits_of, read, scores_at


class Part(str, Enum):
    """Which samples a row is about."""

    FORGET = "forget"
    EARLIER = "erased earlier"
    RETAIN = "retain"
    WORST = "worst retained class"


class Measure(str, Enum):
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


@dataclass(frozen=True)
class Pair:
    """The original and the erased model, each with the place of its features.

    Without places, models are read that return class scores and nothing else.
    """

    original: nn.Module
    erased: nn.Module
    tap_before: Tap | None = None
    tap_after: Tap | None = None

    @property
    def sides(self) -> tuple[tuple[nn.Module, Tap | None], tuple[nn.Module, Tap | None]]:
        """Either model with the place of its features."""
        return (self.original, self.tap_before), (self.erased, self.tap_after)

    @property
    def embeds(self) -> bool:
        """Whether the models give embeddings instead of class scores."""
        return self.tap_after is not None and self.tap_after.head is None


@dataclass(frozen=True)
class Predictions:
    """Classes that two models name on the same samples.

    Attributes:
        labels: `[n]`, None where a sample has none.
        before: `[n]` of the original.
        after: `[n]` of the erased model.
        outputs: number of classes; two for a model with one score, which says yes or no.
    """

    labels: Tensor | None
    before: Tensor
    after: Tensor
    outputs: int


def predictions(pair: Pair, data: Any, what: str, run: Run) -> Predictions:
    """Run both models over the same samples.

    Raises:
        DataError: a model gives no class scores, or a sample cannot be read.
    """
    labels: list[Tensor | None] = []
    scores: tuple[list[Tensor], list[Tensor]] = ([], [])
    done = 0
    with eval_mode(pair.original), eval_mode(pair.erased):
        for batch in batches(data, run, shard=False):
            for (model, tap), found in zip(pair.sides, scores, strict=True):
                found.append(_decisive(_scores(model, tap, batch, what)))
            labels.append(batch.labels)
            done += len(batch)
            run.report(f"measuring {what}", done, size_of(data, run))
    known = [one for one in labels if one is not None]
    complete = torch.cat(known) if len(known) == len(labels) and known else None
    if not labels:
        none = torch.zeros(0, dtype=torch.long)
        return Predictions(None, none, none, 0)
    before, after = (torch.cat(one) for one in scores)
    if before.shape[1] > 1:
        return Predictions(complete, before[:, 0].long(), after[:, 0].long(), int(before[0, 1]))
    chances = bool(((before >= 0) & (before <= 1)).all())
    cut = 0.5 if chances else 0.0
    return Predictions(complete, (before[:, 0] > cut).long(), (after[:, 0] > cut).long(), 2)


def _scores(model: nn.Module, tap: Tap | None, batch: Batch, what: str) -> Tensor:
    """Class scores `[n, C]` of a batch; computed from the head's input where the model returns more
    than them.
    """
    with arranged(model, batch.inputs) as inputs:
        if tap is None:
            scores = logits_of(forward(model, inputs))
        else:
            features, output = read(model, tap, inputs)
            scores = logits_of(output) if tap.head is None else None
            scores = scores_at(model, tap, features, output) if scores is None else scores
    if scores is None:
        raise DataError(
            f"{what}: the model gives no class scores, so accuracy cannot be measured. Pass --eval"
            " none."
        )
    return scores[: len(batch)].reshape(len(batch), -1)


def _decisive(scores: Tensor) -> Tensor:
    """What a prediction depends on: the class named and the number of classes `[n, 2]`, or the only
    score `[n, 1]`.
    """
    if scores.shape[1] == 1:
        return scores.double().cpu()
    named = scores.argmax(1).cpu().double()
    return torch.stack([named, torch.full_like(named, scores.shape[1])], 1)


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


def class_name(label: int, names: Sequence[str] | None) -> str:
    """What a class is called."""
    return names[label] if names and 0 <= label < len(names) else f"class {label}"


def rows(measured: Iterable[Accuracy]) -> list[dict[str, Any]]:
    """JSON rows for a receipt."""
    return [asdict(one) for one in measured]
