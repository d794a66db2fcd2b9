"""Scores of outputs: utility, membership, how fast the forgotten is learned again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from unspan.audit_record.results import ScoreRow
from unspan.audit_record.vocabulary import ScoreGroup
from unspan.errors import DataError
from unspan.metrics.accuracy import (
    calibration_error,
    forget_accuracy,
    macro_accuracy,
    retain_accuracy,
    suppression,
    worst_drop,
)
from unspan.metrics.fewshot import shots_to
from unspan.metrics.identification import nearest_means, nearest_samples
from unspan.metrics.identity import ScoreKind
from unspan.metrics.membership import loss_attack, losses, published_loss_attack
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import harmonic_mean
from unspan.metrics.score import Better, Reading, Score, share_interval

Head = tuple[Tensor, Tensor]
Row = ScoreRow
UNSEEN_SPLIT = "train forget against unseen"


def row(group: ScoreGroup, model: str, score: Score, kind: ScoreKind = ScoreKind.OTHER) -> Row:
    """A score with its part of the report and its model."""
    return ScoreRow(group=group, model=model, kind=kind, **vars(score))


def utility(name: str, fit: Outputs, test: Outputs, before: Outputs | None) -> list[Row]:
    """Accuracy of the model's own head on all four splits, macro, calibration, and the worst class
    drop; of embeddings what a search finds.
    """
    if test.logits is None:
        return _found_by_search(name, fit, test)
    rows = [
        row(
            ScoreGroup.UTILITY,
            name,
            forget_accuracy(fit, "train forget"),
            ScoreKind.FORGET_ACCURACY,
        ),
        row(
            ScoreGroup.UTILITY,
            name,
            retain_accuracy(fit, "train retain"),
            ScoreKind.RETAIN_ACCURACY,
        ),
        row(
            ScoreGroup.UTILITY,
            name,
            forget_accuracy(test, "test forget"),
            ScoreKind.FORGET_ACCURACY,
        ),
        row(
            ScoreGroup.UTILITY,
            name,
            retain_accuracy(test, "test retain"),
            ScoreKind.RETAIN_ACCURACY,
        ),
    ]
    for train, held, title in ((rows[0], rows[1], "HM"), (rows[2], rows[3], "HM_t")):
        if train.value is not None and held.value is not None:
            value = harmonic_mean(100 * train.value, 100 * held.value) / 100
            rows.append(
                row(
                    ScoreGroup.PUBLISHED,
                    name,
                    Score(
                        name=title,
                        value=value,
                        better="higher",
                        split=train.split.split()[0],
                        n=train.n + held.n,
                        note="harmonic mean of forgetting and remaining accuracy; own head",
                    ),
                )
            )
    rows += [
        row(ScoreGroup.UTILITY, name, macro_accuracy(test, "test retain")),
        row(ScoreGroup.UTILITY, name, calibration_error(test, "test")),
    ]
    rows += [row(ScoreGroup.OUTPUT, name, score) for score in suppression(test, "test forget")]
    if before is not None:
        rows.append(row(ScoreGroup.UTILITY, name, worst_drop(before, test, "test retain")))
    return rows


def _found_by_search(name: str, fit: Outputs, test: Outputs) -> list[Row]:
    """Share of the forgotten test samples that a search finds, by the nearest mean or the nearest
    sample, whichever finds more; of the retained ones by the nearest mean. Nothing without labels.
    """
    if not (fit.labels >= 0).any() or not (test.labels >= 0).any():
        return []
    gone, kept = (marked & (test.labels >= 0) for marked in (test.forget, ~test.forget))
    by_mean = nearest_means(fit, test) == test.labels
    by_sample = nearest_samples(fit, test) == test.labels
    better_by_sample = bool(by_sample[gone].sum() > by_mean[gone].sum())
    searched = ("sample", by_sample) if better_by_sample else ("mean", by_mean)
    rows = []
    if gone.any():
        score = _found(*searched, gone, "lower", "test forget")
        rows.append(row(ScoreGroup.UTILITY, name, score, ScoreKind.FORGET_ACCURACY))
    if kept.any():
        score = _found("mean", by_mean, kept, "higher", "test retain")
        rows.append(row(ScoreGroup.UTILITY, name, score, ScoreKind.RETAIN_ACCURACY))
    return rows


def _found(by: str, hit: Tensor, marked: Tensor, better: Better, split: str) -> Score:
    """The share of some samples that a search finds, with its interval."""
    own = hit[marked]
    low, high = share_interval(float(own.sum()), len(own))
    return Score(
        name=f"found by the nearest {by}",
        value=float(own.double().mean()),
        low=low,
        high=high,
        better=better,
        split=split,
        n=len(own),
    )


def membership(name: str, fit: Outputs, test: Outputs, unseen: Tensor, seed: int) -> list[Row]:
    """Loss attacks: forget training samples against samples that no model was trained on.

    Args:
        name: of the model.
        fit: outputs on training data.
        test: outputs on test data.
        unseen: `[n]` bool, the test rows that belong beside the forget samples and were never
            trained on.
        seed: of cuts and splits.
    """
    try:
        members, others = losses(fit.rows(fit.forget)), losses(test.rows(unseen))
    except DataError as error:
        return [
            row(
                ScoreGroup.MEMBERSHIP,
                name,
                Score(
                    name="membership, loss attack", value=None, split=UNSEEN_SPLIT, note=str(error)
                ),
            )
        ]
    published = published_loss_attack(members, others, UNSEEN_SPLIT, seed=seed)
    return [
        row(ScoreGroup.MEMBERSHIP, name, published, ScoreKind.PUBLISHED_MEMBERSHIP),
        *(
            row(ScoreGroup.MEMBERSHIP, name, score)
            for score in loss_attack(members, others, UNSEEN_SPLIT, seed=seed)
        ),
    ]


def relearning(readings: Mapping[str, Sequence[Reading]]) -> list[Row]:
    """How many examples bring each model to half of what the original reads with the most, variant
    by variant.
    """
    rows = []
    for variant in dict.fromkeys(
        one.identity.kind for one in readings["before"] if one.identity.kind.few_shot
    ):
        curves = {
            name: [one for one in found if one.identity.kind is variant]
            for name, found in readings.items()
        }
        title = next(one.detail["variant"] for one in curves["before"])
        target = max(one.value for one in curves["before"]) / 2
        for name, curve in curves.items():
            shots = shots_to(curve, target) if curve else None
            most = max((int(one.detail["m"]) for one in curve), default=0)
            note = "" if shots is not None else f"not reached with {most} examples"
            rows.append(
                row(
                    ScoreGroup.RELEARNING,
                    name,
                    Score(
                        name=f"{title}: examples to read half of the original",
                        value=shots,
                        unit="examples",
                        better="higher",
                        split="test forget",
                        n=len(curve[0].forget) if curve else 0,
                        note=note,
                    ),
                )
            )
    return rows


def described(
    rows: Sequence[Row], kind: ScoreKind, model: str, split: str | None = None
) -> Row | None:
    """The score of this kind, None when it is not there."""
    for one in rows:
        if one.kind is kind and one.model == model and split in (None, one.split):
            return one
    return None
